"""From what `eval_config` asks for to evaluators, and from a detector's tensors to what these take.

Dimension letters: b, images; n, objects; k, detections; p, keypoints; h w, pixels.
"""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from boxtune.config.pipeline_pb2 import CocoKeypointMetrics, EvalConfig
from boxtune.errors import ConfigError, DataError, did_you_mean
from object_detection.core.standard_fields import DetectionResultFields, InputDataFields
from object_detection.metrics import coco_evaluation, lvis_evaluation
from object_detection.utils import label_map_util, object_detection_evaluation, ops, visualization_utils

Tensors = Mapping[str, Any]
"""Tensors by the names of `standard_fields`."""
Categories = Sequence[dict[str, Any]]

EVAL_KEYPOINT_METRIC = "coco_keypoint_metrics"
EVAL_DEFAULT_METRIC = "coco_detection_metrics"
EVAL_METRICS_CLASS_DICT: dict[str, Any] = {
    "coco_detection_metrics": coco_evaluation.CocoDetectionEvaluator,
    "coco_keypoint_metrics": coco_evaluation.CocoKeypointEvaluator,
    "coco_mask_metrics": coco_evaluation.CocoMaskEvaluator,
    "coco_panoptic_metrics": coco_evaluation.CocoPanopticSegmentationEvaluator,
    "lvis_mask_metrics": lvis_evaluation.LVISMaskEvaluator,
    "oid_challenge_detection_metrics": object_detection_evaluation.OpenImagesDetectionChallengeEvaluator,
    "oid_challenge_segmentation_metrics": (
        object_detection_evaluation.OpenImagesInstanceSegmentationChallengeEvaluator
    ),
    "oid_V2_detection_metrics": object_detection_evaluation.OpenImagesDetectionEvaluator,
    "pascal_voc_detection_metrics": object_detection_evaluation.PascalDetectionEvaluator,
    "pascal_voc_instance_segmentation_metrics": (
        object_detection_evaluation.PascalInstanceSegmentationEvaluator
    ),
    "precision_at_recall_detection_metrics": object_detection_evaluation.PrecisionAtRecallDetectionEvaluator,
    "weighted_pascal_voc_detection_metrics": object_detection_evaluation.WeightedPascalDetectionEvaluator,
    "weighted_pascal_voc_instance_segmentation_metrics": (
        object_detection_evaluation.WeightedPascalInstanceSegmentationEvaluator
    ),
}


class UnknownMetricError(ConfigError, ValueError):
    """A name of metrics that is unknown; a ValueError too, which is what the API raises."""


class ResultError(DataError, ValueError):
    """Tensors that are missing or do not fit; a ValueError too, which is what the API raises."""


# Evaluators


def get_evaluators(
    eval_config: EvalConfig,
    categories: Categories,
    evaluator_options: Mapping[str, dict[str, Any]] | None = None,
) -> list[Any]:
    """Return an evaluator for each of `metrics_set`, COCO's of boxes if it is empty, and for each class of keypoints.

    Args:
        eval_config: its `metrics_set`, and `parameterized_metric` about keypoints.
        categories: for each class its "id" and "name"; of one whose keypoints are measured "keypoints", ids by name.
        evaluator_options: arguments of the evaluators, by the name of the metrics.

    Raises:
        UnknownMetricError: for the name of metrics that is unknown, and those of keypoints without a class.
    """
    evaluators = []
    for name in eval_config.metrics_set or [EVAL_DEFAULT_METRIC]:
        if name not in EVAL_METRICS_CLASS_DICT:
            hint = did_you_mean(name, EVAL_METRICS_CLASS_DICT)
            raise UnknownMetricError(f'eval_config.metrics_set: there are no metrics "{name}".{hint}')
        if name == EVAL_KEYPOINT_METRIC:
            if not eval_config.parameterized_metric:
                raise UnknownMetricError(
                    f"eval_config.metrics_set: {name} need a parameterized_metric {{ {name} {{ class_label: ... }} }}."
                )
            continue
        evaluators.append(
            EVAL_METRICS_CLASS_DICT[name](categories, **(evaluator_options or {}).get(name, {}))
        )
    for parameterized in eval_config.parameterized_metric:
        evaluators += _keypoint_evaluators(parameterized.coco_keypoint_metrics, categories)
    return evaluators


