"""Tables of boxes that programs export as CSV, with columns of their own.

AutoML and TFLite Model Maker write the part of the data set, path, class, and two or four corners as fractions, without
a header; make-sense class, corner, sides, image and its size, with a header or without; VGG Image Annotator a header,
and in two of its columns JSON, as in its JSON files.
"""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from boxtune.data import findings as kinds
from boxtune.data.annotations import AnnotatedObject, Annotation, AnnotationFile, Format, Row
from boxtune.data.findings import SkipError
from boxtune.data.formats import shapes, via
from boxtune.data.formats.text import csv_rows, first_line, read_annotations
from boxtune.data.images import SUFFIXES

_SUFFIXES = frozenset({".csv"})
_PARTS = frozenset(("TRAIN", "TRAINING", "VALIDATE", "VALIDATION", "TEST", "UNASSIGNED", ""))
_MAKESENSE = [
    *("label_name", "bbox_x", "bbox_y", "bbox_width", "bbox_height"),
    *("image_name", "image_width", "image_height"),
]

_VIA = [
    *("filename", "file_size", "file_attributes", "region_count"),
    *("region_id", "region_shape_attributes", "region_attributes"),
]

_Cells = Sequence[str]


def _recognises(path: Path, *, belongs: Callable[[_Cells], bool]) -> bool:
    """Say whether the first row of a file is such a row."""
    try:
        return belongs(_stripped(next(csv.reader([first_line(path)]), [])))
    except csv.Error:
        return False


def _rows(file: AnnotationFile, belongs: Callable[[_Cells], bool]) -> Iterator[tuple[str, _Cells]]:
    """Yield the rows of a file with their locations; those of another layout become findings."""
    for location, written in csv_rows(read_annotations(file.path)):
        cells = _stripped(written)
        if cells == _MAKESENSE:
            continue
        if belongs(cells):
            yield location, cells
        else:
            message = f"the row is not like the first: {','.join(written)}"
            file.findings.add(kinds.OBJECT_WITHOUT_BOX, file.path, message, location=location)


def _stripped(cells: _Cells) -> list[str]:
    return [cell.strip() for cell in cells]


def _is_image(name: str) -> bool:
    return PurePosixPath(name.replace("\\", "/")).suffix.lower() in SUFFIXES


# AutoML


def _is_automl(cells: _Cells) -> bool:
    """Say whether cells are a part (which may be left out), an image, a class, and eight coordinates, some empty."""
    if len(cells) not in (10, 11):
        return False
    part, name, cls, *_ = _automl_cells(cells)
    return part.upper() in _PARTS and _is_image(name) and not _is_image(cls)


def _automl_cells(cells: _Cells) -> _Cells:
    return cells if len(cells) == 11 else ["", *cells]


def _automl_rows(file: AnnotationFile) -> Iterator[Row]:
    for location, cells in _rows(file, _is_automl):
        part, name, *item = _automl_cells(cells)
        yield Row(location, name.replace("\\", "/"), None, item if any(item) else None, part)


def _automl_object(cells: _Cells, location: str) -> AnnotatedObject:
    name, *sides = cells
    xs, ys = ([shapes.finite(side) for side in sides[axis::2] if side] for axis in (0, 1))
    if min(len(xs), len(ys)) < 2:
        message = f"it has {len(xs)} x and {len(ys)} y; a box takes two."
        raise SkipError(kinds.OBJECT_WITHOUT_BOX, message)
    edges = shapes.corners(min(xs), min(ys), max(xs), max(ys))
    return AnnotatedObject(shapes.require_name(name), edges, location)


AUTOML = Format(
    "automl",
    "AutoML CSV",
    _SUFFIXES,
    partial(_recognises, belongs=_is_automl),
    lambda file: file.annotations_of_rows(_automl_rows(file), _automl_object),
    normalized=True,
)


# make-sense


def _is_makesense(cells: _Cells) -> bool:
    """Say whether cells are the header of make-sense, or a class, a corner, sides, an image and its size."""
    if cells == _MAKESENSE:
        return True
    return len(cells) == len(_MAKESENSE) and _is_image(cells[5]) and not _is_image(cells[0])


def _read_makesense(file: AnnotationFile) -> Iterator[Annotation]:
    rows = (
        Row(location, cells[5].replace("\\", "/"), shapes.image_size(*cells[6:]), cells)
        for location, cells in _rows(file, _is_makesense)
    )
    return file.annotations_of_rows(rows, _makesense_object)


def _makesense_object(cells: _Cells, location: str) -> AnnotatedObject:
    return AnnotatedObject(shapes.require_name(cells[0]), shapes.rectangle(*cells[1:5]), location)


MAKESENSE = Format(
    "makesense",
    "make-sense CSV",
    _SUFFIXES,
    partial(_recognises, belongs=_is_makesense),
    _read_makesense,
    form="sides",
)


# VGG Image Annotator


def _is_via_header(cells: _Cells) -> bool:
    return [cell.lstrip("#") for cell in cells] == _VIA


def _read_via(file: AnnotationFile) -> Iterator[Annotation]:
    """Read the rows as VIA's JSON would have them: the regions of each image, none of one that only is named."""
    entries: dict[str, dict[str, Any]] = {}
    for location, cells in _rows(file, lambda cells: len(cells) == len(_VIA)):
        if _is_via_header(cells):
            continue
        name, *_, shape, attributes = cells
        regions = entries.setdefault(name, {"filename": name, "regions": {}})["regions"]
        region = {"shape_attributes": _json(shape), "region_attributes": _json(attributes)}
        if region["shape_attributes"] != {}:
            regions[location] = region
    return via.read(file, entries)


def _json(text: str) -> Any:
    """Return the value of a cell, or its text, which is then named as no shape."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


VIA = Format(
    "via_csv",
    "VGG Image Annotator CSV",
    _SUFFIXES,
    partial(_recognises, belongs=_is_via_header),
    _read_via,
    form="sides",
)
