"""The SSD family: every anchor of a feature pyramid predicts a box and its classes in one pass.

Source: Liu et al. 2016 (SSD, arXiv:1512.02325); Lin et al. 2017 (RetinaNet, arXiv:1708.02002); the API's
meta_architectures.ssd_meta_arch.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from boxtune import config
from boxtune.config import pipeline_pb2
from boxtune.detection import shares
from boxtune.detection.box_coders import CenterCodes
from boxtune.detection.boxes import iou_pairwise, take_rows
from boxtune.detection.localization import LocalizationLoss
from boxtune.detection.matching import Targets, assign_targets
from boxtune.detection.merging import merge_equal_boxes
from boxtune.detection.mining import HardExampleMiner
from boxtune.detection.nms import NonMaxSuppression
from boxtune.detection.sampling import RandomExampleSampler
from boxtune.errors import ConfigError
from boxtune.models import from_config, heads, tf1_names
from boxtune.models.backbones.common import are_padded
from boxtune.models.detector import Detector, Options, Predictions, windows
from boxtune.models.layers import computing_in_bfloat16
from boxtune.models.ssd_features import BACKBONE, EFFICIENTNET, FEATURES, feature_extractor
from boxtune.structures import Detections, GroundTruth, Inputs

_CLASS_LAYERS = f"model/{heads.CLASS_HEADS}/"


@dataclass(frozen=True)
class SSDLoss:
    """Localization and classification loss of a batch, against targets assigned to the anchors."""

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
    """Smooths the classes [b, a, c + 1] (c without background) of matched anchors; not those of the background."""
    class_weights: Any | None = None
    """Float [c]: the weight of an anchor matched to each class in the classification loss."""
    merge_equal_boxes: bool = False
    """Objects of one box and several classes are one object with all of them."""
    implicit_weight: float = 1.0
    """The weight of the classes that an anchor does not have, which includes the background of unmatched anchors."""
    weighs_inside: bool = False
    """`classification_loss` takes the weights [b, a, c], as dice does, and returns a loss of all anchors, [b, c]."""

    def __call__(self, encodings, logits, anchors, groundtruth: GroundTruth) -> dict[str, Any]:
        """Return the two losses of a batch.

        Args:
            encodings: predicted boxes, float [b, a, d].
            logits: predicted, float [b, a, c + 1], or without a background class [b, a, c].
            anchors: of the predictions, float [a, 4].
            groundtruth: of the batch.
        """
        if self.merge_equal_boxes:
            groundtruth = merge_equal_boxes(groundtruth, self.num_classes)
        targets = assign_targets(
            groundtruth, anchors, self.matcher, self.box_coder, self.num_classes,
            self.negative_class_weight, self.similarity,
        )  # fmt: skip
        if self.sample is not None:
            sampled = ops.cast(self.sample(targets.class_weights, targets.matches), "float32")
            class_weights, box_weights = targets.class_weights * sampled, targets.box_weights * sampled
            targets = replace(targets, class_weights=class_weights, box_weights=box_weights)
        localization = self.localization_loss(
            encodings, targets.encodings, targets.box_weights, self.box_coder, anchors
        )
        classification = self._classification(logits, targets)
        if self.mine is not None:
            boxes = self.box_coder.decode(encodings, anchors)
            localization, classification = self.mine(localization, classification, boxes, targets.matches)
        matched = 1.0
        if self.normalize_by_num_matches:
            matched = ops.maximum(shares.total(ops.sum(targets.box_weights)), 1.0)
        code_size = self.box_coder.code_size if self.normalize_localization_by_code_size else 1
        return {
            "localization_loss": ops.sum(localization) * self.localization_weight / (matched * code_size),
            "classification_loss": ops.sum(classification) * self.classification_weight / matched,
        }

    def _classification(self, logits, targets: Targets):
        """Return the weighted classification loss [b, a], or [b, c] of all anchors together."""
        is_matched = targets.matches[..., None] >= 0
        classes = targets.classes
        if self.add_background_class:
            background = ops.cast(~is_matched, "float32")
            if self.background_as_zeros:
                background = ops.zeros_like(background)
            classes = ops.concatenate([background, classes], axis=-1)
        if self.smooth is not None:
            classes = ops.where(is_matched, self.smooth(classes), classes)
        weights = self._anchor_weights(targets)
        if self.weighs_inside:
            of_classes = weights[..., None] * ops.ones_like(logits)
            if self.implicit_weight != 1:
                of_classes = self._weigh_implicit(of_classes, targets)
            return self.classification_loss(logits, classes, of_classes)
        loss = self.classification_loss(logits, classes)
        if self.implicit_weight != 1:
            loss = self._weigh_implicit(loss, targets)
        if len(loss.shape) == 3:
            loss = ops.sum(loss, axis=-1)
        return loss * weights

    def _anchor_weights(self, targets: Targets):
        """Return the weight of each anchor [b, a], which includes that of its class."""
        weights = targets.class_weights
        if self.class_weights is not None:
            of_class = ops.sum(targets.classes * self.class_weights, axis=-1)
            of_class = of_class / ops.maximum(ops.sum(targets.classes, axis=-1), 1.0)  # their mean if several
            weights = weights * ops.where(targets.matches >= 0, of_class, 1.0)
        return weights

    def _weigh_implicit(self, loss, targets: Targets):
        """Return a loss or weights [b, a, c + 1], or a loss [b, a], scaled for the classes an anchor does not have.

        A loss of exclusive classes gets their mean weight. Source: the API's target_assigner.batch_assign_confidences.
        """
        explicit = targets.classes > 0
        if self.add_background_class:
            explicit = ops.concatenate([targets.matches[..., None] >= 0, explicit], axis=-1)
        weights = ops.where(explicit, 1.0, self.implicit_weight)
        return loss * (weights if len(loss.shape) == 3 else ops.mean(weights, axis=-1))


class SSD(Detector):
    """A single-shot detector."""

    suppress: NonMaxSuppression
    loss_names = ("localization_loss", "classification_loss")

    def __init__(
        self,
        network,
        num_classes,
        *,
        loss: SSDLoss,
        score_converter,
        suppress,
        anchors,
        padding,
        normalization,
        checkpoint_aliases=None,
        **kwargs,
    ):
        """Assemble the parts that `build` has made.

        Args:
            network: from images [b, h, w, 3] to box encodings, logits, and the feature maps.
            num_classes: c.
            loss: of a batch.
            score_converter: from logits to scores.
            suppress: from boxes and scores of all anchors to detections.
            anchors: from the grids of the feature maps and the size of the input to anchors [a, 4].
            padding: float32 [3], the pixel value that fills the padding of inputs, 0 for the network; None where no
                input has padding.
            normalization: of pixel values, by the network.
            checkpoint_aliases: as of Detector.
            kwargs: of Detector.
        """
        super().__init__(num_classes, **kwargs)
        self.network = network
        self.loss, self.score_converter, self.suppress = loss, score_converter, suppress
        self.anchors, self.padding, self.normalization = anchors, padding, normalization
        self.checkpoint_aliases = checkpoint_aliases or {}
        self.scores_before_classes = int(loss.add_background_class)
        if loss.sample is not None:
            self.sampling_seeds = loss.sample.seeds  # tracked by Keras: a resumed run needs their state

    def call(self, inputs: Inputs, training=None) -> Predictions:
        """Return `box_encodings` [b, a, d], `class_predictions_with_background` [b, a, c + 1], `anchors` [1, a, 4].

        Without a background class there are c predictions, under the same name.
        """
        predictions, _ = self.predictions_and_maps(inputs, training)
        return predictions

    def predictions_and_maps(self, inputs: Inputs, training=None) -> tuple[Predictions, list[Any]]:
        """Return what `call` does, and the feature maps [b, h, w, d] that it was predicted from."""
        images = inputs["images"]
        if self.padding is not None and not are_padded():
            images = fill_padding(images, inputs["sizes"], self.padding)
        encodings, logits, features = self.network(images, training=training)
        grids = [ops.shape(feature)[1:3] for feature in features]
        predictions = {
            "box_encodings": ops.cast(encodings, "float32"),
            "class_predictions_with_background": ops.cast(logits, "float32"),
            "anchors": self.anchors(grids, ops.shape(images)[1:3])[None],
        }
        return predictions, features

    def loss_terms(self, inputs: Inputs, predictions: Predictions) -> dict[str, Any]:
        """Return `localization_loss` and `classification_loss`."""
        return self.loss(
            predictions["box_encodings"],
            predictions["class_predictions_with_background"],
            predictions["anchors"][0],
            inputs["groundtruth"],
        )

    def detect(self, inputs: Inputs, predictions: Predictions) -> Detections:
        """Return the detections after suppression, clipped to the image; `extras` has their `anchors` [b, k]."""
        return self.suppress(*self.candidates(inputs, predictions), windows(inputs))

    def candidates(self, inputs: Inputs, predictions: Predictions) -> tuple[Any, Any]:
        """Return the decoded boxes [b, a, 4] and the scores [b, a, c] of every anchor."""
        boxes, scores = self._decoded(predictions)
        return boxes, scores[:, :, int(self.loss.add_background_class) :]

    def encoded_candidates(self, inputs: Inputs, predictions: Predictions) -> tuple[CenterCodes, Any]:
        """Return the predicted boxes as codes and the scores [b, a, c + 1] of all anchors, background first if any."""
        codes = self.loss.box_coder.center_codes(predictions["box_encodings"], predictions["anchors"][0])
        return codes, self.score_converter(predictions["class_predictions_with_background"])

    def _decoded(self, predictions: Predictions) -> tuple[Any, Any]:
        boxes = self.loss.box_coder.decode(predictions["box_encodings"], predictions["anchors"][0])
        return boxes, self.score_converter(predictions["class_predictions_with_background"])

    def raw_outputs(self, inputs: Inputs, predictions: Predictions, found: Detections) -> dict[str, Any]:
        """Return the boxes and scores of every anchor, background first if any, and the anchor of each detection."""
        boxes, scores = self._decoded(predictions)
        anchors = found.extras["anchors"]
        valid = ops.cast(ops.arange(ops.shape(anchors)[1]) < found.count[:, None], "float32")
        return {
            "detection_anchor_indices": ops.cast(anchors, "float32"),
            "detection_multiclass_scores": take_rows(scores, anchors) * valid[..., None],
            "raw_detection_boxes": boxes,
            "raw_detection_scores": scores,
        }

    def restore_map(self, fine_tune_type: str):
        """Return the variables of a fine-tune type.

        They are the backbone ("classification"), all but the box predictor ("detection"), all but the last layers that
        tell classes apart ("all_but_classes") or everything ("full").
        """
        backbone = [f"model/{key}/" for key in (EFFICIENTNET, BACKBONE)]
        return self.parts(
            {
                "classification": [prefix for prefix in backbone if self.under(prefix)],
                "detection": [f"model/{FEATURES}/"],
                "all_but_classes": self.prefixes_without(_CLASS_LAYERS),
                "full": ["model/"],
            },
            fine_tune_type,
        )

    def class_layers(self):
        """Return the variables of the last layers that tell classes apart, by their keys."""
        return {
            key: value for key, value in self.checkpoint_variables().items() if key.startswith(_CLASS_LAYERS)
        }

    def keys_in_tensorflow_1(self, names: Iterable[str]) -> dict[str, str | None]:
        """Return the keys of an SSD's variables in a checkpoint of TensorFlow 1, or of a backbone's alone.

        Raises:
            CheckpointError: if TensorFlow 1 computed the network otherwise.
        """
        shapes = {key: tuple(variable.shape) for key, variable in self.checkpoint_variables().items()}
        return tf1_names.keys_by_name(names, shapes)


def fill_padding(images, sizes, color):
    """Return `images` [b, h, w, 3] with `color` [3] beyond their `sizes` [b, 2]."""
    height, width = ops.shape(images)[1:3]
    rows = ops.arange(height, dtype="int32")[None, :, None] < sizes[:, 0, None, None]
    columns = ops.arange(width, dtype="int32")[None, None, :] < sizes[:, 1, None, None]
    return ops.where((rows & columns)[..., None], images, color)


def build(section: pipeline_pb2.Ssd, options: Options) -> SSD:
    """Build the detector that a `model.ssd` section describes.

    Raises:
        ConfigError: for a component that boxtune does not have.
    """
    if not (section.add_background_class or section.encode_background_as_zeros):
        raise ConfigError(
            "pipeline.config: add_background_class: false leaves no class for the background; "
            "set encode_background_as_zeros: true"
        )
    with computing_in_bfloat16(options.use_bfloat16):
        network = _network(section)
    weights = options.class_weights
    loss = SSDLoss(
        num_classes=section.num_classes,
        matcher=from_config.matcher(section.matcher),
        box_coder=from_config.box_coder(section.box_coder),
        localization_loss=from_config.localization_loss(section.loss.localization_loss),
        classification_loss=from_config.classification_loss(section.loss.classification_loss),
        localization_weight=section.loss.localization_weight,
        classification_weight=section.loss.classification_weight,
        negative_class_weight=section.negative_class_weight,
        add_background_class=section.add_background_class,
        background_as_zeros=section.encode_background_as_zeros,
        normalize_by_num_matches=section.normalize_loss_by_num_matches,
        normalize_localization_by_code_size=section.normalize_loc_loss_by_codesize,
        similarity=from_config.similarity(section.similarity_calculator),
        sample=from_config.random_example_sampler(section.loss),
        mine=from_config.hard_example_miner(section.loss),
        smooth=from_config.label_smoothing(section.loss.classification_loss, options.label_smoothing),
        class_weights=None if weights is None else from_config.as_constant(np.asarray(weights)),
        merge_equal_boxes=options.merge_multiple_label_boxes,
        implicit_weight=_implicit_weight(section),
        weighs_inside=section.loss.classification_loss.HasField(from_config.DICE),
    )
    num_scores = section.num_classes + section.add_background_class
    return SSD(
        network,
        section.num_classes,
        loss=loss,
        score_converter=from_config.score_converter(
            section.post_processing, section.box_predictor, num_scores
        ),
        suppress=from_config.non_max_suppression(section.post_processing),
        anchors=_anchors_of(section, network),
        padding=_padding(section),
        normalization=feature_extractor(section.feature_extractor.type).normalization,
        checkpoint_aliases=heads.aliases(section.box_predictor, len(network.outputs) - 2),
        add_regularization_loss=options.add_regularization_loss,
    )


def _implicit_weight(section: pipeline_pb2.Ssd) -> float:
    """Read `use_confidences_as_targets` and `implicit_example_weight`.

    The API's records have no confidences: every object is certain. So the first field only changes the weight of the
    classes that an anchor does not have.

    Raises:
        ConfigError: if the weight is out of range, or would have no effect.
    """
    weight = section.implicit_example_weight
    fits = 0 <= weight < float("inf")
    from_config.require(fits, "implicit_example_weight", weight, "at least 0, and finite")
    if weight != 1 and not section.use_confidences_as_targets:
        raise ConfigError(
            f"pipeline.config: implicit_example_weight is {weight:g}, but without use_confidences_as_targets it has no "
            "effect; set that to true, or remove the weight"
        )
    return weight


def _network(section: pipeline_pb2.Ssd) -> keras.Model:
    """Return the network from images to box encodings, logits, and the maps that they are predicted from."""
    images, features = _feature_maps(section)

    shared, own = heads.weight_shared_convolutional, heads.convolutional
    predict = config.oneof(
        section.box_predictor,
        {
            "weight_shared_convolutional_box_predictor": lambda one: partial(shared, section=one),
            "convolutional_box_predictor": lambda one: partial(own, section=one),
        },
    )
    from_config.check_box_code_size(section.box_predictor, from_config.box_coder(section.box_coder))
    encodings, logits = predict(
        features,
        from_config.anchor_generator(section.anchor_generator).per_location,
        section.num_classes,
        frozen=section.freeze_batchnorm,
        add_background_class=section.add_background_class,
    )
    return keras.Model(images, [encodings, logits, features], name="network")


def _anchors_of(section: pipeline_pb2.Ssd, network: keras.Model) -> Callable[..., Any]:
    """Return a function from the grids of the feature maps and the size of the input to anchors [a, 4].

    Where that size is fixed, they are computed once.
    """
    generator = from_config.anchor_generator(section.anchor_generator)
    size = from_config.input_size(section.image_resizer)
    if size is None:
        return lambda grids, input_size: ops.convert_to_tensor(
            generator.generate(grids, input_size), "float32"
        )
    constant = from_config.as_constant(generator.generate(_grids(network.outputs[2:]), size))
    return lambda grids, input_size: constant


def _grids(features: Sequence[keras.KerasTensor]) -> list[tuple[int, int]]:
    return [tuple(feature.shape[1:3]) for feature in features]


def _padding(section: pipeline_pb2.Ssd) -> Any | None:
    """Return the pixel value [3] for padding: 0 for the network, or `per_channel_pad_value`.

    As in the API, that is a value of normalized pixels. None where `image_resizer` gives all images one size, without
    padding.
    """
    resizer = section.image_resizer
    if resizer.HasField("fixed_shape_resizer"):
        return None
    values = np.zeros(3) + (list(resizer.keep_aspect_ratio_resizer.per_channel_pad_value) or 0.0)
    return from_config.as_constant(
        feature_extractor(section.feature_extractor.type).normalization.undo(values)
    )


def anchors(section: pipeline_pb2.Ssd) -> tuple[np.ndarray, float] | None:
    """Return the anchors of a `model.ssd` section and the IoU from which one is matched to an object.

    The anchors are float32 [a, 4], in the order of the predictions; the IoU is 0 where the matcher has no threshold.
    None where the size of images varies, and the anchors with it.

    Raises:
        ConfigError: for a component that boxtune does not have.
    """
    size = from_config.input_size(section.image_resizer)
    if size is None:
        return None
    _, features = _feature_maps(section)
    generator = from_config.anchor_generator(section.anchor_generator)
    threshold = from_config.matcher(section.matcher).matched_threshold
    return generator.generate(_grids(features), size), threshold or 0.0


def _feature_maps(section: pipeline_pb2.Ssd) -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
    """Return the input images and the maps that boxes are predicted from, one for each of the anchor generator."""
    extractor = feature_extractor(section.feature_extractor.type)
    if section.feature_extractor.HasField("bifpn") and not extractor.bidirectional:
        raise ConfigError(
            f"pipeline.config: {section.feature_extractor.type} has no bidirectional pyramid; remove bifpn, or use fpn "
            "where the type has that"
        )
    height, width = from_config.input_size(section.image_resizer) or (None, None)
    images = keras.Input((height, width, 3), name="images")
    features = extractor.build(images, section.feature_extractor, section.freeze_batchnorm)
    generator = from_config.anchor_generator(section.anchor_generator)
    num_maps = len(generator.per_location)
    if not generator.normalize_coordinates:
        raise ConfigError(
            "pipeline.config: model.ssd needs anchors as fractions of the input, but the anchor generator gives "
            "pixels; use ssd_anchor_generator, or multiscale_anchor_generator with normalize_coordinates: true"
        )
    if len(features) != num_maps:
        raise ConfigError(
            f"pipeline.config: the anchor generator is for {num_maps} feature maps, "
            f"but {section.feature_extractor.type} gives {len(features)}; make their levels agree"
        )
    return images, features
