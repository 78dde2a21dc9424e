"""The JSON of an evaluation: written, and read again with every value checked."""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from itertools import chain
from types import UnionType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

from boxtune.errors import DataError, many, printable
from boxtune.metrics.analysis import Analysis, DetectionTable, GroundtruthTable, rows_by_image
from boxtune.metrics.bootstrap import Interval
from boxtune.metrics.error_kinds import KINDS

VERSION = 2
_MAX = 1e9  # no coordinate or score is near that, and single precision keeps it
_KEYS = {"cls": "class", "class_names": "classes"}
_PARTS = ("groundtruth", "detections")
_LISTED = ("images", *_PARTS)
"""What JSON has image by image."""
_LATER = ("how",)
"""What files of this version may lack."""
_LEAVES = {str: "a text", int: "an integer", float: "a finite number"}


def to_json(analysis: Analysis) -> dict[str, Any]:
    """Return `analysis` as an object of JSON: numbers to 6 digits, None for what is not finite.

    Scores and boxes of detections have as many as it takes to compute the same numbers again.
    """
    num_images = len(analysis.images)
    tables = zip(*(_by_image(getattr(analysis, part), num_images) for part in _PARTS), strict=True)
    images = [
        plain(image) | dict(zip(_PARTS, parts, strict=True))
        for image, parts in zip(analysis.images, tables, strict=True)
    ]
    head = {"version": VERSION, "title": analysis.title, "step": analysis.step, "num_images": num_images}
    numbers = {_key(name): plain(getattr(analysis, name)) for name in _names(Analysis) if name not in _LISTED}
    return head | numbers | {"images": images, "kinds": list(KINDS)}


