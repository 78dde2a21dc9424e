"""The suppression and the conversion of scores that a configuration describes."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow.compat.v1 as tf

from boxtune.config import pipeline_pb2
from object_detection.builders import calibration_builder
from object_detection.builders.checked import SectionError, checked
from object_detection.core import post_processing

Function = Callable[..., Any]


def build(post_processing_config: pipeline_pb2.PostProcessing) -> tuple[Function, Function]:
    """Return `batch_multiclass_non_max_suppression` with its arguments, and the function from logits to scores.

    Raises:
        SectionError: for values out of range.
    """
    checked("post_processing_config", post_processing_config, pipeline_pb2.PostProcessing)
    suppress = _build_non_max_suppressor(post_processing_config.batch_non_max_suppression)
    convert = _build_score_converter(
        post_processing_config.score_converter, post_processing_config.logit_scale
    )
    if post_processing_config.HasField("calibration_config"):
        convert = _build_calibrated_score_converter(convert, post_processing_config.calibration_config)
    return suppress, convert


def _build_non_max_suppressor(nms_config: pipeline_pb2.BatchNonMaxSuppression) -> Function:
    if not 0 <= nms_config.iou_threshold <= 1:
        raise SectionError(f"iou_threshold not in [0, 1.0]: {nms_config.iou_threshold}")
    if nms_config.max_detections_per_class > nms_config.max_total_detections:
        raise SectionError(
            f"max_detections_per_class ({nms_config.max_detections_per_class}) should be no greater than "
            f"max_total_detections ({nms_config.max_total_detections})."
        )
    if nms_config.soft_nms_sigma < 0:
        raise SectionError(f"soft_nms_sigma should be non-negative; it is {nms_config.soft_nms_sigma}")
    return functools.partial(
        post_processing.batch_multiclass_non_max_suppression,
        score_thresh=nms_config.score_threshold,
        iou_thresh=nms_config.iou_threshold,
        max_size_per_class=nms_config.max_detections_per_class,
        max_total_size=nms_config.max_total_detections,
        use_static_shapes=nms_config.use_static_shapes,
        use_class_agnostic_nms=nms_config.use_class_agnostic_nms,
        max_classes_per_detection=nms_config.max_classes_per_detection,
        soft_nms_sigma=nms_config.soft_nms_sigma,
        use_partitioned_nms=nms_config.use_partitioned_nms,
        use_combined_nms=nms_config.use_combined_nms,
        change_coordinate_frame=nms_config.change_coordinate_frame,
        use_hard_nms=nms_config.use_hard_nms,
        use_cpu_nms=nms_config.use_cpu_nms,
    )


def _score_converter_fn_with_logit_scale(tf_score_converter_fn: Function, logit_scale: float) -> Function:
    """Return the function that divides logits by a scale before it converts them."""

    def score_converter_fn(logits: Any) -> Any:
        return tf_score_converter_fn(tf.divide(logits, logit_scale))

    score_converter_fn.__name__ = f"{tf_score_converter_fn.__name__}_with_logit_scale"
    return score_converter_fn


def _build_score_converter(score_converter_config: int, logit_scale: float) -> Function:
    section = pipeline_pb2.PostProcessing
    functions: dict[int, Function] = {
        section.IDENTITY: tf.identity,
        section.SIGMOID: tf.sigmoid,
        section.SOFTMAX: tf.nn.softmax,
    }
    function = functions[score_converter_config]
    converter = _score_converter_fn_with_logit_scale(function, logit_scale)
    name = section.ScoreConverter.Name(score_converter_config).lower()
    converter.__name__ = f"{name}_with_logit_scale"
    return converter


def _build_calibrated_score_converter(
    score_converter_fn: Function, calibration_config: pipeline_pb2.CalibrationConfig
) -> Function:
    """Return a function from logits to calibrated scores; a temperature is of the logits, all else of the scores."""
    calibrate = calibration_builder.build(calibration_config)
    name = calibration_config.WhichOneof("calibrator")

    def calibrated(logits: Any) -> Any:
        if name == "temperature_scaling_calibration":
            return score_converter_fn(calibrate(logits))
        return calibrate(score_converter_fn(logits))

    calibrated.__name__ = f"calibrate_with_{name}"
    return calibrated
