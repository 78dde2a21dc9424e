"""The verb `evaluate`: measure a checkpoint, an exported model, or what any other program has found."""

import glob
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from boxtune import config, models
from boxtune.backends import prepare_backend
from boxtune.config import pipeline_pb2
from boxtune.convert import LABEL_MAP_NAME, convert
from boxtune.data.cutting import WHOLE
from boxtune.data.files import refuse_remote, writable_folder
from boxtune.data.input import Records, open_records
from boxtune.data.label_map import (
    LabelMap,
    class_names,
    read_label_map,
    require_numbers_of_model,
    write_label_map,
)
from boxtune.data.preparation import Options
from boxtune.data.tiling import Tiling
from boxtune.errors import BoxtuneError, ConfigError, DataError, many, printable, some
from boxtune.evaluation.detecting import compiled_detector, found_by_detector
from boxtune.evaluation.detections_file import detections_in_file
from boxtune.evaluation.evaluator import Evaluator, evaluate_found
from boxtune.evaluation.exported import (
    CHECKPOINT,
    LABEL_MAP,
    PIPELINE_CONFIG,
    SAVED_MODEL,
    beside_model,
    floor_of_exported,
    folder_of_exported,
    found_by_exported,
    load_exported,
)
from boxtune.evaluation.extras import check_detector_finds
from boxtune.evaluation.of_records import detect_exported, detect_in_tiles
from boxtune.evaluation.thresholds import (
    THRESHOLDS,
    read_thresholds,
    thresholds_of,
    write_thresholds,
)
from boxtune.evaluation.tiles import Find
from boxtune.metrics import metric_sets
from boxtune.metrics.analysis import Analysis, results_of
from boxtune.metrics.comparison import compare
from boxtune.metrics.results import Evaluation
from boxtune.report import data_set
from boxtune.report.evaluation import (
    JSON_NAME,
    analysis_of,
    comparison_text,
    read_evaluation,
    show_in_tensorboard,
    table_head,
    table_row,
    text,
    write_json,
)
from boxtune.report.evaluation_page import PAGE_NAME, write_page
from boxtune.report.previews import previews_by_name
from boxtune.run_history import RunHistory, read_history, run_of
from boxtune.training import averages, checkpoints
from boxtune.training.checkpoint_watcher import watch_checkpoints
from boxtune.training.project import best_checkpoint, best_run, runs_of
from boxtune.training.run_state import BEST, EXPORTED, own_label_map, trained_in

_log = logging.getLogger("boxtune")

_RECORD_PATTERNS = ("validation-*.tfrecord", "test-*.tfrecord", "*.tfrecord*", "*.record*")
"""Of a folder of records, those that fit the first of these that any fits."""

_WHOLE_PATTERN = f"{WHOLE}-*.tfrecord"
"""Of validation images that were cut for training, what `evaluate --tile` takes before all others."""

_ON_WHOLE_IMAGES = "On the validation images as they were before they were cut into tiles."
_ON_TILES = "On tiles of the validation images; with --tile it is measured on the whole images."

_WITHOUT_MODEL = (
    "An exported model needs no model's section: give another file, of an eval_config alone or empty, with "
    "--pipeline_config_path."
)


