"""All there is to say about detections, beside the headline numbers: typed and plain.

AP, AR, their intervals and the groups are COCO's, which know crowds but no difficult objects. All that looks at single
detections (curves, thresholds, kinds of error, calibration, confusions) is at an IoU of 0.5 and ignores difficult
objects too, as Pascal VOC does. Without difficult objects both are the same.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from boxtune.metrics import groups
from boxtune.metrics.average_precision import Ranking, coco_ranking, coco_recall
from boxtune.metrics.bootstrap import (
    Interval,
    Resampled,
    interval,
    num_images_with_objects,
    num_resamples,
    resampled,
)
from boxtune.metrics.calibration import Calibration, calibration
from boxtune.metrics.coco import AT_50, AT_75, NAMES
from boxtune.metrics.confusion import confusion_matrix
from boxtune.metrics.curves import Curve, best_threshold, curves, thinned
from boxtune.metrics.error_kinds import ErrorKind, error_kinds, mistakes
from boxtune.metrics.groups import Group
from boxtune.metrics.matching import MATCH_IOU, coco_outcomes, match_at_50, outcomes, pair, reaches
from boxtune.metrics.results import ImageResult, Results, check_results
from boxtune.metrics.tables import Bools, Floats, Ints, Table, near_pairs, tabulate


@dataclass(frozen=True)
class ClassResult:
    """The results of a class; None where it has no object.

    `AP_interval` is None of objects in fewer than two images. The last four are at the threshold of scores with the
    highest F1, at an IoU of 0.5, and None where nothing right is found.
    """

    name: str
    num_objects: int
    num_detections: int
    AP: float | None
    AP50: float | None
    AP75: float | None
    AR100: float | None
    AP_interval: Interval | None
    best_threshold: float | None
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class ImageRow:
    """An image; AP50 as if it were the only one, None without objects; `preview` is a data URL."""

    name: str
    height: int
    width: int
    preview: str | None
    AP50: float | None


@dataclass(frozen=True, eq=False)
class GroundtruthTable:
    """The objects of all images as columns of n rows; `image` counts the images of an analysis."""

    image: Ints
    box: Floats  # [n, 4] pixels, [ymin, xmin, ymax, xmax]
    cls: Ints
    crowd: Bools
    difficult: Bools


@dataclass(frozen=True, eq=False)
class DetectionTable:
    """The detections of all images as columns of k rows, image by image and by descending score.

    Attributes:
        image: int, counts the images of an analysis.
        box: float [k, 4], pixels.
        cls: int.
        score: float.
        match: int, the object of the image that the detection finds by COCO's rule, -1 if none.
        confusion: int, the object that it is paired with whatever its class (`matches.pair`), -1 if none.
        kind: int, index into error_kinds.KINDS.
        iou: float in [0, 1], the highest with an object of any class; crowds left out.
    """

    image: Ints
    box: Floats
    cls: Ints
    score: Floats
    match: Ints
    confusion: Ints
    kind: Ints
    iou: Floats


@dataclass(frozen=True, eq=False)
class Analysis:
    """An evaluation with all its numbers. Lists of rows and tables of columns go into a data frame as they are.

    Attributes:
        title, step: of what; step is None where there is none.
        metrics, losses: by the API's tags; -1 where there is no such object.
        intervals: of 95 %, by the tags of metrics.
        num_objects: without crowds.
        class_names: by 0-based class.
        per_class: a row of each class.
        curves: of each class, thinned to 200 points.
        error_kinds: a row of each kind of error.
        groups: rows by size, aspect and crowding.
        calibration: of scores.
        images: by name.
        groundtruth, detections: tables.
        how: the images were looked at, such as "in tiles of 640 pixels"; "" for each as a whole.
    """

    title: str
    step: int | None
    num_objects: int
    class_names: tuple[str, ...]
    metrics: dict[str, float]
    losses: dict[str, float]
    intervals: dict[str, Interval]
    per_class: list[ClassResult]
    curves: list[Curve] = field(repr=False)
    error_kinds: list[ErrorKind]
    groups: dict[str, list[Group]]
    calibration: Calibration
    images: list[ImageRow] = field(repr=False)
    groundtruth: GroundtruthTable = field(repr=False)
    detections: DetectionTable = field(repr=False)
    how: str = ""

    def confusion_matrix(self, threshold: float = 0.5) -> Ints:
        """Return int [c + 1, c + 1], groundtruth by row, detections by column, background last; see `confusion`."""
        objects, found = self.groundtruth, self.detections
        first = np.searchsorted(objects.image, found.image)
        return confusion_matrix(
            objects.cls,
            objects.crowd | objects.difficult,
            found.cls,
            np.where(found.confusion < 0, -1, found.confusion + first),
            reaches(found.score, threshold),
            len(self.class_names),
        )


def analyse(
    results: Results,
    class_names: Sequence[str],
    *,
    title: str = "",
    step: int | None = None,
    metrics: Mapping[str, float] | None = None,
    losses: Mapping[str, float] | None = None,
    previews: Mapping[str, str] | None = None,
    how: str = "",
    seed: int = 0,
) -> Analysis:
    """Look at `results` from all sides; their order does not matter.

    Args:
        results: of one evaluation, each image with a name of its own.
        class_names: by 0-based class.
        title: of what the evaluation is.
        step: of the checkpoint, if there is one.
        metrics: the headline numbers by the API's tags, kept as they are.
        losses: likewise.
        previews: data URLs of small images, by name of image.
        how: the images were looked at, kept as it is.
        seed: of the resampling for intervals.

    Raises:
        DataError: for no results, and for those that no number can be computed of, as `results.check_results` does.
    """
    check_results(results, len(class_names))
    table = tabulate(results, len(class_names))
    pairs = near_pairs(table)
    crowd, ignored = table.groundtruth.crowd, table.groundtruth.ignored
    by_coco, matched = coco_outcomes(table, pairs), match_at_50(table, pairs)
    outcome = outcomes(matched, ignored)
    ranking = coco_ranking(table, by_coco, crowd)
    resamples = resampled(ranking, len(table.images), num_resamples(len(table.detections.cls)), seed)
    class_curves = curves(table, outcome, ignored)
    errors = mistakes(table, pairs, matched, ignored)
    recall = coco_recall(table, by_coco, crowd).mean(axis=0)
    return Analysis(
        title=title,
        step=step,
        class_names=tuple(class_names),
        num_objects=int(np.count_nonzero(~crowd)),
        metrics=dict(metrics or {}),
        losses=dict(losses or {}),
        intervals=_intervals(ranking, resamples),
        per_class=_per_class(table, class_names, ranking, recall, resamples, class_curves),
        curves=[thinned(one) for one in class_curves],
        error_kinds=error_kinds(table, errors, ignored),
        groups={
            "size": groups.by_size(table, pairs),
            "aspect": groups.by_aspect(table, pairs),
            "crowding": groups.by_crowding(table, coco_ranking(table, by_coco[:1], crowd)),
        },
        calibration=calibration(table.detections.score, outcome),
        images=[
            ImageRow(one.name, int(one.height), int(one.width), (previews or {}).get(one.name), _known(value))
            for one, value in zip(table.images, groups.by_image(table, by_coco[0], crowd), strict=True)
        ],
        groundtruth=GroundtruthTable(
            **_parts_of(table.groundtruth, "image", "box", "cls", "crowd", "difficult")
        ),
        detections=DetectionTable(
            **_parts_of(table.detections, "image", "box", "cls", "score"),
            match=_within_image(matched, table),
            confusion=_within_image(pair(table, pairs, MATCH_IOU, ignored), table),
            kind=errors.kind,
            iou=pairs.best,
        ),
        how=how,
    )


def _intervals(ranking: Ranking, resamples: Resampled) -> dict[str, Interval]:
    """Return the intervals of mAP and AP50, without those that fewer than two images with objects cannot give."""
    if len(np.unique(ranking.object_image)) < 2:
        return {}
    both = dict(zip(NAMES[:2], (interval(resamples.mean_AP), interval(resamples.mean_AP50)), strict=True))
    return {name: bounds for name, bounds in both.items() if bounds}


def _per_class(
    table: Table,
    class_names: Sequence[str],
    ranking: Ranking,
    recall: Floats,
    resamples: Resampled,
    class_curves: Sequence[Curve],
) -> list[ClassResult]:
    precisions, objects = ranking.average_precision(), ranking.num_objects()
    enough = num_images_with_objects(ranking) > 1
    detections = np.bincount(table.detections.cls, minlength=len(class_names))
    best = [best_threshold(one) for one in class_curves]
    return [
        ClassResult(
            name=name,
            num_objects=int(objects[i]),
            num_detections=int(detections[i]),
            AP=_known(precisions[:, i].mean()),
            AP50=_known(precisions[AT_50, i]),
            AP75=_known(precisions[AT_75, i]),
            AR100=_known(recall[i]),
            AP_interval=interval(resamples.AP[:, i]) if enough[i] else None,
            best_threshold=trade.score if (trade := best[i]) else None,
            precision=trade.precision if trade else None,
            recall=trade.recall if trade else None,
            f1=trade.f1 if trade else None,
        )
        for i, name in enumerate(class_names)
    ]


def _parts_of(columns: Any, *names: str) -> dict[str, np.ndarray]:
    return {name: getattr(columns, name) for name in names}


def _within_image(groundtruth: Ints, table: Table) -> Ints:
    """Return int [k]: objects counted within their image instead of in all; -1 stays."""
    return np.where(groundtruth < 0, -1, groundtruth - table.first_object[table.detections.image])


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def results_of(analysis: Analysis) -> list[ImageResult]:
    """Return the results that an analysis was made of, as far as it keeps them: without masks and the like."""
    objects, found = analysis.groundtruth, analysis.detections
    bounds = (rows_by_image(table, len(analysis.images)) for table in (objects, found))
    return [
        ImageResult(
            name=image.name,
            height=image.height,
            width=image.width,
            groundtruth_boxes=objects.box[of],
            groundtruth_classes=objects.cls[of],
            is_crowd=objects.crowd[of],
            difficult=objects.difficult[of],
            boxes=found.box[own],
            classes=found.cls[own],
            scores=found.score[own],
        )
        for image, of, own in zip(analysis.images, *bounds, strict=True)
    ]


def rows_by_image(table: GroundtruthTable | DetectionTable, num_images: int) -> list[slice]:
    """Return which rows of a table are those of each image."""
    bounds = np.searchsorted(table.image, np.arange(num_images + 1)).tolist()
    return [slice(*pair) for pair in pairwise(bounds)]
