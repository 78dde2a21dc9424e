"""VGG Image Annotator's JSON: one file about many images, shapes in pixels, classes in one of their attributes.

Versions 1 and 2 save an object or list of entries, one an image, or a project with these under `_via_img_metadata`;
version 3 saves a project with the regions of all images in one object. Rectangles, circles and ellipses become
boxes, polygons boxes with a mask; points and lines are left out.

Regions have any number of attributes. The class is the attribute named class, label, name, category or type, else
the one that most regions have a value of.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from math import degrees
from typing import Any

from boxtune.data import findings as kinds
from boxtune.data.annotations import AnnotatedObject, Annotation, AnnotationFile, Edges
from boxtune.data.findings import SkipError
from boxtune.data.formats import shapes
from boxtune.data.formats.json_text import as_dict, as_list, as_text, json_format, numbered
from boxtune.data.masks import Mask
from boxtune.errors import printable

_CLASS_ATTRIBUTES = ("class", "label", "name", "category", "type")
_PROJECT_2 = "_via_img_metadata"
_PROJECT_3 = ("attribute", "file", "metadata", "view")
# Version 3 writes a number for the shape before its coordinates.
_SHAPES_3: dict[Any, tuple[str, ...]] = {
    1: ("point", "cx", "cy"),
    2: ("rect", "x", "y", "width", "height"),
    3: ("circle", "cx", "cy", "r"),
    4: ("ellipse", "cx", "cy", "rx", "ry"),
    5: ("line",),
    6: ("polyline",),
    7: ("polygon",),
}


_Image = tuple[str, str, list[tuple[str, Any]]]
"""An image's location and name, and its regions, as version 2 writes them, with their locations."""


def _belongs(value: Any) -> bool:
    """Say whether a value is a project, or starts with the entry of an image and its regions."""
    if isinstance(value, dict) and (isinstance(value.get(_PROJECT_2), dict) or _is_project_3(value)):
        return True
    _, first = next(iter(_entries(value)), ("", None))
    return isinstance(first, dict) and isinstance(first.get("filename"), str) and "regions" in first


def _is_project_3(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), dict) for key in _PROJECT_3)


def read(file: AnnotationFile, value: Any) -> Iterator[Annotation]:
    """Yield the annotations of a project, or of the entries of images."""
    images = list((_images_3 if _is_project_3(value) else _images_2)(value, file))
    attribute = _class_attribute([region for *_, regions in images for _, region in regions], file)
    for location, filename, regions in images:
        yield file.annotation(filename, regions, partial(_object, attribute=attribute), location=location)


FORMAT = json_format("via", "VGG Image Annotator JSON", _belongs, read, form="sides")


# Versions 1 and 2


def _entries(value: Any) -> Iterable[tuple[str, Any]]:
    """Return the entries of images with their locations."""
    if isinstance(value, list):
        return numbered(value, "")
    if not isinstance(value, dict):
        return ()
    entries = value[_PROJECT_2] if isinstance(value.get(_PROJECT_2), dict) else value
    return ((printable(key), entry) for key, entry in entries.items())


def _images_2(value: Any, file: AnnotationFile) -> Iterator[_Image]:
    for location, entry in _entries(value):
        with file.skipping(location):
            image = as_dict(entry, location)
            yield location, as_text(image.get("filename")), _regions(image.get("regions"), location)


def _regions(value: Any, location: str) -> list[tuple[str, Any]]:
    """Return regions with their locations: a list in version 2, an object in version 1, nothing if there are none."""
    if isinstance(value, dict):
        return [(f"{location}.regions.{printable(key)}", region) for key, region in value.items()]
    key = f"{location}.regions"
    return list(numbered(as_list([] if value is None else value, key), key))


# Version 3


def _images_3(project: Any, file: AnnotationFile) -> Iterator[_Image]:
    regions = defaultdict(list)
    for key, item in project["metadata"].items():
        location = f"metadata.{printable(key)}"
        with file.skipping(location):
            region = as_dict(item, location, kinds.OBJECT_WITHOUT_BOX)
            view = as_text(region.get("vid"))
            if view not in project["view"]:
                raise SkipError(kinds.IMAGE_MISSING, f'there is no view "{view}" for it.')
            if region.get("xy") != []:  # what has no coordinates describes the image as a whole
                regions[view].append((location, _as_version_2(region, project["attribute"])))
    for key, view in project["view"].items():
        location = f"view.{printable(key)}"
        with file.skipping(location):
            yield location, _filename_3(project["file"], view, location), regions[key]


