"""Average precision as COCO has it, for any weights of pictures; precision and recall at each score.

Source: Lin et al. 2014 (arXiv:1405.0312) and its evaluation code. Precision is the mean, over 101 recalls, of the best
precision at that recall or a higher one. Both change for the better at right detections only, so these alone are looked
at; and a picture that is drawn twice counts as a weight of two. That makes a thousand resamples cheap.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from boxtune.metrics.matches import (
    COCO_MAX_DETECTIONS,
    IGNORED,
    RIGHT,
    Bools,
    Floats,
    Ints,
    Pool,
)

RECALLS = np.linspace(0, 1, 101)
_NEXT_RECALLS = np.append(RECALLS[1:], np.inf)


@dataclass(frozen=True, eq=False)
class Ranking:
    """Detections by class and falling score, with what came of them at t thresholds, ready for weights of pictures.

    A segment is a class at a threshold; s = t * c of them, threshold by threshold.

    Attributes:
        shape: (t, c).
        object_image, object_class: int [n], of the objects that are wanted.
        image: int [k], the picture of each detection, by class and falling score.
        hit: int [h], where in `image` right detections are, segment by segment.
        hit_segment: int [h].
        start: int [s], where in `image` the segment begins.
        hit_start: int [s], where in `hit` the segment begins.
        ignored_image: int [g], the picture of each ignored detection, segment by segment.
        ignored_before: int [h], how many of these come before the right detection.
        ignored_start: int [s], where in `ignored_image` the segment begins.
    """

    shape: tuple[int, int]
    object_image: Ints
    object_class: Ints
    image: Ints
    hit: Ints
    hit_segment: Ints
    start: Ints
    hit_start: Ints
    ignored_image: Ints
    ignored_before: Ints
    ignored_start: Ints

    @cached_property
    def hit_image(self) -> Ints:
        """Int [h], the picture of each right detection."""
        return self.image[self.hit]

    def num_objects(self, weights: Ints) -> Ints:
        """Return int [c]: how many objects are wanted."""
        counts = np.bincount(self.object_class, weights[self.object_image], minlength=self.shape[1])
        return counts.astype(np.int64)

    def recall(self, weights: Ints) -> Floats:
        """Return float [t, c] in [0, 1]: the share of objects that is found at any score, NaN of classes without."""
        right = np.bincount(self.hit_segment, weights[self.hit_image], minlength=np.prod(self.shape))
        return _or_nan(right.reshape(self.shape), self.num_objects(weights))

    def average_precision(self, weights: Ints) -> Floats:
        """Return float [t, c] in [0, 1]: COCO's average precision, NaN of classes without objects.

        `weights` (int [images], 0 or more) says how often each picture counts.
        """
        objects = self.num_objects(weights)
        right, counted = self._sums(weights)
        best = _best_to_come(right / np.maximum(counted, 1), self.hit_segment)
        wanted = np.tile(np.maximum(objects, 1), self.shape[0])[self.hit_segment]
        reached = _recalls_reached(right, wanted)
        new = np.diff(reached, prepend=0)
        heads = self.hit_start[self.hit_start < len(self.hit)]
        new[heads] = reached[heads]
        sums = np.bincount(self.hit_segment, best * new, minlength=np.prod(self.shape))
        return np.where(objects > 0, sums.reshape(self.shape) / len(RECALLS), np.nan)

    def _sums(self, weights: Ints) -> tuple[Ints, Ints]:
        """Return int [h] twice: how many detections are right, and how many count, up to each right one."""
        right = _sums_before(weights[self.hit_image])
        counted = _sums_before(weights[self.image])
        ignored = _sums_before(weights[self.ignored_image])
        before = counted[self.start] - ignored[self.ignored_start]
        return (
            right[1:] - right[self.hit_start][self.hit_segment],
            counted[1:][self.hit] - ignored[self.ignored_before] - before[self.hit_segment],
        )


def rank(
    shape: tuple[int, int], image: Ints, cls: Ints, outcome: Ints, object_image: Ints, object_class: Ints
) -> Ranking:
    """Return the ranking of k detections, which come by class and falling score.

    Args:
        shape: (t, c), how many thresholds and classes.
        image: int [k].
        cls: int [k] in [0, c), ascending.
        outcome: int8 [t, k], WRONG, RIGHT or IGNORED at each threshold.
        object_image: int [n], of the objects that are wanted.
        object_class: int [n].
    """
    starts = np.searchsorted(cls, np.arange(shape[1]))
    row, hit = np.nonzero(outcome == RIGHT)
    ignored_row, ignored = np.nonzero(outcome == IGNORED)
    flat_hit, flat_ignored = row * len(cls) + hit, ignored_row * len(cls) + ignored
    flat_start = (np.arange(shape[0])[:, None] * len(cls) + starts).ravel()
    return Ranking(
        shape=shape,
        object_image=object_image,
        object_class=object_class,
        image=image,
        hit=hit,
        hit_segment=row * shape[1] + cls[hit],
        start=np.tile(starts, shape[0]),
        hit_start=np.searchsorted(flat_hit, flat_start),
        ignored_image=image[ignored],
        ignored_before=np.searchsorted(flat_ignored, flat_hit),
        ignored_start=np.searchsorted(flat_ignored, flat_start),
    )


def coco_ranking(pool: Pool, outcome: Ints, ignored: Bools) -> Ranking:
    """Return the ranking of `pool` by COCO's rules, for the `outcome` (int8 [t, k]) of its detections.

    The first hundred detections of a class in a picture count; objects that are not `ignored` (bool [n]) are wanted.
    """
    order = pool.by_class[pool.rank[pool.by_class] < COCO_MAX_DETECTIONS]
    return rank(
        (len(outcome), pool.num_classes),
        pool.found.image[order],
        pool.found.cls[order],
        outcome[:, order],
        pool.truth.image[~ignored],
        pool.truth.cls[~ignored],
    )


def mean(values: Floats) -> float | None:
    """Return the mean of the values that are numbers, None where none is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None


