"""Pascal VOC's matching of detections with objects, as the API does it, and the numbers that follow from it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from boxtune.metrics.results import Results, select_detections
from boxtune.metrics.tables import (
    Bools,
    Floats,
    Ints,
    Overlap,
    Pairs,
    Table,
    box_overlap,
    groundtruth_masks,
    mask_overlap,
    overlapping_pairs,
    tabulate,
)


@dataclass(frozen=True)
class Labels:
    """The detections that count [q], by class and image: scores, and how much each is right: 0 for a mistake."""

    classes: Ints
    scores: Floats
    right: Floats
    num_objects: Floats  # [c], a group counts by its weight


def tabulate_backwards(results: Results, num_classes: int) -> Table:
    """Return the table in which of equal scores of an image the last comes first, as in the API."""
    backwards = [select_detections(result, np.arange(len(result.scores))[::-1]) for result in results]
    return tabulate(backwards, num_classes)


def label_boxes(
    table: Table, at_least: float, *, difficult: Bools, group_of: Bools, group_of_weight: float = 0.0
) -> Labels:
    """Return which detections are right, by their boxes.

    Each detection is for the object that it overlaps most, if by `at_least`. Of those for one object the best scored is
    right and others are wrong; those for a `difficult` [n] one do not count. What is then wrong and lies in a group's
    box (`group_of` [n]; by `at_least` of its own area) does not count either, except that the best scored of each group
    is right by `group_of_weight`. Source: the API's utils/per_image_evaluation.py.
    """
    pairs = overlapping_pairs(table, box_overlap(table, group_of), at_least)
    nothing = np.zeros(len(table.detections.cls), bool)
    right, ignored, groups = _find(pairs, nothing, nothing, difficult, group_of)
    return _labels(table, right, ignored, groups, difficult, group_of, group_of_weight)


def label_masks(
    table: Table, at_least: float, *, difficult: Bools, group_of: Bools, group_of_weight: float = 0.0
) -> Labels:
    """Return which detections are right, by their masks.

    As `label_boxes`, but an object whose mask has no pixels is known by its box alone: what finds that, or lies in it
    if it is a group, does not count.
    """
    drawn = np.array([len(mask.edges) > 0 for mask in groundtruth_masks(table)], bool)
    by_mask, by_box = (
        overlapping_pairs(table, overlap(table, group_of), at_least)
        for overlap in (mask_overlap, box_overlap)
    )
    nothing = np.zeros(len(table.detections.cls), bool)
    by_mask, by_box = by_mask[drawn[by_mask.groundtruth]], by_box[~drawn[by_box.groundtruth]]
    right, ignored, groups = _find(by_mask, nothing, nothing, difficult, group_of)
    right_by_box, ignored_by_box, _ = _find(by_box, right, ignored, difficult, group_of)
    ignored = ignored_by_box | (right_by_box & ~right)
    return _labels(table, right, ignored, groups, difficult | ~drawn, group_of, group_of_weight)


def curve(scores: Floats, right: Floats, num_objects: float) -> tuple[Floats, Floats]:
    """Return precision and recall [q] by descending score; of equal scores the last comes first, as in the API."""
    right = right[np.argsort(scores, kind="stable")[::-1]]
    rights = np.cumsum(right)
    return rights / (rights + np.cumsum(right <= 0)), rights / num_objects


def area_under(precision: Floats, recall: Floats) -> float:
    """Return the average precision as Pascal VOC has it since 2010: the area under the highest precision at each
    recall or above."""
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * highest))


def eleven_points(precision: Floats, recall: Floats) -> float:
    """Return the average precision as Pascal VOC had it up to 2009: the mean of the highest precision at the recalls
    0, 0.1, ..., 1 or above. Source: Everingham et al. 2010, section 4.2."""
    highest = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    # Recalls are ratios of whole numbers: a tenth must not be missed by the last bit.
    return float(highest[np.searchsorted(recall, np.arange(11) / 10 - 1e-12)].mean())


def correct_localization(
    table: Table, at_least: float, overlap: Callable[[Table, Bools], Overlap] = box_overlap
) -> Floats:
    """Return [c] of the images with a class, the fraction whose best scored detection of it finds any object of it.

    NaN for a class without objects. Difficult objects count. `overlap` is that of boxes or of masks. Source: Deselaers
    et al. 2010.
    """
    pairs = overlapping_pairs(table, overlap(table, np.zeros(len(table.groundtruth.cls), bool)), at_least)
    best = np.unique(pairs.detection[table.rank[pairs.detection] == 0])
    hits = np.bincount(table.detections.cls[best], minlength=table.num_classes)
    groups = np.unique(table.group(table.groundtruth))
    images = np.bincount(groups % max(table.num_classes, 1), minlength=table.num_classes)
    return np.divide(hits, images, out=np.full(table.num_classes, np.nan), where=images > 0)


def _find(
    pairs: Pairs, right: Bools, ignored: Bools, difficult: Bools, group_of: Bools
) -> tuple[Bools, Bools, Ints]:
    """Return which detections are right and which ignored [k], and the rows of the best detection in each group.

    Those that are `right` or `ignored` already stay so.
    """
    right, ignored, groups = right.copy(), ignored.copy(), group_of[pairs.groundtruth]
    detection, groundtruth = _best(pairs[~groups & ~(right | ignored)[pairs.detection]])
    hard = difficult[groundtruth]
    ignored[detection[hard]] = True
    # Detections of a group come by descending score: the first is the best.
    _, first = np.unique(groundtruth[~hard], return_index=True)
    right[detection[~hard][first]] = True
    detection, groundtruth = _best(pairs[groups & ~(right | ignored)[pairs.detection]])
    ignored[detection] = True
    _, first = np.unique(groundtruth, return_index=True)
    return right, ignored, detection[first]


def _best(pairs: Pairs) -> tuple[Ints, Ints]:
    """Return the rows of detections, ascending, and of the object that each overlaps most, of equals the first."""
    order = np.lexsort((pairs.groundtruth, -pairs.iou, pairs.detection))
    rows, first = np.unique(pairs.detection[order], return_index=True)
    return rows, pairs.groundtruth[order][first]


def _labels(
    table: Table, right: Bools, ignored: Bools, groups: Ints, uncounted: Bools, group_of: Bools, weight: float
) -> Labels:
    detections, objects = table.detections, table.groundtruth
    counts = ~ignored & (detections.area > 0)
    groups = groups[(detections.score[groups] > 0) & (weight > 0)]
    rows = np.concatenate([np.flatnonzero(counts), groups])
    worth = np.where(group_of, weight, 1.0) * ~uncounted
    credit = np.concatenate([right[counts].astype(float), np.full(len(groups), weight)])
    # What groups give comes behind the other detections of the same class and image.
    order = np.lexsort((detections.image[rows], detections.cls[rows]))
    return Labels(
        classes=detections.cls[rows[order]],
        scores=detections.score[rows[order]],
        right=credit[order],
        num_objects=np.bincount(objects.cls, worth, minlength=table.num_classes).astype(np.float64),
    )
