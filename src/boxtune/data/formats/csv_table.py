"""Tables of boxes in CSV, one row an object: those of the tutorials, and that of keras-retinanet.

A table with a header may have its columns in any order and others between them; for each there are a few common
names. One without a header has the columns filename, width, height, class, xmin, ymin, xmax, ymax of the tutorials,
perhaps behind a number, SKU-110K's filename, x1, y1, x2, y2, class, width, height, or keras-retinanet's path, x1, y1,
x2, y2, class. Where a row of numbers could be of several of these, the one that fits most rows is taken. Columns are
separated by commas, semicolons or tabs. A column `split`, `set` or the like says which part of the data set an image
is of. A row without class and coordinates (or with nan) stands for an image without objects.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from boxtune.data import findings as kinds
from boxtune.data.annotations import AnnotatedObject, Annotation, AnnotationFile, Format, Row
from boxtune.data.findings import SkipError
from boxtune.data.formats import shapes
from boxtune.data.formats.text import csv_rows, first_line, first_line_of, read_annotations
from boxtune.data.images import SUFFIXES
from boxtune.errors import printable

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
    "subset": ("split", "subset", "set", "partition", "mluse", "dataset"),
}
_REQUIRED = ("filename", "class", *_EDGES)
_TUTORIALS = ("filename", "width", "height", "class", *_EDGES)
_WITHOUT_HEADER = (
    _TUTORIALS,
    ("index", *_TUTORIALS),
    ("filename", *_EDGES, "class", "width", "height"),
    ("filename", *_EDGES, "class"),
    ("filename", "class", *_EDGES),
)
_ROWS_TRIED = 1000
_NOTHING = frozenset(("", "nan", "none", "null", "na", "n/a", "<na>"))
"""What pandas and others write into cells that are empty."""

_Cells = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Layout:
    """The separator, the positions of the columns, and whether the first row is a header."""

    separator: str
    columns: Mapping[str, int]
    has_header: bool

    def cells(self, cells: Sequence[str]) -> _Cells:
        """Return the cells by the names of their columns; those that are not there are empty."""
        return {name: cells[i].strip() if i < len(cells) else "" for name, i in self.columns.items()}


def _complaint(path: Path) -> str:
    """Say what a table lacks to be one of boxes, "" if its first row has nothing of one."""
    line = first_line(path)
    for separator in _SEPARATORS:
        cells = line.split(separator)
        found = _columns_among(cells)
        if missing := [name for name in _REQUIRED if name not in found] if len(found) > 2 else []:
            names = "; ".join(f"{name} ({', '.join(_HEADERS[name])})" for name in missing)
            return f"its header, line 1, has no column for {names}: it has {printable(', '.join(cells))}."
    if any(shapes.is_finite(cell.strip()) for separator in _SEPARATORS for cell in line.split(separator)):
        return f"its line 1 is no header, and no row of a box in a known order of columns: {printable(line)}"
    return ""


def _read(file: AnnotationFile) -> Iterator[Annotation]:
    text = read_annotations(file.path)
    layouts = _layouts(first_line_of(text))
    if not layouts:
        raise SkipError(kinds.FOREIGN, "its first row is neither a header nor a box of a table of boxes.")
    layout = layouts[0] if layouts[0].has_header else _fitting(layouts, text, file)
    return file.annotations_of_rows(_rows(text, layout, file), _object)


FORMAT = Format(
    "csv",
    "CSV table of boxes",
    frozenset({".csv", ".tsv"}),
    lambda path: bool(_layouts(first_line(path))),
    _read,
    complaint=_complaint,
)


# Which columns there are


def _layouts(line: str) -> list[_Layout]:
    """Return the layouts that a table can have by its first row; none if it is not such a table."""
    for separator in _SEPARATORS:
        try:
            cells = [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]
        except csv.Error:
            return []
        columns = _columns_among(cells)
        if all(column in columns for column in _REQUIRED):
            return [_Layout(separator, columns, has_header=True)]
        layouts = [
            _Layout(separator, {name: position for position, name in enumerate(names)}, has_header=False)
            for names in _WITHOUT_HEADER
            if len(names) == len(cells) and _can_be(dict(zip(names, cells, strict=True)))
        ]
        if layouts:
            return layouts
    return []


def _fitting(layouts: Sequence[_Layout], text: str, file: AnnotationFile) -> _Layout:
    """Return the layout that fits most rows of a table without header, and report it where there is a choice."""
    fits = [sum(_fits(cells) for _, cells in islice(_cells(text, one), _ROWS_TRIED)) for one in layouts]
    best = layouts[fits.index(max(fits))]
    names = ",".join(sorted(best.columns, key=lambda name: best.columns[name]))
    if len(layouts) == 1 or all(_is_background(cells) for _, cells in _cells(text, best)):
        return best
    if fits.count(max(fits)) > 1:
        message = f"{names} fits {max(fits)} of its first rows, and so does another order of the columns."
        file.findings.add(kinds.COLUMNS_UNSURE, file.path, message)
    else:
        file.findings.add(kinds.COLUMNS_GUESSED, file.path, f"they are taken for {names}.")
    return best


def _fits(cells: _Cells) -> bool:
    """Say whether a row is a box within its image, as far as its size is written."""
    try:
        xmin, ymin, xmax, ymax = shapes.corners(*(cells[edge] for edge in _EDGES))
    except SkipError:
        return False
    size = _size(cells)
    within = (xmax <= size[0] and ymax <= size[1]) if size else "width" not in cells
    return within and min(xmin, ymin) >= 0 and xmin < xmax and ymin < ymax


def _columns_among(cells: Sequence[str]) -> dict[str, int]:
    """Return the columns that are among the cells of a header."""
    headers = [cell.strip(' "').casefold().translate({ord(mark): None for mark in " -_"}) for cell in cells]
    columns = {}
    for column, names in _HEADERS.items():
        if found := [headers.index(name) for name in names if name in headers]:
            columns[column] = found[0]
    return columns


def _can_be(row: _Cells) -> bool:
    """Say whether the cells of a row can be what their columns are called."""
    numbers = [cell for name, cell in row.items() if name not in ("filename", "class")]
    return PurePosixPath(row["filename"]).suffix.lower() in SUFFIXES and (
        _is_background(row) or all(map(shapes.is_finite, numbers))
    )


# The rows


def _rows(text: str, layout: _Layout, file: AnnotationFile) -> Iterator[Row]:
    """Return the rows of boxes and of images without any; one that names no image is a finding."""
    for location, cells in _cells(text, layout):
        filename = cells["filename"].replace("\\", "/")
        if filename:
            item = None if _is_background(cells) else cells
            yield Row(location, filename, _size(cells), item, cells.get("subset", ""))
        else:
            file.findings.add(kinds.IMAGE_MISSING, file.path, "the row names no image.", location=location)


def _cells(text: str, layout: _Layout) -> Iterator[tuple[str, _Cells]]:
    """Return the cells of each row behind the header, by their columns, with its location."""
    rows = islice(csv_rows(text, layout.separator), layout.has_header, None)
    return ((location, layout.cells(cells)) for location, cells in rows)


def _size(cells: _Cells) -> tuple[int, int] | None:
    return shapes.image_size(cells.get("width"), cells.get("height"))


def _is_background(cells: _Cells) -> bool:
    return all(cells[name].casefold() in _NOTHING for name in ("class", *_EDGES))


def _object(cells: _Cells, location: str) -> AnnotatedObject:
    edges = shapes.corners(*(cells[edge] for edge in _EDGES))
    return AnnotatedObject(shapes.require_name(cells["class"]), edges, location)
