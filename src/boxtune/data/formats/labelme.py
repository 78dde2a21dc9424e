"""LabelMe's JSON: one file a picture, with shapes given by points in pixels.

Rectangles, circles and masks become boxes, polygons boxes with a mask; lines and points are left out. The pixels of a
drawn mask and the copy of the picture (`imageData`) are not read. `difficult` is taken from a shape's flags, or from
the shape itself as X-AnyLabeling writes it.
"""

from collections.abc import Iterator
from math import dist
from pathlib import Path
from typing import Any

from boxtune.data import findings as kinds
from boxtune.data.annotations import AnnotatedObject, Annotation, Edges, Format, Parse
from boxtune.data.findings import Findings, SkipError
from boxtune.data.formats import json_text, shapes
from boxtune.data.listing import Listing
from boxtune.data.masks import Mask

_TITLE = "LabelMe JSON"
_BOXES = ("rectangle", "mask")
_POLYGONS = ("polygon", "rotation", "oriented_rectangle")


def recognises(path: Path) -> bool:
    """Say whether a file is an object with shapes and the path of a picture."""
    return json_text.recognises(path, _belongs)


def parse(path: Path, findings: Findings) -> Iterator[Annotation]:
    """Read one file, which is about one picture."""
    with findings.skipping(path):
        entry = json_text.load_format(path, _belongs, _TITLE)
        filename = json_text.as_text(entry["imagePath"]).replace("\\", "/")
        placed = ((f"shapes[{number}]", shape) for number, shape in enumerate(entry["shapes"]))
        objects, complete = shapes.gather(placed, _object, findings, path, filename)
        size = shapes.picture_size(entry.get("imageWidth"), entry.get("imageHeight"))
        yield Annotation(path, filename, objects, size, complete=complete)


def _prepare(listing: Listing, findings: Findings) -> Parse:
    return parse


FORMAT = Format("labelme", _TITLE, frozenset({".json"}), recognises, _prepare)


def _belongs(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("shapes"), list)
        and isinstance(value.get("imagePath"), str)
    )


def _object(shape: Any, place: str) -> AnnotatedObject:
    shape = json_text.as_dict(shape, place, kinds.OBJECT_WITHOUT_BOX)
    points = json_text.as_list(shape.get("points"), f"{place}.points", kinds.OBJECT_WITHOUT_BOX)
    # Versions before 3 knew polygons only and did not write the type.
    shape_type = json_text.as_text(shape.get("shape_type")) or "polygon"
    edges, mask = _outline(shape_type, shapes.point_pairs(points))
    return AnnotatedObject(
        shapes.require_name(json_text.as_text(shape.get("label"))),
        edges,
        place,
        difficult=_is_difficult(shape),
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


def _is_difficult(shape: dict[str, Any]) -> bool:
    flags = shape.get("flags")
    return shape.get("difficult") is True or (isinstance(flags, dict) and flags.get("difficult") is True)
