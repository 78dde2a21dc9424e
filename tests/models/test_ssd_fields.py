"""Fields of `model.ssd` that no stock recipe sets, from the configuration to what the detector does."""

import numpy as np
import pytest
from google.protobuf import text_format
from keras import ops

from boxtune import config, models
from boxtune.errors import ConfigError

SIDE = 96


def section(text=""):
    """Return the stock `model` of two classes and small images, with `text` merged into its `ssd`."""
    stock = config.recipe("ssd_mobilenet_v2_keras").model
    stock.ssd.num_classes = 2
    stock.ssd.feature_extractor.depth_multiplier = 0.35
    resizer = stock.ssd.image_resizer.fixed_shape_resizer
    resizer.height = resizer.width = SIDE
    text_format.Merge(text, stock.ssd)
    return stock


def predicted(detector, logits):
    """Return Inputs, and Predictions of which all anchors have the same logits [c + 1], and boxes their own."""
    inputs = {"images": np.zeros([1, SIDE, SIDE, 3], np.float32), "sizes": np.int32([[SIDE, SIDE]])}
    predictions = detector(inputs, training=False)
    classes = predictions["class_predictions_with_background"]
    return inputs, predictions | {
        "box_encodings": ops.zeros_like(predictions["box_encodings"]),
        "class_predictions_with_background": ops.zeros_like(classes) + np.float32(logits),
    }


class TestCalibration:
    LOGITS = (0, np.log(3), -np.log(3))  # of scores 0.5 (the background), 0.75 and 0.25

    def halving(self, *columns):
        """Return the stock section with the scores of some columns halved."""
        stock = section()
        calibration = stock.ssd.post_processing.calibration_config.class_id_function_approximations
        for column in columns:
            pairs = calibration.class_id_xy_pairs_map[column]
            text_format.Merge("x_y_pair { x: 0 y: 0 } x_y_pair { x: 1 y: 0.5 }", pairs)
        return stock

    def test_scores_are_calibrated_before_suppression(self):
        stock = self.halving(0, 1)
        stock.ssd.post_processing.batch_non_max_suppression.score_threshold = 0.3
        detector = models.build(stock)
        inputs, predictions = predicted(detector, self.LOGITS)
        # Column 0 is the background, column 1 the first class: halved, it still passes the threshold.
        _, scores = detector.candidates(inputs, predictions)
        np.testing.assert_allclose(ops.convert_to_numpy(scores)[0, 0], [0.375, 0.25], rtol=1e-5)
        found = detector.detect(inputs, predictions)
        count = int(found.count[0])
        assert count > 0
        np.testing.assert_allclose(ops.convert_to_numpy(found.scores)[0, :count], 0.375, rtol=1e-5)
        np.testing.assert_array_equal(ops.convert_to_numpy(found.classes)[0, :count], 0)
        raw = detector.raw_outputs(inputs, predictions, found)["raw_detection_scores"]
        np.testing.assert_allclose(ops.convert_to_numpy(raw)[0, 0], [0.25, 0.375, 0.25], rtol=1e-5)

    def test_halved_scores_may_fail_the_threshold(self):
        stock = self.halving(1)
        stock.ssd.post_processing.batch_non_max_suppression.score_threshold = 0.5
        detector = models.build(stock)
        assert int(detector.detect(*predicted(detector, self.LOGITS)).count[0]) == 0

    def test_keys_are_columns_of_scores(self):
        with pytest.raises(ConfigError, match="has the key 3; the scores are numbered from 0 to 2"):
            models.build(self.halving(3))
