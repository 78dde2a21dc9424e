"""All there is to say about detections, beside the headline numbers: typed, plain, and to JSON and back.

AP, AR, their intervals and the groups are COCO's, which know crowds but no difficult objects. All that looks at single
detections (curves, thresholds, kinds of error, calibration, confusions) is at an IoU of 0.5 and ignores difficult
objects too, as Pascal VOC does: they are neither wanted nor wrong. Without difficult objects both are the same.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any

import numpy as np

from boxtune.errors import DataError
from boxtune.metrics import groups
from boxtune.metrics.bootstrap import (
    Interval,
    Resampled,
    interval,
    num_images_with_objects,
    num_resamples,
    resampled,
)
from boxtune.metrics.calibration import Bin, Calibration, calibration
from boxtune.metrics.coco import NAMES
from boxtune.metrics.confusion import confusion_matrix
from boxtune.metrics.curves import Curve, Ranking, best_threshold, coco_ranking, curves, thinned
from boxtune.metrics.error_kinds import KINDS, ErrorKind, error_kinds, mistakes
from boxtune.metrics.groups import Group
from boxtune.metrics.matches import (
    MATCH_IOU,
    Bools,
    Floats,
    Ints,
    Pool,
    coco_outcomes,
    match_wanted,
    outcomes,
    overlaps,
    pair,
    pool,
    reaches,
)
from boxtune.metrics.results import ImageResult, check_results

VERSION = 1
_AT_50, _AT_75 = 0, 5  # in coco.THRESHOLDS


@dataclass(frozen=True)
class ClassResult:
    """The results of a class; None where it has no object.

    `AP_interval` is None of objects in fewer than two pictures. The last four are at the threshold of scores with the
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
class Picture:
    """A picture; AP50 as if it were the only one, None without objects; `preview` is a data URL."""

    name: str
    height: int
    width: int
    preview: str | None
    AP50: float | None


@dataclass(frozen=True, eq=False)
class TruthTable:
    """The objects of all pictures as columns of n rows; `image` counts the pictures of an analysis."""

    image: Ints
    box: Floats  # [n, 4] pixels, [ymin, xmin, ymax, xmax]
    cls: Ints
    crowd: Bools
    difficult: Bools


@dataclass(frozen=True, eq=False)
class FoundTable:
    """The detections of all pictures as columns of k rows, picture by picture and by falling score.

    Attributes:
        image: int, counts the pictures of an analysis.
        box: float [k, 4], pixels.
        cls: int.
        score: float.
        match: int, the object of the picture that the detection finds by COCO's rule, -1 if none.
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
        truth, found: tables.
    """

    title: str
    step: int | None
    class_names: tuple[str, ...]
    num_objects: int
    metrics: dict[str, float]
    losses: dict[str, float]
    intervals: dict[str, Interval]
    per_class: list[ClassResult]
    curves: list[Curve] = field(repr=False)
    error_kinds: list[ErrorKind]
    groups: dict[str, list[Group]]
    calibration: Calibration
    images: list[Picture] = field(repr=False)
    truth: TruthTable = field(repr=False)
    found: FoundTable = field(repr=False)

    def confusion_matrix(self, threshold: float = 0.5) -> Ints:
        """Return int [c + 1, c + 1], truth by row, found by column, background last; see `confusion`."""
        return confusion_matrix(
            self.truth.cls,
            self.truth.crowd | self.truth.difficult,
            self.found.cls,
            _flat(self.found.confusion, self.found.image, self.truth.image),
            reaches(self.found.score, threshold),
            len(self.class_names),
        )


