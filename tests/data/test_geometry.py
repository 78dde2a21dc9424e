"""Where boxes go: by hand, there and back again, and the same eagerly as inside of `tf.data`."""

import math
from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from boxtune.data import geometry
from boxtune.data.augmentation import operations
from boxtune.data.geometry import Window
from boxtune.data.input import as_written
from samples import sample

WHOLE = [0.0, 0.0, 1.0, 1.0]
QUARTER = Window((20, 30), (20, 30), (40, 60))  # the lower right one
SIZE = tf.constant([80, 120])
TURN = operations.rotation(30.0, SIZE)

# TensorFlow takes subnormal numbers for 0.
fractions = st.floats(0, 1, width=32, allow_subnormal=False)
some_boxes = st.lists(st.tuples(*[fractions] * 4), max_size=5).map(
    lambda drawn: np.float32([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in drawn]).reshape(
        -1, 4
    )
)


@st.composite
def windows(draw):
    """Windows of whole pixels that lie in images of up to 50 x 50."""
    frame = [draw(st.integers(1, 50)), draw(st.integers(1, 50))]
    size = [draw(st.integers(1, side)) for side in frame]
    start = [draw(st.integers(0, side - part)) for side, part in zip(frame, size, strict=True)]
    return Window(*(tf.constant(pair) for pair in (start, size, frame)))


