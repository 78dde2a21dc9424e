"""The verb `evaluate`: measure a checkpoint, an exported model, or what any other program has found."""

import glob
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from boxtune import config, models
from boxtune.backends import prepare_backend
from boxtune.config import pipeline_pb2
from boxtune.convert import LABEL_MAP_NAME, convert
from boxtune.data.files import writable_folder
from boxtune.data.input import Records, open_records
from boxtune.data.label_map import LabelMap, read_label_map
from boxtune.data.preparation import Options
from boxtune.errors import ConfigError, DataError, printable
from boxtune.evaluation.detections_file import detections_of
from boxtune.evaluation.evaluator import Evaluator, metric_options
from boxtune.evaluation.exported import (
    CHECKPOINT,
    LABEL_MAP,
    PIPELINE_CONFIG,
    SAVED_MODEL,
    beside_model,
    detect_exported,
    load_exported,
)
from boxtune.evaluation.shapes import wanted_by
from boxtune.evaluation.truth import class_names
from boxtune.metrics import metric_sets
from boxtune.metrics.analysis import Analysis, results_of
from boxtune.metrics.comparison import compare
from boxtune.metrics.evaluation import Evaluation, Example, evaluation_of
from boxtune.metrics.results import ImageResult
from boxtune.report import data_set
from boxtune.report.evaluation import (
    JSON_NAME,
    PAGE_NAME,
    analysis_of,
    comparison_text,
    read_evaluation,
    show_in_tensorboard,
    table_head,
    table_row,
    text,
    write_evaluation,
    write_json,
)
from boxtune.report.previews import Previews
from boxtune.training import averages, checkpoints
from boxtune.training.following import all_checkpoints
from boxtune.training.run_state import BEST

_RECORD_PATTERNS = ("validation-*.tfrecord", "test-*.tfrecord", "*.tfrecord*", "*.record*")
"""Of a folder of records, those that fit the first of these that any fits."""

_WITHOUT_MODEL = (
    "An exported model needs no model's section: give another file, of an eval_config alone or empty, with "
    "--pipeline_config_path."
)

See = Callable[[Example], object]


