"""The objects and detections of all pictures as long arrays, and which of them overlap."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from boxtune.metrics import masks
from boxtune.metrics.masks import Mask
from boxtune.metrics.results import ImageResult, in_order

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Overlap = Callable[[Integers, Integers], Floats]
"""From rows of detections [p] and rows of objects [p] to their overlaps [p]."""

# Pairs looked at together: a few arrays of this length fit anywhere.
_PAIRS = 1 << 20


@dataclass(frozen=True)
class Truth:
    """All objects [n], sorted by group: class x number of pictures + picture."""

    group: Integers
    boxes: Floats  # [n, 4]
    areas: Floats
    crowd: Flags
    difficult: Flags
    group_of: Flags
    origin: Integers  # row among the objects of all pictures, one after the other


@dataclass(frozen=True)
class Found:
    """All detections [m], sorted by group as the objects are, and in it by falling score."""

    group: Integers
    boxes: Floats  # [m, 4]
    areas: Floats
    scores: Floats
    rank: Integers  # in its group, from 0
    origin: Integers


@dataclass(frozen=True)
class Table:
    """All pictures of an evaluation, in the order of their names."""

    results: list[ImageResult]
    num_classes: int
    truth: Truth
    found: Found

    def class_of(self, group: Integers) -> Integers:
        """Return the classes of groups."""
        return group // len(self.results)

    def rows_of(self, cls: int) -> slice:
        """Return where the detections of a class are."""
        count = len(self.results)
        first, last = np.searchsorted(self.found.group, [cls * count, (cls + 1) * count])
        return slice(int(first), int(last))


@dataclass(frozen=True)
class Pairs:
    """Detections and objects of the same class and picture, [p] each, by detection, then object."""

    found: Integers
    truth: Integers
    overlap: Floats


def tabulate(results: Sequence[ImageResult], num_classes: int) -> Table:
    """Return the table of results. Equal scores of a picture keep their order."""
    ordered = in_order(results)
    return Table(ordered, num_classes, _truth(ordered), _found(ordered))


def _truth(results: list[ImageResult]) -> Truth:
    group = _groups(results, [result.true_classes for result in results])
    origin = np.argsort(group, kind="stable")
    boxes = _boxes([result.true_boxes for result in results])[origin]
    annotated = np.concatenate([result.true_areas for result in results])[origin]
    return Truth(
        group=group[origin],
        boxes=boxes,
        areas=np.where(annotated > 0, annotated, box_areas(boxes)),
        crowd=np.concatenate([result.is_crowd for result in results])[origin].astype(bool),
        difficult=np.concatenate([result.difficult for result in results])[origin].astype(bool),
        group_of=np.concatenate([result.group_of for result in results])[origin].astype(bool),
        origin=origin,
    )


def _found(results: list[ImageResult]) -> Found:
    group = _groups(results, [result.classes for result in results])
    scores = np.concatenate([result.scores for result in results]).astype(np.float64)
    origin = np.lexsort((-scores, group))
    group = group[origin]
    boxes = _boxes([result.boxes for result in results])[origin]
    return Found(
        group=group,
        boxes=boxes,
        areas=box_areas(boxes),
        scores=scores[origin],
        rank=np.arange(len(group)) - np.searchsorted(group, group),
        origin=origin,
    )


def _groups(results: list[ImageResult], classes: list[npt.NDArray[np.integer]]) -> Integers:
    pictures = np.repeat(np.arange(len(results)), [len(part) for part in classes])
    return np.concatenate(classes).astype(np.int64) * len(results) + pictures


def _boxes(parts: list[npt.NDArray[np.floating]]) -> Floats:
    return np.concatenate([part.reshape(-1, 4) for part in parts]).astype(np.float64)


def box_areas(boxes: npt.NDArray[np.floating]) -> Floats:
    """Return the areas [m] of boxes [m, 4]."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def pair_up(table: Table, overlap: Overlap, at_least: float, *, among: Flags | None = None) -> Pairs:
    """Return the pairs of the same group that overlap by `at_least`; of the objects `among` only."""
    parts = []
    for found, truth in _candidates(table, among):
        overlaps = overlap(found, truth)
        enough = overlaps >= at_least
        parts.append(Pairs(found[enough], truth[enough], overlaps[enough]))
    return Pairs(
        np.concatenate([np.zeros(0, np.int64), *(part.found for part in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(part.truth for part in parts)]),
        np.concatenate([np.zeros(0), *(part.overlap for part in parts)]),
    )


def _candidates(table: Table, among: Flags | None) -> Iterator[tuple[Integers, Integers]]:
    """Yield rows of detections and objects of the same group, so many at once that memory stays small."""
    chosen = np.arange(len(table.truth.group)) if among is None else np.flatnonzero(among)
    groups = table.truth.group[chosen]
    first = np.searchsorted(groups, table.found.group, "left")
    counts = np.searchsorted(groups, table.found.group, "right") - first
    ends = np.cumsum(counts)
    start, total = 0, int(counts.sum())
    while start < len(counts) and (done := int(ends[start] - counts[start])) < total:
        stop = max(int(np.searchsorted(ends, done + _PAIRS, "right")), start + 1)
        part = counts[start:stop]
        found = np.repeat(np.arange(start, stop), part)
        within = np.arange(len(found)) - np.repeat(np.cumsum(part) - part, part)
        yield found, chosen[np.repeat(first[start:stop], part) + within]
        start = stop


def box_intersections(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> Floats:
    """Return the areas [p] that boxes [p, 4] share with boxes [p, 4]."""
    sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    return np.prod(np.maximum(sides, 0), axis=1)


def box_overlap(table: Table, over_found: Flags) -> Overlap:
    """Return the intersection over union of boxes; over the detection's own area for objects of `over_found` [n]."""
    return _overlap_of(
        table.found.areas,
        box_areas(table.truth.boxes),
        over_found,
        lambda found, truth: box_intersections(table.found.boxes[found], table.truth.boxes[truth]),
    )


def mask_overlap(found: Sequence[Mask], truth: Sequence[Mask], over_found: Flags) -> Overlap:
    """Return the same of masks, given in the order of the table's rows."""
    found_boxes, truth_boxes = _mask_boxes(found), _mask_boxes(truth)

    def intersections(found_rows: Integers, truth_rows: Integers) -> Floats:
        shared = np.zeros(len(found_rows))
        near = np.flatnonzero(box_intersections(found_boxes[found_rows], truth_boxes[truth_rows]) > 0)
        shared[near] = [masks.intersection(found[found_rows[i]], truth[truth_rows[i]]) for i in near]
        return shared

    return _overlap_of(mask_areas(found), mask_areas(truth), over_found, intersections)


def _overlap_of(
    found_areas: Floats, truth_areas: Floats, over_found: Flags, intersections: Overlap
) -> Overlap:
    def overlap(found: Integers, truth: Integers) -> Floats:
        shared, areas = intersections(found, truth), found_areas[found]
        whole = np.where(over_found[truth], areas, areas + truth_areas[truth] - shared)
        return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)

    return overlap


def mask_areas(part: Sequence[Mask]) -> Floats:
    """Return the areas of masks."""
    return np.array([masks.area(mask) for mask in part], np.float64)


def _mask_boxes(part: Sequence[Mask]) -> Floats:
    return np.array([masks.box(mask) for mask in part], np.float64).reshape(-1, 4)


def found_masks(table: Table) -> list[Mask]:
    """Return the masks of the detections, in the table's order; one without pixels where a picture has none."""
    listed = [mask for result in table.results for mask in _masks(result, result.masks, len(result.classes))]
    return [listed[row] for row in table.found.origin]


def true_masks(table: Table) -> list[Mask]:
    """Return the masks of the objects, in the table's order; one without pixels where a picture has none."""
    listed = [
        mask
        for result in table.results
        for mask in _masks(result, result.true_masks, len(result.true_classes))
    ]
    return [listed[row] for row in table.truth.origin]


def _masks(result: ImageResult, given: Sequence[Mask] | None, count: int) -> Sequence[Mask]:
    return [Mask(result.height, result.width, np.zeros(0, np.int64))] * count if given is None else given
