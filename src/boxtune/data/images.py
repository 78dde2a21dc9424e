"""Pictures of unknown origin: looking at them safely, and giving them to TensorFlow as JPEG or PNG.

What a file is comes from its content, never from its name. All pictures are looked at (and decoded once, to
find damage) before the split; they are encoded one at a time while records are written.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from boxtune.errors import BoxtuneError, DataError

MAX_PIXELS = 100_000_000
MAX_FILE_BYTES = 256 * 2**20
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")
)  # fmt: skip
# A closed list: among Pillow's other readers is one that starts Ghostscript.
_READERS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
# MPO, which telephones write and the JPEG reader reads, is a JPEG with more pictures behind the first.
_TENSORFLOW_FORMATS = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png"}
_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the header says: pixels as stored, Pillow's names of format and mode, EXIF orientation 1 to 8."""

    width: int
    height: int
    format: str
    mode: str
    orientation: int


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """A picture's file content, which is `format` "jpeg" or "png"."""

    data: bytes
    format: str


def inspect(path: Path) -> ImageInfo:
    """Read a picture's header and decode it once; raise DataError if that fails or it is too large."""
    with _opened(path) as image:
        width, height, file_format, mode = image.width, image.height, str(image.format), image.mode
        # JPEG decodes at an eighth of its size many times faster, and damage still shows.
        image.draft(None, (width // 8, height // 8))
        image.load()
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    if file_format == "PNG":
        with _opened(path) as image:
            image.verify()
    return ImageInfo(width, height, file_format, mode, orientation if orientation in range(1, 9) else 1)


def recoding_reason(file_format: str, mode: str) -> str | None:
    """Say why a picture has to be encoded again for TensorFlow to decode it as it looks, or None."""
    if file_format not in _TENSORFLOW_FORMATS:
        return f"it is {file_format}, neither JPEG nor PNG"
    if mode not in ("RGB", "L"):
        return f"its pixels are {mode}, neither RGB nor 8 bit grey"
    return None


def encode(path: Path, *, upright: bool) -> EncodedImage:
    """Return a picture as JPEG or PNG of RGB or grey pixels: its own bytes where possible.

    `upright` turns it by its EXIF orientation, which TensorFlow's decoders ignore. What was JPEG is encoded
    again as JPEG of quality 95, all else as PNG. Raises DataError.
    """
    with _opened(path) as image:
        file_format = str(image.format)
        if not upright and recoding_reason(file_format, image.mode) is None:
            return EncodedImage(path.read_bytes(), _TENSORFLOW_FORMATS[file_format])
        pixels = _to_rgb(ImageOps.exif_transpose(image) if upright else image)
        output = io.BytesIO()
        if _TENSORFLOW_FORMATS.get(file_format) == "jpeg":
            pixels.save(output, "JPEG", quality=95, subsampling="4:4:4")
            return EncodedImage(output.getvalue(), "jpeg")
        pixels.save(output, "PNG")
        return EncodedImage(output.getvalue(), "png")


def read_rgb(path: Path) -> Image.Image:
    """Return a picture upright, in RGB; raise DataError, naming it, if that fails or it is too large."""
    try:
        with _opened(path) as image:
            return _to_rgb(ImageOps.exif_transpose(image))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow would clip 16 bit to 255 instead of scaling it.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture lazily within the limits; whatever Pillow raises meanwhile becomes a DataError."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DataError(f"the file has more than {MAX_FILE_BYTES >> 20} MiB.")
        with warnings.catch_warnings():
            # Pillow's own limit depends on a global; ours does not, and its other warnings are not for users.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_READERS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise _too_large(f"{image.width} x {image.height}")
                if image.mode in ("I", "F"):
                    raise DataError(f"its pixels are {image.mode} (32 bit), which have no agreed range.")
                yield image
    except BoxtuneError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large("far too many") from error
    except Exception as error:  # Pillow's readers raise whatever their parsers trip over
        raise DataError(f"it cannot be decoded as a picture ({type(error).__name__}: {error}).") from error


def _too_large(size: str) -> DataError:
    return DataError(f"it has {size} pixels, over the limit of {MAX_PIXELS // 10**6} megapixels.")
