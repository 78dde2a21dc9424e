"""Batch normalization that may be frozen when it is made."""

from typing import Any

import keras


class FreezableBatchNorm(keras.layers.BatchNormalization):
    """Keras' batch normalization; `training` false: by its moving statistics, also in training."""

    def __init__(self, training: bool | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self._training = training

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Normalize `inputs`; the layer's own `training`, where it was given as false, comes first."""
        return super().call(inputs, training=False if self._training is False else training)
