"""The COCO numbers of boxes, masks and keypoints, under the API's names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from boxtune.errors import ConfigError
from boxtune.metrics import average_precision
from boxtune.metrics.average_precision import COCO_MAX_DETECTIONS, coco_ranking, coco_recall
from boxtune.metrics.matching import THRESHOLDS, judge
from boxtune.metrics.results import ImageResult, Numbers, Results, select_detections
from boxtune.metrics.tables import (
    Bools,
    Floats,
    Ints,
    Overlap,
    Table,
    box_overlap,
    detection_masks,
    mask_areas,
    mask_overlap,
    overlapping_pairs,
    tabulate,
)

_TWELVE = (
    "Precision/mAP",
    "Precision/mAP@.50IOU",
    "Precision/mAP@.75IOU",
    "Precision/mAP (small)",
    "Precision/mAP (medium)",
    "Precision/mAP (large)",
    "Recall/AR@1",
    "Recall/AR@10",
    "Recall/AR@100",
    "Recall/AR@100 (small)",
    "Recall/AR@100 (medium)",
    "Recall/AR@100 (large)",
)
NAMES = tuple(f"DetectionBoxes_{name}" for name in _TWELVE)
"""In the order of COCO's own table. -1 where there is no object of that size."""

KEYPOINT_NAMES = tuple(name for name in _TWELVE if "small" not in name)
"""The API's names, two of which mislead: `AR@10` and `AR@100` are the recalls of 20 detections at a similarity of 0.50
and of 0.75, `AR@1` is their mean over all similarities."""

AT_50, AT_75 = 0, 5
"""In matching.THRESHOLDS."""
_LIMIT = 1e10
AREAS = {
    "all": (0.0, _LIMIT),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, _LIMIT),
}
"""Ranges of areas in pixels, both ends within."""
_MAX_DETECTIONS = (1, 10, COCO_MAX_DETECTIONS)
_MAX_POSES = 20


@dataclass(frozen=True)
class KeypointClass:
    """A class whose keypoints are measured: by its index, and for each keypoint how much annotations of it vary."""

    index: int
    sigmas: Sequence[float]  # [q]; in fractions of the square root of an object's area
    points: Sequence[int] = field(default=())  # [q] which of the results' keypoints; empty: the first q


@dataclass(frozen=True)
class Options:
    """What `eval_config` says about metrics besides their names.

    `per_category` and `all_per_category` (`include_metrics_per_category`, `all_metrics_per_category`) are about COCO's
    and LVIS' sets: those of Pascal VOC and Open Images have all classes in any case. `skip_unlabeled`
    (`skip_predictions_for_unlabeled_class`) is about `coco_detection_metrics` and
    `precision_at_recall_detection_metrics`. `frequencies` are LVIS' letters, by class, "" of one that is unknown.
    """

    per_category: bool = False
    all_per_category: bool = False
    super_categories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    recall_bounds: tuple[float, float] = (0.0, 1.0)
    skip_unlabeled: bool = False
    keypoints: Sequence[KeypointClass] = ()
    frequencies: Sequence[str] = ()


NO_OPTIONS = Options()


@dataclass(frozen=True)
class Averages:
    """Average precision [t, c, s] and recall [t, c, s, d] by threshold of overlap, class, range of sizes and
    number of detections; NaN where there is no object."""

    precision: Floats
    recall: Floats


def box_metrics(results: Results, class_names: Sequence[str], options: Options = NO_OPTIONS) -> Numbers:
    """Return the twelve numbers of boxes, and the average precision, or all twelve, of each class.

    Classes without any object do not count; where nothing counts the number is -1. Source: Lin et al. 2014
    (arXiv:1405.0312) and its evaluation code. Difficult objects are objects like others, as they are there.

    Source of the names: the API's metrics/coco_tools.py. A super-category's number is the mean of its classes that have
    objects; the API divides by all of its classes.

    Raises:
        ConfigError: for a super-category with an unknown class.
    """
    return _named("DetectionBoxes_", box_averages(results, len(class_names)), class_names, options)


def mask_metrics(results: Results, class_names: Sequence[str], options: Options = NO_OPTIONS) -> Numbers:
    """Return the same numbers of masks. The size of an object is its annotated area, or that of its box."""
    table = tabulate(results, len(class_names))
    crowd = table.groundtruth.crowd
    measured = averages(
        table, mask_overlap(table, crowd), mask_areas(detection_masks(table)), ignored=crowd, reusable=crowd
    )
    return _named("DetectionMasks_", measured, class_names, options)


