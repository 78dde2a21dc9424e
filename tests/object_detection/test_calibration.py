"""How far scores are the probabilities that detections are right, from tensors."""

import numpy as np
import pytest
import tensorflow as tf

from object_detection.metrics.calibration_evaluation import CalibrationDetectionEvaluator
from object_detection.metrics.calibration_metrics import expected_calibration_error

TAG = "CalibrationError/ExpectedCalibrationError"


def test_the_error_of_scores():
    # In the bin of 0.75: half is right, so 0.25 off; in that of 0.25 none is. Weighted alike.
    for right, scores in (
        ([1, 0, 0, 0], [0.75, 0.75, 0.25, 0.25]),
        ([[1, 0], [0, 0]], [[0.75, 0.75], [0.25, 0.25]]),
    ):
        value, update = expected_calibration_error(tf.constant(right), tf.constant(scores))
        assert float(value) == float(update) == pytest.approx(0.25)
    # In one bin of all: mean score 0.5, a quarter is right; over two the same as above.
    assert float(expected_calibration_error([1, 0, 0, 0], [0.75, 0.75, 0.25, 0.25], 1)[0]) == pytest.approx(
        0.25
    )
    assert float(expected_calibration_error([1, 0], [0.6, 0.8], 1)[0]) == pytest.approx(0.2)
    assert float(expected_calibration_error([1, 0], [0.6, 0.8], 2)[0]) == pytest.approx(0.2)
    assert float(expected_calibration_error([1, 0], [0.6, 0.8], 10)[0]) == pytest.approx(0.6)
    assert np.isnan(expected_calibration_error(np.zeros(0), np.zeros(0))[0])


A, B, AWAY = [0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0], [50.0, 50.0, 60.0, 60.0]


def test_detections_that_are_right():
    evaluator = CalibrationDetectionEvaluator([{"id": 1, "name": "ant"}, {"id": 2, "name": "bee"}])
    image = (
        tf.constant([A, B]),
        tf.constant([1, 2]),
        1,
        tf.constant([A, A, B, AWAY, A]),
        tf.constant([1, 2, 2, 1, 1]),
        4,
    )
    # Right, another class, an object that is padding, nothing there, padding.
    assert evaluator.match_single_image_info(image).numpy().tolist() == [1, 0, 0, 0, 0]
    nothing = (tf.zeros([0, 4]), tf.zeros([0], tf.int32), 0, tf.constant([A]), tf.constant([1]), 1)
    assert evaluator.match_single_image_info(nothing).numpy().tolist() == [0]


def test_the_error_of_a_batch():
    evaluator = CalibrationDetectionEvaluator([{"id": 1, "name": "ant"}])
    batch = {
        "key": tf.constant(["a", "b"]),
        "groundtruth_boxes": tf.constant([[A], [B]]),
        "groundtruth_classes": tf.constant([[1], [1]]),
        "detection_boxes": tf.constant([[A, AWAY], [AWAY, AWAY]]),
        "detection_classes": tf.constant([[1, 1], [1, 1]]),
        "detection_scores": tf.constant([[0.5, 0.5], [0.75, 0.75]]),
    }
    error, _ = evaluator.get_estimator_eval_metric_ops(batch)[TAG]
    assert float(error) == pytest.approx(0.75 / 2)  # 0 of the first, of which half is right
    more = {"is_annotated": tf.constant([True, False]), "num_detections": tf.constant([1, 2])}
    error, _ = evaluator.get_estimator_eval_metric_ops(batch | more)[TAG]
    assert float(error) == pytest.approx(0.5)  # of the one that counts, which is right
    error, _ = evaluator.get_estimator_eval_metric_ops({name: value[1] for name, value in batch.items()})[TAG]
    assert float(error) == pytest.approx(0.75)


def test_nothing_is_kept():
    evaluator = CalibrationDetectionEvaluator([])
    for call in (
        evaluator.evaluate,
        evaluator.clear,
        lambda: evaluator.add_single_detected_image_info("a", {}),
        lambda: evaluator.add_single_ground_truth_image_info("a", {}),
    ):
        with pytest.raises(NotImplementedError):
            call()
