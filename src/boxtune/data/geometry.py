"""The one place that moves boxes."""

from typing import Any

import tensorflow as tf


def to_input_frame(boxes: Any, sizes: Any, input_size: Any) -> Any:
    """Return boxes [b, n, 4] of the image's frame in the input's, which has padding below and to the right.

    Args:
        boxes: float32 [b, n, 4].
        sizes: int32 [b, 2], the height and width in pixels of the part of each input that is image.
        input_size: int32 [2], those of the whole input.
    """
    fractions = tf.cast(sizes, tf.float32) / tf.cast(input_size, tf.float32)
    return boxes * tf.tile(fractions, [1, 2])[:, None]
