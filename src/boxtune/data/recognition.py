"""The formats of annotations that are known, and telling which one a folder holds."""

from collections.abc import Iterator
from pathlib import Path

from boxtune.data.annotations import Format
from boxtune.data.closed_files import closed_files
from boxtune.data.formats import (
    coco,
    createml,
    csv_exports,
    csv_table,
    cvat,
    kitti,
    label_studio,
    labelme,
    open_images,
    tfrecord,
    via,
    voc,
    vott,
    yolo,
)
from boxtune.data.listing import Listing
from boxtune.errors import DataError, did_you_mean

# Where a folder holds several for as many images, the first is read: later ones are often made from earlier ones.
FORMATS: tuple[Format, ...] = (
    voc.FORMAT,
    cvat.FORMAT,
    coco.FORMAT,
    label_studio.FORMAT,
    createml.FORMAT,
    labelme.FORMAT,
    via.FORMAT,
    vott.FORMAT,
    yolo.FORMAT,
    csv_table.FORMAT,
    csv_exports.AUTOML,
    csv_exports.MAKESENSE,
    csv_exports.VIA,
    open_images.FORMAT,
    kitti.FORMAT,
    tfrecord.FORMAT,
)
WRITERS = {"voc": voc, "coco": coco, "yolo": yolo, "label_studio": label_studio}
"""The formats that can be written: modules with IMAGES_FOLDER and write()."""

# So many files of an ending, from all over the folder, are looked into before a format is given up.
_NUM_LOOKED_INTO = 50


def by_name(name: str) -> Format:
    """Return the format that `--format` calls so; raise DataError if there is none."""
    names = {one.name: one for one in FORMATS}
    if name not in names:
        raise DataError(
            f'There is no format "{name}".{did_you_mean(name, names)} Formats: {", ".join(names)}.'
        )
    return names[name]


def recognise(listing: Listing) -> list[Format]:
    """Return the formats that a folder has annotations in, in the order of the table.

    All files are looked into only where some of each ending show none.
    """
    found = [one for one in FORMATS if _is_there(one, listing, _NUM_LOOKED_INTO)]
    return found or [one for one in FORMATS if _is_there(one, listing, len(listing.files))]


def complaints(listing: Listing) -> Iterator[tuple[Path, str]]:
    """Yield files that look like annotations of some format, with why they are not read."""
    for one in FORMATS:
        if one.complaint:
            for path in listing.spread(one.suffixes, _NUM_LOOKED_INTO):
                if complaint := one.complaint(path):
                    yield path, f"{one.title}: {complaint}"


def unopened(listing: Listing, chosen: Format | None = None) -> Iterator[tuple[Path, str]]:
    """Yield files that may hold annotations and cannot be opened, but for those that a format reports itself."""
    return closed_files(listing, chosen.suffixes if chosen else frozenset(), _NUM_LOOKED_INTO)


def _is_there(one: Format, listing: Listing, num_files: int) -> bool:
    """Say whether a folder has annotations of a format, looking into about so many files."""
    return any(map(one.recognises, listing.spread(one.suffixes, num_files)))
