"""Label maps as scripts and notebooks import them from the API's module of this name."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from boxtune import config
from boxtune.config.pipeline_pb2 import LVISFrequency, StringIntLabelMap, StringIntLabelMapItem
from boxtune.errors import DataError

Category = dict[str, Any]
"""A class: `id` and `name`, and where the label map has them `frequency` ("f", "c" or "r"), `instance_count` and
`keypoints` (each one's id by its label).
"""
Validator = Callable[[StringIntLabelMap], None]

_FREQUENCIES = {"FREQUENT": "f", "COMMON": "c", "RARE": "r"}


class LabelMapError(DataError, ValueError):
    """A label map that cannot be used; a ValueError too, which is what the API raises."""


def load_labelmap(path: str | os.PathLike[str], validator: Validator | None = None) -> StringIntLabelMap:
    """Return the label map of a text file.

    Raises DataError if it cannot be read, and LabelMapError, or what `validator` raises, if its ids are unusable.
    """
    label_map = config.read_label_map(path)
    (validator or _validate_label_map)(label_map)
    return label_map


def get_label_map_dict(
    label_map_path_or_proto: str | os.PathLike[str] | StringIntLabelMap,
    use_display_name: bool = False,
    fill_in_gaps_and_background: bool = False,
    validator: Validator | None = None,
) -> dict[str, int]:
    """Return the id of each name.

    A class that lacks the name that is asked for goes by its other one. With `fill_in_gaps_and_background`, id 0
    is called "background" unless it has a name, and an id without a class by its number. Raises as `load_labelmap`.
    """
    label_map = _validated(label_map_path_or_proto, validator)
    ids = {_name(item, use_display_name): item.id for item in label_map.item}
    return _without_gaps(ids) if fill_in_gaps_and_background else ids


def get_label_map_hierarchy_lut(
    label_map_path_or_proto: str | os.PathLike[str] | StringIntLabelMap, include_identity: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return two tables int64 [max_id, max_id]: entry [i, j] is 1 if class j + 1 is above, or below, class i + 1.

    With `include_identity` each class is above and below itself. Raises as `load_labelmap`, and LabelMapError if a
    class is related to one that the label map lacks.
    """
    label_map = _validated(label_map_path_or_proto)
    size = get_max_label_map_index(label_map)
    diagonal = np.eye(size, dtype=np.int64) * include_identity
    ancestors, descendants = diagonal.copy(), diagonal.copy()
    for item in (item for item in label_map.item if item.id):  # but the background
        for table, related in ((ancestors, item.ancestor_ids), (descendants, item.descendant_ids)):
            for other in related:
                if not 0 < other <= size:
                    raise LabelMapError(
                        f'The class "{item.name}" of the label map is related to class {other}, which is not there.'
                    )
                table[item.id - 1, other - 1] = 1
    return ancestors, descendants


def get_max_label_map_index(label_map: StringIntLabelMap) -> int:
    """Return the highest id; raise LabelMapError if there are no classes."""
    if not label_map.item:
        raise LabelMapError("The label map has no classes; it holds item { id: 1 name: 'x' } for each.")
    return max(item.id for item in label_map.item)


def create_category_index(categories: Iterable[Category]) -> dict[int, Category]:
    """Return the categories by id."""
    return {category["id"]: category for category in categories}


def convert_label_map_to_categories(
    label_map: StringIntLabelMap | None, max_num_classes: int, use_display_name: bool = True
) -> list[Category]:
    """Return the classes with ids in [1, `max_num_classes`], the first of each id, in the order of the label map.

    Without a label map the classes are called "category_1" and so on. Raises LabelMapError if a class has two
    keypoints of one id.
    """
    if label_map is None:
        return [{"id": number, "name": f"category_{number}"} for number in range(1, max_num_classes + 1)]
    categories: dict[int, Category] = {}
    for item in label_map.item:
        if 0 < item.id <= max_num_classes and item.id not in categories:
            categories[item.id] = _category(item, use_display_name)
    return list(categories.values())


def create_categories_from_labelmap(
    label_map_path: str | os.PathLike[str], use_display_name: bool = True
) -> list[Category]:
    """Return the classes of a label map's file; raise as `load_labelmap` and `convert_label_map_to_categories`."""
    label_map = load_labelmap(label_map_path)
    return convert_label_map_to_categories(label_map, get_max_label_map_index(label_map), use_display_name)


def create_category_index_from_labelmap(
    label_map_path: str | os.PathLike[str], use_display_name: bool = True
) -> dict[int, Category]:
    """Return the classes of a label map's file by id, such as ``{1: {"id": 1, "name": "cat"}}``; raise likewise."""
    return create_category_index(create_categories_from_labelmap(label_map_path, use_display_name))


def create_class_agnostic_category_index() -> dict[int, Category]:
    """Return the one class "object" by its id 1."""
    return {1: {"id": 1, "name": "object"}}


def _validated(
    label_map_path_or_proto: str | os.PathLike[str] | StringIntLabelMap, validator: Validator | None = None
) -> StringIntLabelMap:
    if isinstance(label_map_path_or_proto, (str, os.PathLike)):
        return load_labelmap(label_map_path_or_proto, validator)
    (validator or _validate_label_map)(label_map_path_or_proto)
    return label_map_path_or_proto


def _validate_label_map(label_map: StringIntLabelMap) -> None:
    for item in label_map.item:
        if item.id < 0:
            raise LabelMapError(
                f'The class "{item.name}" of the label map has the id {item.id}. Ids count from 1.'
            )
        if item.id == 0 and "background" not in (item.name, item.display_name):
            raise LabelMapError(
                f'The class "{item.name}" of the label map has the id 0, which is that of the background.'
                " Ids count from 1."
            )


def _name(item: StringIntLabelMapItem, use_display_name: bool) -> str:
    if use_display_name:
        return item.display_name or item.name
    return item.name or item.display_name


def _without_gaps(ids: dict[str, int]) -> dict[str, int]:
    taken = set(ids.values())
    filled = ids if 0 in taken else ids | {"background": 0}
    return filled | {str(number): number for number in range(1, max(taken, default=0)) if number not in taken}


def _category(item: StringIntLabelMapItem, use_display_name: bool) -> Category:
    category: Category = {"id": item.id, "name": _name(item, use_display_name)}
    frequency = _FREQUENCIES.get(LVISFrequency.Name(item.frequency))
    if frequency:
        category["frequency"] = frequency
    if item.HasField("instance_count"):
        category["instance_count"] = item.instance_count
    if item.keypoints:
        category["keypoints"] = _keypoint_ids(item)
    return category


def _keypoint_ids(item: StringIntLabelMapItem) -> dict[str, int]:
    ids = [keypoint.id for keypoint in item.keypoints]
    if len(set(ids)) < len(ids):
        raise LabelMapError(f'The class "{item.name}" of the label map has two keypoints of one id: {ids}.')
    return {keypoint.label: keypoint.id for keypoint in item.keypoints}
