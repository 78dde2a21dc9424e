"""A confusion matrix as an image."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from boxtune.report.box_drawing import Font

MAX_CLASSES_SHOWN = 30
"""That are shown; of more, those that are confused most."""

BACKGROUND = "background"

_CELL, _FONT, _LEFT, _TOP, _MOST_LETTERS = 44, 13, 150, 120, 18
_INK, _GRID, _FULL = "#222222", "#cccccc", np.array([31, 89, 153])


def draw_confusion_matrix(matrix: npt.NDArray[np.integer], class_names: Sequence[str]) -> Image.Image:
    """Return an image of a confusion matrix int [c + 1, c + 1]: truth by row, found by column, background last.

    The darker a cell, the larger its share of its row.
    """
    shown = _most_confused(matrix)
    names = [*class_names, BACKGROUND]
    labels = [names[number] for number in shown]
    labels = [one if len(one) <= _MOST_LETTERS else one[: _MOST_LETTERS - 1] + "…" for one in labels]
    # What the others were taken for is still part of each row's whole.
    shares = matrix[shown] / np.maximum(matrix[shown].sum(axis=1, keepdims=True), 1)
    size = len(shown) * _CELL
    image = Image.new("RGB", (_LEFT + size + 20, _TOP + size + 20), "white")
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=_FONT)
    pen.text((10, 10), "rows: what is there\ncolumns: what was found", fill=_INK, font=font)
    for row, number in enumerate(shown):
        pen.text((_LEFT - 6, _TOP + (row + 0.5) * _CELL), labels[row], fill=_INK, font=font, anchor="rm")
        _write_upright(image, labels[row], _LEFT + (row + 0.5) * _CELL, font)
        for column, other in enumerate(shown):
            _draw_cell(pen, row, column, int(matrix[number, other]), float(shares[row, other]), font)
    return image


def _most_confused(matrix: npt.NDArray[np.integer]) -> list[int]:
    """Return the classes to show in their order, background last."""
    background = len(matrix) - 1
    mistakes = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * matrix.diagonal()
    worst = np.argsort(-mistakes[:background], kind="stable")[:MAX_CLASSES_SHOWN]
    return [*sorted(worst.tolist()), background]


def _write_upright(image: Image.Image, text: str, x: float, font: Font) -> None:
    """Write `text` from bottom to top, ending above the matrix."""
    label = Image.new("RGB", (_TOP - 6, _FONT + 6), "white")
    ImageDraw.Draw(label).text((0, (_FONT + 6) / 2), text, fill=_INK, font=font, anchor="lm")
    image.paste(label.rotate(90, expand=True), (round(x - (_FONT + 6) / 2), 0))


def _draw_cell(pen: ImageDraw.ImageDraw, row: int, column: int, count: int, share: float, font: Font) -> None:
    left, top = _LEFT + column * _CELL, _TOP + row * _CELL
    color = tuple(np.round(255 + share * (_FULL - 255)).astype(int).tolist())
    pen.rectangle((left, top, left + _CELL, top + _CELL), fill=color, outline=_GRID)
    if count:
        text = f"{count}" if count < 100_000 else f"{count / 1000:.0f}k"
        center = (left + _CELL / 2, top + _CELL / 2)
        pen.text(center, text, fill="white" if share > 0.5 else _INK, font=font, anchor="mm")
