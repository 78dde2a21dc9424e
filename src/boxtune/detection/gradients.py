"""Gradients that are reproducible to the last bit.

TensorFlow's tape adds three gradients or more in an order that depends on timing, so the last bits would change from
run to run; the sum of two is always the same. A tensor that is used more than twice goes through one of these
functions.
"""

from keras import ops


def copies(x, count: int):
    """Return `x` `count` times, as tensors whose gradients are added by one operation."""
    return ops.unstack(ops.repeat(x[None], count, axis=0), count)


def with_slope(value, x, slope):
    """Return `value` with `slope` as its derivative by `x`: one operation instead of one for each use of `x`."""
    return ops.stop_gradient(value) + (x - ops.stop_gradient(x)) * ops.stop_gradient(slope)
