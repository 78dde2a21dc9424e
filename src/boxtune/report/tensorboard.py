"""An evaluation as TensorBoard shows it, under the API's tags where the API has them."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorboard.plugins.pr_curve import metadata as pr_curve

from boxtune.data.files import writing
from boxtune.metrics.analysis import Analysis
from boxtune.metrics.error_kinds import KINDS
from boxtune.metrics.metric_sets import NOT_MEASURED
from boxtune.report.confusion_image import draw_confusion_matrix

NUM_THRESHOLDS = 101
"""Points of each curve of precision over recall: at scores of 0, 0.01, ..., 1."""

_TAGS = {
    "AP": "PerformanceByCategory/mAP",
    "AP50": "Precision/mAP@.50IOU ByCategory",
    "AP75": "Precision/mAP@.75IOU ByCategory",
    "AR100": "Recall/AR@100 ByCategory",
}

_CORRECT, _IGNORED = KINDS.index("correct"), KINDS.index("ignored")


def write_summaries(
    analysis: Analysis, folder: Path, step: int, images: Sequence[npt.NDArray[np.uint8]] = ()
) -> None:
    """Write an evaluation after `step` steps to a folder of TensorBoard's.

    That is: metrics, but for those that there are no objects for, which would be flat lines at -1, and losses; for each
    class with objects, its numbers and its curve of precision over recall at an
    IoU of 0.5; the confusion matrix at a score of 0.5; and `images` uint8 [h, w, 3], each under a tag of its own.
    """
    with (
        writing(folder),
        closing(tf.summary.create_file_writer(str(folder))) as writer,
        writer.as_default(step),
    ):
        measured = {tag: value for tag, value in analysis.metrics.items() if value != NOT_MEASURED}
        for tag, value in (measured | analysis.losses | class_numbers(analysis)).items():
            tf.summary.scalar(tag, value)
        for tag, curve in class_curves(analysis).items():
            metadata = pr_curve.create_summary_metadata(tag, "at an IoU of 0.5", NUM_THRESHOLDS)
            tf.summary.write(tag, tf.constant(curve, tf.float32), metadata=metadata)
        matrix = draw_confusion_matrix(analysis.confusion_matrix(), analysis.class_names)
        tf.summary.image("confusion_matrix", np.asarray(matrix)[None])
        for number, image in enumerate(images):
            tf.summary.image(f"eval_side_by_side_{number}_0", image[None])


def class_numbers(analysis: Analysis) -> dict[str, float]:
    """Return AP and AR of every class with objects, by the API's tags."""
    return {
        f"DetectionBoxes_{tag}/{row.name}": value
        for row in analysis.per_class
        for name, tag in _TAGS.items()
        if (value := getattr(row, name)) is not None
    }


def class_curves(analysis: Analysis) -> dict[str, npt.NDArray[np.float64]]:
    """Return for every class with objects what TensorBoard's curves are made of, float [6, NUM_THRESHOLDS].

    The rows are true positives, false positives, true negatives (of which detection has none), false negatives,
    precision and recall of the detections whose scores reach each threshold.
    """
    counted = ~(analysis.groundtruth.crowd | analysis.groundtruth.difficult)
    curves = {}
    for number, name in enumerate(analysis.class_names):
        num_objects = int(np.count_nonzero(counted & (analysis.groundtruth.cls == number)))
        if num_objects:
            own = (analysis.detections.cls == number) & (analysis.detections.kind != _IGNORED)
            scores, right = analysis.detections.score[own], analysis.detections.kind[own] == _CORRECT
            curves[f"precision_over_recall/{name}"] = _curve(scores, right, num_objects)
    return curves


def _curve(scores: npt.NDArray[Any], right: npt.NDArray[Any], num_objects: int) -> npt.NDArray[np.float64]:
    true_positives, false_positives = _counts(scores[right]), _counts(scores[~right])
    return np.stack(
        [
            true_positives,
            false_positives,
            np.zeros(NUM_THRESHOLDS),
            num_objects - true_positives,
            true_positives / np.maximum(true_positives + false_positives, 1),
            true_positives / num_objects,
        ]
    )


def _counts(scores: npt.NDArray[Any]) -> npt.NDArray[np.integer]:
    """Return how many scores reach each threshold."""
    return len(scores) - np.searchsorted(np.sort(scores), np.linspace(0, 1, NUM_THRESHOLDS))
