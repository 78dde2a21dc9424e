"""The metrics of Open Images and its challenges: groups, labels of whole pictures, and a hierarchy of classes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from boxtune.errors import DataError
from boxtune.metrics.metric_sets import MetricSet
from boxtune.metrics.pascal_matching import area_under, label_boxes, label_masks, tabulate_backwards
from boxtune.metrics.pascal_voc import named
from boxtune.metrics.results import Classes, ImageResult, without_unknown

_MAX_NODES = 100_000
_MAX_BYTES = 64_000_000


def v2_metrics(results: Sequence[ImageResult], class_names: Sequence[str]) -> dict[str, float]:
    """Return the mean average precision of Open Images V2: what lies in a group does not count.

    Difficult objects are objects like others. Source: the API's utils/object_detection_evaluation.py.
    """
    return box_metrics(results, class_names, "OpenImagesV2", group_of_weight=0.0)


def challenge_detection_metrics(
    results: Sequence[ImageResult], class_names: Sequence[str]
) -> dict[str, float]:
    """Return the mean average precision of the Open Images Challenge.

    A group is one object, found by the best detection that lies in it; detections of classes that nobody looked for in
    the picture do not count (`ImageResult.present_classes` and `absent_classes`).
    """
    known = [without_unknown(result) for result in results]
    return box_metrics(known, class_names, "OpenImagesDetectionChallenge", group_of_weight=1.0)


def challenge_segmentation_metrics(
    results: Sequence[ImageResult], class_names: Sequence[str]
) -> dict[str, float]:
    """Return the mean average precision of masks of the Open Images Challenge.

    What lies in a group, or finds an object that has a box alone, does not count.
    """
    table = tabulate_backwards([without_unknown(result) for result in results], len(class_names))
    difficult = np.zeros(len(table.truth.group), bool)
    labels = label_masks(table, 0.5, difficult=difficult, group_of=table.truth.group_of)
    return named(labels, class_names, "OpenImagesInstanceSegmentationChallenge", 0.5, area_under)


def box_metrics(
    results: Sequence[ImageResult], class_names: Sequence[str], prefix: str, *, group_of_weight: float
) -> dict[str, float]:
    """Return the mean average precision of boxes, and each; the best detection in a group is right by its weight."""
    table = tabulate_backwards(results, len(class_names))
    labels = label_boxes(
        table,
        0.5,
        difficult=np.zeros(len(table.truth.group), bool),
        group_of=table.truth.group_of,
        group_of_weight=group_of_weight,
    )
    return named(labels, class_names, prefix, 0.5, area_under)


@dataclass(frozen=True)
class Hierarchy:
    """For each class that it has, the classes above it and those below it."""

    above: dict[str, frozenset[str]]
    below: dict[str, frozenset[str]]


def read_hierarchy(path: Path) -> Hierarchy:
    """Read Open Images' hierarchy of classes: JSON of `{"LabelName": ..., "Subcategory": [...]}`.

    The root stands for all classes together and is none itself. A class may be in several places.

    Raises:
        DataError: naming the file, if it is none.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path}: too large for a hierarchy of classes.")
        tree = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: no hierarchy of classes in JSON: {error}.") from error
    above: dict[str, set[str]] = {}
    # Without recursion: how deep it goes is up to the file.
    open_nodes: list[tuple[Any, tuple[str, ...]]] = [(node, ()) for node in _children(tree, path)]
    for _ in range(_MAX_NODES):
        if not open_nodes:
            break
        node, parents = open_nodes.pop()
        name = node.get("LabelName") if isinstance(node, dict) else None
        if not isinstance(name, str):
            raise DataError(f"{path}: a class of the hierarchy has no LabelName: {node!r:.80}.")
        above.setdefault(name, set()).update(parents)
        open_nodes += [(child, (*parents, name)) for child in _children(node, path)]
    else:
        raise DataError(f"{path}: more than {_MAX_NODES} classes in the hierarchy.")
    return _hierarchy(above)


def _children(node: Any, path: Path) -> list[Any]:
    children = node.get("Subcategory", []) if isinstance(node, dict) else None
    if not isinstance(children, list):
        raise DataError(f"{path}: a class of the hierarchy has a Subcategory that is no list: {node!r:.80}.")
    return children


def _hierarchy(above: dict[str, set[str]]) -> Hierarchy:
    below: dict[str, set[str]] = {name: set() for name in above}
    for name, parents in above.items():
        for parent in parents:
            below[parent].add(name)
    return Hierarchy(
        {name: frozenset(names) for name, names in above.items()},
        {name: frozenset(names) for name, names in below.items()},
    )


def expand(result: ImageResult, class_names: Sequence[str], hierarchy: Hierarchy) -> ImageResult:
    """Return the result with the truth that follows from the hierarchy; its detections stay.

    Each object is also one of every class above its own. What is in the picture has all classes above it in the
    picture, and what is not has none below it. Classes that `class_names` lacks are left out. Source: the API's
    dataset_tools/oid_hierarchical_labels_expansion.py.

    Raises:
        DataError: for a class that the hierarchy lacks.
    """
    above = [_indices(hierarchy.above, class_names, cls) for cls in result.true_classes]
    rows = np.repeat(np.arange(len(above)), [1 + len(parents) for parents in above])
    pairs = zip(result.true_classes.tolist(), above, strict=True)
    classes = [cls for own, parents in pairs for cls in (own, *parents)]
    return replace(
        result,
        true_boxes=result.true_boxes[rows],
        true_classes=np.array(classes, np.int64),
        is_crowd=result.is_crowd[rows],
        difficult=result.difficult[rows],
        group_of=result.group_of[rows],
        true_areas=result.true_areas[rows],
        true_masks=None if result.true_masks is None else [result.true_masks[row] for row in rows.tolist()],
        true_keypoints=None if result.true_keypoints is None else result.true_keypoints[rows],
        true_visibility=None if result.true_visibility is None else result.true_visibility[rows],
        present_classes=_expanded(result.present_classes, class_names, hierarchy.above),
        absent_classes=_expanded(result.absent_classes, class_names, hierarchy.below),
    )


def _expanded(
    classes: Classes | None, class_names: Sequence[str], related: dict[str, frozenset[str]]
) -> Classes | None:
    if classes is None:
        return None
    found = {int(cls) for cls in classes}
    for cls in classes:
        found.update(_indices(related, class_names, int(cls)))
    return np.array(sorted(found), np.int64)


def _indices(related: dict[str, frozenset[str]], class_names: Sequence[str], cls: int) -> list[int]:
    name = class_names[cls]
    if name not in related:
        raise DataError(
            f'the class "{name}" is not in the hierarchy of classes, whose names are like "{min(related, default="")}".'
        )
    return [index for index, other in enumerate(class_names) if other in related[name]]


METRIC_SETS: dict[str, MetricSet] = {
    "oid_V2_detection_metrics": lambda results, names, _: v2_metrics(results, names),
    "open_images_V2_detection_metrics": lambda results, names, _: v2_metrics(results, names),
    "oid_challenge_detection_metrics": lambda results, names, _: challenge_detection_metrics(results, names),
    "oid_challenge_segmentation_metrics": (
        lambda results, names, _: challenge_segmentation_metrics(results, names)
    ),
}
