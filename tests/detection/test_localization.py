import numpy as np
import pytest
from keras import ops

from boxtune.detection import losses
from boxtune.detection.box_coders import FasterRcnnBoxCoder, KeypointBoxCoder
from boxtune.detection.localization import LocalizationLoss
from differentiation import gradients

CODER = FasterRcnnBoxCoder()
ANCHORS = np.float32([[0, 0, 2, 2], [0, 0, 1, 1]])


def lost(loss, encodings, targets, weights, coder=CODER):
    return ops.convert_to_numpy(loss(*tensors([encodings], [targets], [weights]), coder, ANCHORS))


def tensors(*arrays):
    return [ops.convert_to_tensor(array, dtype="float32") for array in arrays]


def test_encodings_are_compared_by_themselves():
    loss = LocalizationLoss(losses.smooth_l1)
    np.testing.assert_allclose(lost(loss, [[2, 0, 0, 0]] * 2, [[0] * 4] * 2, [1, 0.5]), [[1.5, 0.75]])


def test_a_squared_error_is_weighed_before():
    loss = LocalizationLoss(losses.squared_error, squares_weights=True)
    np.testing.assert_allclose(lost(loss, [[2, 0, 0, 0]] * 2, [[0] * 4] * 2, [1, 0.5]), [[2, 0.5]])


class TestOverlap:
    LOSS = LocalizationLoss(losses.iou_loss, of_boxes=True)

    def test_is_one_of_boxes(self):
        # Half an anchor (of 2) down and to the right is a code of 5: a quarter is shared.
        measured = lost(self.LOSS, [[5, 5, 0, 0], [0] * 4], [[0] * 4] * 2, [1, 1])
        np.testing.assert_allclose(measured, [[6 / 7, 0]], atol=1e-6)

    @pytest.mark.parametrize("measure", [losses.iou_loss, losses.giou_loss])
    def test_weights_of_0_have_no_gradient(self, measure):
        loss = LocalizationLoss(measure, of_boxes=True)
        # exp(2000 / 5) is no float.
        encodings = np.float32([[[5, 5, 0, 0], [0, 0, 2000, 2000]]])
        targets, weights = tensors(np.zeros([1, 2, 4]), [[1, 0]])
        (slope,) = gradients(lambda x: ops.sum(loss(x, targets, weights, CODER, ANCHORS)), encodings)
        assert np.isfinite(slope).all()
        assert slope[0, 0].any()
        assert not slope[0, 1].any()


def test_invisible_keypoints_have_no_loss():
    loss, coder = LocalizationLoss(losses.smooth_l1), KeypointBoxCoder(num_keypoints=1)
    encodings = np.float32([[[0] * 4 + [7, 7], [0] * 4 + [1, 1]]])
    targets, weights = tensors([[[0] * 4 + [np.nan] * 2, [0] * 6]], [[1, 1]])
    np.testing.assert_allclose(
        loss(ops.convert_to_tensor(encodings), targets, weights, coder, ANCHORS), [[0, 1]]
    )
    (slope,) = gradients(lambda x: ops.sum(loss(x, targets, weights, coder, ANCHORS)), encodings)
    np.testing.assert_allclose(slope, [[[0] * 6, [0] * 4 + [1, 1]]])
