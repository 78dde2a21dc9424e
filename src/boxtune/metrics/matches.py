"""Which detection finds which object: overlaps of boxes and COCO's greedy matching, for all pictures at once.

Pictures are taken in the order of their names, so that nothing depends on the order in which they come, not even the
rank of equal scores. Truths that are `ignored` are neither wanted nor wrong: a detection matched to one does not count.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from boxtune.metrics.coco import THRESHOLDS
from boxtune.metrics.results import ImageResult, in_order
from boxtune.metrics.tables import box_areas, box_intersections

Ints = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MATCH_IOU = 0.5
"""From this overlap on a single detection is said to find an object."""

COCO_MAX_DETECTIONS = 100
"""COCO looks at so many detections of each class in a picture, the best scored."""

SCORE_DIGITS = 6
"""Of scores where people and pages read them; for ranks all digits count."""

WRONG, RIGHT, IGNORED = 0, 1, -1
"""What can come of a detection."""

_PAIRS_AT_ONCE = 2**19
_BELOW_ONE = 1 - 1e-10  # as in COCO's evaluation: equal boxes match at a threshold of 1


@dataclass(frozen=True, eq=False)
class Truth:
    """The n objects of all pictures, picture by picture, in the order of their records."""

    image: Ints  # [n]
    cls: Ints  # [n]
    box: Floats  # [n, 4] pixels
    area: Floats  # [n] square pixels, as annotated or else of the box
    crowd: Bools  # [n]
    difficult: Bools  # [n]

    @property
    def unwanted(self) -> Bools:
        """Bool [n]: crowds, and difficult objects as Pascal VOC has it. COCO's own numbers ignore crowds alone."""
        return self.crowd | self.difficult


@dataclass(frozen=True, eq=False)
class Found:
    """The k detections of all pictures, picture by picture, by falling score; equal scores as they came."""

    image: Ints  # [k]
    cls: Ints  # [k]
    box: Floats  # [k, 4] pixels
    score: Floats  # [k]


@dataclass(frozen=True, eq=False)
class Pool:
    """All pictures, by name, with their objects and detections, one after another."""

    images: tuple[ImageResult, ...]
    num_classes: int
    truth: Truth
    found: Found

    @cached_property
    def first_truth(self) -> Ints:
        """Int [images + 1]: where the objects of each picture begin, and where the last ones end."""
        return np.searchsorted(self.truth.image, np.arange(len(self.images) + 1))

    @cached_property
    def first_found(self) -> Ints:
        """Int [images + 1]: where the detections of each picture begin, and where the last ones end."""
        return np.searchsorted(self.found.image, np.arange(len(self.images) + 1))

    @cached_property
    def by_class(self) -> Ints:
        """Int [k]: the detections by class and falling score; those of equal scores in the order of their pictures."""
        return np.lexsort((-self.found.score, self.found.cls))

    @cached_property
    def rank(self) -> Ints:
        """Int [k]: how many detections of the same picture and class come before each."""
        return _count_before(self.found.image * self.num_classes + self.found.cls)


def pool(results: Sequence[ImageResult], num_classes: int) -> Pool:
    """Return all of `results`, which `results.check_results` has passed, in one."""
    images = tuple(in_order(results))
    best = [np.argsort(-result.scores, kind="stable") for result in images]
    return Pool(images, num_classes, _truth(images), _found(images, best))


def _truth(images: Sequence[ImageResult]) -> Truth:
    box = _joined([result.true_boxes for result in images], np.float64).reshape(-1, 4)
    annotated = _joined([result.true_areas for result in images], np.float64)
    return Truth(
        image=_numbers([len(result.true_classes) for result in images]),
        cls=_joined([result.true_classes for result in images], np.int64),
        box=box,
        area=np.where(annotated > 0, annotated, box_areas(box)),
        crowd=_joined([result.is_crowd for result in images], bool),
        difficult=_joined([result.difficult for result in images], bool),
    )


def _found(images: Sequence[ImageResult], best: Sequence[Ints]) -> Found:
    """Return the detections of each picture in the order of its `best`."""
    both = list(zip(images, best, strict=True))
    return Found(
        image=_numbers([len(order) for order in best]),
        cls=_joined([result.classes[order] for result, order in both], np.int64),
        box=_joined([result.boxes[order] for result, order in both], np.float64).reshape(-1, 4),
        score=_joined([result.scores[order] for result, order in both], np.float64),
    )


