"""The metrics of LVIS: many classes, each looked for in some of the images only."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from boxtune.errors import ConfigError, many
from boxtune.metrics.coco import AT_50, AT_75, NO_OPTIONS, Averages, Options, averages, mean
from boxtune.metrics.metric_sets import MetricSet
from boxtune.metrics.results import (
    ImageResult,
    Numbers,
    Results,
    known_classes,
    select_detections,
    without_unknown_classes,
)
from boxtune.metrics.tables import (
    Bools,
    Floats,
    Overlap,
    Table,
    box_overlap,
    detection_masks,
    mask_areas,
    mask_overlap,
    tabulate,
)

NAMES = (
    *("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf"),
    *("AR@300", "ARs@300", "ARm@300", "ARl@300"),
)
"""Small, medium, large; rare, common, frequent."""
FREQUENCIES = "rcf"
_MAX_DETECTIONS = 300


def box_metrics(results: Results, class_names: Sequence[str], options: Options = NO_OPTIONS) -> Numbers:
    """Return LVIS' numbers of boxes, named `DetectionBoxes_AP` and so on, and the AP of each class.

    A detection counts if its class is known to be in the image or not to be (`ImageResult.present_classes` and
    `absent_classes`); where a class is not exhaustively marked, a detection that finds nothing is not wrong. The 300
    best detections of an image count, and none without area. Source: Gupta et al. 2019 (arXiv:1908.03195), section 4
    and appendix, and its evaluation code. An image without labels, among others that have some, has no classes but
    those of its objects; where no image has any, every class was looked for in all.

    Args:
        options: its `frequencies` are by class, `r`, `c` or `f`: in up to 10, up to 100 or more images of training; ""
            for unknown. Without them APr, APc and APf are -1. `per_category` adds
            `DetectionBoxes_PerformanceByCategory/AP/NAME`.

    Raises:
        ConfigError: for frequencies that are not such letters, one for each class.
    """
    table = _tabulate(results, class_names)
    measured = _averages(table, box_overlap, table.detections.area)
    return _named("DetectionBoxes_", measured, class_names, options)


def mask_metrics(results: Results, class_names: Sequence[str], options: Options = NO_OPTIONS) -> Numbers:
    """Return the same of masks, named `DetectionMasks_AP` and so on."""
    table = _tabulate(results, class_names)
    measured = _averages(table, mask_overlap, mask_areas(detection_masks(table)))
    return _named("DetectionMasks_", measured, class_names, options)


def _tabulate(results: Results, class_names: Sequence[str]) -> Table:
    are_labelled = [known_classes(result) is not None for result in results]
    if any(are_labelled) or any(len(result.not_exhaustive_classes) for result in results):
        results = [
            result if is_labelled else replace(result, absent_classes=np.zeros(0, np.int64))
            for result, is_labelled in zip(results, are_labelled, strict=True)
        ]
    return tabulate([without_unknown_classes(_most_certain(result)) for result in results], len(class_names))


def _most_certain(result: ImageResult) -> ImageResult:
    if len(result.scores) <= _MAX_DETECTIONS:
        return result
    best = np.argsort(-result.scores.astype(np.float64), kind="stable")[:_MAX_DETECTIONS]
    return select_detections(result, best)


def _averages(table: Table, overlap: Callable[[Table, Bools], Overlap], areas: Floats) -> Averages:
    # A crowd is an object like others here, and what has no area is not there at all.
    none = np.zeros(len(table.groundtruth.cls), bool)
    return averages(
        table,
        overlap(table, none),
        areas,
        ignored=table.groundtruth.area <= 0,
        reusable=none,
        forgiven=_not_exhaustive(table) | (areas <= 0),
        max_detections=(_MAX_DETECTIONS,),
    )


def _not_exhaustive(table: Table) -> Bools:
    """Return which detections [k] are of a class that is not exhaustively marked in their image."""
    groups = [
        image * table.num_classes + result.not_exhaustive_classes.astype(np.int64)
        for image, result in enumerate(table.images)
    ]
    return np.isin(table.group(table.detections), np.concatenate(groups))


def _named(prefix: str, found: Averages, class_names: Sequence[str], options: Options) -> Numbers:
    precision, recall = found.precision, found.recall[..., 0]
    numbers = [
        mean(precision[:, :, 0]),
        mean(precision[AT_50, :, 0]),
        mean(precision[AT_75, :, 0]),
        *(mean(precision[:, :, size]) for size in (1, 2, 3)),
        *(mean(precision[:, classes, 0]) for classes in _by_frequency(options.frequencies, class_names)),
        *(mean(recall[:, :, size]) for size in (0, 1, 2, 3)),
    ]
    named = {prefix + name: value for name, value in zip(NAMES, numbers, strict=True)}
    if options.per_category:
        named |= {
            f"{prefix}PerformanceByCategory/AP/{name}": mean(precision[:, index, 0])
            for index, name in enumerate(class_names)
        }
    return named


def _by_frequency(frequencies: Sequence[str], class_names: Sequence[str]) -> list[list[int]]:
    if not frequencies:
        return [[], [], []]
    if len(frequencies) != len(class_names) or not set(frequencies) <= {*FREQUENCIES, ""}:
        raise ConfigError(
            f"frequencies of LVIS have to be one of r, c, f for each of {many(len(class_names), 'class', 'classes')}, "
            f"not {list(frequencies)!r:.80}."
        )
    return [[index for index, one in enumerate(frequencies) if one == letter] for letter in FREQUENCIES]


METRIC_SETS: dict[str, MetricSet] = {"lvis_detection_metrics": box_metrics, "lvis_mask_metrics": mask_metrics}
