import numpy as np
import pytest
import tensorflow as tf

from boxtune.data.augmentation import mixing
from boxtune.data.augmentation.mixing import Mixing
from boxtune.errors import ConfigError
from samples import BOXES, assert_same, run, run_seeds, sample, unchanged

WHOLE = [[0.0, 0.0, 1.0, 1.0]]


def flat(value, height=40, width=60, boxes=WHOLE):
    """An image of one colour and, for each box, an object of that class."""
    given = sample(boxes, image=np.full((height, width, 3), value))
    return given | {"classes": np.full(len(boxes), value, np.int32), "filename": b"%d.jpg" % value}


def tensors(given):
    return {name: tf.constant(value) for name, value in given.items()}


def drawing(*samples):
    """A function that draws one of `samples`, the same shapes or not, by the last part of its seed."""
    draws = [lambda one=one: tensors(one) for one in samples]
    return lambda seed: tf.switch_case(tf.math.floormod(seed[1], len(draws)), draws)


class TestMosaic:
    def mosaic(self, samples, center=(0.5, 0.5), position=0.0):
        return mixing.mosaic(
            [tensors(one) for one in samples], tf.constant(center), tf.fill([4, 2], position)
        )

    def test_by_hand(self):
        # Four whole images of other sizes into 40 x 60, that meet at row 10 and column 45.
        samples = [flat(1), flat(2, 100, 150), flat(3, 7, 5), flat(4, 30, 31)]
        mixed = self.mosaic(samples, (0.25, 0.75))
        expected = np.empty((40, 60))
        expected[:10, :45], expected[:10, 45:], expected[10:, :45], expected[10:, 45:] = 1, 2, 3, 4
        np.testing.assert_array_equal(mixed["image"][..., 0], expected)
        # Each image was its object's, and so is the window of it; 7 x 5 and 30 x 31 have to be cut.
        np.testing.assert_array_equal(
            mixed["classes"], [2, 3, 4] if len(mixed["classes"]) == 3 else [1, 2, 3, 4]
        )
        np.testing.assert_allclose(mixed["boxes"][-1], [0.25, 0.75, 1, 1], atol=1e-6)
        assert mixed["filename"] == b"1.jpg"

    def test_boxes_by_hand(self):
        # Equal quarters keep the whole of each image: boxes are halved and moved.
        mixed = self.mosaic([sample()] * 4)
        halves = np.float32(BOXES) / 2
        shifts = [[0, 0, 0, 0], [0, 0.5, 0, 0.5], [0.5, 0, 0.5, 0], [0.5, 0.5, 0.5, 0.5]]
        expected = np.concatenate([halves + shift for shift in shifts])
        np.testing.assert_allclose(mixed["boxes"], expected, atol=1e-6)
        np.testing.assert_array_equal(mixed["classes"], [0, 1, 2] * 4)

    def test_nothing_is_distorted(self):
        # Twice as wide as high, into quarters of 20 x 30: the middle 90 of 120 columns, 3 to 1 in both directions.
        image = np.zeros((60, 120, 3))
        image[24:36, 54:66] = 255
        given = sample([[0.4, 0.45, 0.6, 0.55]], image=image)
        canvas = sample(boxes=[])
        mixed = self.mosaic([canvas, given, canvas, canvas], position=0.5)
        np.testing.assert_allclose(mixed["boxes"] * [40, 60, 40, 60], [[8, 43, 12, 47]], atol=0.6)
        rows, columns = np.nonzero(mixed["image"][:20, 30:, 2].numpy() > 127)
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (4, 4)

    def test_objects_that_are_cut_off_are_dropped(self):
        # The left 90 of 120 columns are kept: the last tenth is not there.
        given = sample([[0, 0, 1, 0.2], [0, 0.9, 1, 1]], image=np.zeros((60, 120, 3)))
        canvas = sample(boxes=[])
        mixed = self.mosaic([canvas, canvas, canvas, given])
        np.testing.assert_array_equal(mixed["classes"], [0])

    @pytest.mark.parametrize("size", [(1, 1), (1, 50), (2, 2)])
    def test_of_the_smallest_images(self, size):
        mixed = self.mosaic([flat(1, *size)] * 4, (0.3, 0.7))
        assert np.all(mixed["image"] == 1)

    def test_others_are_drawn(self):
        mixed = run(mixing.mixing(drawing(flat(2), flat(3)), Mixing(mosaic=1.0)), flat(1), (5, 0))
        values = set(np.unique(mixed["image"]))
        assert 1 in values
        assert values & {2, 3}
        assert len(mixed["boxes"]) == 4


class TestMixup:
    def test_by_hand(self):
        # 0.75 * 100 + 0.25 * 20 = 80
        mixed = mixing.mixup(tensors(flat(100)), tensors(flat(20, 80, 90)), 0.75, tf.zeros(2))
        np.testing.assert_array_equal(mixed["image"], np.full((40, 60, 3), 80))
        np.testing.assert_array_equal(mixed["classes"], [100, 20])
        np.testing.assert_array_equal(mixed["weights"], [0.75, 0.25])
        # 53 of 80 rows are 40 x 60 of the other, and its object is all of them.
        np.testing.assert_allclose(mixed["boxes"], WHOLE * 2)

    def test_all_of_the_first(self):
        mixed = run(
            lambda one, _: mixing.mixup(one, tensors(flat(200, boxes=[])), 1.0, tf.zeros(2)), sample()
        )
        assert_same(mixed, unchanged(sample()))

    def test_shares_follow_beta(self):
        mix = mixing.mixing(drawing(flat(0)), Mixing(mixup=1.0))
        fractions = np.array([changed["weights"][0] for changed in run_seeds(mix, flat(200), 200)])
        # Beta(1.5, 1.5): mean 0.5, deviation 0.25.
        assert abs(fractions.mean() - 0.5) < 4 * 0.25 / np.sqrt(200)
        assert 0.2 < fractions.std() < 0.3


