"""COCO's matching of detections with objects, and the precision and recall that follow from it."""

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from boxtune.metrics.tables import Flags, Floats, Integers, Pairs, Table

Kinds = npt.NDArray[np.int8]
UNMATCHED, MATCHED, IGNORED = 0, 1, 2
_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class Averages:
    """Average precision [t, c, s] and recall [t, c, s, d] by threshold of overlap, class, range of sizes and
    number of detections; -1 where there is no object."""

    precision: Floats
    recall: Floats


def match(
    pairs: Pairs,
    table: Table,
    ignored: Flags,
    thresholds: Floats,
    max_detections: int,
    *,
    shared: Flags,
) -> Kinds:
    """Return what each detection finds, [m, t, s]: UNMATCHED, MATCHED, or IGNORED for an object that does not count.

    By falling score each detection takes the object, still free, that it overlaps most and by the threshold; one that
    counts before one that does not, of equals the last. Source: COCO's evaluation code; no text tells the rule.

    Args:
        pairs: what overlaps, by the lowest threshold at least.
        table: of `pairs`.
        ignored: [n, s] objects that do not count in a range of sizes.
        thresholds: [t] of overlap.
        max_detections: of a class in a picture; others match nothing.
        shared: [n] objects, as crowds are, that any number of detections may take.
    """
    kinds = np.zeros((len(table.found.group), len(thresholds), ignored.shape[1]), np.int8)
    taken = np.zeros((len(table.truth.group), len(thresholds), ignored.shape[1]), bool)
    pairs = _with_rank_below(pairs, table, max_detections)
    # Detections of different groups do not compete: the first of all groups are matched at once, then the second.
    turn = _turns(pairs, table)
    order = np.lexsort((pairs.truth, pairs.overlap, pairs.found, turn))
    found, truth, overlap = pairs.found[order], pairs.truth[order], pairs.overlap[order]
    bounds = np.searchsorted(turn[order], np.arange(turn.max(initial=-1) + 2))
    for first, last in itertools.pairwise(bounds):
        rows, starts = np.unique(found[first:last], return_index=True)
        chosen, kind = _best(
            truth[first:last], overlap[first:last], starts, taken, ignored, thresholds, shared
        )
        kinds[rows] = kind
        row, threshold, size = np.nonzero(kind)
        taken[truth[first + chosen[row, threshold, size]], threshold, size] = True
    return kinds


def _with_rank_below(pairs: Pairs, table: Table, limit: int) -> Pairs:
    kept = table.found.rank[pairs.found] < limit
    return Pairs(pairs.found[kept], pairs.truth[kept], pairs.overlap[kept])


def _turns(pairs: Pairs, table: Table) -> Integers:
    """Return for each pair the place of its detection among those of its group that have any pair."""
    rows, inverse = np.unique(pairs.found, return_inverse=True)
    groups = table.found.group[rows]
    return (np.arange(len(rows)) - np.searchsorted(groups, groups))[inverse]


def _best(
    truth: Integers,
    overlap: Floats,
    starts: Integers,
    taken: Flags,
    ignored: Flags,
    thresholds: Floats,
    shared: Flags,
) -> tuple[Integers, Kinds]:
    """Return for each detection the pair that it takes, and of what kind it is, [r, t, s] each."""
    free = ~taken[truth] | shared[truth][:, None, None]
    eligible = free & (overlap[:, None] >= thresholds)[:, :, None]
    # Pairs of a detection come by rising overlap; those that count rank above all others.
    place = np.arange(len(truth), dtype=np.int64)[:, None]
    value = np.where(ignored[truth], place, place + len(truth))[:, None, :]
    best = np.maximum.reduceat(np.where(eligible, value, -1), starts, axis=0)
    kind = np.where(best < 0, UNMATCHED, np.where(best >= len(truth), MATCHED, IGNORED))
    return best % len(truth), kind.astype(np.int8)


def averages(
    table: Table, kinds: Kinds, outside: Flags, num_objects: Integers, max_detections: tuple[int, ...]
) -> Averages:
    """Return average precision, of the most detections, and recall for each of `max_detections`.

    Precision at a recall is the highest at that recall or above; it is averaged over the recalls 0, 0.01, ..., 1.

    Args:
        table: that was matched.
        kinds: [m, t, s] of `match`.
        outside: [m, s] detections that are not wrong where they match nothing, as for their size.
        num_objects: [c, s] that count.
        max_detections: rising; of a class in a picture.
    """
    shape = (kinds.shape[1], table.num_classes, kinds.shape[2])
    precision, recall = np.full(shape, -1.0), np.full((*shape, len(max_detections)), -1.0)
    for cls in np.flatnonzero(num_objects.any(axis=1)):
        rows = table.rows_of(cls)
        rank = table.found.rank[rows]
        order = np.argsort(-table.found.scores[rows], kind="stable")
        order = order[rank[order] < max_detections[-1]]
        for size in np.flatnonzero(num_objects[cls]):
            kind, count = kinds[rows, :, size][order], num_objects[cls, size]
            counted = (kind == MATCHED) | ((kind == UNMATCHED) & ~outside[rows, size][order, None])
            precision[:, cls, size] = [
                _average_precision(kind[:, t] == MATCHED, counted[:, t], count) for t in range(shape[0])
            ]
            for i, limit in enumerate(max_detections):
                recall[:, cls, size, i] = (kind[rank[order] < limit] == MATCHED).sum(axis=0) / count
    return Averages(precision, recall)


def _average_precision(right: Flags, counted: Flags, num_objects: int) -> float:
    """Return the mean over 101 recalls of the precision of detections by falling score, [k] each."""
    places = np.flatnonzero(right)
    if not len(places):
        return 0.0
    rights = np.arange(1, len(places) + 1)
    precision = rights / np.cumsum(counted)[places]
    highest = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(highest[np.searchsorted(rights / num_objects, _RECALLS)].mean())


def mean(values: Floats) -> float:
    """Return the mean of the values that are known, or -1 if none is."""
    known = values[values > -1]
    return float(known.mean()) if known.size else -1.0
