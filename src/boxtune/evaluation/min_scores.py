"""From which scores on detections are shown: from one that is given, else from the thresholds beside the model."""

import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from boxtune import config
from boxtune.data.label_map import LabelMap, class_names
from boxtune.errors import ConfigError, DataError, printable
from boxtune.evaluation.thresholds import THRESHOLDS, Thresholds, read_thresholds
from boxtune.metrics.matching import reaches

MIN_SCORE = 0.5
"""Of a class without a threshold."""

_log = logging.getLogger("boxtune")


@dataclass(frozen=True)
class MinScores:
    """The lowest score of each class, and where it comes from."""

    by_class: dict[int, float]
    """By the 0-based number of the class."""
    others: float
    source: str
    """As a sentence."""

    def of(self, number: int) -> float:
        """Return the lowest score of a class, 0-based."""
        return self.by_class.get(number, self.others)

    def above(self, floor: float) -> "MinScores":
        """Return the same for a model whose detections exceed `floor`; the source says so where it matters."""
        lowest = min([self.others, *self.by_class.values()])
        if floor <= max(lowest, config.NEGLIGIBLE_FLOOR):
            return self
        return replace(
            self, source=f"{self.source} The model itself leaves out what scores {floor:g} or less."
        )

    def shown(
        self, classes: npt.NDArray[np.integer], scores: npt.NDArray[np.floating]
    ) -> npt.NDArray[np.intp]:
        """Return int [m]: which of k detections reach them, by their 0-based classes [k] and scores [k]."""
        lowest = np.array([self.of(number) for number in classes.tolist()], np.float64)
        return np.flatnonzero(reaches(scores.astype(np.float64), lowest))


def same_for_all(min_score: float, flag: str) -> MinScores:
    """Return one lowest score for all classes, which `flag` says; raise ConfigError if it is no number."""
    is_number = isinstance(min_score, int | float | np.number) and not isinstance(min_score, bool)
    if not is_number or not math.isfinite(min_score):
        raise ConfigError(f"{flag} is {min_score!r}; give a number, such as 0.5")
    min_score = float(min_score)
    return MinScores({}, min_score, f"Shown from a score of {min_score:g} on, as {flag} says.")


def kept_beside(
    folder: Path,
    label_map: LabelMap | None,
    step: int | None = None,
    within: tuple[Path, Thresholds] | None = None,
) -> MinScores:
    """Return the lowest scores that an evaluation has found for a model: MIN_SCORE where there is none.

    Args:
        folder: that of the model.
        label_map: of the model, if it has one.
        step: of the checkpoint that is the model; thresholds of another one are logged and left out.
        within: the file of the model and the thresholds in it, which count where there are none beside it.

    Raises:
        DataError: if the thresholds cannot be read, or are of other classes.
    """
    path = folder / THRESHOLDS
    try:
        path.lstat()
    except OSError:
        if within:
            return _of(within[1], within[0], label_map)
        why = f"there is no {THRESHOLDS} beside the model"
        return MinScores({}, MIN_SCORE, f"Shown from a score of {MIN_SCORE:g} on: {why}.")
    thresholds = read_thresholds(path)
    if step is not None and thresholds.step != step:
        why = f"{path} is of step {thresholds.step}, the model of step {step}"
        _log.warning(
            "%s: its thresholds are not used. Find others with `boxtune evaluate --min_precision 0`.", why
        )
        return MinScores({}, MIN_SCORE, f"Shown from a score of {MIN_SCORE:g} on: {why}.")
    return _of(thresholds, path, label_map)


def _of(thresholds: Thresholds, path: Path, label_map: LabelMap | None) -> MinScores:
    """Return the lowest scores by the thresholds that a file holds."""
    if label_map:
        _check_classes(thresholds, path, label_map)
    return MinScores(
        {one.id - 1: one.min_score for one in thresholds.classes},
        MIN_SCORE,
        f"Shown from the scores in {path} on, {thresholds}; other classes {MIN_SCORE:g}.",
    )


def _check_classes(thresholds: Thresholds, path: Path, label_map: LabelMap) -> None:
    """Raise DataError if the classes of thresholds are not those of the model."""
    known = dict(enumerate(class_names(label_map, max(label.id for label in label_map.labels)), start=1))
    for one in thresholds.classes:
        own = known.get(one.id)
        if own != one.name:
            there = "has no such class" if own is None else f'calls it "{printable(own)}"'
            raise DataError(
                f'{path}: has class {one.id} "{printable(one.name)}", and the label map of the model {there}. Remove '
                "the file if it is of another model, or give --min_score"
            )
