"""Text files of unknown origin: their first line, and their whole text within bounds."""

from pathlib import Path

from boxtune.data.files import decoded, read_text
from boxtune.data.findings import ANNOTATION_UNREADABLE, SkipError
from boxtune.errors import DataError

_PEEKED_BYTES = 2**16


def first_line(path: Path) -> str:
    """Return the first line that is not blank of the first 64 KiB of a file; "" if it has none or cannot be read."""
    return first_line_of(first_text(path))


def first_text(path: Path) -> str:
    """Return the first 64 KiB of a file; "" if it cannot be read."""
    try:
        with path.open("rb") as file:
            return decoded(file.read(_PEEKED_BYTES), errors="replace")
    except (OSError, UnicodeError):
        return ""


def first_line_of(text: str) -> str:
    """Return the first line that is not blank of a text, "" if there is none."""
    return next((line for line in text.splitlines() if line.strip()), "")


def read_annotations(path: Path, *, max_bytes: int) -> str:
    """Return the text of a file of at most `max_bytes`; raise SkipError (ANNOTATION_UNREADABLE)."""
    try:
        return read_text(path, max_bytes=max_bytes)
    except DataError as error:
        raise SkipError(ANNOTATION_UNREADABLE, str(error)) from error


def fields_of_lines(text: str) -> list[tuple[str, list[str]]]:
    """Return the fields, separated by blanks, of each line that has any, with its location."""
    lines = enumerate(text.split("\n"), start=1)
    return [(f"line {number}", line.split()) for number, line in lines if line.strip()]
