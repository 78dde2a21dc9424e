"""TFRecord files: writing annotated pictures as the API's Examples, finding each record again, and reading it.

None of it needs TensorFlow, which reads and writes the same files.
"""

import hashlib
import os
import struct
import weakref
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import google_crc32c
import numpy as np
from google.protobuf.message import DecodeError

from boxtune.data import images, masks
from boxtune.data.example_pb2 import BytesList, Example, Feature, Features, FloatList, Int64List
from boxtune.data.label_map import LabelMap
from boxtune.data.masks import Mask
from boxtune.data.records import ImageRecord, Keypoint, ObjectRecord
from boxtune.errors import DataError

IMAGES_PER_SHARD = 250
MAX_RECORD_BYTES = 2**30
# Before a record: its length (uint64) and a checksum of that (uint32). After it: a checksum of the record.
_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_NO_MASK = Mask(counts=b"1", size=(1, 1))


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

    Raises DataError if a picture, a mask or a class is unusable by now, or the file cannot be written.
    """
    try:
        with open(path, "wb") as file:
            for record in records:
                file.writelines(_framed(to_example(record, label_map).SerializeToString(deterministic=True)))
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}.") from error


def to_example(record: ImageRecord, label_map: LabelMap) -> Example:
    """Return a picture and its objects under the API's keys.

    Source: its `create_pascal_tf_record`, and for areas, masks and keypoints `create_coco_tf_record`. Their keys, and
    those of weights and groups, are written for a picture if one of its objects has such a thing. Then all have it:
    an object without area has that of its box, one without mask an empty one of `image/object/mask/weight` 0, and one
    without a keypoint that another has that point with visibility 0.

    Raises DataError if the picture or a mask cannot be read, or a class is not in the label map.
    """
    try:
        picture = images.encode(record.picture, record.orientation)
        features = _picture_features(record, picture) | _object_features(record.objects, label_map)
        features |= (
            _area_features(record) | _weight_features(record.objects) | _group_features(record.objects)
        )
        features |= _mask_features(record) | _keypoint_features(record.objects)
    except DataError as error:
        raise DataError(f"{record.picture.path}: {error}") from error
    return Example(features=Features(feature=features))


def parse_example(data: bytes) -> Example:
    """Return a serialized Example; raise DataError if it is none."""
    try:
        return Example.FromString(data)
    except DecodeError as error:
        raise DataError("it is not a tf.train.Example.") from error


def first_record(path: Path) -> bytes:
    """Return the first record of a file; raise DataError if there is none, reading no more than that."""
    descriptor = _open(path)
    try:
        length = _length_at(descriptor, path, number=0, position=0)
        data = os.pread(descriptor, length, _HEADER.size)
    finally:
        os.close(descriptor)
    if len(data) < length:
        raise _cut_short(path, number=0, position=0)
    return data


def encoded_image(path: Path, span: tuple[int, int]) -> bytes:
    """Return the picture's bytes of the record at `span` (offset, length) of a file; raise DataError."""
    offset, length = span
    descriptor = _open(path)
    try:
        example = parse_example(os.pread(descriptor, length, offset))
    finally:
        os.close(descriptor)
    values = example.features.feature["image/encoded"].bytes_list.value
    if not values:
        raise DataError(f"the record at byte {offset} holds no picture.")
    return values[0]


