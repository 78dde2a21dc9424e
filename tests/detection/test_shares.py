"""What several devices find together is what one finds of the whole batch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from boxtune.detection import kernels, shares
from boxtune.detection.shares import Shares, shared_out


def of_each(function, parts):
    """Return what `function` of each part gives, where one sum over the parts is asked for in it."""
    sent = []

    def note(value):
        sent.append(ops.convert_to_numpy(value))
        return value

    for rank, part in enumerate(parts):
        with shared_out(Shares(rank, len(parts), note)):
            function(part)
    total = ops.convert_to_tensor(np.sum(sent, axis=0))
    results = []
    for rank, part in enumerate(parts):
        with shared_out(Shares(rank, len(parts), lambda value: total)):
            results.append(function(part))
    return results


def test_elsewhere_a_share_is_the_whole_batch():
    assert shares.count() == 1
    assert shares.total(3.0) == 3.0
    with shared_out(Shares(1, 4)):
        assert shares.count() == 4
    assert shares.count() == 1


def test_every_share_is_gathered():
    parts = [np.array([[1.0, 2.0]], np.float32), np.array([[5.0, 7.0]], np.float32)]
    for gathered in of_each(lambda part: shares.gather(ops.convert_to_tensor(part)), parts):
        np.testing.assert_array_equal(gathered, [[[1, 2]], [[5, 7]]])


@pytest.mark.parametrize("count", [2, 4])
def test_normalized_as_the_whole_batch(count):
    x = np.random.default_rng(0).normal([3, -1, 0], [1, 5, 0.1], [8, 4, 4, 3]).astype(np.float32)
    gamma, beta = (ops.convert_to_tensor(np.float32(part)) for part in ([1, 2, 0.5], [0, 1, -1]))
    whole = kernels.batch_normalization(ops.convert_to_tensor(x), gamma, beta, 1e-3)
    whole = [ops.convert_to_numpy(part) for part in whole]

    def normalize(part):
        return shares.batch_normalization(ops.convert_to_tensor(part), gamma, beta, 1e-3)

    found = [list(map(ops.convert_to_numpy, parts)) for parts in of_each(normalize, np.split(x, count))]
    normalized = np.concatenate([part[0] for part in found])
    np.testing.assert_allclose(normalized, whole[0], rtol=1e-4, atol=1e-5)
    for _, mean, variance in found:
        np.testing.assert_allclose(mean, whole[1], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(variance, whole[2], rtol=1e-5)


@given(mean=st.floats(-1e4, 1e4), deviation=st.floats(0.1, 10), apart=st.floats(-1, 1))
def test_no_large_squares_cancel(mean, deviation, apart):
    x = np.random.default_rng(0).normal(0, deviation, [4, 6, 6, 1])
    x[:2] += apart
    x = (x + mean).astype(np.float32)
    one = ops.ones(1)
    found = of_each(
        lambda part: shares.batch_normalization(ops.convert_to_tensor(part), one, 0 * one, 1e-3),
        np.split(x, 2),
    )
    # float32 keeps 1e-7 of the mean: of 1e4 that is 0.001, beside a deviation of 0.1 and more.
    np.testing.assert_allclose(ops.convert_to_numpy(found[0][2]), x.astype(np.float64).var(ddof=1), rtol=0.02)
