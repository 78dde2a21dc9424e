"""The images and videos that a user names: files, folders, patterns, lists, URLs, cameras and standard input."""

import glob
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

import numpy as np
import numpy.typing as npt
import requests
from PIL import Image

from boxtune.data import images
from boxtune.data.files import decoded, read_lines, refuse_remote
from boxtune.data.findings import Findings
from boxtune.data.http import TIMEOUT, failure, without_secrets
from boxtune.data.image_lookup import ImageFiles
from boxtune.data.image_record import ImageSource
from boxtune.data.listing import list_files
from boxtune.errors import DataError, many, printable, to_copy

STDIN = "-"
CAMERA = "camera:"
IMAGE_SUFFIXES = images.SUFFIXES | images.RARE_SUFFIXES
VIDEO_SUFFIXES = frozenset(
    [".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ts", ".ogv"]
)
SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES
LIST_SUFFIXES = frozenset((".txt", ".list", ".lst"))

_BLOCK = 2**16
_URLS = ("http://", "https://")

_log = logging.getLogger("boxtune")


@dataclass(frozen=True)
class Given:
    """An image or a video that was named.

    Attributes:
        name: what the user calls it: its path or URL, without the secrets of that.
        path: how it is called within what was given, with slashes: what is written about it is named after that.
        content: its file; its URL or camera; or the bytes of its file.
    """

    name: str
    path: str
    content: Path | str | bytes

    @property
    def file(self) -> Path | None:
        """Its file, if it is one on this machine."""
        return self.content if isinstance(self.content, Path) else None

    @property
    def is_video(self) -> bool:
        """Whether it is a video or a camera, by its name."""
        return self.name.startswith(CAMERA) or _suffix(self.path) in VIDEO_SUFFIXES

    @property
    def stem(self) -> str:
        """Its path without its extension."""
        return str(PurePosixPath(self.path).with_suffix("")) if _suffix(self.path) in SUFFIXES else self.path

    @property
    def is_jpeg(self) -> bool:
        """Whether it is a JPEG, by its name."""
        return images.is_named_jpeg(self.path)


def find_given(named: Sequence[str | Path], without: Path | None = None) -> list[Given]:
    """Return all images and videos that a user names, each once.

    Args:
        named: files; folders, with what is below them; patterns such as "photos/*.jpg", where there is no file of this
            name; lists of files or URLs, one in each line, by their endings LIST_SUFFIXES; URLs; "camera:0"; and "-":
            an image, or a list, on standard input.
        without: a folder of which nothing is taken, since it is written to.

    Raises:
        DataError: for what is not there, what lies in that folder, and if there is no image at all.
    """
    found: dict[Path | str | bytes, Given] = {}
    for one in named:
        for given in _expanded(str(one), without):
            found.setdefault(given.content, given)
    if not found:
        raise DataError(f"{', '.join(map(str, named)) or 'nothing'}: no images here")
    return list(found.values())


def read_given(given: Given) -> npt.NDArray[np.uint8]:
    """Return the pixels [h, w, 3] of an image, upright; raise DataError, naming it, if it cannot be read."""
    return np.asarray(_read(given))


def _read(given: Given) -> Image.Image:
    if given.file:
        return images.read_rgb(ImageSource(given.file))
    try:
        return images.decoded_rgb(content_of(given))
    except DataError as error:
        raise DataError(f"{given.name}: {error}") from error


def content_of(given: Given) -> bytes:
    """Return the bytes of an image's file; raise DataError if they cannot be read, or are too many."""
    if isinstance(given.content, bytes):
        return given.content
    if isinstance(given.content, Path):
        return images.read_bytes(ImageSource(given.content))
    return _download(given.content)


