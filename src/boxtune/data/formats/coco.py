"""COCO's JSON, as COCO itself, Roboflow, CVAT, Label Studio and many others write it: one file about many images.

Boxes are [x, y, width, height] in pixels; an object without one has that of its segmentation. Polygons and run lengths,
compressed or not, are kept as masks, and keypoints under the names that the category gives them. Where COCO has no key
for something, it stands in the object's `attributes`, as CVAT and Datumaro write them: `difficult`, `truncated`,
`group_of`, `weight` and `view`.

Files whose annotations have neither boxes nor outlines (captions, panoptic) are about no image, nor is a file
`stuff_*.json` beside `instances_*.json`, which outlines background.

Ids may be numbers or strings, and category 0 is a category like any other. The `file_name`, else the `coco_url`, is
the name to look the image up by; nothing is fetched.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from math import isfinite
from pathlib import Path
from typing import Any

from boxtune import run_lengths
from boxtune.data import findings as kinds
from boxtune.data import masks
from boxtune.data.annotations import AnnotatedObject, Annotation, AnnotationFile, Edges, note_shared_names
from boxtune.data.files import whole_file
from boxtune.data.findings import SkipError, skipped_as
from boxtune.data.formats import json_text, shapes
from boxtune.data.formats.json_text import as_dict, as_text, dicts_in, json_format
from boxtune.data.image_record import ImageRecord, Keypoint, ObjectRecord
from boxtune.data.label_map import LabelMap
from boxtune.data.masks import Mask
from boxtune.errors import DataError

IMAGES_FOLDER = "images"
"""Where the writer wants the images."""

_TITLE = "COCO JSON"
_FILE_NAME = "annotations.json"
# What objects have that COCO has no key for, with the values that are not written.
_ATTRIBUTES = {"difficult": False, "truncated": False, "group_of": False, "weight": 1.0, "view": ""}
_MAX_AMOUNT = 1e12
_OUTLINES = frozenset({"bbox", "segmentation", "keypoints"})


@dataclass(frozen=True, slots=True)
class Identifiers:
    """The names of the images and classes of a file by their ids, which other files refer to."""

    images: dict[int | str, str]
    classes: dict[int | str, str]


def identifiers(path: Path) -> Identifiers:
    """Return the ids of a file; of those that are there several times, the last.

    Raises:
        DataError: if it is not COCO JSON.
    """
    document = json_text.load_format(path, _belongs, _TITLE)
    images, categories = (
        [item for item in dicts_in(listed) if isinstance(item.get("id"), int | str)]
        for listed in (document["images"], _listed(document.get("categories")))
    )
    return Identifiers(
        images={item["id"]: _filename(item) for item in images},
        classes={item["id"]: as_text(item.get("name")) for item in categories},
    )


def _belongs(value: Any) -> bool:
    """Say whether a value is an object with the lists `images` and `annotations`."""
    return isinstance(value, dict) and all(
        isinstance(value.get(key), list) for key in ("images", "annotations")
    )


def _read(file: AnnotationFile, document: dict[str, Any]) -> Iterator[Annotation]:
    """Yield image after image; the objects of one at a time are made."""
    images, annotations = document["images"], document["annotations"]
    _require_objects(file.path, annotations)
    listed = _listed(document.get("categories"))
    if annotations and not listed:
        message = 'it has no "categories", which name the classes; add "categories": [{"id": 1, "name": "cat"}, ...].'
        raise SkipError(kinds.ANNOTATION_UNREADABLE, message)
    categories = categories_of(listed)
    note_shared_names(
        ((key, one.name) for key, one in categories.items() if one.name), file.path, file.findings
    )
    positions = _first_positions(file, images)
    objects = _by_image(file, annotations, positions)
    for key, number in positions.items():
        image = images[number]
        filename = _filename(image)
        items = ((_location("annotations", n, annotations[n]), annotations[n]) for n in objects[key])
        yield file.annotation(
            filename,
            items,
            partial(object_of, categories=categories, note=partial(file.skipping, image=filename)),
            size=shapes.image_size(image.get("width"), image.get("height")),
            location=_location("images", number, image),
        )


FORMAT = json_format("coco", _TITLE, _belongs, _read, form="sides")


# The content of the file


def _require_objects(path: Path, annotations: list[Any]) -> None:
    """Raise SkipError if a file is not about objects."""
    if annotations and not any(_OUTLINES & item.keys() for item in dicts_in(annotations)):
        message = f"its annotations ({len(annotations)}), such as captions, have neither boxes nor outlines."
        raise SkipError(kinds.FOREIGN, message)
    objects = path.with_name(path.name.replace("stuff_", "instances_", 1))
    if path.name.startswith("stuff_") and objects.is_file():
        raise SkipError(kinds.FOREIGN, f"it outlines background; {objects.name} has the objects.")


@dataclass(frozen=True, slots=True)
class _Category:
    """A class, "" if its id has no name or several, and the names of its keypoints."""

    name: str
    keypoints: tuple[str, ...] = ()


def _listed(categories: Any) -> list[Any]:
    """Return categories as a list.

    Some write {"1": "cat"}, {"cat": 1}, {"1": {"name": "cat"}} or {"cat": {"id": 1}}.
    """
    if not isinstance(categories, dict):
        return categories if isinstance(categories, list) else []
    listed = []
    for key, value in categories.items():
        number = int(key) if key.isdecimal() and len(key) < 20 else key
        if isinstance(value, dict):
            listed.append(({"name": key} if "id" in value else {"id": number}) | value)
        elif isinstance(value, int):
            listed.append({"id": value, "name": key})
        else:
            listed.append({"id": number, "name": value})
    return listed


def categories_of(listed: list[Any]) -> dict[str, _Category]:
    """Return the categories by their ids as text."""
    categories: dict[str, _Category] = {}
    for item in dicts_in(listed):
        if key := _key(item.get("id")):
            category = _Category(as_text(item.get("name")), _keypoint_names(item.get("keypoints")))
            known = categories.setdefault(key, category)
            if known.name != category.name:
                categories[key] = _Category("")
    return categories


def _keypoint_names(listed: Any) -> tuple[str, ...]:
    """Return the names of keypoints, which are numbers where one is missing or occurs twice."""
    names = tuple(map(as_text, listed)) if isinstance(listed, list) else ()
    return names if all(names) and len(set(names)) == len(names) else tuple(map(str, range(len(names))))


def _first_positions(file: AnnotationFile, images: list[Any]) -> dict[str, int]:
    """Return the position of each image by its id as text.

    Of images of one id and name the first counts. Those of different names are left out, since it is unknown
    whose objects are whose: files were put together that each count from 1.
    """
    positions: dict[str, int] = {}
    for key, numbers in _positions(file, images).items():
        names = sorted({_filename(images[number]) for number in numbers})
        if len(names) == 1:
            positions[key], *left_out = numbers
            kind, message = kinds.ANNOTATION_TWICE, f"it is the same as images[{numbers[0]}]."
        else:
            left_out, kind = numbers, kinds.ANNOTATION_UNREADABLE
            whose = f'"{names[0]}" and "{names[1]}"'
            message = f"its id is that of {whose}: it is unknown which objects belong to which."
        for number in left_out:
            location = _location("images", number, images[number])
            file.findings.add(kind, file.path, message, location=location, image=_filename(images[number]))
    return positions


def _positions(file: AnnotationFile, images: list[Any]) -> dict[str, list[int]]:
    """Return the positions of the images of each id as text."""
    positions: dict[str, list[int]] = {}
    for number, image in enumerate(images):
        location = _location("images", number, image)
        with file.skipping(location):
            key = _key(as_dict(image, location).get("id"))
            if not key:
                raise SkipError(kinds.ANNOTATION_UNREADABLE, "it has no id.")
            positions.setdefault(key, []).append(number)
    return positions


def _by_image(file: AnnotationFile, items: list[Any], positions: dict[str, int]) -> dict[str, list[int]]:
    """Return the positions of the objects of each image by its id; those that are of none become findings."""
    objects: dict[str, list[int]] = {key: [] for key in positions}
    astray: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        key = _key(item.get("image_id")) if isinstance(item, dict) else ""
        (objects if key in objects else astray).setdefault(key, []).append(number)
    for key, numbers in astray.items():
        location = _location("annotations", numbers[0], items[numbers[0]])
        message = f'the image_id "{key}", which {len(numbers)} have, is that of no image that can be used.'
        file.findings.add(kinds.IMAGE_MISSING, file.path, message, location=location)
    ids = Counter(_key(item.get("id")) for item in dicts_in(items))
    repeated = [key for key, count in ids.items() if key and count > 1]
    if repeated:
        message = (
            f'{len(repeated)} ids are there several times, such as "{repeated[0]}"; they are not needed.'
        )
        file.findings.add(kinds.NOT_READ, file.path, message, location="annotations")
    return objects


def _filename(image: dict[str, Any]) -> str:
    """Return the name of an image, or its URL, with slashes."""
    return (as_text(image.get("file_name")) or as_text(image.get("coco_url"))).replace("\\", "/")


def _location(key: str, number: int, item: Any) -> str:
    """Return such as "annotations[17] (id 123)"."""
    known = _key(item.get("id")) if isinstance(item, dict) else ""
    return f"{key}[{number}] (id {known})" if known else f"{key}[{number}]"


def _key(value: Any) -> str:
    """Return an id as text, "" if it is not an id; some programs write numbers as strings or as 12.0."""
    return as_text(int(value) if isinstance(value, float) and value.is_integer() else value)


# Objects

_Note = Callable[..., AbstractContextManager[None]]
"""Takes a location; turns a SkipError into a finding."""


def object_of(
    item: dict[str, Any], location: str, *, categories: dict[str, _Category], note: _Note
) -> AnnotatedObject:
    """Return an entry of `annotations`; raise SkipError if it has no class or box. What else is wrong `note` takes."""
    category = _category(item, categories)
    mask: Mask | None = None
    keypoints: tuple[Keypoint, ...] = ()
    with note(location):
        mask = _mask(item.get("segmentation"))
    edges = _edges(item.get("bbox"), mask)
    with note(location):
        keypoints = _keypoints(item.get("keypoints"), category.keypoints)
    attributes = item.get("attributes")
    extra = attributes if isinstance(attributes, dict) else {}
    return AnnotatedObject(
        category.name,
        edges,
        location,
        difficult=shapes.is_set(extra.get("difficult")),
        truncated=shapes.is_set(extra.get("truncated")),
        is_crowd=shapes.is_set(item.get("iscrowd")),
        group_of=shapes.is_set(extra.get("group_of")),
        view=as_text(extra.get("view")),
        weight=_amount(extra.get("weight"), 1.0),
        area=_amount(item.get("area")) or None,
        mask=mask,
        keypoints=keypoints,
    )


def _category(item: dict[str, Any], categories: dict[str, _Category]) -> _Category:
    key = _key(item.get("category_id"))
    if key not in categories:
        raise SkipError(kinds.OBJECT_WITHOUT_NAME, f'its category_id "{key}" is that of no category.')
    if not categories[key].name:
        raise SkipError(kinds.OBJECT_WITHOUT_NAME, f'its category_id "{key}" has no name or several.')
    return categories[key]


def _edges(bbox: Any, mask: Mask | None) -> Edges:
    if mask and not bbox:
        with skipped_as(kinds.OBJECT_WITHOUT_BOX):
            return masks.edges(mask)
    if not bbox:
        raise SkipError(kinds.OBJECT_WITHOUT_BOX, "it has neither a bbox nor an outline.")
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise SkipError(kinds.OBJECT_WITHOUT_BOX, "its bbox is not [x, y, width, height].")
    return shapes.rectangle(*bbox)


def _mask(segmentation: Any) -> Mask | None:
    """Return the mask of an object, None if it has none; raise SkipError (MASK_UNREADABLE) if it cannot be drawn."""
    if not segmentation or segmentation == [[]]:
        return None
    with skipped_as(kinds.MASK_UNREADABLE, "its segmentation is left out: "):
        mask = _run_lengths(segmentation) if isinstance(segmentation, dict) else _polygons(segmentation)
        masks.check(mask)
    return mask


def _run_lengths(segmentation: dict[str, Any]) -> Mask:
    counts, size = segmentation.get("counts"), segmentation.get("size")
    if not (isinstance(size, list) and len(size) == 2 and all(type(side) is int for side in size)):
        raise DataError("its size is not [height, width].")
    if isinstance(counts, list):
        return masks.from_runs(counts, (size[0], size[1]))
    if not isinstance(counts, str):
        raise DataError("its counts are neither a list nor a string.")
    return Mask(counts=run_lengths.unprinted(counts), size=(size[0], size[1]))


def _polygons(listed: Any) -> Mask:
    """Return a mask of a list of polygons, or of a single one without a list around it."""
    if not isinstance(listed, list):
        raise DataError("it is neither a list nor an object.")
    single = listed and not any(isinstance(polygon, list) for polygon in listed)
    return Mask(polygons=tuple(_floats(one) for one in ([listed] if single else listed) if one))


def _keypoints(values: Any, names: Sequence[str]) -> tuple[Keypoint, ...]:
    """Return the points of a list x, y, visibility, ...; raise SkipError (MASK_UNREADABLE) if it is not such a list."""
    if not values:
        return ()
    with skipped_as(kinds.MASK_UNREADABLE, "its keypoints are left out: "):
        numbers = _floats(values)
        if not numbers or len(numbers) % 3 or len(numbers) != 3 * len(names or numbers[::3]):
            raise DataError(f"there are {len(numbers)} numbers for {len(names)} names.")
    names = names or [str(number) for number in range(len(numbers) // 3)]
    points = zip(names, numbers[::3], numbers[1::3], numbers[2::3], strict=True)
    return tuple(Keypoint(name, y, x, int(min(max(seen, 0), 2))) for name, x, y, seen in points)


def _floats(values: Any) -> tuple[float, ...]:
    """Return a list of finite numbers as floats; raise DataError if it is not one."""
    if isinstance(values, list) and {*map(type, values)} <= {int, float}:
        with suppress(OverflowError):
            numbers = tuple(map(float, values))
            if all(map(isfinite, numbers)):
                return numbers
    raise DataError("it is not a list of finite numbers.")


def _amount(value: Any, default: float = 0.0) -> float:
    """Return a finite number from 0 on, else the default."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MAX_AMOUNT
    return float(value) if usable else default


