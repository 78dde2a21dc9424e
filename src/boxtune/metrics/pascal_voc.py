"""Pascal VOC's mean average precision and correct localization, under the API's names."""

import unicodedata
from collections.abc import Callable, Sequence

import numpy as np

from boxtune.errors import ConfigError
from boxtune.metrics.coco import mean
from boxtune.metrics.metric_sets import MetricSet, Options
from boxtune.metrics.pascal_matching import (
    Labels,
    area_under,
    correct_localization,
    curve,
    eleven_points,
    label_boxes,
    label_masks,
    tabulate_backwards,
)
from boxtune.metrics.results import ImageResult, Numbers, Results, select_detections, without_unknown_classes
from boxtune.metrics.tables import Floats, Table, tabulate

AveragePrecision = Callable[[Floats, Floats], float]
"""From precision and recall by descending score to a number."""


def detection_metrics(
    results: Results,
    class_names: Sequence[str],
    *,
    prefix: str = "PascalBoxes",
    at_least: float = 0.5,
    average_precision: AveragePrecision = area_under,
    weighted: bool = False,
) -> Numbers:
    """Return the mean average precision of boxes and that of each class.

    Difficult objects do not count; crowds and groups are objects like others. A detection without area
    does not count. Boxes are continuous: unlike VOC's own kit, no pixel is added to their sides. Of equal scores
    that of the image whose name comes last counts first: the API sorts all scores upwards, in the order in which
    images were read, and goes backwards. Source: the API's utils/object_detection_evaluation.py.

    Args:
        at_least: the intersection over union that makes a detection right.
        average_precision: `area_under` as since 2010, or `eleven_points` as before.
        weighted: take the mean over detections, as if all were of one class, in place of the mean over classes.
    """
    table = tabulate_backwards(results, len(class_names))
    labels = label_boxes(table, at_least, difficult=table.groundtruth.difficult, group_of=_nothing(table))
    return named(labels, class_names, prefix, at_least, average_precision, weighted=weighted)


def segmentation_metrics(
    results: Results, class_names: Sequence[str], *, prefix: str = "PascalMasks", weighted: bool = False
) -> Numbers:
    """Return the same of masks. Objects without a mask do not count."""
    table = tabulate_backwards(results, len(class_names))
    labels = label_masks(table, 0.5, difficult=table.groundtruth.difficult, group_of=_nothing(table))
    return named(labels, class_names, prefix, 0.5, area_under, weighted=weighted)


def precision_at_recall(results: Results, class_names: Sequence[str], *, low: float, high: float) -> Numbers:
    """Return the mean average precision of the part of each curve whose recall is from `low` to `high`.

    As the API has it, the precision of the first point within counts from recall 0 on.
    """

    def part(precision: Floats, recall: Floats) -> float:
        kept = (recall >= low) & (recall <= high)
        return area_under(precision[kept], recall[kept])

    numbers = detection_metrics(results, class_names, prefix="PrecisionAtRecallBoxes", average_precision=part)
    if low <= 0 and high >= 1:
        return numbers
    total = "PrecisionAtRecallBoxes_Precision/mAP@0.5IOU"
    return {f"{total}@[{low:.1f},{high:.1f}]Recall": numbers.pop(total)} | numbers


def corloc_metrics(results: Results, class_names: Sequence[str], *, prefix: str = "PascalBoxes") -> Numbers:
    """Return the mean correct localization and that of each class."""
    table = tabulate([_with_areas(result) for result in results], len(class_names))
    values = correct_localization(table, 0.5)
    return _tagged(prefix, "CorLoc@0.5IOU", mean(values), values, class_names)


def named(
    labels: Labels,
    class_names: Sequence[str],
    prefix: str,
    at_least: float,
    average_precision: AveragePrecision,
    *,
    weighted: bool = False,
) -> Numbers:
    """Return the mean of average precisions, and each; -1 for a class without objects."""
    precisions = np.full(len(class_names), np.nan)
    for cls in np.flatnonzero(labels.num_objects):
        mine = labels.classes == cls
        precisions[cls] = average_precision(
            *curve(labels.scores[mine], labels.right[mine], labels.num_objects[cls])
        )
    total = mean(precisions)
    if weighted and (num_objects := labels.num_objects.sum()):
        counted = labels.num_objects[labels.classes] > 0
        total = average_precision(*curve(labels.scores[counted], labels.right[counted], num_objects))
    return _tagged(prefix, f"AP@{at_least}IOU", total, precisions, class_names)


def _tagged(prefix: str, number: str, total: float, values: Floats, class_names: Sequence[str]) -> Numbers:
    mean_of = "mean" if number.startswith("CorLoc") else "m"
    # The API writes names decomposed.
    plain = (unicodedata.normalize("NFKD", name) for name in class_names)
    return {f"{prefix}_Precision/{mean_of}{number}": total} | {
        f"{prefix}_PerformanceByCategory/{number}/{name}": mean(np.array([value]))
        for name, value in zip(plain, values, strict=True)
    }


def _nothing(table: Table) -> np.ndarray:
    return np.zeros(len(table.groundtruth.cls), bool)


def _with_areas(result: ImageResult) -> ImageResult:
    """Return the result without detections that have no area: none of them can be the best."""
    sides = result.boxes[:, 2:] - result.boxes[:, :2]
    return select_detections(result, np.flatnonzero((sides > 0).all(axis=1)))


def _precision_at_recall(results: Results, class_names: Sequence[str], options: Options) -> Numbers:
    low, high = options.recall_bounds
    if not 0 <= low < high <= 1:
        raise ConfigError(
            f"eval_config: recall_lower_bound {low} and recall_upper_bound {high} have to rise, from 0 to 1."
        )
    if options.skip_unlabeled:
        results = [without_unknown_classes(result) for result in results]
    return precision_at_recall(results, class_names, low=low, high=high)


METRIC_SETS: dict[str, MetricSet] = {
    "pascal_voc_detection_metrics": lambda results, names, _: detection_metrics(results, names),
    "weighted_pascal_voc_detection_metrics": lambda results, names, _: detection_metrics(
        results, names, prefix="WeightedPascalBoxes", weighted=True
    ),
    "pascal_voc_instance_segmentation_metrics": lambda results, names, _: segmentation_metrics(
        results, names
    ),
    "weighted_pascal_voc_instance_segmentation_metrics": lambda results, names, _: segmentation_metrics(
        results, names, prefix="WeightedPascalMasks", weighted=True
    ),
    "precision_at_recall_detection_metrics": _precision_at_recall,
    "pascal_voc_2007_detection_metrics": lambda results, names, _: detection_metrics(
        results, names, prefix="PascalBoxes2007", average_precision=eleven_points
    ),
    "pascal_voc_corloc_metrics": lambda results, names, _: corloc_metrics(results, names),
}
