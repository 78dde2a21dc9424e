"""Reads sections of the configuration into detection arithmetic: one function a section."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from keras import ops

from boxtune import config
from boxtune.config import pipeline_pb2
from boxtune.detection import losses
from boxtune.detection.anchors import MultiscaleAnchors, SsdAnchors
from boxtune.detection.box_coders import FasterRcnnBoxCoder
from boxtune.detection.matching import ArgMaxMatcher
from boxtune.detection.mining import HardExampleMiner
from boxtune.detection.nms import NonMaxSuppression
from boxtune.errors import ConfigError

Function = Callable[..., Any]
SMALLEST_SIDE = 33  # of images, in pixels: below, no cell is left at the coarsest level of a backbone


def anchor_generator(section: pipeline_pb2.AnchorGenerator) -> SsdAnchors | MultiscaleAnchors:
    """Read `anchor_generator`."""
    read, chosen = config.chosen(
        section, {"ssd_anchor_generator": _ssd_anchors, "multiscale_anchor_generator": _multiscale_anchors}
    )
    return read(chosen)


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
    coder, scales = config.chosen(section, {"faster_rcnn_box_coder": FasterRcnnBoxCoder})
    return coder(scales.y_scale, scales.x_scale, scales.height_scale, scales.width_scale)


def matcher(section: pipeline_pb2.Matcher) -> ArgMaxMatcher:
    """Read `matcher`."""
    make, argmax = config.chosen(section, {"argmax_matcher": ArgMaxMatcher})
    return make(
        matched_threshold=None if argmax.ignore_thresholds else argmax.matched_threshold,
        unmatched_threshold=None if argmax.ignore_thresholds else argmax.unmatched_threshold,
        negatives_lower_than_unmatched=argmax.negatives_lower_than_unmatched,
        force_match=argmax.force_match_for_each_row,
    )


def classification_loss(section: pipeline_pb2.ClassificationLoss) -> Function:
    """Read `classification_loss`: a function of logits and targets [b, a, c]."""
    read, chosen = config.chosen(
        section,
        {
            "weighted_sigmoid": lambda _: losses.sigmoid_cross_entropy,
            "weighted_sigmoid_focal": _sigmoid_focal,
            "weighted_softmax": lambda softmax: partial(
                losses.softmax_cross_entropy, logit_scale=softmax.logit_scale
            ),
        },
    )
    return read(chosen)


def _sigmoid_focal(section: pipeline_pb2.SigmoidFocalClassificationLoss) -> Function:
    alpha = section.alpha if section.HasField("alpha") else None
    return partial(losses.sigmoid_focal, gamma=section.gamma, alpha=alpha)


def label_smoothing(section: pipeline_pb2.ClassificationLoss, amount: float) -> Function | None:
    """Return what takes `amount` from the certainty of the targets [b, a, c] of a `classification_loss`, if any.

    Raises:
        ConfigError: if the amount is not in [0, 1).
    """
    if not 0 <= amount < 1:
        raise ConfigError(
            f"boxtune.label_smoothing is {amount:g}; it must be at least 0 and below 1, such as 0.1"
        )
    exclusive = section.WhichOneof("classification_loss") == "weighted_softmax"
    smooth = losses.smooth_exclusive if exclusive else losses.smooth_independent
    return partial(smooth, amount=amount) if amount else None


def hard_example_miner(section: pipeline_pb2.Loss) -> HardExampleMiner | None:
    """Read `hard_example_miner` of a `loss`, which also says what the two losses weigh; None if it has none.

    Raises:
        ConfigError: beside a focal loss, which passes over easy examples by itself.
    """
    if not section.HasField("hard_example_miner"):
        return None
    if section.classification_loss.HasField("weighted_sigmoid_focal"):
        raise ConfigError(
            "loss.hard_example_miner: the focal loss passes over easy examples by itself; remove the miner, "
            "or use classification_loss { weighted_sigmoid {} }"
        )
    miner = section.hard_example_miner
    localization, classification = {
        miner.BOTH: (section.localization_weight, section.classification_weight),
        miner.LOCALIZATION: (1.0, 0.0),
        miner.CLASSIFICATION: (0.0, 1.0),
    }[miner.loss_type]
    return HardExampleMiner(
        num_hard_examples=miner.num_hard_examples if miner.num_hard_examples > 0 else None,
        iou_threshold=miner.iou_threshold,
        localization_weight=localization,
        classification_weight=classification,
        max_negatives_per_positive=miner.max_negatives_per_positive or None,
        min_negatives_per_image=miner.min_negatives_per_image,
    )


def localization_loss(section: pipeline_pb2.LocalizationLoss) -> Function:
    """Read `localization_loss`: a function of predicted and wanted codes [b, a, 4]."""
    loss, chosen = config.chosen(section, {"weighted_smooth_l1": losses.smooth_l1})
    return partial(loss, delta=chosen.delta)


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


def input_size(section: pipeline_pb2.ImageResizer) -> tuple[int, int] | None:
    """Read the (height, width) that `image_resizer` makes of every image, None where it varies.

    Raises:
        ConfigError: if it makes images that are too small.
    """
    size = config.fixed_size(section)
    if size is not None and min(size) < SMALLEST_SIDE:
        raise ConfigError(
            f"pipeline.config: image_resizer makes {size[0]} x {size[1]}; {SMALLEST_SIDE} pixels are needed"
        )
    return size


def as_constant(array: np.ndarray) -> Any:
    """Return a numpy array as a float32 tensor of the backend."""
    return ops.convert_to_tensor(array, dtype="float32")