def keypoint_metrics(results: Results, class_names: Sequence[str], keypoints: KeypointClass) -> Numbers:
    """Return the ten numbers of the keypoints of one class, by KEYPOINT_NAMES with the name of the class.

    Object keypoint similarity takes the place of intersection over union: the mean over an object's labelled keypoints
    of exp(-d^2 / (2 area (2 sigma)^2)). Objects without a labelled keypoint do not count. Source:
    cocodataset.org/#keypoints-eval.
    """
    points = list(keypoints.points or range(len(keypoints.sigmas)))
    table = tabulate([_of_class(result, keypoints.index, points) for result in results], 1)
    true_points, visible, found_points = _points(table, len(points))
    overlap = _similarity(table, true_points, visible, found_points, np.asarray(keypoints.sigmas, np.float64))
    measured = averages(
        table,
        overlap,
        table.detections.area,
        ignored=table.groundtruth.crowd | ~visible.any(axis=1),
        reusable=table.groundtruth.crowd,
        sizes=("all", "medium", "large"),
        max_detections=(_MAX_POSES,),
    )
    names = (f"Keypoints_{name} ByCategory/{class_names[keypoints.index]}" for name in KEYPOINT_NAMES)
    return dict(zip(names, _pose_summary(measured), strict=True))


def box_averages(results: Results, num_classes: int) -> Averages:
    """Return average precision [10, c, 4] and recall [10, c, 4, 3] of boxes by THRESHOLDS, class, AREAS and the
    numbers of detections 1, 10 and 100."""
    table = tabulate(results, num_classes)
    crowd = table.groundtruth.crowd
    return averages(table, box_overlap(table, crowd), table.detections.area, ignored=crowd, reusable=crowd)


def averages(
    table: Table,
    overlap: Overlap,
    detection_areas: Floats,
    *,
    ignored: Bools,
    reusable: Bools,
    forgiven: Bools | bool = False,
    sizes: Sequence[str] = tuple(AREAS),
    max_detections: Sequence[int] = _MAX_DETECTIONS,
) -> Averages:
    """Match and average, for each of `sizes`: objects of other sizes are ignored, detections of others not wrong.

    `ignored`, `reusable` [n] and `forgiven` [k] are those of `matching.judge` at any size; recall is that of each of
    `max_detections` of a class in an image, which ascend, and precision that of the last.
    """
    pairs = overlapping_pairs(table, overlap, THRESHOLDS[0])
    precisions, recalls = [], []
    for size in sizes:
        passed, other = ignored | outside(table.groundtruth.area, size), outside(detection_areas, size)
        outcome = judge(table, pairs, THRESHOLDS, passed, reusable, forgiven | other)
        precisions.append(coco_ranking(table, outcome, passed, max_detections[-1]).average_precision())
        recalls.append(
            np.stack([coco_recall(table, outcome, passed, limit) for limit in max_detections], axis=-1)
        )
    return Averages(np.stack(precisions, axis=2), np.stack(recalls, axis=2))


def outside(areas: Floats, size: str) -> Bools:
    """Return which areas [n] lie outside of a range of AREAS."""
    low, high = AREAS[size]
    return (areas < low) | (areas > high)


def mean(values: Floats) -> float:
    """Return the mean of the values that are not NaN, or -1 if all are."""
    known = average_precision.mean(values)
    return -1.0 if known is None else known


def _summary(found: Averages, classes: Sequence[int] | slice = slice(None)) -> list[float]:
    """Return the twelve numbers, of some classes."""
    precision, recall = found.precision[:, classes], found.recall[:, classes]
    return [
        mean(precision[:, :, 0]),
        mean(precision[AT_50, :, 0]),
        mean(precision[AT_75, :, 0]),
        *(mean(precision[:, :, size]) for size in (1, 2, 3)),
        *(mean(recall[:, :, 0, limit]) for limit in (0, 1, 2)),
        *(mean(recall[:, :, size, 2]) for size in (1, 2, 3)),
    ]


def _pose_summary(found: Averages) -> list[float]:
    precision, recall = found.precision, found.recall[..., 0]
    return [
        mean(part)
        for values in (precision, recall)
        for part in (values[..., 0], values[AT_50, :, 0], values[AT_75, :, 0], values[..., 1], values[..., 2])
    ]


