"""The pixels of images of unknown origin: the one decoder, which all verbs share, and what cannot be decoded.

Pillow's pixels are the reference. TensorFlow decodes only what is `is_plain`, to the same pixels and faster.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from boxtune.errors import BoxtuneError, DataError

MAX_PIXELS = 100_000_000
# A closed list: among Pillow's other readers is one that starts Ghostscript. TGA, which has no signature, is the last.
_READERS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "TGA")
_DEPTHS = (8, 10, 12, 14, 16)
_START_OF_SCAN, _END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_NOISE = b"\x55\xa3\x0f\xc9" * 2**10  # bits of any kind, none of which is a marker
_BIT_DEPTH = 24  # where a PNG says it

# What files are, by their bytes from some byte on.
_SIGNATURES = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, _PNG_START, "PNG"),
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (8, b"WEBP", "WebP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\0\0\1\0", "an icon (ICO)"),
    (0, b"v/1\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (128, b"DICM", "DICOM"),
    (0, b"FUJIFILMCCD-RAW", "a raw photograph (RAF)"),
    (0, b"IIU\0", "a raw photograph (RW2)"),
    (0, b"IIRO", "a raw photograph (ORF)"),
    *((0, b"P%d\n" % number, "a Netpbm image (PPM, PGM, PBM)") for number in range(1, 8)),
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "PostScript"),
    (0, b"PK\3\4", "a ZIP archive"),
    (0, b"\x1f\x8b", "compressed with gzip"),
    (0, b"\x1aE\xdf\xa3", "a video (Matroska)"),
    (0, b"version https://git-lfs", "a pointer of Git LFS (git lfs pull fetches the file)"),
)  # fmt: skip
_MARKUP = (
    (b"<svg", "SVG"),
    (b"<!doctype html", "a web page (HTML)"),
    (b"<html", "a web page (HTML)"),
    (b"<?xml", "XML"),
)
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
    b"crx ": "a raw photograph (CR3)",
}
_NO_IMAGES = (
    "a web page (HTML)",
    "XML",
    "a ZIP archive",
    "compressed with gzip",
    "a pointer of Git LFS (git lfs pull fetches the file)",
)
_DECODED = ("JPEG", "PNG", "GIF", "BMP", "WebP", "TIFF", "AVIF", "HEIC")


class ImageTooLargeError(DataError):
    """More bytes or pixels than an image may have; found before it is decoded."""


def rgb(data: bytes) -> npt.NDArray[np.uint8]:
    """Return the pixels [h, w, 3] of an encoded image as it is stored, not turned upright; raise DataError."""
    with opened(repaired(data)) as image:
        return np.asarray(to_rgb(image))


def is_plain(data: bytes) -> np.bool_:
    """Say whether TensorFlow decodes an image to the pixels of `rgb`: a whole JPEG or PNG, 8 bit RGB or grey."""
    try:
        with opened(data) as image:
            if image.format == "PNG":
                is_plain = data[_BIT_DEPTH] == 8 and _PNG_END in data
            else:
                is_plain = file_format(image) == "JPEG" and _has_end(data)
            return np.bool_(is_plain and image.mode in ("RGB", "L"))
    except DataError:
        return np.bool_(False)


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """Open an image lazily within the limits; any error of Pillow becomes a DataError that says what the file is."""
    # Not within `catch_warnings`, which is not for threads. Pillow's limit depends on a global; ours does not.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        with _open(data) as image:
            refuse_unusable(image)
            if image.format != "PNG":
                yield image
                return
            image.verify()  # finds damage that decoding does not, and leaves nothing to decode
        with _open(data) as image:
            yield image
    except BoxtuneError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large("far too many") from error
    except Exception as error:  # Pillow's readers raise errors of any kind
        raise DataError(f"it cannot be decoded: {_why_not(data, error)}") from error


def refuse_unusable(image: Image.Image) -> None:
    """Raise DataError for an image of too many pixels, or of values that have no agreed range."""
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(f"{image.width} x {image.height}")
    if image.mode in ("I", "F"):
        raise DataError(f"its pixels are {image.mode} (32 bit), which have no agreed range.")


def _open(data: bytes) -> Image.Image:
    needs_heif = name_of(data) == "HEIC" and _reads_heif()
    return Image.open(io.BytesIO(data), formats=(*_READERS, "HEIF") if needs_heif else _READERS)


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an image as RGB of 8 bits."""
    return eight_bits(image).convert("RGB")


