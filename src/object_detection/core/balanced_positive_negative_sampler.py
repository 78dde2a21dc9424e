"""Samples of anchors with positives and negatives in a proportion."""

from typing import Any

import tensorflow as tf

from boxtune.detection.sampling import balanced_sample
from object_detection.core import minibatch_sampler
from object_detection.utils.ops import TensorError


class BalancedPositiveNegativeSampler(minibatch_sampler.MinibatchSampler):
    """Samples positives up to a fraction of the sample, and negatives for the rest; `is_static` makes no difference.

    Raises:
        TensorError: for a fraction outside of [0, 1].
    """

    def __init__(self, positive_fraction: float = 0.5, is_static: bool = False):
        super().__init__()
        if not 0 <= positive_fraction <= 1:
            raise TensorError(f"positive_fraction should be in range [0,1]. Received: {positive_fraction}.")
        self._positive_fraction, self._is_static = positive_fraction, is_static

    def subsample(self, indicator: Any, batch_size: Any, labels: Any, scope: str | None = None) -> Any:  # type: ignore[override]
        """Return bool [a]: a sample at random.

        Args:
            indicator: bool [a]: of which anchors.
            batch_size: how many; None for all positives, and as many negatives as belong to them.
            labels: bool [a]: which are positives.
            scope: names nothing.

        Raises:
            TensorError: for other shapes and types.
        """
        indicator, labels = tf.convert_to_tensor(indicator), tf.convert_to_tensor(labels)
        for name, value in (("indicator", indicator), ("labels", labels)):
            if value.shape.rank != 1:
                raise TensorError(f"{name} must be 1 dimensional, got a tensor of shape {value.shape}")
            if value.dtype != tf.bool:
                raise TensorError(f"{name} should be of type bool. Received: {value.dtype}")
        if batch_size is None:
            random = tf.random.uniform(tf.shape(labels))
            sampled = balanced_sample(indicator[None], labels[None], random[None], self._positive_fraction)[0]
            return tf.ensure_shape(sampled, indicator.shape)
        positives = self.subsample_indicator(
            indicator & labels, tf.cast(self._positive_fraction * batch_size, tf.int32)
        )
        left = batch_size - tf.reduce_sum(tf.cast(positives, tf.int32))
        return positives | self.subsample_indicator(indicator & ~labels, left)
