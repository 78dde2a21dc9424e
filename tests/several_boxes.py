"""Detectors whose boxes suppress each other, and a folder with what an export of them needs."""

import contextlib
import io

import keras
import numpy as np

from boxtune import config
from boxtune.configure import configure
from boxtune.convert import convert
from boxtune.data.preparation import Options
from boxtune.detection.nms import NonMaxSuppression
from boxtune.training import checkpoints
from tiny_run import SIDE, TinyDetector
from voc_folder import annotated, element

FIXED = f"model.ssd.image_resizer.fixed_shape_resizer={{height: {SIDE} width: {SIDE}}}"


class Several(TinyDetector):
    """Has three boxes in every image, two of them nearly the same, to be suppressed."""

    def __init__(self):
        super().__init__()
        self.suppress = NonMaxSuppression(score_threshold=0.01, iou_threshold=0.6, max_total_detections=5)

    def candidates(self, inputs, predictions):
        boxes, scores = super().candidates(inputs, predictions)
        boxes = keras.ops.concatenate([boxes, boxes * 0.9, boxes * 0.25], axis=1)
        scores = keras.ops.concatenate([scores * 0.9, scores, scores * 0.8], axis=1)
        return boxes, keras.ops.concatenate([scores, scores / 2, scores / 4, scores / 3], axis=-1)

    def detect(self, inputs, predictions):
        return self.suppress(*self.candidates(inputs, predictions), np.float32([[0, 0, 1, 1]]))


class OneClass(Several):
    def candidates(self, inputs, predictions):
        boxes, scores = super().candidates(inputs, predictions)
        return boxes, scores[..., :1]


class Undecided(Several):
    """Has learned nothing: all scores are equal, and rounding decides."""

    def candidates(self, inputs, predictions):
        boxes, scores = super().candidates(inputs, predictions)
        return boxes, keras.ops.zeros_like(scores) + 0.5


def write_checkpoint(folder):
    """Write one of random weights, of each of these."""
    rng = np.random.default_rng(0)
    variables = TinyDetector().checkpoint_variables()
    for key, variable in variables.items():
        if key.endswith("kernel"):
            variable.assign(rng.normal(0, 0.05, variable.shape))
    variables["model/dense/bias"].assign([0.2, 0.2, 0.7, 0.7, 0])
    folder.mkdir()
    checkpoints.tree(variables).write(str(folder / "ckpt-7"))
    (folder / "checkpoint").write_text('model_checkpoint_path: "ckpt-7"\n')


def write_run(folder):
    """Write records of balls, a configuration and a checkpoint of these detectors; return the folder."""
    for number in range(11):
        annotated(folder / "photos", f"{number:02}", element("ball"))
    with contextlib.redirect_stdout(io.StringIO()):
        convert(folder / "photos", folder / "records", Options(validation_fraction=0.9))
    pipeline = configure(folder / "records", batch_size=2, num_steps=20)
    config.apply_override(pipeline, FIXED)
    config.write(pipeline, folder / "pipeline.config")
    write_checkpoint(folder / "checkpoint")
    (folder / "exported").mkdir()
    return folder
