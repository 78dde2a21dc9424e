"""Operations on keypoints float32 [n, p, 2], (y, x); NaN where there is none. `scope` names nothing."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def scale(keypoints: Any, y_scale: Any, x_scale: Any, scope: str | None = None) -> Any:
    """Return keypoints with their coordinates multiplied."""
    return keypoints * tf.stack([tf.cast(y_scale, tf.float32), tf.cast(x_scale, tf.float32)])


def clip_to_window(keypoints: Any, window: Any, scope: str | None = None) -> Any:
    """Return keypoints moved into a window [4] where they are outside of it."""
    window = tf.convert_to_tensor(window)
    return tf.maximum(tf.minimum(keypoints, window[2:]), window[:2])


def prune_outside_window(keypoints: Any, window: Any, scope: str | None = None) -> Any:
    """Return keypoints with NaN for those outside of a window [4]."""
    window = tf.convert_to_tensor(window)
    inside = tf.reduce_all((keypoints >= window[:2]) & (keypoints <= window[2:]), axis=-1, keepdims=True)
    return tf.where(inside, keypoints, float("nan"))


def change_coordinate_frame(keypoints: Any, window: Any, scope: str | None = None) -> Any:
    """Return keypoints in the frame in which `window` [4] is [0, 0, 1, 1]."""
    window = tf.convert_to_tensor(window)
    return (keypoints - window[:2]) / (window[2:] - window[:2])


def keypoints_to_enclosing_bounding_boxes(keypoints: Any, keypoints_axis: int = 1) -> Any:
    """Return the smallest boxes around keypoints, which are along an axis: [n, 4] around [n, p, 2]."""
    corners = [tf.reduce_min(keypoints, keypoints_axis), tf.reduce_max(keypoints, keypoints_axis)]
    return tf.concat(corners, axis=-1)


def to_normalized_coordinates(
    keypoints: Any, height: Any, width: Any, check_range: bool = True, scope: str | None = None
) -> Any:
    """Return keypoints in pixels as fractions of an image.

    With `check_range`, keypoints that are fractions already fail with TensorFlow's InvalidArgumentError.
    """
    height, width = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    if check_range:
        most = tf.reduce_max(keypoints)
        check = tf.debugging.Assert(most > 1.01, ["max keypoint coordinate value is lower than 1.01: ", most])
        with tf.control_dependencies([] if check is None else [check]):
            width = tf.identity(width)
    return scale(keypoints, 1 / height, 1 / width)


def to_absolute_coordinates(
    keypoints: Any, height: Any, width: Any, check_range: bool = True, scope: str | None = None
) -> Any:
    """Return keypoints that are fractions of an image in pixels.

    With `check_range`, keypoints beyond 1.01 fail with TensorFlow's InvalidArgumentError.
    """
    height, width = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    if check_range:
        most = tf.reduce_max(keypoints)
        message = "maximum keypoint coordinate value is larger than 1.01: "
        check = tf.debugging.Assert(most <= 1.01, [message, most])
        with tf.control_dependencies([] if check is None else [check]):
            width = tf.identity(width)
    return scale(keypoints, height, width)


def flip_horizontal(
    keypoints: Any, flip_point: Any, flip_permutation: Sequence[int] | None = None, scope: str | None = None
) -> Any:
    """Return keypoints mirrored left and right at x = `flip_point`, in the order of `flip_permutation`."""
    y, x = tf.unstack(_permuted(keypoints, flip_permutation), axis=-1)
    return tf.stack([y, 2.0 * flip_point - x], axis=-1)


def flip_vertical(
    keypoints: Any, flip_point: Any, flip_permutation: Sequence[int] | None = None, scope: str | None = None
) -> Any:
    """Return keypoints mirrored top and bottom at y = `flip_point`, in the order of `flip_permutation`."""
    y, x = tf.unstack(_permuted(keypoints, flip_permutation), axis=-1)
    return tf.stack([2.0 * flip_point - y, x], axis=-1)


def rot90(keypoints: Any, rotation_permutation: Sequence[int] | None = None, scope: str | None = None) -> Any:
    """Return keypoints of an image that is turned by 90 degrees, counter-clockwise, in an order."""
    y, x = tf.unstack(_permuted(keypoints, rotation_permutation), axis=-1)
    return tf.stack([1.0 - x, y], axis=-1)


def _permuted(keypoints: Any, permutation: Any) -> Any:
    return keypoints if permutation is None else tf.gather(keypoints, permutation, axis=1)


def keypoint_weights_from_visibilities(
    keypoint_visibilities: Any, per_keypoint_weights: Sequence[float] | None = None
) -> Any:
    """Return float32 [n, p]: the weight (1) of each keypoint that is visible (bool [n, p]), else 0."""
    visible = tf.cast(keypoint_visibilities, tf.float32)
    return visible if per_keypoint_weights is None else visible * tf.constant(per_keypoint_weights)


def set_keypoint_visibilities(keypoints: Any, initial_keypoint_visibilities: Any = None) -> Any:
    """Return bool [n, p]: which keypoints are visible, which those that are NaN are not."""
    exists = ~tf.reduce_any(tf.math.is_nan(keypoints), axis=-1)
    if initial_keypoint_visibilities is None:
        return exists
    return exists & tf.cast(initial_keypoint_visibilities, tf.bool)