# Writing


def write(
    records: Sequence[ImageRecord], file_names: Sequence[str], folder: Path, label_map: LabelMap
) -> None:
    """Write ``annotations.json`` of the records, whose images are `file_names` [n] within `folder`/images.

    The ids of the categories are those of the label map; images and objects are counted from 1. Nothing of a record
    is lost: boxes are float32's to the last digit, masks are polygons, or uncompressed run lengths for crowds and
    grids, as COCO's own files have them, and what COCO has no key for stands in `attributes`. Equal records give equal
    bytes. Raises DataError if a mask cannot be drawn or the file cannot be written.
    """
    names = _names_of_keypoints(records, label_map)
    sections = {
        "images": (
            {"id": number, "file_name": name, "width": record.width, "height": record.height}
            for number, (record, name) in enumerate(zip(records, file_names, strict=True), start=1)
        ),
        "annotations": _object_entries(records, label_map, names),
        "categories": (
            {"id": label.id, "name": label.name, "supercategory": ""}
            | ({"keypoints": names[label.id], "skeleton": []} if label.id in names else {})
            for label in label_map.labels
        ),
    }
    with whole_file(folder / _FILE_NAME) as temporary, temporary.open("w", encoding="ascii") as file:
        opening = "{"
        for name, entries in sections.items():
            file.write(f'{opening}\n"{name}": [')
            file.writelines(f"{',' if n else ''}\n{json.dumps(entry)}" for n, entry in enumerate(entries))
            file.write("\n]")
            opening = ","
        file.write("\n}\n")


