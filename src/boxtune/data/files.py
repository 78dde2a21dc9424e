"""Files of unknown origin: reading them safely, writing them whole."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from boxtune.errors import DataError

MAX_TEXT_BYTES = 2**30


def read_text(path: Path, *, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return a text file, which is UTF-8 with or without a byte-order mark, or UTF-16 with one.

    Raises DataError if it cannot be read, is not text or has more than `max_bytes`.
    """
    try:
        if path.stat().st_size > max_bytes:
            raise DataError(f"{path} has more than {max_bytes >> 20} MiB.")
        return decoded(path.read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}.") from error


def decoded(data: bytes, *, errors: str = "strict") -> str:
    """Return the text of a file's bytes, as `read_text` does; `errors` as of `bytes.decode`."""
    utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    return data.decode("utf-16" if utf16 else "utf-8-sig", errors)


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


def write_text(path: Path, text: str) -> None:
    """Write a text file as UTF-8, whole or not at all; raise DataError if that fails."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; it gets its real name once it is complete.

    Raises DataError if the file system has no room or refuses.
    """
    temporary = path.with_name(path.name + ".partial")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):  # which has been reported
            temporary.unlink()
