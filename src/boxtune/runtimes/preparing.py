"""Images as an exported file takes them, by NumPy alone: resized, padded and normalized as in training."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FIXED_SHAPE, KEEP_ASPECT_RATIO = "fixed_shape_resizer", "keep_aspect_ratio_resizer"

MAX_SIDE = 1 << 13
"""Of an input, in pixels."""

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Preparation:
    """How an image becomes the input of a file, as that says it."""

    size: tuple[int, int]
    """Height and width of the input in pixels."""
    resizer: str = FIXED_SHAPE
    """KEEP_ASPECT_RATIO has padding below or to the right of the image, FIXED_SHAPE none."""
    min_dimension: int = 0
    """Of KEEP_ASPECT_RATIO: the shorter side, unless the longer one would exceed the input then."""
    padding: Triple = (0.0, 0.0, 0.0)
    """The pixel value of padding, by channels; like pixels it is normalized."""
    scale: Triple = (1.0, 1.0, 1.0)
    shift: Triple = (0.0, 0.0, 0.0)
    """The input is, channel by channel, pixel * scale - shift; pixels are from 0 to 255."""

    def __call__(
        self, image: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return pixels float32 [*size, 3] and the part [2] of their height and width that is not padding.

        Args:
            image: [h, w, 3].
        """
        if self.resizer == FIXED_SHAPE:
            return resize(image, self.size), np.ones(2, np.float32)
        height, width = _size_within(image.shape[:2], self.min_dimension, max(self.size))
        pixels = np.empty([*self.size, 3], np.float32)
        pixels[:] = self.padding
        pixels[:height, :width] = resize(image, (height, width))
        return pixels, np.array([height / self.size[0], width / self.size[1]], np.float32)

    def normalized(self, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return pixels [h, w, 3] normalized."""
        return pixels * np.array(self.scale, np.float32) - np.array(self.shift, np.float32)

    def as_json(self) -> dict[str, Any]:
        """Return it as values of JSON."""
        return asdict(self)


def preparation_of(text: str) -> Preparation:
    """Return the preparation that `as_json` has written, among other things.

    Raises:
        ValueError: if it is none.
    """
    try:
        values = json.loads(text)
        height, width = (_side(side) for side in values["size"])
        resizer = values["resizer"]
        if resizer not in (FIXED_SHAPE, KEEP_ASPECT_RATIO):
            raise ValueError(f"no resizer is called {resizer!r:.100}")
        least = _side(values["min_dimension"]) if resizer == KEEP_ASPECT_RATIO else 0
        triples = (_triple(values[name]) for name in ("padding", "scale", "shift"))
        return Preparation((height, width), resizer, least, *triples)
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__} {error}") from error


def _side(value: Any) -> int:
    if type(value) is not int or not 0 < value <= MAX_SIDE:
        raise ValueError(f"{value!r:.100} is no side of an image")
    return value


def _triple(values: Any) -> Triple:
    red, green, blue = (float(value) for value in values)
    if not all(map(math.isfinite, (red, green, blue))):
        raise ValueError(f"{values!r:.100} are no numbers of three channels")
    return red, green, blue


def _size_within(size: tuple[int, ...], min_dimension: int, max_dimension: int) -> tuple[int, int]:
    """Return the size that `boxtune.data.resize` gives an image of `size`, in the same arithmetic."""
    sides = np.array(size, np.float32)
    scale = min(np.float32(min_dimension) / sides.min(), np.float32(max_dimension) / sides.max())
    height, width = np.maximum(np.round(sides * scale), 1).astype(int).tolist()
    return min(height, max_dimension), min(width, max_dimension)


def resize(image: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Return an image [h, w, 3] as float32 [*size, 3], interpolated as TensorFlow 1 does.

    Pixels are counted from their corners, not from their centres, and none is left out of the next.
    """
    rows, columns = (_places(old, new) for old, new in zip(image.shape[:2], size, strict=True))
    low, high, part = rows
    upper = image[low].astype(np.float32)
    resized = upper + (image[high] - upper) * part[:, None, None]
    low, high, part = columns
    left = resized[:, low]
    return left + (resized[:, high] - left) * part[:, None]


def _places(
    old: int, new: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return for each of `new` pixels in a row of `old`: between which two it lies, and at which part of the way."""
    places = np.arange(new, dtype=np.float32) * (np.float32(old) / np.float32(new))
    low = np.floor(places).astype(np.int64)
    return np.minimum(low, old - 1), np.minimum(low + 1, old - 1), (places - low).astype(np.float32)