def evaluate(
    pipeline_config_path: str | Path | None = None,
    checkpoint: str | Path | None = None,
    *,
    model_dir: str | Path | None = None,
    saved_model: str | Path | None = None,
    detections: str | Path | None = None,
    data: str | Path | None = None,
    reading: Options | None = None,
    label_map: str | Path | None = None,
    output_dir: str | Path | None = None,
    compare_with: str | Path | None = None,
    min_precision: float | None = None,
    tiling: Tiling | None = None,
    overrides: Sequence[str] = (),
) -> Analysis:
    """Evaluate a checkpoint, an exported model or a file of detections; return all there is to say about it.

    Args:
        pipeline_config_path: the configuration that the checkpoint was trained with; for an exported model by default
            the one beside it, for detections not needed. For these two a file of an `eval_config` is enough.
        checkpoint: a folder (its newest checkpoint), a prefix or an `.index` file.
        model_dir: of a training, or a project of several: gives the two above, those of the best checkpoint of the best
            run, and `output_dir` their defaults.
        saved_model: in place of a checkpoint: what `export` wrote, a folder or a file in it, or an exporter of the API.
        detections: in place of a checkpoint: a file of COCO's results JSON.
        data: what to measure on, in place of the configuration's `eval_input_reader`: a folder or pattern of TFRecords,
            or a folder of annotated images in any known format.
        reading: how annotated images are read; all of them are measured on, whatever it says of a split.
        label_map: of the model; by default the configuration's, the one beside the model, or that of the data.
        output_dir: if given, takes `evaluation.json`, the page `evaluation.html`, and TensorBoard's `eval` folder.
        compare_with: the `evaluation.json` of an earlier run on the same images, to be shown beside this one.
        min_precision: if given, from 0 to 1: for each class the threshold of the highest F1 with at least that
            precision is kept beside the model, in `thresholds.json`, where `predict` takes it from.
        tiling: if given, images larger than a tile are looked at in tiles and as a whole.
        overrides: "path.to.field=value" changes of the configuration, such as "eval_config.metrics_set=[...]".

    Raises:
        BoxtuneError: for anything the user can fix.
    """
    prepare_backend()
    if sum(given is not None for given in (model_dir or checkpoint, saved_model, detections)) != 1:
        raise ConfigError("give --model_dir or --checkpoint, or else one of --saved_model and --detections")
    if min_precision is not None and not 0 <= min_precision <= 1:
        raise ConfigError(f"min_precision is {min_precision:g}; it must be from 0 to 1")
    if min_precision is not None and detections:
        raise ConfigError("--min_precision keeps thresholds beside a model: leave it out with --detections")
    if tiling and detections:
        raise ConfigError("--tile is about how a model looks at images: leave it out with --detections")
    if model_dir is not None and checkpoint is None:
        model_dir = best_run(runs_of(Path(model_dir)))
        checkpoint = best_checkpoint(model_dir)
    if checkpoint is not None:
        pipeline_config_path, checkpoint = trained_in(model_dir, pipeline_config_path, checkpoint)
    output_dir = output_dir or model_dir
    pipeline = _configuration(
        pipeline_config_path, saved_model, overrides, needs_model=checkpoint is not None
    )
    earlier = read_evaluation(Path(compare_with)) if compare_with else None
    prefix = checkpoints.find(checkpoint) if checkpoint is not None else None
    labels = _label_map(pipeline, label_map, saved_model, prefix)
    if data is None and not pipeline.eval_input_reader:
        raise ConfigError("what is it measured on? No configuration says so: give --data")
    model = load_exported(Path(saved_model)) if saved_model is not None else None
    own = model.label_map if model is not None and label_map is None else None
    if labels is None and own is None and detections is None:
        raise ConfigError(f"{checkpoint or saved_model}: what are the model's classes? Give its --label_map")

    if data is None and detections is None and (whole := _whole_images(pipeline)):
        data = whole if tiling else None
        print(_ON_WHOLE_IMAGES if tiling else _ON_TILES, flush=True)
    with _records(pipeline, data, reading, labels, pipeline_config_path, tiling, own) as records:
        if earlier and earlier.class_names != tuple(class_names(records.label_map, records.num_classes)):
            others = some(list(map(printable, earlier.class_names)), 5)
            raise DataError(f"{compare_with}: is of other classes: {others}")
        if prefix is not None:
            detector = models.build(pipeline.model)
            averages.load(detector, prefix, averaged=pipeline.eval_config.use_moving_averages)
            step = checkpoints.step_of(prefix)
            if tiling:
                check_detector_finds(pipeline.eval_config, detector.finds)
                look = partial(
                    found_by_detector, compiled_detector(detector), models.image_resizer(pipeline.model)
                )
                floor = config.score_floor(pipeline.model)
                evaluation = _in_tiles(look, tiling, records, pipeline, floor, step)
            else:
                evaluation = Evaluator.from_config(detector, records, pipeline).evaluate(step)
        elif model is not None:
            floor = floor_of_exported(Path(saved_model or ""), model)
            if tiling:
                evaluation = _in_tiles(partial(found_by_exported, model), tiling, records, pipeline, floor)
            else:
                find = partial(detect_exported, model)
                evaluation = evaluate_found(
                    find, records, pipeline.eval_config, how=config.words_of_floor(floor)
                )
        else:
            annotated = (reading and reading.annotations) or data
            where = Path(annotated) if annotated else None
            renamed = reading.rename if reading else {}
            find = partial(detections_in_file, Path(detections or ""), where, renamed=renamed)
            evaluation = evaluate_found(find, records, pipeline.eval_config)
        names = [result.name for result in evaluation.results]
        previews = previews_by_name(names, records.encoded_image) if output_dir is not None else None

    # What people call it: the name of its file or folder, of a part of it that of the whole.
    measured = Path(checkpoint or saved_model or detections or "").resolve()
    is_part = measured.name.startswith(("ckpt-", BEST, SAVED_MODEL, CHECKPOINT))
    title = measured.parent.name if is_part else measured.name
    analysis, comparison = analysis_of(evaluation, title, previews), None
    print(text(analysis, evaluation.seconds), flush=True)
    if earlier:
        comparison = compare(results_of(earlier), evaluation.results, evaluation.class_names)
        print(comparison_text(comparison, earlier.title), flush=True)
    if min_precision is not None:
        _keep_thresholds(evaluation, min_precision, _folder_of_model(prefix, saved_model))
    if output_dir is not None:
        folder = writable_folder(Path(output_dir))
        write_json(analysis, folder / JSON_NAME)
        write_page(folder / PAGE_NAME, analysis, earlier, comparison, _history(prefix))
        show_in_tensorboard(analysis, evaluation.examples, pipeline, folder)
        print(f"The page: {folder / PAGE_NAME}", flush=True)
    return analysis


