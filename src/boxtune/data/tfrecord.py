"""TFRecord files: finding each record, and reading it.

None of it needs TensorFlow, which reads and writes the same files.
"""

import os
import struct
import threading
import weakref
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import google_crc32c
import numpy as np
from google.protobuf.message import DecodeError

from boxtune.data.example_pb2 import BytesList, Example, Feature, FloatList, Int64List
from boxtune.data.files import gunzip
from boxtune.errors import DataError

MAX_RECORD_BYTES = 2**30
MAX_OBJECTS = 5000
"""Of an image: training compares each with every anchor, which takes gigabytes of memory from here on."""
# Before a record: its length (uint64) and a checksum of that (uint32). After it: a checksum of the record.
_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")


_ENCODED = "image/encoded"
_seeking = threading.Lock()
# The API's types of the lists that are read, and what to call them.
_TYPES = {
    **dict.fromkeys((_ENCODED, "image/filename", "image/source_id", "image/object/class/text"), "bytes_list"),
    **{f"image/object/bbox/{side}": "float_list" for side in ("ymin", "xmin", "ymax", "xmax")},
    **{f"image/object/{key}": "float_list" for key in ("weight", "area", "class/multiclass_scores")},
    **{f"image/object/{key}": "int64_list" for key in ("class/label", "is_crowd", "difficult", "group_of")},
}
_TYPE_NAMES = {"bytes_list": "bytes", "float_list": "floats", "int64_list": "whole numbers (int64)"}


def parse_example(data: bytes) -> Example:
    """Return a serialized Example; raise DataError if it is not one."""
    try:
        return Example.FromString(data)
    except DecodeError as error:
        raise DataError("it is not a tf.train.Example.") from error


def correct_types(example: Example) -> dict[str, str]:
    """Give the lists of an Example the types that the API reads, where no value changes; say of each key what it held.

    Raises:
        DataError: if a list has values that are not of its type.
    """
    features = example.features.feature
    changed = {}
    for key, wanted in _TYPES.items():
        written = features[key].WhichOneof("kind") if key in features else None
        if written not in (None, wanted):
            values = getattr(features[key], written).value
            features[key].CopyFrom(_converted(key, values, written, wanted))
            changed[key] = f"{key} holds {_TYPE_NAMES[written]}, not {_TYPE_NAMES[wanted]}"
    return changed


def _converted(key: str, values: Sequence[Any], written: str, wanted: str) -> Feature:
    if wanted == "float_list" and written == "int64_list":
        return Feature(float_list=FloatList(value=values))
    if wanted == "bytes_list" and written == "int64_list" and key != _ENCODED:
        return Feature(bytes_list=BytesList(value=[str(value).encode() for value in values]))
    if wanted == "int64_list" and written == "float_list" and all(map(_is_int64, values)):
        return Feature(int64_list=Int64List(value=map(int, values)))
    if not values:
        return Feature(**{wanted: getattr(Feature(), wanted)})
    raise DataError(f"{key} holds {_TYPE_NAMES[written]}, not {_TYPE_NAMES[wanted]}.")


def _is_int64(value: float) -> bool:
    return value.is_integer() and -(2**63) <= value < 2**63


def read_at(descriptor: int, length: int, position: int) -> bytes:
    """Return what an open file holds from a byte on, whatever other threads read from it."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, length, position)
    with _seeking:  # Windows cannot do both at once
        os.lseek(descriptor, position, os.SEEK_SET)
        return os.read(descriptor, length)


def first_record(path: Path) -> bytes:
    """Return the first record of a file; raise DataError if there is none, reading no more than that."""
    descriptor = _open(path)
    try:
        length = _length_at(descriptor, path, number=0, position=0)
        data = read_at(descriptor, length, _HEADER.size)
    finally:
        os.close(descriptor)
    if len(data) < length:
        raise _cut_short(path, number=0, position=0)
    return data


def encoded_image(path: Path, span: tuple[int, int]) -> bytes:
    """Return the image's bytes of the record at `span` (offset, length) of a file; raise DataError."""
    offset, length = span
    descriptor = _open(path)
    try:
        example = parse_example(read_at(descriptor, length, offset))
    finally:
        os.close(descriptor)
    values = example.features.feature[_ENCODED].bytes_list.value
    if not values:
        raise DataError(f"the record at byte {offset} holds no image.")
    return values[0]


