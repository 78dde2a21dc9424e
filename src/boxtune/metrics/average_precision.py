"""Average precision as COCO has it, for any weights of images.

Source: Lin et al. 2014 (arXiv:1405.0312) and its evaluation code. Precision is the mean, over 101 recalls, of the best
precision at that recall or a higher one. Both change for the better at right detections only, so these alone are
looked at; and an image that is drawn twice counts as a weight of two. That makes a thousand resamples cheap.
"""

from dataclasses import dataclass

import numpy as np

from boxtune.metrics.matching import IGNORED, RIGHT
from boxtune.metrics.tables import Bools, Floats, Ints, Table

COCO_MAX_DETECTIONS = 100
"""COCO looks at so many detections of each class in an image, the best scored."""

RECALLS = np.linspace(0, 1, 101)
_NEXT_RECALLS = np.append(RECALLS[1:], np.inf)


@dataclass(frozen=True, eq=False)
class Ranking:
    """Detections by class and descending score, with what came of them at t thresholds, ready for weights of images.

    A segment is a class at a threshold; s = t * c of them, threshold by threshold. Weights (int [images], 0 or more)
    say how often each image counts; without them each counts once.

    Attributes:
        shape: (t, c).
        object_image, object_class: int [n], of the objects that count.
        image: int [k], the image of each detection, by class and descending score.
        hit: int [h], where in `image` right detections are, segment by segment.
        hit_image: int [h].
        hit_segment: int [h].
        start: int [s], where in `image` the segment starts.
        hit_start: int [s], where in `hit` the segment starts.
        ignored_image: int [g], the image of each ignored detection, segment by segment.
        ignored_before: int [h], how many of these come before the right detection.
        ignored_start: int [s], where in `ignored_image` the segment starts.
    """

    shape: tuple[int, int]
    object_image: Ints
    object_class: Ints
    image: Ints
    hit: Ints
    hit_image: Ints
    hit_segment: Ints
    start: Ints
    hit_start: Ints
    ignored_image: Ints
    ignored_before: Ints
    ignored_start: Ints

    def num_objects(self, weights: Ints | None = None) -> Ints:
        """Return int [c]: how many objects count."""
        counts = np.bincount(self.object_class, _each(self.object_image, weights), minlength=self.shape[1])
        return counts.astype(np.int64)

    def num_found(self, weights: Ints | None = None) -> int:
        """Return how many objects are found, at all thresholds together."""
        return int(_each(self.hit_image, weights).sum())

    def average_precision(self, weights: Ints | None = None) -> Floats:
        """Return float [t, c] in [0, 1]: COCO's average precision, NaN of classes without objects."""
        objects = self.num_objects(weights)
        right, counted = self._sums(weights)
        best = _best_to_come(right / np.maximum(counted, 1), self.hit_segment)
        objects_of_hit = np.tile(np.maximum(objects, 1), self.shape[0])[self.hit_segment]
        reached = _recalls_reached(right, objects_of_hit)
        new = np.diff(reached, prepend=0)
        starts = self.hit_start[self.hit_start < len(self.hit)]
        new[starts] = reached[starts]
        at_recalls = np.zeros((np.prod(self.shape), len(RECALLS)))
        cells = np.repeat(self.hit_segment * len(RECALLS) + reached - np.cumsum(new), new)
        at_recalls.ravel()[cells + np.arange(len(cells))] = np.repeat(best, new)
        return np.where(objects > 0, at_recalls.mean(axis=1).reshape(self.shape), np.nan)

    def _sums(self, weights: Ints | None) -> tuple[Ints, Ints]:
        """Return int [h] twice: how many detections are right, and how many count, up to each right one."""
        right = _sums_before(_each(self.hit_image, weights))
        counted = _sums_before(_each(self.image, weights))
        ignored = _sums_before(_each(self.ignored_image, weights))
        before = counted[self.start] - ignored[self.ignored_start]
        return (
            right[1:] - right[self.hit_start][self.hit_segment],
            counted[1:][self.hit] - ignored[self.ignored_before] - before[self.hit_segment],
        )


def rank(
    shape: tuple[int, int], image: Ints, cls: Ints, outcome: Ints, object_image: Ints, object_class: Ints
) -> Ranking:
    """Return the ranking of k detections, which come by class and descending score.

    Args:
        shape: (t, c), how many thresholds and classes.
        image: int [k].
        cls: int [k] in [0, c), ascending.
        outcome: int8 [t, k], WRONG, RIGHT or IGNORED at each threshold.
        object_image: int [n], of the objects that count.
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
        hit_image=image[hit],
        hit_segment=row * shape[1] + cls[hit],
        start=np.tile(starts, shape[0]),
        hit_start=np.searchsorted(flat_hit, flat_start),
        ignored_image=image[ignored],
        ignored_before=np.searchsorted(flat_ignored, flat_hit),
        ignored_start=np.searchsorted(flat_ignored, flat_start),
    )


def coco_ranking(
    table: Table, outcome: Ints, ignored: Bools, max_detections: int = COCO_MAX_DETECTIONS
) -> Ranking:
    """Return the ranking of `table` by COCO's rules, for the `outcome` (int8 [t, k]) of its detections.

    The best scored detections of a class in an image count; objects that are not `ignored` (bool [n]) count.
    """
    order = table.by_class[table.rank[table.by_class] < max_detections]
    return rank(
        (len(outcome), table.num_classes),
        table.detections.image[order],
        table.detections.cls[order],
        outcome[:, order],
        table.groundtruth.image[~ignored],
        table.groundtruth.cls[~ignored],
    )


def coco_recall(
    table: Table, outcome: Ints, ignored: Bools, max_detections: int = COCO_MAX_DETECTIONS
) -> Floats:
    """Return float [t, c] in [0, 1]: the fraction of objects that is found at any score, NaN of classes without."""
    right = (outcome == RIGHT) & (table.rank < max_detections)
    counts = [np.bincount(table.detections.cls[row], minlength=table.num_classes) for row in right]
    objects = table.num_objects(ignored)
    return np.where(objects > 0, np.array(counts) / np.maximum(objects, 1), np.nan)


def mean(values: Floats) -> float | None:
    """Return the mean of the values that are not NaN, None where all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None


def _each(images: Ints, weights: Ints | None) -> Ints:
    return np.ones(len(images), np.int64) if weights is None else weights[images]


def _sums_before(values: Ints) -> Ints:
    """Return int [n + 1]: the sum of the values before each, and of all."""
    return np.concatenate([[0], np.cumsum(values)])


def _best_to_come(precision: Floats, segment: Ints) -> Floats:
    """Return float [h]: the highest precision from here to the end of the segment."""
    # Every segment lies above those after it: what comes after it is never the highest.
    raised = precision + 2.0 * (segment[-1:].sum() - segment)
    is_best = raised == np.maximum.accumulate(raised[::-1])[::-1]
    position = np.where(is_best, np.arange(len(raised)), len(raised))
    return precision[np.minimum.accumulate(position[::-1])[::-1]]


def _recalls_reached(right: Ints, objects: Ints) -> Ints:
    """Return int [h]: how many of RECALLS are at most right / objects, compared as floats as COCO does; 0 of none."""
    recall = right / objects
    below = (recall * (len(RECALLS) - 1)).astype(np.int64)
    reached = below + 1 + (_NEXT_RECALLS[below] <= recall) - (RECALLS[below] > recall)
    return np.where(right > 0, reached, 0)