def _sums_before(values: Ints) -> Ints:
    """Return int [n + 1]: the sum of the values before each, and of all."""
    sums = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=sums[1:])
    return sums


def _or_nan(values: np.ndarray, divisor: Ints) -> Floats:
    return np.where(divisor > 0, values / np.maximum(divisor, 1), np.nan)


def _best_to_come(precision: Floats, segment: Ints) -> Floats:
    """Return float [h]: the highest precision from here to the end of the segment."""
    # Every segment lies above those after it: what comes after it is never the highest.
    floor = 2.0 * (segment[-1:].sum() - segment)
    return np.maximum.accumulate((precision + floor)[::-1])[::-1] - floor


def _recalls_reached(right: Ints, objects: Ints) -> Ints:
    """Return int [h]: how many of RECALLS are at most right / objects, compared as floats as COCO does; 0 of none."""
    recall = right / objects
    below = (recall * (len(RECALLS) - 1)).astype(np.int64)
    reached = below + 1 + (_NEXT_RECALLS[below] <= recall) - (RECALLS[below] > recall)
    return np.where(right > 0, reached, 0)


@dataclass(frozen=True, eq=False)
class Curve:
    """Precision and recall of a class with each score as threshold, falling; what is scored so or better counts.

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

    def __getitem__(self, chosen: Ints) -> "Curve":
        return Curve(self.score[chosen], self.precision[chosen], self.recall[chosen])


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


def curves(pool: Pool, outcome: Ints, ignored: Bools) -> list[Curve]:
    """Return the curve of each class for the `outcome` (int8 [k]) of detections; objects not `ignored` are wanted."""
    counts = outcome != IGNORED
    order = np.flatnonzero(counts)[np.argsort(pool.found.cls[counts], kind="stable")]
    bounds = np.searchsorted(pool.found.cls[order], np.arange(1, pool.num_classes))
    wanted = np.bincount(pool.truth.cls[~ignored], minlength=pool.num_classes)
    return [
        curve(pool.found.score[part], outcome[part] == RIGHT, int(number))
        for part, number in zip(np.split(order, bounds), wanted, strict=True)
    ]


@dataclass(frozen=True)
class Threshold:
    """What a threshold of scores trades: precision and recall of what is scored so or better."""

    score: float
    precision: float
    recall: float
    f1: float


def best_threshold(curve: Curve) -> Threshold | None:
    """Return the threshold of the highest F1, of equals the highest threshold; None where nothing right is found."""
    f1 = curve.f1
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
