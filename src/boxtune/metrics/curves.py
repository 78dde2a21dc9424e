"""Precision and recall of a class at each score, and the threshold of scores that balances them best."""

from dataclasses import dataclass

import numpy as np

from boxtune.metrics.matching import IGNORED, RIGHT
from boxtune.metrics.tables import Bools, Floats, Ints, Table


@dataclass(frozen=True, eq=False)
class Curve:
    """Precision and recall of a class with each score as threshold, descending; what is scored so or better counts.

    Detections of equal score come in or stay out together.

    Attributes:
        score, precision, recall: float [m].
    """

    score: Floats
    precision: Floats
    recall: Floats

    @property
    def f1(self) -> Floats:
        """The harmonic mean of precision and recall, 0 where both are."""
        both = self.precision + self.recall
        return np.divide(2 * self.precision * self.recall, both, out=np.zeros_like(both), where=both > 0)

    def __getitem__(self, rows: Ints) -> "Curve":
        return Curve(self.score[rows], self.precision[rows], self.recall[rows])


def curve(score: Floats, right: Bools, num_objects: int) -> Curve:
    """Return the curve of the detections of a class with `score` [k], of which some are `right` (bool [k]).

    Without objects there is no recall: the curve is empty.
    """
    if not num_objects:
        return Curve(np.zeros(0), np.zeros(0), np.zeros(0))
    order = np.argsort(-score, kind="stable")
    score, hits = score[order], np.cumsum(right[order])
    last = np.flatnonzero(np.append(np.diff(score) != 0, True)[: len(score)])
    return Curve(score[last], hits[last] / (last + 1), hits[last] / num_objects)


def curves(table: Table, outcome: Ints, ignored: Bools) -> list[Curve]:
    """Return the curve of each class for the `outcome` (int8 [k]) of detections; of objects not `ignored`."""
    counts = outcome != IGNORED
    order = np.flatnonzero(counts)[np.argsort(table.detections.cls[counts], kind="stable")]
    bounds = np.searchsorted(table.detections.cls[order], np.arange(1, table.num_classes))
    return [
        curve(table.detections.score[part], outcome[part] == RIGHT, int(number))
        for part, number in zip(np.split(order, bounds), table.num_objects(ignored), strict=True)
    ]


@dataclass(frozen=True)
class Threshold:
    """What a threshold of scores trades: precision and recall of what is scored so or better."""

    score: float
    precision: float
    recall: float
    f1: float


def best_threshold(curve: Curve, min_precision: float = 0.0) -> Threshold | None:
    """Return the threshold of the highest F1 with a precision of at least `min_precision`; of equals the highest one.

    None where nothing right is found so.
    """
    f1 = np.where(curve.precision >= min_precision, curve.f1, 0.0)
    if not f1.any():
        return None
    best = int(np.argmax(f1))
    return Threshold(
        float(curve.score[best]), float(curve.precision[best]), float(curve.recall[best]), float(f1[best])
    )


def thinned(curve: Curve, limit: int = 200) -> Curve:
    """Return `limit` points of `curve` at most: first, last and best, the others at even steps of score and recall."""
    if len(curve.score) <= limit:
        return curve
    way = curve.score[0] - curve.score + curve.recall
    even = np.searchsorted(way, np.linspace(way[0], way[-1], limit - 2))
    ends = [0, len(way) - 1, int(np.argmax(curve.f1))]
    return curve[np.unique(np.append(np.minimum(even, len(way) - 1), ends))]
