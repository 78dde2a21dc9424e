"""The verb `predict`: draw the detections of an exported detector on images."""

import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
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
from boxtune.report.box_drawing import Box, draw_boxes
from boxtune.training.project import best_run, runs_of
from boxtune.training.run_state import EXPORTED

DETECTIONS = "detections.json"

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


def predict(
    model: str | Path,
    images: str | Path,
    output_dir: str | Path,
    *,
    label_map: str | Path | None = None,
    min_score: float = 0.5,
) -> list[Prediction]:
    """Detect objects in an image, or in all images of a folder, and draw them.

    Writes each image with its boxes under its own name as PNG, and all detections to `detections.json`. An image that
    cannot be read is logged and passed over; its Prediction says why.

    Args:
        model: the folder that `export` wrote, or the `saved_model` in it, of input type image_tensor; or that of
            `retrain`, whose best run is taken.
        images: a file or a folder; EXIF orientation is applied.
        output_dir: created if necessary.
        label_map: names of the classes; by default the one beside the model.
        min_score: detections below it are left out.

    Raises:
        BoxtuneError: if the model cannot be used, there is no image, or the detections cannot be written.
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
    output_dir = writable_folder(Path(output_dir))
    predictions = [
        _predict_one(detect, path, output_dir / name, names, min_score)
        for path, name in _images(Path(images))
    ]
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


def _predict_one(detect: Any, path: Path, drawn: Path, names: dict[int, str], min_score: float) -> Prediction:
    try:
        image = read_rgb(ImageSource(path))
    except DataError as error:
        _log.warning("%s It is passed over.", printable(str(error)))
        return Prediction(path, None, error=str(error))
    found = {name: part.numpy()[0] for name, part in detect(tf.constant(np.asarray(image))[None]).items()}
    to_pixels = np.array([image.height, image.width] * 2)
    detections, boxes = [], []
    for box, cls, score in zip(
        found["detection_boxes"],
        found["detection_classes"].astype(int),
        found["detection_scores"],
        strict=True,
    ):
        if score >= min_score:
            name = names.get(cls - 1, f"class {cls}")
            detections.append(Detection(name, round(float(score), 4), *np.round(box * to_pixels, 1).tolist()))
            boxes.append(Box(box, f"{name} {score:.0%}", int(cls) - 1))
    with whole_file(drawn) as temporary:
        draw_boxes(image, boxes[::-1]).save(temporary, format="PNG")
    return Prediction(path, drawn, detections)
