"""Which behaviour of TensorFlow is switched on."""

import tensorflow as tf


def is_tf2() -> bool:
    """Return whether TensorFlow behaves as version 2."""
    enabled: bool = tf.__internal__.tf2.enabled()
    return enabled


def is_tf1() -> bool:
    """Return whether TensorFlow behaves as version 1."""
    return not is_tf2()
