"""The objects and detections of all images as columns, and which of them overlap.

Images are taken in the order of their names, so that nothing depends on the order in which they come, not even the
rank of equal scores.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from boxtune.metrics import masks
from boxtune.metrics.masks import Mask
from boxtune.metrics.results import ImageResult, Results

Ints = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Overlap = Callable[[Ints, Ints], Floats]
"""From rows of detections [p] and rows of objects [p] to their overlaps [p]."""

# Pairs compared at once: a few arrays of this length fit anywhere.
_PAIRS_AT_ONCE = 2**19


@dataclass(frozen=True, eq=False)
class Groundtruth:
    """The n objects of all images, image by image, in the order of their records."""

    image: Ints  # [n]
    cls: Ints  # [n]
    box: Floats  # [n, 4] pixels
    area: Floats  # [n] square pixels, as annotated or else of the box
    crowd: Bools  # [n]
    difficult: Bools  # [n]
    group_of: Bools  # [n]

    @property
    def ignored(self) -> Bools:
        """Bool [n]: crowds, and difficult objects as Pascal VOC has it. COCO's own numbers ignore crowds alone."""
        return self.crowd | self.difficult


@dataclass(frozen=True, eq=False)
class Detections:
    """The k detections of all images, image by image, by descending score; equal scores as they came."""

    image: Ints  # [k]
    cls: Ints  # [k]
    box: Floats  # [k, 4] pixels
    area: Floats  # [k] square pixels of the box
    score: Floats  # [k]
    row: Ints  # [k], where each was among the detections of all images as they came


@dataclass(frozen=True, eq=False)
class Table:
    """All images, by name, with their objects and detections, one after another."""

    images: tuple[ImageResult, ...]
    num_classes: int
    groundtruth: Groundtruth
    detections: Detections

    def group(self, part: Groundtruth | Detections) -> Ints:
        """Return int [n or k]: the image and class of each row as one number."""
        return part.image * self.num_classes + part.cls

    @cached_property
    def first_object(self) -> Ints:
        """Int [images + 1]: where the objects of each image start, and where the last ones end."""
        return np.searchsorted(self.groundtruth.image, np.arange(len(self.images) + 1))

    @cached_property
    def by_class(self) -> Ints:
        """Int [k]: the detections by class and descending score; those of equal scores in the order of their images."""
        return np.lexsort((-self.detections.score, self.detections.cls))

    @cached_property
    def rank(self) -> Ints:
        """Int [k]: how many detections of the same image and class come before each."""
        return count_before(self.group(self.detections))

    def num_objects(self, ignored: Bools) -> Ints:
        """Return int [c]: how many objects of each class are not `ignored` (bool [n])."""
        return np.bincount(self.groundtruth.cls[~ignored], minlength=self.num_classes)


def tabulate(results: Results, num_classes: int) -> Table:
    """Return all of `results`, which `results.check_results` has passed, in one."""
    # COCO's own code goes by the numbers of images, which decide between detections of equal scores.
    images = tuple(sorted(results, key=lambda result: result.name))
    return Table(images, num_classes, _groundtruth(images), _detections(images))


def _groundtruth(images: Results) -> Groundtruth:
    box, annotated = (
        _joined(images, "groundtruth_boxes", float, 4),
        _joined(images, "groundtruth_areas", float),
    )
    return Groundtruth(
        image=np.repeat(np.arange(len(images)), [len(one.groundtruth_classes) for one in images]),
        cls=_joined(images, "groundtruth_classes", np.int64),
        box=box,
        area=np.where(annotated > 0, annotated, box_areas(box)),
        crowd=_joined(images, "is_crowd", bool),
        difficult=_joined(images, "difficult", bool),
        group_of=_joined(images, "group_of", bool),
    )


def _detections(images: Results) -> Detections:
    image = np.repeat(np.arange(len(images)), [len(one.classes) for one in images])
    score = _joined(images, "scores", float)
    row = np.lexsort((-score, image))
    box = _joined(images, "boxes", float, 4)[row]
    return Detections(image, _joined(images, "classes", np.int64)[row], box, box_areas(box), score[row], row)


def _joined(images: Results, name: str, dtype: npt.DTypeLike, *shape: int) -> np.ndarray:
    return np.concatenate([np.zeros((0, *shape)), *(getattr(one, name) for one in images)]).astype(dtype)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of a detection and an object of its image that overlap.

    In order of detection, descending overlap, and descending index of the object, which is COCO's order of choice.

    Attributes:
        detection: int [p], into the table's detections.
        groundtruth: int [p], into the table's objects.
        iou: float [p] in [0, 1].
        best: float [k], the highest IoU of each detection with any object that is not a crowd, 0 without one.
    """

    detection: Ints
    groundtruth: Ints
    iou: Floats
    best: Floats

    def __getitem__(self, rows: Ints | Bools) -> "Pairs":
        return Pairs(self.detection[rows], self.groundtruth[rows], self.iou[rows], self.best)


def overlapping_pairs(table: Table, overlap: Overlap, at_least: float, *, any_class: bool = False) -> Pairs:
    """Return the pairs that overlap by `at_least`, of one class or of any two, in memory that depends on them alone."""
    best = np.zeros(len(table.detections.cls))
    parts: list[tuple[np.ndarray, ...]] = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for detection, groundtruth in _candidates(table, any_class):
        iou = overlap(detection, groundtruth)
        np.maximum.at(best, detection, np.where(table.groundtruth.crowd[groundtruth], 0, iou))
        near = iou >= at_least
        parts.append((detection[near], groundtruth[near], iou[near]))
    detection, groundtruth, iou = map(np.concatenate, zip(*parts, strict=True))
    return Pairs(detection, groundtruth, iou, best)[np.lexsort((-groundtruth, -iou, detection))]


def near_pairs(table: Table) -> Pairs:
    """Return the pairs of any two classes whose boxes overlap by 0.1 at least; with a crowd, over the detection's."""
    return overlapping_pairs(table, box_overlap(table, table.groundtruth.crowd), 0.1, any_class=True)


