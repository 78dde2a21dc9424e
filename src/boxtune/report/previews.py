"""Small copies of images that a page carries within itself."""

import base64
import io
import math
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from boxtune.data import images
from boxtune.data.image_record import ImageSource
from boxtune.errors import DataError

MAX_PREVIEWS = 10_000
MAX_PREVIEW_SIDE = 1024
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


def previews_by_name(names: Sequence[str], encoded: Callable[[int], bytes]) -> dict[str, str]:
    """Return small copies of images as data URLs, by their names; `encoded` returns an image of that number.

    Of images beyond MAX_PREVIEWS, and of those that cannot be read any more, there is none.
    """
    chosen = choose_previews(len(names), set())
    side, max_bytes = preview_limits(len(chosen))

    def preview(number: int) -> str:
        try:
            # Of records, which know no orientation: their boxes are in the pixels as they are stored.
            small = images.decoded_rgb(encoded(number), orientation=1, max_side=side)
        except DataError:
            return ""
        return base64.b64encode(encode_preview(small, max_bytes)).decode("ascii")

    with ThreadPoolExecutor() as threads:
        made = zip(chosen, threads.map(preview, chosen), strict=True)
        return {names[number]: f"data:image/jpeg;base64,{text}" for number, text in made if text}
