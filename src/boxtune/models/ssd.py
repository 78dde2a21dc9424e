"""The SSD family: every anchor of a feature pyramid predicts a box and its classes in one pass.

Source: Liu et al. 2016 (SSD, arXiv:1512.02325); Lin et al. 2017 (RetinaNet, arXiv:1708.02002); the API's
meta_architectures.ssd_meta_arch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import ops

from boxtune import config
from boxtune.config import pipeline_pb2
from boxtune.detection import shares
from boxtune.detection.boxes import iou_pairwise
from boxtune.detection.localization import LocalizationLoss
from boxtune.detection.matching import Targets, assign_targets
from boxtune.detection.mining import HardExampleMiner
from boxtune.detection.nms import Detections
from boxtune.detection.sampling import RandomExampleSampler
from boxtune.errors import ConfigError, did_you_mean
from boxtune.models import backbones, heads, necks, sections
from boxtune.models.detector import Detector, GroundTruth, Predictions
from boxtune.models.layers import Branches, computing_in_bfloat16, conv_style

FEATURES = "_feature_extractor"
BACKBONE = f"{FEATURES}/classification_backbone"


def mobilenet_v2_fpn(
    images, section: pipeline_pb2.SsdFeatureExtractor, frozen: bool
) -> list[keras.KerasTensor]:
    """MobileNetV2 with a feature pyramid; with `use_depthwise`, the zoo's FPNLite."""
    style = conv_style(section.conv_hyperparams)
    features = _mobilenet_v2(images, section, frozen)
    by_level = {2: "block_2", 3: "block_5", 4: "block_12", 5: "out"}
    highest = min(section.fpn.max_level, 5)
    _require_halves(images.shape[1:3], section, 2**highest)
    depth = max(int(section.fpn.additional_layer_depth * section.depth_multiplier), section.min_depth)
    options = {
        "use_depthwise": section.use_depthwise,
        "explicit_padding": section.use_explicit_padding,
        "frozen": frozen,
    }
    pyramid = necks.feature_pyramid(
        [features[by_level[level]] for level in range(section.fpn.min_level, highest + 1)],
        depth,
        f"{FEATURES}/_fpn_features_generator",
        style,
        **options,
    )
    top, going_on = Branches(2)(pyramid[-1])
    coarser = necks.coarser_levels(
        going_on,
        section.fpn.max_level - highest,
        depth,
        f"{FEATURES}/_coarse_feature_layers",
        style,
        **options,
    )
    return [*pyramid[:-1], top, *coarser]


def _require_halves(size, section: pipeline_pb2.SsdFeatureExtractor, multiple: int) -> None:
    """Refuse an input whose maps are not each half as large as the one before: a pyramid adds them."""
    padded = max(section.pad_to_multiple, 1) % multiple == 0
    if not padded and not section.use_explicit_padding and any(side % multiple for side in size):
        raise ConfigError(
            f"pipeline.config: image_resizer gives {size[0]} x {size[1]}; {section.type} needs sides that are "
            f"multiples of {multiple}, or feature_extractor.pad_to_multiple: {multiple}"
        )