def _filename_3(files: dict[str, Any], view: Any, location: str) -> str:
    numbers = as_list(as_dict(view, location).get("fid_list"), f"{location}.fid_list")
    if len(numbers) != 1:
        raise SkipError(kinds.ANNOTATION_UNREADABLE, f"{location} shows {len(numbers)} files, not one.")
    number = as_text(numbers[0])
    return as_text(as_dict(files.get(number), f"file.{printable(number)}").get("fname"))


def _as_version_2(region: dict[str, Any], attributes: dict[str, Any]) -> dict[str, Any]:
    """Return a region of version 3 as version 2 would write it."""
    xy, values = region.get("xy"), region.get("av")
    shape, *coordinates = xy if isinstance(xy, list) and xy else [None]
    name, *keys = _SHAPES_3.get(shape, (repr(shape),)) if isinstance(shape, int) else (repr(shape),)
    described = {"name": name, **dict(zip(keys, coordinates, strict=False))}
    if name == "polygon":
        described |= {"all_points_x": coordinates[::2], "all_points_y": coordinates[1::2]}
    named = _named_values(values if isinstance(values, dict) else {}, attributes)
    return {"shape_attributes": described, "region_attributes": named}


def _named_values(values: dict[str, Any], attributes: dict[str, Any]) -> dict[str, Any]:
    """Return values by the names of their attributes; a choice, written as numbers of options, as their texts."""
    named: dict[str, Any] = {}
    for key, value in values.items():
        attribute = attributes.get(key)
        if isinstance(attribute, dict):
            options, text = attribute.get("options"), as_text(value)
            if isinstance(options, dict) and options and text:
                value = {as_text(options.get(number, number)): True for number in text.split(",")}
            named[as_text(attribute.get("aname"))] = value
    return named


# All versions


def _class_attribute(regions: Iterable[Any], file: AnnotationFile) -> str:
    """Return the attribute that holds the classes, "" if there is none; report a choice between several."""
    counts = Counter(name for one in regions for name, value in _attributes(one).items() if _texts(value))
    for known in _CLASS_ATTRIBUTES:
        for name in sorted(counts):
            if name.casefold() == known:
                return name
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    if len(ranked) > 1:
        message = (
            f'the classes are taken from the attribute "{ranked[0]}"; others are not read: {ranked[1:]}.'
        )
        file.findings.add(kinds.NOT_READ, file.path, message)
    return ranked[0] if ranked else ""


def _attributes(region: Any) -> dict[str, Any]:
    attributes = region.get("region_attributes") if isinstance(region, dict) else None
    return attributes if isinstance(attributes, dict) else {}


def _texts(value: Any) -> list[str]:
    """Return the values of an attribute: a text or choice has one, a checkbox any number."""
    if isinstance(value, dict):
        return [text for key, ticked in value.items() if ticked is True and (text := as_text(key))]
    return [text for text in [as_text(value)] if text]


def _object(region: Any, location: str, *, attribute: str) -> AnnotatedObject:
    region = as_dict(region, location, kinds.OBJECT_WITHOUT_BOX)
    shape_place = f"{location}.shape_attributes"
    shape = as_dict(region.get("shape_attributes"), shape_place, kinds.OBJECT_WITHOUT_BOX)
    edges, mask = _outline(shape, shape_place)
    names = _texts(_attributes(region).get(attribute))
    if len(names) > 1:
        message = f'its attribute "{attribute}" has several values: {", ".join(names)}.'
        raise SkipError(kinds.OBJECT_WITHOUT_NAME, message)
    return AnnotatedObject(shapes.require_name("".join(names)), edges, location, mask=mask)


def _outline(shape: dict[str, Any], location: str) -> tuple[Edges, Mask | None]:
    match shape.get("name"):
        case "rect":
            return shapes.rectangle(*map(shape.get, ("x", "y", "width", "height"))), None
        case "circle":
            return shapes.ellipse(*map(shape.get, ("cx", "cy", "r", "r"))), None
        case "ellipse":
            angle = degrees(shapes.finite(shape.get("theta", 0)))
            x, y, radius_x, radius_y = map(shape.get, ("cx", "cy", "rx", "ry"))
            return shapes.ellipse(x, y, radius_x, radius_y, angle), None
        case "polygon":
            axes = ("all_points_x", "all_points_y")
            xs, ys = (as_list(shape.get(axis), location, kinds.OBJECT_WITHOUT_BOX) for axis in axes)
            if len(xs) != len(ys):
                raise SkipError(kinds.OBJECT_WITHOUT_BOX, f"its polygon has {len(xs)} x and {len(ys)} y.")
            return shapes.polygon(shapes.point_pairs(zip(xs, ys, strict=True)))
    raise shapes.other_shape(as_text(shape.get("name")))
