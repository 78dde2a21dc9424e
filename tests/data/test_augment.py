import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from boxtune.config import pipeline_pb2
from boxtune.data import augment
from boxtune.errors import ConfigError

BOXES = [[0.0, 0.0, 0.5, 0.25], [0.25, 0.5, 0.75, 1.0], [0.5, 0.5, 0.6, 0.6]]


def sample(boxes=BOXES, height=40, width=60):
    """A picture whose pixels say where they are: row, column, 7; and as many objects as boxes."""
    count = len(boxes)
    rows, columns = np.mgrid[:height, :width]
    return {
        "image": np.stack([rows, columns, np.full_like(rows, 7)], axis=-1).astype(np.float32),
        "boxes": np.float32(boxes).reshape(-1, 4),
        "classes": np.arange(count, dtype=np.int32),
        "weights": np.ones(count, np.float32),
        "is_crowd": np.arange(count) % 2 == 1,
        "difficult": np.arange(count) % 2 == 0,
        "filename": b"a.jpg",
    }


def step(text):
    return augment.augmentation([text_format.Parse(text, pipeline_pb2.PreprocessingStep())])


def run(function, given_sample, seed=(1, 2)):
    tensors = {name: tf.constant(value) for name, value in given_sample.items()}
    changed = function(tensors, tf.constant(seed))
    return {name: np.asarray(value) for name, value in changed.items()}


def crop_to(given_sample, begin, size, *options, **named):
    return augment.crop_to(given_sample, np.int32(begin), np.int32(size), *options, **named)


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def window_of(changed):
    """Return top, left, bottom and right, in pixels, of what was cut out: the pixels themselves say so."""
    rows, columns = changed["image"][..., 0], changed["image"][..., 1]
    return np.array([rows[0, 0], columns[0, 0], rows[-1, 0] + 1, columns[0, -1] + 1])


class TestFlip:
    def test_by_hand(self):
        flipped = augment.flip_horizontally(sample(boxes=[[0.1, 0.2, 0.3, 0.6]]))
        np.testing.assert_allclose(flipped["boxes"], [[0.1, 0.4, 0.3, 0.8]])
        np.testing.assert_array_equal(flipped["image"][0, :, 1], np.arange(60)[::-1])
        np.testing.assert_array_equal(flipped["image"][:, 0, 0], np.arange(40))

    def test_twice_is_nothing(self):
        given_sample = sample(boxes=[[0.0, 0.25, 0.5, 0.75], [0.5, 0.125, 1.0, 1.0]])
        assert_same(augment.flip_horizontally(augment.flip_horizontally(given_sample)), given_sample)

    @pytest.mark.parametrize(("probability", "flipped"), [(0.0, False), (1.0, True)])
    def test_probability(self, probability, flipped):
        flip = step(f"random_horizontal_flip {{ probability: {probability} }}")
        for seed in range(20):
            assert (run(flip, sample(), (seed, 0))["image"][0, 0, 1] > 0) == flipped

    def test_half_are_flipped_by_default(self):
        flip = step("random_horizontal_flip { }")
        flipped = sum(run(flip, sample(), (seed, 0))["image"][0, 0, 1] > 0 for seed in range(200))
        assert 70 <= flipped <= 130  # four standard deviations


