"""Columns of a table: of a data frame of pandas, or of a dict of lists."""

from collections.abc import Mapping
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
