"""LabelMe's JSON: one file an image, with shapes given by points in pixels.

Rectangles, circles and masks become boxes, polygons boxes with a mask; lines and points are left out. The pixels of a
drawn mask and the copy of the image (`imageData`) are not read. `difficult` is taken from a shape's flags, or from
the shape itself as X-AnyLabeling writes it.
"""

from collections.abc import Iterator
from math import dist
from typing import Any

from boxtune.data import findings as kinds
from boxtune.data.annotations import AnnotatedObject, Annotation, AnnotationFile, Edges
from boxtune.data.findings import SkipError
from boxtune.data.formats import shapes
from boxtune.data.formats.json_text import as_dict, as_list, as_text, json_format, numbered
from boxtune.data.masks import Mask

_BOXES = ("rectangle", "mask")
_POLYGONS = ("polygon", "rotation", "oriented_rectangle")


def _belongs(value: Any) -> bool:
    """Say whether a value is an object with shapes and the path of an image."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("shapes"), list)
        and isinstance(value.get("imagePath"), str)
    )


def _read(file: AnnotationFile, entry: dict[str, Any]) -> Iterator[Annotation]:
    size = shapes.image_size(entry.get("imageWidth"), entry.get("imageHeight"))
    yield file.annotation(
        as_text(entry["imagePath"]), numbered(entry["shapes"], "shapes"), _object, size=size
    )


FORMAT = json_format("labelme", "LabelMe JSON", _belongs, _read)


def _object(shape: Any, location: str) -> AnnotatedObject:
    shape = as_dict(shape, location, kinds.OBJECT_WITHOUT_BOX)
    points = as_list(shape.get("points"), f"{location}.points", kinds.OBJECT_WITHOUT_BOX)
    # Versions before 3 knew polygons only and did not write the type.
    shape_type = as_text(shape.get("shape_type")) or "polygon"
    flags = shape["flags"] if isinstance(shape.get("flags"), dict) else {}
    edges, mask = _outline(shape_type, shapes.point_pairs(points))
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
    if shape_type not in (*_BOXES, "circle"):
        raise shapes.other_shape(shape_type)
    if len(points) < 2:
        raise SkipError(kinds.OBJECT_WITHOUT_BOX, f"its {shape_type} has {len(points)} points; it takes two.")
    if shape_type == "circle":
        centre, rim = points[:2]
        return shapes.ellipse(*centre, dist(centre, rim), dist(centre, rim)), None
    return shapes.enclosing(points), None
