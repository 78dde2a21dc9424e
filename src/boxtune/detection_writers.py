"""What was found in images, written to files: our own JSON, a table in CSV, and annotations in formats of data sets."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TextIO

from boxtune.data import recognition
from boxtune.data.files import whole_file, writable_folder
from boxtune.data.image_record import ImageRecord, ImageSource
from boxtune.data.label_map import Label, LabelMap
from boxtune.image_detections import ImageDetections

DETECTIONS, TABLE = "detections.json", "detections.csv"
COLUMNS = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax", "score", "seconds")
JSON, CSV = "json", "csv"
FORMATS = (CSV, "voc", "coco", "yolo")
"""In which detections are written, besides JSON. Label Studio's tasks need images beside them: see `boxtune label`."""


class Detected(NamedTuple):
    """An image, or a frame of a video, and what was found in it; or why it could not be read."""

    name: str
    """As the user knows it."""
    path: str
    """Its path among all images of this time, with slashes: unlike that of any other."""
    found: ImageDetections | None
    error: str = ""
    seconds: float | None = None
    """Of a frame, from the start of its video on."""
    drawn: str = ""
    """The path of its drawing."""
    everything: ImageDetections | None = None
    """What was found, whether it is shown or not."""


class Writer(Protocol):
    """Takes images one after another."""

    def add(self, detected: Detected) -> None:
        """Write what was found in an image that could be read."""


@contextmanager
def detections_json(path: Path) -> Iterator["JsonWriter"]:
    """Give what writes all images to a JSON file, which gets its name once it is whole; raise DataError."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        writer = JsonWriter(file)
        yield writer
        file.write("\n]\n" if writer.has_any else "[]\n")


class JsonWriter:
    """A list of images, one in each line: as `evaluate --detections` reads it."""

    def __init__(self, file: TextIO) -> None:
        self._file, self.has_any = file, False

    def add(self, detected: Detected) -> None:
        """Write an image; of one that could not be read, why."""
        entry: dict[str, Any] = {"image": detected.name}
        if detected.seconds is not None:
            entry["seconds"] = round(detected.seconds, 3)
        if detected.found is not None:
            entry |= {"width": detected.found.width, "height": detected.found.height}
        entry["detections"] = [
            {
                "name": one.name,
                "score": round(one.score, 6),
                **{edge: round(getattr(one, edge), 3) for edge in ("ymin", "xmin", "ymax", "xmax")},
            }
            for one in detected.found or ()
        ]
        entry |= {"drawn": detected.drawn} if detected.drawn else {}
        entry |= {"error": detected.error} if detected.error else {}
        self._file.write((",\n" if self.has_any else "[\n") + json.dumps(entry))
        self.has_any = True


@contextmanager
def detections_csv(path: Path) -> Iterator["TableWriter"]:
    """Give what writes all images to a table, which gets its name once it is whole; raise DataError."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield TableWriter(file)


class TableWriter:
    """A table with a row for each detection, and one without box for an image in which there is none."""

    def __init__(self, file: TextIO) -> None:
        self._rows = csv.writer(file, lineterminator="\n")
        self._rows.writerow(COLUMNS)

    def add(self, detected: Detected) -> None:
        """Write the rows of an image."""
        found = detected.found
        if found is None:
            return
        image = (detected.path, found.width, found.height)
        seconds = "" if detected.seconds is None else f"{detected.seconds:.3f}"
        for one in found:
            edges = (f"{edge:.3f}" for edge in (one.xmin, one.ymin, one.xmax, one.ymax))
            self._rows.writerow((*image, one.name, *edges, f"{one.score:.6f}", seconds))
        if not len(found):
            self._rows.writerow((*image, *[""] * (len(COLUMNS) - 4), seconds))


@contextmanager
def annotations(format_name: str, folder: Path, label_map: LabelMap) -> Iterator["AnnotationWriter"]:
    """Give what collects images and writes them at the end as annotations; raise DataError.

    Args:
        format_name: one of FORMATS but CSV.
        folder: where to write.
        label_map: of the model; classes that it lacks are added by their numbers.
    """
    writer = AnnotationWriter(label_map)
    yield writer
    writable_folder(folder)
    paths = [record.name for record in writer.records]
    for parent in {(folder / path).parent for path in paths}:
        writable_folder(parent)
    recognition.WRITERS[format_name].write(writer.records, paths, folder, writer.label_map)


class AnnotationWriter:
    """Annotations of all images."""

    def __init__(self, label_map: LabelMap) -> None:
        self.records: list[ImageRecord] = []
        self._labels = {label.id: label for label in label_map.labels}

    @property
    def label_map(self) -> LabelMap:
        """All classes that there are."""
        return LabelMap(tuple(label for _, label in sorted(self._labels.items())))

    def add(self, detected: Detected) -> None:
        """Take an image."""
        found = detected.found
        if found is not None:
            self.records.append(found.to_record(detected.path, ImageSource(Path(detected.name))))
            for number, name in zip(found.classes.tolist(), found.names, strict=True):
                self._labels.setdefault(number + 1, Label(number + 1, name))
