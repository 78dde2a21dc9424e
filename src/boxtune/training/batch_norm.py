"""The statistics that batch normalizations use outside training: a decay that fits, and a warning about others.

They are moving averages of the batches' means and variances, and start from 0 and 1, or from those of a checkpoint.
After n batches they still keep decay ** n of that.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.message import Message

from boxtune.config import pipeline_pb2

SETTLING_FRACTION, LEAST_DECAY = 1 / 20, 0.9

MOST_KEPT = 0.01
"""Of the first values that harms nobody."""


@dataclass(frozen=True)
class DecayField:
    """A batch normalization whose statistics are trained, and the path of its decay in the configuration."""

    path: str
    section: pipeline_pb2.BatchNorm


def fitting_decay(num_batches: int) -> float:
    """Return the decay with which averages span a twentieth of a training, at least LEAST_DECAY."""
    return round(max(LEAST_DECAY, 1 - 1 / (SETTLING_FRACTION * num_batches)), 4)


def num_batches(pipeline: pipeline_pb2.TrainEvalPipelineConfig) -> int:
    """Return how many batches a training has: statistics move with each, weights with each step."""
    return pipeline.train_config.num_steps * max(pipeline.boxtune.accumulate_batches, 1)


def decay_fields(model: pipeline_pb2.DetectionModel) -> list[DecayField]:
    """Return every decay that the section of a model sets, but those of frozen statistics."""
    return list(_decay_fields(model, "model"))


def _decay_fields(message: Message, path: str) -> Iterator[DecayField]:
    if getattr(message, "freeze_batchnorm", False):
        return
    for field, value in message.ListFields():
        where = f"{path}.{field.name}"
        if isinstance(value, pipeline_pb2.BatchNorm):
            if value.train:
                yield DecayField(f"{where}.decay", value)
        elif field.message_type is not None and not field.is_repeated:
            yield from _decay_fields(value, where)


def lower_decays(pipeline: pipeline_pb2.TrainEvalPipelineConfig) -> None:
    """Lower every decay that does not fit the length of the training.

    Stock decays span hundreds of steps. After a short training the averages of new layers would still depend on their
    initial values, and the detector would see other activations than in training.
    """
    for field in decay_fields(pipeline.model):
        field.section.decay = round(min(field.section.decay, fitting_decay(num_batches(pipeline))), 4)


def warnings(pipeline: pipeline_pb2.TrainEvalPipelineConfig) -> list[str]:
    """Return, where a training is too short for its decays, a sentence with the way out."""
    settings, batches = pipeline.train_config, num_batches(pipeline)
    if settings.fine_tune_checkpoint and settings.fine_tune_checkpoint_type == "full":
        return []  # all layers begin with statistics of their own
    fitting = fitting_decay(batches)
    slow = [
        field
        for field in decay_fields(pipeline.model)
        if field.section.decay > fitting and field.section.decay**batches > MOST_KEPT
    ]
    if not slow:
        return []
    decay = max(field.section.decay for field in slow)
    flags = " ".join(f"--set {field.path}={fitting:g}" for field in slow)
    return [
        f"Batch normalization with a decay of {decay:.4g} is for longer trainings: after these {batches} batches its "
        f"statistics are still {decay**batches:.0%} those of the start, so that the trained detector would see other "
        f"activations than in training, and give low scores. Add {flags}"
    ]
