"""Whether lines of YOLO labels are polygons, or boxes with keypoints, where nothing says it.

Both are a class and many numbers. Boxes with keypoints are all of one length, their first four numbers are a box within
the image, and their points lie in it. Polygons of one length can look alike by chance, but rarely cross themselves.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import Literal

Numbers = Sequence[float]
"""Those of a line, behind its class."""

Reading = Literal["polygons", "keypoints", "unsure"]

_BOX = 4
_MOST = 0.5  # of the lines of a set
_MANY = 0.25
_MOST_LENGTHS = 20  # of boxes with keypoints, and a few lines that are something else
_ALMOST_ALL = 0.95
_TOLERANCE = 0.02  # of the image, by which a box or polygon may miss it
_MARGIN = 0.1  # of a box's sides, by which keypoints may miss it
_EQUAL = 0.01  # of the image


def told_apart(lines: Iterable[Numbers]) -> tuple[Reading, tuple[int, int]]:
    """Return what the lines of a set are that have more numbers than a box, and the `kpt_shape` of keypoints.

    Polygons differ in length. Where many lines of one length look like keypoints all the same, it is unsure.
    "unsure" is what could be both; the shape is then that which would fit.
    """
    by_length: dict[int, list[Numbers]] = defaultdict(list)
    for line in lines:
        if len(line) > _BOX + 1:
            by_length[len(line)].append(line)
            if len(by_length) > _MOST_LENGTHS:
                return "polygons", (0, 0)
    total = sum(map(len, by_length.values()))
    for long in by_length.values():
        reading, shape = _of_one_length(long)
        if len(long) == total:
            return reading, shape
        if reading == "keypoints" and len(long) >= _MANY * total:
            return "unsure", shape
    return "polygons", (0, 0)


def _of_one_length(long: Sequence[Numbers]) -> tuple[Reading, tuple[int, int]]:
    shapes = _shapes(long)
    if not shapes:
        return "polygons", (0, 0)
    shape = next((one for one in shapes if _all_fit(long, one)), None)
    are_polygons = len(long[0]) % 2 == 0 and _fraction(long, _is_polygon) > _MOST
    if shape is None:
        return ("polygons" if are_polygons else "unsure"), shapes[0]
    if not are_polygons:
        return "keypoints", shape
    # The first point may be there again as the last.
    is_closed = _fraction(long, lambda line: list(line[:2]) == list(line[-2:])) > _MOST
    is_drawn = is_closed or _fraction(long, _is_parallelogram) > _MOST
    return ("polygons" if is_drawn else "unsure"), shape


def _shapes(lines: Sequence[Numbers]) -> list[tuple[int, int]]:
    """Return how many keypoints lines of one length can have, and of how many numbers each, the likeliest first."""
    rest = len(lines[0]) - _BOX
    seen = {value for line in lines for value in line[_BOX + 2 :: 3]}
    shapes = [(rest // 2, 2)] if rest % 2 == 0 else []
    if rest % 3 == 0 and all(0 <= value <= 2 for value in seen):
        shapes.insert(0 if seen <= {0, 1, 2} else 1, (rest // 3, 3))
    return shapes


def _all_fit(lines: Sequence[Numbers], shape: tuple[int, int]) -> bool:
    return _fraction(lines, lambda line: _is_box_with_points(line, shape)) >= _ALMOST_ALL


def _fraction(lines: Sequence[Numbers], holds: Callable[[Numbers], bool]) -> float:
    return sum(map(holds, lines)) / len(lines)


def _is_box_with_points(line: Numbers, shape: tuple[int, int]) -> bool:
    """Say whether four numbers are a box within the image and the others points in it, or absent ones."""
    x, y, width, height = line[:_BOX]
    points = [line[start : start + shape[1]] for start in range(_BOX, len(line), shape[1])]
    shown = [point for point in points if point[0] > 0 or point[1] > 0]
    reach = 0.5 + _MARGIN
    return (
        0 < width <= 1 + _TOLERANCE
        and 0 < height <= 1 + _TOLERANCE
        and all(
            _is_in_image(c - side / 2) and _is_in_image(c + side / 2) for c, side in ((x, width), (y, height))
        )
        and all(abs(p[0] - x) <= reach * width and abs(p[1] - y) <= reach * height for p in shown)
    )


def _is_polygon(line: Numbers) -> bool:
    """Say whether numbers are points within the image, and lines from one to the next do not cross."""
    points = list(zip(line[::2], line[1::2], strict=True))
    sides = list(zip(points, [*points[1:], points[0]], strict=True))
    cross = (_cross(*one, *other) for one, other in combinations(sides, 2))
    return all(map(_is_in_image, line)) and not any(cross)


def _is_parallelogram(line: Numbers) -> bool:
    """Say whether numbers are the corners of a box or a turned one."""
    return len(line) == 2 * _BOX and all(
        abs(line[axis] + line[axis + 4] - line[axis + 2] - line[axis + 6]) <= _EQUAL for axis in (0, 1)
    )


def _is_in_image(value: float) -> bool:
    return -_TOLERANCE <= value <= 1 + _TOLERANCE


_Point = tuple[float, float]


def _cross(a: _Point, b: _Point, c: _Point, d: _Point) -> bool:
    """Say whether the lines a-b and c-d cross between their ends."""
    return _side(a, b, c) * _side(a, b, d) < 0 and _side(c, d, a) * _side(c, d, b) < 0


def _side(a: _Point, b: _Point, c: _Point) -> float:
    """Return on which side of the line a-b the point c is, as a sign."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
