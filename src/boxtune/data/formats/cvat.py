"""CVAT's own XML, "CVAT for images 1.1": one file about many images, shapes in pixels.

Boxes, turned ones too, ellipses and masks become boxes, polygons boxes with a mask; points, polylines, cuboids and
skeletons are left out. The pixels of masks and the tags of whole images are not read. The attributes `difficult` and
`truncated` are those of Pascal VOC. The `subset` of an image, which CVAT writes for whole projects, is the part of the
data set that it belongs to.
"""

from collections.abc import Iterator

from boxtune.data import findings as kinds
from boxtune.data.annotations import AnnotatedObject, Annotation, AnnotationFile, Edges
from boxtune.data.findings import SkipError
from boxtune.data.formats import shapes
from boxtune.data.formats.xml_tree import Node, xml_format
from boxtune.data.masks import Mask

_OF_THE_IMAGE = "tag"


def _read(file: AnnotationFile, root: Node) -> Iterator[Annotation]:
    if root.first("track"):
        message = "it holds tracks of a video; export it as CVAT for images instead."
        raise SkipError(kinds.ANNOTATION_UNREADABLE, message)
    if not root.first("image"):
        raise SkipError(kinds.FOREIGN, "it holds no <image>.")
    for image in root.all("image"):
        values = image.attributes
        items = ((shape.location, shape) for shape in image.children if shape.tag != _OF_THE_IMAGE)
        yield file.annotation(
            values.get("name", ""),
            items,
            _object,
            size=shapes.image_size(values.get("width"), values.get("height")),
            location=image.location,
            subset=values.get("subset", ""),
        )


FORMAT = xml_format("cvat", "CVAT for images XML", "annotations", _read, max_bytes=256 * 2**20)


def _object(shape: Node, location: str) -> AnnotatedObject:
    edges, mask = _outline(shape)
    return AnnotatedObject(
        shapes.require_name(shape.attributes.get("label", "").strip()),
        edges,
        location,
        difficult=_flag(shape, "difficult"),
        truncated=_flag(shape, "truncated"),
        mask=mask,
    )


def _outline(shape: Node) -> tuple[Edges, Mask | None]:
    values = shape.attributes
    match shape.tag:
        case "box":
            xmin, ymin, xmax, ymax = edges = shapes.corners(*map(values.get, ("xtl", "ytl", "xbr", "ybr")))
            centre = (xmin + xmax) / 2, (ymin + ymax) / 2
            degrees = shapes.finite(values.get("rotation", "0"))
            return shapes.enclosing(shapes.turned(edges, centre, degrees)) if degrees else edges, None
        case "polygon":  # such as "1.5,2;3,4"
            pairs = values.get("points", "").split(";")
            return shapes.polygon(shapes.point_pairs(pair.split(",") for pair in pairs if pair.strip()))
        case "mask":
            return shapes.rectangle(*map(values.get, ("left", "top", "width", "height"))), None
        case "ellipse":
            x, y, radius_x, radius_y = map(values.get, ("cx", "cy", "rx", "ry"))
            return shapes.ellipse(x, y, radius_x, radius_y, values.get("rotation", "0")), None
    raise shapes.other_shape(shape.tag)


def _flag(shape: Node, name: str) -> bool:
    return any(
        attribute.attributes.get("name", "").lower() == name and shapes.is_set(attribute.text)
        for attribute in shape.all("attribute")
    )
