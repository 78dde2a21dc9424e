"""LabelMe's JSON: one file an image, with shapes given by points in pixels.

Rectangles, circles and masks become boxes, polygons boxes with a mask; lines and points are left out. The pixels of a
drawn mask and the copy of the image (`imageData`) are not read. `difficult` is taken from a shape's flags, or from
the shape itself as X-AnyLabeling writes it. Shapes of one label and `group_id` are one object.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import dist
from typing import Any

from boxtune.data import findings as kinds
from boxtune.data.annotations import AnnotatedObject, Annotation, AnnotationFile, Edges
from boxtune.data.findings import SkipError
from boxtune.data.formats import shapes
from boxtune.data.formats.json_text import as_dict, as_list, as_text, json_format, numbered
from boxtune.data.masks import Mask
from boxtune.errors import many

_POLYGONS = ("polygon", "rotation", "oriented_rectangle")
_OF_TWO_POINTS = ("rectangle", "mask", "circle")


def _belongs(value: Any) -> bool:
    """Say whether a value is an object with shapes and the path of an image."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("shapes"), list)
        and isinstance(value.get("imagePath"), str)
    )


def _read(file: AnnotationFile, entry: dict[str, Any]) -> Iterator[Annotation]:
    size = shapes.image_size(entry.get("imageWidth"), entry.get("imageHeight"))
    items = _grouped(numbered(entry["shapes"], "shapes"))
    yield file.annotation(as_text(entry["imagePath"]), items, _object, size=size)


FORMAT = json_format("labelme", "LabelMe JSON", _belongs, _read)


def _grouped(items: Iterable[tuple[str, Any]]) -> list[tuple[str, list[Any]]]:
    """Return the shapes of each object, with the location of the first: those of one label and group are together.

    Lines and points of a group only accompany its boxes and outlines.
    """
    objects: dict[Any, tuple[str, list[Any]]] = {}
    for location, shape in items:
        key: Any = location
        if isinstance(shape, dict) and _type_of(shape) in (*_POLYGONS, *_OF_TWO_POINTS):
            group = as_text(shape.get("group_id"))
            key = (group, as_text(shape.get("label"))) if group else location
        objects.setdefault(key, (location, []))[1].append(shape)
    return list(objects.values())


def _type_of(shape: dict[str, Any]) -> str:
    # Versions before 3 knew polygons only and did not write the type.
    return as_text(shape.get("shape_type")) or "polygon"


def _object(parts: list[Any], location: str) -> AnnotatedObject:
    items = [_shape(part, location) for part in parts]
    if len(items) == 1:
        return items[0]
    outlines: list[tuple[float, ...]] = []
    for item in items:
        xmin, ymin, xmax, ymax = item.edges
        box = xmin, ymin, xmax, ymin, xmax, ymax, xmin, ymax
        outlines += item.mask.polygons if item.mask else [box]
    return replace(
        items[0],
        edges=shapes.enclosing([corner for item in items for corner in (item.edges[:2], item.edges[2:])]),
        difficult=any(item.difficult for item in items),
        mask=Mask(polygons=tuple(outlines)) if any(item.mask for item in items) else None,
    )


def _shape(shape: Any, location: str) -> AnnotatedObject:
    shape = as_dict(shape, location, kinds.OBJECT_WITHOUT_BOX)
    points = as_list(shape.get("points"), f"{location}.points", kinds.OBJECT_WITHOUT_BOX)
    flags = shape["flags"] if isinstance(shape.get("flags"), dict) else {}
    edges, mask = _outline(_type_of(shape), shapes.point_pairs(points))
    return AnnotatedObject(
        shapes.require_name(as_text(shape.get("label"))),
        edges,
        location,
        difficult=shape.get("difficult") is True or flags.get("difficult") is True,
        mask=mask,
    )


def _outline(shape_type: str, points: list[shapes.Point]) -> tuple[Edges, Mask | None]:
    if shape_type in _POLYGONS:
        return shapes.polygon(points)
    if shape_type not in _OF_TWO_POINTS:
        raise shapes.other_shape(shape_type)
    if len(points) < 2:
        raise SkipError(
            kinds.OBJECT_WITHOUT_BOX, f"its {shape_type} has {many(len(points), 'point')}; it takes two."
        )
    if shape_type == "circle":
        centre, rim = points[:2]
        return shapes.ellipse(*centre, dist(centre, rim), dist(centre, rim)), None
    xmin, ymin, xmax, ymax = shapes.enclosing(points)
    # Those of a mask are its first and its last pixel.
    return (xmin, ymin, xmax + (shape_type == "mask"), ymax + (shape_type == "mask")), None