def evaluate(
    pipeline_config_path: str | Path | None = None,
    checkpoint: str | Path | None = None,
    *,
    saved_model: str | Path | None = None,
    detections: str | Path | None = None,
    data: str | Path | None = None,
    label_map: str | Path | None = None,
    metrics_set: Sequence[str] = (),
    output_dir: str | Path | None = None,
    compare_with: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> Analysis:
    """Evaluate a checkpoint, an exported model or a file of detections; return all there is to say about it.

    Args:
        pipeline_config_path: the configuration that the checkpoint was trained with; for an exported model by default
            the one beside it, for detections not needed. For these two a file of an `eval_config` is enough.
        checkpoint: a folder (its newest checkpoint), a prefix or an `.index` file.
        saved_model: in place of a checkpoint: what `export` wrote, or an exporter of the API.
        detections: in place of a checkpoint: a file of COCO's results JSON.
        data: what to measure on, in place of the configuration's `eval_input_reader`: a folder or pattern of TFRecords,
            or a folder of annotated pictures in any known format.
        label_map: of the model; by default the configuration's, the one beside the model, or that of the data.
        metrics_set: in place of `eval_config.metrics_set`.
        output_dir: if given, takes `evaluation.json`, the page `evaluation.html`, and TensorBoard's `eval` folder.
        compare_with: the `evaluation.json` of an earlier run on the same pictures, to be shown beside this one.
        overrides: "path.to.field=value" changes of the configuration.

    Raises:
        BoxtuneError: for anything the user can mend.
    """
    prepare_backend()
    if sum(given is not None for given in (checkpoint, saved_model, detections)) != 1:
        raise ConfigError("give one of --checkpoint, --saved_model and --detections")
    if checkpoint is not None and pipeline_config_path is None:
        raise ConfigError(f"{checkpoint}: give the --pipeline_config_path that it was trained with")
    pipeline = _configuration(
        pipeline_config_path, saved_model, metrics_set, overrides, needs_model=checkpoint is not None
    )
    earlier = read_evaluation(Path(compare_with)) if compare_with else None
    labels = _label_map(pipeline, label_map, saved_model)
    if data is None and not pipeline.eval_input_reader:
        raise ConfigError("what is it measured on? No configuration says so: give --data")
    if labels is None and detections is None:
        raise ConfigError(f"{checkpoint or saved_model}: what are the model's classes? Give its --label_map")
    with _records(pipeline, data, labels, pipeline_config_path) as records:
        if earlier and earlier.class_names != tuple(class_names(records.label_map, records.num_classes)):
            raise DataError(f"{compare_with}: is of other classes: {_some(earlier.class_names)}")
        previews = Previews(len(records))
        see = previews.add if output_dir else None
        if checkpoint is not None:
            evaluation = _of_checkpoint(pipeline, Path(checkpoint), records, see)
        elif saved_model is not None:
            evaluation = _of_exported(pipeline, Path(saved_model), records, see)
        else:
            where = Path(data) if data is not None else None
            evaluation = _of_detections(pipeline, Path(detections or ""), where, records, see)
    analysis = analysis_of(
        evaluation, _title(Path(checkpoint or saved_model or detections or "")), previews.urls
    )
    print(text(analysis, evaluation.seconds), flush=True)
    comparison = None
    if earlier:
        comparison = compare(results_of(earlier), evaluation.results, evaluation.class_names)
        print(comparison_text(comparison, earlier.title), flush=True)
    if output_dir is not None:
        write_evaluation(analysis, Path(output_dir), earlier, comparison)
        show_in_tensorboard(analysis, evaluation.examples, pipeline, Path(output_dir))
        print(f"To look at: {Path(output_dir) / PAGE_NAME}", flush=True)
    return analysis


def evaluate_checkpoints(
    pipeline_config_path: str | Path,
    checkpoint_dir: str | Path,
    *,
    output_dir: str | Path,
    data: str | Path | None = None,
    label_map: str | Path | None = None,
    metrics_set: Sequence[str] = (),
    overrides: Sequence[str] = (),
    wait: bool = False,
    timeout: float = 3600.0,
) -> list[Evaluation]:
    """Evaluate every checkpoint of a training, the oldest first, and print a table of them.

    Each is shown in TensorBoard; `evaluation.json` in `output_dir` is that of the last.

    Args:
        pipeline_config_path: the configuration that they were trained with.
        checkpoint_dir: the model directory of the training.
        output_dir: takes `evaluation.json` and TensorBoard's `eval` folder.
        data, label_map, metrics_set: as for `evaluate`.
        overrides: "path.to.field=value" changes of the configuration.
        wait: go on with those that a training still writes, until it has ended or `timeout` is over.
        timeout: how many seconds without a new checkpoint end the waiting.

    Raises:
        BoxtuneError: for anything the user can mend; a checkpoint that cannot be evaluated is never passed over.
    """
    prepare_backend()
    pipeline = _configuration(pipeline_config_path, None, metrics_set, overrides)
    labels = _label_map(pipeline, label_map, None)
    with _records(pipeline, data, labels, pipeline_config_path) as records:
        detector = models.build(pipeline.model)
        evaluator = Evaluator.from_config(detector, records, pipeline)
        evaluations: list[Evaluation] = []
        for prefix in all_checkpoints(
            Path(checkpoint_dir), wait=wait, last_step=pipeline.train_config.num_steps, timeout=timeout
        ):
            averages.load(detector, prefix, averaged=pipeline.eval_config.use_moving_averages)
            evaluation = evaluator.evaluate(checkpoints.step_of(prefix))
            analysis = analysis_of(evaluation, Path(checkpoint_dir).resolve().name)
            write_json(analysis, writable_folder(Path(output_dir)) / JSON_NAME)
            show_in_tensorboard(analysis, evaluation.examples, pipeline, Path(output_dir))
            if not evaluations:
                print(table_head(evaluation), flush=True)
            evaluations.append(evaluation)
            print(table_row(evaluation), flush=True)
    return evaluations


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(map(printable, names[:most])) + (", ..." if len(names) > most else "")


def _title(measured: Path) -> str:
    """Return what people call what was measured: the name of its file or folder, of a part of it that of the whole."""
    path = measured.resolve()
    parts = ("ckpt-", BEST, SAVED_MODEL, CHECKPOINT)
    return path.parent.name if path.name.startswith(parts) else path.name


def _configuration(
    path: str | Path | None,
    saved_model: str | Path | None,
    metrics_set: Sequence[str],
    overrides: Sequence[str],
    *,
    needs_model: bool = True,
) -> pipeline_pb2.TrainEvalPipelineConfig:
    """Return the configuration to evaluate by; an empty one where there is none."""
    beside = beside_model(Path(saved_model), PIPELINE_CONFIG) if saved_model and not path else None
    pipeline = pipeline_pb2.TrainEvalPipelineConfig()
    try:
        if found := path or beside:
            pipeline = config.load(found, overrides, needs_model=needs_model)
        else:
            for override in overrides:
                config.apply_override(pipeline, override)
        config.refuse(pipeline, found, (*(config.MODEL if needs_model else ()), "eval_config"))
    except ConfigError as error:
        if not beside:
            raise
        raise ConfigError(f"{error} {_WITHOUT_MODEL}") from None
    if metrics_set:
        del pipeline.eval_config.metrics_set[:]
        pipeline.eval_config.metrics_set.extend(metrics_set)
    metric_sets.check_names(pipeline.eval_config.metrics_set)
    return pipeline


def _label_map(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig,
    given: str | Path | None,
    saved_model: str | Path | None,
) -> Path | None:
    """Return the label map of the model, None if only the data can know."""
    if given is not None:
        return Path(given)
    beside = beside_model(Path(saved_model), LABEL_MAP) if saved_model else None
    readers = [*pipeline.eval_input_reader, pipeline.train_input_reader]
    configured = [Path(reader.label_map_path) for reader in readers if reader.label_map_path]
    return beside or next(iter(configured), None)


@contextmanager
def _records(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig,
    data: str | Path | None,
    label_map: Path | None,
    source: str | Path | None,
) -> Iterator[Records]:
    """Open what to measure on: the configuration's records, others, or annotated pictures made into records."""
    with tempfile.TemporaryDirectory(prefix="boxtune-") as folder:
        if data is None:
            for reader in pipeline.eval_input_reader:
                reader.label_map_path = str(label_map) if label_map else reader.label_map_path
            config.check_for_evaluation(pipeline, source)
            reader = pipeline.eval_input_reader[0]
        else:
            reader = _reader(Path(data), label_map, Path(folder) / "records")
        labels = read_label_map(Path(reader.label_map_path))
        num_classes = _num_classes(pipeline, labels, reader.label_map_path)
        yield open_records(reader, num_classes, label_map=labels)


def _num_classes(pipeline: pipeline_pb2.TrainEvalPipelineConfig, labels: LabelMap, where: str) -> int:
    """Return how many classes there are, by the model if there is one.

    Raises:
        ConfigError: if the label map knows more.
    """
    highest = max(label.id for label in labels.labels)
    if not pipeline.HasField("model"):
        return highest
    num_classes = models.num_classes(pipeline.model)
    if highest > num_classes:
        raise ConfigError(
            f"{where} has a class of id {highest}, the model has {num_classes} classes: they do not belong together; "
            "give the model's own with --label_map"
        )
    return num_classes


def _reader(data: Path, label_map: Path | None, made: Path) -> pipeline_pb2.InputReader:
    """Return an input reader for a folder or pattern of records, or for annotated pictures, made into records."""
    pattern = _records_in(data)
    if pattern is None:
        if not data.is_dir():
            raise DataError(f"{data}: no such records, nor a folder of annotated pictures")
        converted = convert(data, made, Options(label_map=label_map, validation_fraction=0.0))
        print(f"{data}: {data_set.summary(converted.prepared.findings)}.", flush=True)
        pattern, label_map = made / "train-*", made / LABEL_MAP_NAME
    elif label_map is None:
        label_map = data.parent / LABEL_MAP_NAME if not data.is_dir() else data / LABEL_MAP_NAME
    reader = pipeline_pb2.InputReader(label_map_path=str(label_map))
    reader.tf_record_input_reader.input_path.append(str(pattern))
    return reader


def _records_in(data: Path) -> Path | None:
    """Return the pattern of the records that `data` stands for, None if it has none."""
    if data.is_dir():
        folder = Path(glob.escape(str(data)))
        return next((folder / pattern for pattern in _RECORD_PATTERNS if any(data.glob(pattern))), None)
    return data if data.is_file() or glob.has_magic(str(data)) else None


def _of_checkpoint(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig, checkpoint: Path, records: Records, see: See | None
) -> Evaluation:
    prefix = checkpoints.find(checkpoint)
    detector = models.build(pipeline.model)
    averages.load(detector, prefix, averaged=pipeline.eval_config.use_moving_averages)
    return Evaluator.from_config(detector, records, pipeline).evaluate(checkpoints.step_of(prefix), see)


def _of_exported(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig, model: Path, records: Records, see: See | None
) -> Evaluation:
    started = time.perf_counter()
    wanted = wanted_by(pipeline.eval_config, records)
    options = metric_options(pipeline.eval_config, records, wanted.places)
    first = _First(pipeline.eval_config.num_visualizations, see)
    results = detect_exported(load_exported(model), records, first, wanted)
    return _measured(pipeline, results, records, options, started, first.pictures)


def _of_detections(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig,
    file: Path,
    data: Path | None,
    records: Records,
    see: See | None,
) -> Evaluation:
    started = time.perf_counter()
    wanted = wanted_by(pipeline.eval_config, records)
    options = metric_options(pipeline.eval_config, records, wanted.places)
    first = _First(pipeline.eval_config.num_visualizations, see)
    results = detections_of(file, records, data, first, wanted)
    return _measured(pipeline, results, records, options, started, first.pictures)


class _First:
    """Keeps the first `count` pictures of those that it is shown, and shows all of them to `see`."""

    def __init__(self, count: int, see: See | None) -> None:
        self._count, self._see = count, see
        self.pictures: list[npt.NDArray[np.uint8]] = []

    def __call__(self, example: Example) -> None:
        if len(self.pictures) < self._count:
            self.pictures.append(example.picture)
        if self._see:
            self._see(example)


def _measured(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig,
    results: Sequence[ImageResult],
    records: Records,
    options: metric_sets.Options,
    started: float,
    pictures: Sequence[npt.NDArray[np.uint8]],
) -> Evaluation:
    names = class_names(records.label_map, records.num_classes)
    return evaluation_of(
        results,
        names,
        metrics=metric_sets.measure(pipeline.eval_config.metrics_set, results, names, options),
        seconds=time.perf_counter() - started,
        examples=[Example(result, picture) for result, picture in zip(results, pictures, strict=False)],
    )
