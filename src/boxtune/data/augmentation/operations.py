"""The operations of AutoAugment: pure functions of an image uint8 [h, w, 3].

Where one is named after an operation of Pillow, it does what that one does.
"""

import math
from typing import Any

import tensorflow as tf

from boxtune.data.augmentation.colors import gray, look_up
from boxtune.data.augmentation.crops import mean_color
from boxtune.data.augmentation.steps import paste, size_of, to_bytes

_GREY = 128  # of what lies beyond an image


# ---------------------------------------------------------------------------------------------- moves


def warp(image: Any, matrix: Any) -> Any:
    """Return an image moved by a matrix: grey where nothing comes from, each pixel the nearest one.

    `matrix` [2, 3] gives for x, y and 1 of the result, in pixels from its top left, the x and y that come there.
    """
    # The kernel counts from the centre of the first pixel.
    shift = tf.reduce_sum(matrix[:, :2], 1) / 2 - 0.5
    (a, b, c), (d, e, f) = (tf.unstack(row) for row in tf.unstack(matrix + shift[:, None] * [0.0, 0.0, 1.0]))
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=tf.stack([a, b, c, d, e, f, 0.0, 0.0])[None],
        output_shape=size_of(image),
        fill_value=float(_GREY),
        interpolation="NEAREST",
        fill_mode="CONSTANT",
    )
    return tf.ensure_shape(moved[0], [None, None, 3])


def rotation(degrees: Any, size: Any) -> Any:
    """Return the matrix of `warp` that turns an image of `size` about its centre, counter-clockwise."""
    angle = degrees * math.pi / 180
    cos, sin = tf.cos(angle), tf.sin(angle)
    turn = tf.stack([[cos, -sin], [sin, cos]])
    y, x = tf.unstack(tf.cast(size, tf.float32) / 2)
    center = tf.stack([x, y])[:, None]
    return tf.concat([turn, center - turn @ center], 1)


def shear(x: Any, y: Any) -> Any:
    """Return the matrix of `warp` that moves each row left by `x` times its y, each column up by `y` times its x."""
    return tf.stack([tf.stack([1.0, x, 0.0]), tf.stack([y, 1.0, 0.0])])


def translation(x: Any, y: Any) -> Any:
    """Return the matrix of `warp` that moves an image to the left by `x` pixels and up by `y`."""
    return tf.stack([tf.stack([1.0, 0.0, x]), tf.stack([0.0, 1.0, y])])


# ---------------------------------------------------------------------------------------------- values


def posterize(image: Any, bits: int) -> Any:
    """Keep the highest bits of each value, one at least."""
    return tf.bitwise.bitwise_and(image, tf.constant(256 - (1 << (8 - max(bits, 1))), tf.uint8))


def solarize(image: Any, threshold: int) -> Any:
    """Invert the values from `threshold` on."""
    values = tf.range(256)
    return look_up(image, tf.cast(tf.where(values < threshold, values, 255 - values), tf.uint8))


def solarize_add(image: Any, addition: int) -> Any:
    """Add to the values below 128."""
    values = tf.range(256)
    table = tf.where(values < 128, tf.minimum(values + addition, 255), values)
    return look_up(image, tf.cast(table, tf.uint8))


def brightness(image: Any, factor: float) -> Any:
    """Blend with black: 0 is black, 1 the image, more brighter."""
    return _blend(0.0, image, factor)


def contrast(image: Any, factor: float) -> Any:
    """Blend with the mean grey: 0 is that grey, 1 the image, more has more contrast."""
    return _blend(mean_color(to_bytes(gray(tf.cast(image, tf.float32)))), image, factor)


def color(image: Any, factor: float) -> Any:
    """Blend with the image in grey: 0 is grey, 1 the image, more has more colour."""
    return _blend(gray(tf.cast(image, tf.float32)), image, factor)


def sharpness(image: Any, factor: float) -> Any:
    """Blend with a smooth image: 0 is smooth, 1 the image, more is sharper; the outermost pixels stay."""
    pixels = tf.cast(image, tf.float32)
    kernel = tf.constant([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]], shape=[3, 3, 1, 1]) / 13
    smooth = tf.nn.depthwise_conv2d(pixels[None], tf.tile(kernel, [1, 1, 3, 1]), [1] * 4, "SAME")[0]
    return paste(image, _blend(smooth[1:-1, 1:-1], image[1:-1, 1:-1], factor), 1, 1)


def auto_contrast(image: Any) -> Any:
    """Stretch the values of each channel over all of [0, 255]."""
    low, high = (tf.cast(bound, tf.float32) for bound in _bounds(image))
    # A channel of one value stays as it is.
    low, high = tf.where(high > low, low, 0.0), tf.where(high > low, high, 255.0)
    return to_bytes((tf.cast(image, tf.float32) - low) * (255 / (high - low)))


def equalize(image: Any) -> Any:
    """Spread the values of each channel so that all of them are about as frequent."""
    channels = tf.cast(image, tf.int32) + tf.constant([0, 256, 512])
    histograms = tf.reshape(tf.math.bincount(channels, minlength=768, maxlength=768), [3, 256])
    _, high = _bounds(image)
    at_top = tf.gather(histograms, tf.cast(high, tf.int32), batch_dims=1)
    step = ((tf.reduce_sum(histograms, 1) - at_top) // 255)[:, None]
    spread = (tf.cumsum(histograms, 1, exclusive=True) + step // 2) // tf.maximum(step, 1)
    table = tf.where(step > 0, tf.minimum(spread, 255), tf.range(256))
    return tf.gather(tf.cast(tf.reshape(table, [-1]), tf.uint8), channels)


def cutout(image: Any, start: Any, end: Any) -> Any:
    """Make a window grey; `start` and `end` (int32 [2]) may lie outside of the image."""
    start = tf.clip_by_value(start, 0, size_of(image))
    end = tf.clip_by_value(end, start, size_of(image))
    patch = tf.fill(tf.concat([end - start, [3]], 0), tf.constant(_GREY, tf.uint8))
    return paste(image, patch, start[0], start[1])


def _blend(other: Any, image: Any, factor: float) -> Any:
    return to_bytes(other + factor * (tf.cast(image, tf.float32) - other))


def _bounds(image: Any) -> tuple[Any, Any]:
    """Return the least and the greatest value (uint8 [3]) of each channel."""
    return tf.reduce_min(image, [0, 1]), tf.reduce_max(image, [0, 1])