def analyse(
    results: Sequence[ImageResult],
    class_names: Sequence[str],
    *,
    title: str = "",
    step: int | None = None,
    metrics: Mapping[str, float] | None = None,
    losses: Mapping[str, float] | None = None,
    previews: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Analysis:
    """Look at `results` from all sides; their order does not matter.

    Args:
        results: of one evaluation, each picture with a name of its own.
        class_names: by 0-based class.
        title: of what the evaluation is.
        step: of the checkpoint, if there is one.
        metrics: the headline numbers by the API's tags, kept as they are.
        losses: likewise.
        previews: data URLs of small pictures, by name of picture.
        seed: of the resampling for intervals.

    Raises:
        DataError: for no results, and for those that no number can be computed of, as `results.check_results` does.
    """
    check_results(results, len(class_names))
    pictures = pool(results, len(class_names))
    pairs = overlaps(pictures)
    crowd, unwanted = pictures.truth.crowd, pictures.truth.unwanted
    by_coco, matched = coco_outcomes(pictures, pairs), match_wanted(pictures, pairs)
    outcome = outcomes(matched, unwanted)
    ranking = coco_ranking(pictures, by_coco, crowd)
    draws = resampled(ranking, len(pictures.images), num_resamples(len(pictures.found.cls)), seed)
    per_class_curves = curves(pictures, outcome, unwanted)
    errors = mistakes(pictures, pairs, matched, unwanted)
    return Analysis(
        title=title,
        step=step,
        class_names=tuple(class_names),
        num_objects=int(np.count_nonzero(~crowd)),
        metrics=dict(metrics or {}),
        losses=dict(losses or {}),
        intervals=_intervals(ranking, draws),
        per_class=_per_class(pictures, class_names, ranking, draws, per_class_curves),
        curves=[thinned(one) for one in per_class_curves],
        error_kinds=error_kinds(pictures, errors, unwanted),
        groups={
            "size": groups.by_size(pictures, pairs),
            "aspect": groups.by_aspect(pictures, pairs),
            "crowding": groups.by_crowding(pictures, coco_ranking(pictures, by_coco[:1], crowd)),
        },
        calibration=calibration(pictures.found.score, outcome),
        images=_pictures(pictures, groups.by_image(pictures, by_coco[0], crowd), previews or {}),
        truth=TruthTable(**{key.name: getattr(pictures.truth, key.name) for key in fields(TruthTable)}),
        found=_found_table(
            pictures, matched, pair(pictures, pairs, MATCH_IOU, unwanted), errors.kind, pairs.best
        ),
    )


def _intervals(ranking: Ranking, draws: Resampled) -> dict[str, Interval]:
    """Return the intervals of mAP and AP50, without those that fewer than two pictures with objects cannot give."""
    if len(np.unique(ranking.object_image)) < 2:
        return {}
    both = dict(zip(NAMES[:2], (interval(draws.mean_AP), interval(draws.mean_AP50)), strict=True))
    return {name: bounds for name, bounds in both.items() if bounds}


def _per_class(
    pictures: Pool,
    class_names: Sequence[str],
    ranking: Ranking,
    draws: Resampled,
    class_curves: Sequence[Curve],
) -> list[ClassResult]:
    once = np.ones(len(pictures.images), np.int64)
    precisions, recalls = ranking.average_precision(once), ranking.recall(once)
    objects, enough = ranking.num_objects(once), num_images_with_objects(ranking) > 1
    detections = np.bincount(pictures.found.cls, minlength=len(class_names))
    best = [best_threshold(one) for one in class_curves]
    return [
        ClassResult(
            name=name,
            num_objects=int(objects[i]),
            num_detections=int(detections[i]),
            AP=_known(precisions[:, i].mean()),
            AP50=_known(precisions[_AT_50, i]),
            AP75=_known(precisions[_AT_75, i]),
            AR100=_known(recalls[:, i].mean()),
            AP_interval=interval(draws.AP[:, i]) if enough[i] else None,
            best_threshold=trade.score if (trade := best[i]) else None,
            precision=trade.precision if trade else None,
            recall=trade.recall if trade else None,
            f1=trade.f1 if trade else None,
        )
        for i, name in enumerate(class_names)
    ]


def _pictures(pictures: Pool, AP50: Floats, previews: Mapping[str, str]) -> list[Picture]:
    return [
        Picture(one.name, int(one.height), int(one.width), previews.get(one.name), _known(value))
        for one, value in zip(pictures.images, AP50, strict=True)
    ]


def _found_table(pictures: Pool, matched: Ints, paired: Ints, kind: Ints, iou: Floats) -> FoundTable:
    found, first = pictures.found, pictures.first_truth
    return FoundTable(
        image=found.image,
        box=found.box,
        cls=found.cls,
        score=found.score,
        match=_within(matched, found.image, first),
        confusion=_within(paired, found.image, first),
        kind=kind,
        iou=iou,
    )


def _within(truth: Ints, image: Ints, first: Ints) -> Ints:
    """Return int [k]: objects counted within their picture instead of in all; -1 stays."""
    return np.where(truth < 0, -1, truth - first[image])


def _flat(truth: Ints, image: Ints, true_image: Ints) -> Ints:
    """Return int [k]: objects counted in all pictures instead of within their own; -1 stays."""
    return np.where(truth < 0, -1, truth + np.searchsorted(true_image, image))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def results_of(analysis: Analysis) -> list[ImageResult]:
    """Return the results that an analysis was made of, as far as it keeps them: without masks and the like."""
    pictures = np.arange(len(analysis.images) + 1)
    truth, found = analysis.truth, analysis.found
    true_bounds, bounds = (np.searchsorted(table.image, pictures).tolist() for table in (truth, found))
    return [
        ImageResult(
            name=picture.name,
            height=picture.height,
            width=picture.width,
            true_boxes=truth.box[true],
            true_classes=truth.cls[true],
            is_crowd=truth.crowd[true],
            difficult=truth.difficult[true],
            boxes=found.box[own],
            classes=found.cls[own],
            scores=found.score[own],
        )
        for picture, true, own in zip(
            analysis.images,
            (slice(*pair) for pair in pairwise(true_bounds)),
            (slice(*pair) for pair in pairwise(bounds)),
            strict=True,
        )
    ]


def to_json(analysis: Analysis) -> dict[str, Any]:
    """Return `analysis` as an object of JSON: numbers to 6 digits, None for what is not finite.

    Scores and boxes of detections have as many as it takes to compute the same numbers again.
    """
    return {
        "version": VERSION,
        "title": analysis.title,
        "step": analysis.step,
        "num_images": len(analysis.images),
        "num_objects": analysis.num_objects,
        "classes": list(analysis.class_names),
        **{
            name: _plain(getattr(analysis, name))
            for name in (
                "metrics",
                "losses",
                "intervals",
                "per_class",
                "curves",
                "error_kinds",
                "groups",
                "calibration",
            )
        },
        "images": [
            _plain(picture) | {"truth": truth, "found": found}
            for picture, truth, found in zip(
                analysis.images,
                _columns_by_image(analysis.truth, len(analysis.images)),
                _columns_by_image(analysis.found, len(analysis.images)),
                strict=True,
            )
        ],
        "kinds": list(KINDS),
    }


def _plain(value: Any) -> Any:
    """Return rows, names and numbers as JSON has them."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _rounded("", value)
    if hasattr(value, "__dataclass_fields__"):
        return {key.name: _plain(getattr(value, key.name)) for key in fields(value)}
    return value


_KEYS = {"cls": "class"}


def _columns_by_image(table: TruthTable | FoundTable, num_images: int) -> list[dict[str, list]]:
    bounds = np.searchsorted(table.image, np.arange(num_images + 1)).tolist()
    names = [key.name for key in fields(table) if key.name != "image"]
    columns = {_KEYS.get(name, name): _rounded(name, getattr(table, name)) for name in names}
    return [{name: column[a:b] for name, column in columns.items()} for a, b in pairwise(bounds)]


def _rounded(name: str, column: np.ndarray) -> list:
    if column.dtype == bool:
        return column.astype(int).tolist()
    if name == "score":
        return _exact(column)
    return np.round(column, 4 if name == "box" else 6).tolist()


def _exact(column: Floats) -> list:
    """Return numbers that are read as the same again, as short as can be where they come from float32.

    Rounded, scores of a detector that has learned little would be equal, and their order another.
    """
    single = column.astype(np.float32)
    return np.where(single == column, single.astype(str).astype(float), column).tolist()


def from_json(document: Mapping[str, Any]) -> Analysis:
    """Return the analysis that `to_json` has written, as far as its digits go.

    Raises:
        DataError: telling what is absent or of another kind, or that the version is another.
    """
    try:
        if document["version"] != VERSION:
            raise DataError(
                f"an evaluation of version {document['version']!r}: only {VERSION} can be read. Evaluate again."
            )
        return _checked(_from_json(document))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(
            f"not the JSON of an evaluation: {type(error).__name__}: {error}. Evaluate again."
        ) from error


def _from_json(document: Mapping[str, Any]) -> Analysis:
    images = document["images"]
    return Analysis(
        title=document["title"],
        step=document["step"],
        class_names=tuple(document["classes"]),
        num_objects=document["num_objects"],
        metrics=dict(document["metrics"]),
        losses=dict(document["losses"]),
        intervals={name: Interval(*bounds) for name, bounds in document["intervals"].items()},
        per_class=[
            ClassResult(
                **row | {"AP_interval": Interval(*row["AP_interval"]) if row["AP_interval"] else None}
            )
            for row in document["per_class"]
        ],
        curves=[
            Curve(**{key: np.array(column, float) for key, column in row.items()})
            for row in document["curves"]
        ],
        error_kinds=[ErrorKind(**row) for row in document["error_kinds"]],
        groups={name: [Group(**row) for row in rows] for name, rows in document["groups"].items()},
        calibration=Calibration(
            document["calibration"]["error"], [Bin(**row) for row in document["calibration"]["bins"]]
        ),
        images=[Picture(**{key.name: image[key.name] for key in fields(Picture)}) for image in images],
        truth=TruthTable(
            **_columns([image["truth"] for image in images], box=float, cls=int, crowd=bool, difficult=bool)
        ),
        found=FoundTable(
            **_columns(
                [image["found"] for image in images],
                box=float,
                cls=int,
                score=float,
                match=int,
                confusion=int,
                kind=int,
                iou=float,
            )
        ),
    )


def _checked(analysis: Analysis) -> Analysis:
    """Raise ValueError where a table counts what is not there."""
    truth, found = analysis.truth, analysis.found
    objects = np.bincount(truth.image, minlength=len(analysis.images))[found.image]
    for name, column, low, high in (
        ("class of an object", truth.cls, 0, len(analysis.class_names)),
        ("class", found.cls, 0, len(analysis.class_names)),
        ("kind", found.kind, 0, len(KINDS)),
        ("match", found.match, -1, objects),
        ("confusion", found.confusion, -1, objects),
    ):
        if np.any((column < low) | (column >= high)):
            raise ValueError(f"a {name} is out of range")
    return analysis


def _columns(rows: Iterable[Mapping[str, list]], **dtypes: type) -> dict[str, np.ndarray]:
    """Return the lists of each picture as columns of all."""
    rows = list(rows)
    columns: dict[str, np.ndarray] = {
        name: np.array([value for row in rows for value in row[_KEYS.get(name, name)]], dtype)
        for name, dtype in dtypes.items()
    }
    columns["box"] = columns["box"].reshape(-1, 4)
    if len({len(column) for column in columns.values()}) > 1:
        raise ValueError("columns of different lengths")
    return columns | {"image": np.repeat(np.arange(len(rows)), [len(row["box"]) for row in rows])}
