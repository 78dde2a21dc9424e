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


def test_an_exported_model_is_given_every_image_upright(tmp_path):
    given = []

    def detect(image):
        given.append(image.shape)
        return {
            "num_detections": tf.constant([1.0]),
            "detection_boxes": tf.constant([[[0.0, 0.0, 0.5, 1.0], [9.0, 9.0, 9.0, 9.0]]]),
            "detection_classes": tf.constant([[2.0, 1.0]]),
            "detection_scores": tf.constant([[0.5, 0.0]]),
        }

    (found,) = found_by_exported(detect, sources(tmp_path, [7], orientation=6))
    assert given == [(1, 20, 10, 3)]
    assert (found.boxes.tolist(), found.classes.tolist(), found.scores.tolist()) == (
        [[0, 0, 0.5, 1]],
        [1],
        [0.5],
    )


def test_an_image_that_is_gone_is_named(tmp_path):
    gone = Source("gone.png", ImageSource(tmp_path / "gone.png"), 1)
    with pytest.raises(DataError, match=r"gone\.png"):
        list(found_by_detector(compiled_detector(Mean()), FIXED, [*sources(tmp_path, [1, 2]), gone]))
