import gzip
import hashlib
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from boxtune.data import tfrecord
from boxtune.data.label_map import Label, LabelMap
from boxtune.data.records import Box, ImageRecord, ObjectRecord
from boxtune.data.tfrecord import RecordIndex, shards, to_example, write_file
from boxtune.errors import DataError
from voc_folder import picture

LABEL_MAP = LabelMap((Label(2, "cat"), Label(7, "/m/dog", "Hündin")))


@pytest.fixture(scope="module")
def jpeg(tmp_path_factory):
    return picture(tmp_path_factory.mktemp("pictures") / "a.jpg")


def record(path, *objects, name="b/a.jpg"):
    return ImageRecord(name, path, None, 40, 20, tuple(objects))


def parsed(serialized):
    """Read a record as the API's decoder does."""
    strings = dict.fromkeys(("image/encoded", "image/format", "image/filename", "image/source_id"), tf.string)
    integers = dict.fromkeys(("image/height", "image/width"), tf.int64)
    lists = {
        **{f"image/object/bbox/{edge}": tf.float32 for edge in ("ymin", "xmin", "ymax", "xmax")},
        **{f"image/object/{key}": tf.int64 for key in ("class/label", "difficult", "truncated", "is_crowd")},
        **{f"image/object/{key}": tf.string for key in ("class/text", "view")},
    }
    features = {
        **{
            key: tf.io.FixedLenFeature([], kind)
            for key, kind in (strings | integers | {"image/key/sha256": tf.string}).items()
        },
        **{key: tf.io.VarLenFeature(kind) for key, kind in lists.items()},
    }
    values = tf.io.parse_single_example(serialized, features)
    dense = {key: tf.sparse.to_dense(value) if key in lists else value for key, value in values.items()}
    return {key: value.numpy() for key, value in dense.items()}


# Writing


def test_every_key_of_the_api_is_written(jpeg):
    cat = ObjectRecord("cat", Box(0.125, 0.25, 0.5, 1.0), difficult=True, view="Left")
    dog = ObjectRecord("Hündin", Box(0.0, 0.0, 0.75, 0.5), truncated=True, is_crowd=True)
    values = parsed(to_example(record(jpeg, cat, dog), LABEL_MAP).SerializeToString())
    content = jpeg.read_bytes()
    assert values.pop("image/encoded") == content
    assert {
        key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in values.items()
    } == {
        "image/height": 20,
        "image/width": 40,
        "image/filename": b"a.jpg",
        "image/source_id": b"b/a.jpg",
        "image/format": b"jpeg",
        "image/key/sha256": hashlib.sha256(content).hexdigest().encode(),
        "image/object/bbox/ymin": [0.125, 0.0],
        "image/object/bbox/xmin": [0.25, 0.0],
        "image/object/bbox/ymax": [0.5, 0.75],
        "image/object/bbox/xmax": [1.0, 0.5],
        "image/object/class/label": [2, 7],
        "image/object/class/text": [b"cat", b"/m/dog"],
        "image/object/difficult": [1, 0],
        "image/object/truncated": [0, 1],
        "image/object/is_crowd": [0, 1],
        "image/object/view": [b"Left", b""],
    }


SHARES = st.floats(0, 1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(SHARES, SHARES, SHARES, SHARES), max_size=5))
def test_boxes_come_back_as_float32(jpeg, tmp_path_factory, boxes):
    path = tmp_path_factory.mktemp("records") / "a.tfrecord"
    write_file([record(jpeg, *(ObjectRecord("cat", Box(*box)) for box in boxes))], LABEL_MAP, path)
    with RecordIndex([path]) as index:
        values = parsed(index.read(0))
    edges = [values[f"image/object/bbox/{edge}"] for edge in ("ymin", "xmin", "ymax", "xmax")]
    np.testing.assert_array_equal(np.stack(edges, axis=-1), np.float32(boxes).reshape(-1, 4))


def test_the_format_is_that_of_the_content(tmp_path):
    path = picture(tmp_path / "a.jpg", mode="RGBA", format="PNG")
    values = parsed(to_example(record(path), LABEL_MAP).SerializeToString())
    assert values["image/format"] == b"png"
    assert tf.io.decode_png(values["image/encoded"]).shape == (20, 40, 3)


def test_the_same_records_give_the_same_bytes(jpeg, tmp_path):
    records = [record(jpeg, ObjectRecord("cat", Box(0, 0, 1, 1)), name=f"{i}.jpg") for i in range(3)]
    for name in ("one", "two"):
        write_file(records, LABEL_MAP, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_picture_that_is_gone_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DataError, match=r"gone\.jpg"):
        write_file([record(tmp_path / "gone.jpg")], LABEL_MAP, tmp_path / "a.tfrecord")


