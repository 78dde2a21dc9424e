"""An evaluation for people: as text, and as images with detections and groundtruth side by side."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from boxtune.config import pipeline_pb2
from boxtune.data.files import read_text, whole_file, writable_folder
from boxtune.errors import DataError, many, printable
from boxtune.metrics.analysis import Analysis, analyse
from boxtune.metrics.coco import NAMES
from boxtune.metrics.comparison import Comparison, Difference
from boxtune.metrics.metric_sets import NOT_MEASURED, explain
from boxtune.metrics.results import Evaluation, Example
from boxtune.report.box_drawing import Box, draw_boxes, side_by_side
from boxtune.report.evaluation_json import from_json, to_json
from boxtune.report.tensorboard import write_summaries

JSON_NAME = "evaluation.json"
"""In the model directory: the newest evaluation, whole."""

MAX_JSON_BYTES = 1 << 30

MAX_CLASSES_SHOWN = 20
"""That the text has a row for; of more, those of the lowest AP."""

_ROWS = (
    "AP   IoU 0.50:0.95",
    "AP   IoU 0.50",
    "AP   IoU 0.75",
    "AP   IoU 0.50:0.95  small",
    "AP   IoU 0.50:0.95  medium",
    "AP   IoU 0.50:0.95  large",
    "AR   1 detection",
    "AR   10 detections",
    "AR   100 detections",
    "AR   100 detections small",
    "AR   100 detections medium",
    "AR   100 detections large",
)
_TABLE = {
    "mAP": "DetectionBoxes_Precision/mAP",
    "AP50": "DetectionBoxes_Precision/mAP@.50IOU",
    "AP75": "DetectionBoxes_Precision/mAP@.75IOU",
    "AR100": "DetectionBoxes_Recall/AR@100",
    "loss": "Loss/total_loss",
}
_COLUMNS = {
    "objects": "num_objects",
    "detections": "num_detections",
    "AP": "AP",
    "AP50": "AP50",
    "AR100": "AR100",
    "threshold": "best_threshold",
    "precision": "precision",
    "recall": "recall",
}


def publish(evaluation: Evaluation, pipeline: pipeline_pb2.TrainEvalPipelineConfig, model_dir: Path) -> None:
    """Print an evaluation of a training, keep it as JSON, and show it in TensorBoard."""
    analysis = analysis_of(evaluation, model_dir.resolve().name)
    print(text(analysis, evaluation.seconds), flush=True)
    write_json(analysis, writable_folder(model_dir) / JSON_NAME)
    show_in_tensorboard(analysis, evaluation.examples, pipeline, model_dir)


def analysis_of(evaluation: Evaluation, title: str, previews: Mapping[str, str] | None = None) -> Analysis:
    """Return all there is to say about an evaluation; `previews` are data URLs by the names of images."""
    return analyse(
        evaluation.results,
        evaluation.class_names,
        title=title,
        step=evaluation.step or None,
        metrics=evaluation.metrics,
        losses=evaluation.losses,
        previews=previews,
        how=evaluation.how,
    )


def write_json(analysis: Analysis, path: Path) -> None:
    """Write an analysis as JSON."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump(to_json(analysis), file, allow_nan=False)
        file.write("\n")


def read_evaluation(path: Path) -> Analysis:
    """Return the evaluation that a file `evaluation.json` holds.

    Raises:
        DataError: naming the file, if it cannot be read or is none.
    """
    try:
        return from_json(json.loads(read_text(path, max_bytes=MAX_JSON_BYTES)))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def show_in_tensorboard(
    analysis: Analysis,
    examples: Sequence[Example],
    pipeline: pipeline_pb2.TrainEvalPipelineConfig,
    model_dir: Path,
) -> None:
    """Write an evaluation to the folder where TensorBoard looks for that of the API."""
    settings = pipeline.eval_config
    images = side_by_side_images(
        examples,
        analysis.class_names,
        min_score=settings.min_score_threshold,
        max_boxes=settings.max_num_boxes_to_visualize,
    )
    readers = pipeline.eval_input_reader
    folder = model_dir / "eval" / (readers[0].name if readers else "")
    write_summaries(analysis, folder, analysis.step or 0, images)


def text(analysis: Analysis, seconds: float) -> str:
    """Return an evaluation as lines: the headline numbers, the classes, and the kinds of error."""
    what = "Evaluation" if analysis.step is None else f"Evaluation of step {analysis.step}"
    of = _on(len(analysis.images), analysis.num_objects)
    how = f", {analysis.how}" if analysis.how else ""
    title = f"{what} on {of}{how} ({seconds:.1f} s)"
    return "\n".join([title, *_numbers(analysis), *_classes(analysis), *_errors(analysis)])


