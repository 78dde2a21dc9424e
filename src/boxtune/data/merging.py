"""Several folders read as one data set: classes are merged by their names, and the formats may differ.

The root is the innermost folder that holds them all, and names of images and files are paths within it.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np

from boxtune.data.conventions import Assumed
from boxtune.data.findings import Finding
from boxtune.data.image_record import ImageRecord
from boxtune.data.reading import Reading, read
from boxtune.data.split_lists import SplitLists
from boxtune.errors import DataError


def read_folders(
    folders: Sequence[Path],
    *,
    annotations: Path | None = None,
    format_name: str | None = None,
    assumed: Assumed | None = None,
    num_workers: int | None = None,
) -> Reading:
    """Read one folder as `reading.read` does, or each of several, and merge what they hold.

    Raises:
        DataError: as `reading.read`; and if there is no folder, one is within another, or `annotations` goes with
            several.
    """
    if not folders:
        raise DataError("No folder is given. Give one of images with their annotations, or several.")
    if annotations and len(folders) > 1:
        raise DataError(
            f"--annotations {annotations} goes with one folder of images, not with {len(folders)}. Put annotations "
            "into the folder of their images."
        )
    _refuse_nested([folder.parent if folder.is_file() else folder for folder in folders])
    readings = [
        read(
            folder,
            annotations=annotations,
            format_name=format_name,
            assumed=assumed,
            num_workers=num_workers,
        )
        for folder in folders
    ]
    return readings[0] if len(readings) == 1 else merged(readings)


def merged(readings: Sequence[Reading]) -> Reading:
    """Return the readings of several folders, none of which is within another, as one."""
    root = _common_folder([reading.root for reading in readings])
    readings = [_seen_from(root, reading) for reading in readings]
    images = [image for reading in readings for image in reading.images]
    digests = [digest for reading in readings for digest in reading.digests]
    times = [seconds for reading in readings for seconds in reading.times]
    order = sorted(range(len(images)), key=lambda index: images[index].name.encode(errors="surrogateescape"))
    known: dict[str, list[str]] = {}
    for reading in readings:
        for last, names in (reading.lists.known or {}).items():
            known.setdefault(last, []).extend(names)
    return Reading(
        root=root,
        formats={folder: one for reading in readings for folder, one in reading.formats.items()},
        images=tuple(images[index] for index in order),
        digests=tuple(digests[index] for index in order),
        fingerprints=np.concatenate([reading.fingerprints for reading in readings])[order],
        times=tuple(times[index] for index in order),
        findings=tuple(finding for reading in readings for finding in reading.findings),
        num_annotations=sum(reading.num_annotations for reading in readings),
        lists=SplitLists(tuple(one for reading in readings for one in reading.lists.lists), known),
    )


def _refuse_nested(roots: Sequence[Path]) -> None:
    """Raise DataError if one of the folders is within another, or the same."""
    for outer, inner in permutations(roots, 2):
        if inner.resolve().is_relative_to(outer.resolve()):
            raise DataError(f"{inner} is within {outer}: give {outer} alone, so that no image is read twice.")


def _common_folder(roots: Sequence[Path]) -> Path:
    """Return the innermost folder that holds all of them, relative if they are."""
    relative = not any(root.is_absolute() or ".." in root.parts for root in roots)
    paths = [os.fspath(root) if relative else os.path.abspath(root) for root in roots]
    try:
        return Path(os.path.commonpath(paths))
    except ValueError as error:  # the drives of Windows
        names = " and ".join(map(str, roots))
        raise DataError(f"{names} are on different drives. Copy them to one.") from error


def _seen_from(root: Path, reading: Reading) -> Reading:
    """Return a reading whose names are paths within `root`, a folder that holds its own."""
    folder = reading.root if not root.is_absolute() else Path(os.path.abspath(reading.root))
    prefix = folder.relative_to(root).as_posix()

    def moved(name: str) -> str:
        return name if Path(name).is_absolute() else prefix if name == "." else f"{prefix}/{name}"

    def of_image(image: ImageRecord) -> ImageRecord:
        return replace(image, name=f"{prefix}/{image.name}", annotation=moved(image.annotation))

    def of_finding(finding: Finding) -> Finding:
        return replace(finding, file=moved(finding.file), image=finding.image and f"{prefix}/{finding.image}")

    lists = [replace(one, path=folder / one.path.relative_to(reading.root)) for one in reading.lists.lists]
    known = {
        last: [f"{prefix}/{name}" for name in names] for last, names in (reading.lists.known or {}).items()
    }
    return replace(
        reading,
        root=folder,
        images=tuple(map(of_image, reading.images)),
        findings=tuple(map(of_finding, reading.findings)),
        lists=SplitLists(tuple(lists), known),
    )
