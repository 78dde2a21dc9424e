"""Two runs on the same images: which objects only one of them finds, and whether they differ by more than chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from boxtune.errors import DataError, some
from boxtune.metrics.average_precision import Ranking, coco_ranking, mean
from boxtune.metrics.bootstrap import CONFIDENCE, Interval, interval, num_resamples, resampled
from boxtune.metrics.coco import NAMES
from boxtune.metrics.matching import RIGHT, coco_outcomes, match_at_50, outcomes, reaches
from boxtune.metrics.results import ImageResult, Results, check_results
from boxtune.metrics.tables import Floats, Pairs, Table, near_pairs, tabulate

_TOLERANCE = 0.01  # pixels: less is the rounding of a file
_EXAMPLES = 3


@dataclass(frozen=True)
class FoundObject:
    """An object that one run finds and the other does not; the box in pixels, `score` of the run that finds it."""

    image: str
    index: int
    class_name: str
    ymin: float
    xmin: float
    ymax: float
    xmax: float
    score: float


@dataclass(frozen=True)
class Difference:
    """How much the second run is better in a number, and whether that is more than the chance of these images.

    Attributes:
        name: the API's name of the number.
        first, second: the number of each run, None without objects.
        difference: second - first.
        interval: of CONFIDENCE, by resampling images for both runs alike; None where fewer than two have objects.
        p_value: in (0, 1], two-sided, from the same resamples; None as `interval`.
        significant: the p-value is below 1 - CONFIDENCE.
    """

    name: str
    first: float | None
    second: float | None
    difference: float | None
    interval: Interval | None
    p_value: float | None
    significant: bool


@dataclass(frozen=True)
class Comparison:
    """The second of two runs beside the first; objects at an IoU of 0.5 and scores of `threshold` or better."""

    threshold: float
    fixed: list[FoundObject]
    broken: list[FoundObject]
    differences: list[Difference]
    num_resamples: int


def compare(
    first: Results, second: Results, class_names: Sequence[str], *, threshold: float = 0.5, seed: int = 0
) -> Comparison:
    """Compare two runs on the same images, in any order.

    Fixed is an object that only the second run finds, broken one that only the first does; crowds and difficult objects
    are left out. mAP and AP50 are COCO's.

    Raises:
        DataError: naming images that only one run has or whose groundtruth differs; and as `check_results` does.
    """
    for results in (first, second):
        check_results(results, len(class_names))
    before, after = (tabulate(results, len(class_names)) for results in (first, second))
    _check(before, after)
    near = [(one, near_pairs(one)) for one in (before, after)]
    scores = [_scores(one, pairs, threshold) for one, pairs in near]
    rankings = [coco_ranking(one, coco_outcomes(one, pairs), one.groundtruth.crowd) for one, pairs in near]
    number = num_resamples(len(before.detections.cls) + len(after.detections.cls))
    return Comparison(
        threshold,
        _only(before, class_names, scores[1], scores[0]),
        _only(before, class_names, scores[0], scores[1]),
        _differences(rankings[0], rankings[1], len(before.images), number, seed),
        number,
    )


def _check(first: Table, second: Table) -> None:
    names = [[image.name for image in one.images] for one in (first, second)]
    for here, there, which in ((names[0], names[1], "first"), (names[1], names[0], "second")):
        alone = sorted(set(here) - set(there))
        _refuse(f"are in the {which} run alone", alone, "Evaluate both runs on the same images.")
    different = [
        a.name for a, b in zip(first.images, second.images, strict=True) if not _same_groundtruth(a, b)
    ]
    _refuse(
        "have other objects in the second run than in the first",
        different,
        "Use the same annotations for both.",
    )


def _refuse(fault: str, names: list[str], way_out: str) -> None:
    if names:
        raise DataError(
            f"Runs cannot be compared: images that {fault}: {len(names)} ({some(names, _EXAMPLES)}). {way_out}"
        )


def _same_groundtruth(first: ImageResult, second: ImageResult) -> bool:
    return (
        np.array_equal(first.groundtruth_classes, second.groundtruth_classes)
        and np.array_equal(first.is_crowd, second.is_crowd)
        and np.array_equal(first.difficult, second.difficult)
        and np.allclose(first.groundtruth_boxes, second.groundtruth_boxes, rtol=0, atol=_TOLERANCE)
    )


def _scores(table: Table, pairs: Pairs, threshold: float) -> Floats:
    """Return float [n]: the score with which each object that counts is found, NaN where it is not."""
    matched = match_at_50(table, pairs)
    right = outcomes(matched, table.groundtruth.ignored) == RIGHT
    finds = right & reaches(table.detections.score, threshold)
    scores = np.full(len(table.groundtruth.cls), np.nan)
    scores[matched[finds]] = table.detections.score[finds]
    return scores


def _only(table: Table, class_names: Sequence[str], score: Floats, other: Floats) -> list[FoundObject]:
    """Return the objects that have a `score` and no `other`, both float [n]."""
    objects = table.groundtruth
    return [
        FoundObject(
            image=table.images[objects.image[i]].name,
            index=int(i - table.first_object[objects.image[i]]),
            class_name=class_names[objects.cls[i]],
            **dict(zip(("ymin", "xmin", "ymax", "xmax"), objects.box[i].tolist(), strict=True)),
            score=float(score[i]),
        )
        for i in np.flatnonzero(~np.isnan(score) & np.isnan(other))
    ]


def _differences(
    first: Ranking, second: Ranking, num_images: int, number: int, seed: int
) -> list[Difference]:
    before, after = (ranking.average_precision() for ranking in (first, second))
    draws = [resampled(ranking, num_images, number, seed) for ranking in (first, second)]
    several = len(np.unique(first.object_image)) > 1
    changes = [draws[1].mean_AP - draws[0].mean_AP, draws[1].mean_AP50 - draws[0].mean_AP50]
    numbers = [(mean(before), mean(after)), (mean(before[:1]), mean(after[:1]))]
    return [
        _difference(name, *values, change if several else change[:0])
        for name, values, change in zip(NAMES[:2], numbers, changes, strict=True)
    ]


def _difference(name: str, first: float | None, second: float | None, changes: Floats) -> Difference:
    """Judge the difference by the `changes` of resamples: how rarely they point to the other side."""
    if first is None or second is None:
        return Difference(name, None, None, None, None, None, False)
    changes = changes[~np.isnan(changes)]
    if not len(changes):
        return Difference(name, first, second, second - first, None, None, False)
    against = min(np.count_nonzero(changes <= 0), np.count_nonzero(changes >= 0))
    p_value = min(1.0, 2 * (1 + against) / (1 + len(changes)))
    significant = bool(p_value < 1 - CONFIDENCE)
    return Difference(name, first, second, second - first, interval(changes), p_value, significant)
