"""The metrics of Open Images and its challenges: groups, labels of whole images, and a hierarchy of classes."""

from collections.abc import Sequence

import numpy as np

from boxtune.metrics.metric_sets import MetricSet
from boxtune.metrics.pascal_matching import area_under, label_boxes, label_masks, tabulate_backwards
from boxtune.metrics.pascal_voc import named
from boxtune.metrics.results import Numbers, Results, without_unknown_classes


def v2_metrics(results: Results, class_names: Sequence[str]) -> Numbers:
    """Return the mean average precision of Open Images V2: what lies in a group does not count.

    Difficult objects are objects like others. Source: the API's utils/object_detection_evaluation.py.
    """
    return box_metrics(results, class_names, "OpenImagesV2", group_of_weight=0.0)


def challenge_detection_metrics(results: Results, class_names: Sequence[str]) -> Numbers:
    """Return the mean average precision of the Open Images Challenge.

    A group is one object, found by the best detection that lies in it; detections of classes that nobody looked for in
    the image do not count (`ImageResult.present_classes` and `absent_classes`).
    """
    known = [without_unknown_classes(result) for result in results]
    return box_metrics(known, class_names, "OpenImagesDetectionChallenge", group_of_weight=1.0)


def challenge_segmentation_metrics(results: Results, class_names: Sequence[str]) -> Numbers:
    """Return the mean average precision of masks of the Open Images Challenge.

    What lies in a group, or finds an object that has a box alone, does not count.
    """
    table = tabulate_backwards([without_unknown_classes(result) for result in results], len(class_names))
    difficult = np.zeros(len(table.groundtruth.cls), bool)
    labels = label_masks(table, 0.5, difficult=difficult, group_of=table.groundtruth.group_of)
    return named(labels, class_names, "OpenImagesInstanceSegmentationChallenge", 0.5, area_under)


def box_metrics(
    results: Results, class_names: Sequence[str], prefix: str, *, group_of_weight: float
) -> Numbers:
    """Return the mean average precision of boxes, and each; the best detection in a group is right by its weight."""
    table = tabulate_backwards(results, len(class_names))
    difficult, group_of = np.zeros(len(table.groundtruth.cls), bool), table.groundtruth.group_of
    labels = label_boxes(table, 0.5, difficult=difficult, group_of=group_of, group_of_weight=group_of_weight)
    return named(labels, class_names, prefix, 0.5, area_under)


METRIC_SETS: dict[str, MetricSet] = {
    "oid_V2_detection_metrics": lambda results, names, _: v2_metrics(results, names),
    "open_images_V2_detection_metrics": lambda results, names, _: v2_metrics(results, names),
    "oid_challenge_detection_metrics": lambda results, names, _: challenge_detection_metrics(results, names),
    "oid_challenge_segmentation_metrics": (
        lambda results, names, _: challenge_segmentation_metrics(results, names)
    ),
}
