"""Checkpoints in the API's format: TensorFlow's object-based files with the API's variable keys."""

import glob
import logging
import os
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from google.protobuf.text_encoding import CUnescape
from google.protobuf.text_format import ParseError
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from boxtune.config.checks import one_file_hint
from boxtune.config.locations import locations
from boxtune.data.files import read_text, require_files
from boxtune.errors import CheckpointError, DataError, did_you_mean

STATE = "checkpoint"
"""The file in which TensorFlow records the checkpoints of a folder."""

_MAX_STATE_BYTES = 1 << 20
_log = logging.getLogger("boxtune")
_VALUE = "VARIABLE_VALUE"
_SUFFIX = f"/.ATTRIBUTES/{_VALUE}"
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_OF_OPTIMIZER = "/_trainable_variables/"

_FROZEN = (
    " A frozen graph or a SavedModel cannot be trained: take the folder checkpoint/ beside saved_model/, or model.ckpt"
    " beside the graph, or the model of the same name from the TF2 zoo"
)

Variables = Mapping[str, keras.Variable | tf.Variable]


def find(path: str | os.PathLike[str]) -> str:
    """Return the checkpoint prefix (`.../ckpt-5`) that a folder, a prefix or an `.index` file stands for.

    For a folder, that is the newest checkpoint in it or in its subfolder `checkpoint` (the zoo's layout).

    Raises:
        CheckpointError: if there is none.
    """
    given = Path(path)
    if given.is_dir():
        if found := latest(given) or latest(given / "checkpoint"):
            return found
        holds_graph = any(any(given.glob(pattern)) for pattern in ("*.pb", "saved_model/*.pb"))
        raise CheckpointError(
            f"{given}: no checkpoint here; a folder with ckpt-N.index and ckpt-N.data-* is needed."
            f"{_FROZEN if holds_graph else ''}"
        )
    if given.suffix == ".pb":
        raise CheckpointError(f"{given}: no checkpoint.{_FROZEN}")
    prefix = str(given).removesuffix(".index")
    if Path(f"{prefix}.index").is_file():
        return prefix
    if older := one_file_hint(given):
        raise CheckpointError(f"{given}: cannot be read.{older}")
    if not given.parent.is_dir():
        raise CheckpointError(f"{given}: no such checkpoint. There is no folder {given.parent} either.")
    there = sorted(index.stem for index in given.parent.glob("*.index"))
    listed = f" That folder has {', '.join(there)}." if there else ""
    raise CheckpointError(f"{given}: no such checkpoint.{did_you_mean(given.name, there) or listed}")


def exists(path: str | os.PathLike[str]) -> bool:
    """Return whether `find` finds a checkpoint."""
    try:
        return bool(find(path))
    except CheckpointError:
        return False


def latest(folder: Path) -> str | None:
    """Return the prefix of the newest whole checkpoint in `folder`: the one its `checkpoint` file names, else the
    one of the highest number; None if there is none.
    """
    for named in recorded(folder, "model_checkpoint_path"):
        if Path(f"{named}.index").is_file():
            return named
        _log.warning("%s names %s, which is not there.", folder / STATE, Path(named).name)
    indices = sorted(folder.glob("*.index"), key=lambda index: (number_of(index.stem), index.stem))
    return str(indices[-1].with_suffix("")) if indices else None


def recorded(folder: Path, field: str) -> list[str]:
    """Return the prefixes that a field of the file `checkpoint` in a folder names: TensorFlow's CheckpointState.

    There is none if the file is absent, a folder (as in a zoo download) or, which is logged, damaged.
    """
    path = folder / STATE
    if path.is_dir() or not os.path.lexists(path):
        return []
    try:
        text = read_text(path, max_bytes=_MAX_STATE_BYTES)
        values = [one.value for one in locations(text) if [name for name, _ in one.path] == [field]]
        return [str(folder / CUnescape(value[1:-1]).decode()) for value in values]
    except (DataError, ParseError, ValueError) as error:
        _log.warning("%s is damaged, so the checkpoints are taken by their numbers (%s).", path, error)
        return []


def all_in(folder: Path) -> list[str]:
    """Return the prefixes of all whole checkpoints `NAME-N` in `folder`, by their numbers."""
    indices = [index for index in folder.glob("*-*.index") if index.stem.rpartition("-")[2].isdecimal()]
    return sorted((str(index.with_suffix("")) for index in indices), key=number_of)


