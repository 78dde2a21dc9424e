"""Pascal VOC XML, as LabelImg and others write it: one file a picture, boxes in pixel edges.

Elements are found by name, whatever their order. Coordinates are divided by the size of the picture itself,
whatever <size> says. Source of the writer's layout: LabelImg, which reads it.
"""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from math import isfinite
from pathlib import Path
from xml.sax import saxutils

from boxtune.data import findings as kinds
from boxtune.data.annotations import AnnotatedObject, Annotation, Edges, Format, Parse
from boxtune.data.files import read_lines, whole_file
from boxtune.data.findings import Findings, SkipError
from boxtune.data.formats.xml_tree import Node, read_xml, root_tag
from boxtune.data.label_map import LabelMap
from boxtune.data.listing import Listing
from boxtune.data.records import ImageRecord, ObjectRecord
from boxtune.errors import DataError, printable

PICTURES_FOLDER = ""
"""Where the writer wants the pictures: beside the XML, where LabelImg looks for it."""

_ROOT = "annotation"
_SET_FLAG = re.compile(r"\s+(-1|0|1)$")
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def recognises(path: Path) -> bool:
    """Say whether a file is an annotation by its root element."""
    return root_tag(path) == _ROOT


def parse(path: Path, findings: Findings) -> Iterator[Annotation]:
    """Read one XML file."""
    with findings.skipping(path):
        root = read_xml(path)
        if root.tag != _ROOT:
            raise SkipError(kinds.FOREIGN, f"its root is <{root.tag}>, not <{_ROOT}>.")
        elements = list(root.all("object"))
        objects = []
        for element in elements:
            with findings.skipping(path, place=f"line {element.line}"):
                objects.append(_object(element))
        yield Annotation(
            path=path,
            filename=root.text_at("filename").replace("\\", "/"),
            objects=tuple(objects),
            size=_size(root),
            complete=len(objects) == len(elements),
        )


def _prepare(listing: Listing, findings: Findings) -> Parse:
    return parse


FORMAT = Format("voc", "Pascal VOC XML", frozenset({".xml"}), recognises, _prepare)


def _object(element: Node) -> AnnotatedObject:
    class_name = element.text_at("name")
    if not class_name:
        raise SkipError(kinds.OBJECT_WITHOUT_NAME, "it has no <name>.")
    return AnnotatedObject(
        class_name,
        _edges(element),
        place=f"line {element.line}",
        difficult=_flag(element, "difficult"),
        truncated=_flag(element, "truncated"),
        view=element.text_at("pose"),
    )


def _edges(element: Node) -> Edges:
    values = [element.text_at(f"bndbox/{tag}") for tag in ("xmin", "ymin", "xmax", "ymax")]
    try:
        xmin, ymin, xmax, ymax = map(float, values)
    except ValueError:
        raise SkipError(kinds.OBJECT_WITHOUT_BOX, f"its <bndbox> holds {values}, not four numbers.") from None
    if not all(map(isfinite, (xmin, ymin, xmax, ymax))):
        raise SkipError(kinds.OBJECT_WITHOUT_BOX, f"its <bndbox> holds {values}, not four finite numbers.")
    return xmin, ymin, xmax, ymax


def _size(root: Node) -> tuple[int, int] | None:
    """Return (width, height), or None if the annotation does not say."""
    try:
        width, height = (int(float(root.text_at(f"size/{tag}"))) for tag in ("width", "height"))
    except (ValueError, OverflowError):
        return None
    return (width, height) if width > 0 and height > 0 else None


def _flag(element: Node, tag: str) -> bool:
    return element.text_at(tag).lower() in ("1", "true", "yes")


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
            return {_SET_FLAG.sub("", line) for line in lines if line}
    return None


def write(
    records: Sequence[ImageRecord], file_names: Sequence[str], folder: Path, label_map: LabelMap
) -> None:
    """Write an XML file beside each picture, `file_names` [n] within `folder`, and LabelImg's list of classes.

    Boxes are exact to a thousandth of a pixel; VOC has no place for masks, keypoints, weights, areas and crowds.
    """
    for record, file_name in zip(records, file_names, strict=True):
        with whole_file((folder / file_name).with_suffix(".xml")) as temporary:
            temporary.write_text(_to_xml(record, Path(file_name)), encoding="utf-8")
    with whole_file(folder / "predefined_classes.txt") as temporary:
        temporary.write_text("".join(f"{name}\n" for name in label_map.names), encoding="utf-8")


def _to_xml(record: ImageRecord, file_name: Path) -> str:
    objects = "".join(map(partial(_object_xml, width=record.width, height=record.height), record.objects))
    return (
        f"<annotation>\n\t<folder>{_escaped(file_name.parent.name)}</folder>\n"
        f"\t<filename>{_escaped(file_name.name)}</filename>\n"
        f"\t<size>\n\t\t<width>{record.width}</width>\n\t\t<height>{record.height}</height>\n"
        f"\t\t<depth>3</depth>\n\t</size>\n\t<segmented>0</segmented>\n{objects}</annotation>\n"
    )


def _object_xml(item: ObjectRecord, *, width: int, height: int) -> str:
    box = item.box
    sides = {
        "xmin": box.xmin * width,
        "ymin": box.ymin * height,
        "xmax": box.xmax * width,
        "ymax": box.ymax * height,
    }
    edges = "".join(f"\t\t\t<{tag}>{_number(side)}</{tag}>\n" for tag, side in sides.items())
    return (
        f"\t<object>\n\t\t<name>{_escaped(item.class_name)}</name>\n"
        f"\t\t<pose>{_escaped(item.view) or 'Unspecified'}</pose>\n"
        f"\t\t<truncated>{item.truncated:d}</truncated>\n\t\t<difficult>{item.difficult:d}</difficult>\n"
        f"\t\t<bndbox>\n{edges}\t\t</bndbox>\n\t</object>\n"
    )


def _number(edge: float) -> str:
    """Return an edge to a thousandth of a pixel: what was whole stays whole, for LabelImg cuts off decimals."""
    return f"{edge:.3f}".rstrip("0").rstrip(".")


def _escaped(text: str) -> str:
    if _NOT_IN_XML.search(text):
        raise DataError(f"{printable(text)} has characters that XML cannot hold: rename it.")
    return saxutils.escape(text)
