"""Files of unknown origin: reading them safely, writing them whole; and folders into which one process writes."""

import json
import logging
import os
import platform
import shutil
import stat
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from boxtune.errors import DataError, printable, to_copy

MAX_TEXT_BYTES = 2**30

LOCK = ".lock"
"""In a folder into which a process writes, as long as it does: which process that is."""

PARTIAL = ".partial-"
"""The start of the names of folders that hold what is not complete yet."""

Paths: TypeAlias = str | Path | Sequence[str | Path]
"""One path or several, as callers give them."""

_COPYING = {"gs": "gsutil -m cp -r {} .", "s3": "aws s3 cp --recursive {} FOLDER"}
_LONGEST_NAME = 150  # bytes of a file's name that a temporary name repeats; file systems take 255

_log = logging.getLogger("boxtune")


def paths_of(paths: Paths) -> list[Path]:
    """Return one path or several as a list."""
    return [Path(paths)] if isinstance(paths, str | Path) else list(map(Path, paths))


def read_text(path: Path, *, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return a text file, which is UTF-8 with or without a byte-order mark, or UTF-16 with one.

    Raises DataError if it cannot be read, is not text or has more than `max_bytes`.
    """
    try:
        return decoded(read_bytes(path, max_bytes=max_bytes))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not text in UTF-8: its byte {error.start} is 0x{error.object[error.start]:02x}. Save it as"
            " UTF-8."
        ) from error


def read_bytes(path: Path, *, max_bytes: int) -> bytes:
    """Return what a file holds.

    Raises OSError or DataError if it cannot be read, is no file, as a pipe is, or has more than `max_bytes`.
    """
    require_files([path])
    if path.stat().st_size > max_bytes:
        raise DataError(f"{path} has more than {max_bytes >> 20} MiB.")
    return path.read_bytes()


def require_files(paths: Iterable[Path]) -> None:
    """Raise DataError for the first path that is no file, as a pipe is, from which reading may never end."""
    for path in paths:
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
            raise DataError(f"{path} is {what}, not a file.")


def refuse_remote(path: Path) -> None:
    """Raise DataError for a URL, from which nothing is read, with the command that copies what it names."""
    scheme, slash, rest = path.as_posix().partition(":/")
    if slash and len(scheme) > 1 and scheme.isalnum() and not path.exists():
        url = f"{scheme}://{rest}"
        command = f": {_COPYING[scheme].format(to_copy(url))}" if scheme in _COPYING else "."
        fault = f"{url} is not on this machine, and nothing is read from elsewhere."
        raise DataError(f"{fault} Copy it first{command}")


def decoded(data: bytes, *, errors: str = "strict") -> str:
    """Return the text of a file's bytes, as `read_text` does; `errors` as of `bytes.decode`."""
    utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    return data.decode("utf-16" if utf16 else "utf-8-sig", errors)


def gunzip(path: Path) -> str:
    """Return the command that unpacks a file that is compressed with gzip, in its folder."""
    compressed = path.name if path.suffix.lower() == ".gz" else f"{path.name}.gz"
    command = to_copy("gunzip", compressed)
    return command if compressed == path.name else f"{to_copy('mv', path.name, compressed)} && {command}"


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
def writing(path: Path) -> Iterator[None]:
    """Raise DataError where a file system has no room for a file or folder, or refuses it."""
    try:
        yield
    except Exception as error:
        tensorflow = sys.modules.get("tensorflow")  # if that writes, it is loaded
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
        elif tensorflow and isinstance(error, tensorflow.errors.OpError):
            reason = error.message.strip().rstrip(".")
        else:
            raise
        raise DataError(f"{path} cannot be written: {printable(reason)}.") from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; it gets its real name once it is complete.

    Raises DataError if the file system has no room or refuses.
    """
    # Always the same name, so that what a killed process left is written over, and that of no other file.
    name = os.fsencode(path.name)
    mark = f"-{zlib.crc32(name):08x}" if len(name) > _LONGEST_NAME else ""
    temporary = path.with_name(f"{os.fsdecode(name[:_LONGEST_NAME])}{mark}.partial")
    try:
        with writing(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        with suppress(OSError):  # which has been reported
            temporary.unlink()


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes from writing into a folder; this one may hold it several times.

    The operating system releases the lock when the process ends, however that comes. What a killed process left
    incomplete is removed. Raises DataError naming the process that holds the folder.
    """
    lock = _lock(writable_folder(folder))
    try:
        _acquire(lock, folder)
    except OSError as error:
        _log.warning("%s cannot be locked (%s): start no other command that writes there.", folder, error)
        yield
        return
    try:
        if lock.lock_counter == 1:
            for path in folder.glob(f"{PARTIAL}*/"):
                shutil.rmtree(path, ignore_errors=True)
        yield
    finally:
        if lock.lock_counter == 1:
            with suppress(OSError):  # Windows removes no file that is open; it is written over then
                (folder / LOCK).unlink()
        lock.release()


@contextmanager
def lent(folder: Path) -> Iterator[None]:
    """Let a process that this one starts hold a folder that this one holds, if it does."""
    lock = _lock(folder)
    count = lock.lock_counter
    lock.release(force=True)
    try:
        yield
    finally:
        for _ in range(count):
            _acquire(lock, folder)


def _lock(folder: Path) -> Any:
    from filelock import FileLock  # here: what measures on GPUs reads files where it is not installed

    return FileLock(folder.resolve() / LOCK, timeout=0, is_singleton=True)


def _acquire(lock: Any, folder: Path) -> None:
    """Acquire the lock of a folder, and write into its file who has it; raise DataError if another process has."""
    from filelock import Timeout

    try:
        lock.acquire()
    except Timeout:
        reason = f"{folder} is in use by {_holder(folder)}."
        raise DataError(f"{reason} Wait until it has ended, or give another folder.") from None
    holder = {
        "pid": os.getpid(),
        "host": platform.node(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": to_copy(*sys.argv),
    }
    with suppress(OSError):  # it holds on a full disk, too
        (folder / LOCK).write_text(json.dumps(holder) + "\n", encoding="utf-8")


def _holder(folder: Path) -> str:
    """Return which process holds a folder, as far as the lock's file says."""
    try:
        holder = json.loads((folder / LOCK).read_text(encoding="utf-8"))
        return printable("process {pid} on {host}, since {since}: {command}".format_map(holder))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return "another process"
