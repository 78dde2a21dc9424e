"""Images of unknown origin: looking at them safely, and giving them to TensorFlow as JPEG or PNG.

What a file is comes from its content, never from its name. All images are looked at (and decoded once, to
find damage) before the split; they are encoded one at a time while records are written.
"""

import hashlib
import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from boxtune.data import duplicates
from boxtune.data.records import ImageSource
from boxtune.errors import BoxtuneError, DataError

MAX_PIXELS = 100_000_000
MAX_FILE_BYTES = 256 * 2**20
# A closed list: among Pillow's other readers is one that starts Ghostscript.
_READERS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
}
SUFFIXES = frozenset(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
_TENSORFLOW_FORMATS = {"JPEG": "jpeg", "PNG": "png"}
_EXIF_ORIENTATION = 0x0112
# The transpose that turns an image upright, by its EXIF orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageTooLargeError(DataError):
    """More bytes or pixels than an image may have; found before it is decoded."""


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Properties of an image: pixels as stored, format, Pillow's mode, EXIF orientation 1 to 8, and two signatures.

    `digest` is the SHA-256 of its bytes, `fingerprint` is for finding near-duplicates (see `boxtune.data.duplicates`).
    """

    width: int
    height: int
    format: str
    mode: str
    orientation: int
    digest: bytes
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image's file content, which is `format` "jpeg" or "png"."""

    data: bytes
    format: str


def inspect(source: ImageSource) -> ImageInfo:
    """Read an image and decode it once; raise DataError if that fails, ImageTooLargeError if it is too large."""
    data = read_bytes(source)
    with _opened(data) as image:
        width, height, mode = image.width, image.height, image.mode
        # JPEG decodes small and grey in a fraction of the time, and damage still shows.
        image.draft("L", (max(width // 8, duplicates.MIN_SIDE), max(height // 8, duplicates.MIN_SIDE)))
        image.load()
        orientation = _orientation(image)
        fingerprint = duplicates.fingerprint(_turned(image, orientation))
    if image.format == "PNG":
        with _opened(data) as again:
            again.verify()
    return ImageInfo(
        width, height, _format(image), mode, orientation, hashlib.sha256(data).digest(), fingerprint
    )


def recoding_reason(file_format: str, mode: str) -> str | None:
    """Say why an image has to be encoded again for TensorFlow to decode it as it looks, or None."""
    if file_format not in _TENSORFLOW_FORMATS:
        return f"it is {file_format}, neither JPEG nor PNG"
    if mode not in ("RGB", "L"):
        return f"its pixels are {mode}, neither RGB nor 8 bit grey"
    return None


def fits_extension(file_format: str, path: Path) -> bool:
    """Say whether a file's name ends as its content asks for."""
    return path.suffix.lower() in _SUFFIXES[file_format]


def extension(file_format: str) -> str:
    """Return the usual ending of a format's file names, such as ".jpg"."""
    return _SUFFIXES[file_format.upper()][0]


def encode(source: ImageSource, orientation: int = 1) -> EncodedImage:
    """Return an image as JPEG or PNG of RGB or grey pixels: its own bytes where possible.

    Any `orientation` but 1 turns it upright by that EXIF orientation, which TensorFlow's decoders ignore. What was
    JPEG is encoded again as JPEG of quality 95, all else as PNG. Raises DataError.
    """
    data = read_bytes(source)
    with _opened(data) as image:
        file_format = _format(image)
        if orientation == 1 and recoding_reason(file_format, image.mode) is None:
            return EncodedImage(data, _TENSORFLOW_FORMATS[file_format])
        pixels, output = _to_rgb(_turned(image, orientation)), io.BytesIO()
        if file_format == "JPEG":
            pixels.save(output, "JPEG", quality=95, subsampling="4:4:4")
        else:
            pixels.save(output, "PNG")
        return EncodedImage(output.getvalue(), "jpeg" if file_format == "JPEG" else "png")


def read_rgb(
    source: ImageSource, orientation: int | None = None, *, max_side: int | None = None
) -> Image.Image:
    """Return an image in RGB, turned by an EXIF `orientation` (by its own where that is None).

    With `max_side` it is made no larger than that, in a fraction of the time for JPEG.
    Raises DataError, naming the file, if it cannot be read or is too large.
    """
    try:
        with _opened(read_bytes(source)) as image:
            turn = _orientation(image) if orientation is None else orientation
            if max_side:
                image.draft("RGB", (max_side, max_side))
            upright = _to_rgb(_turned(image, turn))
            if max_side:
                upright.thumbnail((max_side, max_side))
            return upright
    except DataError as error:
        raise DataError(f"{source.path}: {error}") from error


def read_bytes(source: ImageSource) -> bytes:
    """Return the bytes of an image's file, or those that its record holds; raise DataError."""
    try:
        if source.span is not None:
            from boxtune.data.tfrecord import encoded_image

            return encoded_image(source.path, source.span)
        size = os.stat(source.path).st_size
        if size > MAX_FILE_BYTES:
            raise ImageTooLargeError(f"the file has more than {MAX_FILE_BYTES >> 20} MiB.")
        return source.path.read_bytes()
    except OSError as error:
        raise DataError(f"it cannot be read ({error.strerror}).") from error


def upright_point(x: float, y: float, orientation: int) -> tuple[float, float]:
    """Return where a point (x, y), normalized to the image as stored, is once the image is turned upright."""
    x, y = (y, x) if orientation >= 5 else (x, y)
    return 1 - x if orientation in (2, 3, 6, 7) else x, 1 - y if orientation in (3, 4, 7, 8) else y


def _format(image: Image.Image) -> str:
    # MPO, which telephones write and the JPEG reader reads, is a JPEG with more images behind the first.
    return "JPEG" if image.format == "MPO" else str(image.format)


def _orientation(image: Image.Image) -> int:
    orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    return orientation if orientation in _UPRIGHT else 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image if orientation == 1 else image.transpose(_UPRIGHT[orientation])


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow would clip 16 bit to 255 instead of scaling it.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """Open an image lazily within the limits; any error of Pillow becomes a DataError."""
    try:
        with warnings.catch_warnings():
            # Pillow's own limit depends on a global; ours does not, and its other warnings are not for users.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=_READERS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise _too_large(f"{image.width} x {image.height}")
                if image.mode in ("I", "F"):
                    raise DataError(f"its pixels are {image.mode} (32 bit), which have no agreed range.")
                yield image
    except BoxtuneError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large("far too many") from error
    except Exception as error:  # Pillow's readers raise errors of any kind
        message = str(error).split("<_io")[0].strip()
        raise DataError(f"it cannot be decoded as an image ({type(error).__name__}: {message}).") from error


def _too_large(size: str) -> ImageTooLargeError:
    return ImageTooLargeError(f"it has {size} pixels, over the limit of {MAX_PIXELS // 10**6} megapixels.")
