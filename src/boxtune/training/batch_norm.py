"""The statistics that batch normalizations use outside training: a decay that fits, and estimating them anew.

They are moving averages of the batches' means and variances, and start from 0 and 1, or from those of a checkpoint.
After n batches they still keep decay ** n of that.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import keras
import numpy as np
from google.protobuf.message import Message

from boxtune.backends import compiled
from boxtune.config import pipeline_pb2
from boxtune.models import Detector
from boxtune.structures import Inputs
from boxtune.training.averages import restored

SETTLING_FRACTION, LEAST_DECAY = 1 / 20, 0.9

MOST_KEPT = 0.01
"""Of the first values that harms nobody."""

NUM_BATCHES = 32
"""By which statistics are estimated anew."""


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
        f"activations than in training, and give low scores. Add --recalibrate, or {flags}"
    ]


class Recalibration:
    """Estimates the statistics anew, from images of the training, for the weights as they are.

    Moving averages lag behind weights that still move, and behind all of them the weights' own averages. Here each
    statistic is the plain mean of those of NUM_BATCHES batches, all by the same weights. Source: PyTorch's
    torch.optim.swa_utils.update_bn, of Izmailov et al. 2018 (arXiv:1803.05407).
    """

    def __init__(self, detector: Detector, batches: Iterable[Inputs]):
        """Prepare for batches of training, which may be read many times; the first of them are used."""
        self._detector, self._batches = detector, batches
        self._normalizations = [
            layer
            for layer in detector._flatten_layers()
            if hasattr(layer, "moving_mean") and not getattr(layer, "frozen", False)
        ]
        self.statistics: list[keras.Variable] = [
            variable
            for layer in self._normalizations
            for variable in (layer.moving_mean, layer.moving_variance)
        ]
        """Those that are trained."""
        self._random_states = list(detector.random_states().values())
        self._see = compiled(self._pass_forward, detector.variables)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Give the detector back at the end what it had: training goes on as if nothing had been estimated."""
        with restored(self.statistics), restored(self._random_states):
            yield

    def estimate(self) -> None:
        """Give the statistics their means over the batches."""
        with self._decay_of(0.0):  # so that a batch leaves its own: each layer is used once in a pass
            batches = islice(iter(self._batches), NUM_BATCHES + 1)
            self._see_images(next(batches))  # near its values the next differences lose no digits
            sums = [np.zeros(variable.shape) for variable in self.statistics]
            for inputs in batches:
                self._see_images(inputs)
                for total, variable in zip(sums, self.statistics, strict=True):
                    total += variable.numpy()
        for total, variable in zip(sums, self.statistics, strict=True):
            variable.assign(np.float32(total / NUM_BATCHES))

    def _see_images(self, inputs: Inputs) -> None:
        self._see(Inputs(images=inputs["images"], sizes=inputs["sizes"]))

    def _pass_forward(self, inputs: Inputs) -> None:
        self._detector(inputs, training=True)

    @contextmanager
    def _decay_of(self, decay: float) -> Iterator[None]:
        kept = [layer.momentum for layer in self._normalizations]
        try:
            for layer in self._normalizations:
                layer.momentum = decay
            yield
        finally:
            for layer, own in zip(self._normalizations, kept, strict=True):
                layer.momentum = own
