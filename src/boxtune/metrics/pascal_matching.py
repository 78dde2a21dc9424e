"""Pascal VOC's matching of detections with objects, as the API does it, and the numbers that follow from it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from boxtune.metrics.results import ImageResult, keep_found
from boxtune.metrics.tables import (
    Flags,
    Floats,
    Integers,
    Pairs,
    Table,
    box_overlap,
    found_masks,
    mask_overlap,
    pair_up,
    tabulate,
    true_masks,
)


@dataclass(frozen=True)
class Labels:
    """The detections that count [q], by class and picture: scores, and how much each is right: 0 for a mistake."""

    classes: Integers
    scores: Floats
    right: Floats
    num_objects: Floats  # [c], a group counts by its weight


@dataclass(frozen=True)
class Curve:
    """Precision and recall of detections by falling score, [q]."""

    precision: Floats
    recall: Floats


def tabulate_backwards(results: Sequence[ImageResult], num_classes: int) -> Table:
    """Return the table in which of equal scores of a picture the last comes first, as in the API."""
    backwards = [keep_found(result, np.arange(len(result.scores))[::-1]) for result in results]
    return tabulate(backwards, num_classes)


def label_boxes(
    table: Table, at_least: float, *, difficult: Flags, group_of: Flags, group_of_weight: float = 0.0
) -> Labels:
    """Return which detections are right, by their boxes.

    Each detection is for the object that it overlaps most, if by `at_least`. Of those for one object the best scored is
    right and others are wrong; those for a `difficult` [n] one do not count. What is then wrong and lies in a group's
    box (`group_of` [n]; by `at_least` of its own area) does not count either, except that the best scored of each group
    is right by `group_of_weight`. Source: the API's utils/per_image_evaluation.py.
    """
    state = _State.of(table)
    _find_objects(state, _box_pairs(table, at_least, ~group_of), difficult)
    groups = _find_groups(state, _box_pairs(table, at_least, group_of, within=True))
    return _labels(table, state, groups, difficult, group_of, group_of_weight)


def label_masks(
    table: Table, at_least: float, *, difficult: Flags, group_of: Flags, group_of_weight: float = 0.0
) -> Labels:
    """Return which detections are right, by their masks.

    As `label_boxes`, but an object whose mask has no pixels is known by its box alone: what finds that, or lies in it
    if it is a group, does not count.
    """
    found, truth = found_masks(table), true_masks(table)
    drawn = np.array([len(mask.edges) > 0 for mask in truth], bool)
    state = _State.of(table)

    def mask_pairs(among: Flags, *, within: bool = False) -> Pairs:
        return pair_up(table, mask_overlap(found, truth, np.full(len(truth), within)), at_least, among=among)

    _find_objects(state, mask_pairs(drawn & ~group_of), difficult)
    groups = _find_groups(state, mask_pairs(drawn & group_of, within=True))
    by_box = _State(state.right.copy(), state.ignored.copy())
    _find_objects(by_box, _box_pairs(table, at_least, ~drawn & ~group_of), difficult)
    _find_groups(by_box, _box_pairs(table, at_least, ~drawn & group_of, within=True))
    state.ignored |= by_box.ignored | (by_box.right & ~state.right)
    return _labels(table, state, groups, difficult | ~drawn, group_of, group_of_weight)


def curve(scores: Floats, right: Floats, num_objects: float) -> Curve:
    """Return precision and recall; of equal scores the last comes first, as in the API."""
    right = right[np.argsort(scores, kind="stable")[::-1]]
    rights = np.cumsum(right)
    return Curve(rights / (rights + np.cumsum(right <= 0)), rights / num_objects)


def within_recalls(whole: Curve, low: float, high: float) -> Curve:
    """Return the part of a curve whose recall is from `low` to `high`."""
    kept = (whole.recall >= low) & (whole.recall <= high)
    return Curve(whole.precision[kept], whole.recall[kept])


def area_under(part: Curve) -> float:
    """Return the average precision as Pascal VOC has it since 2010: the area under the highest precision at each
    recall or above."""
    recall = np.concatenate([[0.0], part.recall])
    highest = np.maximum.accumulate(part.precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * highest))


def eleven_points(part: Curve) -> float:
    """Return the average precision as Pascal VOC had it up to 2009: the mean of the highest precision at the recalls
    0, 0.1, ..., 1 or above. Source: Everingham et al. 2010, section 4.2."""
    highest = np.append(np.maximum.accumulate(part.precision[::-1])[::-1], 0.0)
    # Recalls are ratios of whole numbers: a tenth must not be missed by the last bit.
    return float(highest[np.searchsorted(part.recall, np.arange(11) / 10 - 1e-12)].mean())


def correct_localisation(table: Table, at_least: float) -> Floats:
    """Return [c] of the pictures with a class, the share whose best scored detection of it finds any object of it.

    -1 for a class without objects. Difficult objects count. Source: Deselaers et al. 2010.
    """
    everything = np.ones(len(table.truth.group), bool)
    pairs = _box_pairs(table, at_least, everything)
    best = pairs.found[table.found.rank[pairs.found] == 0]
    hits = np.bincount(table.class_of(table.found.group[np.unique(best)]), minlength=table.num_classes)
    wanted = np.bincount(table.class_of(np.unique(table.truth.group)), minlength=table.num_classes)
    return np.divide(hits, wanted, out=np.full(table.num_classes, -1.0), where=wanted > 0)


@dataclass
class _State:
    right: Flags  # [m]
    ignored: Flags  # [m]

    @classmethod
    def of(cls, table: Table) -> "_State":
        return cls(np.zeros(len(table.found.group), bool), np.zeros(len(table.found.group), bool))


def _box_pairs(table: Table, at_least: float, among: Flags, *, within: bool = False) -> Pairs:
    """Return the pairs of overlapping boxes; `within` looks at the part of the detection that lies in the object."""
    return pair_up(table, box_overlap(table, np.full(len(among), within)), at_least, among=among)


def _find_objects(state: _State, pairs: Pairs, difficult: Flags) -> None:
    found, truth = _best(pairs, state)
    hard = difficult[truth]
    state.ignored[found[hard]] = True
    # Rows of detections of a group go by falling score: the first is the best.
    _, first = np.unique(truth[~hard], return_index=True)
    state.right[found[~hard][first]] = True


def _find_groups(state: _State, pairs: Pairs) -> Integers:
    """Return the rows of the best detection in each group that has any."""
    found, truth = _best(pairs, state)
    state.ignored[found] = True
    _, first = np.unique(truth, return_index=True)
    return found[first]


def _best(pairs: Pairs, state: _State) -> tuple[Integers, Integers]:
    """Return the rows of detections that are neither right nor ignored yet, rising, and of what each overlaps most."""
    undecided = ~(state.right | state.ignored)[pairs.found]
    found, truth, overlap = pairs.found[undecided], pairs.truth[undecided], pairs.overlap[undecided]
    order = np.lexsort((truth, -overlap, found))
    rows, first = np.unique(found[order], return_index=True)
    return rows, truth[order][first]


def _labels(
    table: Table, state: _State, groups: Integers, uncounted: Flags, group_of: Flags, weight: float
) -> Labels:
    counts = ~state.ignored & (table.found.areas > 0)
    groups = groups[(table.found.scores[groups] > 0) & (weight > 0)]
    rows = np.concatenate([np.flatnonzero(counts), groups])
    worth = np.where(group_of, weight, 1.0) * ~uncounted
    right = np.concatenate([state.right[counts].astype(float), np.full(len(groups), weight)])
    # What groups give comes behind the other detections of the same class and picture.
    order = np.argsort(table.found.group[rows], kind="stable")
    classes = table.class_of(table.truth.group)
    return Labels(
        classes=table.class_of(table.found.group[rows[order]]),
        scores=table.found.scores[rows[order]],
        right=right[order],
        num_objects=np.bincount(classes, worth, minlength=table.num_classes).astype(np.float64),
    )
