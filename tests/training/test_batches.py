"""The images that are named are the images of the batch."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from boxtune import config
from boxtune.data.input import Records
from boxtune.data.label_map import LabelMap
from boxtune.training.batches import batches, images_of_step


def example(number, features):
    """An image all of the value `number`."""
    stream = io.BytesIO()
    Image.new("RGB", (20, 10), (number,) * 3).save(stream, "PNG")

    def texts(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    content = {"image/encoded": texts(stream.getvalue())} | {
        f"image/{name}": texts(f"{value}{number}".encode()) for name, value in features.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=content)).SerializeToString()


@pytest.fixture
def records(tmp_path):
    """Seven images: some have a filename, some a source_id, one neither."""
    features = [
        {"filename": "a"},
        {"filename": "b", "source_id": "x"},
        {"source_id": "s"},
        {},
        {"filename": "c"},
    ]
    features += [{"filename": "d"}] * 2
    path = tmp_path / "some.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number, given in enumerate(features):
            writer.write(example(number, given))
    return Records([path], LabelMap.from_names(["thing"]), 1)


@pytest.fixture
def pipeline():
    pipeline = config.recipe("ssd_mobilenet_v2_keras")
    pipeline.train_config.batch_size = 3
    pipeline.train_config.ClearField("data_augmentation_options")
    return pipeline


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_step_of_several_batches_has_the_images_of_all(records, pipeline, shuffle):
    pipeline.train_input_reader.shuffle = shuffle
    in_halves = [images_of_step(pipeline, records, 5, step) for step in (5, 6)]
    first = next(iter(batches(pipeline, records, seed=5, start_step=4)))
    pipeline.boxtune.accumulate_batches = 2
    assert images_of_step(pipeline, records, 5, 3) == ", ".join(in_halves)
    again = next(iter(batches(pipeline, records, seed=5, start_step=2)))
    np.testing.assert_array_equal(first["images"], again["images"])


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_images_of_each_step(records, pipeline, shuffle):
    pipeline.train_input_reader.shuffle = shuffle
    names = [
        "a0",
        "b1",
        "s2",
        f"{records.index.paths[0]}: record 3 at byte {records.index.offsets[3]}",
        "c4",
        "d5",
        "d6",
    ]
    stream = iter(batches(pipeline, records, seed=5, start_step=2))
    for step in (3, 4, 5):
        images = next(stream)["images"]
        numbers = np.round(images[:, 0, 0, 0]).astype(int)
        assert images_of_step(pipeline, records, 5, step) == ", ".join(names[number] for number in numbers)


@pytest.mark.parametrize("use", [True, False])
def test_scores_are_part_of_a_batch_if_they_are_labels(records, pipeline, use):
    pipeline.train_config.use_multiclass_scores = use
    loaded = Records([*records.index.paths], records.label_map, 1, class_scores=True)
    groundtruth = next(iter(batches(pipeline, loaded, seed=5, start_step=0)))["groundtruth"]
    assert ("class_scores" in groundtruth) is use
