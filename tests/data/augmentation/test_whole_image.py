import numpy as np
import pytest
import tensorflow as tf

from boxtune.data.augmentation import whole_image
from boxtune.errors import ConfigError
from samples import assert_same, run, sample, step, unchanged

ONE = [[0.1, 0.2, 0.3, 0.6]]


class TestFlipsAndTurns:
    def test_left_right_by_hand(self):
        flipped = whole_image.flip_left_right(sample(ONE))
        np.testing.assert_allclose(flipped["boxes"], [[0.1, 0.4, 0.3, 0.8]])
        np.testing.assert_array_equal(flipped["image"][0, :, 1], np.arange(60)[::-1])
        np.testing.assert_array_equal(flipped["image"][:, 0, 0], np.arange(40))

    def test_up_down_by_hand(self):
        flipped = whole_image.flip_up_down(sample(ONE))
        np.testing.assert_allclose(flipped["boxes"], [[0.7, 0.2, 0.9, 0.6]])
        np.testing.assert_array_equal(flipped["image"][:, 0, 0], np.arange(40)[::-1])
        np.testing.assert_array_equal(flipped["image"][0, :, 1], np.arange(60))

    def test_a_turn_by_hand(self):
        turned = whole_image.turn_left(sample(ONE))
        # The right edge is the top edge, from top to bottom as it was from right to left.
        np.testing.assert_allclose(turned["boxes"], [[0.4, 0.1, 0.8, 0.3]])
        assert turned["image"].shape == (60, 40, 3)
        np.testing.assert_array_equal(turned["image"][:, 0, 1], np.arange(60)[::-1])
        np.testing.assert_array_equal(turned["image"][0, :, 0], np.arange(40))

    @pytest.mark.parametrize(
        ("change", "times"),
        [(whole_image.flip_left_right, 2), (whole_image.flip_up_down, 2), (whole_image.turn_left, 4)],
    )
    def test_often_enough_is_nothing(self, change, times):
        given = changed = sample([[0.0, 0.25, 0.5, 0.75], [0.5, 0.125, 1.0, 1.0]])
        for _ in range(times):
            changed = change(changed)
        assert_same(changed, given)

    @pytest.mark.parametrize("name", ["random_horizontal_flip", "random_vertical_flip", "random_rotation90"])
    def test_probability(self, name):
        given = sample()
        for probability, low, high in (
            (0, 0, 0),
            (1, 60, 60),
            (0.5, 15, 45),
            (0.2, 1, 25),
        ):  # four deviations
            function = step(f"{name} {{ probability: {probability} }}")
            changed = sum(
                run(function, given, (seed, 0))["image"].tobytes() != given["image"].tobytes()
                for seed in range(60)
            )
            assert low <= changed <= high

    def test_half_by_default(self):
        flip = step("random_horizontal_flip { }")
        flipped = sum(run(flip, sample(), (seed, 0))["image"][0, 0, 1] > 0 for seed in range(200))
        assert 70 <= flipped <= 130  # four standard deviations

    def test_no_probability(self):
        with pytest.raises(ConfigError, match=r"random_vertical_flip: probability is 1\.5.*in \[0, 1\]"):
            step("random_vertical_flip { probability: 1.5 }")


class TestRepetition:
    def test_below_by_hand(self):
        twice = run(lambda one, _: whole_image.repeat(one, 0), sample(ONE))
        np.testing.assert_allclose(
            twice["boxes"], [[0.05, 0.2, 0.15, 0.6], [0.55, 0.2, 0.65, 0.6]], atol=1e-6
        )
        np.testing.assert_array_equal(twice["image"], np.concatenate([sample()["image"]] * 2, 0))
        np.testing.assert_array_equal(twice["classes"], [0, 0])

    def test_beside_by_hand(self):
        twice = run(lambda one, _: whole_image.repeat(one, 1), sample(ONE))
        np.testing.assert_allclose(twice["boxes"], [[0.1, 0.1, 0.3, 0.3], [0.1, 0.6, 0.3, 0.8]], atol=1e-6)
        np.testing.assert_array_equal(twice["image"], np.concatenate([sample()["image"]] * 2, 1))

    def test_the_two_are_independent(self):
        concat = step(
            "random_self_concat_image { concat_vertical_probability: 0.5 concat_horizontal_probability: 0.5 }"
        )
        shapes = [run(concat, sample(), (seed, 0))["image"].shape[:2] for seed in range(80)]
        # A quarter of 80 each: 20, and four deviations of 3.9.
        for shape in ((40, 60), (80, 60), (40, 120), (80, 120)):
            assert 5 <= shapes.count(shape) <= 35


