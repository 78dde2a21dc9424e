"""Reads pictures annotated in Pascal VOC XML, as LabelImg and its successors save it.

The folder may be laid out in any way (Annotations/ and JPEGImages/, images/ and annotations/, train/ and
test/, everything in one folder): it is searched throughout, in byte order, and never left. An annotation's
picture is, by the first rule that finds one,

1. the file that <filename> names (folders in that name are not looked at): beside the XML, else the one with
   the longest common path;
2. the same with letter case, extension and Unicode form left aside;
3. the file that has the XML's own name, as loosely compared.

Where a rule finds several equally near, the annotation is skipped. Coordinates are pixel edges and are
divided by the size of the picture itself, whatever <size> says.
"""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import ElementTree

from boxtune.data import images
from boxtune.data.files import list_files, printable, read_lines
from boxtune.data.records import (
    Finding,
    ImageRecord,
    ObjectRecord,
    Reading,
    Severity,
    box_from_pixels,
    clip,
    has_area,
    reorder,
)
from boxtune.errors import DataError

MAX_XML_BYTES = 16 * 2**20
_SET_FLAG = re.compile(r"\s+(-1|0|1)$")
_FOREIGN = "not a VOC annotation"


def read_folder(folder: Path) -> Reading:
    """Read every annotation below `folder` that has a usable picture; whatever is wrong becomes a finding.

    An annotation without objects is kept: its picture is background. One that loses all its objects is not.
    Raises DataError if the folder does not exist, cannot be read or holds no XML file.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder. Give the folder that holds the pictures and their XML files."
        )
    return _Reader(folder).read()


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


@dataclass(frozen=True, slots=True)
class _Object:
    """An object with its `edges` xmin, ymin, xmax, ymax in pixels."""

    class_name: str
    edges: tuple[float, float, float, float]
    difficult: bool
    truncated: bool
    view: str


@dataclass(frozen=True, slots=True)
class _Annotation:
    """What one XML file says; `size` is (width, height) of the picture as the annotator's program saw it."""

    path: Path
    filename: str
    size: tuple[int, int] | None
    objects: tuple[_Object, ...]
    has_objects: bool


