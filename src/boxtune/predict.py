"""The verb `predict`: draw what an exported detector finds on pictures."""

import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from boxtune.data import images
from boxtune.data.files import whole_file, writable_folder
from boxtune.data.findings import Findings
from boxtune.data.image_writer import unique_stems
from boxtune.data.label_map import read_label_map
from boxtune.data.listing import list_files
from boxtune.data.records import ImageSource
from boxtune.errors import DataError, printable
from boxtune.evaluation.exported import LABEL_MAP, beside_model, load_exported
from boxtune.report.pictures import Box, draw_boxes

DETECTIONS = "detections.json"

_log = logging.getLogger("boxtune")


@dataclass(frozen=True)
class Detection:
    """Something found: its class, score, and box in pixels of the upright picture."""

    name: str
    score: float
    ymin: float
    xmin: float
    ymax: float
    xmax: float


@dataclass(frozen=True)
class Prediction:
    """A picture, where it was drawn, and what was found on it; or why it could not be read."""

    picture: Path
    drawn: Path | None
    detections: list[Detection] = field(default_factory=list)
    error: str = ""


def predict(
    model: str | Path,
    pictures: str | Path,
    output_dir: str | Path,
    *,
    label_map: str | Path | None = None,
    min_score: float = 0.5,
) -> list[Prediction]:
    """Find objects on a picture, or on all pictures of a folder, and draw them.

    Writes each picture with its boxes under its own name as PNG, and all that was found to `detections.json`. One that
    cannot be read is logged and passed over; its Prediction says why.

    Args:
        model: what `export` wrote, or the `saved_model` in it, of input type image_tensor.
        pictures: a file or a folder; EXIF orientation is honoured.
        output_dir: made if need be.
        label_map: names of the classes; by default the one beside the model.
        min_score: detections below it are left out.

    Raises:
        BoxtuneError: if the model cannot be used, there is no picture, or what is found cannot be written.
    """
    detect = load_exported(Path(model))
    names = _class_names(Path(model), label_map)
    output_dir = writable_folder(Path(output_dir))
    predictions = [
        _predict_one(detect, path, output_dir / name, names, min_score)
        for path, name in _pictures(Path(pictures))
    ]
    with whole_file(output_dir / DETECTIONS) as temporary:
        content = [
            {"picture": str(one.picture), "detections": list(map(asdict, one.detections))}
            | ({"error": one.error} if one.error else {})
            for one in predictions
        ]
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return predictions


def _class_names(model: Path, label_map: str | Path | None) -> dict[int, str]:
    path = Path(label_map) if label_map else beside_model(model, LABEL_MAP)
    return read_label_map(path).shown_names if path else {}


def _pictures(path: Path) -> list[tuple[Path, str]]:
    """Return each picture and the name of what will be drawn, which is unique."""
    if path.is_file():
        return [(path, f"{unique_stems([path.name])[0]}.png")]
    if not path.is_dir():
        raise DataError(f"{path}: no such picture or folder")
    found = list_files(path, Findings(path)).ending(images.SUFFIXES)
    if not found:
        raise DataError(f"{path}: no pictures here")
    stems = unique_stems(["-".join(file.relative_to(path).parts) + ".png" for file in found])
    return [(file, f"{stem}.png") for file, stem in zip(found, stems, strict=True)]


def _predict_one(detect: Any, path: Path, drawn: Path, names: dict[int, str], min_score: float) -> Prediction:
    try:
        picture = images.read_rgb(ImageSource(path))
    except DataError as error:
        _log.warning("%s It is passed over.", printable(str(error)))
        return Prediction(path, None, error=str(error))
    found = {name: part.numpy()[0] for name, part in detect(tf.constant(np.asarray(picture))[None]).items()}
    to_pixels = np.array([picture.height, picture.width] * 2)
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
        draw_boxes(picture, boxes[::-1]).save(temporary, format="PNG")
    return Prediction(path, drawn, detections)
