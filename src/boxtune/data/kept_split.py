"""A split that stays: the part of each image is remembered, so that more images move none from one part to another."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from boxtune.data.files import read_text
from boxtune.data.image_record import ImageRecord
from boxtune.data.splits import TEST, TRAIN, VALIDATION
from boxtune.errors import DataError, to_copy

SPLIT_NAME = "split.json"
"""In the folder of the records: the part of each image, by its content and by its name."""

LIST_NAME = "{}.list"
"""Beside it, for each part: the names of its images, as `--validation_files` takes them."""

_PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}


@dataclass(frozen=True)
class KeptSplit:
    """The parts of images, by the SHA-256 of their files and by their names."""

    by_content: Mapping[bytes, int]
    by_name: Mapping[str, int]
    validation_fraction: float | None
    """That was asked for."""

    def parts(self, images: Sequence[ImageRecord], digests: Sequence[bytes]) -> dict[str, int]:
        """Return the parts of those images that were there, by their names now; the content goes before the name."""
        found = {}
        for image, digest in zip(images, digests, strict=True):
            part = self.by_content.get(digest, self.by_name.get(image.name))
            if part is not None:
                found[image.name] = part
        return found


def read(folder: Path) -> KeptSplit | None:
    """Return the split that was written to a folder of records; None if there is none.

    Raises DataError if it is damaged.
    """
    path = folder / SPLIT_NAME
    if not os.path.lexists(path):
        return None
    try:
        content = json.loads(read_text(path))
        by_part = {_PARTS[name]: dict(images) for name, images in content["parts"].items()}
        fraction = content["validation_fraction"]
        return KeptSplit(
            by_content={
                bytes.fromhex(digest): part for part, images in by_part.items() for digest in images.values()
            },
            by_name={name: part for part, images in by_part.items() for name in images},
            validation_fraction=None if fraction is None else float(fraction),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        keep = to_copy("--validation_files", folder / LIST_NAME.format("validation"))
        raise DataError(
            f"{path} is damaged. To keep the split, give {keep}; to draw another, --new_split."
        ) from error


def to_json(
    parts: Mapping[str, Sequence[ImageRecord]],
    digests: Mapping[str, bytes],
    validation_fraction: float | None,
) -> str:
    """Return the text of SPLIT_NAME.

    Args:
        parts: the images of each part.
        digests: SHA-256 of the files, by the names of the images.
        validation_fraction: that was asked for, if one was.
    """
    by_name = {
        part: {image.name: digests[image.name].hex() for image in images} for part, images in parts.items()
    }
    content = {"validation_fraction": validation_fraction, "parts": by_name}
    return json.dumps(content, indent=1) + "\n"
