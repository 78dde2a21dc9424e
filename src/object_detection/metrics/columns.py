"""Columns of a table: of a data frame of pandas, or of a dict of lists."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from boxtune.errors import DataError, did_you_mean


class UnknownLabelError(DataError, KeyError):
    """A name of a class that a label map lacks; a KeyError too, which is what the API raises."""

    __str__ = DataError.__str__


def column(table: Any, name: str, rows: Any = slice(None)) -> np.ndarray:
    """Return the values [n] of a column, in some rows."""
    return np.asarray(table[name], object)[rows]


def known(table: Any, name: str) -> np.ndarray:
    """Return where a column has a value, bool [n]: neither None nor NaN."""
    return np.array([value is not None and value == value for value in column(table, name)], bool)


def numbers(table: Any, names: tuple[str, ...], rows: Any = slice(None)) -> np.ndarray:
    """Return the values float64 [n, k] of k columns."""
    return np.stack([column(table, name, rows).astype(np.float64) for name in names], axis=-1)


def labels(table: Any, name: str, label_map: Mapping[str, int], rows: Any = slice(None)) -> np.ndarray:
    """Return the numbers int64 [n] of the classes in a column.

    Raises:
        UnknownLabelError: for a class that the label map lacks.
    """
    names = column(table, name, rows)
    for one in names:
        if one not in label_map:
            hint = did_you_mean(str(one), label_map)
            raise UnknownLabelError(f'the label map has no class "{one}", which {name} has.{hint}')
    return np.array([label_map[one] for one in names], np.int64)


# Tables in files

Table = dict[str, list[str | None]]
"""Columns by name; None where a cell is empty."""


def read_csv(path: Path) -> Table:
    """Return the columns of a CSV file with a header.

    Raises:
        DataError: if it cannot be read, or a row has more cells than the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            names = next(reader, [])
            rows = [[cell or None for cell in row] for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {error}.") from error
    for number, row in enumerate(rows, 2):
        if len(row) != len(names):
            raise DataError(f"{path}: row {number} has {len(row)} cells, the header has {len(names)}.")
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def check_names(table: Table, names: Iterable[str], path: Path) -> None:
    """Raise DataError, naming the file, if a table lacks a column."""
    if missing := [name for name in names if name not in table]:
        raise DataError(f"{path}: there is no column {', '.join(missing)}, but {', '.join(table)}.")


def joined(*tables: Table) -> Table:
    """Return the rows of all tables as one, with the columns of all."""
    names = dict.fromkeys(name for table in tables for name in table)
    return {
        name: [cell for table in tables for cell in table.get(name, [None] * _length(table))]
        for name in names
    }


def by_image(table: Table) -> dict[str, Table]:
    """Return the rows of each image of the column ImageID."""
    rows: dict[str, list[int]] = {}
    for number, image in enumerate(table["ImageID"]):
        rows.setdefault(str(image), []).append(number)
    return {
        image: {name: [cells[row] for row in of_image] for name, cells in table.items()}
        for image, of_image in rows.items()
    }


def _length(table: Table) -> int:
    return len(next(iter(table.values()), []))
