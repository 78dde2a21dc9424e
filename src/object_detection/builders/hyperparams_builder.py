"""How convolutions are initialized, regularized, normalized and activated, as a configuration describes it."""

from typing import Any

import keras
import tensorflow.compat.v1 as tf

from boxtune.config import pipeline_pb2
from boxtune.models.layers import conv_style
from object_detection.builders.checked import SectionError, as_section_errors, checked
from object_detection.core import freezable_batch_norm, freezable_sync_batch_norm

_ACTIVATIONS = {None: None, "relu": tf.nn.relu, "relu6": tf.nn.relu6, "silu": tf.nn.swish}


class KerasLayerHyperparams:
    """Makes layers of Keras and their arguments, as `boxtune.models.layers.conv_style` reads a section.

    Raises:
        SectionError: for a section of another kind, and what `conv_style` refuses.
    """

    def __init__(self, hyperparams_config: pipeline_pb2.Hyperparams):
        checked("hyperparams_config", hyperparams_config, pipeline_pb2.Hyperparams)
        with as_section_errors():
            self._style = conv_style(hyperparams_config)
        self._use_sync_batch_norm = hyperparams_config.HasField("sync_batch_norm")

    def use_batch_norm(self) -> bool:
        """Return whether there is a batch normalization."""
        return self._style.batch_norm is not None

    def use_sync_batch_norm(self) -> bool:
        """Return whether its statistics are over all devices."""
        return self._use_sync_batch_norm

    def force_use_bias(self) -> bool:
        """Return whether there is a bias even before a normalization."""
        return self._style.force_use_bias

    def use_bias(self) -> bool:
        """Return whether a convolution has a bias."""
        return self._style.use_bias

    def batch_norm_params(self, **overrides: Any) -> dict[str, Any]:
        """Return the arguments of the batch normalization, of which some may be replaced; none without one."""
        return {**(self._style.batch_norm or {}), **overrides}

    def build_batch_norm(self, training: bool | None = None, **overrides: Any) -> keras.layers.Layer:
        """Return the batch normalization, or a layer that changes nothing; `training` false freezes it."""
        if not self.use_batch_norm():
            return keras.layers.Lambda(tf.identity)
        make = (
            freezable_sync_batch_norm.FreezableSyncBatchNorm
            if self.use_sync_batch_norm()
            else freezable_batch_norm.FreezableBatchNorm
        )
        training = False if self._style.frozen else training
        return make(training=training, **self.batch_norm_params(**overrides))

    def build_activation_layer(self, name: str = "activation") -> keras.layers.Layer:
        """Return the activation, or a layer that changes nothing."""
        return keras.layers.Lambda(_ACTIVATIONS[self._style.activation] or tf.identity, name=name)

    def get_regularizer_weight(self) -> float | None:
        """Return the weight of the regularizer, or None without one."""
        regularizer = self._style.regularizer
        if regularizer is None:
            return None
        return float(regularizer.l1 if isinstance(regularizer, keras.regularizers.L1) else regularizer.weight)

    def params(self, include_activation: bool = False, **overrides: Any) -> dict[str, Any]:
        """Return the arguments of a convolution, of which some may be replaced."""
        activation = _ACTIVATIONS[self._style.activation] if include_activation else None
        return {
            "depthwise_regularizer": self._style.regularizer,
            "kernel_regularizer": self._style.regularizer,
            "depthwise_initializer": self._style.initializer(),
            "kernel_initializer": self._style.initializer(),
            "activation": activation,
            "use_bias": self.use_bias(),
            **overrides,
        }


def build(hyperparams_config: pipeline_pb2.Hyperparams, is_training: bool) -> Any:
    """Refuse: raise SectionError."""
    raise SectionError("Argument scopes of TensorFlow 1 are not supported; use KerasLayerHyperparams.")
