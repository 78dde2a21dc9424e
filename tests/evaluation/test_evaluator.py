"""An evaluation counts every image once, in the image's own frame."""

import io

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from PIL import Image

from boxtune.config import pipeline_pb2
from boxtune.data.input import Records
from boxtune.data.label_map import LabelMap
from boxtune.errors import CheckpointError
from boxtune.evaluation.evaluator import Evaluator
from boxtune.structures import Detections
from image_results import pixels

EVAL_CONFIG = pipeline_pb2.EvalConfig()
TRUTH = [0.25, 0.25, 0.75, 0.5]  # of every image
PADDED = text_format.Parse(
    "keep_aspect_ratio_resizer { min_dimension: 40 max_dimension: 40 pad_to_max_dimension: true }",
    pipeline_pb2.ImageResizer(),
)


class Stub:
    """A detector that finds `boxes` of every image, in its frame, and whose loss is the image's first pixel."""

    num_classes = 1
    variables = ()
    finds = ()

    def __init__(self, boxes, **found):
        self.boxes, self.found = tf.constant(boxes, tf.float32), found
        self.sizes, self.groundtruth_boxes = [], []

    def __call__(self, inputs, training):
        assert not training
        assert set(inputs) == {"images", "sizes"}
        return {"images": inputs["images"]}

    def detect(self, inputs, predictions):
        assert set(inputs) == {"images", "sizes"}
        tf.py_function(lambda sizes: self.sizes.extend(sizes.numpy().tolist()), [inputs["sizes"]], [])
        b, k = tf.shape(predictions["images"])[0], len(self.boxes)
        return Detections(
            boxes=tf.tile(self.boxes[None], [b, 1, 1]),
            scores=tf.ones([b, k]),
            classes=tf.zeros([b, k], tf.int32),
            count=tf.fill([b], k),
            extras={"anchors": tf.zeros([b, k], tf.int32)},
            **{
                name: tf.repeat(tf.constant(part, tf.float32)[None], b, 0)
                for name, part in self.found.items()
            },
        )

    def loss_terms(self, inputs, predictions):
        boxes = inputs["groundtruth"]["boxes"]
        tf.py_function(lambda boxes: self.groundtruth_boxes.extend(boxes[:, 0].numpy().tolist()), [boxes], [])
        return {"localization_loss": tf.reduce_mean(predictions["images"][:, 0, 0, 0])}

    def regularization_loss(self):
        return tf.constant(0.5)


def example(value, height, width):
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (value, 0, 0)).save(stream, "PNG")

    def floats(number):
        return tf.train.Feature(float_list=tf.train.FloatList(value=[number]))

    features = {
        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[stream.getvalue()])),
        "image/object/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[1])),
        **{
            f"image/object/bbox/{side}": floats(number)
            for side, number in zip(("ymin", "xmin", "ymax", "xmax"), TRUTH, strict=True)
        },
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


@pytest.fixture
def records(tmp_path):
    """Three images: one high, one wide, one square."""
    path = tmp_path / "records.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for value, height, width in ((10, 400, 200), (20, 200, 400), (60, 300, 300)):
            writer.write(example(value, height, width))
    return Records([path], LabelMap.from_names(["thing"]), 1)


def evaluate(records, boxes, batch_size=2):
    stub = Stub(boxes)
    evaluation = Evaluator(stub, records, EVAL_CONFIG, image_resizer=PADDED, batch_size=batch_size).evaluate(
        step=7
    )
    return stub, evaluation


def test_what_is_found_is_measured_in_the_frame_of_the_image(records):
    _, evaluation = evaluate(records, [TRUTH])
    assert evaluation.metrics["DetectionBoxes_Precision/mAP"] == pytest.approx(1.0)
    assert (evaluation.step, evaluation.num_images, evaluation.num_objects) == (7, 3, 3)


