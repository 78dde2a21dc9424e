"""Reading the box annotations of Open Images: one CSV file about all pictures, with one object in a row.

Of its columns, ImageID, LabelName, XMin, XMax, YMin, YMax (shares of the picture), IsTruncated and IsGroupOf are
taken. A picture is called ImageID.jpg. Since the file is about all of Open Images, of which people have a part, rows
about pictures that are not among the files are counted rather than reported one by one.

A LabelName is a code such as /m/0k4j; where a file class-descriptions*.csv gives it a name, that is the class.
"""

import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from math import isfinite
from pathlib import Path

from boxtune.data import findings as kinds
from boxtune.data.annotations import AnnotatedObject, Annotation, Edges, Format, Parse
from boxtune.data.findings import Findings, SkipError
from boxtune.data.images import SUFFIXES
from boxtune.data.listing import Listing

_EDGES = ("XMin", "YMin", "XMax", "YMax")
_COLUMNS = ("ImageID", "LabelName", *_EDGES)
_MAX_LINE = 2**16  # characters: a line of the CSV file has about a hundred

Row = dict[str, str]


def recognises(path: Path) -> bool:
    """Say whether a file is one of boxes by its header."""
    try:
        return _has_columns(next(_cells(path), []))
    except SkipError:
        return False


def parse(
    path: Path, findings: Findings, *, image_ids: frozenset[str], class_names: dict[str, str]
) -> Iterator[Annotation]:
    """Read one CSV file: what it says of the pictures `image_ids`, or of all if there are none."""
    pictures: dict[str, _Picture] = {}
    num_elsewhere = 0
    with findings.skipping(path):
        for place, row in _rows(path):
            if image_ids and row["ImageID"] not in image_ids:
                num_elsewhere += 1
                continue
            picture = pictures.setdefault(row["ImageID"], _Picture(place))
            picture.num_rows += 1
            with findings.skipping(path, place=place):
                picture.objects.append(_object(row, place, class_names))
        for image_id, picture in pictures.items():
            yield _annotation(path, image_id, picture)
    if num_elsewhere:
        findings.add(kinds.NOT_READ, path, f"{num_elsewhere:,} rows are about pictures that are not there.")


def _prepare(listing: Listing, findings: Findings) -> Parse:
    image_ids = frozenset(path.stem for path in listing.ending(SUFFIXES))
    return partial(parse, image_ids=image_ids, class_names=_class_names(listing, findings))


FORMAT = Format("open_images", "Open Images CSV", frozenset({".csv"}), recognises, _prepare)


@dataclass(slots=True)
class _Picture:
    """What was read about a picture so far; `place` is that of its first row."""

    place: str
    objects: list[AnnotatedObject] = field(default_factory=list)
    num_rows: int = 0


def _annotation(path: Path, image_id: str, picture: _Picture) -> Annotation:
    return Annotation(
        path,
        f"{image_id}.jpg",
        tuple(picture.objects),
        place=picture.place,
        in_shares=True,
        complete=len(picture.objects) == picture.num_rows,
    )


def _object(row: Row, place: str, class_names: dict[str, str]) -> AnnotatedObject:
    code = row["LabelName"].strip()
    if not code:
        raise SkipError(kinds.OBJECT_WITHOUT_NAME, "its LabelName is empty.")
    return AnnotatedObject(
        # There are millions of objects of a few hundred classes.
        sys.intern(class_names.get(code, code)),
        _edges(row),
        place,
        truncated=row.get("IsTruncated") == "1",
        group_of=row.get("IsGroupOf") == "1",
    )


def _edges(row: Row) -> Edges:
    """Return xmin, ymin, xmax, ymax."""
    try:
        xmin, ymin, xmax, ymax = (float(row[column]) for column in _EDGES)
        if all(map(isfinite, (xmin, ymin, xmax, ymax))):
            return xmin, ymin, xmax, ymax
    except ValueError:
        pass
    values = [row[column] for column in _EDGES]
    raise SkipError(kinds.OBJECT_WITHOUT_BOX, f"{', '.join(_EDGES)} are {values}, not four finite numbers.")


def _class_names(listing: Listing, findings: Findings) -> dict[str, str]:
    """Return the name of each LabelName that a file class-descriptions*.csv gives one."""
    names = {}
    for path in listing.ending(frozenset({".csv"})):
        if "class-descriptions" in path.name:
            with findings.skipping(path):
                names.update({row[0].strip(): row[1].strip() for row in _cells(path) if len(row) == 2})
    return names


def _rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Return each row behind the header, by column, and its place; cells that a row lacks are empty."""
    header: list[str] = []
    for number, cells in enumerate(_cells(path), start=1):
        if not header:
            header = cells
            if not _has_columns(header):
                raise SkipError(kinds.FOREIGN, f"its first line lacks one of {', '.join(_COLUMNS)}.")
        elif cells:
            yield f"line {number}", dict.fromkeys(header, "") | dict(zip(header, cells, strict=False))


def _has_columns(header: list[str]) -> bool:
    return set(header).issuperset(_COLUMNS)


def _cells(path: Path) -> Iterator[list[str]]:
    """Return the cells of each line; raise SkipError if the file cannot be read as CSV."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            # A line that goes on for ever is read in parts.
            yield from csv.reader(iter(partial(file.readline, _MAX_LINE), ""))
    except (OSError, ValueError, csv.Error) as error:
        raise SkipError(kinds.ANNOTATION_UNREADABLE, f"{type(error).__name__}: {error}.") from error
