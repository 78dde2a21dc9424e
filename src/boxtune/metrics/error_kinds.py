"""What is wrong with detections, and what AP50 would gain if one kind of error were fixed.

Source: TIDE, Bolya et al. 2020 (arXiv:2008.08115), with its thresholds: a detection is right from an IoU of 0.5 with an
object of its class, and about nothing below 0.1 with every object. Gains are of AP50, as there.
"""

from dataclasses import dataclass

import numpy as np

from boxtune.metrics.average_precision import mean, rank
from boxtune.metrics.matching import IGNORED, RIGHT, WRONG, outcomes
from boxtune.metrics.tables import Bools, Floats, Ints, Pairs, Table

FOREGROUND, BACKGROUND = 0.5, 0.1

KINDS = (
    "correct",
    "class",
    "localization",
    "class and localization",
    "duplicate",
    "background",
    "ignored",
)
"""What a detection can be."""

MISSED = "missed"
"""The one kind of error that is of an object."""

_CORRECT, _CLASS, _LOCALIZATION, _BOTH, _DUPLICATE, _BACKGROUND, _IGNORED = range(len(KINDS))


@dataclass(frozen=True, eq=False)
class Mistakes:
    """The errors of a table.

    Attributes:
        kind: int8 [k], index into KINDS.
        target: int [k], the object that it finds, or that a mistaken class or box was meant for, else -1.
        missed: bool [n], the objects that count which nothing finds and nothing is meant for.
    """

    kind: Ints
    target: Ints
    missed: Bools


@dataclass(frozen=True)
class ErrorKind:
    """How often a kind of error occurs, at any score, and what AP50 would gain without it (None without objects)."""

    kind: str
    count: int
    AP50_gain: float | None


def mistakes(table: Table, pairs: Pairs, matched: Ints, ignored: Bools) -> Mistakes:
    """Sort the detections of `table` by what is wrong with them.

    A detection that finds no object is, in this order (that of TIDE's program):
    - "localization": its IoU with an object of its class is in [0.1, 0.5);
    - "class": its IoU with an object of another class is 0.5 or more;
    - "duplicate": its IoU with an object of its class is 0.5 or more, and a better scored one has found that;
    - "background": its IoU with every object is below 0.1;
    - "class and localization": what is left.
    Crowds take no part, but what finds a crowd, or another object that is `ignored`, is itself "ignored".

    Args:
        table: of images.
        pairs: their pairs from an IoU of 0.1.
        matched: int [k], the object that each detection finds at an IoU of 0.5.
        ignored: bool [n], objects that do not count.
    """
    own = table.detections.cls[pairs.detection] == table.groundtruth.cls[pairs.groundtruth]
    own_iou, own_object = _best(table, pairs, own)
    other_iou, other_object = _best(table, pairs, ~own)
    outcome = outcomes(matched, ignored)
    kind = np.select(
        [
            outcome == RIGHT,
            outcome == IGNORED,
            (own_iou >= BACKGROUND) & (own_iou < FOREGROUND),
            other_iou >= FOREGROUND,
            own_iou >= FOREGROUND,
            other_iou < BACKGROUND,
        ],
        [_CORRECT, _IGNORED, _LOCALIZATION, _CLASS, _DUPLICATE, _BACKGROUND],
        _BOTH,
    ).astype(np.int8)
    target = np.select(
        [kind == _CORRECT, kind == _LOCALIZATION, kind == _CLASS], [matched, own_object, other_object], -1
    )
    missed = ~ignored
    missed[target[target >= 0]] = False
    return Mistakes(kind, target, missed)


def _best(table: Table, pairs: Pairs, chosen: Bools) -> tuple[Floats, Ints]:
    """Return float [k] and int [k]: the highest IoU of each detection in the `chosen` pairs, and with which object."""
    pairs = pairs[chosen & ~table.groundtruth.crowd[pairs.groundtruth]]
    detection, first = np.unique(pairs.detection, return_index=True)
    iou, groundtruth = np.zeros(len(table.detections.cls)), np.full(len(table.detections.cls), -1)
    iou[detection], groundtruth[detection] = pairs.iou[first], pairs.groundtruth[first]
    return iou, groundtruth


def error_kinds(table: Table, found: Mistakes, ignored: Bools) -> list[ErrorKind]:
    """Return how many errors there are of each kind, and what AP50 would gain if it were fixed and all else stayed.

    Fixing is as in TIDE: a mistaken class or box is set right, if no other detection has found the object and none
    scored better is set right for it; otherwise, and of every other kind, the detection goes; a missed object no
    longer counts. A class without any object left counts 1, or 0 if something is still detected as it.
    """
    outcome = np.select([found.kind == _CORRECT, found.kind == _IGNORED], [RIGHT, IGNORED], WRONG).astype(
        np.int8
    )
    before = _ap50(table, table.detections.cls, outcome, ~ignored)
    rows = []
    for kind in range(_CLASS, _IGNORED):
        cls, fixed = _fixed(table, found, outcome, ignored, kind)
        gain = mean(_ap50(table, cls, fixed, ~ignored) - before)
        rows.append(ErrorKind(KINDS[kind], int(np.count_nonzero(found.kind == kind)), gain))
    after = _ap50(table, table.detections.cls, outcome, ~ignored & ~found.missed)
    wrong = np.bincount(table.detections.cls[outcome == WRONG], minlength=table.num_classes)
    after = np.where(np.isnan(after) & ~np.isnan(before), wrong == 0, after)
    return [*rows, ErrorKind(MISSED, int(np.count_nonzero(found.missed)), mean(after - before))]


def _fixed(table: Table, found: Mistakes, outcome: Ints, ignored: Bools, kind: int) -> tuple[Ints, Ints]:
    """Return the classes and outcomes of detections once those of `kind` are fixed."""
    cls, fixed = table.detections.cls.copy(), outcome.copy()
    fixed[found.kind == kind] = IGNORED
    free = ~ignored
    free[found.target[found.kind == _CORRECT]] = False
    candidates = np.flatnonzero(
        (found.kind == kind) & (found.target >= 0) & np.append(free, False)[found.target]
    )
    target, first = np.unique(found.target[candidates], return_index=True)  # the best scored comes first
    cls[candidates[first]], fixed[candidates[first]] = table.groundtruth.cls[target], RIGHT
    return cls, fixed


def _ap50(table: Table, cls: Ints, outcome: Ints, counted: Bools) -> Floats:
    order = table.by_class if cls is table.detections.cls else np.lexsort((-table.detections.score, cls))
    ranking = rank(
        (1, table.num_classes),
        table.detections.image[order],
        cls[order],
        outcome[None, order],
        table.groundtruth.image[counted],
        table.groundtruth.cls[counted],
    )
    return ranking.average_precision()[0]
