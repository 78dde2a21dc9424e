"""Records how a run was made, in its model directory: versions, command, seed and fingerprints of the data.

`run.json` has an entry for every time that the run was started or resumed.
"""

import hashlib
import json
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from google.protobuf.message import Message

import boxtune
from boxtune import onednn
from boxtune.config import pipeline_pb2
from boxtune.config.text import set_fields, to_text
from boxtune.data.files import read_text, whole_file
from boxtune.data.label_map import LabelMap
from boxtune.data.tfrecord import RecordIndex, read_at
from boxtune.errors import DataError, printable

RUN: str = onednn.RUN
"""In the model directory."""

MOST_CHANGES = 8
"""That a message lists when a run is resumed with other settings."""

_CHECKSUM_BYTES = 4


_HAS_CHECKPOINT = "has_checkpoint"
"""In an entry: whether the run has ever written a checkpoint. A run that has none, and had, lost them."""


def entry(seed: int, step: int, data: Mapping[str, RecordIndex]) -> dict[str, Any]:
    """Return the entry of a run that starts, or resumes, after `step` steps; `data` by its use."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "step": step,
        _HAS_CHECKPOINT: step > 0,
        "seed": seed,
        "command": sys.argv,
        "versions": {
            "boxtune": boxtune.__version__,
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
            "numpy": np.__version__,
        },
        onednn.KEY: onednn.STATES[onednn.is_on()],
        "data": {use: fingerprints(index) for use, index in data.items()},
    }


def fingerprints(index: RecordIndex) -> dict[str, dict[str, Any]]:
    """Return size, number of records and a hash of each file, by its path.

    The hash is that of the checksums that a TFRecord file has behind each record: it differs when any record does, and
    only four bytes of each are read.
    """
    found = {}
    for number, path in enumerate(index.paths):
        own = index.file_numbers == number
        digest = hashlib.sha256()
        with path.open("rb") as file:
            for position in (index.offsets[own] + index.lengths[own]).tolist():
                digest.update(read_at(file.fileno(), _CHECKSUM_BYTES, position))
        found[str(path)] = {
            "bytes": path.stat().st_size,
            "records": int(own.sum()),
            "sha256_of_checksums": digest.hexdigest(),
        }
    return found


def facts(pipeline: pipeline_pb2.TrainEvalPipelineConfig, training: RecordIndex) -> dict[str, str]:
    """Return by name all that has to be the same for the processes that train together; paths may differ."""
    same = pipeline_pb2.TrainEvalPipelineConfig()
    same.CopyFrom(pipeline)
    same.train_config.ClearField("fine_tune_checkpoint")
    same.boxtune.ClearField("fine_tune_label_map_path")
    same.train_input_reader.ClearField("tf_record_input_reader")
    same.train_input_reader.ClearField("label_map_path")
    for evaluating in ("eval_config", "eval_input_reader"):
        same.ClearField(evaluating)
    versions = (boxtune.__version__, tf.__version__, keras.__version__)
    return {
        "the configuration": to_text(same),
        "the versions of boxtune, TensorFlow and Keras": " ".join(versions),
        f"oneDNN, on or off ({onednn.VARIABLE}),": onednn.STATES[onednn.is_on()],
        "the training records": json.dumps(list(fingerprints(training).values())),
    }


def read(path: Path) -> list[dict[str, Any]]:
    """Return the entries of a `run.json`, none if there is no such file.

    Raises:
        DataError: if it cannot be read, or is damaged.
    """
    if not path.exists():
        return []
    try:
        entries = json.loads(read_text(path))
        if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
            raise TypeError
        return entries
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is not what a training wrote; repair or remove it") from error


def write(path: Path, entries: list[dict[str, Any]]) -> None:
    """Write a `run.json`, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")


def mark_checkpoint(path: Path) -> None:
    """Note in a `run.json` that the run has a checkpoint."""
    entries = read(path)
    if entries and not entries[-1].get(_HAS_CHECKPOINT):
        entries[-1][_HAS_CHECKPOINT] = True
        write(path, entries)


def never_had_checkpoint(path: Path) -> bool:
    """Return whether the run of a `run.json` was interrupted before its first checkpoint."""
    entries = read(path)
    return bool(entries) and entries[-1].get(_HAS_CHECKPOINT) is False


def mark_as_ended(path: Path, step: int) -> None:
    """Note in a `run.json` that its last entry ended after `step` steps, with nothing left to do."""
    entries = read(path)
    entries[-1]["ended_after_step"] = step
    write(path, entries)


def has_ended(path: Path) -> bool:
    """Return whether the run of a `run.json` ended: none is under way, and none was interrupted."""
    entries = read(path)
    return bool(entries) and "ended_after_step" in entries[-1]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what changed when a run was resumed (seed, versions, oneDNN, data), as "what: before → now"."""
    flat_before, flat_now = (dict(_flat({key: one.get(key) for key in _COMPARED})) for one in (before, now))
    return [
        f"{change} (other kernels: the last bits will differ)" if change.startswith(onednn.KEY) else change
        for change in _changes(flat_before, flat_now)
    ]


_COMPARED = ("seed", "versions", onednn.KEY, "data")


def config_differences(before: Message, now: Message) -> list[str]:
    """Return the fields in which two configurations differ, as "path: before → now".

    One that is set to its default is not different from one that is left out.
    """
    fields = [{path: value for path, _, value in set_fields(config)} for config in (before, now)]
    for path, field, value in (*set_fields(before), *set_fields(now)):
        if not field.is_repeated and value == field.default_value:
            for other in fields:
                other.setdefault(path, value)
    return _changes(*fields)


def class_differences(before: LabelMap, now: LabelMap) -> list[str]:
    """Return the classes in which two label maps differ, as "class id: before → now"."""
    return _changes(*({f"class {label.id}": label.name for label in one.labels} for one in (before, now)))


def first_of(changes: Sequence[str]) -> str:
    """Return changes as one text, the first of them if there are many."""
    more = f"; and {len(changes) - MOST_CHANGES} more" if len(changes) > MOST_CHANGES else ""
    return "; ".join(changes[:MOST_CHANGES]) + more


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        printable(f"{key}: {before.get(key, 'absent')} → {now.get(key, 'absent')}")
        for key in dict.fromkeys([*before, *now])
        if before.get(key) != now.get(key)
    ]


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _flat(part, f"{path} {key}".strip())
    else:
        yield path, value
