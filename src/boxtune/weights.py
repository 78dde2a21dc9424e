"""Weights to start from: on this machine, or by name or URL, downloaded once, kept and checked at every use."""

import gzip
import hashlib
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import requests
import rich.console
import rich.progress

from boxtune.config import zoo
from boxtune.data.files import PARTIAL, held, read_bytes, whole_file, writing
from boxtune.data.http import TIMEOUT, failure, without_secrets
from boxtune.errors import BoxtuneError, CheckpointError, ConfigError, printable, to_copy

CACHE, MIRROR = "BOXTUNE_CACHE", "BOXTUNE_WEIGHTS_URL"
"""Environment variables: the folder in which downloads are kept, and a place to take those of the zoo from."""

ARCHIVES = (".tar.gz", ".tgz", ".tar")
MAX_DOWNLOAD = 4 * 2**30
"""Bytes. The zoo's largest has 0.4 GiB."""
MAX_RATIO, MAX_MEMBERS, MAX_HEADER = 20, 10_000, 2**20
"""What an archive may hold: bytes for each of its own (beyond 64 MiB), files, and bytes in a header of one."""
ATTEMPTS = 5
"""To go on with a download that breaks off without a new byte."""

_ARCHIVE, _FILES, _RECORD = "archive", "files", "download.json"
_BLOCK = 2**16


@dataclass(frozen=True)
class Download:
    """What is known of a download that was unpacked."""

    source: str
    """The URL or path that it came from."""
    sha256: str
    """Of the archive, when it came first."""
    date: str
    files: dict[str, str]
    """SHA-256 of each file, by its path in the archive."""


def cache() -> Path:
    """Return the folder in which downloads are kept."""
    if own := os.environ.get(CACHE):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "boxtune"


def kept() -> dict[str, Download]:
    """Return what the cache holds, by the names of its folders."""
    return {path.parent.name: _read_record(path) for path in sorted(cache().glob(f"*/{_RECORD}"))}


def locate(given: str | Path, sha256: str | None = None) -> Path:
    """Return the folder, prefix or file of the weights that `given` stands for; download them if they are elsewhere.

    Args:
        given: a folder, a checkpoint's prefix or file, an archive (ARCHIVES), the URL of one, or the name of a model in
            the zoo or the beginning of it. What is on this machine goes before a name.
        sha256: that the archive has to have, as hexadecimal digits; by default that of the first download.

    Raises:
        ConfigError: if nothing has this name, or a SHA-256 is given for what is no archive.
        CheckpointError: if it cannot be downloaded or unpacked, or is not what it was.
    """
    if sha256 is not None and (len(sha256) != 64 or not set(sha256.lower()) <= set("0123456789abcdef")):
        raise ConfigError(f'sha256 "{sha256}": 64 hexadecimal digits are needed')
    expected, text = sha256 and sha256.lower(), str(given)
    if text.lower().startswith(("http://", "https://")):
        digest = hashlib.sha256(text.encode()).hexdigest()
        return _from_cache(f"{_stem(PurePosixPath(urlsplit(text).path).name)}-{digest[:8]}", text, expected)
    path = Path(given)
    if path.is_file() and path.name.lower().endswith(ARCHIVES):
        return _from_archive(path, expected)
    if not (path.exists() or Path(f"{path}.index").exists() or _is_path(text)):
        model = _named(text)
        return _from_cache(model.name, _address(model), expected)
    if expected:
        raise ConfigError(f"sha256 is that of an archive or a download, and {path} is none")
    return path


def _is_path(text: str) -> bool:
    """Return whether a text can only be meant as a path."""
    return "/" in text or os.sep in text or text.startswith(".")


def _named(name: str) -> zoo.ZooModel:
    try:
        return zoo.find(name)
    except ConfigError as error:
        raise ConfigError(f"{name}: no such folder or archive; and as a name, {error}") from None


def _address(model: zoo.ZooModel) -> str:
    mirror = os.environ.get(MIRROR)
    return f"{mirror.rstrip('/')}/{model.name}.tar.gz" if mirror else model.address


def _stem(name: str) -> str:
    """Return the name of an archive without its ending, fit for the name of a folder."""
    for ending in ARCHIVES:
        name = name.removesuffix(ending)
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name[:100]).strip(".") or "weights"


def _from_archive(path: Path, expected: str | None) -> Path:
    """Return the folder in the cache with what an archive on this machine holds."""
    digest = _sha256(path)
    _require_hash(digest, expected, str(path), "--sha256")
    folder = cache() / f"{_stem(path.name)}-{digest[:8]}"
    with held(folder):
        if _unpacked(folder) is None:
            _unpack_into(folder, path, str(path.absolute()), digest)
    return _top(folder / _FILES)


