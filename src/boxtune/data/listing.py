"""Folders of unknown origin: listing them without leaving them."""

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from boxtune.data import findings as kinds
from boxtune.data.findings import Findings
from boxtune.errors import DataError, printable

_SHARD = re.compile(r"-\d+-of-\d+$")


@dataclass(frozen=True)
class Listing:
    """The files below a folder, in byte order of their paths."""

    root: Path
    files: tuple[Path, ...]

    def ending(self, suffixes: frozenset[str]) -> list[Path]:
        """Return the files of these lower-case endings, such as ".xml"; that of a shard stands before its number."""
        groups = [self._by_ending.get(suffix, []) for suffix in suffixes]
        return sorted((path for group in groups for path in group), key=os.fsencode)

    def spread(self, suffixes: frozenset[str], num_files: int) -> list[Path]:
        """Return about so many of the files of these endings, from all over the folder."""
        files = self.ending(suffixes)
        return files[:: max(1, len(files) // max(1, num_files))]

    @cached_property
    def _by_ending(self) -> dict[str, list[Path]]:
        groups: dict[str, list[Path]] = {}
        for path in self.files:
            ending = os.path.splitext(_SHARD.sub("", path.name))[1].lower()
            groups.setdefault(ending, []).append(path)
        return groups


def list_files(folder: Path, findings: Findings) -> Listing:
    """Return all files below `folder`.

    A link that leads out of the folder or nowhere is refused, as are pipes and devices; a linked folder and whatever
    is hidden (its name starts with a dot) are not entered; each adds a finding. Raises DataError if a folder cannot be
    read.
    """
    root = os.path.realpath(folder)
    found = []
    pending = [os.fspath(folder)]
    while pending:
        for entry in _entries(pending.pop()):
            if reason := _why_not(entry, root):
                findings.add(kinds.NOT_LOOKED_AT, Path(entry.path), reason)
            elif entry.is_dir():
                pending.append(entry.path)
            else:
                found.append(entry.path)
    return Listing(folder, tuple(map(Path, sorted(found, key=os.fsencode))))


def _why_not(entry: os.DirEntry[str], root: str) -> str:
    """Return why an entry of a folder is not looked at, "" if it is."""
    if entry.name.startswith("."):
        return "its name starts with a dot."
    if entry.is_symlink():
        if not os.path.exists(entry.path):
            return "it is a link that leads nowhere."
        if not Path(os.path.realpath(entry.path)).is_relative_to(root):
            return "it is a link that leads out of the folder."
        if entry.is_dir():
            return "it is a link to a folder."
    return "" if entry.is_dir() or entry.is_file() else "it is neither a file nor a folder."


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise DataError(f"{printable(folder)} cannot be read: {error.strerror}.") from error
