"""How well a detector's anchors fit the objects of a data set: which objects no anchor answers for.

Anchors stand on grids. Two intervals of given lengths overlap the more, the nearer their centres are, and an
intersection is the product of two such overlaps. So of all anchors of one shape on one grid, the one whose row
and whose column are nearest an object's centre overlaps it most, and only that one is compared: about a
thousandth of all pairs, with the same result.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from boxtune.config.pipeline_pb2 import ImageResizer
from boxtune.data.image_record import ImageRecord
from boxtune.metrics.tables import box_areas

# Anchors are float32: what differs by less than this share of the image is equal.
_TOLERANCE = 1e-5


@dataclass(frozen=True, eq=False)
class AnchorFit:
    """Anchors and the objects they should answer for.

    Attributes:
        anchors: float32 [a, 4], as fractions of the model's input.
        matched_threshold: the IoU from which an anchor is trained on an object, 0 if there is none.
        boxes: float32 [n, 4], the objects as fractions of the model's input, padding included.
        best_iou: float32 [n] in [0, 1], the IoU of each with the anchor that overlaps it most.
    """

    anchors: np.ndarray
    matched_threshold: float
    boxes: np.ndarray
    best_iou: np.ndarray

    @property
    def unmatched(self) -> np.ndarray:
        """Bool [n]: no anchor reaches the threshold; training has at most the nearest anchor for it."""
        return self.best_iou < self.matched_threshold

    @cached_property
    def shapes(self) -> np.ndarray:
        """The distinct (height, width) of the anchors, float32 [s, 2], smallest first."""
        sizes = self.anchors[:, 2:] - self.anchors[:, :2]
        shapes = np.array([sizes[members].mean(axis=0) for members in _equal(sizes)]).reshape(-1, 2)
        return shapes[np.argsort(shapes.prod(axis=1), kind="stable")].astype(np.float32)


def fit_anchors(
    anchors: np.ndarray, matched_threshold: float, images: Iterable[ImageRecord], section: ImageResizer
) -> AnchorFit:
    """Compare `anchors` [a, 4] with all objects of `images`, in their order, once `image_resizer` has resized them."""
    images = list(images)
    boxes = np.array([item.box for image in images for item in image.objects], np.float32).reshape(-1, 4)
    extents = _extents(images, section)
    counts = [len(image.objects) for image in images]
    boxes = boxes * np.repeat(np.tile(extents, 2), counts, axis=0)
    anchors = np.asarray(anchors, np.float32)
    return AnchorFit(anchors, matched_threshold, boxes, best_ious(boxes, anchors))


def best_ious(boxes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Return float32 [n]: the highest IoU of each of `boxes` [n, 4] with any of `anchors` [a, 4], 0 without anchors."""
    boxes = np.asarray(boxes, np.float64)
    best = np.zeros(len(boxes))
    for grid in _grids(np.asarray(anchors, np.float64)):
        height, anchor_height = _overlap(boxes[:, [0, 2]], grid.rows)
        width, anchor_width = _overlap(boxes[:, [1, 3]], grid.columns)
        shared = height * width
        union = box_areas(boxes) + anchor_height * anchor_width - shared
        np.maximum(best, np.divide(shared, union, out=np.zeros_like(shared), where=union > 0), out=best)
    return best.astype(np.float32)


def _extents(images: Sequence[ImageRecord], section: ImageResizer) -> np.ndarray:
    """Return float32 [images, 2]: the shares of the input's height and width that each image fills.

    The same as `boxtune.data.resize` computes for one image at a time.
    """
    sides = np.array([(image.height, image.width) for image in images], np.float32).reshape(-1, 2)
    aspect = section.keep_aspect_ratio_resizer
    if not section.HasField("keep_aspect_ratio_resizer") or not aspect.pad_to_max_dimension:
        return np.ones_like(sides)
    to_smallest = np.float32(aspect.min_dimension) / sides.min(axis=1, keepdims=True)
    to_largest = np.float32(aspect.max_dimension) / sides.max(axis=1, keepdims=True)
    resized = np.maximum(np.round(sides * np.minimum(to_smallest, to_largest)), 1)
    return (resized / np.float32(aspect.max_dimension)).astype(np.float32)


class _Grid(NamedTuple):
    """Anchors of one shape at every crossing of rows [r, 2] and columns [c, 2]: intervals, sorted."""

    rows: np.ndarray
    columns: np.ndarray


def _grids(anchors: np.ndarray) -> Iterator[_Grid]:
    """Divide `anchors` [a, 4] into grids: one for each shape, or for each shape and row where positions are missing."""
    for of_one_shape in _equal(anchors[:, 2:] - anchors[:, :2]):
        alike = anchors[of_one_shape]
        grid = _Grid(_distinct(alike[:, [0, 2]]), _distinct(alike[:, [1, 3]]))
        if len(grid.rows) * len(grid.columns) == len(_equal(alike[:, :2])):
            yield grid
        else:
            for of_one_row in _equal(alike[:, :1]):
                row = alike[of_one_row]
                yield _Grid(row[:1, [0, 2]], _distinct(row[:, [1, 3]]))


def _equal(values: np.ndarray) -> list[np.ndarray]:
    """Return the indices of the rows of `values` [k, d] that are equal but for rounding, group by group."""
    groups = np.zeros(len(values), np.int64)
    for column in values.T:
        order = np.argsort(column, kind="stable")
        numbers = np.zeros(len(values), np.int64)
        numbers[order[1:]] = np.cumsum(np.diff(column[order]) > _TOLERANCE)
        groups = groups * len(values) + numbers
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1) if len(order) else []


def _distinct(intervals: np.ndarray) -> np.ndarray:
    """Return one of each group of equal intervals [k, 2], in their order in space."""
    return np.array([intervals[members[0]] for members in _equal(intervals[:, :1])])


def _overlap(intervals: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return [n]: how much each of `intervals` [n, 2] shares with the nearest of `candidates`, and how long that is."""
    centers = candidates.mean(axis=1)
    nearest = np.searchsorted((centers[1:] + centers[:-1]) / 2, intervals.mean(axis=1))
    low, high = candidates[nearest].T
    shared = np.minimum(intervals[:, 1], high) - np.maximum(intervals[:, 0], low)
    return np.maximum(shared, 0.0), high - low
