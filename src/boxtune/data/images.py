"""Images of unknown origin: looking at them safely, and giving them to TensorFlow as JPEG or PNG.

What a file is comes from its content, never from its name. All images are looked at (and decoded once, to
find damage) before the split; they are encoded one at a time while records are written.
"""

import hashlib
import io
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from PIL import Image

from boxtune.data import duplicates
from boxtune.data.image_record import ImageRecord, ImageSource
from boxtune.data.pixels import (
    ImageTooLargeError,
    depth,
    eight_bits,
    file_format,
    opened,
    refuse_unusable,
    repaired,
    to_rgb,
)
from boxtune.errors import DataError

MAX_FILE_BYTES = 256 * 2**20
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
    "TGA": (".tga",),
    "HEIF": (".heic", ".heif", ".hif"),
}
SUFFIXES = frozenset(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
_UNREADABLE = (
    ".jxl .jp2 .j2k .jpx .psd .svg .ico .exr .hdr .dcm .pcx .ppm .pgm .pbm .pnm"
    " .dng .cr2 .cr3 .nef .arw .orf .rw2 .raf"
)
RARE_SUFFIXES = frozenset((*_UNREADABLE.split(), *_SUFFIXES["HEIF"], *_SUFFIXES["AVIF"], *_SUFFIXES["TGA"]))
"""Endings of images that often lie beside a JPEG of the same name, which is then meant; not all can be read."""
_TENSORFLOW_FORMATS = {"JPEG": "jpeg", "PNG": "png"}
_EXIF_ORIENTATION = 0x0112
_EXIF_PHOTO = 0x8769  # the part of EXIF in which the next two are
_EXIF_TAKEN, _EXIF_SUBSECONDS = 0x9003, 0x9291
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


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Properties of an image.

    They are its pixels as stored, its format, Pillow's mode, its EXIF orientation 1 to 8, the bits of a value
    (`pixels.depth`), whether it lacks the end marker, two signatures: `digest` is the SHA-256 of its bytes,
    `fingerprint` is for finding near-duplicates (see `boxtune.data.duplicates`); and when it was taken, as its EXIF
    says, in seconds of the camera's clock.
    """

    width: int
    height: int
    format: str
    mode: str
    orientation: int
    bits: int
    lacks_end: bool
    digest: bytes
    fingerprint: bytes
    taken: float | None = None

    @property
    def recoding_reason(self) -> str:
        """Why it has to be encoded again for every decoder to read it alike, "" if it need not."""
        return _recoding_reason(self.format, self.mode, self.bits)


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image's file content, which is `format` "jpeg" or "png"."""

    data: bytes
    format: str


def inspect(source: ImageSource) -> ImageInfo:
    """Read an image and decode it once; raise DataError if that fails, ImageTooLargeError if it is too large."""
    data = read_bytes(source)
    sound = repaired(data)
    with opened(sound) as image:
        width, height, mode = image.width, image.height, image.mode
        orientation = _orientation(image)
        # JPEG decodes small and grey in a fraction of the time, and damage still shows.
        image.draft("L", (max(width // 8, duplicates.MIN_SIDE), max(height // 8, duplicates.MIN_SIDE)))
        image.load()
        bits = depth(image)
        if not _is_turned_by_pillow(image):
            orientation = _orientation(image)  # which may stand behind the pixels
        elif orientation >= 5:
            width, height = height, width
        fingerprint = duplicates.fingerprint(eight_bits(_turned(image, orientation)))
        taken = _taken(image)
    lacks_end, digest = len(sound) > len(data), hashlib.sha256(data).digest()
    return ImageInfo(
        width, height, file_format(image), mode, orientation, bits, lacks_end, digest, fingerprint, taken
    )


def _recoding_reason(name: str, mode: str, bits: int) -> str:
    if name not in _TENSORFLOW_FORMATS:
        return f"it is {name}, neither JPEG nor PNG"
    if mode.startswith("I;16"):
        return f"its values of 16 bits need {bits}, which become 8"
    return "" if mode in ("RGB", "L") else f"its pixels are {mode}, neither RGB nor 8 bit grey"


def fits_extension(file_format: str, path: Path) -> bool:
    """Say whether a file's name ends as its content asks for."""
    return path.suffix.lower() in _SUFFIXES[file_format]


def is_named_jpeg(name: str) -> bool:
    """Say whether a file's name ends as those of JPEG do."""
    return name.lower().endswith(_SUFFIXES["JPEG"])


def extension(file_format: str) -> str:
    """Return the usual ending of a format's file names, such as ".jpg"."""
    return _SUFFIXES[file_format.upper()][0]


def encode(source: ImageSource, orientation: int = 1) -> EncodedImage:
    """Return an image as JPEG or PNG of RGB or grey pixels: its own bytes where possible.

    Any `orientation` but 1 turns it upright by that EXIF orientation, which TensorFlow's decoders ignore. A JPEG that
    is turned is encoded again as JPEG of quality 95, all else as PNG, which keeps every pixel. Raises DataError.
    """
    data = repaired(read_bytes(source))
    with opened(data) as image:
        name, mode = file_format(image), image.mode
        is_fit = not _recoding_reason(name, mode, 8)
        if orientation == 1 and is_fit:
            return EncodedImage(data, _TENSORFLOW_FORMATS[name])
        return _encoded(to_rgb(_turned(image, orientation)), as_jpeg=name == "JPEG" and is_fit)


def _encoded(pixels: Image.Image, *, as_jpeg: bool) -> EncodedImage:
    output = io.BytesIO()
    if as_jpeg:
        pixels.save(output, "JPEG", quality=95, subsampling="4:4:4")
    else:
        pixels.save(output, "PNG")
    return EncodedImage(output.getvalue(), "jpeg" if as_jpeg else "png")


def encode_records(records: Iterable[ImageRecord]) -> Iterator[tuple[ImageRecord, EncodedImage]]:
    """Yield each record with its image, as `encode` returns it; of tiles their parts, in the same formats.

    An image is decoded once for all of its tiles that follow each other, and none is held longer. Raises DataError,
    naming the file.
    """
    for (source, orientation, _), group in groupby(
        records, lambda one: (one.source, one.orientation, one.crop is None)
    ):
        try:
            yield from _encode_group(source, orientation, group)
        except DataError as error:
            raise DataError(f"{source.path}: {error}") from error


def _encode_group(
    source: ImageSource, orientation: int, records: Iterable[ImageRecord]
) -> Iterator[tuple[ImageRecord, EncodedImage]]:
    """Yield records of one image with that image, or those of its tiles with their parts of it."""
    first, *others = records
    if first.crop is None:
        image = encode(source, orientation)
        yield from ((record, image) for record in (first, *others))
        return
    with opened(repaired(read_bytes(source))) as stored:
        as_jpeg = file_format(stored) == "JPEG" and not _recoding_reason("JPEG", stored.mode, 8)
        pixels = to_rgb(_turned(stored, orientation))
    for record in (first, *others):
        if tile := record.crop:
            part = pixels.crop((tile.left, tile.top, tile.right, tile.bottom))
            yield record, _encoded(part, as_jpeg=as_jpeg)


def read_rgb(
    source: ImageSource, orientation: int | None = None, *, max_side: int | None = None
) -> Image.Image:
    """Return an image in RGB, turned by an EXIF `orientation` (by its own where that is None).

    With `max_side` it is made no larger than that, in a fraction of the time for JPEG.
    Raises DataError, naming the file, if it cannot be read or is too large.
    """
    try:
        return decoded_rgb(read_bytes(source), orientation, max_side=max_side)
    except DataError as error:
        raise DataError(f"{source.path}: {error}") from error


def decoded_rgb(data: bytes, orientation: int | None = None, *, max_side: int | None = None) -> Image.Image:
    """Return an encoded image as `read_rgb` does; raise DataError."""
    with opened(repaired(data)) as image:
        if max_side:
            image.draft("RGB", (max_side, max_side))
        image.load()  # behind the pixels there may be an orientation
        turn = _orientation(image) if orientation is None else orientation
        upright = to_rgb(_turned(image, turn))
        if max_side:
            upright.thumbnail((max_side, max_side))
        return upright


def of_pillow(image: Image.Image) -> Image.Image:
    """Return an image that Pillow has opened or made as `read_rgb` returns that of a file; raise DataError."""
    refuse_unusable(image)
    try:
        image.load()
    except OSError as error:
        raise DataError(f"it cannot be decoded: {error}.") from error
    return to_rgb(_turned(image, _orientation(image)))


def read_bytes(source: ImageSource) -> bytes:
    """Return the bytes of an image's file, or those that its record holds; raise DataError."""
    try:
        if source.span is not None:
            from boxtune.data.tfrecord import encoded_image

            return encoded_image(source.path, source.span)
        found = os.stat(source.path)
        if not stat.S_ISREG(found.st_mode):  # from a pipe reading may never end
            raise DataError("it is no file.")
        if found.st_size > MAX_FILE_BYTES:
            raise ImageTooLargeError(f"the file has more than {MAX_FILE_BYTES >> 20} MiB.")
        return source.path.read_bytes()
    except OSError as error:
        raise DataError(f"it cannot be read ({error.strerror}).") from error


def upright_point(x: float, y: float, orientation: int) -> tuple[float, float]:
    """Return where a point (x, y), normalized to the image as stored, is once the image is turned upright."""
    x, y = (y, x) if orientation >= 5 else (x, y)
    return 1 - x if orientation in (2, 3, 6, 7) else x, 1 - y if orientation in (3, 4, 7, 8) else y


def _orientation(image: Image.Image) -> int:
    orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    return int(orientation) if orientation in _UPRIGHT else 1


def _taken(image: Image.Image) -> float | None:
    """Return when a photograph was taken, in seconds of its camera's clock; None if it does not say, or nonsense."""
    photo = image.getexif().get_ifd(_EXIF_PHOTO)
    try:
        second = datetime.strptime(str(photo[_EXIF_TAKEN]), "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
        return second.timestamp() + float(f"0.{int(photo.get(_EXIF_SUBSECONDS) or 0)}")
    except (KeyError, ValueError):
        return None


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    if orientation == 1 or _is_turned_by_pillow(image):
        return image
    return image.transpose(_UPRIGHT[orientation])


def _is_turned_by_pillow(image: Image.Image) -> bool:
    """Say whether Pillow turns an image upright while it loads; its size is from the start that of the upright one."""
    return image.format == "TIFF"
