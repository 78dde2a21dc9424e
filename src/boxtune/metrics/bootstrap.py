"""How much the numbers would differ on other images of the same kind: the bootstrap.

Images are drawn with replacement, as many as there are, and measured; a thousand times. Source: Efron 1979
("Bootstrap methods: another look at the jackknife"), with percentile intervals. Detections are matched once: an image
that is drawn twice counts twice, which gives the same numbers as having it there twice. Intervals of a few images are
too narrow: what was never seen is never drawn.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from boxtune.metrics.average_precision import Ranking
from boxtune.metrics.tables import Floats, Ints

CONFIDENCE = 0.95
MOST_RESAMPLES, FEWEST_RESAMPLES = 1000, 200
_DETECTIONS = 10**8  # in all resamples together


class Interval(NamedTuple):
    """The bounds between which a number lies."""

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Resampled:
    """The numbers of each of r resamples, NaN where a resample has no object for them.

    Attributes:
        AP: float [r, c] of each class.
        AP50: float [r, c].
    """

    AP: Floats
    AP50: Floats

    @property
    def mean_AP(self) -> Floats:
        """Float [r]: COCO's mAP."""
        return _row_means(self.AP)

    @property
    def mean_AP50(self) -> Floats:
        """Float [r]: COCO's AP50."""
        return _row_means(self.AP50)


def num_resamples(num_detections: int) -> int:
    """Return how many resamples are worth their time: a thousand, from 100,000 detections on fewer, 200 at least."""
    return int(np.clip(_DETECTIONS // max(num_detections, 1), FEWEST_RESAMPLES, MOST_RESAMPLES))


def resamples(num_images: int, number: int, seed: int) -> Iterator[Ints]:
    """Yield `number` times int [images]: how often each image is drawn."""
    generator = np.random.default_rng(seed)
    for _ in range(number):
        yield np.bincount(generator.integers(0, num_images, num_images), minlength=num_images)


def resampled(ranking: Ranking, num_images: int, number: int, seed: int) -> Resampled:
    """Return the numbers of `number` resamples of images; of equal `seed` the same images.

    `ranking` is COCO's at its ten thresholds, the first of which is 0.5.
    """
    precisions = np.full((2, number if num_images else 0, ranking.shape[1]), np.nan)
    for row, weights in enumerate(resamples(num_images, precisions.shape[1], seed)):
        precision = ranking.average_precision(weights)
        precisions[:, row] = precision.mean(axis=0), precision[0]
    return Resampled(*precisions)


def interval(values: Floats) -> Interval | None:
    """Return the interval of CONFIDENCE of resampled `values` [r], leaving out NaN; None where nothing is left."""
    known = values[~np.isnan(values)]
    if not known.size:
        return None
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high))


def num_images_with_objects(ranking: Ranking) -> Ints:
    """Return int [c]: in how many images there are objects of each class."""
    size = max(ranking.shape[1], 1)
    cells = np.unique(ranking.object_image * size + ranking.object_class)
    return np.bincount(cells % size, minlength=ranking.shape[1])


def _row_means(values: Floats) -> Floats:
    known = ~np.isnan(values)
    counts = known.sum(axis=1)
    return np.where(counts > 0, np.where(known, values, 0).sum(axis=1) / np.maximum(counts, 1), np.nan)