def framed(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Return a record with its header and footer."""
    length = struct.pack("<Q", len(data))
    return _HEADER.pack(len(data), _masked_crc32c(length)), data, _FOOTER.pack(_masked_crc32c(data))


class RecordIndex:
    """Where each record of some TFRecord files lies; gives any of them, from any thread.

    Only lengths and their checksums are read beforehand, not the records: 12 bytes for each.

    Attributes:
        paths: the files, in the given order.
        file_numbers: int32 [n], the position in `paths` of each record's file.
        offsets: int64 [n], the byte where each record starts, behind its header.
        lengths: int64 [n], the bytes of each record.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Scan the files.

        Raises:
            DataError: a file cannot be opened, is not a TFRecord or is cut short (with the byte where), a record
                has more than MAX_RECORD_BYTES, or there is no record at all.
        """
        self.paths = tuple(paths)
        self._descriptors: list[int] = []
        self.close = weakref.finalize(self, _close, self._descriptors)
        scans = []
        for path in self.paths:
            self._descriptors.append(_open(path))
            scans.append(_scan(self._descriptors[-1], path))
        if not any(len(scan) for scan in scans):
            where = ", ".join(map(str, paths)) or "the empty list of files"
            raise DataError(f"There is no record in {where}.")
        self.file_numbers = np.repeat(np.arange(len(scans), dtype=np.int32), [len(scan) for scan in scans])
        self.offsets, self.lengths = np.concatenate(scans).T

    def __len__(self) -> int:
        return len(self.offsets)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def read(self, index: int) -> bytes:
        """Return record `index` in [0, n), unchecked: damage in it shows when it is parsed or decoded.

        Raises DataError if the file has become shorter since it was scanned.
        """
        return self._read(index, 0)

    def read_intact(self, index: int) -> bytes:
        """Return record `index` in [0, n); raise DataError if its checksum says that it was damaged."""
        data = self._read(index, _FOOTER.size)
        record = data[: -_FOOTER.size]
        if _FOOTER.unpack(data[-_FOOTER.size :]) != (_masked_crc32c(record),):
            file, offset = self.paths[self.file_numbers[index]], self.offsets[index]
            raise DataError(f"{file} is damaged: the record at byte {offset} is not what was written.")
        return record

    def _read(self, index: int, num_bytes_behind: int) -> bytes:
        file_number, offset = int(self.file_numbers[index]), int(self.offsets[index])
        length = int(self.lengths[index]) + num_bytes_behind
        data = read_at(self._descriptors[file_number], length, offset)
        if len(data) < length:
            path = self.paths[file_number]
            raise DataError(f"{path} was changed while in use: byte {offset} is beyond its end.")
        return data


def _open(path: Path) -> int:
    if not os.path.isfile(path):
        raise DataError(f"{path} is not a file.")
    try:
        return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))  # the latter is of Windows
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror}.") from error


def _close(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


def _scan(descriptor: int, path: Path) -> np.ndarray:
    """Return int64 [n, 2], the offset and length of each record of a file."""
    file_size = os.fstat(descriptor).st_size
    found = array("q")
    position = 0
    while position < file_size:
        length = _length_at(descriptor, path, number=len(found) // 2, position=position)
        found.extend((position + _HEADER.size, length))
        position += _HEADER.size + length + _FOOTER.size
    if position > file_size:
        raise _cut_short(path, len(found) // 2 - 1, found[-2] - _HEADER.size)
    return np.array(found, np.int64).reshape(-1, 2)


def _length_at(descriptor: int, path: Path, *, number: int, position: int) -> int:
    """Return the length of record `number`, whose header is at a byte; raise DataError if none starts there."""
    header = read_at(descriptor, _HEADER.size, position)
    if len(header) < _HEADER.size:
        raise _cut_short(path, number, position)
    length, checksum = _HEADER.unpack(header)
    if _masked_crc32c(header[:8]) != checksum:
        raise _not_a_record(path, header, position)
    if length > MAX_RECORD_BYTES:
        raise DataError(f"{path}: the record at byte {position} has {length} bytes, over the limit of 1 GiB.")
    return int(length)


def _cut_short(path: Path, number: int, position: int) -> DataError:
    return DataError(
        f"{path} is cut short: record {number}, which starts at byte {position}, is not whole."
        " Write or copy the file again."
    )


def _not_a_record(path: Path, header: bytes, position: int) -> DataError:
    if position == 0 and header.startswith(b"\x1f\x8b"):
        return DataError(f"{path} is compressed with gzip. Unpack it (in its folder: {gunzip(path)}).")
    if position == 0 and header[0] == 0x78 and int.from_bytes(header[:2], "big") % 31 == 0:  # RFC 1950
        return DataError(f"{path} is compressed with zlib. Write it again without compression.")
    if position == 0:
        return DataError(f"{path} is not a TFRecord file: its first bytes are {header!r}.")
    return DataError(
        f"{path} is damaged: there should be a record at byte {position}. Write or copy it again."
    )


def _masked_crc32c(data: bytes) -> int:
    """Return the checksum of TFRecord files: CRC-32C (RFC 3720, B.4), rotated by 15 bits, plus a constant."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