def _candidates(table: Table, any_class: bool) -> Iterator[tuple[Ints, Ints]]:
    """Yield all pairs of a detection and an object of its image, some at a time, never part of a detection's."""
    objects, detections = table.groundtruth, table.detections
    group, own = (part.image if any_class else table.group(part) for part in (objects, detections))
    order = np.argsort(group, kind="stable")
    first, last = (np.searchsorted(group[order], own, side) for side in ("left", "right"))
    counts, ends = last - first, np.cumsum(last - first)
    start = 0
    while start < len(counts):
        done = ends[start] - counts[start]
        stop = max(start + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")))
        part = counts[start:stop]
        detection = np.repeat(np.arange(start, stop), part)
        within = np.arange(len(detection)) - np.repeat(ends[start:stop] - part - done, part)
        yield detection, order[np.repeat(first[start:stop], part) + within]
        start = stop


def box_areas(boxes: npt.NDArray[np.floating]) -> Floats:
    """Return the areas [...] of boxes [..., 4]."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def box_intersections(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> Floats:
    """Return the areas [...] that boxes [..., 4] share with boxes [..., 4]."""
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    return np.prod(np.maximum(sides, 0), axis=-1)


def box_ious(
    boxes: npt.NDArray[np.floating], others: npt.NDArray[np.floating], over_own: Bools | bool
) -> Floats:
    """Return the IoU [...] of each of `boxes` [..., 4] with its own of `others` [..., 4], 0 of two boxes without area.

    Where `over_own` (bool [...]) it is the intersection over the area of the box, as COCO has it for crowds.
    """
    return _ious(box_intersections(boxes, others), box_areas(boxes), box_areas(others), over_own)


def _ious(shared: Floats, area: Floats, other: Floats, over_own: Bools | bool) -> Floats:
    union = np.where(over_own, area, area + other - shared)
    ratio = np.zeros(shared.shape, np.result_type(shared, 0.0))
    return np.divide(shared, union, out=ratio, where=union > 0)


def box_overlap(table: Table, over_own: Bools) -> Overlap:
    """Return the IoU of boxes; over the detection's own area for objects of `over_own` [n]."""
    boxes, others = table.detections.box, table.groundtruth.box
    return lambda rows, objects: box_ious(boxes[rows], others[objects], over_own[objects])


def mask_overlap(table: Table, over_own: Bools) -> Overlap:
    """Return the same of masks."""
    found, true = detection_masks(table), groundtruth_masks(table)
    boxes, others = _mask_boxes(found), _mask_boxes(true)
    areas, other_areas = mask_areas(found), mask_areas(true)

    def overlap(rows: Ints, objects: Ints) -> Floats:
        shared = np.zeros(len(rows))
        near = np.flatnonzero(box_intersections(boxes[rows], others[objects]) > 0)
        shared[near] = [masks.intersection(found[rows[i]], true[objects[i]]) for i in near]
        return _ious(shared, areas[rows], other_areas[objects], over_own[objects])

    return overlap


def mask_areas(part: Sequence[Mask]) -> Floats:
    """Return the areas of masks."""
    return np.array([masks.area(mask) for mask in part], np.float64)


def _mask_boxes(part: Sequence[Mask]) -> Floats:
    return np.array([masks.box(mask) for mask in part], np.float64).reshape(-1, 4)


def detection_masks(table: Table) -> list[Mask]:
    """Return the masks of the detections; one without pixels where an image has none."""
    listed = _masks(table, "masks", "classes")
    return [listed[row] for row in table.detections.row]


def groundtruth_masks(table: Table) -> list[Mask]:
    """Return the masks of the objects; one without pixels where an image has none."""
    return _masks(table, "groundtruth_masks", "groundtruth_classes")


def _masks(table: Table, name: str, classes: str) -> list[Mask]:
    found: list[Mask] = []
    for one in table.images:
        none = [Mask(one.height, one.width, np.zeros(0, np.int64))] * len(getattr(one, classes))
        found += none if getattr(one, name) is None else getattr(one, name)
    return found


def run_starts(values: Ints) -> Ints:
    """Return where runs of equal values start."""
    return np.flatnonzero(np.diff(values, prepend=values[:1] - 1))


def count_before(groups: Ints) -> Ints:
    """Return int [n]: how many of the same value come before each of `groups` [n]."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    before = np.empty(len(groups), np.int64)
    before[order] = np.arange(len(groups)) - np.searchsorted(ordered, ordered)
    return before
