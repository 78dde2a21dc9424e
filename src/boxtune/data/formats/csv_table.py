"""Tables of boxes in CSV, one row an object: those of the tutorials, and that of keras-retinanet.

A table with a header may have its columns in any order and others between them; for each there are a few common
names. One without a header has the columns filename, width, height, class, xmin, ymin, xmax, ymax of the tutorials,
perhaps behind a number, or keras-retinanet's path, x1, y1, x2, y2, class. Commas, semicolons or tabs part the columns.
A row without class and coordinates stands for a picture without objects.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from boxtune.data import findings as kinds
from boxtune.data.annotations import AnnotatedObject, Annotation, Format, Parse
from boxtune.data.files import read_text
from boxtune.data.findings import Findings, SkipError
from boxtune.data.formats import shapes
from boxtune.data.images import SUFFIXES
from boxtune.data.listing import Listing
from boxtune.errors import DataError

_PEEKED_BYTES = 2**16
_SEPARATORS = (",", ";", "\t")
_EDGES = ("xmin", "ymin", "xmax", "ymax")
# What headers call a column, without case, blanks, hyphens and underscores; where there are several, the first counts.
_HEADERS = {
    "filename": ("filename", "imagename", "imagepath", "imgpath", "image", "img", "path", "file"),
    "class": ("class", "classname", "label", "labelname", "category", "name"),
    "xmin": ("xmin", "x1", "left"),
    "ymin": ("ymin", "y1", "top"),
    "xmax": ("xmax", "x2", "right"),
    "ymax": ("ymax", "y2", "bottom"),
    "width": ("width", "imagewidth", "imgwidth"),
    "height": ("height", "imageheight", "imgheight"),
}
_REQUIRED = ("filename", "class", *_EDGES)
_TUTORIALS = ("filename", "width", "height", "class", *_EDGES)
_WITHOUT_HEADER = (_TUTORIALS, ("index", *_TUTORIALS), ("filename", *_EDGES, "class"))

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Layout:
    """What parts the columns, which are where, and whether the first row names them."""

    separator: str
    columns: Mapping[str, int]
    has_header: bool

    def row(self, cells: Sequence[str]) -> Row:
        """Return the cells by the names of their columns; those that are not there are empty."""
        return {name: cells[i].strip() if i < len(cells) else "" for name, i in self.columns.items()}


@dataclass(slots=True)
class _Picture:
    """What has been read of a picture, whose first row is at `place`."""

    place: str
    size: tuple[int, int] | None
    objects: list[AnnotatedObject] = field(default_factory=list)
    complete: bool = True


def recognises(path: Path) -> bool:
    """Say whether a file begins with a row of such a table."""
    try:
        with path.open("rb") as file:
            head = file.read(_PEEKED_BYTES)
    except OSError:
        return False
    utf16 = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    return _layout(head.decode("utf-16" if utf16 else "utf-8-sig", errors="replace")) is not None


def parse(path: Path, findings: Findings) -> Iterator[Annotation]:
    """Read one file, which is about any number of pictures, in the order in which they appear."""
    with findings.skipping(path):
        text = _text(path)
        layout = _layout(text)
        if layout is None:
            raise SkipError(kinds.FOREIGN, "its first row is neither a header nor a box of a table of boxes.")
        pictures: dict[str, _Picture] = {}
        for place, row in _rows(text, layout):
            _add_row(pictures, place, row, path, findings)
        for filename, one in pictures.items():
            yield Annotation(path, filename, tuple(one.objects), one.size, one.place, complete=one.complete)


def _prepare(listing: Listing, findings: Findings) -> Parse:
    return parse


FORMAT = Format("csv", "CSV table of boxes", frozenset({".csv", ".tsv"}), recognises, _prepare)


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except DataError as error:
        raise SkipError(kinds.ANNOTATION_UNREADABLE, str(error)) from error


# Which columns there are


def _layout(text: str) -> _Layout | None:
    """Return the layout of a table by its first row, None if it is none."""
    line = next((line for line in io.StringIO(text, newline="") if line.strip()), "")
    for separator in _SEPARATORS:
        try:
            cells = [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]
        except csv.Error:
            return None
        if columns := _columns_of_header(cells):
            return _Layout(separator, columns, has_header=True)
        if columns := _columns_of_box(cells):
            return _Layout(separator, columns, has_header=False)
    return None


def _columns_of_header(cells: Sequence[str]) -> dict[str, int] | None:
    headers = [cell.casefold().translate({ord(mark): None for mark in " -_"}) for cell in cells]
    columns = {}
    for column, names in _HEADERS.items():
        if found := [headers.index(name) for name in names if name in headers]:
            columns[column] = found[0]
    return columns if all(column in columns for column in _REQUIRED) else None


def _columns_of_box(cells: Sequence[str]) -> dict[str, int] | None:
    """Return the columns of a table without header whose first row these are."""
    for names in _WITHOUT_HEADER:
        row = dict(zip(names, cells, strict=False))
        if len(names) != len(cells) or PurePosixPath(row["filename"]).suffix.lower() not in SUFFIXES:
            continue
        numbers = [row[name] for name in names if name not in ("filename", "class")]
        if _is_background(row) or all(map(_is_number, numbers)):
            return {name: position for position, name in enumerate(names)}
    return None


def _is_number(text: str) -> bool:
    try:
        shapes.finite(text)
    except SkipError:
        return False
    return True


# The rows


def _rows(text: str, layout: _Layout) -> Iterator[tuple[str, Row]]:
    """Return the rows of boxes with their places."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=layout.separator)
    is_header = layout.has_header
    line = 1
    try:
        for cells in reader:
            place, line = f"line {line}", reader.line_num + 1
            if any(map(str.strip, cells)):
                if not is_header:
                    yield place, layout.row(cells)
                is_header = False
    except csv.Error as error:
        raise SkipError(kinds.ANNOTATION_UNREADABLE, f"it is no CSV: {error}.", f"line {line}") from error


def _add_row(pictures: dict[str, _Picture], place: str, row: Row, path: Path, findings: Findings) -> None:
    filename = row["filename"].replace("\\", "/")
    if not filename:
        findings.add(kinds.PICTURE_MISSING, path, "the row names no picture.", place=place)
        return
    size = shapes.picture_size(row.get("width", ""), row.get("height", ""))
    picture = pictures.setdefault(filename, _Picture(place, size))
    if not _is_background(row):
        found, complete = shapes.gather([(place, row)], _object, findings, path, filename)
        picture.objects += found
        picture.complete &= complete


def _is_background(row: Row) -> bool:
    return not any(row[name] for name in ("class", *_EDGES))


def _object(row: Row, place: str) -> AnnotatedObject:
    return AnnotatedObject(
        shapes.require_name(row["class"]), shapes.corners(*(row[edge] for edge in _EDGES)), place
    )
