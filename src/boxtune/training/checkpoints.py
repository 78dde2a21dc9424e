"""Checkpoints in the API's format: TensorFlow's object-based files with the API's variable keys."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from boxtune.errors import CheckpointError, did_you_mean

_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"

Variables = Mapping[str, keras.Variable | tf.Variable]


def find(path: str | os.PathLike[str]) -> str:
    """Return the checkpoint prefix (`.../ckpt-5`) that a folder, a prefix or an `.index` file stands for.

    Of a folder it is the newest checkpoint, in it or in its `checkpoint` folder (the zoo's layout).

    Raises:
        CheckpointError: if there is none.
    """
    given = Path(path)
    if given.is_dir():
        for folder in (given, given / "checkpoint"):
            prefix = latest(folder)
            if prefix is not None:
                return prefix
        raise CheckpointError(
            f"{given}: no checkpoint here; a folder with ckpt-N.index and ckpt-N.data-* is needed"
        )
    prefix = str(given).removesuffix(".index")
    if Path(f"{prefix}.index").is_file():
        return prefix
    raise CheckpointError(f"{given}: no such checkpoint.{_nearest(given)}")


def latest(folder: Path) -> str | None:
    """Return the prefix of the newest whole checkpoint in `folder`: the one its `checkpoint` file names, else the
    one of the highest number; None if there is none.
    """
    named = tf.train.latest_checkpoint(str(folder)) if folder.is_dir() else None
    if named is not None and Path(f"{named}.index").is_file():
        return named
    indices = sorted(folder.glob("*.index"), key=lambda index: (number_of(index.stem), index.stem))
    return str(indices[-1].with_suffix("")) if indices else None


def all_in(folder: Path) -> list[str]:
    """Return the prefixes of all whole checkpoints `NAME-N` in `folder`, by their numbers."""
    indices = [index for index in folder.glob("*-*.index") if index.stem.rpartition("-")[2].isdecimal()]
    return sorted((str(index.with_suffix("")) for index in indices), key=number_of)


def number_of(prefix: str) -> int:
    """Return the number that a checkpoint's name ends with, 0 if there is none."""
    digits = prefix.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0


def _nearest(given: Path) -> str:
    if not given.parent.is_dir():
        return f" Nor is there a folder {given.parent}."
    there = sorted(index.stem for index in given.parent.glob("*.index"))
    listed = f" That folder has {', '.join(there)}." if there else ""
    return did_you_mean(given.name, there) or listed


class Reader:
    """The tensors of a checkpoint by the API's keys, without TensorFlow's suffix."""

    def __init__(self, prefix: str):
        """Open the checkpoint `prefix`.

        Raises:
            CheckpointError: if it is damaged or of TensorFlow 1.
        """
        self.prefix = prefix
        try:
            self._reader = tf.train.load_checkpoint(prefix)
            stored = self._reader.get_variable_to_shape_map()
        except (tf.errors.OpError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{prefix}: cannot be read as a checkpoint: {error}") from error
        if "_CHECKPOINTABLE_OBJECT_GRAPH" not in stored:
            raise CheckpointError(
                f"{prefix}: a checkpoint of TensorFlow 1; take the model of the same name from the TF2 zoo"
            )
        shapes = {
            key.removesuffix(_SUFFIX): tuple(shape) for key, shape in stored.items() if key.endswith(_SUFFIX)
        }
        # The API's optimizers keep their slots under the keys of the model's variables.
        self.slots = {key for key in shapes if "/.OPTIMIZER_SLOT/" in key}
        self.shapes = {key: shape for key, shape in shapes.items() if key not in self.slots}

    def __contains__(self, key: str) -> bool:
        return key in self.shapes or key in self.slots

    def __getitem__(self, key: str) -> np.ndarray:
        try:
            return np.asarray(self._reader.get_tensor(key + _SUFFIX))
        except (tf.errors.OpError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{self.prefix}: {key} cannot be read: {error}") from error


def step_of(prefix: str) -> int:
    """Return after how many steps a checkpoint was written, 0 if it does not say."""
    reader = Reader(prefix)
    return int(reader["step"]) if "step" in reader else 0


@dataclass(frozen=True)
class Misfit:
    """How variables and a checkpoint disagree."""

    missing: list[str]
    """In the model, not in the checkpoint."""
    unexpected: list[str]
    """In the checkpoint, not in the model."""
    reshaped: list[str]
    """In both, with different shapes."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.reshaped)

    def __str__(self) -> str:
        parts = [
            ("the model has, the checkpoint lacks", self.missing),
            ("the checkpoint has, the model lacks", self.unexpected),
            ("of another shape (model, checkpoint)", self.reshaped),
        ]
        return "; ".join(f"{title} {_some(keys)}" for title, keys in parts if keys)


def _some(keys: list[str], most: int = 4) -> str:
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return f"{len(keys)}: {', '.join(keys[:most])}{more}"


def misfit(
    variables: Variables, reader: Reader, prefix: str = "", stored_prefix: str | None = None
) -> Misfit:
    """Compare `variables`, by their keys behind `prefix`, with what a checkpoint keeps under `stored_prefix`."""
    stored_prefix = prefix if stored_prefix is None else stored_prefix
    wanted = {key: variable.shape for key, variable in variables.items()}
    stored = {
        key.removeprefix(stored_prefix): shape
        for key, shape in reader.shapes.items()
        if key.startswith(stored_prefix)
    }
    return Misfit(
        missing=sorted(prefix + key for key in wanted.keys() - stored.keys()),
        unexpected=sorted(stored_prefix + key for key in stored.keys() - wanted.keys()),
        reshaped=sorted(
            f"{prefix}{key} {list(wanted[key])} {list(stored[key])}"
            for key in wanted.keys() & stored.keys()
            if tuple(wanted[key]) != stored[key]
        ),
    )


def load(variables: Variables, prefix: str) -> None:
    """Give every variable its value from the checkpoint `prefix`; nothing is changed unless all of them fit.

    Raises:
        CheckpointError: listing both sides, if the checkpoint lacks a variable or has it in another shape.
    """
    reader = Reader(prefix)
    difference = misfit(variables, reader)
    if difference.missing or difference.reshaped:
        raise CheckpointError(f"{prefix}: does not fit this model: {difference}")
    values = {key: reader[key] for key in variables}
    for key, variable in variables.items():
        variable.assign(values[key])


def tree(variables: Variables) -> tf.train.Checkpoint:
    """Return a trackable whose object graph spells the keys of `variables`, as the API's object graph does.

    Under another backend than TensorFlow it holds the values that they have now.
    """
    branches: dict[str, Any] = {}
    for key, variable in variables.items():
        branch = branches
        *folders, leaf = key.split("/")
        for folder in folders:
            branch = branch.setdefault(folder, {})
        branch[leaf] = _tensorflow_variable(variable)
    return _checkpoint(branches)


def _checkpoint(branches: dict[str, Any]) -> tf.train.Checkpoint:
    return tf.train.Checkpoint(
        **{
            name: _checkpoint(branch) if isinstance(branch, dict) else branch
            for name, branch in branches.items()
        }
    )


def _tensorflow_variable(variable: keras.Variable | tf.Variable) -> tf.Variable:
    if isinstance(variable, tf.Variable):
        return variable
    if keras.backend.backend() == "tensorflow":
        return variable.value
    return tf.Variable(keras.ops.convert_to_numpy(variable))


def write(variables: Variables, prefix: str) -> str:
    """Write `variables` to the checkpoint `prefix` (as it is named, without a number) and return it."""
    return tree(variables).write(prefix)