def _on(num_images: int, num_objects: int) -> str:
    return f"{many(num_images, 'image')} with {many(num_objects, 'object')}"


def _numbers(analysis: Analysis) -> Iterator[str]:
    """Return COCO's twelve numbers under names for people, and all others by their tags."""
    coco = dict(zip(NAMES, _ROWS, strict=True))
    shown = {tag: coco.get(tag, printable(tag)) for tag in analysis.metrics if "ByCategory" not in tag}
    width = max(map(len, shown.values()), default=0) + 1
    for tag, name in shown.items():
        value = analysis.metrics[tag]
        line = f"{value:6.3f}" if value != NOT_MEASURED else f" {explain(tag)}"
        interval = analysis.intervals.get(tag)
        within = f"   95 % confidence interval {interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
        yield f"  {name:{width}}{line}{within}"


def _classes(analysis: Analysis) -> list[str]:
    worst = sorted(analysis.per_class, key=lambda row: (row.AP is None, row.AP or 0.0))[:MAX_CLASSES_SHOWN]
    shown = {id(row) for row in worst}
    rows = [row for row in analysis.per_class if id(row) in shown]
    names = [printable(row.name) for row in rows]
    width = max([len("class"), *map(len, names)])
    more = len(analysis.per_class) - len(rows)
    return [
        f"  {'class':{width}}" + "".join(f"  {column:>10}" for column in _COLUMNS),
        *(
            f"  {name:{width}}" + "".join(f"  {_shown(getattr(row, one)):>10}" for one in _COLUMNS.values())
            for name, row in zip(names, rows, strict=True)
        ),
        *([f"  and {many(more, 'class', 'classes')} of higher AP, or without objects"] if more else []),
    ]


def _shown(value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _errors(analysis: Analysis) -> Iterator[str]:
    worst = sorted(analysis.error_kinds, key=lambda kind: -(kind.AP50_gain or 0.0))
    gains = [f"{kind.kind} {kind.AP50_gain:.3f}" for kind in worst if kind.AP50_gain]
    if gains:
        yield f"  AP50 would gain without mistakes of the kind: {', '.join(gains)}"


def comparison_text(comparison: Comparison, earlier: str) -> str:
    """Return lines about a run and the one called `earlier`: differences, and the objects only one of them finds."""
    rows = [_difference(one) for one in comparison.differences if one.difference is not None]
    fixed, broken = len(comparison.fixed), len(comparison.broken)
    found = f"  objects found at a score of {comparison.threshold:g}: {fixed} that were not before, {broken} no more"
    return "\n".join([f"Against {printable(earlier)}", *rows, found])


def _difference(one: Difference) -> str:
    name = one.name.rpartition("/")[2]
    line = f"  {name}: {one.first:.3f} before, {one.second:.3f} now, {one.difference:+.3f}"
    if one.interval is None:
        return f"{line}; too few images to tell whether by chance"
    verdict = "more than chance" if one.significant else "no more than chance"
    return f"{line}, 95 % confidence interval {one.interval[0]:+.3f} to {one.interval[1]:+.3f}: {verdict}"


def side_by_side_images(
    examples: Sequence[Example], names: Sequence[str], *, min_score: float, max_boxes: int
) -> list[npt.NDArray[np.uint8]]:
    """Return images as uint8 [h, w, 3]: what was found on the left, the groundtruth on the right.

    `names` gives the name of each class, 0-based.
    """
    images = []
    for example in examples:
        result = example.result
        sides = np.array([result.height, result.width] * 2)
        shown = [
            Box(box / sides, f"{names[cls]} {score:.0%}", int(cls))
            for box, cls, score in zip(result.boxes, result.classes, result.scores, strict=True)
            if score >= min_score
        ][:max_boxes]
        groundtruth = [
            Box(box / sides, names[cls], int(cls))
            for box, cls in zip(result.groundtruth_boxes, result.groundtruth_classes, strict=True)
        ]
        image = Image.fromarray(example.image)
        # The best last, so that it lies on top.
        left, right = draw_boxes(image, shown[::-1]), draw_boxes(image, groundtruth)
        images.append(np.asarray(side_by_side(left, right)))
    return images


def table_head(evaluation: Evaluation) -> str:
    """Return the first line of a table of evaluations."""
    columns = "".join(f"  {name:>7}" for name in _TABLE)
    return f"On {_on(evaluation.num_images, evaluation.num_objects)}\n{'step':>9}{columns}"


def table_row(evaluation: Evaluation) -> str:
    """Return a line of a table of evaluations."""
    values = (evaluation.values.get(tag) for tag in _TABLE.values())
    cells = ("-" if value is None or value == NOT_MEASURED else f"{value:.3f}" for value in values)
    return f"{evaluation.step:>9}" + "".join(f"  {cell:>7}" for cell in cells)
