import colorsys
import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from boxtune.data.augmentation import colors
from boxtune.errors import ConfigError
from samples import BOXES, run, sample, step

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def image_of(text, image=NOISE, seed=(1, 2)):
    """The image after a step; the objects must be as they were."""
    changed = run(step(text), sample(image=image), seed)
    np.testing.assert_array_equal(changed["boxes"], np.float32(BOXES))
    assert changed["image"].dtype == np.uint8
    return changed["image"]


def flat(color):
    """An image of one colour."""
    return np.full((2, 2, 3), color)


def exactly(change):
    """Do a change of pixels to bytes, rounded."""
    return colors.to_bytes(tf.clip_by_value(change(tf.constant(NOISE, tf.float32), (1, 2)), 0, 255)).numpy()


class TestBrightness:
    def test_adds_one_number(self):
        grey = np.full((4, 4, 3), 100)
        added = [
            int(image_of("random_adjust_brightness { }", grey, (seed, 0))[0, 0, 0]) - 100
            for seed in range(60)
        ]
        # A fifth of the whole range, up and down.
        assert -51 <= min(added) < -40
        assert 40 < max(added) <= 51

    def test_values_are_cut(self):
        changed = image_of("random_adjust_brightness { max_delta: 1 }")
        (added,) = np.unique((changed.astype(int) - NOISE)[(changed > 0) & (changed < 255)])
        np.testing.assert_array_equal(changed, np.clip(NOISE.astype(int) + added, 0, 255))


class TestContrast:
    def test_by_hand(self):
        # Means 100 and 20, twice the distance: 100 - 10 and 100 + 10 become 80 and 120, 20 stays.
        image = np.stack([[[90, 110]] * 2, [[20, 20]] * 2, [[0, 200]] * 2], -1)
        changed = image_of("random_adjust_contrast { min_delta: 2 max_delta: 2 }", image)
        np.testing.assert_array_equal(changed[0], [[80, 20, 0], [120, 20, 255]])

    def test_as_tensorflow_does(self):
        expected = tf.clip_by_value(
            tf.image.adjust_contrast(tf.constant(NOISE, tf.float32) / 255, 1.2) * 255, 0, 255
        )
        np.testing.assert_allclose(exactly(colors._contrast(1.2, 1.2)), expected, atol=0.501)


class TestHueAndSaturation:
    def test_hue_by_hand(self):
        # A third of the circle: red becomes green.
        red = flat([200, 0, 0])
        changed = colors._hue(1 / 3)(tf.constant(red, tf.float32), (1, 2))
        turn = tf.random.stateless_uniform([], (1, 2), -1 / 3, 1 / 3)
        expected = np.multiply(colorsys.hsv_to_rgb(float(turn) % 1, 1, 200 / 255), 255)
        np.testing.assert_allclose(changed[0, 0], expected, atol=0.01)

    def test_saturation_by_hand(self):
        # Half as far from the highest value: 200, 100, 0 becomes 200, 150, 100.
        image = flat([200, 100, 0])
        changed = image_of("random_adjust_saturation { min_delta: 0.5 max_delta: 0.5 }", image)
        np.testing.assert_array_equal(changed[0, 0], [200, 150, 100])

    def test_without_saturation_all_is_grey(self):
        changed = image_of("random_adjust_saturation { min_delta: 0 max_delta: 0 }")
        np.testing.assert_array_equal(changed, np.repeat(NOISE.max(-1, keepdims=True), 3, -1))

    @pytest.mark.parametrize("name", ["hue", "saturation"])
    def test_the_range_of_values_makes_no_difference(self, name):
        # The API divides by 255, changes, and multiplies by 255.
        change = getattr(tf.image, f"adjust_{name}")
        pixels = tf.constant(NOISE, tf.float32)
        np.testing.assert_allclose(change(pixels, 0.3), change(pixels / 255, 0.3) * 255, atol=1e-2)


