"""Sides of images [b, h, w, d] that are known before the graph runs; None for those that are not."""

from typing import Any

import tensorflow as tf


def get_dim_as_int(dim: Any) -> int | None:
    """Return one dimension of a shape, an int or a Dimension of TensorFlow 1, as an int."""
    value: int | None = getattr(dim, "value", dim)
    return value


def get_batch_size(tensor_shape: tf.TensorShape) -> int | None:
    """Return b."""
    return _dimension(tensor_shape, 0)


def get_height(tensor_shape: tf.TensorShape) -> int | None:
    """Return h."""
    return _dimension(tensor_shape, 1)


def get_width(tensor_shape: tf.TensorShape) -> int | None:
    """Return w."""
    return _dimension(tensor_shape, 2)


def get_depth(tensor_shape: tf.TensorShape) -> int | None:
    """Return d."""
    return _dimension(tensor_shape, 3)


def _dimension(tensor_shape: tf.TensorShape, axis: int) -> int | None:
    tensor_shape.assert_has_rank(rank=4)
    return get_dim_as_int(tensor_shape[axis])