class _SkipError(Exception):
    """A part of the data set that cannot be used: the kind of finding it becomes, and the particulars."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class _Reader:
    """Reads one folder and collects its findings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.findings: list[Finding] = []

    def read(self) -> Reading:
        files = list_files(self.folder, self.findings)
        xml_files = [path for path in files if path.suffix.lower() == ".xml"]
        pictures = _Pictures(path for path in files if path.suffix.lower() in images.SUFFIXES)
        if not xml_files:
            raise DataError(f"{self.folder} holds no annotations: no file in it or below it ends in .xml.")

        pairs = []
        for path in xml_files:
            with self._skipping(path):
                annotation = self._annotation(path, _parse(path))
                pairs.append((annotation, self._picture(annotation, pictures)))
        self._note_unused(pictures.paths, {picture for _, picture in pairs})

        records = []
        for annotation, picture in self._one_annotation_each(pairs):
            with self._skipping(annotation.path):
                records.append(self._image_record(annotation, picture))
        foreign = sum(finding.kind == _FOREIGN for finding in self.findings)
        return Reading(self.folder, tuple(records), tuple(self.findings), len(xml_files) - foreign)

    def _annotation(self, path: Path, root: Element) -> _Annotation:
        elements = root.findall("object")
        objects = []
        for number, element in enumerate(elements, start=1):
            with self._skipping(path, f"object {number}: "):
                objects.append(_object(element))
        filename = _text(root, "filename").replace("\\", "/").rpartition("/")[2]
        return _Annotation(path, filename, _size(root), tuple(objects), has_objects=bool(elements))

    def _picture(self, annotation: _Annotation, pictures: "_Pictures") -> Path:
        own_name = annotation.path.stem
        if picture := pictures.named(annotation.filename, annotation.path):
            return picture
        if annotation.filename and (picture := pictures.resembling(annotation.filename, annotation.path)):
            self._add(
                "picture of a similar name", Severity.NOTED, annotation.path, self._taken(annotation, picture)
            )
            return picture
        if picture := pictures.resembling(own_name, annotation.path):
            self._add(
                "picture of the XML's name", Severity.NOTED, annotation.path, self._taken(annotation, picture)
            )
            return picture
        raise _SkipError(
            "picture not found", f'no picture is named "{annotation.filename}" or like the XML, "{own_name}".'
        )

    def _taken(self, annotation: _Annotation, picture: Path) -> str:
        return f'there is no "{annotation.filename}", {self._name(picture)} is taken for it.'

    def _note_unused(self, pictures: Iterable[Path], used: set[Path]) -> None:
        for path in pictures:
            if path not in used:
                self._add(
                    "picture without annotation", Severity.NOTED, path, "no XML names it; it is not used."
                )

    def _one_annotation_each(self, pairs: list[tuple[_Annotation, Path]]) -> list[tuple[_Annotation, Path]]:
        """Leave each picture one annotation, that of its own name if there is one."""
        chosen: dict[Path, _Annotation] = {}
        for annotation, picture in sorted(pairs, key=lambda pair: pair[0].path.stem != pair[1].stem):
            first = chosen.setdefault(picture, annotation)
            if first is not annotation:
                message = f"{self._name(picture)} is already annotated by {self._name(first.path)}."
                self._add("picture annotated twice", Severity.SKIPPED, annotation.path, message)
        return [(annotation, picture) for annotation, picture in pairs if chosen[picture] is annotation]

    def _image_record(self, annotation: _Annotation, picture: Path) -> ImageRecord:
        try:
            info = images.inspect(picture)
        except DataError as error:
            raise _SkipError("unusable picture", f"{self._name(picture)}: {error}") from error
        upright = self._seen_upright(annotation, picture, info)
        width, height = (info.height, info.width) if upright else (info.width, info.height)
        if annotation.size not in (None, (width, height)):
            self._add(
                "size differs",
                Severity.NOTED,
                annotation.path,
                f"it says {_by(annotation.size)}, the picture has {_by((width, height))}, and that counts:"
                " if the picture was resized after it was annotated, its boxes are wrong.",
            )
        if reason := images.recoding_reason(info.format, info.mode):
            self._add("picture encoded again", Severity.REPAIRED, picture, f"{reason}.")
        return ImageRecord(
            name=self._name(picture),
            image_path=picture,
            annotation_path=annotation.path,
            width=width,
            height=height,
            objects=self._object_records(annotation, width, height),
            upright=upright,
        )

    def _seen_upright(self, annotation: _Annotation, picture: Path, info: images.ImageInfo) -> bool:
        """Say whether the annotator saw the picture turned as its EXIF says: then <size> is transposed."""
        if info.orientation == 1:
            return False
        if (
            info.orientation >= 5
            and info.width != info.height
            and annotation.size == (info.height, info.width)
        ):
            message = (
                f"EXIF orientation {info.orientation}: annotated upright, so it is turned and encoded again."
            )
            self._add("picture turned upright", Severity.REPAIRED, picture, message)
            return True
        message = (
            f"EXIF orientation {info.orientation}: the boxes are taken to fit the picture as it is stored."
        )
        self._add("orientation ignored", Severity.NOTED, picture, message)
        return False

    def _object_records(self, annotation: _Annotation, width: int, height: int) -> tuple[ObjectRecord, ...]:
        records = []
        for item in annotation.objects:
            with self._skipping(annotation.path):
                records.append(self._object_record(annotation.path, item, width, height))
        if annotation.has_objects and not records:
            raise _SkipError("no usable object", "none of its objects can be used.")
        return tuple(records)

    def _object_record(self, path: Path, item: _Object, width: int, height: int) -> ObjectRecord:
        written = box_from_pixels(*item.edges, width=width, height=height)
        ordered = reorder(written)
        clipped = clip(ordered)
        which = f"{item.class_name} [xmin, ymin, xmax, ymax] = {[round(edge, 2) for edge in item.edges]}"
        if not has_area(clipped):
            raise _SkipError("box without area", f"{which} has no area within {_by((width, height))}.")
        if ordered != written:
            self._add("box reordered", Severity.REPAIRED, path, f"{which} had its corners swapped.")
        if clipped != ordered:
            self._add(
                "box clipped", Severity.REPAIRED, path, f"{which} reached out of {_by((width, height))}."
            )
        return ObjectRecord(
            item.class_name, clipped, difficult=item.difficult, truncated=item.truncated, view=item.view
        )

    @contextmanager
    def _skipping(self, path: Path, which: str = "") -> Iterator[None]:
        try:
            yield
        except _SkipError as skip:
            self._add(skip.kind, Severity.SKIPPED, path, which + str(skip))

    def _add(self, kind: str, severity: Severity, path: Path, message: str) -> None:
        self.findings.append(Finding(kind, severity, printable(self._name(path)), printable(message)))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


