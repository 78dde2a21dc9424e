"""The only module that moves boxes: nothing else computes new coordinates.

Boxes are `[ymin, xmin, ymax, xmax]`, fractions of the height and width of some image: of the *frame* they are
in. Functions of boxes are pure, and do the same eagerly and inside of `tf.data`.

All parts of an object move together, in `move_objects`: what is to travel beside boxes (masks, keypoints) is to be
moved there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from boxtune.data.decoder import Sample


class Window(NamedTuple):
    """A rectangle in an image: three pairs (y or height first) in one unit, such as pixels."""

    start: Any
    """[2], its top and left; [w, 2] for several windows of one size."""
    size: Any
    """[2]."""
    frame: Any
    """[2], the size of the image that it lies in."""

    @property
    def end(self) -> Any:
        """Bottom and right, [2] or [w, 2]."""
        return tf.add(self.start, self.size)

    @property
    def box(self) -> Any:
        """The window as a box, float32 [4] or [w, 4]."""
        return tf.cast(tf.concat([self.start, self.end], -1), tf.float32) / _twice(self.frame)


# -------------------------------------------------------------------------------------- whole objects


def move_objects(sample: Sample, move: Callable[..., Any], **how: Any) -> Sample:
    """Return the sample with its objects moved, and its image as it was.

    `move(boxes, **how)` takes boxes [n, 4] in the frame of the image as it was to that of the moved one.
    """
    return sample | {"boxes": move(sample["boxes"], **how)}


# -------------------------------------------------------------------------------------- flips and rotations


def flip_left_right(boxes: Any) -> Any:
    """Return boxes [n, 4] mirrored left and right."""
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    return tf.stack([ymin, 1.0 - xmax, ymax, 1.0 - xmin], axis=-1)


def flip_up_down(boxes: Any) -> Any:
    """Return boxes [n, 4] mirrored top and bottom."""
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    return tf.stack([1.0 - ymax, xmin, 1.0 - ymin, xmax], axis=-1)


def rotate_90(boxes: Any) -> Any:
    """Return boxes [n, 4] rotated by 90 degrees, counter-clockwise: the right side becomes the top."""
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    return tf.stack([1.0 - xmax, ymin, 1.0 - xmin, ymax], axis=-1)


def warp_boxes(boxes: Any, size: Any, matrix: Any) -> Any:
    """Return the boxes [n, 4] around boxes that are rotated, sheared or translated with their image.

    Args:
        boxes: float32 [n, 4].
        size: int32 [2], height and width of the image, before as after.
        matrix: float32 [2, 3], gives for x, y and 1 of a point of the moved image, in pixels from the top
            left, the x and y of the point that comes there.
    """
    scale = _twice(size)
    ymin, xmin, ymax, xmax = tf.unstack(boxes * scale, axis=-1)
    corners = tf.stack([[xmin, xmax, xmin, xmax], [ymin, ymin, ymax, ymax]], 1)  # [4, 2, n]
    moved = tf.linalg.inv(matrix[:, :2]) @ (corners - matrix[:, 2:])
    x, y = moved[:, 0], moved[:, 1]
    around = [tf.reduce_min(y, 0), tf.reduce_min(x, 0), tf.reduce_max(y, 0), tf.reduce_max(x, 0)]
    return tf.stack(around, 1) / scale


# -------------------------------------------------------------------------------------- frames


def to_window(boxes: Any, window: Window) -> Any:
    """Return boxes [n, 4] of the image that a window lies in, in the frame of the window; not cut to it."""
    top_left, bottom_right = tf.split(window.box, 2)
    return (boxes - _twice(top_left)) / _twice(bottom_right - top_left)


def from_window(boxes: Any, window: Window) -> Any:
    """Return boxes [n, 4] in the frame of a window, in that of the image that it lies in."""
    return (boxes * _twice(window.size) + _twice(window.start)) / _twice(window.frame)


def to_input_frame(boxes: Any, sizes: Any, input_size: Any) -> Any:
    """Return boxes of images in the frame of the model's input, which has padding below and to the right.

    Args:
        boxes: float32 [b, n, 4], in the frame of each image.
        sizes: int32 [b, 2], height and width in pixels of the part of each input that is image.
        input_size: int32 [2], those of the whole input.
    """
    fractions = tf.cast(sizes, tf.float32) / tf.cast(input_size, tf.float32)
    return boxes * tf.tile(fractions, [1, 2])[:, None]


def pixels_of(box: Any, size: Any) -> Window:
    """Return the smallest window of whole pixels around a box [4] in an image of `size` (int32 [2]).

    It has one pixel at least, and lies in the image where the box does not.
    """
    full = tf.cast(size, tf.float32)
    start = tf.clip_by_value(tf.floor(box[:2] * full), 0.0, full - 1)
    end = tf.clip_by_value(tf.math.ceil(box[2:] * full), start + 1, full)
    return Window(tf.cast(start, tf.int32), tf.cast(end - start, tf.int32), size)


# -------------------------------------------------------------------------------------- boxes by themselves


def sides(boxes: Any) -> Any:
    """Return the heights and widths [n, 2] of boxes [n, 4]."""
    return boxes[:, 2:] - boxes[:, :2]


def centers(boxes: Any) -> Any:
    """Return the centres [n, 2] of boxes [n, 4]."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def areas(boxes: Any) -> Any:
    """Return the areas [...] of boxes [..., 4]."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def clip(boxes: Any) -> Any:
    """Return boxes [n, 4] cut to their image; one outside of it becomes a line or a point of its edge."""
    return tf.clip_by_value(boxes, 0.0, 1.0)


def fractions_inside(boxes: Any, box: Any) -> Any:
    """Return the fraction of the area of each box [n, 4] that lies inside a box.

    It is [n] for a box [4], [w, n] for boxes [w, 1, 4]; 0 for a box without an area, exactly 1 for one that
    does not reach beyond.
    """
    low, high = (tf.concat([corner, corner], -1) for corner in tf.split(box, 2, -1))
    # clip_by_value does not broadcast.
    cut = tf.maximum(tf.minimum(boxes, high), low)
    return tf.math.divide_no_nan(areas(cut), areas(boxes))


def stretch(boxes: Any, factors: Any) -> Any:
    """Return boxes [n, 4] with the distance of each side from the centre multiplied by `factors` [n, 4]."""
    halves = sides(boxes) / 2
    return tf.tile(centers(boxes), [1, 2]) + tf.concat([-halves, halves], 1) * factors


def _twice(pair: Any) -> Any:
    """Return a pair as float32 [4], once for each corner of a box."""
    return tf.tile(tf.cast(pair, tf.float32), [2])
