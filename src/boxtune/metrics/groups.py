"""Results by what objects are like: their size, their shape, how many there are; and by picture.

All is as COCO has it: crowds are ignored, the first hundred detections of a class in a picture count, and recall is at
any score. All is at an IoU of 0.5.
"""

from dataclasses import dataclass

import numpy as np

from boxtune.metrics.coco import AREAS
from boxtune.metrics.curves import Ranking, coco_ranking, mean, rank
from boxtune.metrics.matches import (
    IGNORED,
    MATCH_IOU,
    WRONG,
    Bools,
    Floats,
    Ints,
    Overlaps,
    Pool,
    match,
    outcomes,
)
from boxtune.metrics.tables import box_areas

ASPECT = 1.5
"""How many times longer one side is than the other where an object is tall or wide."""

CROWDING = {
    "1 object": (1, 1),
    "2 to 5 objects": (2, 5),
    "6 to 15 objects": (6, 15),
    "16 objects or more": (16, np.inf),
}
"""How many objects there are in a picture."""


@dataclass(frozen=True)
class Group:
    """Some of the objects: how many, the share that is found, and AP50 over the classes that have any; None of none."""

    name: str
    num_objects: int
    recall: float | None
    AP50: float | None


def by_size(pool: Pool, overlaps: Overlaps) -> list[Group]:
    """Return the results by COCO's sizes, `coco.AREAS`; what lies on a border belongs to both sides, as there."""
    areas, found_areas = pool.truth.area, box_areas(pool.found.box)
    return [
        _group(
            name,
            pool,
            overlaps,
            (areas >= low) & (areas <= high),
            (found_areas >= low) & (found_areas <= high),
        )
        for name, (low, high) in AREAS.items()
        if name != "all"
    ]


def by_aspect(pool: Pool, overlaps: Overlaps) -> list[Group]:
    """Return the results of tall, square-ish and wide objects; see ASPECT."""
    shapes, found_shapes = _shapes(pool.truth.box), _shapes(pool.found.box)
    return [
        _group(name, pool, overlaps, shapes == shape, found_shapes == shape)
        for name, shape in (("tall", -1), ("square-ish", 0), ("wide", 1))
    ]


def by_crowding(pool: Pool, ranking: Ranking) -> list[Group]:
    """Return the results of pictures by their number of wanted objects; see CROWDING. Those without are in no group.

    `ranking` is COCO's of `pool` at an IoU of 0.5.
    """
    objects = np.bincount(ranking.object_image, minlength=len(pool.images))
    return [
        _row(name, ranking, ((objects >= low) & (objects <= high)).astype(np.int64))
        for name, (low, high) in CROWDING.items()
    ]


def by_image(pool: Pool, outcome: Ints, ignored: Bools) -> Floats:
    """Return float [images]: AP50 of each picture as if it were the only one, NaN without objects.

    `outcome` (int8 [k]) is at an IoU of 0.5, where objects that are not `ignored` (bool [n]) are wanted.
    """
    wanted = pool.truth.image[~ignored] * pool.num_classes + pool.truth.cls[~ignored]
    segments, object_segment = np.unique(wanted, return_inverse=True)
    segment = pool.found.image * pool.num_classes + pool.found.cls
    order = np.argsort(segment, kind="stable")
    order = order[np.isin(segment[order], segments)]
    ranking = rank(
        (1, len(segments)),
        pool.found.image[order],
        np.searchsorted(segments, segment[order]),
        outcome[None, order],
        pool.truth.image[~ignored],
        object_segment,
    )
    image = segments // max(pool.num_classes, 1)
    scores = ranking.average_precision(np.ones(len(pool.images), np.int64))[0]
    classes = np.bincount(image, minlength=len(pool.images))
    sums = np.bincount(image, scores, minlength=len(pool.images))
    return np.where(classes > 0, sums / np.maximum(classes, 1), np.nan)


def _group(name: str, pool: Pool, overlaps: Overlaps, members: Bools, found_members: Bools) -> Group:
    """Look at `members` alone: other objects are ignored, and so is what finds none and is itself of another group."""
    ignored = pool.truth.crowd | ~members
    outcome = outcomes(match(pool, overlaps, np.array([MATCH_IOU]), ignored, pool.truth.crowd), ignored)
    outcome[:, ~found_members] = np.where(
        outcome[:, ~found_members] == WRONG, IGNORED, outcome[:, ~found_members]
    )
    return _row(name, coco_ranking(pool, outcome, ignored), np.ones(len(pool.images), np.int64))


def _row(name: str, ranking: Ranking, weights: Ints) -> Group:
    objects = int(ranking.num_objects(weights).sum())
    found = int(weights[ranking.hit_image].sum())
    return Group(
        name, objects, found / objects if objects else None, mean(ranking.average_precision(weights))
    )


def _shapes(boxes: Floats) -> Ints:
    """Return int [n]: -1 of tall boxes, 1 of wide ones, else 0."""
    height, width = (boxes[:, 2:] - boxes[:, :2]).T
    return (width > ASPECT * height).astype(np.int64) - (height > ASPECT * width)
