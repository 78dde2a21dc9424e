"""Pascal VOC XML, as LabelImg and others write it: one file an image, boxes in pixel edges.

Elements are found by name, whatever their order. An <object> with several <bndbox> is one object for each. Coordinates
are divided by the size of the image itself, whatever <size> says. Source of the writer's layout: LabelImg, which reads
it.
"""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from xml.sax import saxutils

from boxtune.data.annotations import AnnotatedObject, Annotation, AnnotationFile
from boxtune.data.files import read_lines, write_text
from boxtune.data.findings import OBJECT_WITHOUT_BOX, OBJECT_WITHOUT_NAME, SkipError
from boxtune.data.formats import shapes
from boxtune.data.formats.xml_tree import Node, xml_format
from boxtune.data.image_record import ImageRecord, ObjectRecord
from boxtune.data.label_map import LabelMap
from boxtune.data.splits import VOC_FLAG
from boxtune.errors import DataError, printable

IMAGES_FOLDER = ""
"""Where the writer wants the images: beside the XML, where LabelImg looks for it."""

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _read(file: AnnotationFile, root: Node) -> Iterator[Annotation]:
    items = [(one.location, one) for element in root.all("object") for one in _single_boxes(element)]
    size = shapes.image_size(root.text_at("size/width"), root.text_at("size/height"))
    yield file.annotation(root.text_at("filename"), items, _object, size=size)


FORMAT = xml_format("voc", "Pascal VOC XML", "annotation", _read)


def _single_boxes(element: Node) -> list[Node]:
    """Return an object with several boxes as one object for each; any other as it is."""
    boxes = list(element.all("bndbox"))
    if len(boxes) < 2:
        return [element]
    others = [child for child in element.children if child.tag != "bndbox"]
    return [Node(element.tag, element.attributes, box.line, [*others, box]) for box in boxes]


def _object(element: Node, location: str) -> AnnotatedObject:
    if element.first("robndbox") and not element.first("bndbox"):
        message = "it has a <robndbox>, a turned box of roLabelImg; draw an upright one, a <bndbox>."
        raise SkipError(OBJECT_WITHOUT_BOX, message)
    names = sorted({child.text.strip() for child in element.all("name")} - {""})
    if len(names) > 1:
        raise SkipError(OBJECT_WITHOUT_NAME, f"it has several names: {', '.join(map(printable, names))}.")
    name = shapes.require_name("".join(names))
    if not element.first("bndbox"):
        raise SkipError(OBJECT_WITHOUT_BOX, "it has no <bndbox>.")
    return AnnotatedObject(
        name,
        shapes.corners(*(element.text_at(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))),
        location,
        difficult=shapes.is_set(element.text_at("difficult")),
        truncated=shapes.is_set(element.text_at("truncated")),
        view=element.text_at("pose"),
    )


def image_set(folder: Path, name: str) -> set[str] | None:
    """Return the names without extension that a list of a Pascal VOC folder holds, None if there is no list.

    The list is ``ImageSets/Main/NAME.txt``, else every ``CLASS_NAME.txt`` there (whose flags -1, 0 and 1
    behind the names are left out), else ``NAME.txt``. Raises DataError if it cannot be read.
    """
    main = folder / "ImageSets" / "Main"
    by_class = sorted(path for path in main.glob("*.txt") if path.stem.endswith(f"_{name}"))
    for lists in ([main / f"{name}.txt"], by_class, [folder / f"{name}.txt"]):
        if lists and lists[0].is_file():
            lines = (line.strip() for path in lists for line in read_lines(path))
            return {VOC_FLAG.sub("", line) for line in lines if line}
    return None


def write(
    records: Sequence[ImageRecord], file_names: Sequence[str], folder: Path, label_map: LabelMap
) -> None:
    """Write an XML file beside each image, `file_names` [n] within `folder`, and LabelImg's list of classes.

    Boxes are exact to a thousandth of a pixel; VOC has no place for masks, keypoints, weights, areas and crowds.
    """
    for record, file_name in zip(records, file_names, strict=True):
        write_text((folder / file_name).with_suffix(".xml"), to_xml(record, Path(file_name)))
    write_text(folder / "predefined_classes.txt", "".join(f"{name}\n" for name in label_map.names))


def to_xml(record: ImageRecord, file_name: Path) -> str:
    """Return the XML of a record whose image is called `file_name`."""
    objects = "".join(map(partial(_object_xml, width=record.width, height=record.height), record.objects))
    return (
        f"<annotation>\n\t<folder>{_escaped(file_name.parent.name)}</folder>\n"
        f"\t<filename>{_escaped(file_name.name)}</filename>\n"
        f"\t<size>\n\t\t<width>{record.width}</width>\n\t\t<height>{record.height}</height>\n"
        f"\t\t<depth>3</depth>\n\t</size>\n\t<segmented>0</segmented>\n{objects}</annotation>\n"
    )


def _object_xml(item: ObjectRecord, *, width: int, height: int) -> str:
    box = item.box
    return (
        f"\t<object>\n\t\t<name>{_escaped(item.class_name)}</name>\n"
        f"\t\t<pose>{_escaped(item.view) or 'Unspecified'}</pose>\n"
        f"\t\t<truncated>{item.truncated:d}</truncated>\n\t\t<difficult>{item.difficult:d}</difficult>\n"
        f"\t\t<bndbox>\n\t\t\t<xmin>{_number(box.xmin * width)}</xmin>\n"
        f"\t\t\t<ymin>{_number(box.ymin * height)}</ymin>\n\t\t\t<xmax>{_number(box.xmax * width)}</xmax>\n"
        f"\t\t\t<ymax>{_number(box.ymax * height)}</ymax>\n\t\t</bndbox>\n\t</object>\n"
    )


def _number(edge: float) -> str:
    """Return an edge to a thousandth of a pixel: whole numbers stay whole, because LabelImg cuts off decimals."""
    return f"{edge:.3f}".rstrip("0").rstrip(".")


def _escaped(text: str) -> str:
    if _NOT_IN_XML.search(text):
        raise DataError(f"{printable(text)} has characters that XML cannot hold: rename it.")
    return saxutils.escape(text)
