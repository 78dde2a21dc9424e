import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxtune.report.chart import HEIGHT, WIDTH, Curve, Mark, draw_chart, nice_ticks

RED = (255, 0, 0)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0.2, 3.1, [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (3, 3, [3, 3.5]),
        (0, 0, [0, 0.2]),
    ],
)
def test_ticks(low, high, ticks):
    assert nice_ticks(low, high)[: len(ticks)] == pytest.approx(ticks)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_enclose_evenly_and_are_few(low, span):
    ticks = nice_ticks(low, low + span)
    assert 2 <= len(ticks) <= 9
    assert ticks[0] <= low + 1e-6 * span
    assert ticks[-1] >= low + span - 1e-6 * span
    np.testing.assert_allclose(np.diff(ticks), ticks[1] - ticks[0], rtol=1e-3)


def drawn(xs, ys, marks=(), y_range=(0, 10)):
    """Return the rows and columns of what is red."""
    chart = draw_chart("a", "b", [Curve("", xs, ys, "#ff0000")], y_range=y_range, marks=marks)
    assert chart.size == (WIDTH, HEIGHT)
    pixels = np.asarray(chart)
    # Without the legend's own sample, at the bottom left.
    red = (pixels == RED).all(axis=-1)
    red[HEIGHT - 90 : HEIGHT - 85, 90:125] = False
    return np.nonzero(red)


def test_a_curve_goes_from_corner_to_corner():
    rows, columns = drawn([1e-3, 1e-1, 10], [0, 5, 10])
    assert (columns.min(), columns.max()) == (80, WIDTH - 30)
    assert (rows.min(), rows.max()) == pytest.approx((50, HEIGHT - 70), abs=2)
    # The x axis is logarithmic: what is in the middle of the factors lies in the middle.
    middle = rows[columns == (80 + WIDTH - 30) // 2]
    assert middle.mean() == pytest.approx((50 + HEIGHT - 70) / 2, abs=2)


def test_what_is_no_number_is_a_gap():
    _, columns = drawn([1, 10, 100, 1000, 10000], [5, 5, float("nan"), 5, 5])
    assert set(columns) & set(range(80, 270))
    assert not set(columns) & set(range(290, 660))
    assert set(columns) & set(range(680, WIDTH - 30))


def test_what_lies_outside_is_drawn_at_the_edge():
    rows, _ = drawn([1, 10], [99, 99])
    assert set(rows) <= {49, 50, 51}


@pytest.mark.parametrize("x", [1, 31.6, 1000, 1e9])
def test_a_mark_is_upright_and_never_outside(x):
    _, columns = drawn([1, 1000], [float("nan")] * 2, marks=[Mark(x, "", "#ff0000")])
    expected = 80 + (WIDTH - 110) * np.log10(min(x, 1000)) / 3
    assert columns.mean() == pytest.approx(expected, abs=2)
