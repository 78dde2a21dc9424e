"""Gradients that repeat to the last bit.

TensorFlow's tape adds three gradients or more from the one whose memory is free to hold the sum. Which one that is
depends on timing, so the last bits would change from run to run; two always add up to the same. What is used more than
twice goes through one of these.
"""

from keras import ops


def copies(x, count: int):
    """Return `x` `count` times, as tensors whose gradients one operation adds."""
    return ops.unstack(ops.repeat(x[None], count, axis=0), count)


def with_slope(value, x, slope):
    """Return `value`, whose derivative by `x` is `slope`: one pass instead of one for each use of `x`."""
    return ops.stop_gradient(value) + (x - ops.stop_gradient(x)) * ops.stop_gradient(slope)
