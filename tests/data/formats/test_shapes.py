from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxtune.data import findings as kinds
from boxtune.data.findings import SkipError
from boxtune.data.formats import shapes
from boxtune.data.masks import Mask

SIDES = st.floats(-1e6, 1e6)


def raises_without_box(match):
    return pytest.raises(SkipError, match=match)


@pytest.mark.parametrize(("value", "number"), [(1, 1.0), (2.5, 2.5), (" -3e1 ", -30.0), ("0", 0.0)])
def test_numbers_and_strings_of_numbers_are_finite(value, number):
    assert shapes.finite(value) == number


@pytest.mark.parametrize(
    "value", [None, True, "", "x", "nan", "1,5", float("inf"), float("nan"), 10**400, "1e999", [1], {}]
)
def test_all_else_is_not_finite(value):
    with raises_without_box("not a finite number|a coordinate is missing") as caught:
        shapes.finite(value)
    assert caught.value.kind is kinds.OBJECT_WITHOUT_BOX
    assert len(str(caught.value)) < 150


def test_boxes_by_corners_corner_and_centre():
    assert shapes.corners("1", 2, 3, 4) == (1, 2, 3, 4)
    assert shapes.rectangle(1, 2, 3, 4) == (1, 2, 4, 6)
    assert shapes.centred(10, 20, 4, 6) == (8, 17, 12, 23)


@pytest.mark.parametrize("make", [shapes.rectangle, shapes.centred, shapes.ellipse])
def test_sums_that_overflow_are_refused(make):
    with raises_without_box("inf"):
        make(1.7e308, 0, 1.7e308, 0)


def test_an_ellipse_touches_its_box():
    assert shapes.ellipse(10, 20, 3, 4) == (7, 16, 13, 24)
    # A quarter turn swaps the radii; at 45 degrees both half sides are sqrt((3 * 3 + 4 * 4) / 2).
    assert shapes.ellipse(10, 20, 3, 4, 90) == pytest.approx((6, 17, 14, 23))
    half = sqrt(12.5)
    assert shapes.ellipse(10, 20, 3, 4, 45) == pytest.approx((10 - half, 20 - half, 10 + half, 20 + half))


def test_a_box_is_turned_clockwise_as_images_are_seen():
    # y grows downwards: the upper right corner (4, 0) turns down to (0, 4) around the upper left one.
    points = shapes.turned((0, 0, 4, 2), (0, 0), 90)
    assert [pytest.approx(point) for point in points] == [(0, 0), (0, 4), (-2, 4), (-2, 0)]


@given(SIDES, SIDES, SIDES, SIDES, st.floats(-720, 720))
def test_turning_there_and_back_is_nothing(xmin, ymin, xmax, ymax, angle):
    corner = shapes.turned((xmin, ymin, xmax, ymax), (3, 5), angle)[0]
    back = shapes.turned((*corner, *corner), (3, 5), -angle)[0]
    assert back == pytest.approx((xmin, ymin), abs=1e-6)


@given(st.lists(st.tuples(SIDES, SIDES), min_size=3, max_size=9))
def test_the_box_of_a_polygon_encloses_it_and_touches_it_on_all_sides(points):
    (xmin, ymin, xmax, ymax), mask = shapes.polygon(points)
    assert all(xmin <= x <= xmax and ymin <= y <= ymax for x, y in points)
    assert {xmin, xmax} <= {x for x, _ in points}
    assert {ymin, ymax} <= {y for _, y in points}
    assert mask == Mask(polygons=(tuple(side for point in points for side in point),))


def test_a_polygon_takes_three_points():
    with raises_without_box("has 2 points"):
        shapes.polygon([(0, 0), (1, 1)])


@pytest.mark.parametrize("points", [[1], [[1]], [[1, 2, 3]], ["12"], [None], [[1, "x"]]])
def test_points_are_pairs_of_numbers(points):
    with raises_without_box("its"):
        shapes.point_pairs(points)


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (4, 3, (4, 3)),
        ("4", "3", (4, 3)),
        (4.0, 3, (4, 3)),
        (4.5, 3, None),
        (0, 3, None),
        (-4, 3, None),
        (None, 3, None),
        (4, True, None),
        (float("nan"), 3, None),
        (4, "", None),
    ],
)
def test_the_size_of_a_image_is_two_whole_numbers(width, height, size):
    assert shapes.image_size(width, height) == size