def _keypoint_evaluators(metric: CocoKeypointMetrics, categories: Categories) -> list[Any]:
    """Return the evaluator of the keypoints of a class, or none where the class is not there, with a warning."""
    category = next((one for one in categories if one["name"] == metric.class_label), None)
    if category is None:
        logging.warning('no class is named "%s": its keypoints are not measured', metric.class_label)
        return []
    keypoints = [{"id": number, "name": name} for name, number in category["keypoints"].items()]
    sigmas = dict(metric.keypoint_label_to_sigmas)
    return [
        EVAL_METRICS_CLASS_DICT[EVAL_KEYPOINT_METRIC](category["id"], keypoints, metric.class_label, sigmas)
    ]


def evaluator_options_from_eval_config(eval_config: EvalConfig) -> dict[str, dict[str, Any]]:
    """Return the arguments of evaluators that `eval_config` has, by the name of the metrics."""
    options: dict[str, dict[str, Any]] = {}
    for name in eval_config.metrics_set:
        if name in ("coco_detection_metrics", "coco_mask_metrics", "lvis_mask_metrics"):
            options[name] = {"include_metrics_per_category": eval_config.include_metrics_per_category}
        if name in ("coco_detection_metrics", "coco_mask_metrics"):
            if eval_config.all_metrics_per_category:
                options[name]["all_metrics_per_category"] = True
            if eval_config.super_categories:
                groups = {
                    group: members.split(",") for group, members in eval_config.super_categories.items()
                }
                options[name]["super_categories"] = groups
        if name == "coco_detection_metrics":
            skip = eval_config.skip_predictions_for_unlabeled_class
            options[name]["skip_predictions_for_unlabeled_class"] = skip
        if name == "lvis_mask_metrics":
            options[name]["export_path"] = eval_config.export_path
        if name == "precision_at_recall_detection_metrics":
            options[name] = {
                "recall_lower_bound": eval_config.recall_lower_bound,
                "recall_upper_bound": eval_config.recall_upper_bound,
            }
    return options


def get_eval_metric_ops_for_evaluators(
    eval_config: EvalConfig, categories: Categories, eval_dict: Tensors
) -> dict[str, Any]:
    """Return for each number of `eval_config` its value and the operation that takes the tensors of images.

    Raises UnknownMetricError for the name of metrics that is unknown.
    """
    options = evaluator_options_from_eval_config(eval_config)
    metric_ops: dict[str, Any] = {}
    for evaluator in get_evaluators(eval_config, categories, options):
        metric_ops |= evaluator.get_estimator_eval_metric_ops(eval_dict)
    return metric_ops


def write_metrics(metrics: Mapping[str, float], global_step: int, summary_dir: str) -> None:
    """Write numbers to TensorBoard, and to the log."""
    logging.info("Writing metrics to %s.", summary_dir)
    writer = tf.summary.create_file_writer(summary_dir)
    with writer.as_default():
        for name in sorted(metrics):
            tf.summary.scalar(name, metrics[name], step=global_step)
            logging.info("%s: %f", name, metrics[name])
    writer.close()


# Tensors for evaluators


def result_dict_for_single_example(
    image: Any,
    key: Any,
    detections: Tensors,
    groundtruth: Tensors | None = None,
    class_agnostic: bool = False,
    scale_to_absolute: bool = False,
) -> dict[str, Any]:
    """Return tensors of one image as an evaluator takes them.

    Args:
        image: [1, h, w, 3].
        key: the name of the image.
        detections: as a detector returns them, with a dimension for the batch, of which the first counts.
        groundtruth: of the image, without such a dimension.
        class_agnostic, scale_to_absolute: see `result_dict_for_batched_example`.
    """
    of_batch: dict[str, Any] | None = None
    max_gt_boxes = None
    if groundtruth:
        of_batch = {name: tf.expand_dims(value, 0) for name, value in groundtruth.items()}
        max_gt_boxes = tf.shape(groundtruth[InputDataFields.groundtruth_boxes])[0]
    results = result_dict_for_batched_example(
        image,
        tf.expand_dims(key, 0),
        {name: value[:1] for name, value in detections.items()},
        of_batch,
        class_agnostic,
        scale_to_absolute,
        max_gt_boxes=max_gt_boxes,
    )
    counts = (DetectionResultFields.num_detections, InputDataFields.num_groundtruth_boxes)
    original = InputDataFields.original_image
    rest = {name: tf.squeeze(value, 0) for name, value in results.items() if name not in (original, *counts)}
    return {original: results[original], **rest}


