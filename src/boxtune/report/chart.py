"""Curves over a logarithmic axis, drawn without a plotting library."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from boxtune.report.box_drawing import Font

WIDTH, HEIGHT = 900, 560
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 30, 50, 70  # margins
_INK, _GRID = "#222222", "#dddddd"
_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Curve:
    """Points, joined in their order. A value that is not finite makes a gap."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    color: str
    width: int = 2


@dataclass(frozen=True)
class Mark:
    """A position on the x axis, marked by an upright line with a caption."""

    x: float
    caption: str
    color: str = "#e6194b"


@dataclass(frozen=True)
class _Frame:
    """From values to pixels: x logarithmic, y linear."""

    low_x: float
    high_x: float
    low_y: float
    high_y: float

    def x(self, value: float) -> float:
        fraction = math.log(value / self.low_x) / math.log(self.high_x / self.low_x)
        return _LEFT + fraction * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        fraction = (value - self.low_y) / (self.high_y - self.low_y)
        return HEIGHT - _BOTTOM - min(max(fraction, 0), 1) * (HEIGHT - _TOP - _BOTTOM)


def draw_chart(
    title: str,
    x_label: str,
    curves: Sequence[Curve],
    *,
    y_range: tuple[float, float],
    marks: Sequence[Mark] = (),
) -> Image.Image:
    """Return a chart of `curves` over a logarithmic x axis; what lies above or below `y_range` is drawn at its edge.

    The xs are above 0, and not all the same.
    """
    xs = [x for curve in curves for x in curve.xs]
    ticks = nice_ticks(*y_range)
    frame = _Frame(min(xs), max(xs), ticks[0], ticks[-1])
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(image)
    _draw_axes(pen, frame, ticks, x_label)
    for curve in curves:
        _draw_curve(pen, frame, curve)
    for row, mark in enumerate(marks):
        _draw_mark(pen, frame, mark, row)
    pen.text((WIDTH / 2, _TOP / 2), title, fill=_INK, font=_font(20), anchor="mm")
    _draw_legend(pen, curves)
    return image


def nice_ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Return at most `most` round numbers, evenly spaced, that enclose `low` to `high`."""
    span = (high - low) or abs(high) or 1.0
    least = span / (most - 2)
    unit = 10.0 ** math.floor(math.log10(least))
    step = next(factor * unit for factor in _STEPS if factor * unit >= least * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * number for number in range(first, max(last, first + 1) + 1)]


def _draw_axes(pen: ImageDraw.ImageDraw, frame: _Frame, ticks: Sequence[float], x_label: str) -> None:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    for tick in ticks:
        pen.line((_LEFT, frame.y(tick), right, frame.y(tick)), fill=_GRID)
        pen.text((_LEFT - 8, frame.y(tick)), f"{tick:g}", fill=_INK, font=_font(14), anchor="rm")
    first, last = (math.log10(value) for value in (frame.low_x, frame.high_x))
    for power in range(math.floor(first), math.ceil(last) + 1):
        for digit in range(1, 10):
            value = digit * 10.0**power
            if not frame.low_x * (1 - 1e-9) <= value <= frame.high_x * (1 + 1e-9):
                continue
            x = frame.x(value)
            if digit == 1:
                pen.line((x, _TOP, x, bottom), fill=_GRID)
                pen.text((x, bottom + 10), f"{value:g}", fill=_INK, font=_font(14), anchor="ma")
            pen.line((x, bottom, x, bottom + (7 if digit == 1 else 3)), fill=_INK)
    pen.line((_LEFT, _TOP, _LEFT, bottom, right, bottom), fill=_INK, width=2)
    pen.text(((_LEFT + right) / 2, HEIGHT - 22), x_label, fill=_INK, font=_font(16), anchor="mm")


def _draw_curve(pen: ImageDraw.ImageDraw, frame: _Frame, curve: Curve) -> None:
    points = [
        (frame.x(x), frame.y(y)) if math.isfinite(y) else None
        for x, y in zip(curve.xs, curve.ys, strict=True)
    ]
    for one, other in itertools.pairwise(points):
        if one and other:
            pen.line((*one, *other), fill=curve.color, width=curve.width)


def _draw_mark(pen: ImageDraw.ImageDraw, frame: _Frame, mark: Mark, row: int) -> None:
    x = frame.x(min(max(mark.x, frame.low_x), frame.high_x))
    pen.line((x, _TOP, x, HEIGHT - _BOTTOM), fill=mark.color, width=2)
    on_the_right = x > WIDTH / 2
    position = (x - 6 if on_the_right else x + 6, _TOP + 8 + 20 * row)
    pen.text(position, mark.caption, fill=mark.color, font=_font(15), anchor="ra" if on_the_right else "la")


def _draw_legend(pen: ImageDraw.ImageDraw, curves: Sequence[Curve]) -> None:
    for row, curve in enumerate(curves):
        y = HEIGHT - _BOTTOM - 18 * (len(curves) - row)
        pen.line((_LEFT + 12, y, _LEFT + 42, y), fill=curve.color, width=curve.width)
        pen.text((_LEFT + 50, y), curve.name, fill=_INK, font=_font(14), anchor="lm")


def _font(size: int) -> Font:
    return ImageFont.load_default(size=size)
