"""Makes the parts of a detector from their sections of the configuration: one function for each section."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from boxtune import config
from boxtune.config import pipeline_pb2
from boxtune.detection import boxes, calibration, losses
from boxtune.detection.anchors import (
    AnchorGrid,
    FlexibleGridAnchors,
    MultiscaleAnchors,
    SsdAnchors,
    grid_anchors,
)
from boxtune.detection.box_coders import (
    BoxCoder,
    FasterRcnnBoxCoder,
    KeypointBoxCoder,
    MeanStddevBoxCoder,
    SquareBoxCoder,
)
from boxtune.detection.localization import LocalizationLoss
from boxtune.detection.matching import ArgMaxMatcher
from boxtune.detection.mining import HardExampleMiner
from boxtune.detection.nms import NonMaxSuppression
from boxtune.detection.sampling import RandomExampleSampler
from boxtune.errors import ConfigError

Function = Callable[..., Any]
Anchors = SsdAnchors | MultiscaleAnchors | FlexibleGridAnchors
SMALLEST_SIDE = 33  # of images, in pixels: below, the coarsest level of a backbone has no cell


def require(fits: bool, field: str, value: float, allowed: str) -> None:
    """Raise ConfigError unless the value of a field is allowed."""
    if not fits:
        raise ConfigError(f"pipeline.config: {field} is {value:g}; it must be {allowed}")


def anchor_generator(section: pipeline_pb2.AnchorGenerator) -> Anchors:
    """Read `anchor_generator`."""
    return config.oneof(
        section,
        {
            "ssd_anchor_generator": _ssd_anchors,
            "multiscale_anchor_generator": lambda one: MultiscaleAnchors(**_fields(one)),
            "grid_anchor_generator": _grid_anchors,
            "flexible_grid_anchor_generator": _flexible_grid_anchors,
        },
    )


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


def _fields(section: Any) -> dict[str, Any]:
    fields = {field.name: (field, getattr(section, field.name)) for field in section.DESCRIPTOR.fields}
    return {name: tuple(value) if field.is_repeated else value for name, (field, value) in fields.items()}


def _grid_anchors(section: pipeline_pb2.GridAnchorGenerator) -> FlexibleGridAnchors:
    return grid_anchors(
        tuple(section.scales) or (0.5, 1.0, 2.0),
        tuple(section.aspect_ratios) or (0.5, 1.0, 2.0),
        (section.height, section.width),
        stride=(section.height_stride, section.width_stride),
        offset=(section.height_offset, section.width_offset),
    )


def _flexible_grid_anchors(section: Any) -> FlexibleGridAnchors:
    maps = section.anchor_grid
    for number, one in enumerate(maps):
        if not len(one.base_sizes) == len(one.aspect_ratios) > 0:
            raise ConfigError(
                f"pipeline.config: anchor_grid {number} of flexible_grid_anchor_generator has {len(one.base_sizes)} "
                f"base_sizes and {len(one.aspect_ratios)} aspect_ratios; each size needs one aspect ratio"
            )
        if not (one.height_stride and one.width_stride):
            raise ConfigError(
                f"pipeline.config: anchor_grid {number} of flexible_grid_anchor_generator has no stride; "
                "set height_stride and width_stride in pixels, such as 16"
            )
    return FlexibleGridAnchors(
        maps=tuple(
            AnchorGrid(
                base_sizes=tuple(one.base_sizes),
                aspect_ratios=tuple(one.aspect_ratios),
                stride=(one.height_stride, one.width_stride),
                offset=(one.height_offset, one.width_offset),
            )
            for one in maps
        ),
        normalize_coordinates=section.normalize_coordinates,
    )


def box_coder(section: pipeline_pb2.BoxCoder) -> BoxCoder:
    """Read `box_coder`.

    Raises:
        ConfigError: for a scale that is not above 0.
    """

    def reader(coder: Callable[..., BoxCoder]) -> Callable[[Any], BoxCoder]:
        def read(one: Any) -> BoxCoder:
            settings = _fields(one)
            for name, value in settings.items():
                require(value > 0, f"{section.WhichOneof('box_coder_oneof')}.{name}", value, "above 0")
            return coder(**settings)

        return read

    return config.oneof(
        section,
        {
            "faster_rcnn_box_coder": reader(FasterRcnnBoxCoder),
            "keypoint_box_coder": reader(KeypointBoxCoder),
            "mean_stddev_box_coder": reader(MeanStddevBoxCoder),
            "square_box_coder": reader(SquareBoxCoder),
        },
    )


def check_box_code_size(section: pipeline_pb2.BoxPredictor, coder: BoxCoder) -> None:
    """Refuse a `box_predictor` whose box encodings do not have the length of those of `coder`.

    Raises:
        ConfigError: with the right length.
    """
    name = section.WhichOneof("box_predictor_oneof")
    size = getattr(section, name).box_code_size
    if size != coder.code_size:
        raise ConfigError(
            f"pipeline.config: box_predictor.{name}.box_code_size is {size}, but an encoding of the box_coder has "
            f"{coder.code_size} numbers; set box_code_size: {coder.code_size}"
        )


def similarity(section: pipeline_pb2.RegionSimilarityCalculator) -> Function:
    """Read `similarity_calculator`: from boxes [b, n, 4] and anchors [a, 4] to similarities [b, n, a].

    The default is the IoU.
    """
    if section.WhichOneof("region_similarity") is None:
        return boxes.iou_pairwise
    return config.oneof(
        section,
        {
            "iou_similarity": lambda _: boxes.iou_pairwise,
            "ioa_similarity": lambda _: boxes.ioa_pairwise,
            "neg_sq_dist_similarity": lambda _: boxes.negative_squared_distance_pairwise,
            "thresholded_iou_similarity": lambda one: partial(
                boxes.thresholded_iou_pairwise, iou_threshold=one.iou_threshold
            ),
        },
    )


def matcher(section: pipeline_pb2.Matcher) -> ArgMaxMatcher:
    """Read `matcher`.

    Raises:
        ConfigError: if the lower threshold is above the higher one.
    """
    argmax = config.oneof(section, {"argmax_matcher": lambda one: one})
    matched, unmatched = argmax.matched_threshold, argmax.unmatched_threshold
    if not argmax.ignore_thresholds and unmatched > matched:
        raise ConfigError(
            f"pipeline.config: argmax_matcher.unmatched_threshold is {unmatched:g}, above matched_threshold "
            f"{matched:g}; it must not be"
        )
    return ArgMaxMatcher(
        matched_threshold=None if argmax.ignore_thresholds else matched,
        unmatched_threshold=None if argmax.ignore_thresholds else unmatched,
        negatives_lower_than_unmatched=argmax.negatives_lower_than_unmatched,
        force_match=argmax.force_match_for_each_row,
    )


DICE = "weighted_dice_classification_loss"


def classification_loss(section: pipeline_pb2.ClassificationLoss) -> Function:
    """Read `classification_loss`: a function of logits and targets [b, a, c].

    The dice loss takes their weights, too, and returns one number for each class, not for each anchor.
    """
    return config.oneof(
        section,
        {
            "weighted_sigmoid": lambda _: losses.sigmoid_cross_entropy,
            "weighted_sigmoid_focal": lambda focal: partial(
                losses.sigmoid_focal,
                gamma=focal.gamma,
                alpha=focal.alpha if focal.HasField("alpha") else None,
            ),
            "weighted_softmax": lambda softmax: partial(
                losses.softmax_cross_entropy, logit_scale=softmax.logit_scale
            ),
            "weighted_logits_softmax": lambda softmax: partial(
                losses.softmax_cross_entropy_with_logits, logit_scale=softmax.logit_scale
            ),
            "bootstrapped_sigmoid": lambda bootstrap: partial(
                losses.bootstrapped_sigmoid, alpha=bootstrap.alpha, hard=bootstrap.hard_bootstrap
            ),
            "penalty_reduced_logistic_focal_loss": lambda focal: partial(
                losses.penalty_reduced_focal, alpha=focal.alpha, beta=focal.beta
            ),
            DICE: lambda dice: partial(losses.dice, squared_normalization=dice.squared_normalization),
        },
    )


def label_smoothing(section: pipeline_pb2.ClassificationLoss, amount: float) -> Function | None:
    """Return the function that smooths the targets [b, a, c] of a `classification_loss` by `amount`, if any.

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
    """Read `hard_example_miner` of a `loss`, which also weighs the two losses; None if it has none.

    Raises:
        ConfigError: with a focal loss, which ignores easy examples itself, and with dice, which has none.
    """
    if not section.HasField("hard_example_miner"):
        return None
    if section.classification_loss.HasField("weighted_sigmoid_focal"):
        raise ConfigError(
            "loss.hard_example_miner: the focal loss ignores easy examples by itself; remove the miner, "
            "or use classification_loss { weighted_sigmoid {} }"
        )
    if section.classification_loss.HasField(DICE):
        raise ConfigError(
            "loss.hard_example_miner: the dice loss is one of all anchors together, of which none is hard by itself; "
            "remove the miner, or use classification_loss { weighted_sigmoid {} }"
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


def random_example_sampler(section: pipeline_pb2.Loss) -> RandomExampleSampler | None:
    """Read `random_example_sampler` of a `loss`; None if it has none. Its seed follows Keras' global seed.

    Raises:
        ConfigError: if its fraction is not in (0, 1].
    """
    if not section.HasField("random_example_sampler"):
        return None
    fraction, field = section.random_example_sampler.positive_sample_fraction, "positive_sample_fraction"
    allowed = "above 0 and at most 1, such as 0.25"
    require(0 < fraction <= 1, f"random_example_sampler.{field}", fraction, allowed)
    return RandomExampleSampler(keras.random.SeedGenerator(), fraction)


def localization_loss(section: pipeline_pb2.LocalizationLoss) -> LocalizationLoss:
    """Read `localization_loss`."""
    return config.oneof(
        section,
        {
            "weighted_smooth_l1": lambda one: LocalizationLoss(partial(losses.smooth_l1, delta=one.delta)),
            "weighted_l2": lambda _: LocalizationLoss(losses.squared_error, squares_weights=True),
            "l1_localization_loss": lambda _: LocalizationLoss(
                lambda predictions, targets: ops.sum(losses.absolute_error(predictions, targets), axis=-1)
            ),
            "weighted_iou": lambda _: LocalizationLoss(losses.iou_loss, of_boxes=True),
            "weighted_giou": lambda _: LocalizationLoss(losses.giou_loss, of_boxes=True),
        },
    )


def score_converter(
    section: pipeline_pb2.PostProcessing,
    box_predictor: pipeline_pb2.BoxPredictor | None = None,
    num_scores: int | None = None,
) -> Function:
    """Read `score_converter` and `calibration_config`: a function from logits [..., c] to scores.

    A weight shared `box_predictor` has one of its own, which is applied first. The API applies that in the network, but
    not in training; it has no effect on losses here either. `num_scores` is c, background included, if it is known.

    Raises:
        ConfigError: if the scale is not above 0, or for an invalid calibration.
    """
    scale = section.logit_scale
    require(scale > 0, "post_processing.logit_scale", scale, "above 0")
    convert = {
        pipeline_pb2.PostProcessing.IDENTITY: ops.convert_to_tensor,
        pipeline_pb2.PostProcessing.SIGMOID: ops.sigmoid,
        pipeline_pb2.PostProcessing.SOFTMAX: partial(ops.softmax, axis=-1),
    }[section.score_converter]
    first = ops.convert_to_tensor
    if box_predictor is not None:
        predictor = box_predictor.weight_shared_convolutional_box_predictor
        first = ops.sigmoid if predictor.score_converter == predictor.SIGMOID else first
    if not section.HasField("calibration_config"):
        return lambda logits: convert(first(logits) / scale)
    before, after = calibration_functions(section.calibration_config, num_scores)
    return lambda logits: after(convert(before(first(logits)) / scale))


def calibration_functions(
    section: pipeline_pb2.CalibrationConfig, num_scores: int | None = None
) -> tuple[Function, Function]:
    """Read `calibration_config`: a function of logits [..., c], and one of the scores [..., c] that are made of these.

    One of the two changes nothing. `num_scores` is c, background included, if it is known.

    Raises:
        ConfigError: for an invalid calibration.
    """
    return config.oneof(
        section,
        {
            "function_approximation": lambda one: (
                ops.convert_to_tensor,
                _points(one.x_y_pairs, "function_approximation.x_y_pairs"),
            ),
            "class_id_function_approximations": lambda one: (
                ops.convert_to_tensor,
                _class_id_functions(one, num_scores),
            ),
            "temperature_scaling_calibration": lambda one: (_temperature(one), ops.convert_to_tensor),
        },
    )


def _class_id_functions(
    section: pipeline_pb2.ClassIdFunctionApproximations, num_scores: int | None
) -> Function:
    """Read a function for each column of the scores, by its index: 0 is the background, if there is one."""
    name = "class_id_function_approximations.class_id_xy_pairs_map"
    for number in section.class_id_xy_pairs_map:
        if number < 0 or (num_scores is not None and number >= num_scores):
            last = "" if num_scores is None else f" to {num_scores - 1}"
            raise ConfigError(
                f"pipeline.config: {name} has the key {number}; the scores are numbered from 0{last}, "
                "background first if there is one"
            )
    functions = {
        number: _points(pairs, f"{name}[{number}]") for number, pairs in section.class_id_xy_pairs_map.items()
    }
    return partial(calibration.each_column, functions=functions)


def _points(section: pipeline_pb2.XYPairs, name: str) -> Function:
    """Read the points of a function from scores [...] to probabilities [...]."""
    x, y = (np.array([getattr(pair, axis) for pair in section.x_y_pair], np.float32) for axis in ("x", "y"))
    if not len(x):
        raise ConfigError(f"pipeline.config: {name} has no x_y_pair; give at least one point")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ConfigError(f"pipeline.config: {name} has a point that is not finite; x and y are scores")
    descending = np.flatnonzero(np.diff(x) <= 0)
    if len(descending):
        raise ConfigError(
            f"pipeline.config: {name} has the x {x[descending[0] + 1]:g} after {x[descending[0]]:g}; they must ascend"
        )
    return partial(calibration.piecewise_linear, x=x, y=y)


def _temperature(section: pipeline_pb2.TemperatureScalingCalibration) -> Function:
    """Read a temperature, by which logits are divided. Source: Guo et al. 2017 (arXiv:1706.04599), section 4.2."""
    temperature, field = section.scaler, "temperature_scaling_calibration.scaler"
    require(0 < temperature < float("inf"), field, temperature, "above 0 and finite")
    return lambda logits: logits / temperature


def non_max_suppression(section: pipeline_pb2.PostProcessing) -> NonMaxSuppression:
    """Read `batch_non_max_suppression`.

    Raises:
        ConfigError: for values out of range, and for more than one class of a box.
    """
    nms = section.batch_non_max_suppression
    one_class = not nms.use_class_agnostic_nms or nms.max_classes_per_detection == 1
    for field, fits, allowed in (
        ("iou_threshold", 0 <= nms.iou_threshold <= 1, "in [0, 1]"),
        ("soft_nms_sigma", nms.soft_nms_sigma >= 0, "at least 0"),
        ("max_detections_per_class", nms.max_detections_per_class > 0, "above 0"),
        ("max_total_detections", nms.max_total_detections > 0, "above 0"),
        ("max_classes_per_detection", one_class, "1: a box has its best class only"),
    ):
        require(fits, f"batch_non_max_suppression.{field}", getattr(nms, field), allowed)
    return NonMaxSuppression(
        score_threshold=nms.score_threshold,
        iou_threshold=nms.iou_threshold,
        max_detections_per_class=nms.max_detections_per_class,
        max_total_detections=nms.max_total_detections,
        soft_nms_sigma=nms.soft_nms_sigma,
        change_coordinate_frame=nms.change_coordinate_frame,
        class_agnostic=nms.use_class_agnostic_nms,
    )


def input_size(section: pipeline_pb2.ImageResizer) -> tuple[int, int] | None:
    """Return the (height, width) that `image_resizer` gives every image, None where it varies.

    Raises:
        ConfigError: if it is too small.
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
