"""How far a score is the probability that a detection is right."""

from dataclasses import dataclass

import numpy as np

from boxtune.metrics.matching import IGNORED, RIGHT, SCORE_DIGITS
from boxtune.metrics.tables import Floats, Ints

NUM_BINS = 10


@dataclass(frozen=True)
class Bin:
    """The detections with scores in [low, high), of the last bin in [low, high]; None where there are none.

    `precision` is the fraction of them that is right: of a calibrated detector it is their `mean_score`.
    """

    low: float
    high: float
    count: int
    mean_score: float | None
    precision: float | None


@dataclass(frozen=True)
class Calibration:
    """How scores and the fraction that is right agree.

    `error` in [0, 1] is the mean difference between the two, weighted by detections: the expected calibration error. It
    is None, and there are no bins, where there are no detections or their scores are not all in [0, 1].
    """

    error: float | None
    bins: list[Bin]


def calibration(score: Floats, outcome: Ints, num_bins: int = NUM_BINS) -> Calibration:
    """Compare the `score` [k] of detections with their `outcome` (int8 [k]); ignored ones do not count.

    Source: Guo et al. 2017 (arXiv:1706.04599), equation 3, with bins of equal width.
    """
    counts = outcome != IGNORED
    score, right = score[counts].astype(np.float64), outcome[counts] == RIGHT
    if not len(score) or score.min() < 0 or score.max() > 1:
        return Calibration(None, [])
    edges = np.arange(num_bins + 1) / num_bins
    number = np.searchsorted(edges, np.round(score, SCORE_DIGITS), side="right") - 1
    number = np.minimum(number, num_bins - 1)
    sums = [np.bincount(number, values, minlength=num_bins) for values in (np.ones(len(score)), score, right)]
    bins = [
        Bin(float(low), float(high), int(count), *(float(part / count) if count else None for part in parts))
        for low, high, count, *parts in zip(edges[:-1], edges[1:], *sums, strict=True)
    ]
    return Calibration(float(np.abs(sums[1] - sums[2]).sum() / len(score)), bins)