class _Pictures:
    """The pictures of a folder by name."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = list(paths)
        self._by_name = defaultdict(list)
        self._by_loose_name = defaultdict(list)
        for path in self.paths:
            self._by_name[path.name].append(path)
            self._by_loose_name[_loose(path.name)].append(path)

    def named(self, name: str, annotation: Path) -> Path | None:
        return _nearest(self._by_name.get(name, []), annotation)

    def resembling(self, name: str, annotation: Path) -> Path | None:
        return _nearest(self._by_loose_name.get(_loose(name), []), annotation)


def _loose(name: str) -> str:
    stem, extension = os.path.splitext(name)
    known = stem if extension.lower() in images.SUFFIXES else name
    return unicodedata.normalize("NFC", known).casefold()


def _nearest(candidates: list[Path], annotation: Path) -> Path | None:
    if not candidates:
        return None
    nearness = [
        (path.parent == annotation.parent, len(os.path.commonpath((path, annotation)))) for path in candidates
    ]
    nearest = [path for path, value in zip(candidates, nearness, strict=True) if value == max(nearness)]
    if len(nearest) > 1:
        raise _SkipError("picture ambiguous", f"{nearest[0]} and {nearest[1]} could both be its picture.")
    return nearest[0]


def _parse(path: Path) -> Element:
    try:
        if path.stat().st_size > MAX_XML_BYTES:
            raise _SkipError("unreadable annotation", f"it has more than {MAX_XML_BYTES >> 20} MiB.")
        # Some programs write blank lines before the XML declaration, which no parser accepts.
        root = ElementTree.fromstring(path.read_bytes().lstrip())
    except (ParseError, ValueError, LookupError, OSError) as error:  # entities are refused with a ValueError
        raise _SkipError("unreadable annotation", f"{type(error).__name__}: {error}") from error
    if root.tag != "annotation":
        raise _SkipError(_FOREIGN, f"its root is <{root.tag}>, not <annotation>.")
    return root


def _object(element: Element) -> _Object:
    class_name = _text(element, "name")
    if not class_name:
        raise _SkipError("object without name", "it has no <name>.")
    return _Object(
        class_name,
        _edges(element),
        difficult=_flag(element, "difficult"),
        truncated=_flag(element, "truncated"),
        view=_text(element, "pose"),
    )


def _edges(element: Element) -> tuple[float, float, float, float]:
    """Return xmin, ymin, xmax, ymax."""
    values = [_text(element, f"bndbox/{tag}") for tag in ("xmin", "ymin", "xmax", "ymax")]
    try:
        xmin, ymin, xmax, ymax = map(float, values)
    except ValueError:
        raise _SkipError("object without box", f"its <bndbox> holds {values}, not four numbers.") from None
    if not all(map(isfinite, (xmin, ymin, xmax, ymax))):
        raise _SkipError("object without box", f"its <bndbox> holds {values}, not four finite numbers.")
    return xmin, ymin, xmax, ymax


def _size(root: Element) -> tuple[int, int] | None:
    """Return (width, height), or None if the annotation does not say."""
    try:
        return int(float(_text(root, "size/width"))), int(float(_text(root, "size/height")))
    except (ValueError, OverflowError):
        return None


def _flag(element: Element, tag: str) -> bool:
    return _text(element, tag).lower() in ("1", "true", "yes")


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _by(size: tuple[int, int] | None) -> str:
    return "x".join(map(str, size or ()))
