"""Which detection finds which object: COCO's greedy matching, for all images at once.

Objects that are `ignored` do not count, nor does a detection that is matched to one.
"""

from collections.abc import Iterator

import numpy as np

from boxtune.metrics.tables import Bools, Floats, Ints, Pairs, Table, count_before, run_starts

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""COCO's, of the IoU."""

MATCH_IOU = 0.5
"""From this overlap on a single detection is said to find an object."""

SCORE_DIGITS = 6
"""Of scores where people and pages read them; for ranks all digits count."""

WRONG, RIGHT, IGNORED = 0, 1, -1
"""The outcomes of a detection."""

_BELOW_ONE = 1 - 1e-10  # as in COCO's evaluation: equal boxes match at a threshold of 1


def match(table: Table, pairs: Pairs, thresholds: Floats, ignored: Bools, reusable: Bools) -> Ints:
    """Return int [t, k]: the object that each detection finds at each of `thresholds` [t], -1 where none.

    COCO's rule (Lin et al. 2014, arXiv:1405.0312, and its evaluation code): by descending score, detections choose
    among the objects of their image and class that are still free and overlap by the threshold at least. Those that
    count come before those that are `ignored` (bool [n]), then the highest overlap wins, then the later object. Objects
    that are `reusable` (bool [n]), as crowds are, stay free. What a detection finds does not depend on lower scores.
    """
    same = table.detections.cls[pairs.detection] == table.groundtruth.cls[pairs.groundtruth]
    pairs = pairs[same & (pairs.iou >= np.min(thresholds))]
    choice = ignored[pairs.groundtruth].astype(np.int64)
    return _choose(table, pairs, choice, table.group(table.detections), thresholds, reusable)


def pair(table: Table, pairs: Pairs, threshold: float, ignored: Bools) -> Ints:
    """Return int [k]: the object that each detection is paired with whatever its class, -1 where none.

    In order of descending score each detection takes, of the objects of its image that are still free and overlap by
    `threshold` at least: one that counts of its own class; else one that counts of another class; else an `ignored` one
    (bool [n]) of its own class, which stays free for others. Among equals the highest overlap counts, then the later
    object. So an object of another class is a confusion only where there was no object of its own to be found.
    """
    other = table.detections.cls[pairs.detection] != table.groundtruth.cls[pairs.groundtruth]
    passed = ignored[pairs.groundtruth]
    eligible = (pairs.iou >= threshold) & ~(other & passed)
    choice = (other + 2 * passed)[eligible]
    return _choose(table, pairs[eligible], choice, table.detections.image, np.array([threshold]), ignored)[0]


def judge(
    table: Table,
    pairs: Pairs,
    thresholds: Floats,
    ignored: Bools,
    reusable: Bools,
    forgiven: Bools | bool = False,
) -> Ints:
    """Return int8 [t, k]: the outcome of each detection at `thresholds` [t]; see `match`.

    Those of `forgiven` (bool [k]) are not wrong where they find nothing.
    """
    outcome = outcomes(match(table, pairs, thresholds, ignored, reusable), ignored)
    outcome[(outcome == WRONG) & forgiven] = IGNORED
    return outcome


def coco_outcomes(table: Table, pairs: Pairs) -> Ints:
    """Return int8 [10, k]: the outcome of each detection at COCO's thresholds, where crowds alone are ignored."""
    return judge(table, pairs, THRESHOLDS, table.groundtruth.crowd, table.groundtruth.crowd)


def match_at_50(table: Table, pairs: Pairs) -> Ints:
    """Return int [k]: the object that each detection finds at MATCH_IOU; crowds and difficult objects are ignored."""
    ignored = table.groundtruth.ignored
    return match(table, pairs, np.array([MATCH_IOU]), ignored, ignored)[0]


def reaches(score: Floats, threshold: float | Floats) -> Bools:
    """Return bool [k]: the score is `threshold`, one or [k], or better, read to six digits: 0.9 as float32 is 0.9."""
    return np.round(score, SCORE_DIGITS) >= threshold


def outcomes(matched: Ints, ignored: Bools) -> Ints:
    """Return int8 of WRONG, RIGHT and IGNORED, one for each object that detections have `matched` (int, any shape)."""
    passed = np.append(ignored, False)[matched]  # -1 takes the last
    return np.where(matched < 0, WRONG, np.where(passed, IGNORED, RIGHT)).astype(np.int8)


def _choose(
    table: Table, pairs: Pairs, choice: Ints, group: Ints, thresholds: Floats, reusable: Bools
) -> Ints:
    """Let detections choose among pairs, the lowest `choice` [p] first; those of other groups do not meet.

    In the n-th round the n-th detection of every group chooses: all groups at once.
    """
    chosen = np.full((len(thresholds), len(table.detections.cls)), -1, np.int32)
    taken = np.zeros((len(thresholds), len(table.groundtruth.cls)), bool)
    thresholds = np.minimum(thresholds, _BELOW_ONE)
    pairs = pairs[np.argsort(pairs.detection * 3 + choice, kind="stable")]
    for turn in _rounds(pairs.detection, group):
        detection, groundtruth = pairs.detection[turn], pairs.groundtruth[turn]
        free = (pairs.iou[turn] >= thresholds[:, None]) & ~taken[:, groundtruth]
        first = np.minimum.reduceat(
            np.where(free, np.arange(len(turn)), len(turn)), run_starts(detection), axis=1
        )
        row, column = np.nonzero(first < len(turn))
        best = first[row, column]
        chosen[row, detection[best]] = groundtruth[best]
        taken[row, groundtruth[best]] = ~reusable[groundtruth[best]]
    return chosen


def _rounds(detection: Ints, group: Ints) -> Iterator[Ints]:
    """Yield the positions in `detection` (int [p], each detection's together) whose turn it is, round by round."""
    starts = run_starts(detection)
    turn = np.repeat(count_before(group[detection[starts]]), np.diff(np.append(starts, len(detection))))
    order = np.argsort(turn, kind="stable")
    yield from np.split(order, run_starts(turn[order])[1:]) if len(order) else ()
