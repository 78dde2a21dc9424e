import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from boxtune.data.augmentation import operations

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
# Few values, unevenly spread, another range in each channel.
DARK = np.uint8(np.random.default_rng(1).normal([60, 100, 200], [10, 25, 3], (40, 60, 3)))
ROWS, COLUMNS = (np.repeat(part[..., None], 3, -1).astype(np.uint8) for part in np.mgrid[:40, :60])


def warp(image, matrix):
    return operations.warp(tf.constant(image), matrix).numpy()


class TestWarp:
    def test_translation_by_hand(self):
        moved = warp(COLUMNS, operations.translation(10.0, 0.0))
        np.testing.assert_array_equal(moved[:, :50], COLUMNS[:, 10:])
        assert (moved[:, 50:] == 128).all()
        moved = warp(ROWS, operations.translation(0.0, -10.0))
        np.testing.assert_array_equal(moved[10:], ROWS[:30])
        assert (moved[:10] == 128).all()

    def test_shear_by_hand(self):
        # Row y (its centre is y + 0.5) moves left by half of that: row 0 by 0.25, and so not at all; row 21 by 10.75.
        moved = warp(COLUMNS, operations.shear(0.5, 0.0))
        np.testing.assert_array_equal(moved[0], COLUMNS[0])
        np.testing.assert_array_equal(moved[21, :49], COLUMNS[21, 11:])
        assert (moved[21, 49:] == 128).all()

    @pytest.mark.parametrize(("degrees", "turns"), [(0.0, 0), (90.0, 1), (180.0, 2), (-90.0, 3)])
    def test_right_angles_are_turns(self, degrees, turns):
        square = NOISE[:, :40]
        matrix = operations.rotation(degrees, tf.constant([40, 40]))
        np.testing.assert_array_equal(warp(square, matrix), np.rot90(square, turns))

    @pytest.mark.parametrize("degrees", [10.0, -30.0])
    def test_rotation_as_pillow_does(self, degrees):
        matrix = operations.rotation(degrees, tf.constant([40, 60]))
        turned = Image.fromarray(NOISE).rotate(degrees, Image.Resampling.NEAREST, fillcolor=(128,) * 3)
        assert (warp(NOISE, matrix) == np.asarray(turned)).all(-1).mean() > 0.99


class TestValues:
    """Against Pillow, which truncates where these round."""

    @pytest.mark.parametrize("image", [NOISE, DARK], ids=["noise", "dark"])
    def test_equalize(self, image):
        expected = np.asarray(ImageOps.equalize(Image.fromarray(image)))
        np.testing.assert_array_equal(operations.equalize(image), expected)

    def test_equalize_of_one_value(self):
        flat = np.full((40, 60, 3), 9, np.uint8)
        np.testing.assert_array_equal(operations.equalize(flat), flat)

    @pytest.mark.parametrize("image", [NOISE, DARK], ids=["noise", "dark"])
    def test_auto_contrast(self, image):
        expected = np.asarray(ImageOps.autocontrast(Image.fromarray(image)))
        np.testing.assert_allclose(operations.auto_contrast(image), expected.astype(int), atol=1)

    def test_auto_contrast_of_one_value(self):
        flat = np.full((40, 60, 3), 9, np.uint8)
        np.testing.assert_array_equal(operations.auto_contrast(flat), flat)

    @pytest.mark.parametrize("factor", [0.1, 1.0, 1.9])
    @pytest.mark.parametrize("name", ["brightness", "contrast", "color", "sharpness"])
    def test_enhancements(self, name, factor):
        expected = np.asarray(getattr(ImageEnhance, name.capitalize())(Image.fromarray(DARK)).enhance(factor))
        found = getattr(operations, name)(DARK, factor).numpy().astype(int)
        # Where the smooth or grey image is rounded before it is blended, the error is almost doubled.
        np.testing.assert_allclose(found, expected, atol=2)
        assert factor != 1 or (found == DARK).all()

    @pytest.mark.parametrize("bits", [1, 2, 4, 8])
    def test_posterize(self, bits):
        expected = np.asarray(ImageOps.posterize(Image.fromarray(NOISE), bits))
        np.testing.assert_array_equal(operations.posterize(NOISE, bits), expected)

    def test_a_bit_is_always_left(self):
        np.testing.assert_array_equal(operations.posterize(NOISE, 0), operations.posterize(NOISE, 1))

    @pytest.mark.parametrize("threshold", [0, 100, 256])
    def test_solarize(self, threshold):
        expected = np.asarray(ImageOps.solarize(Image.fromarray(NOISE), threshold))
        np.testing.assert_array_equal(operations.solarize(NOISE, threshold), expected)

    def test_solarize_add_by_hand(self):
        # Below 128: 0 + 110 and 127 + 110; from 128 on as it was.
        image = np.uint8([[[0, 127, 128]], [[255, 100, 1]]])
        np.testing.assert_array_equal(
            operations.solarize_add(image, 110), [[[110, 237, 128]], [[255, 210, 111]]]
        )

    @pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 2)])
    def test_of_images_without_an_inside(self, size):
        tiny = NOISE[: size[0], : size[1]]
        np.testing.assert_array_equal(operations.sharpness(tiny, 1.9), tiny)
        for change in (operations.equalize, operations.auto_contrast):
            assert change(tiny).shape == tiny.shape


class TestCutout:
    def test_by_hand(self):
        expected = NOISE.copy()
        expected[3:7, 10:20] = 128
        np.testing.assert_array_equal(operations.cutout(NOISE, [3, 10], [7, 20]), expected)

    def test_beyond_the_image(self):
        expected = NOISE.copy()
        expected[:5, 50:] = 128
        np.testing.assert_array_equal(operations.cutout(NOISE, [-20, 50], [5, 90]), expected)

    def test_outside_of_it(self):
        np.testing.assert_array_equal(operations.cutout(NOISE, [50, 50], [60, 90]), NOISE)