def _numbers(counts: Sequence[int]) -> Ints:
    return np.repeat(np.arange(len(counts)), counts)


def _joined(parts: Sequence[np.ndarray], dtype: npt.DTypeLike) -> np.ndarray:
    return np.concatenate([*parts]).astype(dtype) if parts else np.zeros(0, dtype)


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Pairs of a detection and an object of its picture that overlap, of any two classes.

    In order of detection, falling overlap, and falling index of the object, which is COCO's order of choice.

    Attributes:
        detection: int [p], into the pool's detections.
        truth: int [p], into the pool's objects.
        iou: float [p] in [0, 1]; with a crowd the intersection over the detection's own area.
        best: float [k], the highest IoU of each detection with any object that is no crowd, 0 without one.
    """

    detection: Ints
    truth: Ints
    iou: Floats
    best: Floats


def overlaps(pool: Pool, floor: float = 0.1) -> Overlaps:
    """Return the pairs of `pool` that overlap by `floor` at least, in memory that depends on these pairs alone."""
    best = np.zeros(len(pool.found.cls))
    parts: list[tuple[Ints, Ints, Floats]] = []
    for detection, truth in _pairs(pool):
        crowd = pool.truth.crowd[truth]
        iou = ious(pool.found.box[detection], pool.truth.box[truth], crowd)
        heads = _heads(detection)
        best[detection[heads]] = np.maximum.reduceat(np.where(crowd, 0, iou), heads)
        near = iou >= floor
        parts.append((detection[near], truth[near], iou[near]))
    detection, truth, iou = (
        np.concatenate([part[i] for part in parts]) if parts else np.zeros(0, dtype)
        for i, dtype in enumerate((np.int64, np.int64, np.float64))
    )
    order = np.lexsort((-truth, -iou, detection))
    return Overlaps(detection[order], truth[order], iou[order], best)


def ious(boxes: Floats, others: Floats, crowd: Bools) -> Floats:
    """Return float [n]: the IoU of each of `boxes` [n, 4] with its own of `others` [n, 4], 0 of two boxes without area.

    Where the other is a `crowd` (bool [n]) it is the intersection over the area of the box, as COCO has it.
    """
    shared, area = box_intersections(boxes, others), box_areas(boxes)
    union = np.where(crowd, area, area + box_areas(others) - shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _pairs(pool: Pool) -> Iterator[tuple[Ints, Ints]]:
    """Yield all pairs of a detection and an object of its picture, some at a time, never part of a detection's."""
    first = pool.first_truth[pool.found.image]
    counts = np.diff(pool.first_truth)[pool.found.image]
    ends = np.cumsum(counts)
    begin = 0
    while begin < len(counts):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")))
        detection = np.repeat(np.arange(begin, end), counts[begin:end])
        within = np.arange(len(detection)) - np.repeat(
            ends[begin:end] - counts[begin:end] - done, counts[begin:end]
        )
        if len(detection):
            yield detection, first[detection] + within
        begin = end


def match(pool: Pool, overlaps: Overlaps, thresholds: Floats, ignored: Bools, reusable: Bools) -> Ints:
    """Return int [t, k]: the object that each detection finds at each of `thresholds` [t], -1 where none.

    COCO's rule (Lin et al. 2014, arXiv:1405.0312, and its evaluation code): detections choose in order of falling score
    among the objects of their picture and class that are still free and overlap by the threshold at least. A wanted
    object comes before an `ignored` one (bool [n]), then the highest overlap, then the later object. Objects that are
    `reusable` (bool [n]), as crowds are, stay free. What a detection finds does not depend on those scored lower.
    """
    same = pool.found.cls[overlaps.detection] == pool.truth.cls[overlaps.truth]
    eligible = np.flatnonzero(same & (overlaps.iou >= np.min(thresholds)))
    choice = ignored[overlaps.truth[eligible]].astype(np.int64)
    group = pool.found.image * pool.num_classes + pool.found.cls
    return _choose(pool, overlaps, eligible, choice, group, thresholds, reusable)


