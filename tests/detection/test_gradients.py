import numpy as np
from keras import ops

from boxtune.detection.gradients import copies, with_slope
from differentiation import gradients


def test_gradients_of_copies_are_added():
    def total(x):
        first, second, third = copies(x, 3)
        return ops.sum(first + 10 * second + 100 * third)

    (slope,) = gradients(total, np.float32([1, 2]))
    np.testing.assert_array_equal(slope, [111, 111])


def test_a_slope_stands_in_for_the_derivative():
    x = np.float32([1, 2])
    value = with_slope(ops.convert_to_tensor(x) ** 2, ops.convert_to_tensor(x), np.float32([7, 8]))
    np.testing.assert_array_equal(value, [1, 4])
    (slope,) = gradients(lambda x: ops.sum(with_slope(x**2, x, np.float32([7, 8]))), x)
    np.testing.assert_array_equal(slope, [7, 8])
