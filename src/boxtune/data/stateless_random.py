"""Stateless random numbers: each is a function of its seed, whatever else is going on."""

from enum import IntEnum
from typing import Any

import tensorflow as tf


class Purpose(IntEnum):
    """The purpose of a random number."""

    ORDER = 0
    AUGMENTATION = 1
    MIXING = 2


def seed_for(run_seed: int, purpose: Purpose, *parts: Any) -> Any:
    """Return a seed [2] that is another one for every run, purpose and part."""
    seed = tf.constant([run_seed, purpose], tf.int32)
    for part in parts:
        seed = tf.random.experimental.stateless_fold_in(seed, part)
    return seed


def split(seed: Any, count: int) -> list[Any]:
    """Return `count` seeds int32 [2] that a seed stands for, independent of each other."""
    return tf.unstack(tf.random.split(seed, count))


def fold(seed: Any, number: Any) -> Any:
    """Return the seed int32 [2] that `seed` stands for where things are numbered."""
    return tf.random.experimental.stateless_fold_in(seed, number)


def chance(seed: Any, probability: float) -> Any:
    """Return true (bool []) with a probability in [0, 1]."""
    return tf.random.stateless_uniform([], seed) < probability


def uniform(seed: Any, low: Any = 0.0, high: Any = 1.0, shape: Any = ()) -> Any:
    """Return float32 numbers in [`low`, `high`)."""
    return tf.random.stateless_uniform(shape, seed, low, high)


def integer(seed: Any, low: Any, high: Any) -> Any:
    """Return an int32 in [`low`, `high`), or `low` where nothing lies between them."""
    low, high = tf.cast(low, tf.int32), tf.cast(high, tf.int32)
    return tf.random.stateless_uniform([], seed, low, tf.maximum(high, low + 1), tf.int32)


def sign(seed: Any) -> Any:
    """Return 1 or -1 (float32 [])."""
    return tf.where(chance(seed, 0.5), 1.0, -1.0)