class TestByHand:
    @pytest.mark.parametrize(
        ("move", "expected"),
        [
            (geometry.flip_left_right, [0.1, 0.4, 0.3, 0.8]),  # x becomes 1 - x, and so left becomes right
            (geometry.flip_up_down, [0.7, 0.2, 0.9, 0.6]),
            (geometry.rotate_90, [0.4, 0.1, 0.8, 0.3]),  # y becomes 1 - x, and x becomes y
        ],
    )
    def test_flips_and_rotations(self, move, expected):
        np.testing.assert_allclose(move(tf.constant([[0.1, 0.2, 0.3, 0.6]])), [expected], rtol=1e-6)

    @pytest.mark.parametrize(
        ("box", "expected"),
        [
            ([0.5, 0.5, 1, 1], WHOLE),
            ([0.5, 0.75, 0.75, 1], [0, 0.5, 0.5, 1]),
            (WHOLE, [-1, -1, 1, 1]),  # reaches beyond the window
            ([0, 0, 0.5, 0.5], [-1, -1, 0, 0]),
        ],
    )
    def test_the_lower_right_quarter(self, box, expected):
        np.testing.assert_array_equal(geometry.to_window(tf.constant([box]), QUARTER), np.float32([expected]))
        back = geometry.from_window(tf.constant([expected], tf.float32), QUARTER)
        np.testing.assert_array_equal(back, np.float32([box]))

    def test_a_place_in_a_larger_image(self):
        # 40 x 60, at 10, 20 of 80 x 120: its upper half is rows 10 to 30, columns 20 to 80.
        placed = geometry.from_window(tf.constant([[0, 0, 0.5, 1.0]]), Window((10, 20), (40, 60), (80, 120)))
        np.testing.assert_allclose(placed, [[10 / 80, 20 / 120, 30 / 80, 80 / 120]], rtol=1e-6)

    def test_windows_as_boxes(self):
        np.testing.assert_array_equal(QUARTER.end, [40, 60])
        np.testing.assert_array_equal(QUARTER.box, [0.5, 0.5, 1, 1])
        two = Window(tf.constant([[0, 0], [20, 15]]), tf.constant([20, 15]), tf.constant([40, 60]))
        np.testing.assert_array_equal(two.box, [[0, 0, 0.5, 0.25], [0.5, 0.25, 1, 0.5]])

    @pytest.mark.parametrize(
        ("box", "start", "size"),
        [
            ([0.25, 0.5, 0.5, 0.75], (10, 30), (10, 15)),  # at the edges of pixels
            ([0.26, 0.51, 0.51, 0.76], (10, 30), (11, 16)),  # 10.4 to 20.4 and 30.6 to 45.6
            ([0.5, 0.5, 0.5, 0.5], (20, 30), (1, 1)),  # a point
            ([1, 1, 1, 1], (39, 59), (1, 1)),
            ([-0.5, 0.5, 2, 3], (0, 30), (40, 30)),
            ([-3, -3, -2, -2], (0, 0), (1, 1)),
            ([2, 2, 3, 3], (39, 59), (1, 1)),
        ],
    )
    def test_pixels_of_a_box(self, box, start, size):
        window = geometry.pixels_of(tf.constant(box, tf.float32), tf.constant([40, 60]))
        np.testing.assert_array_equal(window, [start, size, (40, 60)])
        assert window.start.dtype == window.size.dtype == tf.int32

    def test_sides_centers_and_areas(self):
        boxes = tf.constant([[0.25, 0.5, 0.5, 1.0], [0.5, 0.5, 0.5, 1.0]])
        np.testing.assert_array_equal(geometry.sides(boxes), [[0.25, 0.5], [0, 0.5]])
        np.testing.assert_array_equal(geometry.centers(boxes), [[0.375, 0.75], [0.5, 0.75]])
        np.testing.assert_array_equal(geometry.areas(boxes), [0.125, 0])
        np.testing.assert_array_equal(geometry.areas(boxes[None]), [[0.125, 0]])

    def test_clip(self):
        clipped = geometry.clip(tf.constant([[-0.5, 0.25, 0.5, 1.5], [-2.0, 0.25, -1.0, 0.5]]))
        np.testing.assert_array_equal(clipped, [[0, 0.25, 0.5, 1], [0, 0.25, 0, 0.5]])

    def test_fractions_inside(self):
        # An eighth of the image, a quarter of the second box, all of the third; the fourth touches; no area.
        boxes = tf.constant(
            [WHOLE, [0, 0.25, 0.5, 0.75], [0.1, 0.6, 0.2, 0.7], [0, 0, 0.25, 0.5], [0.1, 0.6, 0.1, 0.7]]
        )
        box = tf.constant([0.0, 0.5, 0.25, 1.0])
        expected = [0.125, 0.25, 1, 0, 0]
        np.testing.assert_array_equal(geometry.fractions_inside(boxes, box), expected)
        # Of the left half, as a second one: half, half, nothing, all, nothing.
        both = tf.stack([box, [0.0, 0.0, 1.0, 0.5]])[:, None]
        np.testing.assert_array_equal(geometry.fractions_inside(boxes, both), [expected, [0.5, 0.5, 0, 1, 0]])

    def test_stretch(self):
        # Half-sides of 0.1 and 0.2 around 0.5, 0.6, times 1, 1.5, 0.5 and 2.
        boxes = geometry.stretch(tf.constant([[0.4, 0.4, 0.6, 0.8]]), tf.constant([[1, 1.5, 0.5, 2]]))
        np.testing.assert_allclose(boxes, [[0.4, 0.3, 0.55, 1.0]], atol=1e-6)


class TestWarp:
    def test_by_hand(self):
        # By 2 of 10 pixels to the left; what leaves the image is not cut.
        size = tf.constant([10, 10])
        moved = geometry.warp_boxes(
            tf.constant([[0.0, 0.0, 0.5, 0.5]]), size, operations.translation(2.0, 0.0)
        )
        np.testing.assert_allclose(moved, [[0, -0.2, 0.5, 0.3]], atol=1e-6)

    def test_a_rotated_box_is_around_its_corners(self):
        # A square of 2 around the centre, by 45 degrees: half its diagonal is 2 ** 0.5.
        size = tf.constant([10, 10])
        boxes = geometry.warp_boxes(
            tf.constant([[0.4, 0.4, 0.6, 0.6]]), size, operations.rotation(45.0, size)
        )
        half = math.sqrt(2) / 10
        np.testing.assert_allclose(boxes, [[0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half]], atol=1e-5)

    @pytest.mark.parametrize(
        "matrix",
        [
            operations.translation(7.0, -4.0),
            operations.shear(0.3, 0.0),
            operations.shear(0.0, -0.3),
            TURN,
            operations.rotation(-17.0, SIZE),
        ],
        ids=["translation", "shear x", "shear y", "rotation", "rotation back"],
    )
    def test_a_box_moves_with_what_is_in_it(self, matrix):
        image = np.zeros((80, 120, 3), np.uint8)
        image[30:50, 40:90] = 255
        moved = operations.warp(tf.constant(image), matrix).numpy()
        rows, columns = np.nonzero((moved == 255).all(-1))
        painted = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        box = tf.constant([[30 / 80, 40 / 120, 50 / 80, 90 / 120]])
        found = geometry.warp_boxes(box, SIZE, matrix).numpy()[0] * [80, 120, 80, 120]
        np.testing.assert_allclose(found, painted, atol=1)

    def test_a_quarter_of_a_turn_is_that(self):
        boxes = tf.constant([[0.1, 0.2, 0.3, 0.6], WHOLE])
        size = tf.constant([30, 30])
        warped = geometry.warp_boxes(boxes, size, operations.rotation(90.0, size))
        np.testing.assert_allclose(warped, geometry.rotate_90(boxes), atol=1e-5)