def pair(pool: Pool, overlaps: Overlaps, threshold: float, ignored: Bools) -> Ints:
    """Return int [k]: the object that each detection is paired with whatever its class, -1 where none.

    In order of falling score each detection takes, of the objects of its picture that are still free and overlap by
    `threshold` at least: a wanted one of its own class; else a wanted one of another class; else an `ignored` one
    (bool [n]) of its own class, which stays free for others. Among equals the highest overlap counts, then the later
    object. So an object of another class is a confusion only where there was no object of its own to be found.
    """
    other = pool.found.cls[overlaps.detection] != pool.truth.cls[overlaps.truth]
    passed = ignored[overlaps.truth]
    eligible = np.flatnonzero((overlaps.iou >= threshold) & ~(other & passed))
    choice = (other + 2 * passed)[eligible]
    return _choose(pool, overlaps, eligible, choice, pool.found.image, np.array([threshold]), ignored)[0]


def coco_outcomes(pool: Pool, overlaps: Overlaps) -> Ints:
    """Return int8 [10, k]: what comes of each detection at COCO's thresholds, where crowds alone are ignored."""
    crowd = pool.truth.crowd
    return outcomes(match(pool, overlaps, THRESHOLDS, crowd, crowd), crowd)


def match_wanted(pool: Pool, overlaps: Overlaps) -> Ints:
    """Return int [k]: the object that each detection finds at MATCH_IOU, where all that is unwanted is ignored."""
    unwanted = pool.truth.unwanted
    return match(pool, overlaps, np.array([MATCH_IOU]), unwanted, unwanted)[0]


def reaches(score: Floats, threshold: float) -> Bools:
    """Return bool [k]: the score is `threshold` or better, read to six digits: 0.9 as float32 is 0.9."""
    return np.round(score, SCORE_DIGITS) >= threshold


def outcomes(matched: Ints, ignored: Bools) -> Ints:
    """Return int8 of WRONG, RIGHT and IGNORED, one for each object that detections have `matched` (int, any shape)."""
    passed = np.append(ignored, False)[matched]  # -1 takes the last
    return np.where(matched < 0, WRONG, np.where(passed, IGNORED, RIGHT)).astype(np.int8)


def _choose(
    pool: Pool,
    overlaps: Overlaps,
    eligible: Ints,
    choice: Ints,
    group: Ints,
    thresholds: Floats,
    reusable: Bools,
) -> Ints:
    """Let detections choose among `eligible` pairs, the lowest `choice` first; those of other groups do not meet.

    In the n-th round the n-th detection of every group chooses: all groups at once.
    """
    chosen = np.full((len(thresholds), len(pool.found.cls)), -1, np.int32)
    taken = np.zeros((len(thresholds), len(pool.truth.cls)), bool)
    thresholds = np.minimum(thresholds, _BELOW_ONE)
    eligible = eligible[np.argsort(overlaps.detection[eligible] * 3 + choice, kind="stable")]
    for turn in _rounds(overlaps.detection[eligible], group):
        pairs = eligible[turn]
        detection, truth = overlaps.detection[pairs], overlaps.truth[pairs]
        free = (overlaps.iou[pairs] >= thresholds[:, None]) & ~taken[:, truth]
        first = np.minimum.reduceat(
            np.where(free, np.arange(len(pairs)), len(pairs)), _heads(detection), axis=1
        )
        row, column = np.nonzero(first < len(pairs))
        best = first[row, column]
        chosen[row, detection[best]] = truth[best]
        taken[row, truth[best]] = ~reusable[truth[best]]
    return chosen


def _rounds(detection: Ints, group: Ints) -> Iterator[Ints]:
    """Yield the positions in `detection` (int [p], each detection's together) whose turn it is, round by round."""
    heads = _heads(detection)
    turn_of_head = _count_before(group[detection[heads]])
    turn = np.repeat(turn_of_head, np.diff(np.append(heads, len(detection))))
    order = np.argsort(turn, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(turn[order])) + 1) if len(order) else ()


def _heads(values: Ints) -> Ints:
    """Return where runs of equal values begin."""
    return np.flatnonzero(np.diff(values, prepend=values[:1] - 1))


def _count_before(groups: Ints) -> Ints:
    """Return int [n]: how many of the same value come before each of `groups` [n]."""
    order = np.argsort(groups, kind="stable")
    heads = _heads(groups[order])
    count = np.arange(len(groups)) - np.repeat(heads, np.diff(np.append(heads, len(groups))))
    before = np.empty_like(count)
    before[order] = count
    return before
