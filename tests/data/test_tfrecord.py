import gzip
import hashlib
import os
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from boxtune.data import example_pb2, tfrecord
from boxtune.data.decoder import parser
from boxtune.data.example_pb2 import Example
from boxtune.data.image_record import Box, ImageRecord, ImageSource, Keypoint, ObjectRecord
from boxtune.data.label_map import Label, LabelMap
from boxtune.data.masks import Mask
from boxtune.data.record_writer import shards, to_example, write_file
from boxtune.data.tfrecord import RecordIndex, encoded_image, first_record, parse_example
from boxtune.errors import DataError
from voc_folder import image_file

LABEL_MAP = LabelMap((Label(2, "cat"), Label(7, "/m/dog", "Hündin")))


@pytest.fixture(scope="module")
def jpeg(tmp_path_factory):
    return image_file(tmp_path_factory.mktemp("images") / "a.jpg")


def record(path, *objects, name="b/a.jpg"):
    return ImageRecord(name, ImageSource(path), "", 40, 20, tuple(objects))


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


def written_values(example, key):
    """The values under a key, as TensorFlow's own message sees them."""
    feature = tf.train.Example.FromString(example.SerializeToString()).features.feature[f"image/object/{key}"]
    return list(getattr(feature, feature.WhichOneof("kind")).value)


RARE_KEYS = {
    "area": ObjectRecord("cat", Box(0, 0, 0.5, 0.5), area=7.5),
    "weight": ObjectRecord("cat", Box(0, 0, 1, 1), weight=0.5),
    "group_of": ObjectRecord("cat", Box(0, 0, 1, 1), group_of=True),
    "mask": ObjectRecord("cat", Box(0, 0, 1, 1), mask=Mask(polygons=((0, 0, 0.5, 0, 0.5, 1, 0, 1),))),
    "keypoint/x": ObjectRecord("cat", Box(0, 0, 1, 1), keypoints=(Keypoint("nose", 0.25, 0.75),)),
}


@pytest.mark.parametrize("key", RARE_KEYS)
def test_rare_keys_are_written_only_where_an_object_has_them(jpeg, key):
    plain = ObjectRecord("cat", Box(0, 0, 1, 1))
    rare_keys = {f"image/object/{rare}" for rare in RARE_KEYS}
    usual = to_example(record(jpeg, plain), LABEL_MAP).features.feature
    assert rare_keys.isdisjoint(usual)
    special = to_example(record(jpeg, plain, RARE_KEYS[key]), LABEL_MAP).features.feature
    assert rare_keys.intersection(special) == {f"image/object/{key}"}


def test_area_weight_and_group_are_there_for_every_object(jpeg):
    plain = ObjectRecord("cat", Box(0, 0, 0.5, 0.25))
    example = to_example(record(jpeg, plain, *RARE_KEYS.values()), LABEL_MAP)
    # The image has 40 x 20 pixels: the first box 10 x 10, the one with an area 7.5 of its own, the others all 800.
    assert written_values(example, "area") == [100, 7.5, 800, 800, 800, 800]
    assert written_values(example, "weight") == [1, 1, 0.5, 1, 1, 1]
    assert written_values(example, "group_of") == [0, 0, 0, 1, 0, 0]


def test_masks_are_png_and_an_object_without_one_has_no_weight(jpeg):
    plain = ObjectRecord("cat", Box(0, 0, 0.5, 0.25))
    example = to_example(record(jpeg, plain, RARE_KEYS["mask"]), LABEL_MAP)
    none, left_half = (tf.io.decode_png(data)[..., 0].numpy() for data in written_values(example, "mask"))
    np.testing.assert_array_equal(none, np.zeros((20, 40)))
    np.testing.assert_array_equal(left_half, np.repeat([[1, 0]], 20, axis=0).repeat(20, axis=1))
    assert written_values(example, "mask/weight") == [0, 1]
    alone = to_example(record(jpeg, RARE_KEYS["mask"]), LABEL_MAP)
    assert "image/object/mask/weight" not in alone.features.feature


