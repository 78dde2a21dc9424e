"""The JSON of an evaluation as pages read it: every value is looked at before it is used."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from boxtune.errors import DataError, printable
from boxtune.metrics.analysis import VERSION

_MAX = 1e9  # no coordinate or score is near that, and single precision keeps it

Json = Mapping[str, Any]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Shape = str | dict[str, Any] | list[Any]

# A list of one stands for any number of such values, the key "*" for any keys, "?" for what may be null.
_OF_CLASS = ("AP", "AP50", "AP75", "AR100", "best_threshold", "precision", "recall", "f1")
_SHAPE: Shape = {
    "title": "text",
    "step": "number?",
    "classes": ["text"],
    "kinds": ["text"],
    "metrics": {"*": "number?"},
    "losses": {"*": "number?"},
    "intervals": {"*": "interval"},
    "per_class": [
        {
            "num_objects": "number",
            "num_detections": "number",
            "AP_interval": "interval?",
            **dict.fromkeys(_OF_CLASS, "number?"),
        }
    ],
    "curves": [{"score": ["number"], "precision": ["number?"], "recall": ["number?"]}],
    "error_kinds": [{"kind": "text", "count": "number", "AP50_gain": "number?"}],
    "groups": {"*": [{"name": "text", "num_objects": "number", "recall": "number?", "AP50": "number?"}]},
    "calibration": {
        "error": "number?",
        "bins": [
            {
                **dict.fromkeys(("low", "high", "count"), "number"),
                **dict.fromkeys(("mean_score", "precision"), "number?"),
            }
        ],
    },
    "images": [
        {
            "name": "text",
            "height": "size",
            "width": "size",
            "preview": "text?",
            "AP50": "number?",
            "truth": {"box": "list", "class": "list", "crowd": "list", "difficult": "list"},
            "found": dict.fromkeys(("box", "class", "score", "match", "confusion", "kind", "iou"), "list"),
        }
    ],
}
_COMPARISON: Shape = {
    "differences": [{"name": "text", "difference": "number?", "interval": "interval?", "p_value": "number?"}]
}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_LEAVES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "text": (lambda value: isinstance(value, str), "a text"),
    "number": (_is_number, "a finite number"),
    "size": (lambda value: _is_number(value) and 1 <= value <= 2**31, "a number of pixels"),
    "interval": (
        lambda value: isinstance(value, Sequence) and len(value) == 2 and all(map(_is_number, value)),
        "two finite numbers",
    ),
    "list": (lambda value: isinstance(value, Sequence) and not isinstance(value, str), "a list"),
}


def check(evaluation: Json) -> None:
    """Raise DataError, naming the place and the value, unless `evaluation` is one of this version.

    What is in the lists of objects is left to `column` and `indices`.
    """
    version = evaluation.get("version") if isinstance(evaluation, Mapping) else None
    if version != VERSION or isinstance(version, bool):
        raise DataError(
            f"This is no evaluation of version {VERSION}, which pages are made from: its version is"
            f" {_shown(version)}. Evaluate again with this version of boxtune."
        )
    _check_shape(evaluation, _SHAPE, "")
    if evaluation.get("comparison") is not None:
        _check_shape(evaluation["comparison"], _COMPARISON, "comparison")
    for key in ("per_class", "curves"):
        if len(evaluation[key]) != len(evaluation["classes"]):
            raise DataError(
                f"{title(evaluation)} has {len(evaluation['classes'])} classes, but {len(evaluation[key])}"
                f" in {key}."
            )


def title(evaluation: Json) -> str:
    """Return how messages call an evaluation."""
    return f'The evaluation "{printable(evaluation["title"])}"'


def column(evaluation: Json, part: str, key: str) -> Floats:
    """Return a column of the objects of all pictures, one after the other; "box" is [n, 4], all others [n].

    Args:
        evaluation: one that was checked.
        part: "truth" or "found".
        key: which column.

    Raises:
        DataError: a value is no finite number of reasonable size, or a picture's columns are not equally long.
    """
    lists = [image[part][key] for image in evaluation["images"]]
    counts = num_objects(evaluation, part)
    lengths = np.array([len(values) for values in lists], int)
    for image in np.flatnonzero(lengths != counts)[:1]:
        raise _wrong(evaluation, part, key, image, f"{lengths[image]} values, not {counts[image]}")
    shape = (counts.sum(), 4) if key == "box" else (counts.sum(),)
    try:
        values = np.array(list(chain.from_iterable(lists)), np.float64).reshape(shape)
    except (TypeError, ValueError, OverflowError):
        raise DataError(
            f"{title(evaluation)} has something else than numbers in {part}.{key} of its images."
        ) from None
    _check_values(evaluation, part, key, values, np.abs(values) < _MAX)
    return values


def indices(evaluation: Json, part: str, key: str, end: int | Ints, *, start: int = 0) -> Ints:
    """Return a column of integers from `start` to below `end`, which is one for all or one for each; see `column`."""
    values = column(evaluation, part, key)
    valid = (values >= start) & (values < end) & (values == np.floor(values))
    _check_values(evaluation, part, key, values, valid)
    return values.astype(np.int64)


def num_objects(evaluation: Json, part: str) -> Ints:
    """Return int [pictures]: how many objects of `part` ("truth", "found") each picture has."""
    return np.array([len(image[part]["class"]) for image in evaluation["images"]], np.int64)


def _check_values(
    evaluation: Json, part: str, key: str, values: Floats, valid: npt.NDArray[np.bool_]
) -> None:
    for row in np.argwhere(~valid)[:1, 0]:
        image = np.searchsorted(np.cumsum(num_objects(evaluation, part)), row, side="right")
        raise _wrong(evaluation, part, key, image, f"the value {values[row]}")


def _wrong(evaluation: Json, part: str, key: str, image: np.integer, what: str) -> DataError:
    name = printable(evaluation["images"][image]["name"])
    return DataError(f'{title(evaluation)}: {part}.{key} of picture "{name}" has {what}.')


def _check_shape(value: Any, shape: Shape, where: str) -> None:
    if isinstance(shape, str):
        fits, what = _LEAVES[shape.rstrip("?")]
        if not (fits(value) or (value is None and shape.endswith("?"))):
            raise DataError(f"The evaluation's {where} is {_shown(value)}, not {what}.")
    elif isinstance(shape, list):
        _check_shape(value, "list", where)
        for number, item in enumerate(value):
            _check_shape(item, shape[0], f"{where}[{number}]")
    else:
        if not isinstance(value, Mapping):
            raise DataError(f"The evaluation's {where} is {_shown(value)}, not an object.")
        for key in value if "*" in shape else shape:
            place = f"{where}.{key}" if where else key
            if key not in value:
                raise DataError(f"The evaluation lacks {place}.")
            _check_shape(value[key], shape["*" if "*" in shape else key], place)


def _shown(value: Any) -> str:
    return printable(repr(value))
