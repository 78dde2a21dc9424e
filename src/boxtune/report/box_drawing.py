"""Boxes drawn on images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from boxtune.structures import Inputs

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

_COLORS = (
    "#e6194b",
    "#3cb44b",
    "#4363d8",
    "#f58231",
    "#911eb4",
    "#008080",
    "#9a6324",
    "#808000",
    "#f032e6",
    "#000075",
)


@dataclass(frozen=True)
class Box:
    """What to draw: a normalised box `[ymin, xmin, ymax, xmax]`, its caption, a number that picks a color."""

    box: Sequence[float]
    caption: str
    color: int = 0


def draw_boxes(image: Image.Image, boxes: Sequence[Box]) -> Image.Image:
    """Return a copy of `image` with `boxes` on it, the last on top."""
    drawn = image.convert("RGB")
    pen = ImageDraw.Draw(drawn)
    line = max(2, round(max(drawn.size) / 250))
    font = ImageFont.load_default(size=max(11, round(max(drawn.size) / 45)))
    for box in boxes:
        ymin, xmin, ymax, xmax = np.clip(np.asarray(box.box, float), 0, 1)
        # Annotations may have their corners the wrong way round; that is where to see it.
        left, right = sorted(x * (drawn.width - 1) for x in (xmin, xmax))
        top, bottom = sorted(y * (drawn.height - 1) for y in (ymin, ymax))
        color = _COLORS[box.color % len(_COLORS)]
        pen.rectangle((left, top, right, bottom), outline=color, width=line)
        if box.caption:
            _write_caption(pen, box.caption, (left, top), drawn.size, color, font)
    return drawn


def _write_caption(
    pen: ImageDraw.ImageDraw,
    caption: str,
    corner: tuple[float, float],
    size: tuple[int, int],
    color: str,
    font: Font,
) -> None:
    """Write `caption` above a corner, or below it where there is no room, never beyond the right edge."""
    left, _, right, bottom = pen.textbbox((0, 0), caption, font=font)
    width, height = right - left + 4, bottom + 3
    x = max(0, min(corner[0], size[0] - width))
    y = corner[1] - height if corner[1] >= height else corner[1]
    pen.rectangle((x, y, x + width, y + height), fill=color)
    pen.text((x + 2, y + 1), caption, fill="white", font=font)


def training_images(inputs: Inputs, names: Mapping[int, str], count: int = 4) -> list[np.ndarray]:
    """Return the first images of a training batch with their boxes on them, uint8 [h, w, 3].

    `names` has the 0-based classes.
    """
    drawn = []
    groundtruth = inputs["groundtruth"]
    for i, image in enumerate(np.asarray(inputs["images"])[:count]):
        valid = np.asarray(groundtruth["valid"][i])
        boxes, classes = (
            np.asarray(part[i])[valid] for part in (groundtruth["boxes"], groundtruth["classes"])
        )
        captioned = [
            Box(box, names.get(int(cls), "?"), int(cls)) for box, cls in zip(boxes, classes, strict=True)
        ]
        image = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
        drawn.append(np.asarray(draw_boxes(image, captioned)))
    return drawn


def side_by_side(left: Image.Image, right: Image.Image) -> Image.Image:
    """Return two images of one size in one, with a gap between them."""
    gap = 4
    joined = Image.new("RGB", (left.width + gap + right.width, max(left.height, right.height)), "white")
    joined.paste(left, (0, 0))
    joined.paste(right, (left.width + gap, 0))
    return joined
