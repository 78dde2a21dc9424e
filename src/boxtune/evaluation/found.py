"""What is looked at, and what is found in it; loads neither TensorFlow nor Keras."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from boxtune.data import images
from boxtune.data.image_record import ImageSource

BATCH_SIZE = 8
"""Of models that give every image one size, unless told otherwise; others take one image at a time."""


class Source(NamedTuple):
    """An image to look at: its name for errors, where it is or its pixels, and its EXIF orientation."""

    name: str
    image: ImageSource | npt.NDArray[np.uint8]  # [h, w, 3], upright
    orientation: int | None  # of a file; None for the one that it has itself


class Found(NamedTuple):
    """What was found in an image, best first."""

    source: Source
    size: tuple[int, int]  # height and width of the upright image in pixels
    boxes: npt.NDArray[np.floating]  # [k, 4], fractions of the upright image, [ymin, xmin, ymax, xmax]
    classes: npt.NDArray[np.integer]  # [k], 0-based
    scores: npt.NDArray[np.floating]  # [k]
    masks: npt.NDArray[np.floating] | None = None  # [k, m, n], how certain the object is there, over each box
    keypoints: npt.NDArray[np.floating] | None = None  # [k, p, 2], (y, x), fractions of the upright image


def pixels_of(source: Source) -> npt.NDArray[np.uint8]:
    """Return an image upright, [h, w, 3]; raise DataError, naming its file, if it cannot be read."""
    if isinstance(source.image, ImageSource):
        return np.asarray(images.read_rgb(source.image, source.orientation))
    return source.image
