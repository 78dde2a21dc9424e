"""An evaluation as people look at it: a table, and pictures with truth and detections side by side."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from boxtune.config import pipeline_pb2
from boxtune.data.files import whole_file, writable_folder
from boxtune.data.label_map import LabelMap
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


JSON_NAME = "evaluation.json"
"""In the model directory: the numbers of the newest evaluation."""


def publish(
    evaluation: Evaluation,
    pipeline: pipeline_pb2.TrainEvalPipelineConfig,
    label_map: LabelMap,
    model_dir: Path,
) -> None:
    """Print an evaluation, keep it as JSON, and show it in TensorBoard under the API's tags."""
    print(table(evaluation), flush=True)
    writable_folder(model_dir)
    with whole_file(model_dir / JSON_NAME) as temporary:
        temporary.write_text(evaluation.to_json(), encoding="utf-8")
    pictures = side_by_side_pictures(
        evaluation,
        label_map.shown_names,
        min_score=pipeline.eval_config.min_score_threshold,
        max_boxes=pipeline.eval_config.max_num_boxes_to_visualize,
    )
    folder = model_dir / "eval" / pipeline.eval_input_reader[0].name
    writer = tf.summary.create_file_writer(str(folder))
    with closing(writer), writer.as_default(evaluation.step):
        for name, value in evaluation.values.items():
            tf.summary.scalar(name, value)
        for number, picture in enumerate(pictures):
            tf.summary.image(f"eval_side_by_side_{number}_0", picture[None])


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
