"""Detectors of the SSD family behind the interface `core.model.DetectionModel`."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from boxtune.data.resize import Resizer
from boxtune.errors import ConfigError
from boxtune.exporting.traced import by_name
from boxtune.models.backbones.common import prepared_images
from boxtune.models.ssd import SSD
from boxtune.structures import GroundTruth, Inputs
from boxtune.training import checkpoints
from object_detection.core.model import DetectionModel
from object_detection.core.standard_fields import BoxListFields
from object_detection.meta_architectures.variable_names import names_of
from object_detection.utils.config_util import ConfigValueError

_CLASSIFIER = "feature_extractor"
"""The name of the backbone in the API's checkpoints of classification networks."""


class SSDMetaArch(DetectionModel):
    """An SSD, RetinaNet or EfficientDet.

    Its parts are under the names of the API's checkpoints, such as `_feature_extractor`, `_box_predictor` and
    `_box_predictor._base_tower_layers_for_heads`: `tf.train.Checkpoint` restores and saves them, all together or one
    by one. They have variables, but cannot be called.
    """

    def __init__(self, is_training: bool, detector: SSD, resizer: Resizer):
        """Dress a detector.

        Args:
            is_training: whether `predict` normalizes batches by their own statistics, where these are not frozen.
            detector: with its weights.
            resizer: from images to those of the detector's size.
        """
        super().__init__(detector.num_classes)
        # Not tracked: the parts below are what a checkpoint has.
        self.__dict__.update({"detector": detector, "_resizer": resizer, "_prediction_names": None})
        self._is_training = is_training
        variables = detector.checkpoint_variables()
        _rename(variables)
        for name, part in vars(checkpoints.tree(variables, detector.checkpoint_aliases).model).items():
            if isinstance(part, tf.Module):
                setattr(self, name, part)

    @property
    def feature_extractor(self) -> tf.Module:
        """The part that makes feature maps of images."""
        return self._feature_extractor

    @property
    def anchors(self) -> Any:
        """The anchors [a, 4] of the last images that were predicted, as fractions of them.

        Raises:
            RuntimeError: before `predict`.
        """
        if "_anchors" not in self.__dict__:
            raise RuntimeError("There are no anchors before predict is called")
        return self._anchors

    @property
    def batched_prediction_tensor_names(self) -> list[str]:
        """The names of those predictions that have a row for each image.

        Raises:
            RuntimeError: before `predict`.
        """
        if self._prediction_names is None:
            raise RuntimeError("There are no predictions before predict is called")
        return self._prediction_names

    @property
    def variables(self) -> list[tf.Variable]:
        """All weights and statistics, as those of TensorFlow."""
        return _of_tensorflow(self.detector.weights)

    @property
    def trainable_variables(self) -> list[tf.Variable]:
        """The weights that are trained, for `tf.GradientTape` and the optimizers of Keras."""
        return _of_tensorflow(self.detector.trainable_variables)

    @property
    def non_trainable_variables(self) -> list[tf.Variable]:
        """The other weights, and the statistics."""
        return _of_tensorflow(self.detector.non_trainable_weights)

    weights, trainable_weights, non_trainable_weights = (
        variables,
        trainable_variables,
        non_trainable_variables,
    )

    def preprocess(self, inputs: Any) -> tuple[Any, Any]:
        """Return images normalized and resized, float32 [b, h, w, 3], and int32 [b, 3], their sizes without padding.

        Args:
            inputs: float32 [b, h, w, 3], pixel values from 0 to 255.

        Raises:
            ConfigValueError: for images of another type.
        """
        images = tf.convert_to_tensor(inputs)
        if images.dtype != tf.float32:
            raise ConfigValueError(
                f"preprocess needs images of float32, not {images.dtype.name}: give tf.cast(images, tf.float32)"
            )
        resized = self._resizer(self.detector.normalization(images))
        shape = tf.concat([resized.size, tf.shape(images)[-1:]], axis=0)
        return resized.image, tf.tile(shape[None], [tf.shape(images)[0], 1])

    def predict(self, preprocessed_inputs: Any, true_image_shapes: Any, **side_inputs: Any) -> dict[str, Any]:
        """Return the raw predictions of images that were preprocessed.

        Returns:
            `box_encodings` float32 [b, a, d], `class_predictions_with_background` float32 [b, a, c + 1] (c without
            background), `feature_maps` [b, h, w, d] in a list, `anchors` float32 [a, 4], `final_anchors` [b, a, 4] and
            the `preprocessed_inputs`.
        """
        inputs = Inputs(images=preprocessed_inputs, sizes=None)
        with prepared_images("normalized"):
            predicted, maps = self.detector.predictions_and_maps(inputs, training=self._is_training)
        anchors = predicted["anchors"][0]
        count = tf.shape(preprocessed_inputs)[0]
        predictions = predicted | {
            "preprocessed_inputs": preprocessed_inputs,
            "feature_maps": maps,
            "anchors": anchors,
            "final_anchors": tf.tile(anchors[None], [count, 1, 1]),
        }
        self.__dict__["_anchors"] = anchors
        self.__dict__["_prediction_names"] = [name for name in predictions if name != "anchors"]
        return predictions

    def postprocess(
        self, prediction_dict: Mapping[str, Any], true_image_shapes: Any, **params: Any
    ) -> dict[str, Any]:
        """Return the detections of raw predictions, as fractions of the images without their padding.

        Args:
            prediction_dict: what `predict` returned.
            true_image_shapes: int32 [b, 3], what `preprocess` returned; None if images have no padding.

        Returns:
            float32, with zeros behind the detections: `detection_boxes` [b, k, 4], `detection_scores` [b, k],
            `detection_classes` [b, k] from 0 on, `detection_multiclass_scores` [b, k, c + 1],
            `detection_anchor_indices` [b, k], `num_detections` [b], `raw_detection_boxes` [b, a, 4] as fractions of the
            padded images, and `raw_detection_scores` [b, a, c + 1].
        """
        images = prediction_dict["preprocessed_inputs"]
        sizes = (
            tf.tile(tf.shape(images)[None, 1:3], [tf.shape(images)[0], 1])
            if true_image_shapes is None
            else true_image_shapes[:, :2]
        )
        inputs, predictions = Inputs(images=images, sizes=sizes), _predictions(prediction_dict)
        found = self.detector.detect(inputs, predictions)
        return {
            **by_name(found),
            "detection_classes": tf.cast(found.classes, tf.float32),
            **self.detector.raw_outputs(inputs, predictions, found),
        }

    def loss(
        self, prediction_dict: Mapping[str, Any], true_image_shapes: Any, scope: str | None = None
    ) -> dict[str, Any]:
        """Return `Loss/localization_loss` and `Loss/classification_loss` of a batch, scalars.

        Args:
            prediction_dict: what `predict` returned.
            true_image_shapes: without effect.
            scope: without effect.

        Raises:
            RuntimeError: before `provide_groundtruth`.
        """
        inputs = Inputs(
            images=prediction_dict["preprocessed_inputs"], sizes=None, groundtruth=self._groundtruth()
        )
        terms = self.detector.loss_terms(inputs, _predictions(prediction_dict))
        return {f"Loss/{name}": value for name, value in terms.items()}

    def _groundtruth(self) -> GroundTruth:
        """Return the ground truth of the batch, padded to the same number of objects."""
        boxes = list(map(_floats, self.groundtruth_lists(BoxListFields.boxes)))
        classes = self.groundtruth_lists(BoxListFields.classes)
        ones = [tf.ones_like(one[:, 0]) for one in boxes]
        weights = ones
        if self.groundtruth_has_field(BoxListFields.weights):
            weights = self.groundtruth_lists(BoxListFields.weights)
        if self.detector.loss.implicit_weight != 1 and self.groundtruth_has_field(BoxListFields.confidences):
            raise ConfigError(
                "use_confidences_as_targets: the confidences of objects are not supported; leave out "
                "groundtruth_confidences_list"
            )
        scores = _padded(classes)
        return GroundTruth(
            boxes=_padded(boxes),
            classes=tf.argmax(scores, axis=-1, output_type=tf.int32),
            class_scores=scores,
            weights=_padded(weights),
            # As in the API, an object without weight is given no anchor by force.
            valid=_padded(weights) > 0,
        )

    def regularization_losses(self) -> list[Any]:
        """Return the penalty of each weight that has one, a scalar."""
        return self.detector.penalties()

    def restore_map(
        self, fine_tune_checkpoint_type: str = "detection", load_all_detection_checkpoint_vars: bool = False
    ) -> dict[str, tf.Variable]:
        """Return the variables that a fine-tune type restores, by their keys in a checkpoint.

        Args:
            fine_tune_checkpoint_type: "classification" for the backbone, "detection" for all but the box predictor,
                "full" for everything.
            load_all_detection_checkpoint_vars: whether "detection" is everything, too.

        Raises:
            ConfigValueError: for another type.
        """
        everything = load_all_detection_checkpoint_vars and fine_tune_checkpoint_type == "detection"
        parts = self._restored(self.detector.restore_map, "full" if everything else fine_tune_checkpoint_type)
        return {
            prefix + key: variable.value for prefix, part in parts.items() for key, variable in part.items()
        }

    def restore_from_objects(self, fine_tune_checkpoint_type: str = "detection") -> dict[str, Any]:
        """Return what to call `tf.train.Checkpoint` with to restore a fine-tune type, as of `restore_map`.

        "classification" is the backbone as a checkpoint of a classification network has it.

        Raises:
            ConfigValueError: for another type.
        """

        def objects(kind: str) -> dict[str, Any]:
            match kind:
                case "classification":
                    return {_CLASSIFIER: self._feature_extractor.classification_backbone}
                case "detection":
                    return {"model": tf.train.Checkpoint(_feature_extractor=self._feature_extractor)}
                case "full":
                    return {"model": self}
            raise ConfigError(f'"{kind}" is not one of classification, detection, full')

        return self._restored(objects, fine_tune_checkpoint_type)

    @staticmethod
    def _restored(restore: Any, kind: str) -> Any:
        try:
            return restore(kind)
        except ConfigError as error:
            raise ConfigValueError(f"fine_tune_checkpoint_type: {error}") from None

    def updates(self) -> list[Any]:
        """Return nothing: statistics are updated while a batch is predicted."""
        return []


def _rename(variables: Mapping[str, Any]) -> None:
    """Give variables the names by which scripts choose them; TensorFlow has no function for that."""
    for key, name in names_of(variables).items():
        variables[key].value._handle_name = f"{name}:0"


def _of_tensorflow(variables: Sequence[Any]) -> list[tf.Variable]:
    return [variable.value for variable in variables]


def _predictions(prediction_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return predictions as detectors have them."""
    names = ("box_encodings", "class_predictions_with_background")
    anchors = tf.convert_to_tensor(prediction_dict["anchors"])
    return {name: prediction_dict[name] for name in names} | {"anchors": anchors[None]}


def _floats(values: Any) -> Any:
    return tf.cast(values, tf.float32)


def _padded(rows: Sequence[Any]) -> Any:
    """Return tensors [n, ...] of some images, padded with zeros to the longest, as float32 [b, n, ...]; n >= 1."""
    floats = list(map(_floats, rows))
    most = tf.reduce_max([1, *(tf.shape(one)[0] for one in floats)])
    paddings = [[[0, most - tf.shape(one)[0]], *[[0, 0]] * (len(one.shape) - 1)] for one in floats]
    return tf.stack([tf.pad(one, padding) for one, padding in zip(floats, paddings, strict=True)])
