"""Label Studio's JSON and JSON-MIN exports: one file about many images, shapes in percent of their sides.

Each annotation of a task that was not cancelled is one of its image; a task without one is not annotated, whatever was
predicted for it. Rectangles, turned ones too, and ellipses become boxes, polygons boxes with a mask; brushes and
key points are left out. Choices and texts, which describe but do not show, are not read.

Of a task about several images, `to_name` (and `item_index`) says which one a shape is on, where it is the name of one
of them.

A turned rectangle is turned clockwise around its x and y, in pixels, and an ellipse around its centre.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote
from xml.sax.saxutils import quoteattr

from boxtune.data import findings as kinds
from boxtune.data.annotations import AnnotatedObject, Annotation, AnnotationFile, Edges
from boxtune.data.files import write_text
from boxtune.data.findings import SkipError
from boxtune.data.formats import shapes
from boxtune.data.formats.json_text import (
    as_dict,
    as_list,
    as_text,
    dicts_in,
    json_format,
    numbered,
    path_of_url,
)
from boxtune.data.image_record import ImageRecord, ObjectRecord
from boxtune.data.images import SUFFIXES
from boxtune.data.label_map import LabelMap
from boxtune.data.masks import Mask
from boxtune.errors import printable

IMAGES_FOLDER = "images"
TASKS, CONFIGURATION = "tasks.json", "labeling_config.xml"
_IMAGE, _LABEL = "image", "label"
"""The names of the data and of the control in the configuration."""

_ANNOTATIONS = ("annotations", "completions")
_OF_THE_IMAGE = ("original_width", "original_height", "image_rotation", "to_name", "item_index")
_OUTLINE = ("x", "y", "width", "height", "radiusX", "radiusY", "points")
_TYPES_WITHOUT_LABELS = ("rectangle", "polygon", "ellipse")
_LABELS = "labels"
_LONGEST_NAME = 4096

_ImageKey = tuple[str, int]
"""Where the name of an image stands in the data of a task: a key, and a position if there is a list."""

_Region = tuple[str, Any]
"""The location of a shape, and in one object its outline, labels and image, as JSON-MIN writes them."""


def _belongs(value: Any) -> bool:
    """Say whether a value is a list that starts with a task, or holds shapes in the flat form of JSON-MIN."""
    if not (isinstance(value, list) and value and isinstance(value[0], dict)):
        return False
    lists = (listed for entry in dicts_in(value) for listed in entry.values())
    return _is_task(value[0]) or any(
        "original_width" in item for listed in lists for item in dicts_in(listed)
    )


def _is_task(entry: dict[str, Any]) -> bool:
    return isinstance(entry.get("data"), dict) and any(
        isinstance(entry.get(key), list) for key in _ANNOTATIONS
    )


def _read(file: AnnotationFile, entries: list[Any]) -> Iterator[Annotation]:
    annotated_keys = _annotated_keys(entries)
    for location, entry in numbered(entries, ""):
        with file.skipping(location):
            task = as_dict(entry, location)
            if _is_task(task):
                yield from _annotations_of_task(file, task, location, annotated_keys)
            else:
                regions = _flat_regions(task, location)
                yield _annotation(file, _only_image(_images(task), regions), location, regions)


FORMAT = json_format("label_studio", "Label Studio JSON", _belongs, _read, normalized=True, form="sides")


def _annotation(file: AnnotationFile, filename: str, location: str, regions: list[_Region]) -> Annotation:
    """Leave out shapes without labels that are there again with them: two results of one drawing."""
    sizes = (_size(region) for _, region in regions if isinstance(region, dict))
    size = next((one for one in sizes if one), None)
    labelled = {_outline_key(region) for _, region in regions if _has_labels(region)}
    kept = [one for one in regions if _has_labels(one[1]) or _outline_key(one[1]) not in labelled]
    return file.annotation(filename, kept, _object, size=size, location=location)


# Which image a task is about


def _annotated_keys(entries: list[Any]) -> set[str]:
    """Return all names of images that shapes are on."""
    tasks = filter(_is_task, dicts_in(entries))
    annotations = (one for task in tasks for key in _ANNOTATIONS for one in dicts_in(task.get(key)))
    results = (result for one in annotations for result in dicts_in(one.get("result")))
    return {as_text(result.get("to_name")) for result in results if _is_shape(result)}


def _annotations_of_task(
    file: AnnotationFile, task: dict[str, Any], location: str, annotated_keys: set[str]
) -> Iterator[Annotation]:
    """Yield each annotation of a task that was not cancelled, for each of its images that any task has shapes on."""
    images = None
    for result in _results(task, location):
        images = images or _images(task["data"], as_text(task.get("file_upload")))
        regions = _regions(*result)
        if len(images) == 1 or not annotated_keys & {key for key, _ in images}:
            yield _annotation(file, _only_image(images, regions), location, regions)
            continue
        on_image: dict[_ImageKey, list[_Region]] = {key: [] for key in images if key[0] in annotated_keys}
        for region_location, region in regions:
            on_image[_image_of(region, on_image, region_location)].append((region_location, region))
        for key, its_regions in on_image.items():
            yield _annotation(file, images[key], location, its_regions)


def _image_of(region: Any, images: Iterable[_ImageKey], location: str) -> _ImageKey:
    """Return the image that a shape is on; raise SkipError if it does not say which."""
    item = region if isinstance(region, dict) else {}
    index = item.get("item_index")
    key = as_text(item.get("to_name")), index if type(index) is int else 0
    if key not in images:
        message = f'its task has several images, and "{key[0]}" ({key[1]}) is none of them.'
        raise SkipError(kinds.IMAGE_AMBIGUOUS, message, location)
    return key


def _images(data: dict[str, Any], uploaded: str = "") -> dict[_ImageKey, str]:
    """Return the names of the images of a task, in the order of its data, else of the file that was uploaded."""
    values = [*data.items(), *([] if any(map(_names_in, data.values())) else [("", uploaded)])]
    images = {(key, number): name for key, value in values for number, name in _names_in(value)}
    if not images:
        raise SkipError(kinds.IMAGE_MISSING, "its data name no image.")
    return images


def _names_in(value: Any) -> list[tuple[int, str]]:
    """Return the names of images that a value of the data is or lists, with their positions."""
    names = enumerate(map(_name_in, map(as_text, value if isinstance(value, list) else [value])))
    return [(number, name) for number, name in names if PurePosixPath(name).suffix.lower() in SUFFIXES]


def _only_image(images: dict[_ImageKey, str], regions: list[_Region]) -> str:
    """Return the name under the key "image", else the first; raise SkipError if shapes could be on any of several."""
    marks = {as_text(region.get("to_name")) for _, region in regions if isinstance(region, dict)}
    if len(images) > 1 and regions and (len(marks) > 1 or ("image", 0) not in images):
        listed = ", ".join(images.values())
        raise SkipError(kinds.IMAGE_AMBIGUOUS, f"its shapes could be on any of its images {listed}.")
    return images.get(("image", 0)) or next(iter(images.values()))


def _name_in(url: str) -> str:
    """Return the path in a URL, decoded and with slashes."""
    if len(url) > _LONGEST_NAME:  # the image itself, in a data: URL
        return ""
    is_url = "://" in url or url.startswith("/")
    return (path_of_url(url) if is_url else unquote(url)).replace("\\", "/")


# The shapes of a task


def _results(task: dict[str, Any], location: str) -> list[_Region]:
    """Return the results of each annotation that was not cancelled, with their locations."""
    key = next(key for key in _ANNOTATIONS if isinstance(task.get(key), list))
    found = [(at, as_dict(one, at)) for at, one in numbered(task[key], f"{location}.{key}")]
    return [(f"{at}.result", one.get("result")) for at, one in found if one.get("was_cancelled") is not True]


def _regions(location: str, results: Any) -> list[_Region]:
    """Return the shapes among the results of an annotation, and whatever is not a result at all."""
    return [
        (at, _flat(result))
        for at, result in numbered(as_list(results, location), location)
        if not isinstance(result, dict) or _is_shape(result)
    ]


def _is_shape(result: dict[str, Any]) -> bool:
    """Say whether a result is a shape; choices, texts and relations, which may repeat an outline, are not."""
    kind = as_text(result.get("type"))
    return (
        not kind
        or kind.endswith(_LABELS)
        or kind in _TYPES_WITHOUT_LABELS
        or _has_labels(result.get("value"))
    )


def _flat(result: Any) -> Any:
    value = result.get("value") if isinstance(result, dict) else None
    return value | {key: result.get(key) for key in _OF_THE_IMAGE} if isinstance(value, dict) else value


def _flat_regions(task: dict[str, Any], location: str) -> list[_Region]:
    """Return the members of those lists of a JSON-MIN entry that hold shapes."""
    return [
        item
        for key, value in task.items()
        if any(_has_labels(item) or not item.keys().isdisjoint(_OUTLINE) for item in dicts_in(value))
        for item in numbered(value, f"{location}.{printable(key)}")
    ]


def _outline_key(region: Any) -> str:
    return repr([region.get(key) for key in _OUTLINE] if isinstance(region, dict) else region)


def _has_labels(region: Any) -> bool:
    return isinstance(region, dict) and any(key.endswith(_LABELS) for key in region)


def _object(region: Any, location: str) -> AnnotatedObject:
    region = as_dict(region, location, kinds.OBJECT_WITHOUT_BOX)
    # Under keys such as "rectanglelabels".
    lists = (value for key, value in region.items() if key.endswith(_LABELS) and isinstance(value, list))
    names = [text for text in map(as_text, chain.from_iterable(lists)) if text]
    if len(names) > 1:
        raise SkipError(kinds.OBJECT_WITHOUT_NAME, f"it has several labels: {', '.join(names)}.")
    if region.get("image_rotation"):
        reason = "the image was turned while it was annotated; it is unknown which way the coordinates count."
        raise SkipError(kinds.OBJECT_WITHOUT_BOX, reason)
    edges, mask = _outline(region)
    return AnnotatedObject(shapes.require_name("".join(names)), edges, location, mask=mask)


def _outline(region: dict[str, Any]) -> tuple[Edges, Mask | None]:
    """Return the box normalized to the image, and the mask if it is a polygon."""
    if isinstance(region.get("points"), list):
        points = shapes.point_pairs(region["points"])
        return shapes.polygon([(x / 100, y / 100) for x, y in points])
    keys = ("x", "y", "radiusX", "radiusY") if "radiusX" in region else ("x", "y", "width", "height")
    if any(key not in region for key in keys):
        raise shapes.other_shape(next((key for key in region if key.endswith(_LABELS)), "nothing"))
    degrees = shapes.finite(region.get("rotation", 0))
    size = _size(region) if degrees else (1, 1)
    if not size:
        message = "it is turned, and the size of its image is not written."
        raise SkipError(kinds.OBJECT_WITHOUT_BOX, message)
    x_unit, y_unit = size
    x, y, width, height = (shapes.finite(region[key]) / 100 for key in keys)
    sides = x * x_unit, y * y_unit, width * x_unit, height * y_unit
    if "radiusX" in region:
        edges = shapes.ellipse(*sides, degrees)
    else:
        edges = shapes.rectangle(*sides)
        edges = shapes.enclosing(shapes.turned(edges, edges[:2], degrees)) if degrees else edges
    xmin, ymin, xmax, ymax = edges
    return (xmin / x_unit, ymin / y_unit, xmax / x_unit, ymax / y_unit), None


def _size(region: dict[str, Any]) -> tuple[int, int] | None:
    return shapes.image_size(region.get("original_width"), region.get("original_height"))


# Writing


def write(
    records: Sequence[ImageRecord],
    file_names: Sequence[str],
    folder: Path,
    label_map: LabelMap,
    *,
    unlabelled: Sequence[str] = (),
) -> None:
    """Write ``tasks.json`` to be imported, and the labelling configuration that goes with it.

    Objects with scores are a prediction, which Label Studio shows to be corrected; others, or none, an annotation.
    Images are named as Label Studio serves local files, below the folder that holds `folder`. Masks, keypoints and all
    else that a record says of an object but its box are left out.

    Args:
        records: the annotated images [n].
        file_names: the path of each image within `folder`/images [n].
        folder: where both are written, beside `images`.
        label_map: the classes.
        unlabelled: the paths of more images, which nobody has labelled.

    Raises:
        DataError: if a file cannot be written.
    """
    base = f"{folder.resolve().name}/{IMAGES_FOLDER}"
    tasks = [
        {"data": {_IMAGE: f"/data/local-files/?d={quote(f'{base}/{name}')}"}} | labelled
        for name, labelled in chain(
            zip(file_names, map(_labelled, records), strict=True), ((name, {}) for name in unlabelled)
        )
    ]
    write_text(folder / TASKS, json.dumps(tasks, indent=1) + "\n")
    labels = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in label_map.names)
    write_text(
        folder / CONFIGURATION,
        f'<View>\n  <Image name="{_IMAGE}" value="${_IMAGE}"/>\n  <RectangleLabels name="{_LABEL}" '
        f'toName="{_IMAGE}">\n{labels}  </RectangleLabels>\n</View>\n',
    )


def _labelled(record: ImageRecord) -> dict[str, Any]:
    """Return what a task says of the objects of its image."""
    results = [_result(item, record, number) for number, item in enumerate(record.objects, start=1)]
    scores = [item.score for item in record.objects if item.score is not None]
    if scores:
        return {"predictions": [{"model_version": "boxtune", "score": min(scores), "result": results}]}
    return {_ANNOTATIONS[0]: [{"result": results}]}


def _result(item: ObjectRecord, record: ImageRecord, number: int) -> dict[str, Any]:
    box = item.box
    value = {
        "x": 100 * box.xmin,
        "y": 100 * box.ymin,
        "width": 100 * (box.xmax - box.xmin),
        "height": 100 * (box.ymax - box.ymin),
        "rotation": 0,
        "rectanglelabels": [item.class_name],
    }
    result = {
        "id": f"box{number}",
        "type": "rectanglelabels",
        "from_name": _LABEL,
        "to_name": _IMAGE,
        "original_width": record.width,
        "original_height": record.height,
        "image_rotation": 0,
        "value": value,
    }
    return result if item.score is None else result | {"score": item.score}
