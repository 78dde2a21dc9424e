"""A model in a file, whichever runtime runs it: what it is called with, and what it says of itself."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boxtune.data.label_map import MAX_ID, Label, LabelMap
from boxtune.errors import CheckpointError, printable

VERSION, CLASSES, INPUT_IMAGES, THRESHOLDS, SCORE_FLOOR = (
    "boxtune.version",
    "boxtune.classes",
    "boxtune.input",
    "boxtune.thresholds",
    "boxtune.score_floor",
)
"""The names of what a file says of itself, each but the first as JSON."""

BOXES, NUMBERS, SCORES, COUNT = "detection_boxes", "detection_classes", "detection_scores", "num_detections"
"""The API's names of what is found: boxes [b, k, 4] as fractions of the image, their classes and scores [b, k], and
how many there are of each image [b]."""

OUTPUTS = (COUNT, BOXES, SCORES, NUMBERS)


class ModelFile(ABC):
    """A model that is loaded. Called with images uint8 [b, h, w, 3] it returns detections by the API's names.

    Attributes:
        path: where it lies.
        metadata: what the file says of itself, by the names above; nothing if it is another program's.
        largest_batch: the images that it takes at a time, if they have one size; None for any number.
    """

    path: Path
    metadata: Mapping[str, str] = {}
    largest_batch: int | None = None

    @abstractmethod
    def __call__(self, images: npt.NDArray[np.uint8]) -> dict[str, Any]:
        """Return the outputs by their names, float32 each, classes numbered from 1 on.

        Raises:
            CheckpointError: if the model fails.
        """

    @property
    def label_map(self) -> LabelMap | None:
        """Its classes, as the file names them; None if it does not. Raises CheckpointError if they are damaged."""
        text = self.metadata.get(CLASSES)
        if text is None:
            return None
        try:
            labels = {_number(row["id"]): _label(row) for row in json.loads(text)}
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            fault = f"its metadata {CLASSES} are damaged: {printable(str(error))}"
            raise CheckpointError(f"{self.path}: {fault}") from error
        return LabelMap(tuple(labels[number] for number in sorted(labels))) if labels else None

    @property
    def thresholds(self) -> str | None:
        """What the file holds in place of a `thresholds.json`, as JSON; None if it holds nothing."""
        return self.metadata.get(THRESHOLDS)

    @property
    def score_floor(self) -> float | None:
        """The score that its detections exceed, as the file says; None if it does not."""
        text = self.metadata.get(SCORE_FLOOR)
        try:
            return None if text is None else float(text)
        except ValueError as error:
            raise CheckpointError(f"{self.path}: its metadata {SCORE_FLOOR} are no number") from error


def first_line(error: Exception) -> str:
    """Return the first line of what a runtime says that is no place in its source, as one can print it."""
    lines = str(error).strip().splitlines()
    return printable(next((line for line in lines if not line.startswith("Exception from ")), ""))


def _label(row: dict[str, Any]) -> Label:
    return Label(_number(row["id"]), str(row["name"]), str(row.get("display_name", "")))


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MAX_ID:
        raise ValueError(f"the id {value!r:.100} is not one of a class")
    return value
