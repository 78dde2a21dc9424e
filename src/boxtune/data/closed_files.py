"""Files that may hold annotations and that no format can open, with what they are and the way out."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from boxtune.data.files import gunzip
from boxtune.data.findings import SkipError
from boxtune.data.formats import json_text, xml_tree
from boxtune.data.formats.text import start_of
from boxtune.data.listing import Listing
from boxtune.errors import to_copy

_SHEETS = frozenset((".xlsx", ".xlsm", ".xls", ".ods", ".numbers"))
_ARCHIVES = frozenset((".zip", ".tar", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"))
_TEXTS = (".csv", ".tsv", ".json", ".xml")


def closed_files(listing: Listing, read: frozenset[str], num_files: int) -> Iterator[tuple[Path, str]]:
    """Yield files with why they cannot be opened: of each kind about `num_files` are looked into, none of those endings
    that are `read` anyway."""
    for suffixes in (_SHEETS, _ARCHIVES, *(frozenset({suffix}) for suffix in _TEXTS)):
        for path in listing.spread(suffixes - read, num_files):
            if reason := why_closed(path):
                yield path, reason


def why_closed(path: Path) -> str:
    """Say why a file of such an ending cannot be opened, "" if it can."""
    suffix, start = path.suffix.lower(), start_of(path)
    is_tar = suffix in (".tgz", ".tbz2", ".txz") or ".tar" in map(str.lower, path.suffixes)
    if suffix in _SHEETS or (suffix in _TEXTS and start.startswith((b"PK\3\4", b"\xd0\xcf\x11\xe0"))):
        return "it is a spreadsheet or an archive, not text. Export the table as CSV."
    if start.startswith(b"\x1f\x8b") and not is_tar:
        return f"it is compressed with gzip. Unpack it (in its folder: {gunzip(path)})."
    if suffix in _ARCHIVES:
        command = ["tar", "-xf"] if is_tar else ["unzip"] if suffix == ".zip" else []
        how = f" (in its folder: {to_copy(*command, path.name)})" if command else ""
        return f"it is an archive, which is not looked into. Unpack it{how}."
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS. Fetch the file itself (git lfs pull)."
    return _why_no_text(start) or _why_not_parsed(path)


def _why_no_text(start: bytes) -> str:
    encoding = "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(start)
    except UnicodeDecodeError as error:
        return f"it is not text in UTF-8: its byte {error.start} is 0x{start[error.start]:02x}. Save it as UTF-8."
    if "\0" in text:
        return "it is not text in UTF-8: it holds null characters. Save it as UTF-8."
    return "" if text.strip() else "it is empty."


def _why_not_parsed(path: Path) -> str:
    """Say why JSON or XML is none, "" if it is."""
    parsers = {".json": json_text.load_json, ".xml": xml_tree.read_xml}
    try:
        if parse := parsers.get(path.suffix.lower()):
            parse(path)
    except SkipError as error:
        return f"{error.location}: {error}" if error.location else str(error)
    return ""
