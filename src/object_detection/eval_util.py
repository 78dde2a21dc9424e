"""What an evaluation makes of a batch: detections and ground truth side by side, in one frame.

Dimension letters: b, batch; n, objects; k, detections; h w.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from object_detection.core.standard_fields import DetectionResultFields as Detected
from object_detection.core.standard_fields import InputDataFields as Fields
from object_detection.utils import ops
from object_detection.utils.config_util import ConfigValueError, FilePath

EVAL_KEYPOINT_METRIC = "coco_keypoint_metrics"
EVAL_DEFAULT_METRIC = "coco_detection_metrics"

_KEPT = (
    Detected.detection_scores,
    Detected.detection_keypoint_scores,
    Detected.detection_multiclass_scores,
)


def write_metrics(metrics: Mapping[str, float], global_step: int, summary_dir: FilePath) -> None:
    """Write metrics as scalars for TensorBoard, by their names."""
    writer = tf.summary.create_file_writer(str(Path(summary_dir)))
    with writer.as_default(step=global_step):
        for name, value in metrics.items():
            tf.summary.scalar(name, value)
    writer.close()


def has_densepose(eval_dict: Mapping[str, Any]) -> bool:
    """Return whether an image has body parts beside its ground truth."""
    return Fields.groundtruth_dp_num_points in eval_dict


def resize_detection_masks(
    detection_boxes: Any, detection_masks: Any, original_image_spatial_shapes: Any
) -> Any:
    """Return masks over their images, uint8 [b, k, h, w] of 0 and 1: of one size, that of the largest image.

    Args:
        detection_boxes: float32 [b, k, 4], fractions of the images.
        detection_masks: float32 [b, k, mh, mw], each over its own box.
        original_image_spatial_shapes: int32 [b, 2].
    """
    sizes = tf.cast(original_image_spatial_shapes, tf.int32)
    most = tf.reduce_max(sizes, axis=0)

    def of_image(parts: tuple[Any, Any, Any]) -> Any:
        boxes, masks, size = parts
        drawn = ops.reframe_box_masks_to_image_masks(masks, boxes, size[0], size[1])
        missing = most - size
        drawn = tf.pad(drawn, [[0, 0], [0, missing[0]], [0, missing[1]]])
        return tf.cast(drawn > 0.5, tf.uint8)

    spec = tf.TensorSpec([None, None, None], tf.uint8)
    return tf.map_fn(of_image, (detection_boxes, detection_masks, sizes), fn_output_signature=spec)


def result_dict_for_single_example(
    image: Any,
    key: Any,
    detections: Mapping[str, Any],
    groundtruth: Mapping[str, Any] | None = None,
    class_agnostic: bool = False,
    scale_to_absolute: bool = False,
) -> dict[str, Any]:
    """Return what `result_dict_for_batched_example` does of one image [1, h, w, 3], without the dimension of the batch.

    Ground truth [n, ...] has no such dimension, either; classes of detections begin with 0, its own with 1.
    """
    batched = {name: tf.convert_to_tensor(part)[None] for name, part in (groundtruth or {}).items()}
    count = None if groundtruth is None else tf.shape(groundtruth[Fields.groundtruth_boxes])[:1]
    made = result_dict_for_batched_example(
        image,
        tf.convert_to_tensor(key)[None],
        detections,
        batched or None,
        class_agnostic,
        scale_to_absolute,
        max_gt_boxes=count,
    )
    single = {name: part if name == Fields.original_image else part[0] for name, part in made.items()}
    found = single[Detected.num_detections]
    of_detections = {name for name in single if name.startswith("detection_")}
    return {name: part[:found] if name in of_detections else part for name, part in single.items()}


def result_dict_for_batched_example(
    images: Any,
    keys: Any,
    detections: Mapping[str, Any],
    groundtruth: Mapping[str, Any] | None = None,
    class_agnostic: bool = False,
    scale_to_absolute: bool = False,
    original_image_spatial_shapes: Any = None,
    true_image_shapes: Any = None,
    max_gt_boxes: Any = None,
    label_id_offset: int = 1,
) -> dict[str, Any]:
    """Return detections and ground truth of a batch by their names, both as fractions of the images without padding.

    Args:
        images: uint8 or float32 [b, h, w, 3].
        keys: [b], tell images apart.
        detections: of a model, with classes from 0 on.
        groundtruth: boxes float32 [b, n, 4] as fractions of `images`, classes int64 [b, n] from 1 on, and others.
        class_agnostic: every detection and object is of class 1.
        scale_to_absolute: boxes are in pixels of the original images.
        original_image_spatial_shapes: int32 [b, 2]; by default those of `images`.
        true_image_shapes: int32 [b, 3], without padding; by default those of `images`.
        max_gt_boxes: int32 [b], how many of the n objects of each image are some; by default
            `num_groundtruth_boxes` of the ground truth.
        label_id_offset: is added to the classes of detections.

    Raises:
        ConfigValueError: for shapes that are not so, and if nothing says how many objects there are.
    """
    images = tf.convert_to_tensor(images)
    count, size = tf.shape(images)[0], tf.shape(images)[1:3]
    sizes = _checked(original_image_spatial_shapes, size, count, 2, "original_image_spatial_shapes")
    shapes = _checked(true_image_shapes, tf.shape(images)[1:4], count, 3, "true_image_shapes")
    scores = detections[Detected.detection_scores]
    classes = tf.ones_like(scores, tf.int64)
    if not class_agnostic:
        classes = tf.cast(detections[Detected.detection_classes], tf.int64) + label_id_offset

    def scaled(boxes: Any) -> Any:
        return boxes * tf.tile(tf.cast(sizes, tf.float32), [1, 2])[:, None] if scale_to_absolute else boxes

    made = {
        Fields.original_image: images,
        Fields.key: keys,
        Fields.original_image_spatial_shape: sizes,
        Fields.true_image_shape: shapes,
        Detected.detection_boxes: scaled(detections[Detected.detection_boxes]),
        Detected.detection_classes: classes,
        Detected.num_detections: tf.cast(detections[Detected.num_detections], tf.int32),
        **{name: detections[name] for name in _KEPT if name in detections},
    }
    if Detected.detection_masks in detections:
        boxes, masks = detections[Detected.detection_boxes], detections[Detected.detection_masks]
        made[Detected.detection_masks] = resize_detection_masks(boxes, masks, sizes)
    if Detected.detection_keypoints in detections:
        keypoints = detections[Detected.detection_keypoints]
        factors = tf.cast(sizes, tf.float32)[:, None, None]
        made[Detected.detection_keypoints] = keypoints * factors if scale_to_absolute else keypoints
    if groundtruth is None:
        return made
    if max_gt_boxes is None:
        if Fields.num_groundtruth_boxes not in groundtruth:
            raise ConfigValueError(
                "how many objects does each image have? Give max_gt_boxes, or num_groundtruth_boxes"
            )
        max_gt_boxes = groundtruth[Fields.num_groundtruth_boxes]
    # From the frame with padding to that without.
    fractions = tf.cast(shapes[:, :2], tf.float32) / tf.cast(size, tf.float32)
    boxes = groundtruth[Fields.groundtruth_boxes] / tf.tile(fractions, [1, 2])[:, None]
    own_classes = tf.cast(groundtruth[Fields.groundtruth_classes], tf.int64)
    return {
        **made,
        **groundtruth,
        Fields.groundtruth_boxes: scaled(boxes),
        Fields.groundtruth_classes: tf.ones_like(own_classes) if class_agnostic else own_classes,
        Fields.num_groundtruth_boxes: max_gt_boxes,
    }


def _checked(given: Any, default: Any, count: Any, length: int, name: str) -> Any:
    """Return int32 [b, length]: what is given, or the default [length] for every image."""
    if given is None:
        return tf.tile(default[None], [count, 1])
    given = tf.convert_to_tensor(given)
    if given.shape.rank != 2 or given.shape[1] != length:
        raise ConfigValueError(f"{name} is {given.shape}; it has to be [b, {length}]")
    return given