def number_of(prefix: str) -> int:
    """Return the number at the end of a checkpoint's name, 0 if there is none."""
    digits = prefix.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0


class Reader:
    """The tensors of a checkpoint by the API's keys, without TensorFlow's suffix; of TensorFlow 1, by their names."""

    def __init__(self, prefix: str):
        """Open the checkpoint `prefix`.

        Raises:
            BoxtuneError: if it is damaged.
        """
        self.prefix = prefix
        folder, name = Path(prefix).parent, glob.escape(Path(prefix).name)
        require_files(folder.glob(f"{name}.*"))
        try:
            self._reader = tf.train.load_checkpoint(prefix)
            stored = self._reader.get_variable_to_shape_map()
            self._dtypes = self._reader.get_variable_to_dtype_map()
            renamed = _names_in_model(self._reader) if any(_OF_OPTIMIZER in name for name in stored) else {}
        except Exception as error:  # TensorFlow raises errors of any kind for a damaged checkpoint
            raise CheckpointError(f"{prefix}: cannot be read as a checkpoint: {error}") from error
        self.of_tensorflow_1 = _OBJECT_GRAPH not in stored
        self._names = (
            {name: name for name in stored}
            if self.of_tensorflow_1
            else {name.removesuffix(_SUFFIX): name for name in stored if name.endswith(_SUFFIX)}
        )
        moved = {key: name for key, name in renamed.items() if name in stored}
        taken = set(moved.values())
        self._names = {key: name for key, name in self._names.items() if name not in taken} | moved
        # The API's optimizers keep their slots under the keys of the model's variables.
        self.slots = {key for key in self._names if "/.OPTIMIZER_SLOT/" in key}
        self.shapes = {key: tuple(stored[name]) for key, name in self._names.items() if key not in self.slots}

    def rename(self, keys: Mapping[str, str | None]) -> None:
        """Give the tensors of a checkpoint of TensorFlow 1 their `keys` by name, or none to those without use.

        Raises:
            CheckpointError: for tensors that `keys` does not have, and if two have one key.
        """
        unknown = sorted(self.shapes.keys() - keys.keys())
        if unknown:
            raise CheckpointError(
                f"{self.prefix}: a checkpoint of TensorFlow 1 with variables that this kind of detector does not have: "
                f"{_listed(unknown)}. Take the model of the same name from the TF2 zoo"
            )
        used = {name: key for name, key in keys.items() if key is not None}
        self._names = {key: name for name, key in used.items()}
        twice = sorted(name for name, key in used.items() if self._names[key] != name)
        if twice:
            raise CheckpointError(
                f"{self.prefix}: has several variables for one of the detector: {_listed(twice)} and "
                f"{self._names[used[twice[0]]]}"
            )
        self.shapes = {key: self.shapes[name] for key, name in self._names.items()}

    def __contains__(self, key: str) -> bool:
        return key in self.shapes or key in self.slots

    def __getitem__(self, key: str) -> np.ndarray:
        name = self._names[key]
        dtype = self._dtypes[name]
        if not (dtype.is_floating or dtype.is_integer or dtype.is_bool):
            raise CheckpointError(f"{self.prefix}: {key} has values of the type {dtype.name}, not numbers")
        try:
            return np.asarray(self._reader.get_tensor(name))
        except Exception as error:
            raise CheckpointError(f"{self.prefix}: {key} cannot be read: {error}") from error


def _names_in_model(reader: Any) -> dict[str, str]:
    """Return the names of the variables of an object graph's `model` by their keys there.

    A variable is stored by its shortest way from the root. In a loop of one's own that may lead through an optimizer of
    Keras 3, which holds the variables that it trains.
    """
    nodes = TrackableObjectGraph.FromString(reader.get_tensor(_OBJECT_GRAPH)).nodes
    names: dict[str, str] = {}
    queue = deque((child.node_id, "model") for child in nodes[0].children if child.local_name == "model")
    seen = {number for number, _ in queue}
    while queue:
        number, key = queue.popleft()
        for value in nodes[number].attributes:
            if value.name == _VALUE:
                names[key] = value.checkpoint_key
        for child in nodes[number].children:
            if child.node_id not in seen:
                seen.add(child.node_id)
                queue.append((child.node_id, f"{key}/{child.local_name}"))
    return names