class TestDistortColor:
    def test_the_two_orders_differ(self):
        texts = [f"random_distort_color {{ color_ordering: {order} }}" for order in (0, 1)]
        for text in texts:
            images = {image_of(text, seed=(seed, 0)).tobytes() for seed in range(5)}
            assert len(images) == 5
        assert image_of(texts[0]).tobytes() != image_of(texts[1]).tobytes()

    def test_all_four_are_done(self):
        # A grey image has no hue and no saturation; its contrast and brightness still change.
        image = np.repeat(NOISE[..., :1], 3, -1)
        changed = image_of("random_distort_color { }", image).astype(int)
        assert (changed == changed[..., :1]).all()
        assert abs(changed.std() / image.std() - 1) > 0.02
        assert not np.array_equal(
            image_of("random_distort_color { }"), image_of("random_distort_color { }", image)
        )

    def test_no_third_order(self):
        with pytest.raises(ConfigError, match="random_distort_color: color_ordering is 2; it must be 0 or 1"):
            step("random_distort_color { color_ordering: 2 }")


class TestGrey:
    def test_by_hand(self):
        # 0.2989 * 100 + 0.5870 * 200 + 0.1140 * 50 = 152.99
        image = flat([100, 200, 50])
        changed = image_of("random_rgb_to_gray { probability: 1 }", image)
        np.testing.assert_array_equal(changed, np.full((2, 2, 3), 153))

    def test_a_tenth_by_default(self):
        grey = sum(
            bool((image[..., 0] == image[..., 1]).all())
            for image in (image_of("random_rgb_to_gray { }", seed=(seed, 0)) for seed in range(100))
        )
        assert 1 <= grey <= 22  # four standard deviations


class TestGamma:
    def test_by_hand(self):
        # 255 * (51 / 255) ** 2 = 10.2; with a gain of 2 twice that; 255 stays 255.
        image = flat([51, 0, 255])
        assert image_of("adjust_gamma { gamma: 2 }", image)[0, 0].tolist() == [10, 0, 255]
        assert image_of("adjust_gamma { gamma: 2 gain: 2 }", image)[0, 0].tolist() == [20, 0, 255]

    def test_one_is_nothing(self):
        np.testing.assert_array_equal(image_of("adjust_gamma { }"), NOISE)


class TestPixelValueScale:
    def test_every_value_has_a_factor_of_its_own(self):
        factors = (
            image_of("random_pixel_value_scale { minval: 0.5 maxval: 2 }", np.full((40, 60, 3), 100)) / 100
        )
        assert 0.5 <= factors.min() < 0.51
        assert 1.99 < factors.max() <= 2
        assert abs(factors.mean() - 1.25) < 4 * 0.433 / np.sqrt(factors.size)

    def test_values_are_cut(self):
        changed = image_of("random_pixel_value_scale { }", np.full((4, 4, 3), 255))
        assert changed.max() == 255
        assert changed.min() > 228


