"""An evaluation in TensorBoard, under the API's tags."""

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from boxtune.metrics.analysis import analyse
from boxtune.report.tensorboard import NUM_THRESHOLDS, class_curves, class_numbers, write_summaries
from image_results import image_result

A, B, FAR = [0, 0, 50, 50], [100, 100, 150, 150], [10, 120, 60, 180]


@pytest.fixture(scope="module")
def analysis():
    """Three cats, of which two are found, one more seen where there is none; a crowd of dogs; no birds."""
    images = [
        image_result([(A, 0), (B, 0)], [(A, 0, 0.9), (FAR, 0, 0.6)], name="a.jpg"),
        image_result([(A, 0), (B, 1)], [(A, 0, 0.3), (B, 1, 0.8)], name="b.jpg", is_crowd=[False, True]),
    ]
    return analyse(
        images, ["cat", "dog", "bird"], step=40, metrics={"m": 0.5, "none": -1.0}, losses={"l": 2.0}
    )


def at(score):
    return round(score * (NUM_THRESHOLDS - 1))


def test_curves_count_what_reaches_each_threshold(analysis):
    curves = class_curves(analysis)
    assert curves.keys() == {"precision_over_recall/cat"}  # a crowd is no expected dog
    curve = curves["precision_over_recall/cat"]
    assert curve.shape == (6, NUM_THRESHOLDS)
    # true positives, false positives, true negatives, false negatives, precision, recall
    np.testing.assert_allclose(curve[:, at(0.2)], [2, 1, 0, 1, 2 / 3, 2 / 3])
    np.testing.assert_allclose(curve[:, at(0.5)], [1, 1, 0, 2, 1 / 2, 1 / 3])
    np.testing.assert_allclose(curve[:, at(0.7)], [1, 0, 0, 2, 1, 1 / 3])
    np.testing.assert_allclose(curve[:, at(1.0)], [0, 0, 0, 3, 0, 0])


def test_numbers_of_classes_with_objects(analysis):
    numbers = class_numbers(analysis)
    assert numbers.keys() == {
        "DetectionBoxes_PerformanceByCategory/mAP/cat", "DetectionBoxes_Precision/mAP@.50IOU ByCategory/cat",
        "DetectionBoxes_Precision/mAP@.75IOU ByCategory/cat", "DetectionBoxes_Recall/AR@100 ByCategory/cat",
    }  # fmt: skip
    assert numbers["DetectionBoxes_Recall/AR@100 ByCategory/cat"] == pytest.approx(2 / 3)


def test_everything_is_written_for_its_step(analysis, tmp_path):
    images = [np.full([8, 16, 3], value, np.uint8) for value in (7, 200)]
    write_summaries(analysis, tmp_path, 40, images)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["tensors"]) == {
        # "none" would be a flat line at -1.
        "m", "l", *class_numbers(analysis), "precision_over_recall/cat", "confusion_matrix",
        "eval_side_by_side_0_0", "eval_side_by_side_1_0",
    }  # fmt: skip
    (written,) = events.Tensors("m")
    assert (written.step, tf.make_ndarray(written.tensor_proto)) == (40, np.float32(0.5))
    assert events.SummaryMetadata("precision_over_recall/cat").plugin_data.plugin_name == "pr_curves"
    (curve,) = events.Tensors("precision_over_recall/cat")
    np.testing.assert_allclose(
        tf.make_ndarray(curve.tensor_proto), class_curves(analysis)["precision_over_recall/cat"], rtol=1e-6
    )
    (image,) = events.Tensors("eval_side_by_side_1_0")
    width, height, png = tf.make_ndarray(image.tensor_proto)
    assert (width, height) == (b"16", b"8")
    np.testing.assert_array_equal(tf.io.decode_png(png), images[1])
