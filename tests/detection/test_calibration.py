import numpy as np
import pytest
from keras import ops

from boxtune.detection.calibration import each_column, piecewise_linear

X, Y = np.float32([0.2, 0.5, 0.9]), np.float32([0.1, 0.4, 0.6])


def calibrated(scores, x=X, y=Y):
    return ops.convert_to_numpy(piecewise_linear(ops.convert_to_tensor(np.float32(scores)), x, y))


class TestPiecewiseLinear:
    def test_between_points(self):
        # Half way from 0.2 to 0.5: 0.25. A quarter of the way from 0.5 to 0.9: 0.4 + 0.2 / 4.
        np.testing.assert_allclose(calibrated([0.35, 0.6]), [0.25, 0.45], rtol=1e-6)

    def test_at_points(self):
        np.testing.assert_allclose(calibrated(X), Y, rtol=1e-6)

    def test_level_beyond_them(self):
        np.testing.assert_allclose(calibrated([-7, 0, 0.95, 30]), [0.1, 0.1, 0.6, 0.6], rtol=1e-6)

    def test_of_one_point(self):
        np.testing.assert_allclose(calibrated([[0, 0.3, 1]], X[:1], Y[1:2]), [[0.4] * 3], rtol=1e-6)

    @pytest.mark.parametrize("seed", range(3))
    def test_as_numpy_has_it(self, seed):
        random = np.random.default_rng(seed)
        x, y = np.sort(random.uniform(0, 1, 40)), random.uniform(0, 1, 40)
        scores = random.uniform(-0.1, 1.1, [3, 5, 7])
        np.testing.assert_allclose(calibrated(scores, x, y), np.interp(scores, x, y), atol=1e-4)

    def test_a_score_that_is_nan_stays_so(self):
        np.testing.assert_array_equal(np.isnan(calibrated([0.3, np.nan])), [False, True])


def test_each_column_has_its_function():
    scores = ops.convert_to_tensor(np.float32([[[0.1, 0.2, 0.3]], [[0.4, 0.5, 0.6]]]))
    changed = each_column(scores, {0: lambda column: column + 1, 2: lambda column: column * 0})
    np.testing.assert_allclose(changed, [[[1.1, 0.2, 0]], [[1.4, 0.5, 0]]], rtol=1e-6)