def step_of(prefix: str) -> int:
    """Return the step of a checkpoint, 0 if it has none."""
    reader = Reader(prefix)
    return int(reader["step"]) if "step" in reader else 0


@dataclass(frozen=True)
class Misfit:
    """The differences between variables and a checkpoint."""

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
        return "; ".join(f"{title} {len(keys)}: {_listed(keys)}" for title, keys in parts if keys)


def _listed(keys: list[str]) -> str:
    return f"{', '.join(keys[:4])}{f' and {len(keys) - 4} more' if len(keys) > 4 else ''}"


def misfit(
    variables: Variables, reader: Reader, prefix: str = "", stored_prefix: str | None = None
) -> Misfit:
    """Compare `variables`, by their keys after `prefix`, with those that a checkpoint has under `stored_prefix`."""
    stored_prefix = prefix if stored_prefix is None else stored_prefix
    own = {key: variable.shape for key, variable in variables.items()}
    stored = {
        key.removeprefix(stored_prefix): shape
        for key, shape in reader.shapes.items()
        if key.startswith(stored_prefix)
    }
    return Misfit(
        missing=sorted(prefix + key for key in own.keys() - stored.keys()),
        unexpected=sorted(stored_prefix + key for key in stored.keys() - own.keys()),
        reshaped=sorted(
            f"{prefix}{key} {list(own[key])} {list(stored[key])}"
            for key in own.keys() & stored.keys()
            if tuple(own[key]) != stored[key]
        ),
    )


def require_tensorflow_2(reader: Reader) -> None:
    """Raise an error for a checkpoint of TensorFlow 1, from which a training can start, but nothing else.

    Raises:
        CheckpointError: that says how to start one.
    """
    if reader.of_tensorflow_1:
        raise CheckpointError(
            f"{reader.prefix}: a checkpoint of TensorFlow 1, from which a training can start: give it as "
            "train_config.fine_tune_checkpoint, with another model directory"
        )


def load(variables: Variables, prefix: str) -> None:
    """Load every variable from the checkpoint `prefix`; nothing is changed unless all of them fit.

    Raises:
        CheckpointError: listing both sides, if the checkpoint lacks a variable or has it in another shape; and for one
            of TensorFlow 1.
    """
    reader = Reader(prefix)
    require_tensorflow_2(reader)
    difference = misfit(variables, reader)
    if difference.missing or difference.reshaped:
        raise CheckpointError(f"{prefix}: does not fit this model: {difference}")
    values = {key: reader[key] for key in variables}
    for key, variable in variables.items():
        variable.assign(values[key])


def tree(variables: Variables, aliases: Mapping[str, str] | None = None) -> tf.train.Checkpoint:
    """Return a trackable whose object graph has the keys of `variables`, as the API's object graph does.

    Under backends other than TensorFlow it holds their current values. `aliases` are further, longer keys of layers, by
    which programs that restore a part of the graph find them.
    """
    branches: dict[str, Any] = {}
    for key, variable in variables.items():
        *folders, leaf = key.split("/")
        branch = _branch(branches, folders)
        if not isinstance(variable, tf.Variable):
            is_wrapped = keras.backend.backend() == "tensorflow"
            variable = variable.value if is_wrapped else tf.Variable(keras.ops.convert_to_numpy(variable))
        branch[leaf] = variable
    for alias, key in (aliases or {}).items():
        *folders, name = alias.split("/")
        _branch(branches, folders)[name] = _branch(branches, key.split("/"))
    made: dict[int, tf.Module] = {}
    return tf.train.Checkpoint(**{name: _node(part, made) for name, part in branches.items()})


def _branch(branches: dict[str, Any], folders: Iterable[str]) -> dict[str, Any]:
    """Return the branch at a path, which is made where there is none."""
    for folder in folders:
        branches = branches.setdefault(folder, {})
    return branches


def _node(part: Any, made: dict[int, tf.Module]) -> Any:
    """Return a branch as a module, the same one wherever the branch is; a variable as it is."""
    if not isinstance(part, dict):
        return part
    if id(part) not in made:
        module = made[id(part)] = tf.Module()
        for name, child in part.items():
            setattr(module, name, _node(child, made))
    return made[id(part)]
