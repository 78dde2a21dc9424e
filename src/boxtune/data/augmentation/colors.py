"""Pixel values: brightness, contrast, hue, saturation, gamma, noise, patches and compression artifacts.

All of it is computed in float32 on [0, 255] and given back as bytes. Source of steps, ranges and order: the API's
core.preprocessor, which divides by 255 before and multiplies after; that makes no difference to these.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from boxtune.config import pipeline_pb2
from boxtune.data import stateless_random
from boxtune.data.augmentation.crops import mean_color
from boxtune.data.augmentation.steps import (
    Step,
    check,
    check_probability,
    check_range,
    paste,
    size_of,
    to_bytes,
    with_probability,
)
from boxtune.data.decoder import Sample

Change = Callable[[Any, Any], Any]
"""A function of pixels, float32 [h, w, 3] in [0, 255], and a seed int32 [2]; its result may leave that range."""

LUMA = (0.2989, 0.5870, 0.1140)
"""How much red, green and blue add to how bright a pixel looks (ITU-R BT.601)."""


def _step(*changes: Change) -> Step:
    """Make a step of changes of pixels: one after another, each with a seed of its own, rounded once."""

    def change_all(sample: Sample, seed: Any) -> Sample:
        pixels = tf.cast(sample["image"], tf.float32)
        for change, own_seed in zip(changes, stateless_random.split(seed, len(changes)), strict=True):
            pixels = tf.clip_by_value(change(pixels, own_seed), 0.0, 255.0)
        return sample | {"image": to_bytes(pixels)}

    return change_all


# ---------------------------------------------------------------------------------------------- colours


def random_adjust_brightness(section: pipeline_pb2.RandomAdjustBrightness) -> Step:
    """Read `random_adjust_brightness`: add one number to all values, up to `max_delta` of the whole range."""
    check(0 <= section.max_delta <= 1, f"max_delta is {section.max_delta:g}; it must be in [0, 1]")
    return _step(_brightness(section.max_delta))


def random_adjust_contrast(section: pipeline_pb2.RandomAdjustContrast) -> Step:
    """Read `random_adjust_contrast`: multiply the distance of all values from the mean of their channel."""
    return _step(_contrast(*check_range(section, "min_delta", "max_delta", 0, 100)))


def random_adjust_hue(section: pipeline_pb2.RandomAdjustHue) -> Step:
    """Read `random_adjust_hue`: turn the circle of colours by up to `max_delta` of it."""
    check(0 <= section.max_delta <= 0.5, f"max_delta is {section.max_delta:g}; it must be in [0, 0.5]")
    return _step(_hue(section.max_delta))


def random_adjust_saturation(section: pipeline_pb2.RandomAdjustSaturation) -> Step:
    """Read `random_adjust_saturation`: multiply the saturation of all pixels."""
    return _step(_saturation(*check_range(section, "min_delta", "max_delta", 0, 100)))


def random_distort_color(section: pipeline_pb2.RandomDistortColor) -> Step:
    """Read `random_distort_color`: brightness, contrast, saturation and hue in one of two orders.

    Source: Howard 2013 (arXiv:1312.5402) by way of SSD.
    """
    order = section.color_ordering
    check(order in (0, 1), f"color_ordering is {order}; it must be 0 or 1")
    brightness, contrast = _brightness(32 / 255), _contrast(0.5, 1.5)
    saturation, hue = _saturation(0.5, 1.5), _hue(0.2)
    return _step(brightness, *((contrast, saturation, hue) if order else (saturation, hue, contrast)))


def random_rgb_to_gray(section: pipeline_pb2.RandomRGBtoGray) -> Step:
    """Read `random_rgb_to_gray`: take the colours out with a probability."""
    probability = check_probability(section, "probability")
    return with_probability(probability, _step(lambda pixels, _: gray(pixels)))


def adjust_gamma(section: pipeline_pb2.AdjustGamma) -> Step:
    """Read `adjust_gamma`: raise all values, as parts of 255, to a power; multiply them by `gain`."""
    gamma, gain = section.gamma, section.gain
    fault = f"gamma is {gamma:g} and gain {gain:g}; neither may be below 0"
    check(0 <= gamma <= 100 and 0 <= gain <= 1e6, fault)
    # Powers are slow; but there are no more than 256.
    table = to_bytes(gain * 255 * (tf.range(256, dtype=tf.float32) / 255) ** gamma)
    return lambda sample, _: sample | {"image": look_up(sample["image"], table)}


def _brightness(max_delta: float) -> Change:
    return lambda pixels, seed: pixels + 255 * stateless_random.uniform(seed, -max_delta, max_delta)


def _contrast(low: float, high: float) -> Change:
    def change(pixels: Any, seed: Any) -> Any:
        mean = mean_color(pixels)
        return (pixels - mean) * stateless_random.uniform(seed, low, high) + mean

    return change


def _hue(max_delta: float) -> Change:
    return lambda pixels, seed: tf.image.adjust_hue(
        pixels, stateless_random.uniform(seed, -max_delta, max_delta)
    )


def _saturation(low: float, high: float) -> Change:
    return lambda pixels, seed: tf.image.adjust_saturation(pixels, stateless_random.uniform(seed, low, high))


def gray(pixels: Any) -> Any:
    """Return pixels, float32 [h, w, 3], without their colours."""
    # A product of matrices is three times as fast as a sum over the last axis.
    mixed = tf.matmul(tf.reshape(pixels, [-1, 3]), tf.constant([[fraction] * 3 for fraction in LUMA]))
    return tf.reshape(mixed, tf.shape(pixels))


def look_up(image: Any, table: Any) -> Any:
    """Return `table` [256] at the values of an image uint8 [h, w, 3]."""
    return tf.gather(table, tf.cast(image, tf.int32))


# ---------------------------------------------------------------------------------------------- noise and patches


def random_pixel_value_scale(section: pipeline_pb2.RandomPixelValueScale) -> Step:
    """Read `random_pixel_value_scale`: multiply every value by a number of its own."""
    low, high = check_range(section, "minval", "maxval", 0, 1000)
    return _step(lambda pixels, seed: pixels * stateless_random.uniform(seed, low, high, tf.shape(pixels)))


def random_patch_gaussian(section: pipeline_pb2.RandomPatchGaussian) -> Step:
    """Read `random_patch_gaussian`: normal noise in a square around a point of the image.

    Source: Lopes et al. 2019 (arXiv:1906.02611).
    """
    sizes = check_range(section, "min_patch_size", "max_patch_size", 1, 2**20)
    stddevs = check_range(section, "min_gaussian_stddev", "max_gaussian_stddev", 0, 100)
    kept = check_probability(section, "random_coef")

    def add_noise(sample: Sample, seed: Any) -> Sample:
        size_seed, row_seed, column_seed, stddev_seed, noise_seed = stateless_random.split(seed, 5)
        image, size = sample["image"], stateless_random.integer(size_seed, *sizes)
        height, width = tf.unstack(size_of(image))
        row = stateless_random.integer(row_seed, 0, height)
        column = stateless_random.integer(column_seed, 0, width)
        start, end = square(image, row, column, size)
        patch = tf.cast(image[start[0] : end[0], start[1] : end[1]], tf.float32)
        stddev = stateless_random.uniform(stddev_seed, *stddevs)
        noise = tf.random.stateless_normal(tf.shape(patch), noise_seed) * 255 * stddev
        return sample | {"image": paste(image, to_bytes(patch + noise), start[0], start[1])}

    return with_probability(1 - kept, add_noise)


def square(image: Any, row: Any, column: Any, size: Any) -> tuple[Any, Any]:
    """Return start and end (int32 [2]) of a square around a pixel of an image, cut to the image."""
    start = tf.stack([row, column]) - size // 2
    return tf.maximum(start, 0), tf.minimum(start + size, size_of(image))


def random_black_patches(section: pipeline_pb2.RandomBlackPatches) -> Step:
    """Read `random_black_patches`: black squares, each with a probability, of a fraction of the shorter side."""
    count, ratio = section.max_black_patches, section.size_to_image_ratio
    check(0 <= count <= 1000, f"max_black_patches is {count}; it must be in [0, 1000]")
    check(0 <= ratio <= 1, f"size_to_image_ratio is {ratio:g}; it must be in [0, 1]")
    probability = check_probability(section, "probability")

    def blacken(sample: Sample, seed: Any) -> Sample:
        selection_seed, position_seed = stateless_random.split(seed, 2)
        selected = stateless_random.uniform(selection_seed, shape=[count]) < probability
        size = tf.cast(size_of(sample["image"]), tf.float32)
        positions = stateless_random.uniform(position_seed, 0.0, 1.0 - ratio, [count, 2])
        start = tf.cast(positions * size, tf.int32)
        side = tf.cast(tf.reduce_min(size) * ratio, tf.int32)
        return sample | {"image": black_squares(sample["image"], tf.boolean_mask(start, selected), side)}

    return blacken


def black_squares(image: Any, start: Any, side: Any) -> Any:
    """Return an image [h, w, 3] with squares of a side in black; `start` int32 [p, 2] are their tops and lefts."""
    height, width = tf.unstack(size_of(image))
    rows = _within(height, start[:, 0], side)
    columns = _within(width, start[:, 1], side)
    # How many squares lie over each pixel.
    over = tf.matmul(rows, columns, transpose_a=True)
    return tf.where(over[..., None] > 0, tf.constant(0, image.dtype), image)


def _within(length: Any, start: Any, side: Any) -> Any:
    """Return float32 [p, length]: 1 from each `start` for `side` pixels, 0 elsewhere."""
    positions = tf.range(length)[None]
    return tf.cast((positions >= start[:, None]) & (positions < start[:, None] + side), tf.float32)


# ---------------------------------------------------------------------------------------------- compression


def random_jpeg_quality(section: pipeline_pb2.RandomJpegQuality) -> Step:
    """Read `random_jpeg_quality`: compress the image with a random quality."""
    qualities = check_range(section, "min_jpeg_quality", "max_jpeg_quality", 0, 100)
    kept = check_probability(section, "random_coef")

    def compress(sample: Sample, seed: Any) -> Sample:
        quality = stateless_random.integer(seed, *qualities)
        return sample | {"image": tf.image.adjust_jpeg_quality(sample["image"], quality)}

    return with_probability(1 - kept, compress)