class TestInverses:
    # Sixteenths, so that 1 - x is exact.
    EXACT = tf.constant([[0, 0.25, 0.5, 0.75], [0.5, 0.125, 1, 0.9375], WHOLE])

    @pytest.mark.parametrize(
        ("move", "times"),
        [(geometry.flip_left_right, 2), (geometry.flip_up_down, 2), (geometry.rotate_90, 4)],
    )
    def test_often_enough_is_nothing(self, move, times):
        moved = self.EXACT
        for done in range(1, times + 1):
            moved = move(moved)
            assert np.array_equal(moved, self.EXACT) == (done == times)

    def test_half_a_turn_is_both_flips(self):
        both = geometry.flip_up_down(geometry.flip_left_right(self.EXACT))
        np.testing.assert_array_equal(geometry.rotate_90(geometry.rotate_90(self.EXACT)), both)

    @settings(max_examples=40)
    @given(some_boxes, windows())
    def test_into_a_window_and_out_of_it(self, boxes, window):
        around = geometry.from_window(tf.constant(boxes), window)
        # A window of a pixel of 50: the rounding of a box counts fifty times.
        np.testing.assert_allclose(geometry.to_window(around, window), boxes, atol=2e-5)
        within = geometry.to_window(tf.constant(boxes), window)
        np.testing.assert_allclose(geometry.from_window(within, window), boxes, atol=2e-5)

    @settings(max_examples=40)
    @given(windows())
    def test_a_window_is_all_of_its_frame(self, window):
        np.testing.assert_allclose(geometry.to_window(window.box[None], window), [WHOLE], atol=1e-5)
        np.testing.assert_allclose(
            geometry.from_window(tf.constant([WHOLE]), window), window.box[None], atol=1e-6
        )
        found = geometry.pixels_of(window.box, window.frame)
        for one, other in zip(found, window, strict=True):
            np.testing.assert_allclose(one, other, atol=1)  # a rounding may let a pixel more in

    @settings(max_examples=40)
    @given(some_boxes, windows())
    def test_what_is_placed_lies_in_its_window(self, boxes, window):
        placed = geometry.from_window(tf.constant(boxes), window)
        inside = geometry.fractions_inside(placed, window.box)
        has_area = geometry.areas(placed) > 1e-6
        np.testing.assert_allclose(tf.boolean_mask(inside, has_area), 1, atol=0.05)
        assert np.all((inside >= 0) & (inside <= 1))

    @settings(max_examples=40)
    @given(some_boxes, st.integers(1, 1000), st.integers(1, 1000))
    def test_the_whole_image_as_a_window_changes_no_bit(self, boxes, height, width):
        whole = Window(tf.constant([0, 0]), tf.constant([height, width]), tf.constant([height, width]))
        np.testing.assert_array_equal(geometry.to_window(tf.constant(boxes), whole), boxes)