def test_every_object_has_the_keypoints_of_any(jpeg):
    plain = ObjectRecord("cat", Box(0, 0, 1, 1))
    first = ObjectRecord(
        "cat", Box(0, 0, 1, 1), keypoints=(Keypoint("eye", 0.25, 0.5, 1), Keypoint("ear", 0, 0, 0))
    )
    second = ObjectRecord(
        "cat", Box(0, 0, 1, 1), keypoints=(Keypoint("tail", 0.75, 1.0), Keypoint("eye", 0.5, 0.5))
    )
    example = to_example(record(jpeg, plain, first, second), LABEL_MAP)
    assert written_values(example, "keypoint/text") == [b"eye", b"ear", b"tail"] * 3
    assert written_values(example, "keypoint/y") == [0, 0, 0, 0.25, 0, 0, 0.5, 0, 0.75]
    assert written_values(example, "keypoint/x") == [0, 0, 0, 0.5, 0, 0, 0.5, 0, 1]
    assert written_values(example, "keypoint/visibility") == [0, 0, 0, 1, 0, 0, 2, 0, 2]
    assert written_values(example, "keypoint/num") == [0, 1, 2]


@pytest.mark.parametrize("name", ["Example", "Features", "Feature", "BytesList", "FloatList", "Int64List"])
def test_our_messages_are_those_of_tensorflow(name):
    ours, theirs = (
        {(field.name, field.number, field.type) for field in getattr(module, name).DESCRIPTOR.fields}
        for module in (example_pb2, tf.train)
    )
    assert ours == theirs


def test_the_bytes_are_those_of_tensorflow(jpeg, tmp_path):
    objects = [ObjectRecord("cat", Box(0, 0, 1, 1)), *RARE_KEYS.values()]
    records = [record(jpeg, *objects, name=f"{i}.jpg") for i in range(3)]
    write_file(records, LABEL_MAP, tmp_path / "ours")
    payloads = [bytes(data) for data in tf.data.TFRecordDataset(str(tmp_path / "ours")).as_numpy_iterator()]
    examples = [tf.train.Example.FromString(payload) for payload in payloads]
    again = [example.SerializeToString(deterministic=True) for example in examples]
    assert again == payloads
    assert written(tmp_path / "theirs", *again).read_bytes() == (tmp_path / "ours").read_bytes()


def test_training_reads_what_is_written(jpeg, tmp_path):
    write_file([record(jpeg, *RARE_KEYS.values())], LABEL_MAP, tmp_path / "a")
    [sample] = tf.data.TFRecordDataset(str(tmp_path / "a")).map(parser(LABEL_MAP, 7))
    assert sample["weights"].numpy().tolist() == [1, 0.5, 1, 1, 1]
    assert sample["classes"].numpy().tolist() == [1] * 5
    assert sample["image"].shape == (20, 40, 3)


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
    path = image_file(tmp_path / "a.jpg", mode="RGBA", format="PNG")
    values = parsed(to_example(record(path), LABEL_MAP).SerializeToString())
    assert values["image/format"] == b"png"
    assert tf.io.decode_png(values["image/encoded"]).shape == (20, 40, 3)


def test_a_image_is_turned_upright(jpeg):
    turned = ImageRecord("a.jpg", ImageSource(jpeg), "", 20, 40, (), orientation=6)
    values = parsed(to_example(turned, LABEL_MAP).SerializeToString())
    assert tf.io.decode_jpeg(values["image/encoded"]).shape == (40, 20, 3)


def test_the_same_records_give_the_same_bytes(jpeg, tmp_path):
    records = [record(jpeg, ObjectRecord("cat", Box(0, 0, 1, 1)), name=f"{i}.jpg") for i in range(3)]
    for name in ("one", "two"):
        write_file(records, LABEL_MAP, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_image_that_is_gone_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DataError, match=r"gone\.jpg"):
        write_file([record(tmp_path / "gone.jpg")], LABEL_MAP, tmp_path / "a.tfrecord")


def test_a_file_that_cannot_be_written_is_an_error_that_names_it(jpeg, tmp_path):
    with pytest.raises(DataError, match=r"no/a\.tfrecord cannot be written"):
        write_file([record(jpeg)], LABEL_MAP, tmp_path / "no" / "a.tfrecord")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device without room")