class TestPatchGaussian:
    def test_noise_is_in_a_square_only(self):
        text = (
            "random_patch_gaussian { min_patch_size: 11 max_patch_size: 11 min_gaussian_stddev: 0.1 "
            "max_gaussian_stddev: 0.1 }"
        )
        grey, sizes = np.full((40, 60, 3), 128), set()
        for seed in range(30):
            changed = image_of(text, grey, (seed, 0)).astype(int) - 128
            rows, columns = np.nonzero(changed.any(-1))
            sizes.add((np.ptp(rows) + 1, np.ptp(columns) + 1))
            noise = changed[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            # A tenth of 255, from 3 * 36 values at least.
            assert 15 < noise.std() < 37
        # Cut where its centre is near an edge, and never larger.
        assert max(sizes) == (11, 11)
        assert min(sizes)[0] >= 5

    @pytest.mark.parametrize(
        ("size", "start", "end"),
        # An even square starts further from its centre than it ends; a large one is the whole image.
        [(1, [10, 20], [11, 21]), (2, [9, 19], [11, 21]), (5, [8, 18], [13, 23]), (99, [0, 0], [40, 60])],
    )
    def test_square_by_hand(self, size, start, end):
        found = colors.square(NOISE, 10, 20, size)
        np.testing.assert_array_equal(found, [start, end])

    def test_random_coef_leaves_the_image_alone(self):
        np.testing.assert_array_equal(image_of("random_patch_gaussian { random_coef: 1 }"), NOISE)


class TestBlackPatches:
    def test_by_hand(self):
        black = colors.black_squares(NOISE, tf.constant([[0, 0], [1, 1], [36, 50]]), 4).numpy()
        expected = NOISE.copy()
        expected[0:4, 0:4] = expected[1:5, 1:5] = expected[36:40, 50:54] = 0
        np.testing.assert_array_equal(black, expected)

    def test_number_and_size(self):
        # Squares of 4 pixels, a tenth of the shorter side, on white: 16 pixels each where they do not touch.
        white, counts = np.full((40, 60, 3), 255), []
        for seed in range(40):
            changed = image_of(
                "random_black_patches { max_black_patches: 3 probability: 0.5 }", white, (seed, 0)
            )
            counts.append(int((changed == 0).all(-1).sum()))
        assert max(counts) <= 48
        assert 0 in counts  # an eighth of them
        assert abs(np.mean(counts) / 16 - 1.5) < 4 * 0.87 / np.sqrt(40)

    @pytest.mark.parametrize("text", ["max_black_patches: 0", "probability: 0", "size_to_image_ratio: 0"])
    def test_none(self, text):
        np.testing.assert_array_equal(image_of(f"random_black_patches {{ {text} }}"), NOISE)

    def test_as_large_as_the_image(self):
        changed = image_of("random_black_patches { size_to_image_ratio: 1 probability: 1 }")
        assert not changed[:40, :40].any()


class TestJpegQuality:
    def test_as_pillow_compresses(self):
        smooth = np.uint8(np.add.outer(np.arange(40) * 3, np.arange(60) * 2)[..., None] % 256 * [1, 0.5, 0.2])
        changed = image_of("random_jpeg_quality { min_jpeg_quality: 30 max_jpeg_quality: 30 }", smooth)
        stream = io.BytesIO()
        Image.fromarray(smooth).save(stream, "JPEG", quality=30)
        np.testing.assert_allclose(changed, np.asarray(Image.open(stream)), atol=12)
        assert np.abs(changed.astype(int) - smooth).max() > 12

    def test_lower_is_worse(self):
        errors = []
        for quality in (5, 50, 95):
            text = f"random_jpeg_quality {{ min_jpeg_quality: {quality} max_jpeg_quality: {quality} }}"
            errors.append(np.abs(image_of(text).astype(int) - NOISE).mean())
        assert errors[0] > errors[1] > errors[2]

    def test_random_coef_leaves_the_image_alone(self):
        np.testing.assert_array_equal(image_of("random_jpeg_quality { random_coef: 1 }"), NOISE)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("random_adjust_brightness { max_delta: 2 }", "max_delta is 2"),
        ("random_adjust_hue { max_delta: -0.1 }", "max_delta is -0.1"),
        ("random_adjust_contrast { min_delta: 2 }", "min_delta is 2 and max_delta 1.25"),
        ("random_adjust_saturation { min_delta: -1 }", "min_delta is -1"),
        ("random_rgb_to_gray { probability: -1 }", "probability is -1"),
        ("adjust_gamma { gamma: -1 }", "gamma is -1"),
        ("random_pixel_value_scale { minval: 2 }", "minval is 2"),
        ("random_patch_gaussian { min_patch_size: 0 }", "min_patch_size is 0"),
        ("random_patch_gaussian { min_gaussian_stddev: 2 }", "min_gaussian_stddev is 2"),
        ("random_black_patches { max_black_patches: -1 }", "max_black_patches is -1"),
        ("random_black_patches { size_to_image_ratio: 1.5 }", "size_to_image_ratio is 1.5"),
        ("random_jpeg_quality { max_jpeg_quality: 101 }", "max_jpeg_quality 101"),
        ("random_jpeg_quality { random_coef: 2 }", "random_coef is 2"),
    ],
)
def test_fields_that_cannot_be(text, fault):
    with pytest.raises(ConfigError, match=fault):
        step(text)


@given(st.floats(-1000, 1000))
@settings(max_examples=30, deadline=None)
def test_bytes_are_rounded_and_cut(value):
    expected = round(min(max(float(np.float32(value)), 0), 255))
    assert colors.to_bytes(tf.constant([value])).numpy().tolist() == [expected]