class TestToInputFrame:
    def test_by_hand(self):
        # Image are 30 x 40 of 40 x 40, three quarters of the height; then 40 x 20, half of the width.
        boxes = tf.constant([[[0, 0, 1, 1], [0.5, 0.25, 0.75, 0.5]]] * 2, tf.float32)
        moved = geometry.to_input_frame(boxes, tf.constant([[30, 40], [40, 20]]), (40, 40))
        expected = [
            [[0, 0, 0.75, 1], [0.375, 0.25, 0.5625, 0.5]],
            [[0, 0, 1, 0.5], [0.5, 0.125, 0.75, 0.25]],
        ]
        np.testing.assert_array_equal(moved, np.float32(expected))

    @settings(max_examples=40)
    @given(some_boxes, st.integers(1, 5000), st.integers(1, 5000))
    def test_without_padding_no_bit_changes(self, boxes, height, width):
        moved = geometry.to_input_frame(
            tf.constant(boxes)[None], tf.constant([[height, width]]), (height, width)
        )
        np.testing.assert_array_equal(moved, boxes[None])

    @settings(max_examples=40)
    @given(some_boxes, windows())
    def test_it_is_a_place_at_the_top_left(self, boxes, window):
        corner = window._replace(start=(0, 0))
        moved = geometry.to_input_frame(tf.constant(boxes)[None], corner.size[None], corner.frame)
        np.testing.assert_allclose(moved[0], geometry.from_window(tf.constant(boxes), corner), atol=1e-6)

    def test_no_boxes(self):
        assert geometry.to_input_frame(tf.zeros([2, 0, 4]), tf.ones([2, 2], tf.int32), (3, 3)).shape == (
            2,
            0,
            4,
        )


MOVEMENTS = {
    "left right": geometry.flip_left_right,
    "up down": geometry.flip_up_down,
    "rotation": geometry.rotate_90,
    "crop": partial(geometry.to_window, window=QUARTER),
    "place": partial(geometry.from_window, window=QUARTER),
    "warp": partial(geometry.warp_boxes, size=SIZE, matrix=TURN),
}


@pytest.mark.parametrize("name", MOVEMENTS)
class TestMovements:
    def test_they_move_objects_and_nothing_else(self, name):
        given_sample = sample()
        moved = geometry.move_objects(given_sample, MOVEMENTS[name])
        assert not np.array_equal(moved.pop("boxes"), given_sample.pop("boxes"))
        assert moved.keys() == given_sample.keys()
        assert all(moved[part] is given_sample[part] for part in moved)

    def test_no_objects(self, name):
        assert geometry.move_objects(sample([]), MOVEMENTS[name])["boxes"].shape == (0, 4)

    def test_in_tf_data_as_eagerly(self, name):
        drawn = np.random.default_rng(0).uniform(0, 1, (20, 6, 4)).astype(np.float32)
        boxes_of = tf.data.Dataset.from_tensor_slices(drawn)
        inside = boxes_of.map(
            as_written(lambda boxes: geometry.move_objects({"boxes": boxes}, MOVEMENTS[name]))
        )
        for boxes, moved in zip(drawn, inside.as_numpy_iterator(), strict=True):
            np.testing.assert_array_equal(moved["boxes"], MOVEMENTS[name](tf.constant(boxes)))


@pytest.mark.parametrize(
    "change",
    [
        geometry.clip,
        geometry.areas,
        geometry.sides,
        geometry.centers,
        lambda boxes: geometry.fractions_inside(boxes, QUARTER.box),
        lambda boxes: geometry.fractions_inside(boxes, tf.stack([QUARTER.box, WHOLE])[:, None]),
        lambda boxes: geometry.stretch(boxes, tf.fill(tf.shape(boxes), 0.7)),
        lambda boxes: geometry.pixels_of(boxes[0], SIZE).box,
        lambda boxes: geometry.to_input_frame(boxes[None], tf.constant([[30, 40]]), (41, 47)),
    ],
)
def test_in_tf_data_as_eagerly(change):
    drawn = np.random.default_rng(1).uniform(-0.2, 1.2, (20, 6, 4)).astype(np.float32)
    for boxes, changed in zip(
        drawn,
        tf.data.Dataset.from_tensor_slices(drawn).map(as_written(change)).as_numpy_iterator(),
        strict=True,
    ):
        np.testing.assert_array_equal(changed, change(tf.constant(boxes)))
