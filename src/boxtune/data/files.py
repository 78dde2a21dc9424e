"""Folders and files of unknown origin: listing them without leaving the folder, writing them whole."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from boxtune.data.records import Finding, Severity
from boxtune.errors import DataError

_READABLE = 400


def list_files(folder: Path, findings: list[Finding]) -> list[Path]:
    """Return all files below `folder`, in byte order of their paths.

    A link that leads out of the folder is refused, a linked folder and whatever is hidden (its name begins
    with a dot) are not entered; each adds a finding. Raises DataError if a folder cannot be read.
    """
    root = folder.resolve()
    found = []
    pending = [folder]
    while pending:
        for path in _entries(pending.pop()):
            if path.name.startswith("."):
                reason = "its name begins with a dot"
            elif path.is_symlink() and not path.resolve().is_relative_to(root):
                reason = "it is a link that leads out of the folder; copy what it points to into the folder"
            elif path.is_symlink() and path.is_dir():
                reason = "it is a link to a folder"
            elif path.is_dir():
                pending.append(path)
                continue
            else:
                found.append(path)
                continue
            name = path.relative_to(folder).as_posix()
            findings.append(Finding("not looked at", Severity.NOTED, name, reason))
    return sorted((path for path in found if path.is_file()), key=os.fsencode)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir(), key=os.fsencode)
    except OSError as error:
        raise DataError(f"{printable(str(folder))} cannot be read: {error.strerror}.") from error


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 text file; raise DataError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}.") from error


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
    """Give a temporary name beside `path` to write to; what is there gets its real name once it is whole."""
    temporary = path.with_name(path.name + ".partial")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def printable(text: str) -> str:
    """Return `text` with control characters and stray bytes escaped, and cut to what a person would read."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:_READABLE])
    return shown if len(text) <= _READABLE else shown + "..."
