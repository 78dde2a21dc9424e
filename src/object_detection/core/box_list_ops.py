"""Operations on lists of boxes. The arithmetic is that of `boxtune.detection.boxes`; `scope` names nothing.

Boxes are `[ymin, xmin, ymax, xmax]`; n, m: boxes. Fields other than the boxes travel with them.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from boxtune.detection import boxes as box_arithmetic
from object_detection.core.box_list import BoxList
from object_detection.utils import ops, shape_utils
from object_detection.utils.ops import TensorError


class SortOrder:
    """The order of `sort_by_field`."""

    ascend = 1
    descend = 2


def _copy_extra_fields(boxlist_to_copy_to: BoxList, boxlist_to_copy_from: BoxList) -> BoxList:
    for field in boxlist_to_copy_from.get_extra_fields():
        boxlist_to_copy_to.add_field(field, boxlist_to_copy_from.get_field(field))
    return boxlist_to_copy_to


def _with_boxes(boxlist: BoxList, boxes: Any) -> BoxList:
    return _copy_extra_fields(BoxList(boxes), boxlist)


# Sizes and frames


def area(boxlist: BoxList, scope: str | None = None) -> Any:
    """Return the areas [n]."""
    return box_arithmetic.area(boxlist.get())


def height_width(boxlist: BoxList, scope: str | None = None) -> tuple[Any, Any]:
    """Return the heights [n] and the widths [n]."""
    _, _, heights, widths = boxlist.get_center_coordinates_and_sizes()
    return heights, widths


def scale(boxlist: BoxList, y_scale: Any, x_scale: Any, scope: str | None = None) -> BoxList:
    """Return boxes with their coordinates multiplied."""
    factors = [tf.cast(factor, tf.float32) for factor in (y_scale, x_scale)]
    return _with_boxes(boxlist, boxlist.get() * tf.stack(factors * 2))


def scale_height_width(boxlist: BoxList, y_scale: Any, x_scale: Any, scope: str | None = None) -> BoxList:
    """Return boxes with their sides multiplied; their centres stay."""
    y, x, heights, widths = boxlist.get_center_coordinates_and_sizes()
    return _with_boxes(boxlist, box_arithmetic.from_centers(y, x, y_scale * heights, x_scale * widths))


def clip_to_window(
    boxlist: BoxList, window: Any, filter_nonoverlapping: bool = True, scope: str | None = None
) -> BoxList:
    """Return boxes clipped to a window [4]; without those that have no area then, if `filter_nonoverlapping`."""
    clipped = _with_boxes(boxlist, box_arithmetic.clip(boxlist.get(), window))
    return _where(clipped, area(clipped) > 0) if filter_nonoverlapping else clipped


def prune_outside_window(boxlist: BoxList, window: Any, scope: str | None = None) -> tuple[BoxList, Any]:
    """Return the boxes that lie within a window [4] as a whole, and their numbers."""
    top, left, bottom, right = tf.unstack(window)
    ymin, xmin, ymax, xmax = box_arithmetic.sides(boxlist.get())
    return _kept(boxlist, (ymin >= top) & (xmin >= left) & (ymax <= bottom) & (xmax <= right))


def prune_completely_outside_window(
    boxlist: BoxList, window: Any, scope: str | None = None
) -> tuple[BoxList, Any]:
    """Return the boxes of which some part lies within a window [4], and their numbers."""
    top, left, bottom, right = tf.unstack(window)
    ymin, xmin, ymax, xmax = box_arithmetic.sides(boxlist.get())
    return _kept(boxlist, (ymin < bottom) & (xmin < right) & (ymax > top) & (xmax > left))


def change_coordinate_frame(boxlist: BoxList, window: Any, scope: str | None = None) -> BoxList:
    """Return boxes in the frame in which `window` [4] is [0, 0, 1, 1]."""
    return _with_boxes(boxlist, box_arithmetic.to_frame_of(boxlist.get(), window))


def to_normalized_coordinates(
    boxlist: BoxList, height: Any, width: Any, check_range: bool = True, scope: str | None = None
) -> BoxList:
    """Return boxes in pixels as fractions of an image.

    With `check_range`, boxes that are fractions already fail with TensorFlow's InvalidArgumentError.
    """
    height, width = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    if check_range:
        most = tf.reduce_max(boxlist.get())
        check = tf.debugging.Assert(most > 1.01, ["max box coordinate value is lower than 1.01: ", most])
        with tf.control_dependencies([] if check is None else [check]):
            width = tf.identity(width)
    return scale(boxlist, 1 / height, 1 / width)


def to_absolute_coordinates(
    boxlist: BoxList,
    height: Any,
    width: Any,
    check_range: bool = True,
    maximum_normalized_coordinate: float = 1.1,
    scope: str | None = None,
) -> BoxList:
    """Return boxes that are fractions of an image in pixels.

    With `check_range`, boxes beyond the maximum fail with TensorFlow's InvalidArgumentError.
    """
    height, width = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    if check_range:
        most = tf.reduce_max(boxlist.get())
        message = f"maximum box coordinate value is larger than {maximum_normalized_coordinate:f}: "
        check = tf.debugging.Assert(most <= maximum_normalized_coordinate, [message, most])
        with tf.control_dependencies([] if check is None else [check]):
            width = tf.identity(width)
    return scale(boxlist, height, width)


# Overlaps and distances


def intersection(boxlist1: BoxList, boxlist2: BoxList, scope: str | None = None) -> Any:
    """Return the areas of the intersections [n, m]."""
    return box_arithmetic.intersection_pairwise(boxlist1.get(), boxlist2.get())


def matched_intersection(boxlist1: BoxList, boxlist2: BoxList, scope: str | None = None) -> Any:
    """Return the areas of the intersections [n], box by box."""
    pairs = box_arithmetic.intersection_pairwise(boxlist1.get()[:, None], boxlist2.get()[:, None])
    return pairs[:, 0, 0]


def iou(boxlist1: BoxList, boxlist2: BoxList, scope: str | None = None) -> Any:
    """Return the intersection over union [n, m]."""
    return box_arithmetic.iou_pairwise(boxlist1.get(), boxlist2.get())


def matched_iou(boxlist1: BoxList, boxlist2: BoxList, scope: str | None = None) -> Any:
    """Return the intersection over union [n], box by box."""
    return box_arithmetic.iou(boxlist1.get(), boxlist2.get())


def ioa(boxlist1: BoxList, boxlist2: BoxList, scope: str | None = None) -> Any:
    """Return the intersection over the area of the second box [n, m]."""
    return box_arithmetic.ioa_pairwise(boxlist1.get(), boxlist2.get())


def l1(boxlist1: BoxList, boxlist2: BoxList, scope: str | None = None) -> Any:
    """Return the sum of the differences of centre y, centre x, height and width [n, m]."""
    first, second = (
        tf.stack(boxlist.get_center_coordinates_and_sizes(), axis=-1) for boxlist in (boxlist1, boxlist2)
    )
    return tf.reduce_sum(tf.abs(first[:, None] - second[None]), axis=-1)


def giou(boxlist1: BoxList, boxlist2: BoxList, scope: str | None = None) -> Any:
    """Return the generalized intersection over union [n, m]."""
    n, m = boxlist1.num_boxes(), boxlist2.num_boxes()
    first, second = tf.repeat(boxlist1.get(), m, axis=0), tf.tile(boxlist2.get(), [n, 1])
    return tf.reshape(ops.giou(first, second), [n, m])


def sq_dist(boxlist1: BoxList, boxlist2: BoxList, scope: str | None = None) -> Any:
    """Return the squared distances [n, m] of boxes as points with four coordinates."""
    return -box_arithmetic.negative_squared_distance_pairwise(boxlist1.get(), boxlist2.get())


# Choosing


def prune_non_overlapping_boxes(
    boxlist1: BoxList, boxlist2: BoxList, min_overlap: float = 0.0, scope: str | None = None
) -> tuple[BoxList, Any]:
    """Return the first boxes of whose area enough is within one of the second, and their numbers."""
    return _kept(boxlist1, tf.reduce_max(ioa(boxlist2, boxlist1), axis=0) >= min_overlap)


def prune_small_boxes(boxlist: BoxList, min_side: float, scope: str | None = None) -> BoxList:
    """Return the boxes whose both sides are at least `min_side`."""
    heights, widths = height_width(boxlist)
    return _where(boxlist, (heights >= min_side) & (widths >= min_side))


def boolean_mask(
    boxlist: BoxList,
    indicator: Any,
    fields: Sequence[str] | None = None,
    scope: str | None = None,
    use_static_shapes: bool = False,
    indicator_sum: int | None = None,
) -> BoxList:
    """Return the boxes of which `indicator` (bool [n]) is true, with some fields or all.

    With `use_static_shapes` there are to be `indicator_sum` of them.

    Raises:
        TensorError: for another indicator, or a field that is not there.
    """
    indicator = tf.convert_to_tensor(indicator)
    if indicator.shape.rank != 1:
        raise TensorError("indicator should have rank 1")
    if indicator.dtype != tf.bool:
        raise TensorError("indicator should be a boolean tensor")
    if not use_static_shapes:
        return gather(boxlist, tf.cast(tf.where(indicator)[:, 0], tf.int32), fields)
    if not (indicator_sum and isinstance(indicator_sum, int)):
        raise TensorError("`indicator_sum` must be a of type int")
    _, indices = tf.math.top_k(tf.cast(indicator, tf.float32), indicator_sum)
    return gather(boxlist, indices, fields, use_static_shapes=True)


def gather(
    boxlist: BoxList,
    indices: Any,
    fields: Sequence[str] | None = None,
    scope: str | None = None,
    use_static_shapes: bool = False,
) -> BoxList:
    """Return the boxes of some numbers (int [m]), with some fields or all.

    Raises:
        TensorError: for other indices, or a field that is not there.
    """
    indices = tf.convert_to_tensor(indices)
    if indices.shape.rank != 1:
        raise TensorError("indices should have rank 1")
    if indices.dtype not in (tf.int32, tf.int64):
        raise TensorError("indices should be an int32 / int64 tensor")
    chosen = BoxList(tf.gather(boxlist.get(), indices))
    for field in boxlist.get_extra_fields() if fields is None else fields:
        if not boxlist.has_field(field):
            raise TensorError("boxlist must contain all specified fields")
        if field != "boxes":
            chosen.add_field(field, tf.gather(boxlist.get_field(field), indices))
    return chosen


def _where(boxlist: BoxList, is_kept: Any) -> BoxList:
    return _kept(boxlist, is_kept)[0]


def _kept(boxlist: BoxList, is_kept: Any) -> tuple[BoxList, Any]:
    indices = tf.where(is_kept)[:, 0]
    return gather(boxlist, indices), indices


def filter_field_value_equals(boxlist: BoxList, field: str, value: Any, scope: str | None = None) -> BoxList:
    """Return the boxes whose field has a value; raise TensorError if there is no such field."""
    _check_list(boxlist)
    if not boxlist.has_field(field):
        raise TensorError("boxlist must contain the specified field")
    return _where(boxlist, tf.equal(boxlist.get_field(field), value))


def filter_greater_than(boxlist: BoxList, thresh: Any, scope: str | None = None) -> BoxList:
    """Return the boxes whose scores, [n] or [n, 1], are above a threshold; raise TensorError for other scores."""
    _check_list(boxlist)
    _check_scores(boxlist)
    scores = boxlist.get_field("scores")
    if scores.shape.rank not in (1, 2):
        raise TensorError("Scores should have rank 1 or 2")
    if scores.shape.rank == 2 and scores.shape[1] != 1:
        raise TensorError("Scores should have rank 1 or have shape consistent with [None, 1]")
    return _where(boxlist, tf.reshape(scores, [-1]) > thresh)


def select_random_box(
    boxlist: BoxList, default_box: Any = None, seed: int | None = None, scope: str | None = None
) -> tuple[Any, Any]:
    """Return one box [1, 4] and true, or `default_box` (four times -1) and false if there is none."""
    nothing = tf.constant([[-1.0] * 4]) if default_box is None else default_box
    count = boxlist.num_boxes()
    has_boxes = count > 0
    index = tf.random.uniform([], maxval=tf.maximum(count, 1), dtype=tf.int32, seed=seed)
    box = tf.cond(has_boxes, lambda: boxlist.get()[index][None], lambda: nothing)
    return box, has_boxes


def get_minimal_coverage_box(boxlist: BoxList, default_box: Any = None, scope: str | None = None) -> Any:
    """Return the smallest box [1, 4] around all boxes, or `default_box` (the whole image) if there is none."""
    nothing = tf.constant([[0.0, 0.0, 1.0, 1.0]]) if default_box is None else default_box
    boxes = boxlist.get()

    def around() -> Any:
        corners = [tf.reduce_min(boxes[:, :2], axis=0), tf.reduce_max(boxes[:, 2:], axis=0)]
        return tf.concat(corners, axis=0)[None]

    return tf.cond(boxlist.num_boxes() > 0, around, lambda: nothing)


def sample_boxes_by_jittering(
    boxlist: BoxList, num_boxes_to_sample: Any, stddev: float = 0.1, scope: str | None = None
) -> BoxList:
    """Return boxes drawn at random, each corner moved by normal noise of `stddev` times the side."""
    indices = tf.random.uniform([num_boxes_to_sample], maxval=boxlist.num_boxes(), dtype=tf.int32)
    boxes = tf.gather(boxlist.get(), indices)
    _, _, heights, widths = box_arithmetic.to_centers(boxes)
    noise = tf.random.normal(tf.shape(boxes), stddev=stddev) * tf.stack([heights, widths] * 2, axis=1)
    return BoxList(boxes + noise)


# Lists


def concatenate(
    boxlists: Sequence[BoxList], fields: Sequence[str] | None = None, scope: str | None = None
) -> BoxList:
    """Return all boxes of several lists, with some fields or those of the first.

    Raises:
        TensorError: for anything else, or fields that some list does not have, or has in another shape.
    """
    if not isinstance(boxlists, list):
        raise TensorError("boxlists should be a list")
    if not boxlists:
        raise TensorError("boxlists should have nonzero length")
    if not all(isinstance(boxlist, BoxList) for boxlist in boxlists):
        raise TensorError("all elements of boxlists should be BoxList objects")
    together = BoxList(tf.concat([boxlist.get() for boxlist in boxlists], axis=0))
    for field in boxlists[0].get_extra_fields() if fields is None else fields:
        if not all(boxlist.has_field(field) for boxlist in boxlists):
            raise TensorError("boxlist must contain all requested fields")
        values = [tf.convert_to_tensor(boxlist.get_field(field)) for boxlist in boxlists]
        shapes = [(value.shape.rank, *value.shape[1:]) for value in values]
        if any(
            one is not None and one != other
            for shape in shapes
            for one, other in zip(shapes[0], shape, strict=False)
        ):
            raise TensorError(
                f"field {field} must have same shape for all boxes except for the 0th dimension."
            )
        together.add_field(field, tf.concat(values, axis=0))
    return together


def sort_by_field(
    boxlist: BoxList, field: str, order: int = SortOrder.descend, scope: str | None = None
) -> BoxList:
    """Return the boxes in the order of a field [n].

    Raises:
        TensorError: for another order or rank; TensorFlow's InvalidArgumentError for another length.
    """
    if order not in (SortOrder.descend, SortOrder.ascend):
        raise TensorError("Invalid sort order")
    values = tf.convert_to_tensor(boxlist.get_field(field))
    if values.shape.rank != 1:
        raise TensorError("Field should have rank 1")
    count, entries = boxlist.num_boxes(), tf.size(values)
    message = "Incorrect field size: actual vs expected."
    check = tf.debugging.Assert(tf.equal(count, entries), [message, entries, count])
    with tf.control_dependencies([] if check is None else [check]):
        signed = values if order == SortOrder.descend else -values
        _, indices = tf.math.top_k(signed, entries)
    return gather(boxlist, indices)


def pad_or_clip_box_list(boxlist: BoxList, num_boxes: Any, scope: str | None = None) -> BoxList:
    """Return a list of `num_boxes` boxes: padded with zeros, or clipped."""
    padded = BoxList(shape_utils.pad_or_clip_tensor(boxlist.get(), num_boxes))
    for field in boxlist.get_extra_fields():
        padded.add_field(field, shape_utils.pad_or_clip_tensor(boxlist.get_field(field), num_boxes))
    return padded


def visualize_boxes_in_image(
    image: Any, boxlist: BoxList, normalized: bool = False, scope: str | None = None
) -> Any:
    """Return an image [h, w, 3] with boxes, in pixels or `normalized`, drawn on it."""
    if not normalized:
        height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
        boxlist = scale(boxlist, 1 / height, 1 / width)
    return tf.compat.v1.image.draw_bounding_boxes(image[None], boxlist.get()[None])[0]


# Suppression and voting


def non_max_suppression(
    boxlist: BoxList, thresh: float, max_output_size: Any, scope: str | None = None
) -> BoxList:
    """Return the best boxes of which none overlaps a better one by more than `thresh`, in the order of scores.

    Raises:
        TensorError: for a threshold outside of [0, 1], and if there are no scores.
    """
    _check_fraction("thresh", thresh)
    _check_list(boxlist)
    _check_scores(boxlist)
    indices = tf.image.non_max_suppression(
        boxlist.get(), boxlist.get_field("scores"), max_output_size, iou_threshold=thresh
    )
    return gather(boxlist, indices)


def refine_boxes_multi_class(
    pool_boxes: BoxList,
    num_classes: int,
    nms_iou_thresh: float,
    nms_max_detections: int,
    voting_iou_thresh: float = 0.5,
) -> BoxList:
    """Return what `refine_boxes` does of the boxes of each class (field "classes", from 0 on), best first.

    Raises:
        TensorError: for a threshold outside of [0, 1], and if there are no scores.
    """
    _check_fraction("nms_iou_thresh", nms_iou_thresh)
    _check_fraction("voting_iou_thresh", voting_iou_thresh)
    _check_list(pool_boxes)
    _check_scores(pool_boxes)
    refined = [
        refine_boxes(
            filter_field_value_equals(pool_boxes, "classes", number),
            nms_iou_thresh,
            nms_max_detections,
            voting_iou_thresh,
        )
        for number in range(num_classes)
    ]
    return sort_by_field(concatenate(refined), "scores")


def refine_boxes(
    pool_boxes: BoxList, nms_iou_thresh: float, nms_max_detections: int, voting_iou_thresh: float = 0.5
) -> BoxList:
    """Return the boxes that suppression keeps, each replaced by the mean of those that overlap it.

    Raises:
        TensorError: for a threshold outside of [0, 1], and if there are no scores.
    """
    _check_fraction("nms_iou_thresh", nms_iou_thresh)
    _check_fraction("voting_iou_thresh", voting_iou_thresh)
    _check_list(pool_boxes)
    _check_scores(pool_boxes)
    kept = non_max_suppression(pool_boxes, nms_iou_thresh, nms_max_detections)
    return box_voting(kept, pool_boxes, voting_iou_thresh)


def box_voting(selected_boxes: BoxList, pool_boxes: BoxList, iou_thresh: float = 0.5) -> BoxList:
    """Return each selected box as the mean of those of the pool that overlap it, weighted by score.

    Its score is their mean score. Source: Gidaris, Komodakis 2015 (arXiv:1505.01749), section 4.

    Raises:
        TensorError: for a threshold outside of [0, 1], and if there are no scores; TensorFlow's InvalidArgumentError
            for negative scores, and if a selected box overlaps none of the pool.
    """
    _check_fraction("iou_thresh", iou_thresh)
    _check_list(selected_boxes, "selected_boxes")
    _check_list(pool_boxes, "pool_boxes")
    _check_scores(pool_boxes)
    votes = tf.cast(iou(selected_boxes, pool_boxes) > iou_thresh, tf.float32)  # [n, m]
    counts = tf.reduce_sum(votes, axis=1)
    scores = tf.reshape(pool_boxes.get_field("scores"), [-1, 1])
    checks = [
        tf.debugging.Assert(
            tf.reduce_all(counts > 0), ["Each box must match with at least one box in the pool.", counts]
        ),
        tf.debugging.Assert(tf.reduce_all(scores >= 0), ["Scores must be non negative.", scores]),
    ]
    with tf.control_dependencies([check for check in checks if check is not None]):
        summed = tf.matmul(votes, scores)  # [n, 1]
    voted = _with_boxes(selected_boxes, tf.matmul(votes, pool_boxes.get() * scores) / summed)
    voted.add_field("scores", summed[:, 0] / counts)
    return voted


def _check_list(boxlist: Any, name: str = "boxlist") -> None:
    if not isinstance(boxlist, BoxList):
        raise TensorError(f"{name} must be a BoxList")


def _check_scores(boxlist: BoxList) -> None:
    if not boxlist.has_field("scores"):
        raise TensorError("input boxlist must have 'scores' field")


def _check_fraction(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise TensorError(f"{name} must be between 0 and 1; it is {value}")
