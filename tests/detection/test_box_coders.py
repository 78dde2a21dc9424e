import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from boxtune.detection.box_coders import (
    FasterRcnnBoxCoder,
    KeypointBoxCoder,
    MeanStddevBoxCoder,
    SquareBoxCoder,
)

ANCHORS = np.float32([[0.2, 0.2, 0.6, 0.6], [0, 0.5, 0.1, 1.0]])

boxes = st.tuples(
    st.floats(0, 0.5, width=32),
    st.floats(0, 0.5, width=32),
    st.floats(0.0625, 0.5, width=32),
    st.floats(0.0625, 0.5, width=32),
).map(lambda part: np.float32([part[0], part[1], part[0] + part[2], part[1] + part[3]]))


def test_zero_encodings_are_the_anchor():
    decoded = FasterRcnnBoxCoder().decode(np.zeros([2, 4], np.float32), ANCHORS)
    np.testing.assert_allclose(decoded, ANCHORS, atol=1e-7)


def test_the_anchor_has_zero_encodings():
    np.testing.assert_allclose(FasterRcnnBoxCoder().encode(ANCHORS, ANCHORS), np.zeros([2, 4]), atol=1e-6)


def test_encode_by_hand():
    # The anchor is 2 high and 4 wide around (1, 2). The box is centred 1 below (half of 2) and 1 to the right
    # (a quarter of 4), as high (log 1) and e times as wide (log e).
    anchor = np.float32([[0, 0, 2, 4]])
    box = np.float32([[1, 3 - 2 * np.e, 3, 3 + 2 * np.e]])
    coder = FasterRcnnBoxCoder(y_scale=10, x_scale=20, height_scale=5, width_scale=7)
    np.testing.assert_allclose(coder.encode(box, anchor), [[5, 5, 0, 7]], atol=1e-5)


def test_decode_by_hand():
    anchor = np.float32([[0, 0, 2, 4]])
    coder = FasterRcnnBoxCoder(y_scale=10, x_scale=20, height_scale=5, width_scale=7)
    decoded = coder.decode(np.float32([[5, 5, 5 * np.log(2), 7 * np.log(0.5)]]), anchor)
    # Centre (2, 3), twice as high, half as wide.
    np.testing.assert_allclose(decoded, [[0, 2, 4, 4]], atol=1e-5)


@given(boxes, boxes)
def test_round_trip(box, anchor):
    coder = FasterRcnnBoxCoder()
    decoded = coder.decode(coder.encode(box[None], anchor[None]), anchor[None])
    np.testing.assert_allclose(decoded, box[None], atol=1e-5)


def test_an_empty_box_has_finite_encodings():
    # Padding has no size, and its encodings are multiplied by 0, which no infinity survives.
    encodings = FasterRcnnBoxCoder().encode(np.zeros([1, 4], np.float32), ANCHORS[:1])
    assert np.isfinite(np.asarray(encodings)).all()


def test_encodings_of_a_batch():
    encodings = np.zeros([3, 2, 4], np.float32)
    np.testing.assert_allclose(FasterRcnnBoxCoder().decode(encodings, ANCHORS), [ANCHORS] * 3, atol=1e-7)


class TestKeypointBoxCoder:
    # The anchor is 2 high and 4 wide around (1, 2).
    ANCHOR = np.float32([[0, 0, 2, 4]])
    CODER = KeypointBoxCoder(num_keypoints=2, y_scale=10, x_scale=20, height_scale=5, width_scale=7)

    def test_encode_by_hand(self):
        # One point at the centre, one half the height below and a quarter of the width to the right of it.
        encodings = self.CODER.encode(self.ANCHOR, self.ANCHOR, np.float32([[[1, 2], [2, 3]]]))
        np.testing.assert_allclose(encodings, [[0, 0, 0, 0, 0, 0, 5, 5]], atol=1e-5)
        assert self.CODER.code_size == 8

    def test_there_and_back_in_a_batch(self):
        rng = np.random.default_rng(0)
        boxes = np.float32([[[0, 0, 1, 3]], [[1, 1, 2, 4]]])
        points = rng.uniform(0, 4, [2, 1, 2, 2]).astype(np.float32)
        encodings = self.CODER.encode(boxes, self.ANCHOR, points)
        np.testing.assert_allclose(self.CODER.decode(encodings, self.ANCHOR), boxes, atol=1e-5)
        np.testing.assert_allclose(self.CODER.decode_keypoints(encodings, self.ANCHOR), points, atol=1e-5)

    def test_an_invisible_point_has_no_encoding(self):
        encodings = self.CODER.encode(self.ANCHOR, self.ANCHOR, np.float32([[[np.nan, np.nan], [2, 3]]]))
        np.testing.assert_array_equal(
            np.isnan(np.asarray(encodings)), [[False] * 4 + [True] * 2 + [False] * 2]
        )


class TestMeanStddevBoxCoder:
    def test_by_hand(self):
        anchors, boxes = np.float32([[0.1, 0.2, 0.5, 0.6]]), np.float32([[0.2, 0.2, 0.4, 0.7]])
        encodings = MeanStddevBoxCoder(0.1).encode(boxes, anchors)
        np.testing.assert_allclose(encodings, [[1, 0, -1, 1]], atol=1e-5)
        np.testing.assert_allclose(MeanStddevBoxCoder(0.1).decode(encodings, anchors), boxes, atol=1e-6)


class TestSquareBoxCoder:
    # 1 high and 4 wide around (0.5, 2): a length of 2.
    ANCHOR = np.float32([[0, 0, 1, 4]])

    def test_by_hand(self):
        # A square of 2 * e, 1 below (half of 2) and 1 to the right.
        box = np.float32([[1.5 - np.e, 3 - np.e, 1.5 + np.e, 3 + np.e]])
        coder = SquareBoxCoder(y_scale=10, x_scale=20, length_scale=5)
        encodings = coder.encode(box, self.ANCHOR)
        np.testing.assert_allclose(encodings, [[5, 10, 5]], atol=1e-4)
        np.testing.assert_allclose(coder.decode(encodings, self.ANCHOR), box, atol=1e-5)
        assert coder.code_size == 3

    def test_an_empty_box_has_finite_encodings(self):
        encodings = SquareBoxCoder().encode(np.zeros([1, 4], np.float32), self.ANCHOR)
        assert np.isfinite(np.asarray(encodings)).all()