def eight_bits(image: Image.Image) -> Image.Image:
    """Return an image of 16 bit grey as one of 8 bits, by the bits that its values need; any other as it is."""
    if not image.mode.startswith("I;16"):
        return image
    # Pillow would clip to 255.
    return Image.fromarray((np.asarray(image) >> depth(image) - 8).astype(np.uint8))


def depth(image: Image.Image) -> int:
    """Return how many bits a value has: 8, or of 16 bit grey 8, 10, 12, 14 or 16, as its highest value needs."""
    if not image.mode.startswith("I;16"):
        return 8
    highest = int(np.asarray(image).max())
    return next(bits for bits in _DEPTHS if highest < 1 << bits)


def file_format(image: Image.Image) -> str:
    """Return Pillow's name of an image's format."""
    # MPO, which telephones write and the JPEG reader reads, is a JPEG with more images behind the first.
    return "JPEG" if image.format == "MPO" else str(image.format)


def repaired(data: bytes) -> bytes:
    """Return the bytes of an image, with the end marker that a JPEG or PNG lacks if that is all it lacks."""
    if data.startswith(b"\xff\xd8") and not _has_end(data):
        body = data.removesuffix(b"\xff")
        # In an image that is whole, no pixel depends on what stands behind.
        variants = [body + _END_OF_IMAGE, body + _NOISE + _END_OF_IMAGE]
    elif data.startswith(_PNG_START) and _PNG_END not in data:
        variants = [data + _PNG_END]
    else:
        return data
    decoded = []
    try:
        for variant in variants:
            with opened(variant) as image:
                decoded.append(np.asarray(image))
    except DataError:
        return data
    return variants[0] if all(np.array_equal(decoded[0], other) for other in decoded[1:]) else data


def _has_end(jpeg: bytes) -> bool:
    """Say whether a JPEG has its end marker; that of a thumbnail, which stands before, does not count."""
    return jpeg.endswith(_END_OF_IMAGE) or jpeg.find(_END_OF_IMAGE, jpeg.rfind(_START_OF_SCAN)) >= 0


# What a file is


@cache
def _reads_heif() -> bool:
    """Say whether the reader of HEIC is installed, and make it known to Pillow."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def name_of(data: bytes) -> str:
    """Return what a file is by its first bytes, such as "JPEG XL"; "" if that is unknown."""
    if data[4:8] == b"ftyp":
        brands = {data[8:12], *(data[start : start + 4] for start in range(16, 40, 4))}
        return next((name for brand, name in _BRANDS.items() if brand in brands), "a video (MP4)")
    for position, signature, name in _SIGNATURES:
        if data.startswith(signature, position):
            return name
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return next((name for mark, name in _MARKUP if head.startswith(mark)), "")


def _why_not(data: bytes, error: Exception) -> str:
    """Say why a file is not decoded, by what it is rather than by how Pillow failed."""
    if not data:
        return "the file is empty. Copy it again."
    if not data.strip(b"\0"):
        return "the file holds nothing but zeros. Copy it again."
    name = name_of(data)
    if name == "HEIC" and not _reads_heif():
        return 'it is HEIC. Install its reader (pip install "boxtune[heif]"), or save it as JPEG.'
    if name in _NO_IMAGES:
        return f"it is {name}, not an image. Get the image itself."
    if name and name not in _DECODED:
        return f"it is {name}. Save it as JPEG or PNG."
    if not name:
        return "it is no image of a known format. Save it as JPEG or PNG."
    if "truncated" in str(error):
        return f"it is {name} that is cut short. Copy or export it again."
    return f"it is damaged {name}. Copy or export it again."


def _too_large(size: str) -> ImageTooLargeError:
    return ImageTooLargeError(f"it has {size} pixels, over the limit of {MAX_PIXELS // 10**6} megapixels.")
