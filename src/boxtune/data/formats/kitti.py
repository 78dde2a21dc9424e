"""Reading KITTI's object labels: for each picture a text file of its name, with one object on a line.

The fields of a line, parted by blanks, are (readme.txt of KITTI's object development kit): type, truncated (0 to 1),
occluded, alpha, left, top, right, bottom (pixels from 0), height, width, length, x, y, z, rotation_y, and in
detections a score. Of these the type, the box and whether it is truncated are taken. What the type "DontCare" marks,
regions in which nothing was annotated, is a class like any other here.
"""

from collections.abc import Iterator
from math import isfinite
from pathlib import Path

from boxtune.data import findings as kinds
from boxtune.data.annotations import AnnotatedObject, Annotation, Edges, Format, Parse
from boxtune.data.files import read_text
from boxtune.data.findings import Findings, SkipError
from boxtune.data.listing import Listing
from boxtune.errors import DataError

MAX_BYTES = 16 * 2**20
_NUM_FIELDS = (15, 16)
_TRUNCATED, _LEFT, _BOTTOM = 1, 4, 7
_PEEKED_BYTES = 4096


def recognises(path: Path) -> bool:
    """Say whether a file is one of labels by its first line; one without a line could be anything."""
    try:
        with path.open("rb") as file:
            lines = file.read(_PEEKED_BYTES).decode("utf-8-sig", errors="replace").split("\n")
    except OSError:
        return False
    fields = next((line.split() for line in lines if line.strip()), [])
    return len(fields) in _NUM_FIELDS and not _is_number(fields[0]) and all(map(_is_number, fields[1:]))


def parse(path: Path, findings: Findings) -> Iterator[Annotation]:
    """Read one label file, which is about the picture of its name."""
    with findings.skipping(path):
        lines = _lines(path)
        if lines and all(len(fields) not in _NUM_FIELDS for fields in lines.values()):
            raise SkipError(kinds.FOREIGN, "none of its lines has the 15 or 16 fields of a KITTI label.")
        objects = []
        for place, fields in lines.items():
            with findings.skipping(path, place=place):
                objects.append(_object(fields, place))
        yield Annotation(path, f"{path.stem}.png", tuple(objects), complete=len(objects) == len(lines))


def _prepare(listing: Listing, findings: Findings) -> Parse:
    return parse


FORMAT = Format("kitti", "KITTI labels", frozenset({".txt"}), recognises, _prepare)


def _lines(path: Path) -> dict[str, list[str]]:
    """Return the fields of each line that has any, by its place."""
    try:
        lines = read_text(path, max_bytes=MAX_BYTES).split("\n")
    except DataError as error:
        raise SkipError(kinds.ANNOTATION_UNREADABLE, str(error)) from error
    return {f"line {number}": line.split() for number, line in enumerate(lines, start=1) if line.strip()}


def _object(fields: list[str], place: str) -> AnnotatedObject:
    if len(fields) not in _NUM_FIELDS:
        raise SkipError(
            kinds.OBJECT_WITHOUT_BOX, f"it has {len(fields)} fields; KITTI's labels have 15 or 16."
        )
    truncated = _is_number(fields[_TRUNCATED]) and float(fields[_TRUNCATED]) > 0
    return AnnotatedObject(fields[0], _edges(fields[_LEFT : _BOTTOM + 1]), place, truncated=truncated)


def _edges(fields: list[str]) -> Edges:
    """Return xmin, ymin, xmax, ymax."""
    if not all(map(_is_number, fields)):
        raise SkipError(kinds.OBJECT_WITHOUT_BOX, f"its box is {' '.join(fields)}, not four finite numbers.")
    left, top, right, bottom = map(float, fields)
    return left, top, right, bottom


def _is_number(text: str) -> bool:
    try:
        return isfinite(float(text))
    except ValueError:
        return False