def _names_of_keypoints(records: Sequence[ImageRecord], label_map: LabelMap) -> dict[int, tuple[str, ...]]:
    """Return the names of all keypoints of a class by its id, for those that have any."""
    names: dict[int, dict[str, None]] = {}
    for record in records:
        for item in record.objects:
            if item.keypoints:
                of_class = names.setdefault(label_map.label(item.class_name).id, {})
                of_class.update(dict.fromkeys(point.name for point in item.keypoints))
    return {key: tuple(of_class) for key, of_class in names.items()}


def _object_entries(
    records: Sequence[ImageRecord], label_map: LabelMap, names: dict[int, tuple[str, ...]]
) -> Iterator[dict[str, Any]]:
    ids = count(start=1)
    for image_id, record in enumerate(records, start=1):
        for item in record.objects:
            category = label_map.label(item.class_name).id
            entry = {"id": next(ids), "image_id": image_id, "category_id": category}
            yield entry | _object_entry(item, record) | _keypoint_entry(item, record, names.get(category, ()))


def _object_entry(item: ObjectRecord, record: ImageRecord) -> dict[str, Any]:
    box = item.box
    width, height = _pixels(box.xmax - box.xmin, record.width), _pixels(box.ymax - box.ymin, record.height)
    attributes = {key: getattr(item, key) for key in _ATTRIBUTES if getattr(item, key) != _ATTRIBUTES[key]}
    return {
        "bbox": [_pixels(box.xmin, record.width), _pixels(box.ymin, record.height), width, height],
        "area": _rounded(width * height) if item.area is None else item.area,
        "iscrowd": int(item.is_crowd),
        "segmentation": _segmentation(item.mask, record, is_crowd=item.is_crowd) if item.mask else [],
        **({"attributes": attributes} if attributes else {}),
        **({} if item.score is None else {"score": item.score}),
    }