def test_a_file_that_cannot_be_written_is_an_error_that_names_it(jpeg, tmp_path):
    with pytest.raises(DataError, match=r"no/a\.tfrecord cannot be written"):
        write_file([record(jpeg)], LABEL_MAP, tmp_path / "no" / "a.tfrecord")


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(1, [1]), (500, [500]), (501, [250, 251]), (1500, [500] * 3), (1501, [375, 375, 375, 376])],
)
def test_records_are_distributed_evenly_and_in_order(count, sizes):
    records = [record(Path("a.jpg"), name=str(number)) for number in range(count)]
    parts = shards(records, Path("out/train"))
    assert [len(part) for part in parts.values()] == sizes
    assert [item for part in parts.values() for item in part] == records
    assert next(iter(parts)) == Path(f"out/train-00000-of-{len(sizes):05d}.tfrecord")


# Reading


def written(path, *payloads):
    """Write a TFRecord file by TensorFlow's own writer."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for payload in payloads:
            writer.write(payload)
    return path


PAYLOADS = [b"first", b"", b"x" * 70_000, b"last"]


def test_every_record_of_every_file_is_found(tmp_path):
    one = written(tmp_path / "one", *PAYLOADS)
    empty = written(tmp_path / "empty")
    two = written(tmp_path / "two", b"other")
    with RecordIndex([one, empty, two]) as index:
        assert [index.read(i) for i in range(len(index))] == [*PAYLOADS, b"other"]
        assert index.file_numbers.tolist() == [0, 0, 0, 0, 2]
        assert index.lengths.tolist() == [5, 0, 70_000, 4, 5]
        # A header of 12 bytes before each record, a checksum of 4 behind it.
        assert index.offsets.tolist() == [12, 33, 49, 70_065, 12]
        with pytest.raises(IndexError):
            index.read(5)


def test_any_thread_may_read(tmp_path):
    payloads = [bytes([number]) * (number + 1) for number in range(200)]
    with RecordIndex([written(tmp_path / "a", *payloads)]) as index, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(index.read, list(range(200)) * 5)) == payloads * 5


@given(st.binary(min_size=8, max_size=8))
def test_the_checksum_is_that_of_tensorflow(tmp_path_factory, payload):
    # TensorFlow writes the checksum of 8 bytes of payload behind them.
    path = written(tmp_path_factory.mktemp("records") / "a", payload)
    assert struct.unpack("<I", path.read_bytes()[-4:]) == (tfrecord._masked_crc32c(payload),)


@pytest.mark.parametrize("end", [-1, -4, -5, 49 + 100, 49, 48, 33 + 5, 38])
def test_a_file_that_is_cut_short_is_told_with_the_byte(tmp_path, end):
    path = written(tmp_path / "a", *PAYLOADS)
    path.write_bytes(path.read_bytes()[:end])
    size = path.stat().st_size
    begin = max(begin for begin in (0, 21, 37, 70_053) if begin < size)
    with pytest.raises(DataError, match=rf"a is cut short.*byte {begin},"):
        RecordIndex([path])


def framed(length, payload=b""):
    head = struct.pack("<Q", length)
    return head + struct.pack("<I", tfrecord._masked_crc32c(head)) + payload


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"item {\n  id: 1\n}\n", "is not a TFRecord file"),
        (b"\0" * 100, "is not a TFRecord file"),
        (gzip.compress(b"anything"), "gunzip"),
        (framed(2**30 + 1), "byte 0 has 1073741825 bytes, over the limit"),
        (framed(2**63), "over the limit"),
        (framed(3, b"abcCRC!") + b"junk junk junk", "damaged: there should be a record at byte 19"),
    ],
    ids=["text", "zeros", "gzip", "large", "huge", "junk behind"],
)
def test_what_is_no_tfrecord_is_refused(tmp_path, content, message):
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        RecordIndex([path])


def test_no_record_at_all_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no record in"):
        RecordIndex([written(tmp_path / "a")])
    with pytest.raises(DataError, match="no record in"):
        RecordIndex([])


def test_what_is_no_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match="absent is not a file"):
        RecordIndex([tmp_path / "absent"])
    with pytest.raises(DataError, match="is not a file"):
        RecordIndex([tmp_path])


def test_a_file_that_became_shorter_is_an_error(tmp_path):
    path = written(tmp_path / "a", *PAYLOADS)
    with RecordIndex([path]) as index:
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(DataError, match="changed while in use"):
            index.read(2)


def test_a_hundred_thousand_records_are_found_in_seconds(tmp_path):
    path = tmp_path / "a"
    path.write_bytes((framed(300) + bytes(304)) * 100_000)
    begin = time.perf_counter()
    with RecordIndex([path]) as index:
        assert len(index) == 100_000
    assert time.perf_counter() - begin < 5  # 0.2 seconds on an idle core
