"""From boxes and scores of all anchors to detections: suppression class by class.

The arithmetic is that of `boxtune.detection.nms`. Dimension letters: b images, a anchors, q 1 or c, c classes, k
detections. `use_static_shapes`, `use_partitioned_nms`, `use_hard_nms`, `use_cpu_nms`, `use_combined_nms`,
`use_dynamic_map_fn` and `parallel_iterations` chose among implementations; here there is one.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import tensorflow as tf

from boxtune.detection.boxes import iou_pairwise
from boxtune.detection.nms import NonMaxSuppression
from boxtune.structures import Detections
from object_detection.core.box_list import BoxList
from object_detection.core.standard_fields import BoxListFields
from object_detection.utils import shape_utils
from object_detection.utils.ops import TensorError

NullContextmanager = nullcontext


def batch_iou(boxes1: Any, boxes2: Any) -> Any:
    """Return the intersection over union [b, n, m] of boxes [b, n, 4] and [b, m, 4]."""
    return iou_pairwise(boxes1, boxes2)


def partitioned_non_max_suppression_padded(
    boxes: Any,
    scores: Any,
    max_output_size: Any,
    iou_threshold: float = 0.5,
    score_threshold: float = float("-inf"),
) -> tuple[Any, Any]:
    """Return the numbers of the boxes [a, 4] to keep, int32 [max_output_size], padded with 0; and how many they are."""
    indices, count = tf.raw_ops.NonMaxSuppressionV4(
        boxes=boxes,
        scores=scores,
        max_output_size=max_output_size,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
        pad_to_max_output_size=True,
    )
    return indices, count


def multiclass_non_max_suppression(
    boxes: Any,
    scores: Any,
    score_thresh: float,
    iou_thresh: float,
    max_size_per_class: int,
    max_total_size: int = 0,
    clip_window: Any = None,
    change_coordinate_frame: bool = False,
    masks: Any = None,
    boundaries: Any = None,
    pad_to_max_output_size: bool = False,
    use_partitioned_nms: bool = False,
    additional_fields: Mapping[str, Any] | None = None,
    soft_nms_sigma: float = 0.0,
    use_hard_nms: bool = False,
    use_cpu_nms: bool = False,
    scope: str | None = None,
) -> tuple[BoxList, Any]:
    """Return the detections of one image, best first, and how many they are.

    Args:
        boxes: float32 [a, q, 4].
        scores: float32 [a, c].
        score_thresh: boxes that do not score above this are dropped.
        iou_thresh: a box that overlaps a better one of its class by more than this is dropped.
        max_size_per_class: the most boxes of a class.
        max_total_size: the most boxes; 0 for any number.
        clip_window: float32 [4], to which boxes are clipped; those outside are dropped. None for no window.
        change_coordinate_frame: whether boxes are in the frame of the window then.
        masks: [a, q, h, w], the field "masks" of the detections.
        boundaries: [a, q, h, w], the field "boundaries".
        pad_to_max_output_size: whether the list of detections is always as long as it can be, with padding at the end.
        use_partitioned_nms: no difference.
        additional_fields: further fields [a, ...] by their names.
        soft_nms_sigma: if above 0, boxes lose score by their overlap instead of being dropped.
        use_hard_nms: no difference.
        use_cpu_nms: no difference.
        scope: names nothing.

    Raises:
        TensorError: for other shapes, a threshold outside of [0, 1], and a frame without a window.
    """
    boxes, scores = tf.convert_to_tensor(boxes), tf.convert_to_tensor(scores)
    _check(boxes[None], scores[None], iou_thresh, clip_window, change_coordinate_frame)
    suppress = NonMaxSuppression(
        score_threshold=score_thresh,
        iou_threshold=iou_thresh,
        max_detections_per_class=max_size_per_class,
        max_total_detections=max_total_size or max_size_per_class * scores.shape[1],
        soft_nms_sigma=soft_nms_sigma,
        change_coordinate_frame=change_coordinate_frame,
    )
    fields = _Fields({BoxListFields.masks: masks, BoxListFields.boundaries: boundaries}, additional_fields)
    return _of_one_image(suppress, boxes, scores, clip_window, fields, pad_to_max_output_size)


def class_agnostic_non_max_suppression(
    boxes: Any,
    scores: Any,
    score_thresh: float,
    iou_thresh: float,
    max_classes_per_detection: int = 1,
    max_total_size: int = 0,
    clip_window: Any = None,
    change_coordinate_frame: bool = False,
    masks: Any = None,
    boundaries: Any = None,
    pad_to_max_output_size: bool = False,
    use_partitioned_nms: bool = False,
    additional_fields: Mapping[str, Any] | None = None,
    soft_nms_sigma: float = 0.0,
    scope: str | None = None,
) -> tuple[BoxList, Any]:
    """Return the same as `multiclass_non_max_suppression`, where each box has its best class only.

    Boxes of different classes suppress each other, too.

    Raises:
        TensorError: as there, and for more than one class of a detection.
    """
    boxes, scores = tf.convert_to_tensor(boxes), tf.convert_to_tensor(scores)
    _check(boxes[None], scores[None], iou_thresh, clip_window, change_coordinate_frame)
    _check_one_class(max_classes_per_detection)
    total = max_total_size or scores.shape[0]
    if total is None:
        raise TensorError(
            "max_total_size is needed where the number of boxes is not known before the graph runs."
        )
    suppress = NonMaxSuppression(
        score_threshold=score_thresh,
        iou_threshold=iou_thresh,
        max_total_detections=total,
        soft_nms_sigma=soft_nms_sigma,
        change_coordinate_frame=change_coordinate_frame,
        class_agnostic=True,
    )
    fields = _Fields({BoxListFields.masks: masks, BoxListFields.boundaries: boundaries}, additional_fields)
    return _of_one_image(suppress, boxes, scores, clip_window, fields, pad_to_max_output_size)


def batch_multiclass_non_max_suppression(
    boxes: Any,
    scores: Any,
    score_thresh: float,
    iou_thresh: float,
    max_size_per_class: int,
    max_total_size: int = 0,
    clip_window: Any = None,
    change_coordinate_frame: bool = False,
    num_valid_boxes: Any = None,
    masks: Any = None,
    additional_fields: Mapping[str, Any] | None = None,
    soft_nms_sigma: float = 0.0,
    scope: str | None = None,
    use_static_shapes: bool = False,
    use_partitioned_nms: bool = False,
    parallel_iterations: int = 32,
    use_class_agnostic_nms: bool = False,
    max_classes_per_detection: int = 1,
    use_dynamic_map_fn: bool = False,
    use_combined_nms: bool = False,
    use_hard_nms: bool = False,
    use_cpu_nms: bool = False,
) -> tuple[Any, Any, Any, Any, dict[str, Any] | None, Any]:
    """Return the detections of a batch of images, padded with 0 to k = `max_total_size`.

    Args:
        boxes: float32 [b, a, q, 4].
        scores: float32 [b, a, c].
        score_thresh: as of `multiclass_non_max_suppression`, and likewise what is not named here.
        iou_thresh: likewise.
        max_size_per_class: likewise.
        max_total_size: k; 0 for as many as there can be.
        clip_window: float32 [4], or [b, 4] of each image.
        change_coordinate_frame: likewise.
        num_valid_boxes: int32 [b]: how many boxes of each image are no padding; None for all.
        masks: [b, a, q, h, w].
        additional_fields: [b, a, ...] by their names.
        soft_nms_sigma: likewise.
        scope: names nothing.
        use_static_shapes: no difference.
        use_partitioned_nms: no difference.
        parallel_iterations: no difference.
        use_class_agnostic_nms: as of `class_agnostic_non_max_suppression`.
        max_classes_per_detection: 1.
        use_dynamic_map_fn: no difference.
        use_combined_nms: no difference.
        use_hard_nms: no difference.
        use_cpu_nms: no difference.

    Returns:
        Boxes [b, k, 4], scores [b, k], classes float32 [b, k] from 0 on, masks [b, k, h, w] or None, additional fields
        [b, k, ...] by their names or None, and how many are no padding, int32 [b].

    Raises:
        TensorError: for other shapes, a threshold outside of [0, 1], and a frame without a window.
    """
    boxes, scores = tf.convert_to_tensor(boxes), tf.convert_to_tensor(scores)
    _check(boxes, scores, iou_thresh, clip_window, change_coordinate_frame)
    if use_class_agnostic_nms:
        _check_one_class(max_classes_per_detection)
    total = max_total_size or max_size_per_class * scores.shape[2]
    suppress = NonMaxSuppression(
        score_threshold=score_thresh,
        iou_threshold=iou_thresh,
        max_detections_per_class=max_size_per_class,
        max_total_detections=total,
        soft_nms_sigma=soft_nms_sigma,
        change_coordinate_frame=change_coordinate_frame,
        class_agnostic=use_class_agnostic_nms,
    )
    if clip_window is not None:
        clip_window = tf.convert_to_tensor(clip_window)
        window_of_each = clip_window if clip_window.shape.rank == 2 else clip_window[None]
        clip_window = tf.broadcast_to(window_of_each, [tf.shape(boxes)[0], 4])
    found = suppress(_shared(boxes), scores, clip_window, num_valid_boxes)
    exists = tf.range(tf.shape(found.scores)[1]) < found.count[:, None]
    fields = _Fields({BoxListFields.masks: masks}, additional_fields).of(found, exists)

    def padded(values: Any) -> Any:
        return shape_utils.pad_or_clip_nd(values, [values.shape[0], total, *values.shape[2:]])

    fields = {name: padded(value) for name, value in fields.items()}
    nmsed_masks = fields.pop(BoxListFields.masks) if masks is not None else None
    classes = tf.cast(found.classes, tf.float32)
    return (
        padded(found.boxes),
        padded(found.scores),
        padded(classes),
        nmsed_masks,
        fields if additional_fields is not None else None,
        found.count,
    )


def _shared(boxes: Any) -> Any:
    """Return boxes [b, a, q, 4] as NonMaxSuppression takes them: [b, a, 4] where q is 1."""
    return boxes[:, :, 0] if boxes.shape[2] == 1 else boxes


class _Fields:
    """What belongs to boxes besides: `of_class` is [b, a, q, ...], `of_box` [b, a, ...]; None is left out."""

    def __init__(self, of_class: Mapping[str, Any], of_box: Mapping[str, Any] | None):
        self.of_class = {
            name: tf.convert_to_tensor(value) for name, value in of_class.items() if value is not None
        }
        self.of_box = {name: tf.convert_to_tensor(value) for name, value in (of_box or {}).items()}

    def with_batch(self) -> "_Fields":
        """Return the same for a batch of this one image."""
        return _Fields(
            {name: value[None] for name, value in self.of_class.items()},
            {name: value[None] for name, value in self.of_box.items()},
        )

    def of(self, found: Detections, exists: Any) -> dict[str, Any]:
        """Return the fields of detections [b, k, ...], 0 where these do not exist."""
        anchors = found.extras["anchors"]
        fields = {}
        for name, value in self.of_class.items():
            rows = tf.gather(value, anchors, batch_dims=1)  # [b, k, q, ...]
            number = tf.minimum(found.classes, value.shape[2] - 1)
            fields[name] = tf.gather(rows, number, batch_dims=2)
        fields |= {name: tf.gather(value, anchors, batch_dims=1) for name, value in self.of_box.items()}
        return {name: _zero_unless(exists, value) for name, value in fields.items()}


def _zero_unless(exists: Any, values: Any) -> Any:
    folded = tf.reshape(exists, tf.concat([tf.shape(exists), [1] * (values.shape.rank - 2)], axis=0))
    return tf.where(folded, values, tf.zeros_like(values))


def _of_one_image(
    suppress: NonMaxSuppression, boxes: Any, scores: Any, clip_window: Any, fields: _Fields, is_padded: bool
) -> tuple[BoxList, Any]:
    window = None if clip_window is None else tf.convert_to_tensor(clip_window)[None]
    found = suppress(_shared(boxes[None]), scores[None], window)
    exists = tf.range(tf.shape(found.scores)[1]) < found.count[:, None]
    values = {
        BoxListFields.scores: found.scores,
        BoxListFields.classes: tf.cast(found.classes, tf.float32),
        **fields.with_batch().of(found, exists),
    }
    count = found.count[0]
    end = None if is_padded else count
    detections = BoxList(found.boxes[0, :end])
    for name, value in values.items():
        detections.add_field(name, value[0, :end])
    return detections, count


def _check_one_class(max_classes_per_detection: int) -> None:
    if max_classes_per_detection > 1:
        raise TensorError("Max classes per detection box >1 not supported.")


def _check(
    boxes: Any, scores: Any, iou_thresh: float, clip_window: Any, change_coordinate_frame: bool
) -> None:
    if not 0 <= iou_thresh <= 1:
        raise TensorError("iou_thresh must be between 0 and 1")
    if scores.shape.rank != 3:
        raise TensorError("scores field must be of rank 2")
    if scores.shape[2] is None:
        raise TensorError("scores must have statically defined second dimension")
    if boxes.shape.rank != 4:
        raise TensorError("boxes must be of rank 3.")
    if boxes.shape[2] not in (1, scores.shape[2]):
        raise TensorError(
            "third dimension of boxes must be either 1 or equal to the third dimension of scores."
        )
    if boxes.shape[3] != 4:
        raise TensorError("last dimension of boxes must be of size 4.")
    if change_coordinate_frame and clip_window is None:
        raise TensorError("if change_coordinate_frame is True, then a clip_window must be specified.")
