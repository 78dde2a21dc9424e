"""The common form of annotated images: every reader makes it, every writer takes it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from boxtune.data.compact import Compact
from boxtune.data.masks import Mask

# A side shorter than this fraction of the image vanishes in float32.
MIN_SIDE = 1e-6
_ROUNDING = 6  # digits to which the sides of two boxes have to agree to be the same


class Box(NamedTuple):
    """A box as fractions of the image's height and width, each in [0, 1]."""

    ymin: float
    xmin: float
    ymax: float
    xmax: float


class Tile(NamedTuple):
    """A rectangle of whole pixels in an upright image."""

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """The first row below it."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """The first column to the right of it."""
        return self.left + self.width

    def __str__(self) -> str:
        return f"tile y{self.top} x{self.left} of {self.width}x{self.height}"


class Keypoint(NamedTuple):
    """A named point as fractions of height and width; `visibility` as COCO counts it: 0 absent, 1 hidden, 2 visible."""

    name: str
    y: float
    x: float
    visibility: int = 2


@dataclass(frozen=True, slots=True)
class ObjectRecord(Compact):
    """One annotated object, or one that a model has found.

    `area` is in pixels of the image, None for that of the box. `score`, from 0 to 1, is None of an annotation.
    """

    class_name: str
    box: Box
    difficult: bool = False
    truncated: bool = False
    is_crowd: bool = False
    group_of: bool = False
    view: str = ""
    weight: float = 1.0
    area: float | None = None
    mask: Mask | None = None
    keypoints: tuple[Keypoint, ...] = ()
    score: float | None = None


@dataclass(frozen=True, slots=True)
class ImageSource(Compact):
    """Where the bytes of an image are: a file, or the record at `span` (offset, length) of a TFRecord file."""

    path: Path
    span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class ImageRecord(Compact):
    """One image with its objects.

    `name` is the path within the data set, unique there. `width` and `height` are pixels of the image as it
    will be written: turned upright as its EXIF `orientation` says, which is 1 where nothing is to be turned. `subset`
    is the part of the data set that it belongs to, as its annotation calls it. Of a tile, `crop` is where it lies in
    the upright image, and all else is about the tile.
    """

    name: str
    source: ImageSource
    annotation: str
    width: int
    height: int
    objects: tuple[ObjectRecord, ...]
    orientation: int = 1
    subset: str = ""
    crop: Tile | None = None


def class_names(images: Iterable[ImageRecord]) -> list[str]:
    """Return the names of all classes that occur, sorted by their bytes."""
    return sorted({item.class_name for image in images for item in image.objects}, key=str.encode)


def reorder(box: Box) -> Box:
    """Return the box with its minima and maxima in order."""
    return Box(
        min(box.ymin, box.ymax), min(box.xmin, box.xmax), max(box.ymin, box.ymax), max(box.xmin, box.xmax)
    )


def clip(box: Box) -> Box:
    """Return the part of the box within the image; without area if there is none."""
    return Box(*(min(max(value, 0.0), 1.0) for value in box))


def within(box: Box, window: Box) -> Box:
    """Return a box in the frame of a window, both of one image; not cut to it.

    It is `data.geometry.to_window` for one box, without TensorFlow, which takes seconds to load.
    """
    height, width = window.ymax - window.ymin, window.xmax - window.xmin
    return Box(
        (box.ymin - window.ymin) / height,
        (box.xmin - window.xmin) / width,
        (box.ymax - window.ymin) / height,
        (box.xmax - window.xmin) / width,
    )


def area(box: Box) -> float:
    """Return the area of a box as a fraction of its image's."""
    return (box.ymax - box.ymin) * (box.xmax - box.xmin)


def rounded(box: Box) -> tuple[float, ...]:
    """Return the box to the digits in which equal boxes agree."""
    return tuple(round(side, _ROUNDING) for side in box)


def overlap(one: Box, other: Box) -> float:
    """Return the intersection of two boxes divided by their union."""
    height = min(one.ymax, other.ymax) - max(one.ymin, other.ymin)
    width = min(one.xmax, other.xmax) - max(one.xmin, other.xmin)
    shared = max(height, 0.0) * max(width, 0.0)
    union = area(one) + area(other) - shared
    return shared / union if union > 0 else 0.0


def has_area(box: Box) -> bool:
    """Say whether both sides of the box are longer than float32 can lose."""
    return box.ymax - box.ymin > MIN_SIDE and box.xmax - box.xmin > MIN_SIDE
