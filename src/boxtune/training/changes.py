"""What has changed since a run was begun, so that its checkpoints are not taken for those of other data."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from boxtune import config
from boxtune.config.pipeline_pb2 import InputReader, TrainEvalPipelineConfig
from boxtune.data.label_map import read_label_map
from boxtune.data.tfrecord import RecordIndex, parse_example
from boxtune.errors import BoxtuneError, ConfigError, printable, some
from boxtune.training import provenance
from boxtune.training.run_state import ANEW, COMPLETE_CONFIG, LABEL_MAP

_MOST_IMAGES = 3

Images = Mapping[str, tuple[str, str]]
"""By their names: the use of an image, and a hash of its record."""


def changes_since(
    model_dir: Path, pipeline: TrainEvalPipelineConfig, seed: int, *, records: Path, made: Path
) -> list[str]:
    """Return in what a training differs from the run in a model directory: images, classes and settings.

    Args:
        model_dir: of the run.
        pipeline: the configuration of the training that is to be made, complete.
        seed: of its weights and its order.
        records: the folder of the records, by the configuration.
        made: where the records are until then.

    Raises:
        ConfigError: if nothing says how the run was made.
    """
    entries, complete = provenance.read(model_dir / provenance.RUN), model_dir / COMPLETE_CONFIG
    if not entries or not complete.is_file():
        raise ConfigError(
            f"{model_dir} holds checkpoints, and nothing that says how they were trained ({provenance.RUN}, "
            f"{COMPLETE_CONFIG}). {ANEW}"
        )
    there = reading_from(made, pipeline, records)
    readers = {"training": there.train_input_reader}  # by their use, as `run.json` names it
    if there.eval_input_reader:
        readers["evaluation"] = there.eval_input_reader[0]
    changes = _changes_of_records(entries[-1].get("data"), records, readers)
    if (model_dir / LABEL_MAP).is_file():
        now = Path(there.train_input_reader.label_map_path)
        changes += provenance.class_differences(read_label_map(model_dir / LABEL_MAP), read_label_map(now))
    if entries[-1].get("seed") != seed:
        changes.append(f"seed: {entries[-1].get('seed')} → {seed}")
    return changes + _changes_of_configuration(config.load(complete), pipeline)


def reading_from(folder: Path, pipeline: TrainEvalPipelineConfig, records: Path) -> TrainEvalPipelineConfig:
    """Return a configuration that reads the files in `folder` which the given one reads in `records`."""
    moved = TrainEvalPipelineConfig()
    moved.CopyFrom(pipeline)
    for reader in (moved.train_input_reader, *moved.eval_input_reader):
        reader.label_map_path = _moved(reader.label_map_path, records, folder)
        paths = reader.tf_record_input_reader.input_path
        paths[:] = [_moved(path, records, folder) for path in paths]
    return moved


def _moved(path: str, before: Path, now: Path) -> str:
    return str(now / Path(path).name) if Path(path).parent == before else path


def _changes_of_records(before: Any, records: Path, readers: Mapping[str, InputReader]) -> list[str]:
    """Return what is different in the records from those that `run.json` has under "data"."""
    files = {use: config.input_files(reader) for use, reader in readers.items()}
    changed = []
    for use, paths in files.items():
        with RecordIndex(paths) as index:
            if _by_name(provenance.fingerprints(index)) != _by_name((before or {}).get(use) or {}):
                changed.append(f"the records for {use}")
    if not changed:
        return []
    old = {use: [records / Path(path).name for path in (before or {}).get(use) or ()] for use in files}
    try:
        return _changes_of_images(_images(old), _images(files)) or changed
    except BoxtuneError:  # what the run was trained on is gone
        return changed


def _by_name(fingerprints: Mapping[str, Any]) -> dict[str, Any]:
    return {Path(path).name: value for path, value in fingerprints.items()}


def _images(files: Mapping[str, Iterable[Path]]) -> Images:
    found = {}
    for use, paths in files.items():
        with RecordIndex(list(paths)) as index:
            for number in range(len(index)):
                record = index.read(number)
                names = parse_example(record).features.feature["image/source_id"].bytes_list.value
                name = os.fsdecode(names[0]) if names else str(number)
                found[name] = (use, hashlib.sha256(record).hexdigest())
    return found


def _changes_of_images(before: Images, now: Images) -> list[str]:
    both = sorted(before.keys() & now.keys())
    moved = [name for name in both if before[name][0] != now[name][0]]
    kinds = {
        "added": sorted(now.keys() - before.keys()),
        "missing": sorted(before.keys() - now.keys()),
        "between training and evaluation": moved,
        "changed in itself or its objects": [
            name for name in both if before[name][1] != now[name][1] and name not in moved
        ],
    }
    return [
        f"images {what}: {len(names)} ({some(list(map(printable, names)), _MOST_IMAGES)})"
        for what, names in kinds.items()
        if names
    ]


def _changes_of_configuration(before: TrainEvalPipelineConfig, now: TrainEvalPipelineConfig) -> list[str]:
    """Return the fields in which two configurations differ; another way to the same file is no difference."""
    own, there = (Path(one.train_input_reader.label_map_path).parent for one in (before, now))
    moved = reading_from(there, before, own)
    paths = [one.train_config.fine_tune_checkpoint for one in (moved, now)]
    if all(map(os.path.exists, paths)) and os.path.samefile(*paths):
        moved.train_config.fine_tune_checkpoint = paths[1]
    return provenance.config_differences(moved, now)
