"""The one neutral form of annotated pictures: every reader makes it, every writer takes it."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from boxtune.errors import DataError

# A side shorter than this share of the picture vanishes in float32.
MIN_SIDE = 1e-6


class Box(NamedTuple):
    """A box as shares of the picture's height and width, each in [0, 1]."""

    ymin: float
    xmin: float
    ymax: float
    xmax: float


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """One annotated object."""

    class_name: str
    box: Box
    difficult: bool = False
    truncated: bool = False
    is_crowd: bool = False
    view: str = ""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One picture with its objects.

    `name` is the path within the data set, unique there. `width` and `height` are pixels of the picture as it
    will be written, which is upright by its EXIF orientation if `upright` is true, and as stored otherwise.
    """

    name: str
    image_path: Path
    annotation_path: Path | None
    width: int
    height: int
    objects: tuple[ObjectRecord, ...]
    upright: bool = False


class Severity(StrEnum):
    """What became of something that was wrong."""

    SKIPPED = "skipped"
    REPAIRED = "repaired"
    NOTED = "noted"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a reader met that was not as it should be: which kind, in which file, and the particulars."""

    kind: str
    severity: Severity
    file: str
    message: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader made of a data set: usable pictures, findings, and how many annotations there were."""

    folder: Path
    images: tuple[ImageRecord, ...]
    findings: tuple[Finding, ...]
    num_annotations: int


def require_usable(reading: Reading, *, max_loss: float) -> None:
    """Raise DataError if nothing is left or more than the share `max_loss` in [0, 1] is lost."""
    lost = reading.num_annotations - len(reading.images)
    if reading.images and lost <= max_loss * reading.num_annotations:
        if not class_names(reading.images):
            raise DataError(f"{reading.folder}: no annotation has an object. Draw boxes and name them first.")
        return
    skipped = [finding for finding in reading.findings if finding.severity is Severity.SKIPPED]
    kinds = ", ".join(f"{kind} {count}" for kind, count in Counter(f.kind for f in skipped).most_common())
    example = f" For example {skipped[0].file}: {skipped[0].message}" if skipped else ""
    share = lost / max(1, reading.num_annotations)
    raise DataError(
        f"{reading.folder}: {lost} of {reading.num_annotations} annotations ({share:.0%}) cannot be used,"
        f" and at most {max_loss:.0%} may be lost. Skipped: {kinds}.{example}"
    )


def class_names(images: Iterable[ImageRecord]) -> list[str]:
    """Return the names of all classes that occur, sorted by their bytes."""
    return sorted({item.class_name for image in images for item in image.objects}, key=str.encode)


def box_from_pixels(xmin: float, ymin: float, xmax: float, ymax: float, *, width: int, height: int) -> Box:
    """Return the box of pixel edges (0 is the picture's left or upper edge) as shares of the picture."""
    return Box(ymin / height, xmin / width, ymax / height, xmax / width)


def reorder(box: Box) -> Box:
    """Return the box with its minima and maxima in order."""
    return Box(
        min(box.ymin, box.ymax), min(box.xmin, box.xmax), max(box.ymin, box.ymax), max(box.xmin, box.xmax)
    )


def clip(box: Box) -> Box:
    """Return the part of the box within the picture; without area if there is none."""
    return Box(*(min(max(value, 0.0), 1.0) for value in box))


def has_area(box: Box) -> bool:
    """Say whether both sides of the box are longer than float32 can lose."""
    return box.ymax - box.ymin > MIN_SIDE and box.xmax - box.xmin > MIN_SIDE
