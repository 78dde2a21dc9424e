"""Reading KITTI's object labels: for each image a text file of its name, with one object on a line.

The fields of a line, separated by blanks, are (readme.txt of KITTI's object development kit): type, truncated (0 to 1),
occluded, alpha, left, top, right, bottom (pixels from 0), height, width, length, x, y, z, rotation_y, and in
detections a score. Of these the type, the box and whether it is truncated are taken. What the type "DontCare" marks,
regions in which nothing was annotated, is a class like any other here.
"""

from collections.abc import Iterator
from pathlib import Path

from boxtune.data import findings as kinds
from boxtune.data.annotations import AnnotatedObject, Annotation, AnnotationFile, Format
from boxtune.data.findings import SkipError
from boxtune.data.formats import shapes
from boxtune.data.formats.text import fields_of_lines, first_text, read_annotations

MAX_BYTES = 16 * 2**20
_NUM_FIELDS = (15, 16)
_TRUNCATED, _LEFT, _BOTTOM = 1, 4, 7


def _recognises(path: Path) -> bool:
    """Say whether a file has a line that is a label; one without a line could be anything."""
    return any(
        len(fields) in _NUM_FIELDS
        and not shapes.is_finite(fields[0])
        and all(map(shapes.is_finite, fields[1:]))
        for _, fields in fields_of_lines(first_text(path))
    )


def _read(file: AnnotationFile) -> Iterator[Annotation]:
    lines = fields_of_lines(read_annotations(file.path, max_bytes=MAX_BYTES))
    if lines and all(len(fields) not in _NUM_FIELDS for _, fields in lines):
        raise SkipError(kinds.FOREIGN, "none of its lines has the 15 or 16 fields of a KITTI label.")
    yield file.annotation(f"{file.path.stem}.png", lines, _object)


FORMAT = Format("kitti", "KITTI labels", frozenset({".txt"}), _recognises, _read)


def _object(fields: list[str], location: str) -> AnnotatedObject:
    if len(fields) not in _NUM_FIELDS:
        message = f"it has {len(fields)} fields; KITTI's labels have 15 or 16."
        raise SkipError(kinds.OBJECT_WITHOUT_BOX, message)
    truncated = shapes.is_set(fields[_TRUNCATED])
    edges = shapes.corners(*fields[_LEFT : _BOTTOM + 1])
    return AnnotatedObject(fields[0], edges, location, truncated=truncated)
