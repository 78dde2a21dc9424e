"""Text files of unknown origin: their first line, their whole text within bounds, and the rows of tables."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from boxtune.data.files import MAX_TEXT_BYTES, decoded, read_text
from boxtune.data.findings import ANNOTATION_UNREADABLE, SkipError, skipped_as

_PEEKED_BYTES = 2**16


def first_line(path: Path) -> str:
    """Return the first line that is not blank of the first 64 KiB of a file; "" if it has none or cannot be read."""
    return first_line_of(first_text(path))


def start_of(path: Path) -> bytes:
    """Return the first 64 KiB of a file; nothing if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_PEEKED_BYTES)
    except OSError:
        return b""


def first_text(path: Path) -> str:
    """Return the first 64 KiB of a file as text; "" if it cannot be read."""
    try:
        return decoded(start_of(path), errors="replace")
    except UnicodeError:
        return ""


def first_line_of(text: str) -> str:
    """Return the first line that is not blank of a text, "" if there is none."""
    return next((line for line in text.splitlines() if line.strip()), "")


def read_annotations(path: Path, *, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return the text of a file of at most `max_bytes`; raise SkipError (ANNOTATION_UNREADABLE)."""
    with skipped_as(ANNOTATION_UNREADABLE):
        text = read_text(path, max_bytes=max_bytes)
    return text


def fields_of_lines(text: str) -> list[tuple[str, list[str]]]:
    """Return the fields, separated by blanks, of each line that has any, with its location."""
    lines = enumerate(text.split("\n"), start=1)
    return [(f"line {number}", line.split()) for number, line in lines if line.strip()]


def csv_rows(text: str, separator: str = ",") -> Iterator[tuple[str, list[str]]]:
    """Yield the cells of each row that has any, with its location; raise SkipError (ANNOTATION_UNREADABLE)."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    line = 1
    try:
        for cells in reader:
            location, line = f"line {line}", reader.line_num + 1
            if any(map(str.strip, cells)):
                yield location, cells
    except csv.Error as error:
        raise SkipError(ANNOTATION_UNREADABLE, f"it is not CSV: {error}.", f"line {line}") from error