def test_labels_of_whole_images_are_read_where_they_are_needed(records):
    # Without labels nothing but the objects' classes is known, which changes no number here; the readers count along.
    section = pipeline_pb2.EvalConfig(
        metrics_set=["oid_challenge_detection_metrics"], image_classes_field_map_empty_to_ones=False
    )
    evaluator = Evaluator(Stub([TRUTH]), records, section, image_resizer=PADDED, batch_size=2)
    evaluation = evaluator.evaluate(1)
    assert [result.absent_classes.tolist() for result in evaluation.results] == [[], [], []]
    assert evaluation.metrics["OpenImagesDetectionChallenge_Precision/mAP@0.5IOU"] == pytest.approx(1)


def test_a_box_beside_the_groundtruth_is_no_detection(records):
    _, evaluation = evaluate(records, [[0.25, 0.5, 0.75, 0.75]])
    assert evaluation.metrics["DetectionBoxes_Precision/mAP"] == 0


def test_the_detector_is_told_where_in_its_input_the_image_lies(records):
    # 400 x 200 becomes 40 x 20 of 40 x 40 pixels, and so on.
    stub, _ = evaluate(records, [TRUTH])
    assert stub.sizes == [[40, 20], [20, 40], [40, 40]]


def test_the_groundtruth_is_given_to_the_loss_in_the_frame_of_the_input(records):
    stub, _ = evaluate(records, [TRUTH])
    np.testing.assert_allclose(
        stub.groundtruth_boxes, [[0.25, 0.125, 0.75, 0.25], [0.125, 0.25, 0.375, 0.5], TRUTH], atol=1e-6
    )


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_the_numbers_do_not_depend_on_the_size_of_batches(records, batch_size):
    # The mean of 10, 20 and 60 is 30; a last batch of one image counts for one.
    _, evaluation = evaluate(records, [TRUTH], batch_size)
    assert evaluation.losses["Loss/localization_loss"] == pytest.approx(30, abs=0.01)
    assert evaluation.losses["Loss/total_loss"] == pytest.approx(30.5, abs=0.01)


def test_examples_are_cut_to_their_images(records):
    _, evaluation = evaluate(records, [TRUTH])
    assert [one.image.shape for one in evaluation.examples] == [(40, 20, 3), (20, 40, 3), (40, 40, 3)]
    assert [one.result for one in evaluation.examples] == list(evaluation.results)


def test_masks_and_keypoints_are_brought_to_the_pixels_of_the_image(records):
    masks, keypoints = np.ones([1, 4, 4]), [[[0.25, 0.5], [0.75, 0.25]]]
    stub = Stub([TRUTH], masks=masks, keypoints=keypoints)
    evaluation = Evaluator(stub, records, EVAL_CONFIG, image_resizer=PADDED, batch_size=2).evaluate(step=7)
    for result, height, width in zip(evaluation.results, (400, 200, 300), (200, 400, 300), strict=True):
        np.testing.assert_allclose(
            result.keypoints, [[[0.25 * height, 0.5 * width], [0.75 * height, 0.25 * width]]]
        )
        (mask,) = result.masks
        assert (mask.height, mask.width) == (height, width)
        assert pixels(mask).sum() == pytest.approx(0.5 * 0.25 * height * width, rel=0.05)


def test_a_broken_prediction_of_one_image_is_named(records):
    class Broken(Stub):
        def __call__(self, inputs, training):
            images = inputs["images"]
            # Of the second image alone, and beside a part that all images have in common.
            red = tf.where(images[:, 0, 0, 0] == 20, np.nan, 1.0)
            return super().__call__(inputs, training) | {"red": red, "anchors": tf.zeros([1, 3, 4])}

    evaluator = Evaluator(Broken([TRUTH]), records, EVAL_CONFIG, image_resizer=PADDED, batch_size=3)
    with pytest.raises(
        CheckpointError, match=r"^record 1: what the model predicts is infinite or not a number"
    ):
        evaluator.evaluate(step=7)
