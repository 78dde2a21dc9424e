"""TFRecord files: writing annotated pictures as the API's tf.train.Example, and finding each record again.

TensorFlow is loaded only when something is written.
"""

import hashlib
import os
import struct
import weakref
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from boxtune.data import images
from boxtune.data.label_map import LabelMap
from boxtune.data.records import ImageRecord
from boxtune.errors import DataError
from boxtune.quiet import muted

if TYPE_CHECKING:
    import tensorflow as tf

IMAGES_PER_SHARD = 500
MAX_RECORD_BYTES = 2**30
# Before a record: its length (uint64) and a checksum of that (uint32). After it: a checksum of the record.
_HEADER = struct.Struct("<QI")
_FOOTER_BYTES = 4


def shards(
    records: Sequence[ImageRecord], base: Path, *, images_per_shard: int = IMAGES_PER_SHARD
) -> dict[Path, Sequence[ImageRecord]]:
    """Distribute records evenly over ``BASE-00000-of-00002.tfrecord`` and so on; at least one file."""
    count = max(1, -(-len(records) // images_per_shard))
    edges = [len(records) * i // count for i in range(count + 1)]
    return {
        base.with_name(f"{base.name}-{i:05d}-of-{count:05d}.tfrecord"): records[edges[i] : edges[i + 1]]
        for i in range(count)
    }


def write_file(records: Iterable[ImageRecord], label_map: LabelMap, path: Path) -> None:
    """Write records to one TFRecord file, one picture in memory at a time; equal records give equal bytes.

    Raises DataError if a picture or its class is unusable by now, or the file cannot be written.
    """
    with muted():
        import tensorflow as tf

    try:
        with tf.io.TFRecordWriter(os.fspath(path)) as writer:
            for record in records:
                writer.write(to_example(record, label_map).SerializeToString(deterministic=True))
    except tf.errors.OpError as error:
        raise DataError(f"{path} cannot be written: {error.message}.") from error


def to_example(record: ImageRecord, label_map: LabelMap) -> "tf.train.Example":
    """Return a picture and its objects under the API's keys (its `create_pascal_tf_record`).

    Raises DataError if the picture cannot be read or a class is not in the label map.
    """
    try:
        picture = images.encode(record.image_path, upright=record.upright)
    except DataError as error:
        raise DataError(f"{record.image_path}: {error}") from error
    name = os.fsencode(record.name)
    objects = record.objects
    labels = [label_map.label(item.class_name) for item in objects]
    return _example(
        integers={
            "image/height": [record.height],
            "image/width": [record.width],
            "image/object/class/label": [label.id for label in labels],
            "image/object/difficult": [item.difficult for item in objects],
            "image/object/truncated": [item.truncated for item in objects],
            "image/object/is_crowd": [item.is_crowd for item in objects],
        },
        floats={
            "image/object/bbox/ymin": [item.box.ymin for item in objects],
            "image/object/bbox/xmin": [item.box.xmin for item in objects],
            "image/object/bbox/ymax": [item.box.ymax for item in objects],
            "image/object/bbox/xmax": [item.box.xmax for item in objects],
        },
        strings={
            # The API's tools expect the bare name; the id, by which metrics tell images apart, must be unique.
            "image/filename": [name.rpartition(b"/")[2]],
            "image/source_id": [name],
            "image/key/sha256": [hashlib.sha256(picture.data).hexdigest().encode()],
            "image/encoded": [picture.data],
            "image/format": [picture.format.encode()],
            "image/object/class/text": [label.name.encode() for label in labels],
            "image/object/view": [item.view.encode() for item in objects],
        },
    )


def _example(
    *, integers: dict[str, list[int]], floats: dict[str, list[float]], strings: dict[str, list[bytes]]
) -> "tf.train.Example":
    import tensorflow as tf

    train = tf.train
    features = {
        key: train.Feature(int64_list=train.Int64List(value=map(int, v))) for key, v in integers.items()
    }
    features |= {key: train.Feature(float_list=train.FloatList(value=v)) for key, v in floats.items()}
    features |= {key: train.Feature(bytes_list=train.BytesList(value=v)) for key, v in strings.items()}
    return train.Example(features=train.Features(feature=features))


class RecordIndex:
    """Where each record of some TFRecord files lies; gives any of them, from any thread.

    Only lengths and their checksums are read beforehand, not the records: 12 bytes for each.

    Attributes:
        paths: the files, in the given order.
        file_numbers: int32 [n], the position in `paths` of each record's file.
        offsets: int64 [n], the byte where each record begins, behind its header.
        lengths: int64 [n], the bytes of each record.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Scan the files.

        Raises:
            DataError: a file cannot be opened, is no TFRecord or is cut short (with the byte where), a record
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
            raise DataError(
                f"There is no record in {', '.join(map(str, paths)) or 'the empty list of files'}."
            )
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
        file_number, offset, length = (
            int(values[index]) for values in (self.file_numbers, self.offsets, self.lengths)
        )
        data = os.pread(self._descriptors[file_number], length, offset)
        if len(data) < length:
            raise DataError(
                f"{self.paths[file_number]} was changed while in use: byte {offset} is beyond its end."
            )
        return data


def _open(path: Path) -> int:
    if not os.path.isfile(path):
        raise DataError(f"{path} is not a file.")
    try:
        return os.open(path, os.O_RDONLY)
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
        header = os.pread(descriptor, _HEADER.size, position)
        if len(header) < _HEADER.size:
            raise _cut_short(path, len(found) // 2, position)
        length, checksum = _HEADER.unpack(header)
        if _masked_crc32c(header[:8]) != checksum:
            raise _not_a_record(path, header, position)
        if length > MAX_RECORD_BYTES:
            raise DataError(
                f"{path}: the record at byte {position} has {length} bytes, over the limit of 1 GiB."
            )
        found.extend((position + _HEADER.size, length))
        position += _HEADER.size + length + _FOOTER_BYTES
    if position > file_size:
        raise _cut_short(path, len(found) // 2 - 1, found[-2] - _HEADER.size)
    return np.array(found, np.int64).reshape(-1, 2)


def _cut_short(path: Path, number: int, position: int) -> DataError:
    return DataError(
        f"{path} is cut short: record {number}, which begins at byte {position}, is not whole."
        " Write or copy the file again."
    )


def _not_a_record(path: Path, header: bytes, position: int) -> DataError:
    if position == 0 and header.startswith(b"\x1f\x8b"):
        return DataError(f"{path} is compressed with gzip. Unpack it first (gunzip).")
    if position == 0:
        return DataError(f"{path} is not a TFRecord file: its first bytes are {header!r}.")
    return DataError(
        f"{path} is damaged: there should be a record at byte {position}. Write or copy it again."
    )


def _crc32c_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC32C = _crc32c_table()


def _masked_crc32c(data: bytes) -> int:
    """Return the checksum of TFRecord files: CRC-32C (RFC 3720, B.4), rotated by 15 bits, plus a constant."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC32C[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