def _from_cache(name: str, url: str, expected: str | None) -> Path:
    """Return the folder in the cache with what an archive at a URL holds, downloaded unless it is there."""
    folder, source = cache() / name, without_secrets(url)
    with held(folder):
        record = _unpacked(folder)
        if record is None:
            archive, before = folder / _ARCHIVE, folder / _RECORD
            print(f"Downloading {source} to {folder}", flush=True)
            _download(url, archive)
            digest = _sha256(archive)
            try:
                _require_hash(digest, expected, source, "--sha256")
                if before.exists():
                    first = _read_record(before)
                    _require_hash(
                        digest, first.sha256, source, f"the first download of {first.date}, {before},"
                    )
                _unpack_into(folder, archive, source, digest)
            finally:
                archive.unlink()  # whole, or of no use
        else:
            _require_hash(record.sha256, expected, f"{folder}, from {record.source},", "--sha256")
    return _top(folder / _FILES)


def _require_hash(digest: str, expected: str | None, what: str, whose: str) -> None:
    if expected not in (None, digest):
        raise CheckpointError(
            f"{what} has the SHA-256 {digest}, and that of {whose} is {expected}: it is another file. If that is "
            "meant, give its own, or remove what was kept"
        )


def _unpacked(folder: Path) -> Download | None:
    """Return what was unpacked in a folder of the cache, if it was, after checking that every file is as it was."""
    files = folder / _FILES
    if not files.is_dir():
        return None
    record = _read_record(folder / _RECORD)
    there = {path.relative_to(files).as_posix() for path in files.rglob("*") if not path.is_dir()}
    for name in sorted(there ^ record.files.keys()):
        raise _changed(files / name, record, "was added" if name in there else "is gone")
    for name, digest in record.files.items():
        if _sha256(files / name) != digest:
            raise _changed(files / name, record, "has changed")
    return record


def _changed(path: Path, record: Download, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path} {what} since it was unpacked from {record.source} on {record.date}. Remove the folder "
        f"{path.relative_to(cache()).parts[0]} of {cache()} to begin anew"
    )


def _read_record(path: Path) -> Download:
    try:
        record = Download(**json.loads(read_bytes(path, max_bytes=2**24)))
        if not all(isinstance(value, str) for value in (record.source, record.sha256, record.date)):
            raise TypeError
        return Download(
            record.source, record.sha256, record.date, {str(k): str(v) for k, v in record.files.items()}
        )
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, BoxtuneError) as error:
        raise CheckpointError(f"{path} is damaged. Remove the folder {path.parent} to begin anew") from error


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _top(files: Path) -> Path:
    """Return the folder that an archive consists of, or that of all its files."""
    there = list(files.iterdir())
    return there[0] if len(there) == 1 and there[0].is_dir() else files


# Downloading


def _download(url: str, target: Path) -> None:
    """Download a file; go on with what is there of it, and again where it breaks off."""
    partial, source = target.with_suffix(".partial"), without_secrets(url)
    failures = 0
    while True:
        before = _size(partial)
        try:
            if _fetch(url, partial):
                break
            reason = "the connection broke off"
        except requests.RequestException as error:
            reason = failure(error)
        failures = 0 if _size(partial) > before else failures + 1
        if failures == ATTEMPTS:
            got = (
                f" after {_size(partial):,} bytes, which are kept: the same command goes on from there"
                if _size(partial)
                else ""
            )
            raise CheckpointError(f"{source} cannot be downloaded: {reason}{got}.{_ways(url)}")
        time.sleep(min(2**failures - 1, 8))
    os.replace(partial, target)


def _fetch(url: str, partial: Path) -> bool:
    """Write what is missing of a file; return whether it is complete."""
    have, version = _size(partial), partial.with_suffix(".etag")
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if version.exists():
            headers["If-Range"] = version.read_text()
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            partial.unlink(missing_ok=True)  # of another version, or of a server that said its size wrong
            return False
        _check_status(response, url)
        if have and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            have = 0
        total = _length(response)
        if total is not None:
            total += have
            if total > MAX_DOWNLOAD:
                raise _too_large(url, partial)
        etag = response.headers.get("ETag", "")
        if etag and not etag.startswith("W/"):
            version.write_text(etag)
        else:
            version.unlink(missing_ok=True)
        with open(partial, "ab" if have else "wb", buffering=0) as file:
            for block in _shown(response.iter_content(_BLOCK), have, total):
                have += len(block)
                if have > MAX_DOWNLOAD:
                    raise _too_large(url, partial)
                with writing(partial):
                    file.write(block)
    return total is None or have == total


def _check_status(response: requests.Response, url: str) -> None:
    """Raise CheckpointError for what will not change, requests.HTTPError for what may be better the next time."""
    if response.status_code >= 400:
        answer = f"the server answers {response.status_code} {response.reason}"
        if response.status_code >= 500 or response.status_code == requests.codes.too_many_requests:
            raise requests.HTTPError(answer)
        raise CheckpointError(f"{without_secrets(url)}: {answer}.{_ways(url)}")


