"""Folders and files of unknown origin: listing them without leaving the folder, writing them whole."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from boxtune.data import findings as kinds
from boxtune.data.findings import Findings, printable
from boxtune.errors import DataError

MAX_TEXT_BYTES = 2**30
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

    @cached_property
    def _by_ending(self) -> dict[str, list[Path]]:
        groups: dict[str, list[Path]] = {}
        for path in self.files:
            groups.setdefault(_ending(path.name), []).append(path)
        return groups


def _ending(name: str) -> str:
    return os.path.splitext(_SHARD.sub("", name))[1].lower()


def list_files(folder: Path, findings: Findings) -> Listing:
    """Return all files below `folder`.

    A link that leads out of the folder is refused, a linked folder and whatever is hidden (its name begins
    with a dot) are not entered; each adds a finding. Raises DataError if a folder cannot be read.
    """
    root = folder.resolve()
    found = []
    pending = [os.fspath(folder)]
    while pending:
        for entry in _entries(pending.pop()):
            if entry.name.startswith("."):
                reason = "its name begins with a dot."
            elif entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(root):
                reason = "it is a link that leads out of the folder."
            elif entry.is_symlink() and entry.is_dir():
                reason = "it is a link to a folder."
            elif entry.is_dir():
                pending.append(entry.path)
                continue
            else:
                if entry.is_file():
                    found.append(entry.path)
                continue
            findings.add(kinds.NOT_LOOKED_AT, Path(entry.path), reason)
    return Listing(folder, tuple(map(Path, sorted(found, key=os.fsencode))))


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise DataError(f"{printable(folder)} cannot be read: {error.strerror}.") from error


def read_text(path: Path, *, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return a text file, which is UTF-8 with or without a byte-order mark, or UTF-16 with one.

    Raises DataError if it cannot be read, is no text or has more than `max_bytes`.
    """
    try:
        if path.stat().st_size > max_bytes:
            raise DataError(f"{path} has more than {max_bytes >> 20} MiB.")
        data = path.read_bytes()
        utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        return data.decode("utf-16" if utf16 else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}.") from error


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file; raise DataError if it cannot be read."""
    return read_text(path).splitlines()


def writable_folder(folder: Path) -> Path:
    """Make `folder` and its parents unless they exist; raise DataError if files cannot be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise DataError(f"{folder} cannot be written to: {error.strerror}. Choose another folder.") from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; what is there gets its real name once it is whole.

    Raises DataError if the file system has no room or refuses.
    """
    temporary = path.with_name(path.name + ".partial")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
