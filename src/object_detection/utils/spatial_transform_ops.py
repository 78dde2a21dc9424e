"""Crops of feature maps within boxes, of one map or of a pyramid.

b images, n boxes of each in fractions, h w pixels, c channels, y x of a crop; `scope` names nothing.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from object_detection.utils.ops import matmul_crop_and_resize, native_crop_and_resize

__all__ = [
    "matmul_crop_and_resize",
    "multilevel_matmul_crop_and_resize",
    "multilevel_native_crop_and_resize",
    "native_crop_and_resize",
    "pad_to_max_size",
]


def pad_to_max_size(features: Sequence[Any]) -> tuple[Any, Any]:
    """Return maps [b, h, w, c] padded with 0 to one size, [b, maps, h, w, c], and their sizes int32 [maps, 2]."""
    sizes = tf.stack([tf.shape(one)[1:3] for one in features])
    missing = tf.reduce_max(sizes, axis=0) - sizes
    padded = [
        tf.pad(one, [[0, 0], [0, missing[level, 0]], [0, missing[level, 1]], [0, 0]])
        for level, one in enumerate(features)
    ]
    return tf.stack(padded, axis=1), sizes


def multilevel_native_crop_and_resize(
    images: Sequence[Any], boxes: Any, box_levels: Any, crop_size: Sequence[int], scope: str | None = None
) -> Any:
    """Return crops [b, n, *crop_size, c] of the map of each box: `box_levels` int32 [b, n] are their numbers."""
    if box_levels is None:
        return native_crop_and_resize(images[0], boxes, crop_size)
    return multilevel_matmul_crop_and_resize(images, boxes, box_levels, crop_size)


def multilevel_matmul_crop_and_resize(
    images: Sequence[Any],
    boxes: Any,
    box_levels: Any,
    crop_size: Sequence[int],
    extrapolation_value: float = 0.0,
    scope: str | None = None,
) -> Any:
    """Return the same, with `extrapolation_value` outside of the map."""
    if box_levels is None:
        return matmul_crop_and_resize(images[0], boxes, crop_size, extrapolation_value)
    crops = [matmul_crop_and_resize(image, boxes, crop_size, extrapolation_value) for image in images]
    return tf.gather(tf.stack(crops, axis=2), box_levels, batch_dims=2)
