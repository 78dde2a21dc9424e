"""Operations on `np_box_list.BoxList`: overlaps, selections, suppression, and changes of coordinates."""

from collections.abc import Callable, Sequence

import numpy as np

from object_detection.utils import np_box_ops
from object_detection.utils.np_box_list import BoxList, BoxListError

Overlap = Callable[[BoxList, BoxList], np.ndarray]
"""From lists of n and m boxes to the intersection over union [n, m] of what they hold."""


class SortOrder:
    """Lowest first, or highest first."""

    ASCEND = 1
    DESCEND = 2


# Areas and overlaps


def area(boxlist: BoxList) -> np.ndarray:
    """Return the areas [n] of boxes."""
    return np_box_ops.area(boxlist.get())


def intersection(boxlist1: BoxList, boxlist2: BoxList) -> np.ndarray:
    """Return the areas [n, m] that n boxes share with m boxes."""
    return np_box_ops.intersection(boxlist1.get(), boxlist2.get())


def iou(boxlist1: BoxList, boxlist2: BoxList) -> np.ndarray:
    """Return the intersection over union [n, m] of n boxes and m boxes."""
    return np_box_ops.iou(boxlist1.get(), boxlist2.get())


def ioa(boxlist1: BoxList, boxlist2: BoxList) -> np.ndarray:
    """Return the intersection [n, m] of n boxes and m boxes over the area of the second."""
    return np_box_ops.ioa(boxlist1.get(), boxlist2.get())


# Selections


def gather(boxlist: BoxList, indices: np.ndarray, fields: Sequence[str] | None = None) -> BoxList:
    """Return the boxes at `indices` [k], with the named fields, or all.

    Raises BoxListError for an index out of range, indices that are not one list, or a field that is not there.
    """
    if indices.size and (indices.min() < 0 or indices.max() >= boxlist.num_boxes()):
        raise BoxListError(
            f"indices reach from {indices.min()} to {indices.max()} of {boxlist.num_boxes()} boxes."
        )
    chosen = BoxList(boxlist.get()[indices])
    for name in boxlist.get_extra_fields() if fields is None else fields:
        chosen.add_field(name, boxlist.get_field(name)[indices])
    return chosen


def sort_by_field(boxlist: BoxList, field: str, order: int = SortOrder.DESCEND) -> BoxList:
    """Return the boxes sorted by a field [n]; highest first, of equal ones the last comes first.

    Raises BoxListError for a field that is not there or has more than one dimension, and an unknown order.
    """
    values = boxlist.get_field(field)
    if values.ndim != 1:
        raise BoxListError(f'boxes cannot be sorted by "{field}", which is of shape {values.shape}.')
    if order not in (SortOrder.ASCEND, SortOrder.DESCEND):
        raise BoxListError(f"the order {order!r} is neither SortOrder.ASCEND nor SortOrder.DESCEND.")
    ascending = np.argsort(values, kind="stable")
    return gather(boxlist, ascending if order == SortOrder.ASCEND else ascending[::-1])


def filter_scores_greater_than(boxlist: BoxList, thresh: float) -> BoxList:
    """Return the boxes whose score is above `thresh`. Raises BoxListError unless scores are [n] or [n, 1]."""
    return gather(boxlist, np.flatnonzero(_scores(boxlist, 1)[:, 0] > thresh))


def concatenate(boxlists: Sequence[BoxList], fields: Sequence[str] | None = None) -> BoxList:
    """Return the boxes of several lists as one, with the named fields, or all of the first.

    Raises BoxListError if there are no lists, one is something else, or their fields do not fit.
    """
    if not isinstance(boxlists, list) or not boxlists:
        raise BoxListError("boxlists has to be a list of at least one BoxList.")
    if not all(isinstance(boxlist, BoxList) for boxlist in boxlists):
        raise BoxListError("boxlists holds something that is no BoxList.")
    joined = BoxList(np.concatenate([boxlist.get() for boxlist in boxlists]))
    for name in boxlists[0].get_extra_fields() if fields is None else fields:
        parts = [boxlist.get_field(name) for boxlist in boxlists]
        if len({part.shape[1:] for part in parts}) > 1:
            raise BoxListError(
                f'the field "{name}" is of different shapes: {[part.shape for part in parts]}.'
            )
        joined.add_field(name, np.concatenate(parts))
    return joined


def prune_non_overlapping_boxes(boxlist1: BoxList, boxlist2: BoxList, minoverlap: float = 0.0) -> BoxList:
    """Return those of the first boxes of which some box of the second covers at least the fraction `minoverlap`."""
    covered = ioa(boxlist2, boxlist1).max(axis=0, initial=-np.inf)
    return gather(boxlist1, np.flatnonzero(covered >= minoverlap))


def prune_outside_window(boxlist: BoxList, window: np.ndarray) -> tuple[BoxList, np.ndarray]:
    """Return the boxes that lie wholly in `window` [4], and their indices."""
    top, left, bottom, right = window
    ymin, xmin, ymax, xmax = boxlist.get_coordinates()
    within = np.flatnonzero((ymin >= top) & (xmin >= left) & (ymax <= bottom) & (xmax <= right))
    return gather(boxlist, within), within