def _segmentation(mask: Mask, record: ImageRecord, *, is_crowd: bool) -> Any:
    if mask.polygons and not is_crowd:
        sides = record.width, record.height
        return [[_pixels(fraction, sides[i % 2]) for i, fraction in enumerate(one)] for one in mask.polygons]
    size = record.height, record.width
    try:
        return {"size": size, "counts": masks.to_runs(mask, *size)}
    except DataError as error:
        raise DataError(f"{record.name}: {error}") from error


def _keypoint_entry(item: ObjectRecord, record: ImageRecord, names: Sequence[str]) -> dict[str, Any]:
    """Return the keypoints in the order of `names`, zeros for those that the object does not have."""
    if not item.keypoints:
        return {}
    triples = {
        point.name: (_pixels(point.x, record.width), _pixels(point.y, record.height), point.visibility)
        for point in item.keypoints
    }
    return {
        "keypoints": [value for name in names for value in triples.get(name, (0, 0, 0))],
        "num_keypoints": sum(point.visibility > 0 for point in item.keypoints),
    }


def _pixels(fraction: float, side: int) -> float:
    return _rounded(fraction * side)


def _rounded(value: float) -> float:
    """Leave off the last digit of a float, where arithmetic leaves its traces: 83.0 stays 83.0."""
    return float(f"{value:.15g}")
