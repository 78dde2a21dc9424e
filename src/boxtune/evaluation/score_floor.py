"""The score that a detection has to exceed to be one at all: the threshold of the suppression in the model.

It stands in the model's section of `pipeline.config`, of a checkpoint and of an exported model alike.
"""

import math

from boxtune.config import pipeline_pb2
from boxtune.errors import ConfigError

NEGLIGIBLE = 1e-6
"""A floor up to here, such as the zoo's 1e-8, leaves out nothing that any metric could show."""

_SECTIONS = ("post_processing", "second_stage_post_processing")


def floor_of(model: pipeline_pb2.DetectionModel) -> float:
    """Return the score that detections exceed by a `model` section; 0 where it says nothing of it."""
    post_processing = _post_processing(model)
    return post_processing.batch_non_max_suppression.score_threshold if post_processing else 0.0


def set_floor(model: pipeline_pb2.DetectionModel, floor: float) -> None:
    """Write the score that detections have to exceed into a `model` section.

    Raises:
        ConfigError: unless it is in [0, 1), or if the family of the model has no suppression.
    """
    if not (math.isfinite(floor) and 0 <= floor < 1):
        raise ConfigError(f"--score_threshold is {floor:g}; it must be at least 0 and below 1, such as 0.05")
    post_processing = _post_processing(model)
    if post_processing is None:
        raise ConfigError(
            "--score_threshold is of the suppression, which this model does not have; leave it out"
        )
    post_processing.batch_non_max_suppression.score_threshold = floor


def words(floor: float) -> str:
    """Say that detections are missing, as part of how images were looked at; "" where none can be missed."""
    return f"only detections above a score of {floor:g}" if floor > NEGLIGIBLE else ""


def _post_processing(model: pipeline_pb2.DetectionModel) -> pipeline_pb2.PostProcessing | None:
    family = model.WhichOneof("model")
    section = getattr(model, family) if family else None
    return next((getattr(section, name) for name in _SECTIONS if hasattr(section, name)), None)
