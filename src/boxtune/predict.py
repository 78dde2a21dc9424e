"""The verb `predict`: draw the detections of an exported detector on images."""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from boxtune.backends import prepare_backend
from boxtune.data.files import refuse_remote, whole_file, writable_folder
from boxtune.data.findings import Findings
from boxtune.data.image_lookup import ImageFiles
from boxtune.data.image_record import ImageSource
from boxtune.data.image_writer import unique_stems
from boxtune.data.images import RARE_SUFFIXES, SUFFIXES, read_rgb
from boxtune.data.label_map import read_label_map, require_numbers_of_model
from boxtune.data.listing import list_files
from boxtune.errors import DataError, printable
from boxtune.evaluation.exported import (
    LABEL_MAP,
    beside_model,
    detect_in_image,
    folder_of_exported,
    load_exported,
)
from boxtune.evaluation.min_scores import MinScores, kept_beside, same_for_all
from boxtune.image_detections import Detection
from boxtune.report.box_drawing import Box, draw_boxes
from boxtune.training.project import best_run, runs_of
from boxtune.training.run_state import EXPORTED

DETECTIONS = "detections.json"

_log = logging.getLogger("boxtune")


@dataclass(frozen=True)
class Prediction:
    """An image, the file it was drawn to, and its detections; or why it could not be read."""

    image: Path
    drawn: Path | None
    detections: list[Detection] = field(default_factory=list)
    error: str = ""
    highest: Detection | None = None
    """The detection of the highest score, whether it is shown or not; None where there is none."""


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
    prepare_backend()
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


def _min_scores(model: Path, given: float | None) -> MinScores:
    """Return the lowest score that is `given`, else those beside the model."""
    if given is not None:
        return same_for_all(given, "--min_score")
    path = beside_model(model, LABEL_MAP)
    return kept_beside(folder_of_exported(model), read_label_map(path) if path else None)


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
    detect: Any, path: Path, drawn: Path, names: dict[int, str], min_scores: MinScores
) -> Prediction:
    try:
        image = read_rgb(ImageSource(path))
    except DataError as error:
        _log.warning("%s It is passed over.", printable(str(error)))
        return Prediction(path, None, error=str(error))
    found = detect_in_image(detect, np.asarray(image), str(path))
    boxes, classes, scores = found["boxes"], found["classes"], found["scores"].astype(np.float64)
    to_pixels = np.array([image.height, image.width] * 2)

    def detection(row: int) -> Detection:
        name = names.get(int(classes[row]), f"class {classes[row] + 1}")
        return Detection(name, round(float(scores[row]), 4), *np.round(boxes[row] * to_pixels, 1).tolist())

    shown = min_scores.shown(classes, scores).tolist()
    detections = [detection(row) for row in shown]
    labels = [
        Box(boxes[row], f"{one.name} {scores[row]:.0%}", int(classes[row]))
        for row, one in zip(shown, detections, strict=True)
    ]
    with whole_file(drawn) as temporary:
        draw_boxes(image, labels[::-1]).save(temporary, format="PNG")
    scored = np.flatnonzero(scores > 0)  # the API's exporter fills up with detections of score 0
    highest = detection(int(scored[np.argmax(scores[scored])])) if len(scored) else None
    return Prediction(path, drawn, detections, highest=highest)
