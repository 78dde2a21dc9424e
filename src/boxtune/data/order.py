"""In which order records are shown: a function of a position in the endless stream of examples, and of the seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from boxtune.errors import ConfigError


class Purpose(IntEnum):
    """What a random number is for."""

    ORDER = 0
    AUGMENTATION = 1
    MIXING = 2


def seed_for(run_seed: int, purpose: Purpose, *parts: Any) -> Any:
    """Return a seed [2] that is another one for every run, purpose and part."""
    seed = tf.constant([run_seed, purpose], tf.int32)
    for part in parts:
        seed = tf.random.experimental.stateless_fold_in(seed, part)
    return seed


@dataclass(frozen=True)
class Order:
    """Which record stands at which position.

    Every `count` positions are an epoch. In each, every record is shown once, or by its share of `shares`: that many
    times, rounded up or down.
    """

    count: int  # of the records
    seed: int  # of the run
    shuffle: bool = True
    shares: npt.NDArray[np.float64] | None = None  # [count], adding up to 1

    def number(self, position: Any) -> Any:
        """Return the number (int64) of the record at `position` (int64)."""
        epoch, place = position // self.count, position % self.count
        seed = seed_for(self.seed, Purpose.ORDER, epoch)
        if self.shuffle:
            place = _shuffled(place, self.count, seed)
        if self.shares is None:
            return place
        # As many points as records, all as far apart: every share has as many as fit into it, or one more.
        offset = tf.random.stateless_uniform([], seed, dtype=tf.float64)
        return _at(self.shares, (tf.cast(place, tf.float64) + offset) / self.count)

    def draw(self, seed: Any) -> Any:
        """Return the number (int64) of any record, by its share."""
        if self.shares is None:
            return tf.random.stateless_uniform([], seed, 0, self.count, tf.int64)
        return _at(self.shares, tf.random.stateless_uniform([], seed, dtype=tf.float64))


def _at(shares: npt.NDArray[np.float64], point: Any) -> Any:
    """Return the number in whose share, where all lie in a row, a point in [0, 1) falls."""
    ends = tf.constant(np.cumsum(shares), tf.float64)
    found = tf.searchsorted(ends, point[None], side="right", out_type=tf.int64)[0]
    return tf.minimum(found, len(shares) - 1)


def _shuffled(place: Any, count: int, seed: Any) -> Any:
    """Return which of `count` records stands at `place` (int64) of the order that `seed` draws."""
    if count == 1:
        return place
    return tf.random.experimental.index_shuffle(place, seed, tf.constant(count - 1, tf.int64))


def weighted_shares(
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
    shares: npt.NDArray[np.float64] = shown / np.sum(shown)
    return shares


def balanced_shares(
    classes: Sequence[npt.NDArray[np.integer[Any]]], exponent: float
) -> npt.NDArray[np.float64]:
    """Return how often to show each record [records], so that rare classes are seen more often; they add up to 1.

    A record counts by its rarest class: the share of records that have it, to the power of `-exponent`. Records
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
    shares: npt.NDArray[np.float64] = counts / counts.sum()
    return shares
