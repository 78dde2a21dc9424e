"""An evaluation as people look at it: a table, and pictures with truth and detections side by side."""

from collections.abc import Mapping

import numpy as np
from PIL import Image

from boxtune.metrics.coco import NAMES
from boxtune.metrics.evaluation import Evaluation, Example
from boxtune.report.pictures import Box, draw_boxes, side_by_side

_ROWS = (
    "AP   IoU 0.50:0.95          ",
    "AP   IoU 0.50               ",
    "AP   IoU 0.75               ",
    "AP   IoU 0.50:0.95  small   ",
    "AP   IoU 0.50:0.95  medium  ",
    "AP   IoU 0.50:0.95  large   ",
    "AR   1 detection            ",
    "AR   10 detections          ",
    "AR   100 detections         ",
    "AR   100 detections small   ",
    "AR   100 detections medium  ",
    "AR   100 detections large   ",
)


def table(evaluation: Evaluation) -> str:
    """Return the twelve COCO numbers as lines of text."""
    title = (
        f"Evaluation of step {evaluation.step} on {evaluation.num_images} images with "
        f"{evaluation.num_objects} objects ({evaluation.seconds:.1f} s)"
    )
    numbers = [evaluation.metrics[name] for name in NAMES]
    rows = [f"  {row}{_shown(number)}" for row, number in zip(_ROWS, numbers, strict=True)]
    return "\n".join([title, *rows])


def _shown(number: float) -> str:
    return "no such objects" if number == -1 else f"{number:.3f}"


def side_by_side_pictures(
    evaluation: Evaluation, names: Mapping[int, str], *, min_score: float, max_boxes: int
) -> list[np.ndarray]:
    """Return the example pictures as uint8 [h, w, 3]: what was found on the left, the truth on the right.

    `names` gives the name of each class, 0-based.
    """
    return [np.asarray(_side_by_side(one, names, min_score, max_boxes)) for one in evaluation.examples]


def _side_by_side(
    example: Example, names: Mapping[int, str], min_score: float, max_boxes: int
) -> Image.Image:
    picture = Image.fromarray(example.picture)
    shown = [
        Box(box, f"{names.get(int(cls), int(cls))} {score:.0%}", int(cls))
        for box, cls, score in zip(example.boxes, example.classes, example.scores, strict=True)
        if score >= min_score
    ][:max_boxes]
    truth = [
        Box(box, str(names.get(int(cls), int(cls))), int(cls))
        for box, cls in zip(example.true_boxes, example.true_classes, strict=True)
    ]
    # The best last, so that it lies on top.
    return side_by_side(draw_boxes(picture, shown[::-1]), draw_boxes(picture, truth))