def _in_tiles(
    find: Find,
    tiling: Tiling,
    records: Records,
    pipeline: pipeline_pb2.TrainEvalPipelineConfig,
    floor: float,
    step: int = 0,
) -> Evaluation:
    """Return the evaluation of what a model, whose detections exceed `floor`, finds in tiles and the whole of each."""
    detect = partial(detect_in_tiles, find, tiling)
    how = ", ".join(filter(None, (f"in {tiling}", config.words_of_floor(floor))))
    return evaluate_found(detect, records, pipeline.eval_config, step=step, how=how)


def _history(prefix: str | None) -> RunHistory | None:
    """Return the history of the run that has written a checkpoint, as far as its folder knows."""
    run = run_of(prefix) if prefix else None
    try:
        return read_history(run) if run else None
    except BoxtuneError as error:
        _log.warning("The page has no learning curve: %s", error)
        return None


def evaluate_checkpoints(
    pipeline_config_path: str | Path | None = None,
    checkpoint_dir: str | Path | None = None,
    *,
    model_dir: str | Path | None = None,
    output_dir: str | Path | None = None,
    data: str | Path | None = None,
    reading: Options | None = None,
    label_map: str | Path | None = None,
    overrides: Sequence[str] = (),
    wait: bool = False,
    timeout: float = 3600.0,
) -> list[Evaluation]:
    """Evaluate every checkpoint of a training, the oldest first, and print a table of them.

    Each is shown in TensorBoard; `evaluation.json` in `output_dir` is that of the last.

    Args:
        pipeline_config_path: the configuration that they were trained with.
        checkpoint_dir: their folder.
        model_dir: of the training, or a project, whose newest run is taken: gives these two their defaults.
        output_dir: takes `evaluation.json` and TensorBoard's `eval` folder; by default the folder of the checkpoints.
        data, reading, label_map: as for `evaluate`.
        overrides: "path.to.field=value" changes of the configuration.
        wait: go on with those that a training still writes, until it has ended or `timeout` is over.
        timeout: how many seconds without a new checkpoint end the waiting.

    Raises:
        BoxtuneError: for anything the user can fix; a checkpoint that cannot be evaluated is never passed over.
    """
    prepare_backend()
    if model_dir is not None:
        model_dir = runs_of(Path(model_dir))[-1]
    pipeline_config_path, folder = trained_in(model_dir, pipeline_config_path, checkpoint_dir)
    output_dir = Path(output_dir or model_dir or folder)
    pipeline = _configuration(pipeline_config_path, None, overrides)
    labels = _label_map(pipeline, label_map, None, str(folder / "ckpt"))
    with _records(pipeline, data, reading, labels, pipeline_config_path) as records:
        detector = models.build(pipeline.model)
        evaluator = Evaluator.from_config(detector, records, pipeline)
        evaluations: list[Evaluation] = []
        for prefix in watch_checkpoints(
            folder, wait=wait, last_step=pipeline.train_config.num_steps, timeout=timeout
        ):
            averages.load(detector, prefix, averaged=pipeline.eval_config.use_moving_averages)
            evaluation = evaluator.evaluate(checkpoints.step_of(prefix))
            analysis = analysis_of(evaluation, folder.resolve().name)
            write_json(analysis, writable_folder(output_dir) / JSON_NAME)
            show_in_tensorboard(analysis, evaluation.examples, pipeline, output_dir)
            if not evaluations:
                print(table_head(evaluation), flush=True)
            evaluations.append(evaluation)
            print(table_row(evaluation), flush=True)
    return evaluations


