"""Samples of the anchors that a loss counts."""

import abc
from typing import Any

import tensorflow as tf


class MinibatchSampler(abc.ABC):
    """Samples a part of the anchors."""

    def __init__(self) -> None:  # noqa: B027
        """Make a sampler, which has nothing to keep."""

    @abc.abstractmethod
    def subsample(self, indicator: Any, batch_size: Any, **params: Any) -> Any:
        """Return bool [a], a part of those of which `indicator` (bool [a]) is true."""

    @staticmethod
    def subsample_indicator(indicator: Any, num_samples: Any) -> Any:
        """Return bool [a], true for at most `num_samples` of those of which `indicator` (bool [a]) is, at random."""
        chances = tf.where(indicator, tf.random.uniform(tf.shape(indicator)), 2.0)
        ranks = tf.argsort(tf.argsort(chances))
        sampled = indicator & (ranks < tf.cast(num_samples, ranks.dtype))
        return tf.ensure_shape(sampled, indicator.shape)
