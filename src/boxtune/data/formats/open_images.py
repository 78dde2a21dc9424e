"""Reading the box annotations of Open Images: one CSV file about all images, with one object in a row.

Of its columns, ImageID, LabelName, XMin, XMax, YMin, YMax (fractions of the image), IsTruncated and IsGroupOf are
taken. An image is called ImageID.jpg. Since the file is about all of Open Images, of which people have a part, rows
about images that are not among the files are counted rather than reported one by one.

A LabelName is a code such as /m/0k4j; where a file class-descriptions*.csv gives it a name, that is the class.
"""

import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from boxtune.data import findings as kinds
from boxtune.data.annotations import AnnotatedObject, Annotation, AnnotationFile, Format, Row
from boxtune.data.findings import Findings, SkipError
from boxtune.data.formats import shapes
from boxtune.data.images import SUFFIXES
from boxtune.data.listing import Listing
from boxtune.errors import many

_EDGES = ("XMin", "YMin", "XMax", "YMax")
_COLUMNS = ("ImageID", "LabelName", *_EDGES)
_MAX_LINE = 2**16  # characters: a line of the CSV file has about a hundred

_Cells = dict[str, str]


@dataclass(frozen=True, slots=True)
class _DataSet:
    """Which images there are, without extension, and the names of classes by their codes."""

    image_ids: frozenset[str]
    class_names: dict[str, str]


def _recognises(path: Path) -> bool:
    """Say whether a file is one of boxes by its header."""
    try:
        return _has_columns(next(_lines(path), []))
    except SkipError:
        return False


def _read(file: AnnotationFile, data_set: _DataSet) -> Iterator[Annotation]:
    """Read one CSV file: the rows about images of the data set, or all rows if it has no images."""
    return file.annotations_of_rows(
        _rows(file, data_set.image_ids), partial(_object, class_names=data_set.class_names)
    )


def _data_set(listing: Listing, findings: Findings) -> _DataSet:
    class_names = {}
    for path in listing.ending(frozenset({".csv"})):
        if "class-descriptions" in path.name:
            with findings.skipping(path):
                class_names.update({row[0].strip(): row[1].strip() for row in _lines(path) if len(row) == 2})
    return _DataSet(frozenset(path.stem for path in listing.ending(SUFFIXES)), class_names)


FORMAT = Format(
    "open_images",
    "Open Images CSV",
    frozenset({".csv"}),
    _recognises,
    _read,
    normalized=True,
    context=_data_set,
)


def _object(cells: _Cells, location: str, *, class_names: dict[str, str]) -> AnnotatedObject:
    code = shapes.require_name(cells["LabelName"].strip())
    return AnnotatedObject(
        # There are millions of objects of a few hundred classes.
        sys.intern(class_names.get(code, code)),
        shapes.corners(*(cells[column] for column in _EDGES)),
        location,
        truncated=shapes.is_set(cells.get("IsTruncated")),
        group_of=shapes.is_set(cells.get("IsGroupOf")),
    )


def _rows(file: AnnotationFile, image_ids: frozenset[str]) -> Iterator[Row]:
    """Return the rows behind the header, cells by column; those about other images are counted in one finding."""
    lines = _lines(file.path)
    header = next(lines, [])
    if not _has_columns(header):
        raise SkipError(kinds.FOREIGN, f"its first line lacks one of {', '.join(_COLUMNS)}.")
    num_elsewhere = 0
    try:
        for number, line in enumerate(lines, start=2):
            cells = dict.fromkeys(header, "") | dict(zip(header, line, strict=False))
            if line and image_ids and cells["ImageID"] not in image_ids:
                num_elsewhere += 1
            elif line:
                yield Row(f"line {number}", f"{cells['ImageID']}.jpg", None, cells)
    finally:
        if num_elsewhere:
            message = f"{many(num_elsewhere, 'row')} about images that are not there."
            file.findings.add(kinds.NOT_READ, file.path, message)


def _has_columns(header: list[str]) -> bool:
    return set(header).issuperset(_COLUMNS)


def _lines(path: Path) -> Iterator[list[str]]:
    """Return the cells of each line; raise SkipError if the file cannot be read as CSV."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            # A line that goes on for ever is read in parts.
            yield from csv.reader(iter(partial(file.readline, _MAX_LINE), ""))
    except (OSError, ValueError, csv.Error) as error:
        raise SkipError(kinds.ANNOTATION_UNREADABLE, f"{type(error).__name__}: {error}.") from error
