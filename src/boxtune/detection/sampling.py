"""Which anchors or proposals a loss is about: a random few, so that the many negatives do not drown the rest."""

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops


def balanced_sample(candidates, positives, priorities, positive_fraction, batch_size=None):
    """Return bool [b, a]: the sample of each image, of positives and negatives in a given proportion.

    Args:
        candidates: bool [b, a]; nothing else is sampled.
        positives: bool [b, a]; a candidate that is none is a negative.
        priorities: float [b, a]; of either kind the lowest come first, so random numbers draw at random.
        positive_fraction: how much of a sample may be positive, in (0, 1].
        batch_size: how many an image has; negatives fill it up where positives are too few. With None, all positives
            are sampled, and with each the negatives that belong to it by `positive_fraction`.

    Source: the API's core.balanced_positive_negative_sampler.
    """
    positives = candidates & positives
    negatives = candidates & ~positives
    if batch_size is None:
        sampled = positives
        ratio = (1 - positive_fraction) / positive_fraction
        num_negatives = ops.cast(ratio * ops.cast(_count(sampled), "float32"), "int32")
    else:
        sampled = _first(
            positives, priorities, ops.full_like(_count(positives), int(positive_fraction * batch_size))
        )
        num_negatives = batch_size - _count(sampled)
    return sampled | _first(negatives, priorities, num_negatives)


def _count(flags):
    return ops.sum(ops.cast(flags, "int32"), axis=1)


def _first(flags, priorities, counts):
    """Return those `flags` [b, a] whose priorities are the `counts` [b] lowest of each row."""
    order = ops.argsort(ops.where(flags, ops.cast(priorities, "float32"), float("inf")), axis=1)
    ranks = ops.cast(ops.argsort(order, axis=1), "int32")
    return flags & (ranks < counts[:, None])


@dataclass(frozen=True)
class RandomExampleSampler:
    """Keeps all positives of an image, and a random part of its negatives.

    What it draws depends on the state of `seeds` alone, a variable that a checkpoint can hold.
    """

    seeds: keras.random.SeedGenerator
    positive_fraction: float = 0.01

    def __call__(self, class_weights, matches) -> Any:
        """Return bool [b, a]: the anchors that count, of those with a weight.

        Args:
            class_weights: float [b, a], of the classification loss.
            matches: int32 [b, a]: an object's index, UNMATCHED or IGNORED.
        """
        drawn = keras.random.uniform(ops.shape(class_weights), seed=self.seeds)
        return balanced_sample(class_weights != 0, matches >= 0, drawn, self.positive_fraction)
