"""The verb `predict`: draw the detections of an exported detector on images."""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from boxtune.data.files import refuse_remote, whole_file, writable_folder
from boxtune.data.findings import Findings
from boxtune.data.image_lookup import ImageFiles
from boxtune.data.image_record import ImageSource
from boxtune.data.image_writer import unique_stems
from boxtune.data.images import RARE_SUFFIXES, SUFFIXES, read_rgb
from boxtune.data.label_map import read_label_map, require_numbers_of_model
from boxtune.data.listing import list_files
from boxtune.errors import DataError, printable
from boxtune.evaluation.exported import LABEL_MAP, beside_model, load_exported
from boxtune.evaluation.groundtruth import class_names
from boxtune.evaluation.thresholds import THRESHOLDS, Thresholds, read_thresholds
from boxtune.metrics.matching import reaches
from boxtune.report.box_drawing import Box, draw_boxes
from boxtune.training.project import best_run, runs_of
from boxtune.training.run_state import EXPORTED

DETECTIONS = "detections.json"

MIN_SCORE = 0.5
"""Of a class without a threshold."""

_log = logging.getLogger("boxtune")


@dataclass(frozen=True)
class Detection:
    """A detection: its class, score, and box in pixels of the upright image."""

    name: str
    score: float
    ymin: float
    xmin: float
    ymax: float
    xmax: float


@dataclass(frozen=True)
class Prediction:
    """An image, the file it was drawn to, and its detections; or why it could not be read."""

    image: Path
    drawn: Path | None
    detections: list[Detection] = field(default_factory=list)
    error: str = ""
    highest: Detection | None = None
    """The detection of the highest score, whether it is shown or not; None where there is none."""


