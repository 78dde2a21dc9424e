"""The errors that users see: one line that says what, where and the way out."""

import difflib
import os
import shlex
import subprocess
from collections.abc import Iterable, Sequence

_READABLE = 400  # characters of a text that an error repeats


class BoxtuneError(Exception):
    """Something the user can fix. The command line prints it without a traceback and exits with status 2."""


class DataError(BoxtuneError):
    """Images, annotations, label maps or records that cannot be used."""


class ConfigError(BoxtuneError):
    """A pipeline.config, an override or an argument that cannot be used."""


class CheckpointError(BoxtuneError):
    """A checkpoint or an exported model that is absent, damaged or of another architecture."""


class WorkerLostError(BoxtuneError):
    """One of the processes that train together is gone. The command line restarts, and waits for it."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``' Did you mean "x"?'`` for the known word nearest to `word`, or an empty string."""
    near = nearest(word, known)
    return f' Did you mean "{near}"?' if near else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word nearest to `word`, or an empty string where none is near."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)), "")


def many(number: int, one: str, more: str = "") -> str:
    """Return a number of things: "1 image", "2,000 images", and of irregular nouns what `more` says."""
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"


def to_copy(*words: object) -> str:
    """Return words of a command line as a shell reads them, so that a printed command can be copied."""
    join = subprocess.list2cmdline if os.name == "nt" else shlex.join
    return join(list(map(str, words)))


def some(names: Sequence[str], most: int) -> str:
    """Return the first `most` of some names, for a message."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def escaped(text: str) -> str:
    """Return `text` with stray bytes and control characters escaped, but for the ends of lines."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def printable(text: str) -> str:
    """Return `text` in one line, with control characters and stray bytes escaped, cut to a readable length."""
    shown = escaped(text[:_READABLE]).replace("\n", r"\n")
    return shown if len(text) <= _READABLE else shown + "..."
