"""Operations on `np_box_mask_list.BoxMaskList`, whose areas and overlaps are those of masks."""

from collections.abc import Sequence

import numpy as np

from object_detection.utils import np_box_list_ops, np_mask_ops
from object_detection.utils.np_box_list import BoxList
from object_detection.utils.np_box_mask_list import BoxMaskList


def box_list_to_box_mask_list(boxlist: BoxList) -> BoxMaskList:
    """Return a `BoxList` with a field "masks" as a `BoxMaskList`. Raises BoxListError if it has no such field."""
    converted = BoxMaskList(boxlist.get(), boxlist.get_field("masks"))
    for name in boxlist.get_extra_fields():
        if name != "masks":
            converted.add_field(name, boxlist.get_field(name))
    return converted


# Areas and overlaps


def area(box_mask_list: BoxMaskList) -> np.ndarray:
    """Return the numbers of pixels float32 [n] of masks."""
    return np_mask_ops.area(box_mask_list.get_masks())


def intersection(box_mask_list1: BoxMaskList, box_mask_list2: BoxMaskList) -> np.ndarray:
    """Return float32 [n, m], the pixels that n masks share with m masks."""
    return np_mask_ops.intersection(box_mask_list1.get_masks(), box_mask_list2.get_masks())


def iou(box_mask_list1: BoxMaskList, box_mask_list2: BoxMaskList) -> np.ndarray:
    """Return the intersection over union float32 [n, m] of n masks and m masks."""
    return _mask_iou(box_mask_list1, box_mask_list2)


def _mask_iou(boxlist1: BoxList, boxlist2: BoxList) -> np.ndarray:
    return np_mask_ops.iou(boxlist1.get_field("masks"), boxlist2.get_field("masks"))


def ioa(box_mask_list1: BoxMaskList, box_mask_list2: BoxMaskList) -> np.ndarray:
    """Return the intersection float32 [n, m] of n masks and m masks over the area of the second."""
    return np_mask_ops.ioa(box_mask_list1.get_masks(), box_mask_list2.get_masks())


# Selections


def gather(
    box_mask_list: BoxMaskList, indices: np.ndarray, fields: Sequence[str] | None = None
) -> BoxMaskList:
    """Return the boxes and masks at `indices` [k], with the named fields, or all.

    Raises BoxListError as `np_box_list_ops.gather` does.
    """
    return box_list_to_box_mask_list(np_box_list_ops.gather(box_mask_list, indices, _with_masks(fields)))


def sort_by_field(
    box_mask_list: BoxMaskList, field: str, order: int = np_box_list_ops.SortOrder.DESCEND
) -> BoxMaskList:
    """Return boxes and masks sorted by a field [n]; see `np_box_list_ops.sort_by_field`."""
    return box_list_to_box_mask_list(np_box_list_ops.sort_by_field(box_mask_list, field, order))


def filter_scores_greater_than(box_mask_list: BoxMaskList, thresh: float) -> BoxMaskList:
    """Return boxes and masks whose score is above `thresh`. Raises BoxListError unless scores are [n] or [n, 1]."""
    return box_list_to_box_mask_list(np_box_list_ops.filter_scores_greater_than(box_mask_list, thresh))


def concatenate(box_mask_lists: Sequence[BoxMaskList], fields: Sequence[str] | None = None) -> BoxMaskList:
    """Return several lists as one, with the named fields, or all of the first; see `np_box_list_ops.concatenate`."""
    return box_list_to_box_mask_list(np_box_list_ops.concatenate(box_mask_lists, _with_masks(fields)))


def prune_non_overlapping_masks(
    box_mask_list1: BoxMaskList, box_mask_list2: BoxMaskList, minoverlap: float = 0.0
) -> BoxMaskList:
    """Return those of the first masks of which some mask of the second covers at least the fraction `minoverlap`."""
    covered = ioa(box_mask_list2, box_mask_list1).max(axis=0, initial=-np.inf)
    return gather(box_mask_list1, np.flatnonzero(covered >= minoverlap))


def _with_masks(fields: Sequence[str] | None) -> Sequence[str] | None:
    return fields if fields is None or "masks" in fields else [*fields, "masks"]


# Suppression


def non_max_suppression(
    box_mask_list: BoxMaskList,
    max_output_size: int = 10000,
    iou_threshold: float = 1.0,
    score_threshold: float = -10.0,
) -> BoxMaskList:
    """Suppress masks as `np_box_list_ops.non_max_suppression` does boxes."""
    return box_list_to_box_mask_list(
        np_box_list_ops.suppress(box_mask_list, _mask_iou, max_output_size, iou_threshold, score_threshold)
    )


def multi_class_non_max_suppression(
    box_mask_list: BoxMaskList, score_thresh: float, iou_thresh: float, max_output_size: int
) -> BoxMaskList:
    """Suppress masks class by class as `np_box_list_ops.multi_class_non_max_suppression` does boxes."""
    return box_list_to_box_mask_list(
        np_box_list_ops.suppress_each_class(
            box_mask_list, _mask_iou, score_thresh, iou_thresh, max_output_size, ("masks",)
        )
    )