def plain(value: Any) -> Any:
    """Return rows, names and numbers as JSON has them."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return np.round(value, 6).tolist()
    if is_dataclass(value):
        return {name: plain(getattr(value, name)) for name in _names(type(value))}
    return value


def _by_image(table: GroundtruthTable | DetectionTable, num_images: int) -> list[dict[str, list]]:
    columns = {
        _key(name): _rounded(name, getattr(table, name)) for name in _names(type(table)) if name != "image"
    }
    rows = rows_by_image(table, num_images)
    return [{name: column[own] for name, column in columns.items()} for own in rows]


def _rounded(name: str, column: np.ndarray) -> list:
    if column.dtype == bool:
        return column.astype(int).tolist()
    if name != "score":
        return np.round(column, 4 if name == "box" else 6).tolist()
    # Exactly, as short as can be where they come from float32: rounded, scores of a detector that has learned little
    # would be equal, and their order another.
    single = column.astype(np.float32)
    return np.where(single == column, single.astype(str).astype(float), column).tolist()


def _names(kind: Any) -> list[str]:
    return [key.name for key in fields(kind)]


def _key(name: str) -> str:
    return _KEYS.get(name, name)


def from_json(document: Any) -> Analysis:
    """Return the analysis that `to_json` has written, as far as its digits go.

    Raises:
        DataError: naming the location and the value, if something is missing or of another kind.
    """
    version = document.get("version") if isinstance(document, Mapping) else None
    if version != VERSION or isinstance(version, bool):
        raise DataError(
            f"not an evaluation of version {VERSION}, which can be read: its version is {_shown(version)}. "
            "Evaluate again."
        )
    hints = get_type_hints(Analysis)
    read = {
        name: _read(hints[name], _member(document, _key(name)), _key(name))
        for name in _names(Analysis)
        if name not in _PARTS and (name in document or name not in _LATER)
    }
    if _read(list[str], _member(document, "kinds"), "kinds") != list(KINDS):
        raise DataError("the evaluation's kinds of error are others. Evaluate again.")
    for name in ("per_class", "curves"):
        if len(read[name]) != len(read["class_names"]):
            raise DataError(
                f"it has {many(len(read['class_names']), 'class', 'classes')}, but {len(read[name])} in {name}."
            )
    for number, image in enumerate(read["images"]):
        if not (1 <= image.height < 2**31 and 1 <= image.width < 2**31):
            raise DataError(f"images[{number}] is of {image.height} x {image.width} pixels.")
    names = [image.name for image in read["images"]]
    if names != sorted(names):
        raise DataError("its images are not in the order of their names.")
    return Analysis(**read, **_tables(document["images"], len(read["class_names"])))


def _read(kind: Any, value: Any, where: str) -> Any:
    """Return a value of JSON as what its type says; raise DataError if it is of another type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return None if value is None else _read(arguments[0], value, where)
    if origin is np.ndarray:
        return np.array(_read(list[float], value, where), np.float64)
    if origin in (list, tuple):
        _require(isinstance(value, list), value, "a list", where)
        return origin(_read(arguments[0], item, f"{where}[{number}]") for number, item in enumerate(value))
    if origin is dict:
        _require(isinstance(value, Mapping), value, "an object", where)
        return {key: _read(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is Interval:
        bounds = _read(list[float], value, where)
        _require(len(bounds) == 2, value, "two finite numbers", where)
        return Interval(*bounds)
    if is_dataclass(kind):
        hints: dict[str, Any] = get_type_hints(kind)
        make: Any = kind
        return make(
            **{
                name: _read(hints[name], _member(value, name, where), f"{where}.{name}")
                for name in _names(kind)
            }
        )
    if kind is float and value is None:
        return math.nan
    numeric = (int, float) if kind is float else kind
    fits = isinstance(value, numeric) and not isinstance(value, bool)
    _require(fits and (kind is str or math.isfinite(value)), value, _LEAVES[kind], where)
    return value


def _member(value: Any, name: str, where: str = "") -> Any:
    _require(isinstance(value, Mapping), value, "an object", where)
    if name not in value:
        raise DataError(f"the evaluation lacks {f'{where}.' if where else ''}{name}.")
    return value[name]


def _require(fits: bool, value: Any, what: str, where: str) -> None:
    if not fits:
        raise DataError(f"the evaluation's {where} is {_shown(value)}, not {what}.")


def _shown(value: Any) -> str:
    return printable(f"{value!r:.100}")


class _Column(NamedTuple):
    """Which values a column may have: from `low` to `high`, whole numbers unless it is of floats."""

    low: float
    high: float | npt.NDArray[np.integer]
    dtype: type = int


def _tables(images: list[dict[str, Any]], num_classes: int) -> dict[str, Any]:
    """Return the tables of objects and detections, image after image."""
    real, flag = _Column(-_MAX, _MAX, float), _Column(0, 1, bool)
    columns = {"box": real, "cls": _Column(0, num_classes - 1)}
    objects = GroundtruthTable(**_table(images, "groundtruth", columns | {"crowd": flag, "difficult": flag}))
    counts = np.bincount(objects.image, minlength=len(images))
    image = _image_of(images, "detections")
    last = _Column(-1, counts[image] - 1)
    columns |= {
        "score": real,
        "match": last,
        "confusion": last,
        "kind": _Column(0, len(KINDS) - 1),
        "iou": real,
    }
    found = DetectionTable(**_table(images, "detections", columns))
    for row in np.flatnonzero((np.diff(found.score) > 0) & (np.diff(found.image) == 0))[:1]:
        raise _wrong(images, "detections", "score", image[row], "values that are not in descending order")
    return {"groundtruth": objects, "detections": found}


def _image_of(images: list[dict[str, Any]], part: str) -> npt.NDArray[np.int64]:
    rows = [_member(_member(image, part, f"images[{n}]"), "class", part) for n, image in enumerate(images)]
    return np.repeat(np.arange(len(rows)), [len(_read_list(row, f"{part}.class")) for row in rows])


def _read_list(value: Any, where: str) -> list:
    _require(isinstance(value, list), value, "a list", where)
    return value


def _table(images: list[dict[str, Any]], part: str, columns: Mapping[str, _Column]) -> dict[str, np.ndarray]:
    of_row = _image_of(images, part)
    counts = np.bincount(of_row, minlength=len(images))
    return {"image": of_row} | {
        name: _column(images, part, _key(name), column, of_row, counts) for name, column in columns.items()
    }


def _column(
    images: list[dict[str, Any]],
    part: str,
    key: str,
    column: _Column,
    of_row: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
) -> np.ndarray:
    lists = [_read_list(_member(image[part], key, part), f"{part}.{key}") for image in images]
    lengths = np.array([len(values) for values in lists], int)
    for image in np.flatnonzero(lengths != counts)[:1]:
        raise _wrong(images, part, key, image, f"{lengths[image]} values, not {counts[image]}")
    try:
        shape = (len(of_row), 4) if key == "box" else (len(of_row),)
        values = np.array(list(chain.from_iterable(lists)), np.float64).reshape(shape)
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"something else than numbers is in {part}.{key} of its images.") from None
    high = np.asarray(column.high)
    valid = (
        (values >= column.low) & (values <= high) & ((column.dtype is float) | (values == np.floor(values)))
    )
    for row in np.argwhere(~valid)[:1, 0]:
        raise _wrong(images, part, key, of_row[row], f"the value {values[row]}")
    return values.astype(column.dtype)


def _wrong(images: list[dict[str, Any]], part: str, key: str, image: int, what: str) -> DataError:
    return DataError(f'{part}.{key} of image "{printable(images[image]["name"])}" has {what}.')
