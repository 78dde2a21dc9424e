"""Writing the images of records as files, under names that are safe whatever the data set called them."""

import os
import re
from collections.abc import Sequence
from functools import partial
from itertools import chain, groupby
from pathlib import Path

from boxtune.data import images
from boxtune.data.files import whole_file
from boxtune.data.image_record import ImageRecord
from boxtune.data.workers import map_in_processes
from boxtune.errors import DataError

_LONGEST_NAME = 200  # bytes, of the 255 that most file systems allow
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*\ud800-\udfff]')

_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)", re.IGNORECASE)
"""Names of devices on Windows."""


def write_images(
    records: Sequence[ImageRecord], folder: Path, *, num_workers: int | None = None
) -> list[str]:
    """Write the image of each record below `folder`; return their paths there, with slashes.

    An image keeps its path in the data set as far as that is safe, and no two have the same but for the extension,
    which follows the content. Raises DataError if one cannot be read or written.
    """
    stems = unique_stems([record.name for record in records])
    # Tiles of one image together, so that it is decoded once.
    groups = (
        list(group) for _, group in groupby(zip(records, stems, strict=True), lambda one: one[0].source)
    )
    written = map_in_processes(partial(_write, folder), groups, num_workers=num_workers)
    return list(chain.from_iterable(written))


def unique_stems(names: Sequence[str]) -> list[str]:
    """Return for each name a path without extension that stays in its folder, no two alike in any letter case."""
    taken: set[str] = set()
    stems = []
    for name in names:
        stem = _safe_stem(name)
        candidate, number = stem, 2
        while candidate.casefold() in taken:
            candidate, number = f"{stem}-{number}", number + 1
        taken.add(candidate.casefold())
        stems.append(candidate)
    return stems


def _safe_stem(name: str) -> str:
    parts = [_UNSAFE.sub("_", part).strip(" .") for part in name.replace("\\", "/").split("/")]
    parts = [f"_{part}" if _RESERVED.match(part) else part for part in parts if part]
    kept = [part.encode()[:_LONGEST_NAME].decode(errors="ignore") for part in parts]
    stem, extension = os.path.splitext(kept[-1]) if kept else ("image", "")
    return "/".join([*kept[:-1], stem if extension.lower() in images.SUFFIXES else stem + extension])


def _write(folder: Path, items: Sequence[tuple[ImageRecord, str]]) -> list[str]:
    encoded = images.encode_records(record for record, _ in items)
    return [_write_one(folder, stem, image) for (_, image), (_, stem) in zip(encoded, items, strict=True)]


def _write_one(folder: Path, stem: str, encoded: images.EncodedImage) -> str:
    name = stem + images.extension(encoded.format)
    path = folder / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path.parent} cannot be made: {error.strerror}.") from error
    with whole_file(path) as temporary:
        temporary.write_bytes(encoded.data)
    return name
