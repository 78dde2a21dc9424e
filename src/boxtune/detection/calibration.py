"""From scores to probabilities: functions fitted after training."""

from collections.abc import Callable, Mapping
from typing import Any

from keras import ops

Function = Callable[[Any], Any]


def piecewise_linear(scores, x, y):
    """Return the piecewise linear function of `scores` [...] through the points `x` [p], ascending, and `y` [p].

    Before the first point and after the last the function is constant. Source: the API's builders.calibration_builder.
    """
    x, y = ops.convert_to_tensor(x, "float32"), ops.convert_to_tensor(y, "float32")
    if x.shape[0] == 1:
        return ops.broadcast_to(y, ops.shape(scores))
    flat = ops.clip(ops.reshape(scores, (-1,)), x[0], x[-1])
    right = ops.clip(ops.searchsorted(x, flat, side="right"), 1, x.shape[0] - 1)
    x0, x1, y0, y1 = (ops.take(part, index) for part in (x, y) for index in (right - 1, right))
    fraction = (flat - x0) / (x1 - x0)
    return ops.reshape((1 - fraction) * y0 + fraction * y1, ops.shape(scores))


def each_column(scores, functions: Mapping[int, Function]):
    """Return `scores` [..., c] with the functions of their columns applied; columns without one are unchanged."""
    columns = ops.unstack(scores, axis=-1)
    calibrated = [functions[i](column) if i in functions else column for i, column in enumerate(columns)]
    return ops.stack(calibrated, axis=-1)