def _named(prefix: str, found: Averages, class_names: Sequence[str], options: Options) -> Numbers:
    numbers = dict(zip((prefix + name for name in _TWELVE), _summary(found), strict=True))
    if not options.per_category:
        return numbers
    indices = {name: index for index, name in enumerate(class_names)}
    groups = [("", name, [index]) for name, index in indices.items()]
    for name, classes in options.super_categories.items():
        if unknown := [one for one in classes if one not in indices]:
            raise ConfigError(f'super_categories: "{name}" has the class "{unknown[0]}", which no label has.')
        groups.append(("Super", name, [indices[one] for one in classes]))
    for kind, name, members in groups:
        summary = _summary(found, members)
        numbers[f"{prefix}PerformanceBy{kind}Category/{'' if kind else 'mAP/'}{name}"] = summary[0]
        if options.all_per_category:
            tags = (f"{prefix}{metric} By{kind}Category/{name}" for metric in _TWELVE)
            numbers |= dict(zip(tags, summary, strict=True))
    return numbers


def _of_class(result: ImageResult, index: int, points: list[int]) -> ImageResult:
    """Return the objects and detections of one class, as class 0, with its own keypoints."""
    mine, found = np.flatnonzero(result.groundtruth_classes == index), np.flatnonzero(result.classes == index)
    kept, visibility = select_detections(result, found), result.groundtruth_visibility
    if visibility is None and result.groundtruth_keypoints is not None:
        visibility = np.full(result.groundtruth_keypoints.shape[:2], 2)
    return replace(
        kept,
        groundtruth_boxes=result.groundtruth_boxes[mine],
        groundtruth_classes=np.zeros(len(mine), np.int64),
        classes=np.zeros(len(found), np.int64),
        is_crowd=result.is_crowd[mine],
        difficult=result.difficult[mine],
        group_of=result.group_of[mine],
        groundtruth_areas=result.groundtruth_areas[mine],
        groundtruth_masks=None,
        masks=None,
        groundtruth_keypoints=_columns(result.groundtruth_keypoints, mine, points),
        groundtruth_visibility=_columns(visibility, mine, points),
        keypoints=_columns(kept.keypoints, np.arange(len(found)), points),
    )


def _columns(
    array: npt.NDArray | None, rows: npt.NDArray[np.integer], points: list[int]
) -> npt.NDArray | None:
    return None if array is None or not len(rows) else array[rows][:, points]


def _points(table: Table, count: int) -> tuple[Floats, Bools, Floats]:
    """Return the objects' keypoints [n, q, 2], which are labelled [n, q], and the detections' [m, q, 2]."""
    true, visible, found = [np.zeros((0, count, 2))], [np.zeros((0, count), bool)], [np.zeros((0, count, 2))]
    for result in table.images:
        n, k = len(result.groundtruth_classes), len(result.classes)
        true.append(_or_zeros(result.groundtruth_keypoints, (n, count, 2)))
        visible.append(_or_zeros(result.groundtruth_visibility, (n, count)) > 0)
        found.append(_or_zeros(result.keypoints, (k, count, 2)))
    return np.concatenate(true), np.concatenate(visible), np.concatenate(found)[table.detections.row]


def _or_zeros(array: npt.NDArray | None, shape: tuple[int, ...]) -> Floats:
    return np.zeros(shape) if array is None else array.astype(np.float64)


def _similarity(table: Table, true: Floats, visible: Bools, found: Floats, sigmas: Floats) -> Overlap:
    """Return object keypoint similarity. For an object without labelled keypoints, which is only there to be ignored,
    distances are those beyond its box doubled on each side."""
    labelled = np.asarray(visible.any(axis=1))
    height_width = table.groundtruth.box[:, 2:] - table.groundtruth.box[:, :2]
    near, far = table.groundtruth.box[:, :2] - height_width, table.groundtruth.box[:, 2:] + height_width
    variances = 2 * (2 * sigmas) ** 2

    def overlap(rows: Ints, objects: Ints) -> Floats:
        points = found[rows]
        beyond = np.maximum(near[objects, None] - points, 0) + np.maximum(points - far[objects, None], 0)
        away = np.where(labelled[objects, None, None], points - true[objects], beyond)
        scale = variances * (table.groundtruth.area[objects, None] + np.spacing(1))
        # Places of keypoints that are not labelled may be anything, NaN too.
        counts = visible[objects] | ~labelled[objects, None]
        terms = np.where(
            counts, np.exp(-np.sum(np.where(counts[..., None], away, 0) ** 2, axis=2) / scale), 0
        )
        return terms.sum(axis=1) / counts.sum(axis=1)

    return overlap
