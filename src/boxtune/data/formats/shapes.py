"""Shapes as annotators draw them, as edges and masks."""

from collections.abc import Iterable, Sequence
from itertools import chain
from math import cos, hypot, isfinite, radians, sin

from boxtune.data import findings as kinds
from boxtune.data.annotations import Edges
from boxtune.data.findings import SkipError
from boxtune.data.masks import Mask
from boxtune.errors import many

Point = tuple[float, float]


def finite(value: object) -> float:
    """Return a number, or a string that holds one, as a float.

    Raises SkipError (OBJECT_WITHOUT_BOX) if it is not a number, or not finite.
    """
    try:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            number = float(value)
            if isfinite(number):
                return number
    except (ValueError, OverflowError):
        pass
    if value in (None, ""):
        raise SkipError(kinds.OBJECT_WITHOUT_BOX, "a coordinate is missing.")
    message = f"its coordinates hold {_short(value)}, which is not a finite number."
    raise SkipError(kinds.OBJECT_WITHOUT_BOX, message)


def is_finite(value: object) -> bool:
    """Say whether a value is a finite number, or a string that holds one."""
    try:
        finite(value)
    except SkipError:
        return False
    return True


def is_set(value: object) -> bool:
    """Say whether a flag is set: by true or yes, or by a number above 0, which some write as the degree of it."""
    return str(value).strip().casefold() in ("true", "yes") or (is_finite(value) and finite(value) > 0)


def corners(xmin: object, ymin: object, xmax: object, ymax: object) -> Edges:
    """Return the edges of a box given by its corners; raises SkipError (OBJECT_WITHOUT_BOX)."""
    return finite(xmin), finite(ymin), finite(xmax), finite(ymax)


def rectangle(xmin: object, ymin: object, width: object, height: object) -> Edges:
    """Return the edges of a box given by its corner and sides; raises SkipError (OBJECT_WITHOUT_BOX)."""
    x, y = finite(xmin), finite(ymin)
    return _checked(x, y, x + finite(width), y + finite(height))


def centred(x: object, y: object, width: object, height: object) -> Edges:
    """Return the edges of a box given by its centre and sides; raises SkipError (OBJECT_WITHOUT_BOX)."""
    half_width, half_height = finite(width) / 2, finite(height) / 2
    return _around(finite(x), finite(y), half_width, half_height)


def ellipse(x: object, y: object, radius_x: object, radius_y: object, degrees: object = 0) -> Edges:
    """Return the box around an ellipse with centre x, y, turned clockwise; raises SkipError (OBJECT_WITHOUT_BOX)."""
    a, b, angle = finite(radius_x), finite(radius_y), radians(finite(degrees))
    half_width = hypot(a * cos(angle), b * sin(angle))
    half_height = hypot(a * sin(angle), b * cos(angle))
    return _around(finite(x), finite(y), half_width, half_height)


def turned(edges: Edges, pivot: Point, degrees: object) -> list[Point]:
    """Return the four corners of a box in pixels that is turned clockwise around `pivot`."""
    xmin, ymin, xmax, ymax = edges
    angle = radians(finite(degrees))
    return [
        (
            pivot[0] + (x - pivot[0]) * cos(angle) - (y - pivot[1]) * sin(angle),
            pivot[1] + (x - pivot[0]) * sin(angle) + (y - pivot[1]) * cos(angle),
        )
        for x, y in ((xmin, ymin), (xmax, ymin), (xmax, ymax), (xmin, ymax))
    ]


def enclosing(points: Sequence[Point]) -> Edges:
    """Return the edges of the smallest box around one or more points."""
    xs, ys = zip(*points, strict=True)
    return _checked(min(xs), min(ys), max(xs), max(ys))


def point_pairs(values: Iterable[object]) -> list[Point]:
    """Return points from a list of pairs x, y; raises SkipError (OBJECT_WITHOUT_BOX) for whatever else it is."""
    points = []
    for value in values:
        if not isinstance(value, list | tuple) or len(value) != 2:
            message = f"its points hold {_short(value)}, which is not a pair x, y."
            raise SkipError(kinds.OBJECT_WITHOUT_BOX, message)
        points.append((finite(value[0]), finite(value[1])))
    return points


def polygon(points: Sequence[Point]) -> tuple[Edges, Mask]:
    """Return the box around a polygon, and its inside as a mask.

    Raises SkipError (OBJECT_WITHOUT_BOX) if it has fewer than three points.
    """
    if len(points) < 3:
        raise SkipError(
            kinds.OBJECT_WITHOUT_BOX, f"its polygon has {many(len(points), 'point')}; it takes three."
        )
    return enclosing(points), Mask(polygons=(tuple(chain.from_iterable(points)),))


def image_size(width: object, height: object) -> tuple[int, int] | None:
    """Return (width, height) if both are whole numbers above 0, else None."""
    try:
        sides = finite(width), finite(height)
    except SkipError:
        return None
    return (int(sides[0]), int(sides[1])) if all(side >= 1 and side == int(side) for side in sides) else None


def other_shape(name: str) -> SkipError:
    """Return the error for a shape that has no box of its own, such as a line."""
    return SkipError(kinds.OBJECT_OTHER_SHAPE, f"it is drawn as {_short(name)}, not as a box or polygon.")


def require_name(name: str) -> str:
    """Return the name of a class; raise SkipError (OBJECT_WITHOUT_NAME) if it is empty."""
    if not name:
        raise SkipError(kinds.OBJECT_WITHOUT_NAME, "it has no class.")
    return name


def _around(x: float, y: float, half_width: float, half_height: float) -> Edges:
    return _checked(x - half_width, y - half_height, x + half_width, y + half_height)


def _checked(*edges: float) -> Edges:
    """Sums of finite numbers may be infinite."""
    xmin, ymin, xmax, ymax = map(finite, edges)
    return xmin, ymin, xmax, ymax


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:60] + "..."