def mobilenet_v2(images, section: pipeline_pb2.SsdFeatureExtractor, frozen: bool) -> list[keras.KerasTensor]:
    """MobileNetV2 followed by ever smaller maps."""
    features = _mobilenet_v2(images, section, frozen)

    def depth(filters: int) -> int:
        return max(int(filters * section.depth_multiplier), section.min_depth)

    maps = necks.multi_resolution(
        [features["block_13_expand"], features["out"]],
        [(depth(filters // 2), depth(filters)) for filters in (512, 256, 256, 128)],
        f"{FEATURES}/feature_map_generator/convolutions",
        conv_style(section.conv_hyperparams),
        use_depthwise=section.use_depthwise,
        explicit_padding=section.use_explicit_padding,
        frozen=frozen,
    )
    return maps[: section.num_layers]


def _mobilenet_v2(images, section: pipeline_pb2.SsdFeatureExtractor, frozen: bool):
    overridden = section.override_base_feature_extractor_hyperparams
    return backbones.mobilenet_v2(
        _pad_to_multiple(backbones.scale_images_to_one(images), section.pad_to_multiple),
        BACKBONE,
        conv_style(section.conv_hyperparams) if overridden else backbones.MOBILENET_V2_STYLE,
        depth_multiplier=section.depth_multiplier,
        min_depth=section.min_depth,
        explicit_padding=section.use_explicit_padding,
        frozen=frozen,
    )


def _pad_to_multiple(images, multiple: int):
    bottom, right = (-side % max(multiple, 1) for side in images.shape[1:3])
    return keras.layers.ZeroPadding2D(((0, bottom), (0, right)))(images) if bottom or right else images


FEATURE_EXTRACTORS: dict[str, Callable[..., list[keras.KerasTensor]]] = {
    "ssd_mobilenet_v2_fpn_keras": mobilenet_v2_fpn,
    "ssd_mobilenet_v2_keras": mobilenet_v2,
}
"""From `feature_extractor.type` to a function of images, that section, and whether normalizations are frozen."""


@dataclass(frozen=True)
class SSDLoss:
    """Localization and classification loss of a batch, against targets assigned to the anchors."""

    anchors: Any  # float [a, 4]
    num_classes: int
    matcher: Any
    box_coder: Any
    localization_loss: LocalizationLoss
    classification_loss: Callable[..., Any]
    localization_weight: float = 1.0
    classification_weight: float = 1.0
    negative_class_weight: float = 1.0
    add_background_class: bool = True
    background_as_zeros: bool = False
    normalize_by_num_matches: bool = True
    normalize_localization_by_code_size: bool = False
    similarity: Callable[..., Any] = iou_pairwise
    sample: RandomExampleSampler | None = None
    mine: HardExampleMiner | None = None
    smooth: Callable[[Any], Any] | None = None
    """Softens the classes [b, a, c + 1], or without background [b, a, c], of matched anchors; the background stays certain."""
    class_weights: Any | None = None
    """Float [c]: what an anchor matched to an object of each class weighs in the classification loss."""

    def __call__(self, codes, logits, groundtruth: GroundTruth) -> dict[str, Any]:
        """Return the two losses of predicted `codes` [b, a, d] and `logits`: [b, a, c + 1], or without background c."""
        targets = assign_targets(
            groundtruth,
            self.anchors,
            self.matcher,
            self.box_coder,
            self.num_classes,
            self.negative_class_weight,
            self.similarity,
        )
        if self.sample is not None:
            targets = self._sampled(targets)
        localization = self.localization_loss(
            codes, targets.codes, targets.code_weights, self.box_coder, self.anchors
        )
        classification = self._classification(logits, targets)
        if self.mine is not None:
            boxes = self.box_coder.decode(codes, self.anchors)
            localization, classification = self.mine(localization, classification, boxes, targets.matches)
        matched = 1.0
        if self.normalize_by_num_matches:
            matched = ops.maximum(shares.total(ops.sum(targets.code_weights)), 1.0)
        code_size = self.box_coder.code_size if self.normalize_localization_by_code_size else 1
        return {
            "localization_loss": ops.sum(localization) * self.localization_weight / (matched * code_size),
            "classification_loss": ops.sum(classification) * self.classification_weight / matched,
        }

    def _sampled(self, targets: Targets) -> Targets:
        """Return `targets` with weights of 0 where an anchor is not in the random sample."""
        sampled = ops.cast(self.sample(targets.class_weights, targets.matches), "float32")
        return replace(
            targets,
            class_weights=targets.class_weights * sampled,
            code_weights=targets.code_weights * sampled,
        )

    def _classification(self, logits, targets: Targets):
        """Return the weighted classification loss [b, a]."""
        classes = targets.classes
        if self.add_background_class:
            background = 1.0 - ops.sum(classes, axis=-1, keepdims=True)
            if self.background_as_zeros:
                background = ops.zeros_like(background)
            classes = ops.concatenate([background, classes], axis=-1)
        if self.smooth is not None:
            classes = ops.where(targets.matches[..., None] >= 0, self.smooth(classes), classes)
        loss = self.classification_loss(logits, classes)
        if len(loss.shape) == 3:
            loss = ops.sum(loss, axis=-1)
        weights = targets.class_weights
        if self.class_weights is not None:
            of_class = ops.sum(targets.classes * self.class_weights, axis=-1)
            weights = weights * ops.where(targets.matches >= 0, of_class, 1.0)
        return loss * weights


class SSD(Detector):
    """A single-shot detector."""

    loss_names = ("localization_loss", "classification_loss")
    fine_tune_prefixes = {  # noqa: RUF012 - a constant of the class
        "classification": f"model/{BACKBONE}/",
        "detection": f"model/{FEATURES}/",
        "full": "model/",
    }

    def __init__(self, network, num_classes, *, loss: SSDLoss, score_converter, suppress, **kwargs):
        super().__init__(network, num_classes, **kwargs)
        self.loss = loss
        self.score_converter = score_converter
        self.suppress = suppress
        if loss.sample is not None:
            self.sampling_seeds = loss.sample.seeds  # so that Keras knows their state

    def random_states(self) -> dict[str, keras.Variable]:
        """Return what dropout and the random sampler draw from."""
        if self.loss.sample is None:
            return super().random_states()
        return super().random_states() | {"random/sampling": self.sampling_seeds.state}

    def loss_terms(self, predictions: Predictions, groundtruth: GroundTruth) -> dict[str, Any]:
        """Return `localization_loss` and `classification_loss`."""
        return self.loss(
            predictions["box_encodings"], predictions["class_predictions_with_background"], groundtruth
        )

    def raw_detections(self, predictions: Predictions) -> tuple[Any, Any]:
        """Return the decoded boxes [b, a, 4] and the scores of every anchor: [b, a, c + 1], or without background c."""
        boxes = self.loss.box_coder.decode(predictions["box_encodings"], self.loss.anchors)
        return boxes, self.score_converter(predictions["class_predictions_with_background"])

    def detect(self, predictions: Predictions, window=None) -> Detections:
        """Return the detections that survive suppression, cut to the picture."""
        boxes, scores = self.raw_detections(predictions)
        if window is None:
            whole = ops.convert_to_tensor([[0.0, 0.0, 1.0, 1.0]])
            window = ops.tile(whole, (ops.shape(boxes)[0], 1))
        return self.suppress(boxes, scores[:, :, int(self.loss.add_background_class) :], window)


def build(
    section: pipeline_pb2.Ssd,
    *,
    add_regularization_loss: bool = True,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
    use_bfloat16: bool = False,
) -> SSD:
    """Build the detector that a `model.ssd` section describes.

    Args:
        section: the configuration.
        add_regularization_loss: whether the weights' penalties are part of the total loss.
        label_smoothing: how much certainty the classes of matched anchors lose, in [0, 1).
        class_weights: what objects of each of the c classes weigh in the classification loss; None for all alike.
        use_bfloat16: let the network compute in bfloat16; its weights and all that follows it are float32.

    Raises:
        ConfigError: for a component that boxtune does not have.
    """
    with computing_in_bfloat16(use_bfloat16):
        network, features = _network(section)
    anchor_boxes = _tile_anchors(section, features)
    if not (section.add_background_class or section.encode_background_as_zeros):
        raise ConfigError(
            "pipeline.config: add_background_class: false leaves no class that could stand for background; "
            "set encode_background_as_zeros: true"
        )
    loss = SSDLoss(
        anchors=sections.as_constant(anchor_boxes),
        num_classes=section.num_classes,
        matcher=sections.matcher(section.matcher),
        box_coder=sections.box_coder(section.box_coder),
        localization_loss=sections.localization_loss(section.loss.localization_loss),
        classification_loss=sections.classification_loss(section.loss.classification_loss),
        localization_weight=section.loss.localization_weight,
        classification_weight=section.loss.classification_weight,
        negative_class_weight=section.negative_class_weight,
        add_background_class=section.add_background_class,
        background_as_zeros=section.encode_background_as_zeros,
        normalize_by_num_matches=section.normalize_loss_by_num_matches,
        normalize_localization_by_code_size=section.normalize_loc_loss_by_codesize,
        similarity=sections.similarity(section.similarity_calculator),
        sample=sections.random_example_sampler(section.loss),
        mine=sections.hard_example_miner(section.loss),
        smooth=sections.label_smoothing(section.loss.classification_loss, label_smoothing),
        class_weights=None if class_weights is None else sections.as_constant(np.asarray(class_weights)),
    )
    return SSD(
        network,
        section.num_classes,
        loss=loss,
        score_converter=sections.score_converter(section.post_processing, section.box_predictor),
        suppress=sections.non_max_suppression(section.post_processing),
        add_regularization_loss=add_regularization_loss,
    )


def _network(section: pipeline_pb2.Ssd) -> tuple[keras.Model, list[keras.KerasTensor]]:
    """Return the network, and the maps in it that boxes are predicted from."""
    images, features = _feature_maps(section)
    per_location = sections.anchor_generator(section.anchor_generator).per_location
    codes, logits = _box_predictor(features, per_location, section)
    outputs = {"box_encodings": codes, "class_predictions_with_background": logits}
    return keras.Model(images, outputs, name="network"), features


def anchors(section: pipeline_pb2.Ssd) -> tuple[np.ndarray, float]:
    """Return the anchors of a `model.ssd` section and the IoU from which one is matched to an object.

    The anchors are float32 [a, 4], in the order of the predictions; the IoU is 0 where the matcher has no threshold.

    Raises:
        ConfigError: for a component that boxtune does not have.
    """
    _, features = _feature_maps(section)
    return _tile_anchors(section, features), sections.matcher(section.matcher).matched_threshold or 0.0


def _feature_maps(section: pipeline_pb2.Ssd) -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
    """Return the input images and the maps that boxes are predicted from."""
    extract = _feature_extractor(section.feature_extractor.type)
    if section.feature_extractor.HasField("bifpn"):
        raise ConfigError(
            f"pipeline.config: feature_extractor.bifpn: {section.feature_extractor.type} has no bidirectional pyramid; "
            "remove it, or choose a type that ends in _bifpn_keras"
        )
    images = keras.Input((*sections.input_size(section.image_resizer), 3), name="images")
    return images, extract(images, section.feature_extractor, section.freeze_batchnorm)


def _tile_anchors(section: pipeline_pb2.Ssd, features: Sequence[keras.KerasTensor]) -> np.ndarray:
    """Return the anchors [a, 4] over feature maps, which must be as many as the anchor generator's."""
    generator = sections.anchor_generator(section.anchor_generator)
    if len(features) != len(generator.per_location):
        raise ConfigError(
            f"pipeline.config: the anchor generator serves {len(generator.per_location)} feature maps, "
            f"but {section.feature_extractor.type} gives {len(features)}; make their levels agree"
        )
    if not generator.normalize_coordinates:
        raise ConfigError(
            "pipeline.config: model.ssd wants anchors as shares of the image, and the anchor generator gives pixels; "
            "use multiscale_anchor_generator with normalize_coordinates: true, or ssd_anchor_generator"
        )
    grids = [tuple(feature.shape[1:3]) for feature in features]
    return generator.generate(grids, sections.input_size(section.image_resizer))


def _feature_extractor(name: str) -> Callable[..., list[keras.KerasTensor]]:
    if name not in FEATURE_EXTRACTORS:
        raise ConfigError(
            f'pipeline.config: feature_extractor.type "{name}" is not built.{did_you_mean(name, FEATURE_EXTRACTORS)}'
        )
    return FEATURE_EXTRACTORS[name]


def _box_predictor(features, per_location, section: pipeline_pb2.Ssd):
    predict, chosen = config.chosen(
        section.box_predictor,
        {
            "weight_shared_convolutional_box_predictor": heads.weight_shared_convolutional,
            "convolutional_box_predictor": heads.convolutional,
        },
    )
    sections.box_code_size(section.box_predictor, sections.box_coder(section.box_coder))
    return predict(
        features,
        per_location,
        section.num_classes,
        chosen,
        frozen=section.freeze_batchnorm,
        add_background_class=section.add_background_class,
    )
