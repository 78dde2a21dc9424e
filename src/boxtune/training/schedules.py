"""Learning rates as functions of the step. Source: the API's utils.learning_schedules, and Keras for the rest."""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from boxtune import config
from boxtune.config import pipeline_pb2
from boxtune.errors import ConfigError

Schedule = Callable[[Any], Any]


def schedule(section: pipeline_pb2.LearningRate) -> Schedule:
    """Read `learning_rate`: a function from the step (a float scalar, 0 before the first update) to the rate."""
    read, chosen = config.chosen(
        section,
        {
            "constant_learning_rate": _constant,
            "exponential_decay_learning_rate": _exponential_decay,
            "manual_step_learning_rate": _manual_steps,
            "cosine_decay_learning_rate": _cosine_decay,
        },
    )
    return read(chosen)


def _constant(section: pipeline_pb2.ConstantLearningRate) -> Schedule:
    return lambda step: ops.full((), section.learning_rate)


def _exponential_decay(section: pipeline_pb2.ExponentialDecayLearningRate) -> Schedule:
    """Decay by a factor every so many steps, after a constant rate while burning in."""

    def rate(step: Any) -> Any:
        periods = (step - section.burnin_steps) / section.decay_steps
        if section.staircase:
            periods = ops.floor(periods)
        decayed = section.initial_learning_rate * ops.power(section.decay_factor, periods)
        burning_in = section.burnin_learning_rate or section.initial_learning_rate
        held = ops.where(step < section.burnin_steps, burning_in, decayed)
        return ops.maximum(held, section.min_learning_rate)

    return rate


def _manual_steps(section: pipeline_pb2.ManualStepLearningRate) -> Schedule:
    """Hold one rate after another; with `warmup`, climb to the second from the first one evenly."""
    boundaries = [change.step for change in section.schedule]
    rates = [section.initial_learning_rate, *(change.learning_rate for change in section.schedule)]

    def rate(step: Any) -> Any:
        value = ops.full((), rates[0])
        if section.warmup and boundaries:
            value = rates[0] + (rates[1] - rates[0]) * step / boundaries[0]
        for boundary, following in zip(boundaries, rates[1:], strict=True):
            value = ops.where(step >= boundary, following, value)
        return value

    return rate


def _cosine_decay(section: pipeline_pb2.CosineDecayLearningRate) -> Schedule:
    """Climb evenly while warming up, hold, and fall to 0 along half a cosine (Loshchilov, Hutter 2016, eq. 5)."""
    base, warmup, hold = section.learning_rate_base, section.warmup_steps, section.hold_base_rate_steps
    falling = section.total_steps - warmup - hold
    if falling <= 0:
        raise ConfigError(
            f"cosine_decay_learning_rate: total_steps {section.total_steps} is not above warmup_steps {warmup} + "
            f"hold_base_rate_steps {hold}; the rate would never reach its base. Lower warmup_steps"
        )

    def rate(step: Any) -> Any:
        progress = (step - warmup - hold) / falling
        value = 0.5 * base * (1 + ops.cos(math.pi * progress))
        value = ops.where(step > warmup + hold, value, base)
        if warmup:
            climbed = section.warmup_learning_rate + (base - section.warmup_learning_rate) * step / warmup
            value = ops.where(step < warmup, climbed, value)
        return ops.where(step > section.total_steps, 0.0, value)

    return rate


class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule as Keras' optimizers take it, which count batches: a step may take several."""

    def __init__(self, rate: Schedule, batches_per_step: int = 1):
        self.rate, self.batches_per_step = rate, batches_per_step

    def __call__(self, batch: Any) -> Any:
        """Return the rate of the step to which `batch` belongs, both counted from 0."""
        step = ops.floor_divide(ops.convert_to_tensor(batch), self.batches_per_step)
        return self.rate(ops.cast(step, "float32"))

    def get_config(self) -> dict[str, Any]:
        """Refuse: the pipeline.config is what is saved, not this."""
        raise NotImplementedError("a learning rate is read from its section of the configuration")