class TestSizes:
    def test_scales_lie_in_their_range(self):
        scale = step("random_image_scale { min_scale_ratio: 0.5 max_scale_ratio: 2.0 }")
        sizes = [run(scale, sample(), (seed, 0))["image"].shape[:2] for seed in range(40)]
        ratios = np.array(sizes) / [40, 60]
        np.testing.assert_allclose(ratios[:, 0], ratios[:, 1], atol=0.03)
        assert 0.47 <= ratios.min() < 0.8
        assert 1.6 < ratios.max() <= 2

    def test_corners_stay_when_the_size_changes(self):
        scale = step("random_image_scale { min_scale_ratio: 2 max_scale_ratio: 2 }")
        image = run(scale, sample())["image"]
        assert image.shape == (80, 120, 3)
        np.testing.assert_array_equal(
            image[[0, 0, -1, -1], [0, -1, 0, -1], :2], [[0, 0], [0, 59], [39, 0], [39, 59]]
        )

    @pytest.mark.parametrize(("method", "second"), [("NEAREST_NEIGHBOR", 0), ("BILINEAR", 5), ("AREA", 0)])
    def test_resize_image_by_hand(self, method, second):
        # Two columns of 0 and 10 become four: TensorFlow 1 counts the second of them at 0.5 of the old ones.
        image = np.zeros((2, 2, 3))
        image[:, 1] = 10
        resize = step(f"resize_image {{ new_height: 2 new_width: 4 method: {method} }}")
        resized = run(resize, sample(ONE, image=image))
        np.testing.assert_array_equal(resized["image"][0, :, 0], [0, second, 10, 10])
        np.testing.assert_array_equal(resized["boxes"], np.float32(ONE))

    def test_four_ways_of_resizing(self):
        resize = step("random_resize_method { target_height: 30 target_width: 31 }")
        noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3))
        images = {run(resize, sample(image=noise), (seed, 0))["image"].tobytes() for seed in range(40)}
        assert len(images) == 4

    def test_downscale(self):
        downscale = step(
            "random_downscale_to_target_pixels { min_target_pixels: 200 max_target_pixels: 1000 }"
        )
        areas = []
        for seed in range(40):
            height, width = run(downscale, sample(), (seed, 0))["image"].shape[:2]
            assert abs(width / height - 1.5) < 0.2
            areas.append(height * width)
        assert 150 < min(areas) < 400
        assert 800 < max(areas) <= 1000

    def test_a_small_image_is_not_downscaled(self):
        # 2400 pixels, and the least target is 300 000.
        assert_same(run(step("random_downscale_to_target_pixels { }"), sample()), unchanged(sample()))

    def test_the_largest_target_is_the_one_that_works_in_the_api(self):
        # Without max_target_pixels the code of the API goes to 800 000, whatever its pipeline.proto says.
        downscale = step("random_downscale_to_target_pixels { min_target_pixels: 790000 }")
        height, width = run(downscale, sample(image=np.zeros((1000, 1000, 3))))["image"].shape[:2]
        assert 785_000 < height * width < 800_000

    def test_random_coef_leaves_the_image_alone(self):
        text = "random_downscale_to_target_pixels {{ min_target_pixels: 100 max_target_pixels: 100 random_coef: {} }}"
        for coefficient, low, high in ((0, 40, 40), (1, 0, 0), (0.5, 8, 32)):
            function = step(text.format(coefficient))
            smaller = sum(run(function, sample(), (seed, 0))["image"].shape[0] < 40 for seed in range(40))
            assert low <= smaller <= high

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("random_image_scale { min_scale_ratio: 2 max_scale_ratio: 1 }", "min_scale_ratio is 2"),
            ("resize_image { new_height: 20 }", "new_height is 20 and new_width 0"),
            ("random_resize_method { target_height: 20 target_width: 99999 }", "target_width 99999"),
            ("random_downscale_to_target_pixels { min_target_pixels: 0 }", "min_target_pixels is 0"),
        ],
    )
    def test_fields_that_cannot_be(self, text, fault):
        with pytest.raises(ConfigError, match=fault):
            step(text)

    def test_a_pixel_is_left_of_the_thinnest(self):
        assert whole_image.scaled(tf.constant([1, 100]), 0.1).numpy().tolist() == [1, 10]
