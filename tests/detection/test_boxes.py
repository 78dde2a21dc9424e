import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from keras import ops

from boxtune.detection import boxes
from differentiation import gradients

UNIT = np.float32([0, 0, 1, 1])


def as_array(tensor):
    return np.asarray(tensor)


@st.composite
def some_boxes(draw, most=6):
    """float32 [n, 4] boxes that are not empty."""
    corners = draw(
        hnp.arrays(
            np.float32,
            (draw(st.integers(1, most)), 4),
            elements=st.floats(0, 0.9375, width=16),
        )
    )
    size = np.float32(0.0625) + corners[:, 2:]
    return np.concatenate([corners[:, :2], corners[:, :2] + size], axis=-1)


def test_area():
    # 2 high and 3 wide; empty by height; empty.
    measured = boxes.area(np.float32([[1, 1, 3, 4], [1, 1, 1, 4], [0, 0, 0, 0]]))
    np.testing.assert_array_equal(measured, [6, 0, 0])


@pytest.mark.parametrize(
    ("other", "iou"),
    [
        pytest.param([0, 0, 2, 2], 1, id="the same"),
        pytest.param([0, 1, 2, 3], 1 / 3, id="half of each: 2 of 4 + 4 - 2"),
        pytest.param([1, 1, 3, 3], 1 / 7, id="a quarter of each: 1 of 4 + 4 - 1"),
        pytest.param([0, 0, 1, 1], 1 / 4, id="within"),
        pytest.param([0, 2, 2, 4], 0, id="touching by a side"),
        pytest.param([2, 2, 4, 4], 0, id="touching by a corner"),
        pytest.param([5, 5, 6, 6], 0, id="apart by both coordinates"),
        pytest.param([1, 1, 1, 1], 0, id="a point within"),
        pytest.param([0, 1, 2, 1], 0, id="a line within"),
    ],
)
def test_iou(other, iou):
    measured = boxes.iou_pairwise(np.float32([[0, 0, 2, 2]]), np.float32([other]))
    np.testing.assert_allclose(measured, [[iou]], rtol=1e-6)


def test_iou_of_two_empty_boxes_is_no_division_by_zero():
    np.testing.assert_array_equal(boxes.iou_pairwise(np.zeros([1, 4]), np.zeros([1, 4])), [[0]])


def test_ioa_is_a_fraction_of_the_second_box():
    # The second box lies within the first, which is four times as large; the third is empty.
    first, second = np.float32([[0, 0, 2, 2]]), np.float32([[0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 3, 3]])
    np.testing.assert_allclose(boxes.ioa_pairwise(first, second), [[1, 0, 1 / 4]])
    np.testing.assert_allclose(boxes.ioa_pairwise(second[:1], first), [[1 / 4]])


def test_pairwise_overlaps_broadcast_over_a_batch():
    groundtruth = np.float32([[[0, 0, 2, 2]], [[0, 1, 2, 3]]])  # [b, n, 4]
    anchors = np.float32([[0, 0, 2, 2], [0, 1, 2, 3]])  # [a, 4]
    np.testing.assert_allclose(
        boxes.iou_pairwise(groundtruth, anchors), [[[1, 1 / 3]], [[1 / 3, 1]]], rtol=1e-6
    )


@given(some_boxes(), some_boxes())
def test_iou_is_symmetric_and_a_fraction(first, second):
    measured = as_array(boxes.iou_pairwise(first, second))
    np.testing.assert_array_equal(measured, as_array(boxes.iou_pairwise(second, first)).T)
    assert np.all((measured >= 0) & (measured <= 1))
    np.testing.assert_allclose(np.diag(boxes.iou_pairwise(first, first)), 1)


def test_clip():
    window = np.float32([1, 2, 3, 4])
    given_boxes = np.float32([[0, 0, 9, 9], [1.5, 2.5, 2, 3], [5, 5, 6, 6]])
    # Around the window: the window; within: itself; beside: nothing is left of it.
    np.testing.assert_array_equal(
        boxes.clip(given_boxes, window), [[1, 2, 3, 4], [1.5, 2.5, 2, 3], [3, 4, 3, 4]]
    )


def test_to_frame_of():
    # A window of 2 x 4 at (1, 2): its own frame is the unit square.
    window = np.float32([1, 2, 3, 6])
    moved = boxes.to_frame_of(ops.convert_to_tensor([[1.0, 2, 3, 6], [2, 4, 3, 5]]), window)
    np.testing.assert_array_equal(moved, [[0, 0, 1, 1], [0.5, 0.5, 1, 0.75]])


