"""What predicts boxes and classes from features."""

import abc
from collections.abc import Sequence
from typing import Any

import keras

from object_detection.utils.ops import TensorError

BOX_ENCODINGS = "box_encodings"
CLASS_PREDICTIONS_WITH_BACKGROUND = "class_predictions_with_background"
MASK_PREDICTIONS = "mask_predictions"


class BoxPredictor(abc.ABC):
    """Predicts encodings of boxes, and logits of classes, from maps of features."""

    def __init__(self, is_training: bool, num_classes: int):
        self._is_training, self._num_classes = is_training, num_classes

    @property
    def is_keras_model(self) -> bool:
        """Whether this is a layer of Keras."""
        return False

    @property
    def num_classes(self) -> int:
        """The number of classes, without the background."""
        return self._num_classes

    def predict(
        self,
        image_features: Sequence[Any],
        num_predictions_per_location: Sequence[int],
        scope: str | None = None,
        **params: Any,
    ) -> dict[str, Any]:
        """Return predictions of maps [b, h, w, d] by name; raise TensorError unless there is a number for each map."""
        if len(image_features) != len(num_predictions_per_location):
            raise TensorError(
                f"image_feature and num_predictions_per_location must be of same length, found: {len(image_features)} "
                f"vs {len(num_predictions_per_location)}"
            )
        return self._predict(image_features, num_predictions_per_location, **params)

    @abc.abstractmethod
    def _predict(
        self, image_features: Sequence[Any], num_predictions_per_location: Sequence[int], **params: Any
    ) -> dict[str, Any]:
        """Return predictions of maps by name."""


class KerasBoxPredictor(keras.layers.Layer):
    """The same as a layer of Keras: its `_predict` takes maps, each [b, h, w, d], and returns predictions by name."""

    def __init__(
        self,
        is_training: bool,
        num_classes: int,
        freeze_batchnorm: bool,
        inplace_batchnorm_update: bool,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._is_training, self._num_classes = is_training, num_classes
        self._freeze_batchnorm, self._inplace_batchnorm_update = freeze_batchnorm, inplace_batchnorm_update

    @property
    def is_keras_model(self) -> bool:
        """Whether this is a layer of Keras."""
        return True

    @property
    def num_classes(self) -> int:
        """The number of classes, without the background."""
        return self._num_classes

    def call(self, image_features: Sequence[Any], **kwargs: Any) -> dict[str, Any]:
        """Return predictions of maps by name."""
        return self._predict(image_features, **kwargs)

    def _predict(self, image_features: Sequence[Any], **kwargs: Any) -> dict[str, Any]:
        """Return predictions of maps by name."""
        raise NotImplementedError