class TestCopyPaste:
    def test_cut_out_by_hand(self):
        # Rows 10 to 29, columns 30 to 59 of 40 x 60, as it is in an image of half that size.
        patch = mixing.cut_out(tensors(sample()), tf.constant(1), tf.constant([20, 30]), 1.0)
        assert patch["image"].shape == (10, 15, 3)
        np.testing.assert_array_equal(patch["image"][0, 0], [10, 30, 7])
        np.testing.assert_allclose(patch["boxes"], WHOLE, atol=1e-6)
        np.testing.assert_array_equal(patch["classes"], [1])

    @pytest.mark.parametrize(
        ("size", "scale", "expected"),
        [
            ([40, 60], 1.0, (20, 30)),
            ([40, 60], 0.5, (10, 15)),
            ([80, 60], 1.0, (20, 30)),  # the narrower side counts
            ([40, 60], 9.0, (40, 60)),  # not larger than the image
            ([1, 1], 1.0, (1, 1)),
        ],
    )
    def test_size_of_what_is_cut_out(self, size, scale, expected):
        patch = mixing.cut_out(tensors(sample()), tf.constant(1), tf.constant(size), scale)
        assert patch["image"].shape[:2] == expected

    def test_covered_shares_by_hand(self):
        # Boxes of 20 x 15 and 20 x 30 pixels. At 0, 0 a patch of 10 x 15 covers half of the first; at 20, 30 all of its
        # 150 pixels lie in the second, a quarter of it; at 30, 0 nothing.
        starts = tf.constant([[0, 0], [20, 30], [30, 0]])
        fractions = mixing.covered_fractions(tensors(sample(BOXES[:2])), starts, tf.constant([10, 15]))
        np.testing.assert_allclose(fractions, [0.5, 0.25, 0], atol=1e-6)

    def test_nothing_is_covered_where_nothing_is(self):
        fractions = mixing.covered_fractions(
            tensors(sample([])), tf.constant([[0, 0]]), tf.constant([10, 15])
        )
        np.testing.assert_array_equal(fractions, [0])

    def test_paste_by_hand(self):
        mixed = mixing.paste_object(tensors(flat(1)), tensors(flat(2, 10, 15)), tf.constant([20, 30]))
        expected = np.ones((40, 60))
        expected[20:30, 30:45] = 2
        np.testing.assert_array_equal(mixed["image"][..., 0], expected)
        np.testing.assert_allclose(mixed["boxes"], [*WHOLE, [0.5, 0.5, 0.75, 0.75]])
        np.testing.assert_array_equal(mixed["classes"], [1, 2])

    def test_boxes_lie_around_what_was_pasted(self):
        other = flat(200, boxes=[[0.1, 0.1, 0.3, 0.2]])
        mix = mixing.mixing(drawing(other), Mixing(copy_paste=1.0))
        for seed in range(10):
            mixed = run(mix, flat(0, 100, 100, boxes=[]), (seed, 0))
            rows, columns = np.nonzero(mixed["image"][..., 0])
            painted = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            np.testing.assert_allclose(mixed["boxes"] * 100, [painted], atol=1e-4)
            np.testing.assert_array_equal(mixed["classes"], [200])

    def test_one_to_four_objects(self):
        other = flat(200, boxes=[[0.0, 0.0, 0.05, 0.05]] * 9)
        mix = mixing.mixing(drawing(other), Mixing(copy_paste=1.0))
        counts = [len(changed["boxes"]) for changed in run_seeds(mix, flat(0, boxes=[]), 40)]
        assert set(counts) == {1, 2, 3, 4}

    def test_what_would_be_hidden_is_left_alone(self):
        # The object of the other is as large as the image, and half of that would cover four fifths of this one's.
        other = flat(200, boxes=WHOLE)
        mix = mixing.mixing(drawing(other), Mixing(copy_paste=1.0))
        given = flat(0, boxes=[[0.45, 0.45, 0.55, 0.55]])
        for mixed in run_seeds(mix, given, 20):
            hidden = (mixed["image"][18:22, 27:33] == 200).mean()
            assert hidden <= 0.35

    def test_crowds_are_not_pasted(self):
        other = flat(200) | {"is_crowd": np.array([True])}
        mixed = run(mixing.mixing(drawing(other), Mixing(copy_paste=1.0)), flat(0))
        assert_same(mixed, unchanged(flat(0)))

    def test_of_a_image_without_objects(self):
        mixed = run(mixing.mixing(drawing(flat(200, boxes=[])), Mixing(copy_paste=1.0)), flat(0))
        assert_same(mixed, unchanged(flat(0)))


class TestMixing:
    @pytest.mark.parametrize("name", ["mosaic", "mixup", "copy_paste"])
    def test_probability(self, name):
        mix = mixing.mixing(drawing(flat(200, boxes=[[0, 0, 0.2, 0.2]])), Mixing(**{name: 0.4}))
        given = flat(0, boxes=[])
        mixed = sum(bool(changed["image"].any()) for changed in run_seeds(mix, given, 60))
        assert 9 <= mixed <= 39  # four standard deviations

    def test_nothing_is_drawn_where_nothing_is_mixed(self):
        def draw(seed):
            raise AssertionError

        given = sample()
        assert_same(run(mixing.mixing(draw, Mixing()), given), unchanged(given))

    def test_no_probability(self):
        with pytest.raises(ConfigError, match=r"boxtune.mixup_probability is 1.5; it must be in \[0, 1\]"):
            mixing.mixing(drawing(sample()), Mixing(mixup=1.5))
