"""Small copies of images that a page carries within itself."""

import base64
import io
import math
import random

from PIL import Image

from boxtune.data import images
from boxtune.data.image_record import ImageSource
from boxtune.errors import DataError
from boxtune.metrics.results import Example

MAX_PREVIEWS = 10_000
MAX_PREVIEW_SIDE = 800
MAX_PREVIEW_CHARACTERS = 60_000_000  # of base64, all previews together
# Bytes that a small JPEG of quality 80 takes, divided by the square of its longer side: measured on images.
_BYTES_PER_SQUARE = 0.17


def choose_previews(num_images: int, preferred: set[int]) -> list[int]:
    """Return which images get a preview, in order: all, or MAX_PREVIEWS with those that are preferred first."""
    if num_images <= MAX_PREVIEWS:
        return list(range(num_images))
    rng = random.Random(0)
    drawn = sorted(range(num_images), key=lambda image: (image not in preferred, rng.random()))
    return sorted(drawn[:MAX_PREVIEWS])


def preview_limits(number: int) -> tuple[int, int]:
    """Return the longer side in pixels and the most bytes of each of `number` previews."""
    max_bytes = MAX_PREVIEW_CHARACTERS * 3 // 4 // max(number, 1)
    return min(MAX_PREVIEW_SIDE, int(math.sqrt(max_bytes / _BYTES_PER_SQUARE))), max_bytes


def preview_base64(source: tuple[ImageSource, int], *, side: int, max_bytes: int) -> str:
    """Return a JPEG in base64 of an image and its orientation; nothing if it cannot be read (any more)."""
    try:
        small = images.read_rgb(*source, max_side=side)
    except DataError:
        return ""
    return base64.b64encode(encode_preview(small, max_bytes)).decode("ascii")


def encode_preview(image: Image.Image, max_bytes: int) -> bytes:
    """Return a JPEG of at most `max_bytes` (a thousand at least), coarser or smaller where it must be."""
    while True:
        for quality in (80, 65, 50):
            file = io.BytesIO()
            image.save(file, "JPEG", quality=quality)
            if file.tell() <= max_bytes:
                return file.getvalue()
        image = image.reduce(2)


class Previews:
    """Small copies of the images of an evaluation, made as they come by.

    Attributes:
        urls: data URLs, by the names of the images.
    """

    def __init__(self, num_images: int):
        self._selected = set(choose_previews(num_images, set()))
        self._side, self._max_bytes = preview_limits(len(self._selected))
        self._count = 0
        self.urls: dict[str, str] = {}

    def add(self, example: Example) -> None:
        """Take the next image, which may have been squeezed into the shape of a model's input."""
        self._count += 1
        if self._count - 1 not in self._selected:
            return
        height, width = example.result.height, example.result.width
        # No larger than what the model saw: there is nothing more to see.
        side = min(self._side, max(example.image.shape[:2]))
        scale = min(1.0, side / max(height, width))
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        small = Image.fromarray(example.image).resize(size, Image.Resampling.BILINEAR)
        encoded = base64.b64encode(encode_preview(small, self._max_bytes)).decode("ascii")
        self.urls[example.result.name] = f"data:image/jpeg;base64,{encoded}"
