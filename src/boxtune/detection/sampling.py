"""Random sampling of the anchors that a loss counts, so that the many negatives do not outweigh the rest."""

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops


def balanced_sample(candidates, positives, priorities, positive_fraction):
    """Return bool [b, a]: the sample of each image, all its positives and negatives in proportion.

    Args:
        candidates: bool [b, a]; only these are sampled.
        positives: bool [b, a]; other candidates are negatives.
        priorities: float [b, a]; the lowest negatives come first, so random numbers sample at random.
        positive_fraction: of the sample, in (0, 1].

    Source: the API's core.balanced_positive_negative_sampler.
    """
    positives = candidates & positives
    num_positives = ops.cast(ops.sum(ops.cast(positives, "int32"), axis=1), "float32")
    ratio = (1 - positive_fraction) / positive_fraction
    num_negatives = ops.cast(ratio * num_positives, "int32")
    negatives = candidates & ~positives
    order = ops.argsort(ops.where(negatives, ops.cast(priorities, "float32"), float("inf")), axis=1)
    ranks = ops.cast(ops.argsort(order, axis=1), "int32")
    return positives | (negatives & (ranks < num_negatives[:, None]))


@dataclass(frozen=True)
class RandomExampleSampler:
    """Keeps all positives of an image, and a random part of its negatives.

    Its random numbers depend only on the state of `seeds`, a variable that is part of checkpoints.
    """

    seeds: keras.random.SeedGenerator
    positive_fraction: float = 0.01

    def __call__(self, class_weights, matches) -> Any:
        """Return bool [b, a]: the anchors that count, among those with a weight.

        Args:
            class_weights: float [b, a], of the classification loss.
            matches: int32 [b, a]: an object's index, UNMATCHED or IGNORED.
        """
        random = keras.random.uniform(ops.shape(class_weights), seed=self.seeds)
        return balanced_sample(class_weights != 0, matches >= 0, random, self.positive_fraction)