def result_dict_for_batched_example(
    images: Any,
    keys: Any,
    detections: Tensors,
    groundtruth: Tensors | None = None,
    class_agnostic: bool = False,
    scale_to_absolute: bool = False,
    original_image_spatial_shapes: Any = None,
    true_image_shapes: Any = None,
    max_gt_boxes: Any = None,
    label_id_offset: int = 1,
) -> dict[str, Any]:
    """Return tensors of a batch as evaluators take them, by the names of `standard_fields`.

    Boxes and keypoints of objects, which are fractions of the padded image, become fractions of the image itself, as
    those of detections are. Masks of detections, which lie in their boxes, become masks of the whole image.

    Args:
        images: [b, h, w, 3].
        keys: [b], the names of the images.
        detections: as a detector returns them: `detection_boxes` [b, k, 4], `detection_scores` [b, k],
            `detection_classes` [b, k] from 0 on, `num_detections` [b]; maybe `detection_masks` [b, k, mh, mw],
            `detection_keypoints` [b, k, p, 2], `detection_keypoint_scores` [b, k, p].
        groundtruth: `groundtruth_boxes` [b, n, 4] and `groundtruth_classes` [b, n] from 1 on; maybe
            `groundtruth_instance_masks` [b, n, h, w], `groundtruth_keypoints` [b, n, p, 2], and anything else.
        class_agnostic: all classes are 1.
        scale_to_absolute: boxes and keypoints become pixels of the original image.
        original_image_spatial_shapes: int [b, 2], heights and widths; None: those of `images`.
        true_image_shapes: int [b, 3], of the part of each image that is not padding; None: there is none.
        max_gt_boxes: int [b], how many objects are no padding; None: `num_groundtruth_boxes` of `groundtruth`.
        label_id_offset: what is added to classes of detections.

    Raises:
        ResultError: for shapes that do not fit, and where nothing says how many objects there are.
    """
    batch_size, image_shape = tf.shape(images)[0], tf.shape(images)[1:]
    original = _of_batch(original_image_spatial_shapes, image_shape[:2], batch_size, 2)
    true_shapes = _of_batch(true_image_shapes, image_shape, batch_size, 3)
    to_pixels = partial(_scaled, by=original) if scale_to_absolute else lambda values: values
    scores = detections[DetectionResultFields.detection_scores]
    classes = tf.cast(detections[DetectionResultFields.detection_classes], tf.int64) + label_id_offset
    results = {
        InputDataFields.original_image: images,
        InputDataFields.key: keys,
        InputDataFields.original_image_spatial_shape: original,
        InputDataFields.true_image_shape: true_shapes,
        DetectionResultFields.detection_boxes: to_pixels(detections[DetectionResultFields.detection_boxes]),
        DetectionResultFields.detection_classes: tf.ones_like(scores, tf.int64)
        if class_agnostic
        else classes,
        DetectionResultFields.detection_scores: scores,
        DetectionResultFields.num_detections: tf.cast(
            detections[DetectionResultFields.num_detections], tf.int32
        ),
    }
    results |= _masks_and_keypoints(detections, original, to_pixels)
    if not groundtruth:
        return results
    if max_gt_boxes is None:
        max_gt_boxes = groundtruth.get(InputDataFields.num_groundtruth_boxes)
        if max_gt_boxes is None:
            raise ResultError(
                "max_gt_boxes has to say how many objects of each image of a batch are no padding."
            )
    results |= groundtruth
    part = tf.cast(true_shapes[:, :2], tf.float64) / tf.cast(image_shape[:2], tf.float64)
    for name in (InputDataFields.groundtruth_boxes, InputDataFields.groundtruth_keypoints):
        if name in groundtruth:
            results[name] = to_pixels(_in_part(groundtruth[name], part))
    if InputDataFields.groundtruth_instance_masks in groundtruth:
        results[InputDataFields.groundtruth_instance_masks] = _resized_masks(
            groundtruth[InputDataFields.groundtruth_instance_masks], true_shapes, original
        )
    if class_agnostic:
        true_classes = groundtruth[InputDataFields.groundtruth_classes]
        results[InputDataFields.groundtruth_classes] = tf.ones_like(true_classes, tf.int64)
    results[InputDataFields.num_groundtruth_boxes] = max_gt_boxes
    return results


def _of_batch(shapes: Any, default: Any, batch_size: Any, length: int) -> Any:
    """Return int32 [b, length], `default` [length] for each image where `shapes` is None."""
    if shapes is None:
        return tf.tile(default[tf.newaxis], [batch_size, 1])
    shapes = tf.convert_to_tensor(shapes)
    if len(shapes.shape) != 2 or shapes.shape[1] != length:
        raise ResultError(f"shapes of images have to be [b, {length}], not {shapes.shape}.")
    return shapes