def _expanded(named: str, without: Path | None) -> Iterator[Given]:
    if named == STDIN:
        return _of_stdin(sys.stdin.buffer)
    if named.startswith(CAMERA):
        shown = CAMERA + without_secrets(named[len(CAMERA) :]) if "://" in named else named
        return iter([Given(shown, shown.replace(":", "-").replace("/", "-"), named)])
    if named.lower().startswith(_URLS):
        return iter([_of_url(named)])
    path = Path(named)
    refuse_remote(path)
    if path.is_dir():
        return _of_folder(path, without)
    if path.suffix.lower() in LIST_SUFFIXES and path.exists():
        return _of_list(read_lines(path), named, path.parent)
    if path.exists():
        return iter([Given(named, path.name, path)])
    if glob.has_magic(named):
        return _of_pattern(named)
    raise DataError(f"{named}: no such image or folder")


def _of_folder(folder: Path, without: Path | None) -> Iterator[Given]:
    if without and folder.resolve().is_relative_to(without.resolve()):
        raise DataError(f"{without}: what is written there would mix with the images. Choose another folder.")
    findings = Findings(folder)
    listing = list_files(folder, findings)
    found = sorted([*ImageFiles(listing.ending(IMAGE_SUFFIXES)).paths, *listing.ending(VIDEO_SUFFIXES)])
    for finding in findings.items:
        name = Path(finding.file)
        if name.suffix.lower() in SUFFIXES and not name.name.startswith("."):
            _log.warning("%s is passed over: %s", folder / name, finding.message)
    written = [path for path in found if without and path.resolve().is_relative_to(without.resolve())]
    if written:
        _log.warning("%s of %s passed over: it is written to.", many(len(written), "image"), without)
    for path in found:
        if path not in written:
            yield Given(str(path), path.relative_to(folder).as_posix(), path)


def _of_pattern(pattern: str) -> Iterator[Given]:
    paths = (Path(name) for name in sorted(glob.glob(pattern, recursive=True)))
    found = [path for path in paths if path.suffix.lower() in SUFFIXES]
    if not found:
        raise DataError(f"{pattern}: no image has such a name")
    yield from (Given(str(path), path.name, path) for path in found)


def _of_list(lines: Iterable[str], name: str, folder: Path) -> Iterator[Given]:
    """Yield what a list names; what is not there is found out when it is read, as damage is.

    Paths count from `folder`, that of the list, where there is such a file, else from the working directory.
    """
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line:
            continue
        if line.lower().startswith(_URLS):
            yield _of_url(line)
            continue
        if _suffix(line) not in SUFFIXES:
            folder_or_pattern = to_copy(folder, folder / "*.jpg")
            raise DataError(
                f'{name}: its line {number}, "{printable(line)}", does not name an image, so it is no list of images. '
                f"Give a folder, or a pattern, such as one of these: {folder_or_pattern}"
            )
        path = folder / line if (folder / line).exists() else Path(line)
        parts = PurePosixPath(line).parts
        is_below = not {"..", "/"}.intersection(parts)
        yield Given(str(path), "/".join(parts) if is_below else path.name, path)


def _of_stdin(file: BinaryIO) -> Iterator[Given]:
    data = file.read(images.MAX_FILE_BYTES + 1)
    if len(data) > images.MAX_FILE_BYTES:
        raise DataError(f"standard input has more than {images.MAX_FILE_BYTES >> 20} MiB.")
    try:
        text = decoded(data)
    except UnicodeDecodeError:  # no list: images have bytes that no text has
        yield Given("standard input", "stdin", data)
        return
    yield from _of_list(text.split("\0") if "\0" in text else text.splitlines(), "standard input", Path())


def _of_url(url: str) -> Given:
    return Given(without_secrets(url), PurePosixPath(unquote(urlsplit(url).path)).name or "image", url)


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _download(url: str) -> bytes:
    """Return what a server sends for a URL; raise DataError if it does not, or too much."""
    try:
        with requests.get(url, stream=True, timeout=TIMEOUT) as response:
            if response.status_code >= 400:
                raise DataError(f"the server answers {response.status_code} {response.reason}.")
            data = bytearray()
            for block in response.iter_content(_BLOCK):
                data += block
                if len(data) > images.MAX_FILE_BYTES:
                    raise DataError(f"it has more than {images.MAX_FILE_BYTES >> 20} MiB.")
    except requests.RequestException as error:
        raise DataError(f"it cannot be downloaded: {failure(error)}.") from error
    return bytes(data)