def test_a_full_disk_is_an_error_that_names_the_file(jpeg):
    with pytest.raises(DataError, match="/dev/full cannot be written: No space left"):
        write_file([record(jpeg)], LABEL_MAP, Path("/dev/full"))


def test_a_mask_that_cannot_be_drawn_is_an_error_that_names_the_image(jpeg):
    broken = ObjectRecord("cat", Box(0, 0, 1, 1), mask=Mask(counts=b"1", size=(9, 9)))
    with pytest.raises(DataError, match=r"a\.jpg: its run lengths"):
        to_example(record(jpeg, broken), LABEL_MAP)


def test_tensorflow_is_not_loaded(jpeg, tmp_path):
    code = """
import sys
from pathlib import Path
from boxtune.data.label_map import LabelMap
from boxtune.data.image_record import ImageRecord, ImageSource
from boxtune.data.record_writer import write_file
path = Path(sys.argv[1])
write_file([ImageRecord("a", ImageSource(path), "", 40, 20, ())], LabelMap(()), Path(sys.argv[2]))
assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, jpeg, tmp_path / "a"], check=True)


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(1, [1]), (250, [250]), (251, [125, 126]), (750, [250] * 3), (751, [187, 188, 188, 188])],
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
def test_a_file_that_is_cut_short_is_reported_with_the_byte(tmp_path, end):
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
        (gzip.compress(b"anything", mtime=0), "gunzip"),
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


def test_the_first_record_is_read_alone(tmp_path):
    path = written(tmp_path / "a", *PAYLOADS)
    path.write_bytes(path.read_bytes()[:30])  # the second is cut short
    assert first_record(path) == b"first"
    path.write_bytes(path.read_bytes()[:15])
    with pytest.raises(DataError, match="a is cut short: record 0"):
        first_record(path)


def test_damage_within_a_record_is_found_when_asked_for(tmp_path):
    path = written(tmp_path / "a", *PAYLOADS)
    content = bytearray(path.read_bytes())
    content[49 + 1000] ^= 1
    path.write_bytes(content)
    with RecordIndex([path]) as index:
        assert [index.read_intact(i) for i in (0, 1, 3)] == [PAYLOADS[i] for i in (0, 1, 3)]
        assert len(index.read(2)) == 70_000
        with pytest.raises(DataError, match="a is damaged: the record at byte 49 "):
            index.read_intact(2)


def test_a_record_gives_its_image(jpeg, tmp_path):
    path = tmp_path / "a"
    write_file([record(jpeg), record(jpeg)], LABEL_MAP, path)
    with RecordIndex([path]) as index:
        span = int(index.offsets[1]), int(index.lengths[1])
    assert encoded_image(path, span) == jpeg.read_bytes()


@pytest.mark.parametrize(
    ("payload", "message"), [(b"\xff" * 9, "not a tf.train.Example"), (b"", "holds no image")]
)
def test_a_record_without_a_image_is_an_error(tmp_path, payload, message):
    path = written(tmp_path / "a", payload)
    with pytest.raises(DataError, match=message):
        encoded_image(path, (12, len(payload)))


@given(st.binary(max_size=60))
def test_any_bytes_are_an_example_or_an_error(data):
    with suppress(DataError):
        assert isinstance(parse_example(data), Example)


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
    begin = time.process_time()
    with RecordIndex([path]) as index:
        assert len(index) == 100_000
    assert time.process_time() - begin < 5  # 0.2 seconds of processor time


def test_records_are_read_where_no_call_both_seeks_and_reads(tmp_path, monkeypatch):
    jpegs = [image_file(tmp_path / f"{number}.jpg", color=(number, 9, 9)) for number in range(6)]
    write_file([record(jpeg) for jpeg in jpegs], LABEL_MAP, tmp_path / "records")
    with RecordIndex([tmp_path / "records"]) as index:
        expected = [index.read(number) for number in range(6)]
    monkeypatch.delattr(os, "pread")  # as on Windows
    with RecordIndex([tmp_path / "records"]) as index, ThreadPoolExecutor(4) as threads:
        numbers = [number for _ in range(50) for number in range(6)]
        assert list(threads.map(index.read, numbers)) == expected * 50
