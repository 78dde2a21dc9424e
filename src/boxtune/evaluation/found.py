"""What a detector found in an image, beside what is there."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from boxtune.metrics.masks import from_box
from boxtune.metrics.results import ImageResult

Array = npt.NDArray[Any]


def with_found(
    truth: ImageResult,
    boxes: Array,
    classes: Array,
    scores: Array,
    masks: Array | None = None,
    keypoints: Array | None = None,
) -> ImageResult:
    """Return `truth` with detections of the image's frame, which become pixels.

    Args:
        truth: of an image.
        boxes: float [k, 4], fractions of the image.
        classes: int [k], 0-based.
        scores: float [k].
        masks: float [k, gh, gw] in [0, 1], each over its own box.
        keypoints: float [k, p, 2], (y, x) in fractions of the image.
    """
    height, width = truth.height, truth.width
    draw = partial(from_box, height=height, width=width)
    return replace(
        truth,
        boxes=boxes * np.array([height, width] * 2, np.float32),
        classes=classes,
        scores=scores,
        masks=None if masks is None else list(map(draw, masks, boxes)),
        keypoints=None if keypoints is None else keypoints * np.array([height, width], np.float32),
    )