@dataclass(frozen=True)
class _MinScores:
    """From which scores on detections are shown."""

    by_class: dict[int, float]
    """By the number of the class, from 1 on."""
    others: float
    source: str

    def of(self, classes: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """Return float [k]: the lowest score for each of the classes [k]."""
        return np.array([self.by_class.get(cls, self.others) for cls in classes.tolist()], np.float64)


def predict(
    model: str | Path,
    images: str | Path,
    output_dir: str | Path,
    *,
    label_map: str | Path | None = None,
    min_score: float | None = None,
) -> list[Prediction]:
    """Detect objects in an image, or in all images of a folder, and draw them.

    Writes each image with its boxes under its own name as PNG, and all detections to `detections.json`. An image that
    cannot be read is logged and passed over; its Prediction says why. Prints from which scores on detections are shown,
    and the highest score if no detection reaches them.

    Args:
        model: the folder that `export` wrote, or the `saved_model` in it, of input type image_tensor; or that of
            `retrain`, whose best run is taken.
        images: a file or a folder; EXIF orientation is applied.
        output_dir: created if necessary.
        label_map: names of the classes; by default the one beside the model.
        min_score: detections below it are left out; by default those below the threshold of their class in the
            `thresholds.json` beside the model, and below MIN_SCORE where it has none.

    Raises:
        BoxtuneError: if the model or its thresholds cannot be used, there is no image, or the detections cannot be
            written.
    """
    model = _exported(Path(model))
    detect = load_exported(model)
    label_map_path = beside_model(model, LABEL_MAP)
    if label_map:
        require_numbers_of_model(Path(label_map), label_map_path)
        label_map_path = Path(label_map)
    names = read_label_map(label_map_path).shown_names if label_map_path else {}
    if not names:
        _log.warning("There is no %s beside the model: classes are shown by their numbers.", LABEL_MAP)
    min_scores = _min_scores(model, min_score)
    output_dir, found = writable_folder(Path(output_dir)), _images(Path(images))
    print(min_scores.source, flush=True)
    predictions = [_predict_one(detect, path, output_dir / name, names, min_scores) for path, name in found]
    if hint := _nothing_shown(predictions):
        print(hint, flush=True)
    with whole_file(output_dir / DETECTIONS) as temporary:
        content = [
            {"image": str(one.image), "detections": list(map(asdict, one.detections))}
            | ({"error": one.error} if one.error else {})
            for one in predictions
        ]
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return predictions


def _exported(model: Path) -> Path:
    """Return the exported model of a project's best run; anything else as it is."""
    best = best_run(runs_of(model)) / EXPORTED
    return best if best.is_dir() else model


def _min_scores(model: Path, given: float | None) -> _MinScores:
    """Return the lowest score that is `given`, else those beside the model, else MIN_SCORE."""
    if given is not None:
        return _MinScores({}, given, f"Shown from a score of {given:g} on, as --min_score says.")
    path = beside_model(model, THRESHOLDS)
    if path is None:
        why = f"there is no {THRESHOLDS} beside the model"
        return _MinScores({}, MIN_SCORE, f"Shown from a score of {MIN_SCORE:g} on: {why}.")
    thresholds = read_thresholds(path)
    _check_classes(thresholds, path, beside_model(model, LABEL_MAP))
    return _MinScores(
        {one.id: one.min_score for one in thresholds.classes},
        MIN_SCORE,
        f"Shown from the scores in {path} on, {thresholds}; other classes {MIN_SCORE:g}.",
    )


def _check_classes(thresholds: Thresholds, path: Path, label_map_path: Path | None) -> None:
    """Raise DataError if the classes of thresholds are not those of the model, by the label map beside it if any."""
    if label_map_path is None:
        return
    label_map = read_label_map(label_map_path)
    known = dict(enumerate(class_names(label_map, max(label.id for label in label_map.labels)), start=1))
    for one in thresholds.classes:
        own = known.get(one.id)
        if own != one.name:
            there = "has no such class" if own is None else f'calls it "{printable(own)}"'
            raise DataError(
                f'{path}: has class {one.id} "{printable(one.name)}", and {label_map_path} {there}. Remove the file if '
                "it is of another model, or give --min_score"
            )


def _nothing_shown(predictions: Sequence[Prediction]) -> str:
    """Return, where nothing is shown, what has the highest score and which flag shows it; else nothing."""
    if any(one.detections for one in predictions) or all(one.error for one in predictions):
        return ""
    found = [(one.highest, one.image) for one in predictions if one.highest]
    if not found:
        return "No image has any detection, whatever its score."
    highest, image = max(found, key=lambda one: one[0].score)
    below = max(math.floor((highest.score - 1e-4) * 100) / 100, 0.0)  # the score is rounded
    return (
        f"No detection reaches these scores. The highest is {highest.score:g}: {printable(highest.name)}, in "
        f"{printable(str(image))}. --min_score {below:g} shows it."
    )


def _images(path: Path) -> list[tuple[Path, str]]:
    """Return each image and the unique name of its drawing."""
    if path.is_file():
        return [(path, f"{unique_stems([path.name])[0]}.png")]
    refuse_remote(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such image or folder")
    findings = Findings(path)
    found = ImageFiles(list_files(path, findings).ending(SUFFIXES | RARE_SUFFIXES)).paths
    for finding in findings.items:
        name = Path(finding.file)
        if name.suffix.lower() in SUFFIXES and not name.name.startswith("."):
            _log.warning("%s is passed over: %s", path / name, finding.message)
    if not found:
        raise DataError(f"{path}: no images here")
    stems = unique_stems(["-".join(file.relative_to(path).parts) + ".png" for file in found])
    return [(file, f"{stem}.png") for file, stem in zip(found, stems, strict=True)]


def _predict_one(
    detect: Any, path: Path, drawn: Path, names: dict[int, str], min_scores: _MinScores
) -> Prediction:
    try:
        image = read_rgb(ImageSource(path))
    except DataError as error:
        _log.warning("%s It is passed over.", printable(str(error)))
        return Prediction(path, None, error=str(error))
    found = {name: part.numpy()[0] for name, part in detect(tf.constant(np.asarray(image))[None]).items()}
    boxes, scores = found["detection_boxes"], found["detection_scores"].astype(np.float64)
    classes = found["detection_classes"].astype(int)
    to_pixels = np.array([image.height, image.width] * 2)

    def detection(row: int) -> Detection:
        name = names.get(int(classes[row]) - 1, f"class {classes[row]}")
        return Detection(name, round(float(scores[row]), 4), *np.round(boxes[row] * to_pixels, 1).tolist())

    shown = np.flatnonzero(reaches(scores, min_scores.of(classes))).tolist()
    detections = [detection(row) for row in shown]
    labels = [
        Box(boxes[row], f"{one.name} {scores[row]:.0%}", int(classes[row]) - 1)
        for row, one in zip(shown, detections, strict=True)
    ]
    with whole_file(drawn) as temporary:
        draw_boxes(image, labels[::-1]).save(temporary, format="PNG")
    scored = np.flatnonzero(scores > 0)  # the API's exporter fills up with detections of score 0
    highest = detection(int(scored[np.argmax(scores[scored])])) if len(scored) else None
    return Prediction(path, drawn, detections, highest=highest)