def default_output_dir(model_dir: Path | None, checkpoint: Path | None) -> Path | None:
    """Return where the command line writes an evaluation unless the user says otherwise; None for that of the run."""
    if model_dir or not checkpoint:
        return None if model_dir else Path("evaluation")
    return checkpoint if checkpoint.is_dir() else checkpoint.parent


def _folder_of_model(prefix: str | None, saved_model: str | Path | None) -> Path:
    """Return the folder of a checkpoint, or else of an exported model, given that folder or its `saved_model`."""
    return Path(prefix).parent if prefix is not None else folder_of_exported(Path(saved_model or ""))


def _keep_thresholds(evaluation: Evaluation, min_precision: float, folder: Path) -> None:
    """Keep the best thresholds beside the model in `folder`, and where a training has exported that one, there, too."""
    found = thresholds_of(evaluation, min_precision)
    exported = (folder.parent if folder.name == BEST else folder) / EXPORTED
    is_same = (exported / THRESHOLDS).exists() and read_thresholds(exported / THRESHOLDS).step == found.step
    kept = [write_thresholds(found, one) for one in (folder, *([exported] if is_same else []))]
    known = {one.name for one in found.classes}
    without = [printable(name) for name in evaluation.class_names if name not in known]
    print(f"Thresholds {found}{f'; for {some(without, 5)} none' if without else ''}")
    print(f"  kept in {', '.join(map(str, kept))}, for `predict`", flush=True)