def test_to_centers():
    center_y, center_x, height, width = boxes.to_centers(np.float32([[1, 2, 3, 6]]))
    assert (center_y, center_x, height, width) == (2, 4, 2, 4)


@given(some_boxes())
def test_centers_and_back(given_boxes):
    np.testing.assert_allclose(boxes.from_centers(*boxes.to_centers(given_boxes)), given_boxes, atol=1e-6)


@given(some_boxes())
def test_clipped_boxes_lie_in_the_window(given_boxes):
    clipped = as_array(boxes.clip(given_boxes, UNIT))
    assert np.all((clipped >= 0) & (clipped <= 1))
    assert np.all(as_array(boxes.area(clipped)) <= as_array(boxes.area(given_boxes)) + 1e-6)


def test_rows_are_taken_of_each_of_a_batch():
    values = np.arange(24).reshape(2, 4, 3)
    taken = boxes.take_rows(ops.convert_to_tensor(values), ops.convert_to_tensor(np.int32([[3, 0], [1, 1]])))
    np.testing.assert_array_equal(
        ops.convert_to_numpy(taken), [[values[0, 3], values[0, 0]], [values[1, 1], values[1, 1]]]
    )


class TestOfPairs:
    """A box of 2 x 2, and one that shares a quarter of it, one that lies apart, itself, and an empty one."""

    ONE = np.float32([[0, 0, 2, 2]] * 4)
    OTHERS = np.float32([[1, 1, 3, 3], [0, 4, 2, 6], [0, 0, 2, 2], [5, 5, 5, 5]])

    def test_iou(self):
        np.testing.assert_allclose(boxes.iou(self.ONE, self.OTHERS), [1 / 7, 0, 1, 0], rtol=1e-6)

    def test_giou(self):
        # Around the first pair lies a box of 9, of which 2 are in neither; around the second one of 12, 4 in neither.
        expected = [1 / 7 - 2 / 9, -4 / 12, 1, -(25 - 4) / 25]
        np.testing.assert_allclose(boxes.giou(self.ONE, self.OTHERS), expected, rtol=1e-6)

    def test_nothing_around_nothing(self):
        empty = np.zeros([1, 4], np.float32)
        assert float(boxes.iou(empty, empty)[0]) == float(boxes.giou(empty, empty)[0]) == 0

    @pytest.mark.parametrize("overlap", [boxes.iou, boxes.giou])
    def test_slopes(self, overlap):
        rng = np.random.default_rng(0)
        corners = rng.uniform(0, 0.5, [2, 30, 2])
        one, other = np.concatenate([corners, corners + rng.uniform(0.2, 0.5, [2, 30, 2])], -1)
        for slope, moved in zip(gradients(lambda x, y: ops.sum(overlap(x, y)), *np.float32([one, other])), (0, 1),
                                strict=True):  # fmt: skip
            for side in range(4):
                step = np.zeros(4)
                step[side] = 1e-3
                steps = (step, 0 * step) if moved == 0 else (0 * step, step)
                up, down = (
                    ops.convert_to_numpy(
                        overlap(np.float32(one + sign * steps[0]), np.float32(other + sign * steps[1]))
                    )
                    for sign in (1, -1)
                )
                np.testing.assert_allclose(slope[:, side], (up - down) / 2e-3, atol=5e-3)

    def test_slopes_of_nothing_are_finite(self):
        empty = np.zeros([1, 4], np.float32)
        for slope in gradients(lambda x, y: ops.sum(boxes.giou(x, y) + boxes.iou(x, y)), empty, empty):
            assert np.isfinite(slope).all()


def test_thresholded_iou():
    # The IoU of a half is not more than a half.
    others = np.float32([[0, 0, 1, 0.5], [0, 0, 1, 0.6], [2, 2, 3, 3]])
    np.testing.assert_array_equal(boxes.thresholded_iou_pairwise(UNIT[None], others, 0.5), [[0, 1, 0]])


def test_negative_squared_distance():
    others = np.float32([[[0, 0, 1, 1], [1, 2, 1, 1]], [[0, 0, 0, 0], [0, 0, 1, 3]]])
    distances = boxes.negative_squared_distance_pairwise(UNIT[None, None], others)
    np.testing.assert_array_equal(distances, [[[0, -5]], [[-2, -4]]])
