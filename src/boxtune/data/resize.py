"""Bringing images of any size to the size that a model takes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from boxtune import config
from boxtune.config import pipeline_pb2
from boxtune.errors import ConfigError


@dataclass(frozen=True)
class Resized:
    """An image, or several of one size, as a model takes them, and which part of them is image rather than padding."""

    image: Any  # float32 [h, w, 3], or [b, h, w, 3]
    size: Any  # int32 [2]: the height and width of the part that is image, at the top left


Resizer = Callable[[Any], Resized]


def resizer(section: pipeline_pb2.ImageResizer) -> Resizer:
    """Read `image_resizer`: a function from an image [h, w, 3], or several [b, h, w, 3], to Resized.

    They are float32 or uint8, which it resizes as they are: as floats they would take four times the memory.

    Source: the API's builders.image_resizer_builder and core.preprocessor.

    Raises:
        ConfigError: for sizes that cannot be.
    """
    return config.oneof(
        section,
        {
            "fixed_shape_resizer": _fixed_shape,
            "keep_aspect_ratio_resizer": _keep_aspect_ratio,
            "identity_resizer": _identity,
            "conditional_shape_resizer": _conditional_shape,
            "pad_to_multiple_resizer": _pad_to_multiple,
        },
    )


def _fixed_shape(section: pipeline_pb2.FixedShapeResizer) -> Resizer:
    size = (section.height, section.width)
    return lambda image: Resized(_resize(image, size, section), tf.constant(size, tf.int32))


def _keep_aspect_ratio(section: pipeline_pb2.KeepAspectRatioResizer) -> Resizer:
    def resize(image: Any) -> Resized:
        size = size_in_range(_size_of(image), section.min_dimension, section.max_dimension)
        resized = _resize(image, size, section)
        if not section.pad_to_max_dimension:
            return Resized(resized, size)
        side = section.max_dimension
        padding = tf.constant(list(section.per_channel_pad_value) or [0.0], tf.float32)
        padded = _pad(resized - padding, [side, side]) + padding
        return Resized(tf.ensure_shape(padded, [*image.shape[:-3], side, side, None]), size)

    return resize


def size_in_range(size: Any, min_dimension: int, max_dimension: int | None) -> Any:
    """Return the size (int32 [2]) of an image of `size` (int32 [2]) whose shorter side is to have `min_dimension`.

    Unless its longer side would pass `max_dimension` then: so the longer one has that.
    """
    sides = tf.cast(size, tf.float32)
    scale = min_dimension / tf.reduce_min(sides)
    if max_dimension:
        scale = tf.minimum(scale, max_dimension / tf.reduce_max(sides))
    # At least a pixel is left also of the thinnest image.
    return tf.maximum(tf.cast(tf.round(sides * scale), tf.int32), 1)


def size_at_least(size: Any, min_dimension: int) -> Any:
    """Return the size (int32 [2]) of an image of `size` that is enlarged if its shorter side is too short."""
    shorter = tf.reduce_min(tf.cast(size, tf.float32))
    return _scaled(size, tf.maximum(shorter, min_dimension) / shorter)


def size_at_most(size: Any, max_dimension: int) -> Any:
    """Return the size (int32 [2]) of an image of `size` that is reduced if its longer side is too long."""
    longer = tf.reduce_max(tf.cast(size, tf.float32))
    return _scaled(size, tf.minimum(longer, max_dimension) / longer)


def _scaled(size: Any, scale: Any) -> Any:
    return tf.maximum(tf.cast(tf.cast(size, tf.float32) * scale, tf.int32), 1)


def _identity(section: pipeline_pb2.IdentityResizer) -> Resizer:
    return lambda image: Resized(tf.cast(image, tf.float32), _size_of(image))


def _conditional_shape(section: pipeline_pb2.ConditionalShapeResizer) -> Resizer:
    threshold, greater = section.size_threshold, section.condition == section.GREATER
    if section.condition == section.INVALID or threshold < 1:
        raise ConfigError(
            "image_resizer.conditional_shape_resizer: condition must be GREATER or SMALLER, and size_threshold "
            f"({threshold}) at least 1"
        )

    def resize(image: Any) -> Resized:
        sides = _size_of(image)
        size = size_at_most(sides, threshold) if greater else size_at_least(sides, threshold)
        # Here the API has the pixels at the corners of the image stay there, unlike elsewhere.
        return Resized(_resize(image, size, section, align_corners=True), size)

    return resize


def _pad_to_multiple(section: pipeline_pb2.PadToMultipleResizer) -> Resizer:
    multiple = section.multiple
    if multiple < 1:
        raise ConfigError(
            f"image_resizer.pad_to_multiple_resizer.multiple is {multiple}; it must be at least 1"
        )

    def resize(image: Any) -> Resized:
        size = _size_of(image)
        padded = _pad(image, (size + multiple - 1) // multiple * multiple)
        return Resized(tf.cast(padded, tf.float32), size)

    return resize


def _size_of(image: Any) -> Any:
    """Return the height and width of an image [..., h, w, 3] as int32 [2]."""
    return tf.shape(image)[-3:-1]


def _pad(image: Any, size: Any) -> Any:
    """Return `image` [..., h, w, 3] with zeros below and to the right, up to `size` (int32 [2])."""
    missing = size - _size_of(image)
    batch = [[0, 0]] * (len(image.shape) - 3)
    return tf.pad(image, [*batch, [0, missing[0]], [0, missing[1]], [0, 0]])


def _resize(image: Any, size: Any, section: Any, *, align_corners: bool = False) -> Any:
    # The API resizes as TensorFlow 1 did: pixels are counted from their corners, not from their centres.
    method = getattr(tf.compat.v1.image.ResizeMethod, pipeline_pb2.ResizeType.Name(section.resize_method))
    resized = tf.compat.v1.image.resize(image, size, method, align_corners=align_corners)
    return tf.cast(resized, tf.float32)