def _masks_and_keypoints(detections: Tensors, original: Any, to_pixels: Any) -> dict[str, Any]:
    """Return what detections have besides boxes."""
    fields = DetectionResultFields
    results = {}
    if fields.detection_masks in detections:
        boxes = detections[fields.detection_boxes]
        results[fields.detection_masks] = resize_detection_masks(
            boxes, detections[fields.detection_masks], original
        )
        if fields.detection_surface_coords in detections:
            coordinates = detections[fields.detection_surface_coords]
            of_each = [_reframed(boxes, part, original) for part in tf.unstack(coordinates, axis=-1)]
            results[fields.detection_surface_coords] = tf.stack(of_each, axis=-1)
    if fields.detection_keypoints in detections:
        keypoints = detections[fields.detection_keypoints]
        results[fields.detection_keypoints] = to_pixels(keypoints)
        known = detections.get(fields.detection_keypoint_scores)
        results[fields.detection_keypoint_scores] = (
            tf.ones_like(keypoints[..., 0]) if known is None else known
        )
    return results


def _spread(pairs: Any, values: Any) -> Any:
    """Return pairs [b, 2] as [b, 1, ..., 2 or 4], of the type and as many dimensions as `values`."""
    repeated = tf.tile(tf.cast(pairs, values.dtype), [1, values.shape[-1] // 2])
    return tf.reshape(repeated, [-1, *[1] * (len(values.shape) - 2), values.shape[-1]])


def _scaled(values: Any, by: Any) -> Any:
    """Return boxes [b, n, 4] or keypoints [b, ..., 2] times heights and widths [b, 2]."""
    return values * _spread(by, values)


def _in_part(values: Any, part: Any) -> Any:
    """Return boxes [b, n, 4] or keypoints [b, ..., 2] as fractions of the upper left part [b, 2] of each image."""
    exact = tf.cast(values, tf.float64)  # or else the corner of an image may lie beside its corner
    return tf.cast(exact / _spread(part, exact), values.dtype)


def resize_detection_masks(
    detection_boxes: Any, detection_masks: Any, original_image_spatial_shapes: Any
) -> Any:
    """Return masks uint8 [b, k, h, w] of whole images, h and w the largest, from masks [b, k, mh, mw] of boxes.

    Masks that are float belong to the object from 0.5 on. Below and beside smaller images there are zeros.

    Args:
        detection_boxes: [b, k, 4], fractions of the image.
        detection_masks: float32 or uint8 [b, k, mh, mw].
        original_image_spatial_shapes: int [b, 2], heights and widths.
    """
    reframed = _reframed(detection_boxes, detection_masks, original_image_spatial_shapes)
    return tf.cast(reframed > 0.5 if reframed.dtype.is_floating else reframed, tf.uint8)


def _reframed(boxes: Any, values: Any, original: Any) -> Any:
    """Return values [b, k, h, w] over whole images from values [b, k, mh, mw] over boxes [b, k, 4]."""
    largest = tf.reduce_max(original, axis=0)

    def of_image(image: tuple[Any, Any, Any]) -> Any:
        boxes, values, shape = image
        return _padded(ops.reframe_box_masks_to_image_masks(values, boxes, shape[0], shape[1]), largest)

    return _mapped(of_image, (boxes, values, original), tf.convert_to_tensor(values).dtype)


def _resized_masks(masks: Any, true_shapes: Any, original: Any) -> Any:
    """Return masks [b, n, h, w] of the original images, from those of images as the detector took them."""
    largest = tf.reduce_max(original, axis=0)

    def of_image(image: tuple[Any, Any, Any]) -> Any:
        masks, true_shape, shape = image
        resized = tf.compat.v1.image.resize(
            masks[:, : true_shape[0], : true_shape[1], tf.newaxis],
            shape,
            method=tf.compat.v1.image.ResizeMethod.NEAREST_NEIGHBOR,
            align_corners=True,
        )
        return _padded(resized[..., 0], largest)

    return _mapped(of_image, (masks, true_shapes, original), tf.convert_to_tensor(masks).dtype)


def _padded(masks: Any, shape: Any) -> Any:
    """Return masks [n, h, w] with zeros below and to the right, up to a shape [2]."""
    missing = shape - tf.shape(masks, out_type=shape.dtype)[1:]
    return tf.pad(masks, [[0, 0], [0, missing[0]], [0, missing[1]]])


def _mapped(of_image: Any, batch: tuple[Any, ...], dtype: Any) -> Any:
    shape = [batch[0].shape[1], None, None]
    return tf.map_fn(of_image, batch, fn_output_signature=tf.TensorSpec(shape, dtype))


def has_densepose(eval_dict: Tensors) -> bool:
    """Say whether there are masks with coordinates on surfaces."""
    fields = DetectionResultFields
    return fields.detection_masks in eval_dict and fields.detection_surface_coords in eval_dict


# Drawings


def visualize_detection_results(
    result_dict: Mapping[str, Any],
    tag: str,
    global_step: int,
    categories: Categories,
    summary_dir: str = "",
    export_dir: str = "",
    agnostic_mode: bool = False,
    show_groundtruth: bool = False,
    groundtruth_box_visualization_color: str = "black",
    min_score_thresh: float = 0.5,
    max_num_predictions: int | None = 20,
    skip_scores: bool = False,
    skip_labels: bool = False,
    keep_image_id_for_visualization_export: bool = False,
) -> None:
    """Draw what was found in an image, for TensorBoard in `summary_dir` and as `export-TAG.png` in `export_dir`.

    Args:
        result_dict: arrays, boxes in pixels: `original_image` uint8 [1, h, w, 1 or 3], `detection_boxes` [k, 4],
            `detection_scores` [k] and `detection_classes` [k]; maybe `detection_masks`, `detection_keypoints`,
            `detection_boundaries`, `groundtruth_boxes`, `groundtruth_keypoints` and `key`.
        tag: the name of the image in TensorBoard and of its file.
        global_step: the step it belongs to.
        categories: for each class its "id" and "name".
        summary_dir, export_dir: where it goes; "": nowhere.
        agnostic_mode: the class is neither colour nor label.
        show_groundtruth: objects are drawn beneath.
        groundtruth_box_visualization_color: a name of Pillow's.
        min_score_thresh: the lowest score that is drawn.
        max_num_predictions: how many are drawn; None: all.
        skip_scores, skip_labels: what labels lack.
        keep_image_id_for_visualization_export: the name of the file has the `key`, too.

    Raises:
        ResultError: if something is missing in `result_dict`.
    """
    fields, inputs = DetectionResultFields, InputDataFields
    needed = [
        inputs.original_image,
        fields.detection_boxes,
        fields.detection_scores,
        fields.detection_classes,
    ]
    needed += [inputs.groundtruth_boxes] if show_groundtruth else []
    if missing := [name for name in needed if name not in result_dict]:
        raise ResultError(f"what is drawn lacks {', '.join(missing)}.")
    image = np.array(result_dict[inputs.original_image][0])
    image = np.tile(image, [1, 1, 3]) if image.shape[2] == 1 else image
    draw: Any = partial(
        visualization_utils.visualize_boxes_and_labels_on_image_array,
        category_index=label_map_util.create_category_index(categories),
        use_normalized_coordinates=False,
    )
    if show_groundtruth:
        draw(
            image,
            result_dict[inputs.groundtruth_boxes],
            None,
            None,
            keypoints=result_dict.get(inputs.groundtruth_keypoints),
            max_boxes_to_draw=None,
            groundtruth_box_visualization_color=groundtruth_box_visualization_color,
        )
    draw(
        image,
        result_dict[fields.detection_boxes],
        result_dict[fields.detection_classes].astype(np.int32),
        result_dict[fields.detection_scores],
        instance_masks=result_dict.get(fields.detection_masks),
        instance_boundaries=result_dict.get(fields.detection_boundaries),
        keypoints=result_dict.get(fields.detection_keypoints),
        max_boxes_to_draw=max_num_predictions,
        min_score_thresh=min_score_thresh,
        agnostic_mode=agnostic_mode,
        skip_scores=skip_scores,
        skip_labels=skip_labels,
    )
    if export_dir:
        key = result_dict.get(inputs.key) if keep_image_id_for_visualization_export else None
        name = "-".join(["export", tag, *([] if key is None else [_text(key)])]).replace("/", "_")
        visualization_utils.save_image_array_as_png(image, os.path.join(export_dir, f"{name}.png"))
    if summary_dir:
        writer = tf.summary.create_file_writer(summary_dir)
        with writer.as_default():
            tf.summary.image(tag, image[np.newaxis], step=global_step)
        writer.close()
        logging.info("Detection visualizations written to summary with tag %s.", tag)


def _text(key: Any) -> str:
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)