def _length(response: requests.Response) -> int | None:
    """Return how many bytes follow, if the server says so."""
    length = response.headers.get("Content-Length", "")
    known = length.isdecimal() and len(length) < 20 and "Content-Encoding" not in response.headers
    return int(length) if known else None


def _too_large(url: str, partial: Path) -> CheckpointError:
    partial.unlink(missing_ok=True)
    return CheckpointError(
        f"{without_secrets(url)} has more than {MAX_DOWNLOAD >> 30} GiB: it is not downloaded"
    )


def _shown(blocks: Iterator[bytes], have: int, total: int | None) -> Iterator[bytes]:
    """Yield blocks of bytes, with a bar of progress where somebody looks on."""
    console = rich.console.Console(stderr=True)
    columns = (
        rich.progress.BarColumn(),
        rich.progress.DownloadColumn(),
        rich.progress.TransferSpeedColumn(),
        rich.progress.TimeRemainingColumn(),
    )
    with rich.progress.Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", completed=have, total=total)
        for block in blocks:
            yield block
            bar.advance(task, len(block))


def _ways(url: str) -> str:
    """Return what to do where a download fails."""
    name = PurePosixPath(urlsplit(url).path).name
    return (
        f" Behind a proxy set HTTPS_PROXY and HTTP_PROXY; from a mirror set {MIRROR} to its folder; without a network "
        f"download it elsewhere, copy it here, and give {to_copy('--checkpoint', name)}"
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


# Unpacking


class _Bounded:
    """A file of an archive that refuses to read more at once than a header may have, so that none fills the memory."""

    def __init__(self, file: Any):
        self._file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int) -> bytes:
        if size > MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


def _unpack_into(folder: Path, archive: Path, source: str, digest: str) -> None:
    """Unpack an archive into a folder of the cache, and record what came."""
    with open(archive, "rb") as raw:
        is_packed = raw.read(2) == b"\x1f\x8b"
    with tempfile.TemporaryDirectory(dir=folder, prefix=PARTIAL) as made:
        try:
            with gzip.open(archive) if is_packed else open(archive, "rb") as file:
                files = unpack(file, Path(made) / _FILES, MAX_RATIO * _size(archive) + 2**26)
        except (tarfile.TarError, EOFError, gzip.BadGzipFile, ValueError, OverflowError) as error:
            raise CheckpointError(f"{source} is no whole tar archive: {printable(str(error))}") from None
        except CheckpointError as error:
            raise CheckpointError(f"{source}: {error}") from None
        record = Download(source, digest, date.today().isoformat(), files)
        with whole_file(folder / _RECORD) as temporary:
            temporary.write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")
        os.replace(Path(made) / _FILES, folder / _FILES)


def unpack(file: BinaryIO | gzip.GzipFile, folder: Path, max_bytes: int) -> dict[str, str]:
    """Unpack the files of a tar archive into a folder; return the SHA-256 of each by its path.

    Raises:
        CheckpointError: if it holds anything but files and folders, a path that leaves the folder, more than
            MAX_MEMBERS of them or more than `max_bytes`.
        tarfile.TarError, EOFError, OSError: if it is none, or damaged.
    """
    hashes: dict[str, str] = {}
    with tarfile.open(fileobj=_Bounded(file), mode="r:") as archive:  # type: ignore[call-overload]
        for number, member in enumerate(archive):
            path, max_bytes = PurePosixPath(member.name), max_bytes - member.size
            if not (member.isfile() or member.isdir()):
                raise CheckpointError(
                    f'holds "{printable(member.name)}", which is no file: a link or a device'
                )
            if path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name:
                raise CheckpointError(
                    f'holds "{printable(member.name)}", a path that may lead out of its folder'
                )
            if number >= MAX_MEMBERS or max_bytes < 0:
                raise CheckpointError("holds far more than weights do: it is not unpacked")
            if member.isdir():
                (folder / path).mkdir(parents=True, exist_ok=True)
            else:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                hashes[path.as_posix()] = _write(archive.extractfile(member), folder / path)
    while block := file.read(_BLOCK):  # to its end, where its checksum is
        max_bytes -= len(block)
        if max_bytes < 0:
            raise CheckpointError("holds far more than weights do: it is not unpacked")
    if not hashes:
        raise CheckpointError("holds no files")
    return hashes


def _write(source: Any, target: Path) -> str:
    digest = hashlib.sha256()
    with open(target, "wb", buffering=0) as file:
        while block := source.read(_BLOCK):
            digest.update(block)
            with writing(target):
                file.write(block)
    return digest.hexdigest()
