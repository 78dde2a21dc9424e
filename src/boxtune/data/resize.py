"""Bringing images of any size to the size that a model takes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from boxtune import config
from boxtune.config import pipeline_pb2

_METHODS = {
    pipeline_pb2.BILINEAR: tf.compat.v1.image.ResizeMethod.BILINEAR,
    pipeline_pb2.NEAREST_NEIGHBOR: tf.compat.v1.image.ResizeMethod.NEAREST_NEIGHBOR,
    pipeline_pb2.BICUBIC: tf.compat.v1.image.ResizeMethod.BICUBIC,
    pipeline_pb2.AREA: tf.compat.v1.image.ResizeMethod.AREA,
}


@dataclass(frozen=True)
class Resized:
    """An image as a model takes it, and which part of it is picture rather than padding."""

    image: Any  # float32 [h, w, 3]
    extent: Any  # float32 [2]: the share of the height and of the width that the picture fills, in (0, 1]


Resizer = Callable[[Any], Resized]


def resizer(section: pipeline_pb2.ImageResizer) -> Resizer:
    """Read `image_resizer`: a function from float32 images [h, w, 3] to Resized.

    Source: the API's builders.image_resizer_builder and core.preprocessor.
    """
    read, chosen = config.chosen(
        section, {"fixed_shape_resizer": _fixed_shape, "keep_aspect_ratio_resizer": _keep_aspect_ratio}
    )
    return read(chosen)


def _fixed_shape(section: pipeline_pb2.FixedShapeResizer) -> Resizer:
    def resize(image: Any) -> Resized:
        resized = _resize(image, (section.height, section.width), section)
        return Resized(resized, tf.ones(2))

    return resize


def _keep_aspect_ratio(section: pipeline_pb2.KeepAspectRatioResizer) -> Resizer:
    def resize(image: Any) -> Resized:
        height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
        to_smallest = section.min_dimension / tf.minimum(height, width)
        to_largest = section.max_dimension / tf.maximum(height, width)
        # The shorter side reaches min_dimension unless the longer one would then pass max_dimension.
        scale = tf.minimum(to_smallest, to_largest)
        # At least a pixel is left also of the thinnest picture.
        size = tf.maximum(tf.cast(tf.round(tf.stack([height, width]) * scale), tf.int32), 1)
        resized = _resize(image, size, section)
        if not section.pad_to_max_dimension:
            return Resized(resized, tf.ones(2))
        side = section.max_dimension
        padding = tf.constant(list(section.per_channel_pad_value) or [0.0], tf.float32)
        missing = side - size
        shifted = tf.pad(resized - padding, [[0, missing[0]], [0, missing[1]], [0, 0]])
        padded = tf.ensure_shape(shifted + padding, [side, side, None])
        return Resized(padded, tf.cast(size, tf.float32) / side)

    return resize


def _resize(image: Any, size: Any, section: Any) -> Any:
    # The API resizes as TensorFlow 1 did: pixels are counted from their corners, not from their centres.
    return tf.compat.v1.image.resize(image, size, _METHODS[section.resize_method])
