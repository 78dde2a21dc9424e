"""A model from wherever it lies, as what finds objects in images: exported, of a training, or a checkpoint.

TensorFlow and Keras are loaded for the models that need them: files of other formats run where they are not installed.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from boxtune import config
from boxtune.config.pipeline_pb2 import TrainEvalPipelineConfig
from boxtune.data.label_map import LabelMap, read_label_map
from boxtune.errors import CheckpointError, ConfigError
from boxtune.evaluation.exported import (
    LABEL_MAP,
    PIPELINE_CONFIG,
    beside_model,
    floor_of_exported,
    folder_of_exported,
    found_by_exported,
    is_exported,
    load_exported,
    model_file,
)
from boxtune.evaluation.found import BATCH_SIZE, Found, Source
from boxtune.evaluation.thresholds import Thresholds, thresholds_in
from boxtune.silence_stderr import silenced_stderr


@dataclass(frozen=True)
class Finder:
    """A model that is loaded.

    Attributes:
        label_map_path: the file of its classes; None where there is none beside it.
        find: yields what it finds in each of some images, in order.
        records: the folder of the records that it was trained on, by its configuration, if that says it.
        folder: in which it lies, and its thresholds, if it has some.
        step: of the checkpoint; None of an exported model.
        own_labels: its classes, if its file says itself what they are.
        own_thresholds: its file and the thresholds in it, if it has some.
        floor: the score that its detections exceed, whatever is asked for.
    """

    label_map_path: Path | None
    find: Callable[[Iterable[Source]], Iterator[Found]]
    records: Path | None
    folder: Path
    step: int | None = None
    own_labels: LabelMap | None = None
    own_thresholds: tuple[Path, Thresholds] | None = None
    floor: float = 0.0

    @cached_property
    def label_map(self) -> LabelMap:
        """Its classes, none where nothing says what they are; raises DataError if their file is damaged."""
        if self.own_labels is not None:
            return self.own_labels
        return read_label_map(self.label_map_path) if self.label_map_path else LabelMap(())


def exported_of(model: Path) -> Path:
    """Return the exported model of a project's best run, which starts sooner than its checkpoint; else the model."""
    if is_exported(model):
        return model
    with silenced_stderr():  # TensorFlow tells of devices that are not there
        from boxtune.training import project

    return project.exported_of(model)


def load_finder(model: Path, batch_size: int = BATCH_SIZE) -> Finder:
    """Load a model.

    Args:
        model: what `export` wrote, a folder or a file in it, an export of the API, a model directory or project (the
            best checkpoint of its best run), or a checkpoint with its configuration beside it: a folder, a prefix or an
            `.index` file.
        batch_size: images that it is given at a time, if it takes several: an exported model those of one size.

    Raises:
        BoxtuneError: if there is no model, or it is damaged.
    """
    if not (model.exists() or Path(f"{model}.index").exists()):
        raise CheckpointError(
            f"{model}: no such model. Give what `boxtune export` wrote, the --model_dir of a training, or a checkpoint"
        )
    if model_file(model) is None:
        with silenced_stderr():  # TensorFlow tells of devices that are not there
            from boxtune.backends import prepare_backend

        prepare_backend()
    return (_exported if is_exported(model) else _trained)(model, batch_size)


def _exported(model: Path, batch_size: int) -> Finder:
    pipeline = TrainEvalPipelineConfig()
    if path := beside_model(model, PIPELINE_CONFIG):
        with suppress(
            ConfigError
        ):  # of another program's model, perhaps: then nothing says what it was trained on
            pipeline = config.load(path, needs_model=False)
    loaded = load_exported(model)
    text = loaded.thresholds
    return Finder(
        beside_model(model, LABEL_MAP),
        partial(found_by_exported, loaded, batch_size=batch_size),
        _records(pipeline),
        folder_of_exported(model),
        own_labels=loaded.label_map,
        own_thresholds=(loaded.path, thresholds_in(text, loaded.path)) if text is not None else None,
        floor=floor_of_exported(model, loaded),
    )


def _trained(model: Path, batch_size: int) -> Finder:
    from boxtune import models
    from boxtune.evaluation.detecting import compiled_detector, found_by_detector
    from boxtune.training import averages, checkpoints
    from boxtune.training.project import best_checkpoint, best_run, runs_of
    from boxtune.training.run_state import config_beside, own_label_map

    checkpoint = best_checkpoint(best_run(runs_of(model))) if model.is_dir() else model
    prefix = checkpoints.find(checkpoint)
    path = config_beside(checkpoint)
    if path is None:
        raise CheckpointError(
            f"{model}: there is no configuration beside this checkpoint: give the folder of its training, or what "
            "`boxtune export` makes of it"
        )
    pipeline = config.load(path)
    config.refuse(pipeline, path, config.MODEL)
    label_map = own_label_map(prefix)
    detector = models.build(pipeline.model)
    averages.load(detector, prefix, averaged=pipeline.eval_config.use_moving_averages)
    find = partial(
        found_by_detector,
        compiled_detector(detector),
        models.image_resizer(pipeline.model),
        batch_size=batch_size,
    )
    folder, step, floor = Path(prefix).parent, checkpoints.step_of(prefix), config.score_floor(pipeline.model)
    return Finder(label_map, find, _records(pipeline), folder, step, floor=floor)


def _records(pipeline: TrainEvalPipelineConfig) -> Path | None:
    """Return the folder of the first records that a configuration trains on."""
    paths = pipeline.train_input_reader.tf_record_input_reader.input_path
    return Path(paths[0]).parent if paths else None
