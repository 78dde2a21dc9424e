import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import tensorflow as tf

import object_detection
from boxtune.data.label_map import LabelMap, write_label_map
from object_detection.dataset_tools import tf_record_creation_util
from voc_folder import annotated, element

SCRIPT = Path(object_detection.__file__).parent / "dataset_tools" / "create_pascal_tf_record.py"


@pytest.fixture
def data(tmp_path):
    """A folder VOC2007 with a cat in each of four pictures and a difficult dog in two."""
    folder = tmp_path / "VOC2007" / "Annotations"
    for name in "abcd":
        dog = element("dog", more="<difficult>1</difficult>")
        annotated(folder, name, element(), *[dog] * (name in "ab"))
    write_label_map(LabelMap.from_names(["cat", "dog"]), tmp_path / "label_map.pbtxt")
    return tmp_path


def run(data, *flags):
    command = [sys.executable, str(SCRIPT), "--", f"--label_map_path={data / 'label_map.pbtxt'}"]
    output = ["--output_path", str(data / "out" / "train.record")]
    return subprocess.run([*command, *output, *flags], capture_output=True, text=True, check=False)


def written(data):
    """Return the classes of each picture."""
    records = tf.data.TFRecordDataset(str(data / "out" / "train.record"))
    features = [tf.train.Example.FromString(record.numpy()).features.feature for record in records]
    return {
        feature["image/filename"].bytes_list.value[0].decode(): len(
            feature["image/object/class/label"].int64_list.value
        )
        for feature in features
    }


def test_a_list_of_images_is_followed(data):
    lists = data / "VOC2007" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "cat_val.txt").write_text("a 1\nc -1\n")
    finished = run(data, f"--data_dir={data}", "--set=val")
    assert finished.returncode == 0, finished.stderr
    assert written(data) == {"a.jpg": 2, "c.jpg": 1}


def test_your_own_data_need_neither_year_nor_lists(data):
    finished = run(data, f"--data_dir={data / 'VOC2007'}", "--ignore_difficult_instances")
    assert finished.returncode == 0, finished.stderr
    assert "no list of images train.txt" in finished.stdout
    assert written(data) == {"a.jpg": 1, "b.jpg": 1, "c.jpg": 1, "d.jpg": 1}


def test_what_the_user_can_mend_is_told_in_a_line(data):
    finished = run(data, f"--data_dir={data / 'absent'}")
    assert finished.returncode == 2
    assert finished.stderr.count("\n") == 1
    assert "absent is not a folder" in finished.stderr


def test_sharded_writers(tmp_path):
    with ExitStack() as stack:
        writers = tf_record_creation_util.open_sharded_output_tfrecords(
            stack, str(tmp_path / "train.record"), 2
        )
        for number, writer in enumerate(writers):
            writer.write(b"%d" % number)
    names = ["train.record-00000-of-00002", "train.record-00001-of-00002"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [
        record.numpy() for record in tf.data.TFRecordDataset([str(tmp_path / name) for name in names])
    ] == [b"0", b"1"]
