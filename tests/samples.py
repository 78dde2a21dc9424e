"""Images with boxes, as `tf.data` hands them from step to step, and steps of augmentation done to them."""

import numpy as np
import tensorflow as tf
from google.protobuf import text_format

from boxtune.config import pipeline_pb2
from boxtune.data.augmentation import augmentation
from boxtune.data.input import as_written

BOXES = [[0.0, 0.0, 0.5, 0.25], [0.25, 0.5, 0.75, 1.0], [0.5, 0.5, 0.6, 0.6]]


def sample(boxes=BOXES, height=40, width=60, image=None):
    """An image whose pixels say where they are (row, column, 7), or `image`, and as many objects as boxes.

    The class scores of object k are k, 10 k and 100 k.
    """
    count = len(boxes)
    if image is None:
        rows, columns = np.mgrid[:height, :width]
        image = np.stack([rows, columns, np.full_like(rows, 7)], axis=-1)
    return {
        "image": np.uint8(image),
        "boxes": np.float32(boxes).reshape(-1, 4),
        "classes": np.arange(count, dtype=np.int32),
        "weights": np.linspace(1, 0.5, count, dtype=np.float32),
        "areas": np.arange(count, dtype=np.float32),
        "is_crowd": np.arange(count) % 2 == 1,
        "difficult": np.arange(count) % 2 == 0,
        "group_of": np.arange(count) % 3 == 2,
        "class_scores": np.arange(count, dtype=np.float32)[:, None] * np.float32([1, 10, 100]),
        "filename": b"a.jpg",
    }


def step(text, num_classes=3):
    """The augmentation that one step in protobuf text stands for."""
    return augmentation([text_format.Parse(text, pipeline_pb2.PreprocessingStep())], num_classes)


def run(function, given, seed=(1, 2)):
    """Do a step; everything as numpy arrays."""
    tensors = {name: tf.constant(value) for name, value in given.items()}
    changed = function(tensors, tf.constant(seed))
    return {name: np.asarray(value) for name, value in changed.items()}


def run_seeds(function, given, count):
    """Do a step once for each of `count` seeds, as `tf.data` does it; everything as numpy arrays.

    Sooner than `run` does it as often, where a step of many operations is done for dozens of seeds.
    """
    tensors = {name: tf.constant(value) for name, value in given.items()}
    seeds = tf.data.Dataset.range(count, output_type=tf.int32)
    done = seeds.map(as_written(lambda seed: function(tensors, tf.stack([seed, 0]))))
    return list(done.as_numpy_iterator())


def unchanged(given):
    """The sample as `run` returns it where nothing happens."""
    return run(lambda one, _: one, given)


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
