"""Results by what objects are like: their size, their shape, how many there are; and by image.

All is as COCO has it: crowds are ignored, the first hundred detections of a class in an image count, and recall is at
any score. All is at an IoU of 0.5.
"""

from dataclasses import dataclass

import numpy as np

from boxtune.metrics.average_precision import Ranking, coco_ranking, mean, rank
from boxtune.metrics.coco import AREAS, outside
from boxtune.metrics.matching import MATCH_IOU, judge
from boxtune.metrics.tables import Bools, Floats, Ints, Pairs, Table

ASPECT = 1.5
"""How many times longer one side is than the other where an object is tall or wide."""

CROWDING = {
    "1 object": (1, 1),
    "2 to 5 objects": (2, 5),
    "6 to 15 objects": (6, 15),
    "16 objects or more": (16, np.inf),
}
"""How many objects there are in an image."""


@dataclass(frozen=True)
class Group:
    """Some of the objects: how many, the fraction found, and AP50 over the classes that have any; None of none."""

    name: str
    num_objects: int
    recall: float | None
    AP50: float | None


def by_size(table: Table, pairs: Pairs) -> list[Group]:
    """Return the results by COCO's sizes, `coco.AREAS`; what lies on a border belongs to both sides, as there."""
    areas, found_areas = table.groundtruth.area, table.detections.area
    return [
        _group(size, table, pairs, ~outside(areas, size), ~outside(found_areas, size))
        for size in AREAS
        if size != "all"
    ]


def by_aspect(table: Table, pairs: Pairs) -> list[Group]:
    """Return the results of tall, square-ish and wide objects; see ASPECT."""
    shapes, found_shapes = _shapes(table.groundtruth.box), _shapes(table.detections.box)
    return [
        _group(name, table, pairs, shapes == shape, found_shapes == shape)
        for name, shape in (("tall", -1), ("square-ish", 0), ("wide", 1))
    ]


def by_crowding(table: Table, ranking: Ranking) -> list[Group]:
    """Return the results of images by their number of objects; see CROWDING. Those without are in no group.

    `ranking` is COCO's of `table` at an IoU of 0.5.
    """
    objects = np.bincount(ranking.object_image, minlength=len(table.images))
    return [
        _row(name, ranking, ((objects >= low) & (objects <= high)).astype(np.int64))
        for name, (low, high) in CROWDING.items()
    ]


def by_image(table: Table, outcome: Ints, ignored: Bools) -> Floats:
    """Return float [images]: AP50 of each image as if it were the only one, NaN without objects.

    `outcome` (int8 [k]) is at an IoU of 0.5, for objects that are not `ignored` (bool [n]).
    """
    segments, object_segment = np.unique(table.group(table.groundtruth)[~ignored], return_inverse=True)
    segment = table.group(table.detections)
    order = np.argsort(segment, kind="stable")
    order = order[np.isin(segment[order], segments)]
    ranking = rank(
        (1, len(segments)),
        table.detections.image[order],
        np.searchsorted(segments, segment[order]),
        outcome[None, order],
        table.groundtruth.image[~ignored],
        object_segment,
    )
    image = segments // max(table.num_classes, 1)
    scores = ranking.average_precision()[0]
    classes = np.bincount(image, minlength=len(table.images))
    sums = np.bincount(image, scores, minlength=len(table.images))
    return np.where(classes > 0, sums / np.maximum(classes, 1), np.nan)


def _group(name: str, table: Table, pairs: Pairs, members: Bools, found_members: Bools) -> Group:
    """Look at `members` alone: other objects are ignored, and so is what finds none and is itself of another group."""
    ignored = table.groundtruth.crowd | ~members
    outcome = judge(table, pairs, np.array([MATCH_IOU]), ignored, table.groundtruth.crowd, ~found_members)
    return _row(name, coco_ranking(table, outcome, ignored))


def _row(name: str, ranking: Ranking, weights: Ints | None = None) -> Group:
    objects = int(ranking.num_objects(weights).sum())
    recall = ranking.num_found(weights) / objects if objects else None
    return Group(name, objects, recall, mean(ranking.average_precision(weights)))


def _shapes(boxes: Floats) -> Ints:
    """Return int [n]: -1 of tall boxes, 1 of wide ones, else 0."""
    height, width = (boxes[:, 2:] - boxes[:, :2]).T
    return (width > ASPECT * height).astype(np.int64) - (height > ASPECT * width)
