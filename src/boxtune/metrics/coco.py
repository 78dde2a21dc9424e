"""The COCO numbers of boxes, masks and keypoints, under the API's names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from boxtune.errors import ConfigError
from boxtune.metrics.greedy_matching import Averages, averages, match, mean
from boxtune.metrics.results import ImageResult, keep_found
from boxtune.metrics.tables import (
    Flags,
    Floats,
    Integers,
    Overlap,
    Table,
    box_overlap,
    found_masks,
    mask_areas,
    mask_overlap,
    pair_up,
    tabulate,
    true_masks,
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

KEYPOINT_NAMES = (
    "Precision/mAP",
    "Precision/mAP@.50IOU",
    "Precision/mAP@.75IOU",
    "Precision/mAP (medium)",
    "Precision/mAP (large)",
    "Recall/AR@1",
    "Recall/AR@10",
    "Recall/AR@100",
    "Recall/AR@100 (medium)",
    "Recall/AR@100 (large)",
)
"""The API's names, two of which mislead: `AR@10` and `AR@100` are the recalls of 20 detections at a similarity of 0.50
and of 0.75, `AR@1` is their mean over all similarities."""

THRESHOLDS = np.linspace(0.5, 0.95, 10)
_AT_50, _AT_75 = 0, 5
_LIMIT = 1e10
AREAS = {
    "all": (0.0, _LIMIT),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, _LIMIT),
}
"""Ranges of areas in pixels, both ends within."""
_MAX_DETECTIONS = (1, 10, 100)
_MAX_POSES = 20

SuperCategories = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class KeypointClass:
    """A class whose keypoints are measured: by its index, and for each keypoint how far people place it apart."""

    index: int
    sigmas: Sequence[float]  # [q]; in shares of the square root of an object's area
    points: Sequence[int] = field(default=())  # [q] which of the results' keypoints; empty: the first q


def coco_metrics(results: Sequence[ImageResult], num_classes: int) -> dict[str, float]:
    """Return the twelve numbers of boxes by NAMES.

    Classes without any object do not count; where nothing counts the number is -1. Source: Lin et al. 2014
    (arXiv:1405.0312) and its evaluation code. Difficult objects are objects like others, as they are there.
    """
    return dict(zip(NAMES, _summary(box_averages(results, num_classes)), strict=True))


def box_metrics(
    results: Sequence[ImageResult],
    class_names: Sequence[str],
    *,
    per_category: bool = False,
    all_per_category: bool = False,
    super_categories: SuperCategories | None = None,
) -> dict[str, float]:
    """Return the twelve numbers of boxes, and the average precision, or all twelve, of each class.

    Source of the names: the API's metrics/coco_tools.py. A super-category's number is the mean of its classes that have
    objects; the API divides by all of its classes.

    Raises:
        ConfigError: for a super-category with an unknown class.
    """
    found = box_averages(results, len(class_names))
    return _named("DetectionBoxes_", found, class_names, per_category, all_per_category, super_categories)


def mask_metrics(
    results: Sequence[ImageResult],
    class_names: Sequence[str],
    *,
    per_category: bool = False,
    all_per_category: bool = False,
    super_categories: SuperCategories | None = None,
) -> dict[str, float]:
    """Return the same numbers of masks. The size of an object is its annotated area, or that of its box."""
    table = tabulate(results, len(class_names))
    found, truth = found_masks(table), true_masks(table)
    overlap = mask_overlap(found, truth, table.truth.crowd)
    measured = _averages(table, overlap, mask_areas(found), table.truth.crowd, tuple(AREAS), _MAX_DETECTIONS)
    return _named("DetectionMasks_", measured, class_names, per_category, all_per_category, super_categories)


def keypoint_metrics(
    results: Sequence[ImageResult], class_names: Sequence[str], keypoints: KeypointClass
) -> dict[str, float]:
    """Return the ten numbers of the keypoints of one class, by KEYPOINT_NAMES with the name of the class.

    Object keypoint similarity takes the place of intersection over union: the mean over an object's labelled keypoints
    of exp(-d^2 / (2 area (2 sigma)^2)). Objects without a labelled keypoint do not count. Source:
    cocodataset.org/#keypoints-eval.
    """
    points = list(keypoints.points or range(len(keypoints.sigmas)))
    table = tabulate([_of_class(result, keypoints.index, points) for result in results], 1)
    true_points, visible, found_points = _points(table, len(points))
    overlap = _similarity(table, true_points, visible, found_points, np.asarray(keypoints.sigmas, np.float64))
    uncounted = table.truth.crowd | ~visible.any(axis=1)
    sizes = ("all", "medium", "large")
    measured = _averages(table, overlap, table.found.areas, uncounted, sizes, (_MAX_POSES,))
    names = (f"Keypoints_{name} ByCategory/{class_names[keypoints.index]}" for name in KEYPOINT_NAMES)
    return dict(zip(names, _pose_summary(measured), strict=True))


def box_averages(results: Sequence[ImageResult], num_classes: int) -> Averages:
    """Return average precision [10, c, 4] and recall [10, c, 4, 3] of boxes by THRESHOLDS, class, AREAS and the
    numbers of detections 1, 10 and 100."""
    table = tabulate(results, num_classes)
    overlap = box_overlap(table, table.truth.crowd)
    return _averages(table, overlap, table.found.areas, table.truth.crowd, tuple(AREAS), _MAX_DETECTIONS)


def _averages(
    table: Table,
    overlap: Overlap,
    found_areas: Floats,
    uncounted: Flags,
    sizes: tuple[str, ...],
    max_detections: tuple[int, ...],
) -> Averages:
    """Match and average; `uncounted` [n] objects are neither wanted nor wrong."""
    ignored = uncounted[:, None] | outside(table.truth.areas, sizes)
    pairs = pair_up(table, overlap, THRESHOLDS[0])
    kinds = match(pairs, table, ignored, THRESHOLDS, max_detections[-1], shared=table.truth.crowd)
    return averages(table, kinds, outside(found_areas, sizes), num_objects(table, ignored), max_detections)


def outside(areas: Floats, sizes: Sequence[str]) -> Flags:
    """Return which areas [n] lie outside of ranges of AREAS, [n, s]."""
    low, high = np.array([AREAS[size] for size in sizes]).T
    return (areas[:, None] < low) | (areas[:, None] > high)


def num_objects(table: Table, ignored: Flags) -> Integers:
    """Return how many objects of each class count, [c, s]."""
    counts = np.zeros((table.num_classes, ignored.shape[1]), np.int64)
    np.add.at(counts, table.class_of(table.truth.group), ~ignored)
    return counts


def _summary(found: Averages, classes: Sequence[int] | slice = slice(None)) -> list[float]:
    """Return the twelve numbers, of some classes."""
    precision, recall = found.precision[:, classes], found.recall[:, classes]
    return [
        mean(precision[:, :, 0]),
        mean(precision[_AT_50, :, 0]),
        mean(precision[_AT_75, :, 0]),
        *(mean(precision[:, :, size]) for size in (1, 2, 3)),
        *(mean(recall[:, :, 0, limit]) for limit in (0, 1, 2)),
        *(mean(recall[:, :, size, 2]) for size in (1, 2, 3)),
    ]


def _pose_summary(found: Averages) -> list[float]:
    precision, recall = found.precision, found.recall[..., 0]
    return [
        mean(part)
        for values in (precision, recall)
        for part in (
            values[:, :, 0],
            values[_AT_50, :, 0],
            values[_AT_75, :, 0],
            values[:, :, 1],
            values[:, :, 2],
        )
    ]


def _named(
    prefix: str,
    found: Averages,
    class_names: Sequence[str],
    per_category: bool,
    all_per_category: bool,
    super_categories: SuperCategories | None,
) -> dict[str, float]:
    numbers = dict(zip((prefix + name for name in _TWELVE), _summary(found), strict=True))
    if not per_category:
        return numbers
    groups = [("", name, [index]) for index, name in enumerate(class_names)]
    groups += [("Super", name, members) for name, members in _members(super_categories or {}, class_names)]
    for kind, name, members in groups:
        summary = _summary(found, members)
        numbers[f"{prefix}PerformanceBy{kind}Category/{'' if kind else 'mAP/'}{name}"] = summary[0]
        if all_per_category:
            tags = (f"{prefix}{metric} By{kind}Category/{name}" for metric in _TWELVE)
            numbers |= dict(zip(tags, summary, strict=True))
    return numbers


def _members(super_categories: SuperCategories, class_names: Sequence[str]) -> list[tuple[str, list[int]]]:
    indices = {name: index for index, name in enumerate(class_names)}
    for name, members in super_categories.items():
        for member in members:
            if member not in indices:
                raise ConfigError(f'super_categories: "{name}" has the class "{member}", which no label has.')
    return [(name, [indices[member] for member in members]) for name, members in super_categories.items()]


def _of_class(result: ImageResult, index: int, points: list[int]) -> ImageResult:
    """Return the objects and detections of one class, as class 0, with its own keypoints."""
    mine, found = np.flatnonzero(result.true_classes == index), np.flatnonzero(result.classes == index)
    kept = keep_found(result, found)
    return replace(
        kept,
        true_boxes=result.true_boxes[mine],
        true_classes=np.zeros(len(mine), np.int64),
        classes=np.zeros(len(found), np.int64),
        is_crowd=result.is_crowd[mine],
        difficult=result.difficult[mine],
        group_of=result.group_of[mine],
        true_areas=result.true_areas[mine],
        true_masks=None,
        masks=None,
        true_keypoints=_columns(result.true_keypoints, mine, points),
        true_visibility=_columns(_visibility(result), mine, points),
        keypoints=_columns(kept.keypoints, np.arange(len(found)), points),
    )


def _visibility(result: ImageResult) -> npt.NDArray[np.integer] | None:
    if result.true_keypoints is None or result.true_visibility is not None:
        return result.true_visibility
    return np.full(result.true_keypoints.shape[:2], 2)


def _columns(
    array: npt.NDArray | None, rows: npt.NDArray[np.integer], points: list[int]
) -> npt.NDArray | None:
    return None if array is None or not len(rows) else array[rows][:, points]


def _points(table: Table, count: int) -> tuple[Floats, Flags, Floats]:
    """Return the objects' keypoints [n, q, 2], which are labelled [n, q], and the detections' [m, q, 2]."""
    true, visible, found = [np.zeros((0, count, 2))], [np.zeros((0, count), bool)], [np.zeros((0, count, 2))]
    for result in table.results:
        n, k = len(result.true_classes), len(result.classes)
        true.append(_or_zeros(result.true_keypoints, (n, count, 2)))
        visible.append(_or_zeros(result.true_visibility, (n, count)) > 0)
        found.append(_or_zeros(result.keypoints, (k, count, 2)))
    origins = table.truth.origin, table.found.origin
    return (
        np.concatenate(true)[origins[0]],
        np.concatenate(visible)[origins[0]],
        np.concatenate(found)[origins[1]],
    )


def _or_zeros(array: npt.NDArray | None, shape: tuple[int, ...]) -> Floats:
    return np.zeros(shape) if array is None else array.astype(np.float64)


def _similarity(table: Table, true: Floats, visible: Flags, found: Floats, sigmas: Floats) -> Overlap:
    """Return object keypoint similarity. For an object without labelled keypoints, which is only there to be ignored,
    distances are those beyond its box doubled on each side."""
    labelled = np.asarray(visible.any(axis=1))
    height_width = table.truth.boxes[:, 2:] - table.truth.boxes[:, :2]
    near, far = table.truth.boxes[:, :2] - height_width, table.truth.boxes[:, 2:] + height_width
    variances = 2 * (2 * sigmas) ** 2

    def overlap(found_rows: Integers, truth_rows: Integers) -> Floats:
        points = found[found_rows]
        beyond = np.maximum(near[truth_rows, None] - points, 0) + np.maximum(
            points - far[truth_rows, None], 0
        )
        away = np.where(labelled[truth_rows, None, None], points - true[truth_rows], beyond)
        scale = variances * (table.truth.areas[truth_rows, None] + np.spacing(1))
        # Places of keypoints that are not labelled may be anything, NaN too.
        counts = visible[truth_rows] | ~labelled[truth_rows, None]
        terms = np.where(
            counts, np.exp(-np.sum(np.where(counts[..., None], away, 0) ** 2, axis=2) / scale), 0
        )
        return terms.sum(axis=1) / counts.sum(axis=1)

    return overlap
