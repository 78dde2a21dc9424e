"""The best thresholds of scores by an evaluation, kept beside the model that they are for, and used by `predict`."""

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from boxtune.data.files import read_text, write_text
from boxtune.errors import DataError, printable, some
from boxtune.metrics.curves import best_threshold, curves
from boxtune.metrics.matching import match_at_50, outcomes
from boxtune.metrics.results import Evaluation
from boxtune.metrics.tables import near_pairs, tabulate

THRESHOLDS = "thresholds.json"
"""In the folder of a checkpoint or of an exported model."""

_DIGITS = 4  # other kernels than those of the evaluation change the last digits of a score
_MAX_BYTES = 1 << 24
_MOST_SHOWN = 8


@dataclass(frozen=True)
class ClassThreshold:
    """The threshold of a class, and what it trades on the images of the evaluation."""

    id: int
    """Of the class in the label map, from 1 on."""
    name: str
    min_score: float
    precision: float
    recall: float


@dataclass(frozen=True)
class Thresholds:
    """The threshold of each class that has one: a class of which nothing right was found has none."""

    step: int
    """Of the checkpoint that was evaluated; 0 where nobody knows."""
    num_images: int
    """On which it was."""
    min_precision: float
    """The precision that was wanted; 0 for none. Of the thresholds that have it, that of the highest F1 was taken."""
    classes: tuple[ClassThreshold, ...]

    def __str__(self) -> str:
        wanted = f" with a precision of {self.min_precision:g} or more" if self.min_precision else ""
        shown = [f"{printable(one.name)} {one.min_score:g}" for one in self.classes]
        return f"of the highest F1{wanted} on {self.num_images} images: {some(shown, _MOST_SHOWN) or 'none'}"


def thresholds_of(evaluation: Evaluation, min_precision: float = 0.0) -> Thresholds:
    """Return the best threshold of each class at an IoU of 0.5, of those with a precision of at least `min_precision`.

    The best is that of the highest F1, as on the page of an evaluation, but rounded down to four digits.
    """
    table = tabulate(evaluation.results, len(evaluation.class_names))
    ignored = table.groundtruth.ignored
    outcome = outcomes(match_at_50(table, near_pairs(table)), ignored)
    best = [best_threshold(curve, min_precision) for curve in curves(table, outcome, ignored)]
    return Thresholds(
        step=evaluation.step,
        num_images=evaluation.num_images,
        min_precision=min_precision,
        classes=tuple(
            ClassThreshold(
                number,
                name,
                _rounded_down(one.score),
                round(one.precision, _DIGITS),
                round(one.recall, _DIGITS),
            )
            for number, (name, one) in enumerate(zip(evaluation.class_names, best, strict=True), start=1)
            if one is not None
        ),
    )


def _rounded_down(score: float) -> float:
    return math.floor(score * 10**_DIGITS) / 10**_DIGITS


def write_thresholds(thresholds: Thresholds, folder: Path) -> Path:
    """Write thresholds beside the model in `folder`; return the file."""
    path = folder / THRESHOLDS
    write_text(path, json.dumps(asdict(thresholds), indent=2, allow_nan=False) + "\n")
    return path


def read_thresholds(path: Path) -> Thresholds:
    """Return the thresholds that a file holds.

    Raises:
        DataError: naming the file and the value, if it cannot be read or is not what an evaluation writes.
    """
    return thresholds_in(read_text(path, max_bytes=_MAX_BYTES), path)


def thresholds_in(text: str, path: Path) -> Thresholds:
    """Return the thresholds that a text of JSON holds, which is that of a file or within it; else as above."""
    try:
        rows = _members(json.loads(text), Thresholds)
        classes = tuple(ClassThreshold(**_members(row, ClassThreshold)) for row in rows.pop("classes"))
        found = Thresholds(**rows, classes=classes)
        _check(found)
        return found
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DataError(
            f"{path}: these are no thresholds: {printable(str(error))}. Remove it, or write it anew with `boxtune "
            "evaluate --min_precision`"
        ) from error


def _members(value: Any, kind: type[Thresholds] | type[ClassThreshold]) -> dict[str, Any]:
    """Return the members of an object of JSON, which have to be those of `kind`; raise ValueError if they are not."""
    names = {field.name for field in fields(kind)}
    if not isinstance(value, dict) or value.keys() != names:
        raise ValueError(f"{value!r:.100} is not an object of {', '.join(sorted(names))}")
    return value


def _check(found: Thresholds) -> None:
    """Raise ValueError unless every number is one that an evaluation can have found."""
    for name in ("step", "num_images"):
        _require(_is_count(getattr(found, name)), getattr(found, name), name)
    _require(_is_fraction(found.min_precision), found.min_precision, "min_precision")
    for one in found.classes:
        _require(_is_count(one.id) and one.id > 0, one.id, "id")
        _require(isinstance(one.name, str), one.name, "name")
        _require(_is_number(one.min_score), one.min_score, "min_score")
        _require(_is_fraction(one.precision), one.precision, "precision")
        _require(_is_fraction(one.recall), one.recall, "recall")
    if len({one.id for one in found.classes}) < len(found.classes):
        raise ValueError("a class is there twice")


def _require(fits: bool, value: Any, name: str) -> None:
    if not fits:
        raise ValueError(f"{name} is {value!r:.100}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_fraction(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1
