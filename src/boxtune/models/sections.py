"""Reads sections of the configuration into detection arithmetic: one function a section."""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from boxtune.config import pipeline_pb2
from boxtune.detection import losses
from boxtune.detection.anchors import MultiscaleAnchors, SsdAnchors
from boxtune.detection.box_coders import FasterRcnnBoxCoder
from boxtune.detection.matching import ArgMaxMatcher
from boxtune.detection.nms import NonMaxSuppression
from boxtune.errors import ConfigError

Function = Callable[..., Any]


def chosen(section: Any, oneof: str, built: dict[str, Any]) -> str:
    """Return which member of `oneof` is set; a ConfigError if none is, or one that boxtune does not build."""
    name = section.WhichOneof(oneof)
    if name not in built:
        given = f'"{name}" is not built' if name else "nothing is chosen"
        raise ConfigError(
            f"pipeline.config: {given} in {section.DESCRIPTOR.name}; choose one of: {', '.join(built)}"
        )
    return name


def anchor_generator(section: pipeline_pb2.AnchorGenerator) -> SsdAnchors | MultiscaleAnchors:
    """Read `anchor_generator`."""
    built: dict[str, Function] = {
        "ssd_anchor_generator": _ssd_anchors,
        "multiscale_anchor_generator": _multiscale_anchors,
    }
    name = chosen(section, "anchor_generator_oneof", built)
    return built[name](getattr(section, name))


def _ssd_anchors(section: pipeline_pb2.SsdAnchorGenerator) -> SsdAnchors:
    return SsdAnchors(
        num_layers=section.num_layers,
        min_scale=section.min_scale,
        max_scale=section.max_scale,
        scales=tuple(section.scales),
        aspect_ratios=tuple(section.aspect_ratios),
        interpolated_scale_aspect_ratio=section.interpolated_scale_aspect_ratio,
        reduce_boxes_in_lowest_layer=section.reduce_boxes_in_lowest_layer,
        base_size=(section.base_anchor_height, section.base_anchor_width),
        strides=tuple(zip(section.height_stride, section.width_stride, strict=True)),
        offsets=tuple(zip(section.height_offset, section.width_offset, strict=True)),
    )


def _multiscale_anchors(section: pipeline_pb2.MultiscaleAnchorGenerator) -> MultiscaleAnchors:
    return MultiscaleAnchors(
        min_level=section.min_level,
        max_level=section.max_level,
        anchor_scale=section.anchor_scale,
        aspect_ratios=tuple(section.aspect_ratios),
        scales_per_octave=section.scales_per_octave,
        normalize_coordinates=section.normalize_coordinates,
    )


def box_coder(section: pipeline_pb2.BoxCoder) -> FasterRcnnBoxCoder:
    """Read `box_coder`."""
    chosen(section, "box_coder_oneof", {"faster_rcnn_box_coder": None})
    scales = section.faster_rcnn_box_coder
    return FasterRcnnBoxCoder(scales.y_scale, scales.x_scale, scales.height_scale, scales.width_scale)


def matcher(section: pipeline_pb2.Matcher) -> ArgMaxMatcher:
    """Read `matcher`."""
    chosen(section, "matcher_oneof", {"argmax_matcher": None})
    argmax = section.argmax_matcher
    return ArgMaxMatcher(
        matched_threshold=None if argmax.ignore_thresholds else argmax.matched_threshold,
        unmatched_threshold=None if argmax.ignore_thresholds else argmax.unmatched_threshold,
        negatives_lower_than_unmatched=argmax.negatives_lower_than_unmatched,
        force_match=argmax.force_match_for_each_row,
    )


def classification_loss(section: pipeline_pb2.ClassificationLoss) -> Function:
    """Read `classification_loss`: a function of logits and targets [b, a, c]."""
    sigmoid_focal, softmax = section.weighted_sigmoid_focal, section.weighted_softmax
    alpha = sigmoid_focal.alpha if sigmoid_focal.HasField("alpha") else None
    built = {
        "weighted_sigmoid": losses.sigmoid_cross_entropy,
        "weighted_sigmoid_focal": lambda logits, targets: losses.sigmoid_focal(
            logits, targets, sigmoid_focal.gamma, alpha
        ),
        "weighted_softmax": lambda logits, targets: losses.softmax_cross_entropy(
            logits, targets, softmax.logit_scale
        ),
    }
    return built[chosen(section, "classification_loss", built)]


def localization_loss(section: pipeline_pb2.LocalizationLoss) -> Function:
    """Read `localization_loss`: a function of predicted and wanted codes [b, a, 4]."""
    delta = section.weighted_smooth_l1.delta
    built = {
        "weighted_smooth_l1": lambda predictions, targets: losses.smooth_l1(predictions, targets, delta),
    }
    return built[chosen(section, "localization_loss", built)]


def score_converter(section: pipeline_pb2.PostProcessing) -> Function:
    """Read `score_converter`: a function from logits [..., c] to scores."""
    scale = section.logit_scale
    converters = {
        pipeline_pb2.PostProcessing.IDENTITY: ops.convert_to_tensor,
        pipeline_pb2.PostProcessing.SIGMOID: lambda logits: ops.sigmoid(logits / scale),
        pipeline_pb2.PostProcessing.SOFTMAX: lambda logits: ops.softmax(logits / scale, axis=-1),
    }
    return converters[section.score_converter]


def non_max_suppression(section: pipeline_pb2.PostProcessing) -> NonMaxSuppression:
    """Read `batch_non_max_suppression`."""
    nms = section.batch_non_max_suppression
    return NonMaxSuppression(
        score_threshold=nms.score_threshold,
        iou_threshold=nms.iou_threshold,
        max_detections_per_class=nms.max_detections_per_class,
        max_total_detections=nms.max_total_detections,
        soft_nms_sigma=nms.soft_nms_sigma,
        change_coordinate_frame=nms.change_coordinate_frame,
    )


def fixed_input_size(section: pipeline_pb2.ImageResizer) -> tuple[int, int]:
    """Read the (height, width) that `image_resizer` makes of every image."""
    built = {
        "fixed_shape_resizer": lambda resizer: (resizer.height, resizer.width),
        "keep_aspect_ratio_resizer": lambda resizer: (resizer.max_dimension, resizer.max_dimension),
    }
    name = chosen(section, "image_resizer_oneof", built)
    resizer = getattr(section, name)
    if name == "keep_aspect_ratio_resizer" and not resizer.pad_to_max_dimension:
        raise ConfigError(
            "pipeline.config: keep_aspect_ratio_resizer needs pad_to_max_dimension: true here, "
            "since this model takes images of one size"
        )
    height, width = built[name](resizer)
    if min(height, width) < 33:
        raise ConfigError(
            f"pipeline.config: image_resizer of {height} x {width}; at least 33 pixels are needed"
        )
    return int(height), int(width)


def as_constant(array: np.ndarray) -> Any:
    """Return a numpy array as a float32 tensor of the backend."""
    return ops.convert_to_tensor(array, dtype="float32")