class TestCrop:
    def test_by_hand(self):
        # The lower right quarter. Box 0 lies outside; box 1 half in it; box 2 wholly.
        cropped = crop_to(sample(), [20, 30], [20, 30])
        np.testing.assert_array_equal(cropped["image"], sample()["image"][20:, 30:])
        np.testing.assert_allclose(cropped["boxes"], [[0, 0, 0.5, 1], [0, 0, 0.2, 0.2]], atol=1e-6)
        np.testing.assert_array_equal(cropped["classes"], [1, 2])
        np.testing.assert_array_equal(cropped["weights"], [1, 1])
        np.testing.assert_array_equal(cropped["is_crowd"], [True, False])
        np.testing.assert_array_equal(cropped["difficult"], [False, True])
        assert cropped["filename"] == b"a.jpg"

    def test_the_whole_picture(self):
        assert_same(crop_to(sample(), [0, 0], [40, 60], 1.0), sample())

    @pytest.mark.parametrize(("overlap_thresh", "kept"), [(0.0, [1, 2]), (0.5, [1, 2]), (0.51, [2])])
    def test_overlap_thresh_is_the_least_share_of_a_box(self, overlap_thresh, kept):
        # Exactly half of box 1 lies in the lower right quarter.
        cropped = crop_to(sample(), [20, 30], [20, 30], overlap_thresh)
        np.testing.assert_array_equal(cropped["classes"], kept)

    def test_a_box_that_touches_the_window_is_dropped(self):
        touching = sample(boxes=[[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 0.5, 1.0]])
        cropped = crop_to(touching, [20, 0], [20, 60])
        assert cropped["boxes"].shape == (0, 4)

    def test_boxes_need_not_be_cut(self):
        cropped = crop_to(sample(), [20, 30], [20, 30], clip_boxes=False)
        np.testing.assert_allclose(cropped["boxes"][0], [-0.5, 0, 0.5, 1], atol=1e-6)

    @given(st.integers(2, 60), st.integers(2, 60), st.data())
    @settings(max_examples=50, deadline=None)
    def test_what_lies_within_is_kept_at_any_threshold(self, height, width, data):
        top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        bottom, right = data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
        exactly = np.float32([top / height, left / width, bottom / height, right / width])
        cropped = crop_to(sample([exactly], height, width), [top, left], [bottom - top, right - left], 1.0)
        np.testing.assert_allclose(cropped["boxes"], [[0, 0, 1, 1]], atol=1e-5)


CROP = (
    "random_crop_image { min_object_covered: %g min_aspect_ratio: 0.75 max_aspect_ratio: 3.0 min_area: %g "
    "max_area: %g overlap_thresh: %g random_coef: %g }"
)


class TestRandomCrop:
    @pytest.mark.parametrize("covered", [0.3, 0.7, 1.0])
    def test_covers_enough_of_some_object(self, covered):
        crop = step(CROP % (covered, 0.1, 1.0, 0.0, 0.0))
        areas = []
        for seed in range(30):
            top, left, bottom, right = window_of(run(crop, sample(), (seed, 0))) / [40, 60, 40, 60]
            ymin, xmin, ymax, xmax = np.transpose(BOXES)
            height = np.minimum(ymax, bottom) - np.maximum(ymin, top)
            width = np.minimum(xmax, right) - np.maximum(xmin, left)
            share = np.maximum(height, 0) * np.maximum(width, 0) / ((ymax - ymin) * (xmax - xmin))
            assert share.max() >= covered - 1e-5
            areas.append((bottom - top) * (right - left))
        assert min(areas) < 0.9  # not always the whole picture

    def test_area_and_aspect_ratio_stay_in_their_ranges(self):
        crop = step(CROP % (0.0, 0.3, 0.6, 0.0, 0.0))
        for seed in range(30):
            height, width = run(crop, sample(), (seed, 0))["image"].shape[:2]
            # A pixel more or less for rounding.
            assert 0.3 - 0.05 <= height * width / 2400 <= 0.6 + 0.05
            assert 0.75 - 0.1 <= width / height <= 3 + 0.3

    def test_random_coef_keeps_the_whole_picture(self):
        always, never = step(CROP % (0.1, 0.2, 0.5, 0.0, 1.0)), step(CROP % (0.1, 0.2, 0.5, 0.0, 0.0))
        for seed in range(10):
            assert_same(run(always, sample(), (seed, 0)), run(lambda one, _: one, sample()))
            assert run(never, sample(), (seed, 0))["image"].shape != (40, 60, 3)

    def test_a_picture_without_objects_is_cropped_too(self):
        crop = step(CROP % (0.5, 0.2, 0.5, 0.0, 0.0))
        cropped = run(crop, sample(boxes=[]))
        assert cropped["boxes"].shape == (0, 4)
        assert cropped["image"].size < 40 * 60 * 3

    def test_boxes_beyond_the_picture_are_no_error(self):
        crop = step(CROP % (0.1, 0.2, 0.5, 0.0, 0.0))
        boxes = run(crop, sample(boxes=[[-0.1, -0.2, 1.2, 1.1]]))["boxes"]
        assert np.all((boxes >= 0) & (boxes <= 1))

    @pytest.mark.parametrize("text", [CROP % (0.0, 0.1, 1.0, 0.3, 0.0), "ssd_random_crop { }"])
    def test_boxes_stay_where_their_objects_are(self, text):
        crop = step(text)
        for seed in range(20):
            cropped = run(crop, sample(), (seed, 0))
            window = window_of(cropped)
            size = np.tile(window[2:] - window[:2], 2)
            for box, number in zip(cropped["boxes"], cropped["classes"], strict=True):
                inside = np.clip(
                    BOXES[number] * np.array([40, 60] * 2), np.tile(window[:2], 2), np.tile(window[2:], 2)
                )
                np.testing.assert_allclose(box * size + np.tile(window[:2], 2), inside, atol=1e-4)