def _configuration(
    path: str | Path | None,
    saved_model: str | Path | None,
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
    metric_sets.check_names(pipeline.eval_config.metrics_set)
    return pipeline


def _label_map(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig,
    given: str | Path | None,
    saved_model: str | Path | None,
    prefix: str | None,
) -> Path | None:
    """Return the label map of the model, None if only the data can know; that of a run is kept with its checkpoints."""
    beside = beside_model(Path(saved_model), LABEL_MAP) if saved_model else None
    beside = beside or (own_label_map(prefix) if prefix else None)
    if given is not None:
        require_numbers_of_model(Path(given), beside)
        return Path(given)
    readers = [*pipeline.eval_input_reader, pipeline.train_input_reader]
    configured = [Path(reader.label_map_path) for reader in readers if reader.label_map_path]
    return beside or next(iter(configured), None)


@contextmanager
def _records(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig,
    data: str | Path | None,
    reading: Options | None,
    label_map: Path | None,
    source: str | Path | None,
    tiling: Tiling | None = None,
    own: LabelMap | None = None,
) -> Iterator[Records]:
    """Open what to measure on: the configuration's records, others, or annotated images made into records.

    `own` are the classes that the file of the model names, where there is no `label_map`.
    """
    with tempfile.TemporaryDirectory(prefix="boxtune-") as folder:
        if own is not None and label_map is None:
            label_map = Path(folder) / LABEL_MAP
            write_label_map(own, label_map)
        if data is None:
            _refuse_reading(reading, "the configuration's")
            for reader in pipeline.eval_input_reader:
                reader.label_map_path = str(label_map) if label_map else reader.label_map_path
            config.check_for_evaluation(pipeline, source)
            reader = pipeline.eval_input_reader[0]
        else:
            reader = _reader(Path(data), reading, label_map, Path(folder) / "records", tiling)
        labels = read_label_map(Path(reader.label_map_path))
        yield open_records(reader, _num_classes(pipeline, labels, reader.label_map_path), label_map=labels)


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
            f"{where} has a class of id {highest}, the model has {many(num_classes, 'class', 'classes')}: they do not "
            "belong together; give the model's own with --label_map"
        )
    return num_classes


def _whole_images(pipeline: pipeline_pb2.TrainEvalPipelineConfig) -> Path | None:
    """Return the records of whole images beside those of tiles that a configuration evaluates on, if there are any."""
    paths = pipeline.eval_input_reader[0].tf_record_input_reader.input_path
    folder = Path(paths[0]).parent if len(paths) == 1 else None
    if folder is None or not any(folder.glob(_WHOLE_PATTERN)):
        return None
    return Path(glob.escape(str(folder))) / _WHOLE_PATTERN


def _reader(
    data: Path,
    reading: Options | None,
    label_map: Path | None,
    made: Path,
    tiling: Tiling | None = None,
) -> pipeline_pb2.InputReader:
    """Return an input reader for a folder or pattern of records, or for annotated images, made into records."""
    pattern = _records_in(data, ((_WHOLE_PATTERN,) if tiling else ()) + _RECORD_PATTERNS)
    if pattern is None:
        refuse_remote(data)
        if not data.is_dir():
            raise DataError(f"{data}: no such records, nor a folder of annotated images")
        in_one_part = replace(
            reading or Options(), validation_fraction=0.0, validation_files=None, folds=None, fold=None
        )
        converted = convert(data, made, replace(in_one_part, label_map=label_map))
        print(f"{data}: {data_set.summary(converted.prepared.findings)}.", flush=True)
        pattern, label_map = made / "train-*", made / LABEL_MAP_NAME
    else:
        _refuse_reading(reading, str(data))
        if label_map is None:
            label_map = data.parent / LABEL_MAP_NAME if not data.is_dir() else data / LABEL_MAP_NAME
    reader = pipeline_pb2.InputReader(label_map_path=str(label_map))
    reader.tf_record_input_reader.input_path.append(str(pattern))
    return reader


def _refuse_reading(reading: Options | None, records: str) -> None:
    """Raise ConfigError if it is said how annotations are read, and there are only records."""
    if reading not in (None, Options()):
        raise ConfigError(
            f"flags about reading annotated images, such as --boxes, do not go with records ({records}): give --data"
            " a folder of annotated images"
        )


def _records_in(data: Path, patterns: Sequence[str]) -> Path | None:
    """Return the pattern of the records that `data` stands for, of a folder the first that fits; None if none does."""
    if data.is_dir():
        folder = Path(glob.escape(str(data)))
        return next((folder / pattern for pattern in patterns if any(data.glob(pattern))), None)
    return data if data.is_file() or glob.has_magic(str(data)) else None
