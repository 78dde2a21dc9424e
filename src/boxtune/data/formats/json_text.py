"""JSON of unknown origin: read within bounds, and taken apart without surprises."""

import json
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from boxtune.data import findings as kinds
from boxtune.data.annotations import Annotation, AnnotationFile, Form, Format
from boxtune.data.findings import Kind, SkipError
from boxtune.data.formats.text import read_annotations

MAX_BYTES = 2**30
_TYPES = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "nothing"}


def json_format(
    name: str,
    title: str,
    belongs: Callable[[Any], bool],
    read: Callable[[AnnotationFile, Any], Iterator[Annotation]],
    *,
    normalized: bool = False,
    form: Form = "corners",
) -> Format:
    """Return a format of JSON files: those whose value `belongs` to it, which `read` takes beside the file."""
    return Format(
        name,
        title,
        frozenset({".json"}),
        lambda path: recognises(path, belongs),
        lambda file: read(file, load_format(file.path, belongs, title)),
        normalized=normalized,
        form=form,
    )


def load_json(path: Path) -> Any:
    """Return the value of a JSON file of at most MAX_BYTES; NaN and Infinity are taken as Python writes them.

    Raises SkipError (ANNOTATION_UNREADABLE) with the location if it cannot be read or is not JSON.
    """
    value = _last_file(path, *_version(path))
    _last_file.cache_clear()
    return value


def load_format(path: Path, belongs: Callable[[Any], bool], title: str) -> Any:
    """Return the value of a JSON file of one format; raise SkipError (also FOREIGN, if `belongs` says no)."""
    value = load_json(path)
    if not belongs(value):
        raise SkipError(kinds.FOREIGN, f"it is JSON, but not that of {title}.")
    return value


def recognises(path: Path, belongs: Callable[[Any], bool]) -> bool:
    """Say whether a file is JSON of a kind; False for whatever cannot be read.

    Formats are asked in turn about one file and one of them then reads it, so the last one is kept in between.
    """
    try:
        return belongs(_last_file(path, *_version(path)))
    except SkipError:
        return False


def as_dict(value: object, location: str, kind: Kind = kinds.ANNOTATION_UNREADABLE) -> dict[str, Any]:
    """Return a value that has to be a JSON object; raise SkipError of `kind` at `location` otherwise."""
    if not isinstance(value, dict):
        raise SkipError(kind, f"{location} is {_type_name(value)}, not an object.", location)
    return value


def as_list(value: object, location: str, kind: Kind = kinds.ANNOTATION_UNREADABLE) -> list[Any]:
    """Return a value that has to be a list; raise SkipError of `kind` at `location` otherwise."""
    if not isinstance(value, list):
        raise SkipError(kind, f"{location} is {_type_name(value)}, not a list.", location)
    return value


def dicts_in(value: object) -> list[dict[str, Any]]:
    """Return the objects that a list holds, none if it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def numbered(items: Iterable[Any], location: str) -> Iterator[tuple[str, Any]]:
    """Return the items of a list at `location`, each with its own location, such as "annotations[3]"."""
    return ((f"{location}[{number}]", item) for number, item in enumerate(items))


def as_text(value: object) -> str:
    """Return a string without blanks around it, or a whole number as one; an empty string for all else.

    Halves of surrogate pairs, which JSON can hold and no file can, become U+FFFD.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return format(value, "d") if abs(value) < 10**18 else ""
    if not isinstance(value, str):
        return ""
    return value.strip().encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def path_of_url(url: str) -> str:
    """Return the path in a URL, or for Label Studio's local files the value of d= in its query; "" if it has none."""
    try:
        parts = urlsplit(url)
        return parse_qs(parts.query).get("d", [""])[0] or unquote(parts.path)
    except ValueError:
        return ""


@lru_cache(maxsize=1)
def _last_file(path: Path, num_bytes: int, modified: int) -> Any:
    try:
        return json.loads(read_annotations(path, max_bytes=MAX_BYTES))
    except json.JSONDecodeError as error:
        location = f"line {error.lineno}, column {error.colno}"
        raise SkipError(kinds.ANNOTATION_UNREADABLE, f"it is not JSON: {error.msg}.", location) from error
    except RecursionError as error:
        raise SkipError(kinds.ANNOTATION_UNREADABLE, "it is nested too deeply.") from error
    except ValueError as error:  # a number of thousands of digits
        raise SkipError(kinds.ANNOTATION_UNREADABLE, str(error)) from error


def _version(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise SkipError(kinds.ANNOTATION_UNREADABLE, f"it cannot be read: {error.strerror}.") from error
    return status.st_size, status.st_mtime_ns


def _type_name(value: object) -> str:
    return _TYPES.get(type(value), "a number")