def _framed(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Return a record with what stands before and behind it."""
    length = struct.pack("<Q", len(data))
    return _HEADER.pack(len(data), _masked_crc32c(length)), data, _FOOTER.pack(_masked_crc32c(data))


def _picture_features(record: ImageRecord, picture: images.EncodedImage) -> dict[str, Feature]:
    name = os.fsencode(record.name)
    return {
        "image/height": _integers([record.height]),
        "image/width": _integers([record.width]),
        # The API's tools expect the bare name; the id, by which metrics tell images apart, must be unique.
        "image/filename": _strings([name.rpartition(b"/")[2]]),
        "image/source_id": _strings([name]),
        "image/key/sha256": _strings([hashlib.sha256(picture.data).hexdigest().encode()]),
        "image/encoded": _strings([picture.data]),
        "image/format": _strings([picture.format.encode()]),
    }


def _object_features(objects: Sequence[ObjectRecord], label_map: LabelMap) -> dict[str, Feature]:
    labels = [label_map.label(item.class_name) for item in objects]
    return {
        "image/object/bbox/ymin": _floats(item.box.ymin for item in objects),
        "image/object/bbox/xmin": _floats(item.box.xmin for item in objects),
        "image/object/bbox/ymax": _floats(item.box.ymax for item in objects),
        "image/object/bbox/xmax": _floats(item.box.xmax for item in objects),
        "image/object/class/label": _integers(label.id for label in labels),
        "image/object/class/text": _strings(label.name.encode() for label in labels),
        "image/object/difficult": _integers(item.difficult for item in objects),
        "image/object/truncated": _integers(item.truncated for item in objects),
        "image/object/is_crowd": _integers(item.is_crowd for item in objects),
        "image/object/view": _strings(item.view.encode() for item in objects),
    }


def _area_features(record: ImageRecord) -> dict[str, Feature]:
    if all(item.area is None for item in record.objects):
        return {}
    return {"image/object/area": _floats(_area(item, record) for item in record.objects)}


def _area(item: ObjectRecord, record: ImageRecord) -> float:
    if item.area is not None:
        return item.area
    box = item.box
    return (box.ymax - box.ymin) * record.height * (box.xmax - box.xmin) * record.width


def _weight_features(objects: Sequence[ObjectRecord]) -> dict[str, Feature]:
    if all(item.weight == 1 for item in objects):
        return {}
    return {"image/object/weight": _floats(item.weight for item in objects)}


def _group_features(objects: Sequence[ObjectRecord]) -> dict[str, Feature]:
    if not any(item.group_of for item in objects):
        return {}
    return {"image/object/group_of": _integers(item.group_of for item in objects)}


def _mask_features(record: ImageRecord) -> dict[str, Feature]:
    drawn = [item.mask is not None for item in record.objects]
    if not any(drawn):
        return {}
    pngs = (masks.to_png(item.mask or _NO_MASK, record.height, record.width) for item in record.objects)
    weights = {} if all(drawn) else {"image/object/mask/weight": _floats(drawn)}
    return {"image/object/mask": _strings(pngs)} | weights


def _keypoint_features(objects: Sequence[ObjectRecord]) -> dict[str, Feature]:
    names = dict.fromkeys(point.name for item in objects for point in item.keypoints)
    if not names:
        return {}
    absent = {name: Keypoint(name, 0.0, 0.0, visibility=0) for name in names}
    points = [
        point
        for item in objects
        for point in (absent | {point.name: point for point in item.keypoints}).values()
    ]
    return {
        "image/object/keypoint/y": _floats(point.y for point in points),
        "image/object/keypoint/x": _floats(point.x for point in points),
        "image/object/keypoint/visibility": _integers(point.visibility for point in points),
        "image/object/keypoint/text": _strings(point.name.encode() for point in points),
        "image/object/keypoint/num": _integers(
            sum(point.visibility > 0 for point in item.keypoints) for item in objects
        ),
    }


def _integers(values: Iterable[int]) -> Feature:
    return Feature(int64_list=Int64List(value=map(int, values)))


def _floats(values: Iterable[float]) -> Feature:
    return Feature(float_list=FloatList(value=values))


def _strings(values: Iterable[bytes]) -> Feature:
    return Feature(bytes_list=BytesList(value=values))


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
        file_number, offset, length = (
            int(values[index]) for values in (self.file_numbers, self.offsets, self.lengths)
        )
        data = os.pread(self._descriptors[file_number], length + num_bytes_behind, offset)
        if len(data) < length + num_bytes_behind:
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
        length = _length_at(descriptor, path, number=len(found) // 2, position=position)
        found.extend((position + _HEADER.size, length))
        position += _HEADER.size + length + _FOOTER.size
    if position > file_size:
        raise _cut_short(path, len(found) // 2 - 1, found[-2] - _HEADER.size)
    return np.array(found, np.int64).reshape(-1, 2)


def _length_at(descriptor: int, path: Path, *, number: int, position: int) -> int:
    """Return the length of record `number`, whose header is at a byte; raise DataError if none begins there."""
    header = os.pread(descriptor, _HEADER.size, position)
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


def _masked_crc32c(data: bytes) -> int:
    """Return the checksum of TFRecord files: CRC-32C (RFC 3720, B.4), rotated by 15 bits, plus a constant."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
