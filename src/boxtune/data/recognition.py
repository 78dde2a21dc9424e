"""The formats of annotations that are known, and telling which one a folder holds."""

from boxtune.data.annotations import Format
from boxtune.data.formats import (
    coco,
    createml,
    csv_table,
    cvat,
    kitti,
    label_studio,
    labelme,
    open_images,
    tfrecord,
    via,
    voc,
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
    yolo.FORMAT,
    csv_table.FORMAT,
    open_images.FORMAT,
    kitti.FORMAT,
    tfrecord.FORMAT,
)
WRITERS = {"voc": voc, "coco": coco, "yolo": yolo}
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


def _is_there(one: Format, listing: Listing, num_files: int) -> bool:
    """Say whether a folder has annotations of a format, looking into about so many files."""
    files = listing.ending(one.suffixes)
    return any(one.recognises(path) for path in files[:: max(1, len(files) // max(1, num_files))])