# Suppression


def non_max_suppression(
    boxlist: BoxList,
    max_output_size: int = 10000,
    iou_threshold: float = 1.0,
    score_threshold: float = -10.0,
) -> BoxList:
    """Return the best boxes with a score above a threshold, without those that overlap a better one by more than
    `iou_threshold`.

    Raises BoxListError for a threshold outside of [0, 1], a negative size, or scores that are not there.
    """
    return suppress(boxlist, iou, max_output_size, iou_threshold, score_threshold)


def suppress(
    boxlist: BoxList, overlap: Overlap, max_output_size: int, iou_threshold: float, score_threshold: float
) -> BoxList:
    """Suppress as `non_max_suppression` does, by any overlap."""
    if not 0 <= iou_threshold <= 1:
        raise BoxListError(f"iou_threshold is {iou_threshold}, not from 0 to 1.")
    if max_output_size < 0:
        raise BoxListError(f"max_output_size is {max_output_size}: it cannot be negative.")
    best_first = sort_by_field(filter_scores_greater_than(boxlist, score_threshold), "scores")
    if iou_threshold == 1.0:  # nothing overlaps by more
        return gather(best_first, np.arange(min(max_output_size, best_first.num_boxes())))
    kept: list[int] = []
    left = np.arange(best_first.num_boxes())
    while len(left) and len(kept) < max_output_size:
        kept.append(left[0])
        ious = overlap(gather(best_first, left[:1]), gather(best_first, left[1:]))[0]
        left = left[1:][ious <= iou_threshold]
    return gather(best_first, np.array(kept, np.int64))


def multi_class_non_max_suppression(
    boxlist: BoxList, score_thresh: float, iou_thresh: float, max_output_size: int
) -> BoxList:
    """Return boxes with one of their "scores" [n, c] and its class, by descending score, suppressed class by class.

    Other fields are left out. Raises BoxListError as `non_max_suppression` does, and for something that is no BoxList.
    """
    return suppress_each_class(boxlist, iou, score_thresh, iou_thresh, max_output_size)


def suppress_each_class(
    boxlist: BoxList,
    overlap: Overlap,
    score_thresh: float,
    iou_thresh: float,
    max_output_size: int,
    fields: Sequence[str] = (),
) -> BoxList:
    """Suppress as `multi_class_non_max_suppression` does, by any overlap, keeping the named fields."""
    if not isinstance(boxlist, BoxList):
        raise BoxListError(f"boxlist has to be a BoxList, not {type(boxlist).__name__}.")
    found = []
    for cls, scores in enumerate(_scores(boxlist).T):
        of_class = gather(boxlist, np.arange(boxlist.num_boxes()), fields)
        of_class.add_field("scores", scores)
        best = suppress(of_class, overlap, max_output_size, iou_thresh, score_thresh)
        best.add_field("classes", np.full_like(best.get_field("scores"), cls))
        found.append(best)
    return sort_by_field(concatenate(found), "scores")


def _scores(boxlist: BoxList, num_classes: int | None = None) -> np.ndarray:
    """Return the scores as [n, c], whose c is `num_classes` if that is given."""
    scores = boxlist.get_field("scores")
    table = scores[:, None] if scores.ndim == 1 else scores
    if table.ndim != 2 or not table.shape[1] or (num_classes and table.shape[1] != num_classes):
        raise BoxListError(f"scores are of shape {scores.shape}.")
    return table


# Changes of coordinates


def scale(boxlist: BoxList, y_scale: float, x_scale: float) -> BoxList:
    """Return the boxes stretched by a factor along each axis."""
    return _moved(boxlist, boxlist.get() * np.array([y_scale, x_scale] * 2, boxlist.get().dtype))


def clip_to_window(boxlist: BoxList, window: np.ndarray, filter_nonoverlapping: bool = True) -> BoxList:
    """Return the boxes cut to `window` [4], without those of which nothing is left unless told to keep them."""
    top_left, bottom_right = np.tile(window[:2], 2), np.tile(window[2:], 2)
    clipped = _moved(boxlist, np.clip(boxlist.get(), top_left, bottom_right).astype(boxlist.get().dtype))
    return gather(clipped, np.flatnonzero(area(clipped) > 0)) if filter_nonoverlapping else clipped


def change_coordinate_frame(boxlist: BoxList, window: np.ndarray) -> BoxList:
    """Return the boxes in coordinates in which `window` [4] is [0, 0, 1, 1]."""
    top, left, bottom, right = window
    origin = np.array([top, left] * 2, boxlist.get().dtype)
    return scale(_moved(boxlist, boxlist.get() - origin), 1.0 / (bottom - top), 1.0 / (right - left))


def _moved(boxlist: BoxList, boxes: np.ndarray) -> BoxList:
    """Return a list of other boxes with the same fields."""
    moved = BoxList(boxes)
    for name in boxlist.get_extra_fields():
        moved.add_field(name, boxlist.get_field(name))
    return moved
