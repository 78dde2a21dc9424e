"""The order of records: a function of the position in the endless stream of examples, and of the seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from boxtune.data.stateless_random import Purpose, seed_for
from boxtune.errors import ConfigError


@dataclass(frozen=True)
class Order:
    """The record at each position.

    Every `count` positions are an epoch. In each, every record is shown once, or by its probability: `count` times
    that, rounded up or down.
    """

    count: int  # of the records
    seed: int  # of the run
    shuffle: bool = True
    probabilities: npt.NDArray[np.float64] | None = None  # [count], adding up to 1

    def number(self, position: Any) -> Any:
        """Return the number (int64) of the record at `position` (int64)."""
        epoch, position = position // self.count, position % self.count
        seed = seed_for(self.seed, Purpose.ORDER, epoch)
        if self.shuffle and self.count > 1:
            last = tf.constant(self.count - 1, tf.int64)
            position = tf.random.experimental.index_shuffle(position, seed, last)
        if self.probabilities is None:
            return position
        # As many points as records, all as far apart: every record has as many as fit into its share, or one more.
        offset = tf.random.stateless_uniform([], seed, dtype=tf.float64)
        return _at(self.probabilities, (tf.cast(position, tf.float64) + offset) / self.count)

    def random_number(self, seed: Any) -> Any:
        """Return the number (int64) of a random record."""
        if self.probabilities is None:
            return tf.random.stateless_uniform([], seed, 0, self.count, tf.int64)
        return _at(self.probabilities, tf.random.stateless_uniform([], seed, dtype=tf.float64))


def _at(probabilities: npt.NDArray[np.float64], point: Any) -> Any:
    """Return the number of the record in whose part of [0, 1), where all lie in a row, a point falls."""
    ends = tf.constant(np.cumsum(probabilities), tf.float64)
    found = tf.searchsorted(ends, point[None], side="right", out_type=tf.int64)[0]
    return tf.minimum(found, len(probabilities) - 1)


def weighted_probabilities(
    datasets: Sequence[npt.NDArray[np.bool_]], weights: Sequence[float]
) -> npt.NDArray[np.float64]:
    """Return how often to show each record [records], so that data sets are seen by their weights; they add up to 1.

    The records of one data set share its weight evenly.

    Args:
        datasets: which records belong to each, bool [records].
        weights: of the data sets, above 0.

    Raises:
        ConfigError: if a data set has no record.
    """
    for number, members in enumerate(datasets):
        if not members.any():
            raise ConfigError(
                f"sample_from_datasets_weights: there is no record in input_path {number + 1} of those with a weight; "
                "remove it and its weight."
            )
    shown = sum(weight * members / members.sum() for members, weight in zip(datasets, weights, strict=True))
    probabilities: npt.NDArray[np.float64] = shown / np.sum(shown)
    return probabilities


def balanced_probabilities(
    classes: Sequence[npt.NDArray[np.integer[Any]]], exponent: float
) -> npt.NDArray[np.float64]:
    """Return how often to show each record [records], so that rare classes are seen more often; they add up to 1.

    A record counts by its rarest class: the fraction of records that have it, to the power of `-exponent`. Records
    without objects count as those of the most frequent class do. The idea is that of Gupta et al. 2019 (LVIS,
    arXiv:1908.03195), section 5.2, without its threshold.

    Args:
        classes: of the objects of each record.
        exponent: 0 for each record once, 1 for each class equally often.

    Raises:
        ConfigError: if the exponent is not in [0, 1].
    """
    if not 0 <= exponent <= 1:
        raise ConfigError(f"boxtune.class_balance is {exponent:g}; it must be in [0, 1].")
    present = [np.unique(one) for one in classes]
    having = np.bincount(np.concatenate([np.zeros(0, np.int64), *present]))
    having = np.maximum(having, 1)
    most = having.max(initial=1)
    rarest = np.array([having[one].min(initial=most) for one in present], np.float64)
    counts = rarest**-exponent
    probabilities: npt.NDArray[np.float64] = counts / counts.sum()
    return probabilities
