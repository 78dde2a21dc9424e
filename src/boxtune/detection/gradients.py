"""Gradients that are reproducible to the last bit.

TensorFlow's tape adds three gradients or more in an order that depends on timing, so the last bits would change from
run to run; the sum of two is always the same. A tensor that is used more than twice goes through one of these
functions.
"""

import keras
from keras import ops


def copies(x, count: int) -> list:
    """Return `x` `count` times, as tensors whose gradients are added by one operation with a fixed order.

    Other backends than TensorFlow have a fixed order by themselves. TensorFlow's `add_n` has not: it starts with any
    summand that it may overwrite.
    """
    if keras.backend.backend() != "tensorflow":
        return [x] * count

    @ops.custom_gradient
    def branch(x):
        return [x] * count, lambda *slopes: ops.sum(ops.stack(slopes), axis=0)

    return branch(ops.convert_to_tensor(x))


def with_slope(value, x, slope):
    """Return `value` with `slope` as its derivative by `x`: one operation instead of one for each use of `x`."""
    return ops.stop_gradient(value) + (x - ops.stop_gradient(x)) * ops.stop_gradient(slope)
