"""What is found in images on the disk: in their order, each as it is seen upright."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from boxtune.config import pipeline_pb2
from boxtune.data.image_record import ImageSource
from boxtune.errors import CheckpointError, DataError
from boxtune.evaluation.detecting import compiled_detector, found_by_detector
from boxtune.evaluation.exported import found_by_exported
from boxtune.evaluation.found import BATCH_SIZE, Source
from boxtune.runtimes.model_file import ModelFile
from boxtune.structures import Detections
from small_detector import SIDE, SmallDetector

ANY_SIZE = pipeline_pb2.ImageResizer(identity_resizer={})
FIXED = pipeline_pb2.ImageResizer(fixed_shape_resizer={"height": SIDE, "width": SIDE})


class Mean(SmallDetector):
    """Finds an object in every image, whose score is the mean of red, and a second one where that is above a half."""

    def call(self, inputs, training=None):
        return keras.ops.mean(inputs["images"][..., 0] / 255, axis=(1, 2))[:, None]

    def detect(self, inputs, predictions):
        scores = keras.ops.concatenate([predictions, predictions / 2], axis=1)
        boxes = keras.ops.ones_like(scores)[..., None] * np.float32([0, 0, 0.5, 1])
        count = keras.ops.cast(predictions[:, 0] > 0.5, "int32") + 1
        return Detections(boxes, scores, classes=keras.ops.zeros_like(scores, "int32"), count=count)


def sources(folder, values, orientation=1):
    """Return images of 20 x 10 pixels of these values of red."""
    for value in values:
        Image.new("RGB", (20, 10), (value, 0, 0)).save(folder / f"{value}.png")
    return [Source(f"{value}.png", ImageSource(folder / f"{value}.png"), orientation) for value in values]


@pytest.mark.parametrize("section", [ANY_SIZE, FIXED], ids=["one by one", "in batches"])
def test_a_detector_looks_at_every_image_in_order(tmp_path, section):
    values = [*range(0, 20 * BATCH_SIZE, 10), 255]  # two batches, and one more
    found = list(found_by_detector(compiled_detector(Mean()), section, sources(tmp_path, values)))
    assert [round(255 * float(one.scores[0])) for one in found] == values
    assert [len(one.scores) for one in found] == [1 + (value > 127) for value in values]
    assert found[-1].boxes.tolist() == [[0, 0, 0.5, 1]] * 2
    assert found[-1].classes.tolist() == [0, 0]


def test_predictions_that_are_no_numbers_are_an_error_that_names_the_image(tmp_path):
    class Broken(Mean):
        def call(self, inputs, training=None):
            predictions = super().call(inputs, training)
            return keras.ops.where(predictions > 0.5, float("nan"), predictions)

    with pytest.raises(CheckpointError, match=r"^200\.png: .*not a number"):
        list(found_by_detector(compiled_detector(Broken()), FIXED, sources(tmp_path, [10, 200, 20])))


class Half(ModelFile):
    """Finds one object of class 1 in the upper half of every image, and keeps the shapes of what it is given."""

    def __init__(self, largest_batch=None):
        self.largest_batch = largest_batch
        self.given = []

    def __call__(self, images):
        self.given.append(images.shape)
        count = len(images)
        return {
            "num_detections": tf.ones([count]),
            "detection_boxes": tf.constant([[[0.0, 0.0, 0.5, 1.0], [9.0, 9.0, 9.0, 9.0]]] * count),
            "detection_classes": tf.constant([[2.0, 1.0]] * count),
            "detection_scores": tf.constant(images[:, 0, 0, :1] / np.float32(10)) * [[1.0, 0.0]],
        }


@pytest.mark.parametrize(
    ("largest_batch", "batch_size", "expected"),
    [(None, 8, [3, 2, 1]), (None, 2, [2, 1, 2, 1]), (2, 8, [2, 1, 2, 1]), (1, 8, [1] * 6)],
)
def test_an_exported_model_is_given_neighbours_of_one_size_together(largest_batch, batch_size, expected):
    sizes = [(4, 6)] * 3 + [(6, 4)] * 2 + [(4, 6)]
    given = [
        Source(f"{number}", np.full((*size, 3), number, np.uint8), None) for number, size in enumerate(sizes)
    ]
    model = Half(largest_batch)
    found = list(found_by_exported(model, given, batch_size=batch_size))
    assert [shape[0] for shape in model.given] == expected
    assert [one.source.name for one in found] == ["0", "1", "2", "3", "4", "5"]
    assert [one.size for one in found] == sizes
    np.testing.assert_allclose([one.scores for one in found], np.arange(6)[:, None] / 10, rtol=1e-6)


def test_of_large_images_fewer_are_given_together():
    large = [Source(f"{number}", np.zeros((2000, 2000, 3), np.uint8), None) for number in range(5)]
    model = Half()
    list(found_by_exported(model, large))
    assert [shape[0] for shape in model.given] == [2, 2, 1]  # 8 megapixels each


def test_an_exported_model_is_given_every_image_upright(tmp_path):
    model = Half()
    (found,) = found_by_exported(model, sources(tmp_path, [5], orientation=6))
    assert model.given == [(1, 20, 10, 3)]
    assert (found.boxes.tolist(), found.classes.tolist(), found.scores.tolist()) == (
        [[0, 0, 0.5, 1]],
        [1],
        [0.5],
    )


def test_an_image_that_is_gone_is_named(tmp_path):
    gone = Source("gone.png", ImageSource(tmp_path / "gone.png"), 1)
    with pytest.raises(DataError, match=r"gone\.png"):
        list(found_by_detector(compiled_detector(Mean()), FIXED, [*sources(tmp_path, [1, 2]), gone]))