class TestSsdRandomCrop:
    def test_one_of_its_operations_is_drawn(self):
        # Of two operations one keeps the whole picture and one never does: both are seen.
        operation = (
            "operations {{ min_object_covered: 0 min_aspect_ratio: 0.9 max_aspect_ratio: 1.1 min_area: 0.2 "
            "max_area: 0.3 overlap_thresh: 0 random_coef: {} }}"
        )
        crop = step(f"ssd_random_crop {{ {operation.format(1)} {operation.format(0)} }}")
        whole = [run(crop, sample(), (seed, 0))["image"].shape == (40, 60, 3) for seed in range(40)]
        assert 8 <= sum(whole) <= 32

    def test_default_operations_give_many_sizes(self):
        crop = step("ssd_random_crop { }")
        shapes = {run(crop, sample(), (seed, 0))["image"].shape for seed in range(30)}
        assert len(shapes) > 10


EVERYTHING = (
    "random_horizontal_flip { }",
    "random_crop_image { min_object_covered: 0 min_aspect_ratio: 0.75 max_aspect_ratio: 3.0 min_area: 0.3 "
    "max_area: 1.0 overlap_thresh: 0 }",
    "ssd_random_crop { }",
)


class TestSeeds:
    @pytest.mark.parametrize("text", EVERYTHING)
    def test_the_same_seed_gives_the_same(self, text):
        function = step(text)
        for seed in range(5):
            assert_same(run(function, sample(), (seed, 3)), run(function, sample(), (seed, 3)))

    @pytest.mark.parametrize("text", EVERYTHING)
    def test_other_seeds_give_another(self, text):
        function = step(text)
        drawn = {run(function, sample(), (seed, 3))["image"].tobytes() for seed in range(20)}
        assert len(drawn) > 1

    @pytest.mark.parametrize("text", EVERYTHING)
    def test_in_tf_data_as_eagerly(self, text):
        function = step(text)
        tensors = {name: tf.constant(value) for name, value in sample().items()}
        seeds = tf.data.Dataset.range(10, output_type=tf.int32)
        changed = seeds.map(lambda seed: function(tensors, tf.stack([seed, 3])))
        for seed, one in enumerate(changed.as_numpy_iterator()):
            assert_same(one, run(function, sample(), (seed, 3)))

    def test_steps_draw_independently(self):
        # The same step twice: if both drew the same, two flips would always cancel.
        flip = pipeline_pb2.PreprocessingStep()
        flip.random_horizontal_flip.SetInParent()
        twice = augment.augmentation([flip, flip])
        flipped = [run(twice, sample(), (seed, 0))["image"][0, 0, 1] > 0 for seed in range(30)]
        assert 0 < sum(flipped) < 30


def test_no_steps():
    assert_same(run(augment.augmentation([]), sample()), run(lambda one, _: one, sample()))


def test_a_step_that_is_not_built():
    with pytest.raises(
        ConfigError, match=r'does not have "random_vertical_flip" yet.*random_horizontal_flip'
    ):
        step("random_vertical_flip { }")
