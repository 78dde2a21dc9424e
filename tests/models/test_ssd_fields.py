"""Fields of `model.ssd` that no stock recipe sets, from the configuration to what the detector does."""

import numpy as np
import pytest
from google.protobuf import text_format
from keras import ops

from boxtune import config, models
from boxtune.detection import losses
from boxtune.detection.box_coders import FasterRcnnBoxCoder
from boxtune.detection.localization import LocalizationLoss
from boxtune.detection.matching import ArgMaxMatcher
from boxtune.errors import ConfigError
from boxtune.models import ssd

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


class TestLoss:
    """Two anchors and an object of class 1, which is the first anchor; all logits are 0."""

    ANCHORS = np.float32([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]])
    BIT = np.log(2)  # the cross entropy of a logit of 0

    def loss(self, logits=((0,) * 3,) * 2, *, classes=(1,), class_scores=None, **options):
        """Return the classification loss; all objects have the box of the first anchor."""
        loss = ssd.SSDLoss(
            num_classes=2,
            matcher=ArgMaxMatcher(),
            box_coder=FasterRcnnBoxCoder(),
            localization_loss=LocalizationLoss(losses.smooth_l1),
            **{"classification_loss": losses.sigmoid_cross_entropy} | options,
        )
        groundtruth = {
            "boxes": np.repeat(self.ANCHORS[None, :1], len(classes), axis=1),
            "classes": np.int32([classes]),
            "weights": np.ones([1, len(classes)], np.float32),
            "valid": np.ones([1, len(classes)], bool),
        }
        if class_scores is not None:
            groundtruth["class_scores"] = np.float32([class_scores])
        tensors = {name: ops.convert_to_tensor(part) for name, part in groundtruth.items()}
        encodings = np.zeros([1, 2, 4], np.float32)
        terms = loss(*map(ops.convert_to_tensor, (encodings, np.float32([logits]), self.ANCHORS)), tensors)
        return float(terms["classification_loss"])

    def test_equal_boxes_are_merged(self):
        both = ((-50, 50, 50), (50, -50, -50))
        # Merged, nothing is wrong. Not merged, the first object has the anchor alone: the second class is wrong by 50.
        assert self.loss(both, classes=(0, 1), merge_equal_boxes=True) == pytest.approx(0, abs=1e-5)
        assert self.loss(both, classes=(0, 1)) == pytest.approx(50, rel=1e-5)

    def test_merged_objects_weigh_as_their_classes_on_average(self):
        options = {"class_weights": np.float32([7, 3]), "merge_equal_boxes": True}
        # The first anchor weighs 5, the background 1: three logits each.
        assert self.loss(classes=(0, 1), **options) == pytest.approx((5 + 1) * 3 * self.BIT, rel=1e-5)
        assert self.loss(classes=(1,), **options) == pytest.approx((3 + 1) * 3 * self.BIT, rel=1e-5)

    def test_class_scores_are_the_targets(self):
        # Cross entropy of logits l and targets t: log(1 + e^l) - t l. At l = 1 of the first anchor, for targets 0 (the
        # background), 0.25 and 0.5, and log 2 for each logit of the other one.
        measured = self.loss(((1, 1, 1), (0, 0, 0)), class_scores=[[0.25, 0.5]])
        assert measured == pytest.approx(3 * np.log(1 + np.e) - 0.75 + 3 * self.BIT, rel=1e-5)

    def test_classes_that_are_not_there_may_weigh_less(self):
        # The first anchor has the second class and is no background: two logits of weight 1, and one of 0.25. The
        # other has nothing: three of 0.25.
        measured = self.loss(implicit_weight=0.25)
        assert measured == pytest.approx((2 + 0.25 + 3 * 0.25) * self.BIT, rel=1e-5)

    def test_so_they_may_without_background(self):
        # One logit of weight 1, three of 0.25.
        options = {"add_background_class": False, "background_as_zeros": True, "implicit_weight": 0.25}
        assert self.loss(((0, 0),) * 2, **options) == pytest.approx((1 + 3 * 0.25) * self.BIT, rel=1e-5)

    def test_so_they_may_within_dice(self):
        # Each class is predicted with 0.5 at both anchors, whose weights are 1 and 0.25, but for the first class.
        # The background is at the second anchor: 1 - 2 * 0.125 * 0.25 / (0.5 + 0.125 + 0.25). The first class: 1.
        # The second class is at the first anchor: 1 - 2 * 0.5 / (0.5 + 0.125 + 1).
        options = {"classification_loss": losses.dice, "weighs_inside": True, "implicit_weight": 0.25}
        assert self.loss(**options) == pytest.approx(3 - 0.0625 / 0.875 - 1 / 1.625)

    def test_exclusive_classes_have_their_mean_weight(self):
        # Log 3 for each anchor, times (1 + 1 + 0.25) / 3 and 0.25.
        options = {"classification_loss": losses.softmax_cross_entropy, "implicit_weight": 0.25}
        assert self.loss(**options) == pytest.approx((0.75 + 0.25) * np.log(3), rel=1e-5)


class TestImplicitWeight:
    def test_it_is_read(self):
        text = "use_confidences_as_targets: true implicit_example_weight: 0.5"
        assert models.build(section(text)).loss.implicit_weight == 0.5

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            (
                "implicit_example_weight: 0.5",
                "is 0.5, but without use_confidences_as_targets it has no effect",
            ),
            ("use_confidences_as_targets: true implicit_example_weight: -1", "is -1; it must be at least 0"),
            (
                "use_confidences_as_targets: true implicit_example_weight: nan",
                "is nan; it must be at least 0",
            ),
        ],
    )
    def test_invalid_values_are_refused(self, text, error):
        with pytest.raises(ConfigError, match=f"implicit_example_weight {error}"):
            ssd._implicit_weight(section(text).ssd)


def test_merging_is_read():
    options = models.Options(merge_multiple_label_boxes=True)
    assert models.build(section(), options).loss.merge_equal_boxes
