"""The learning rates of a configuration: their schedules, where they are set, scaling them, and warnings about them.

Source of the schedules: the API's utils.learning_schedules.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
from google.protobuf.message import Message
from keras import ops

from boxtune import config
from boxtune.config import pipeline_pb2
from boxtune.errors import ConfigError, many

RATE_PER_IMAGE = 0.01
"""With momentum: of the runs in docs/recipes.md, those above it for each image of a batch were worse on some data."""

LEAST_RATE_TIMES_STEPS = 4.0
"""With momentum: of those runs, all below it learned too little."""

FEWEST_STEPS = 50
"""Shorter runs only try whether everything works: no rate is too low for them, and no schedule too long."""

Schedule = Callable[[Any], Any]
"""From the step (a float scalar, 0 before the first update) to the learning rate."""


def schedule(section: pipeline_pb2.LearningRate) -> Schedule:
    """Read `learning_rate`."""
    return config.oneof(
        section,
        {
            "constant_learning_rate": lambda one: lambda step: ops.full((), one.learning_rate),
            "exponential_decay_learning_rate": _exponential_decay,
            "manual_step_learning_rate": _manual_steps,
            "cosine_decay_learning_rate": _cosine_decay,
        },
    )


def _exponential_decay(section: pipeline_pb2.ExponentialDecayLearningRate) -> Schedule:
    """Decay by a factor every so many steps, after a constant burn-in rate."""

    def rate(step: Any) -> Any:
        periods = (step - section.burnin_steps) / section.decay_steps
        if section.staircase:
            periods = ops.floor(periods)
        decayed = section.initial_learning_rate * ops.power(section.decay_factor, periods)
        burn_in_rate = section.burnin_learning_rate or section.initial_learning_rate
        held = ops.where(step < section.burnin_steps, burn_in_rate, decayed)
        return ops.maximum(held, section.min_learning_rate)

    return rate


def _manual_steps(section: pipeline_pb2.ManualStepLearningRate) -> Schedule:
    """Hold one rate after another; with `warmup`, grow linearly from the first to the second."""
    boundaries = [change.step for change in section.schedule]
    rates = [section.initial_learning_rate, *(change.learning_rate for change in section.schedule)]

    def rate(step: Any) -> Any:
        value = ops.full((), rates[0])
        if section.warmup and boundaries:
            value = rates[0] + (rates[1] - rates[0]) * step / boundaries[0]
        for boundary, next_rate in zip(boundaries, rates[1:], strict=True):
            value = ops.where(step >= boundary, next_rate, value)
        return value

    return rate


def _cosine_decay(section: pipeline_pb2.CosineDecayLearningRate) -> Schedule:
    """Warm up linearly, hold, and decay to 0 along half a cosine (Loshchilov, Hutter 2016, eq. 5)."""
    base, warmup, hold = section.learning_rate_base, section.warmup_steps, section.hold_base_rate_steps
    decay_steps = section.total_steps - warmup - hold
    if decay_steps <= 0:
        raise ConfigError(
            f"cosine_decay_learning_rate: total_steps {section.total_steps} is not above warmup_steps {warmup} + "
            f"hold_base_rate_steps {hold}; the rate would never reach its base. Lower warmup_steps"
        )

    def rate(step: Any) -> Any:
        progress = (step - warmup - hold) / decay_steps
        value = 0.5 * base * (1 + ops.cos(math.pi * progress))
        value = ops.where(step > warmup + hold, value, base)
        if warmup:
            warming_up = section.warmup_learning_rate + (base - section.warmup_learning_rate) * step / warmup
            value = ops.where(step < warmup, warming_up, value)
        return ops.where(step > section.total_steps, 0.0, value)

    return rate


class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule for Keras' optimizers, which count batches: a step may consist of several."""

    def __init__(self, rate: Schedule, batches_per_step: int = 1):
        self.rate, self.batches_per_step = rate, batches_per_step

    def __call__(self, batch: Any) -> Any:
        """Return the rate of the step to which `batch` belongs, both counted from 0."""
        step = ops.floor_divide(ops.convert_to_tensor(batch), self.batches_per_step)
        return self.rate(ops.cast(step, "float32"))

    def get_config(self) -> dict[str, Any]:
        """Refuse: the pipeline.config is saved, not this."""
        raise NotImplementedError("a learning rate is read from its section of the configuration")


# Where they are set


@dataclass(frozen=True)
class RateField:
    """A field of the configuration that holds a learning rate."""

    path: str
    message: Message
    name: str

    @property
    def value(self) -> float:
        """Its value, or its default."""
        return float(getattr(self.message, self.name))


def rate_fields(settings: pipeline_pb2.TrainConfig) -> list[RateField]:
    """Return every learning rate of the schedule that `train_config` sets."""
    kind = settings.optimizer.WhichOneof("optimizer")
    section = getattr(settings.optimizer, kind).learning_rate
    schedule = section.WhichOneof("learning_rate")
    path = f"train_config.optimizer.{kind}.learning_rate.{schedule}"
    return list(_rates_in(getattr(section, schedule), path))


def _rates_in(message: Message, path: str) -> Iterator[RateField]:
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None:
            for i, part in enumerate(getattr(message, field.name)):  # the steps of manual_step_learning_rate
                yield from _rates_in(part, f"{path}.{field.name}[{i}]")
        elif "learning_rate" in field.name:
            yield RateField(f"{path}.{field.name}", message, field.name)


def highest_rate(settings: pipeline_pb2.TrainConfig) -> RateField:
    """Return the field of the highest learning rate."""
    return max(rate_fields(settings), key=lambda field: field.value)


def scale(settings: pipeline_pb2.TrainConfig, reference_batch_size: int) -> float:
    """Multiply every learning rate by `batch_size / reference_batch_size` and return that factor.

    Source: the linear scaling rule of Goyal et al. 2017 (arXiv:1706.02677).
    """
    factor = settings.batch_size / reference_batch_size
    for field in rate_fields(settings):
        setattr(field.message, field.name, field.value * factor)
    return factor


def how_to_stabilize(settings: pipeline_pb2.TrainConfig) -> str:
    """Return what to try with a run that diverges, as a sentence."""
    highest = highest_rate(settings)
    clipping = (
        "" if settings.gradient_clipping_by_norm else " or --set train_config.gradient_clipping_by_norm=10"
    )
    return f"Try a lower learning rate (--set {highest.path}={highest.value / 3:.2g}), a longer warm-up{clipping}"


def warnings(settings: pipeline_pb2.TrainConfig) -> list[str]:
    """Return what is probably a mistake, each as a sentence with the way out."""
    if settings.num_steps < FEWEST_STEPS:
        return []
    kind = settings.optimizer.WhichOneof("optimizer")
    section = getattr(settings.optimizer, kind).learning_rate
    found = list(_warnings_about_height(settings)) if kind == "momentum_optimizer" else []
    if section.HasField("cosine_decay_learning_rate"):
        path = f"train_config.optimizer.{kind}.learning_rate.cosine_decay_learning_rate"
        found += _warnings_about_length(section.cosine_decay_learning_rate, path, settings.num_steps)
    return found


def _warnings_about_length(
    section: pipeline_pb2.CosineDecayLearningRate, path: str, num_steps: int
) -> Iterator[str]:
    total = section.total_steps
    if num_steps == total:
        return
    names = ("total_steps", "warmup_steps", "hold_base_rate_steps")
    scaled = {name: round(getattr(section, name) * num_steps / total) for name in names}
    fitting = " ".join(f"--set {path}.{name}={value}" for name, value in scaled.items() if value)
    if num_steps > total:
        yield (
            f"The learning rate is 0 after step {total:,}, where its schedule ends, and the run goes on to step "
            f"{num_steps:,}: the rest of it learns nothing. To fit: {fitting}"
        )
        return
    rate = float(ops.convert_to_numpy(_cosine_decay(section)(float(num_steps))))
    where = "while it warms up" if num_steps <= section.warmup_steps else "in the middle of it"
    yield (
        f"The schedule of the learning rate is for {total:,} steps, and the run ends after {num_steps:,}, {where}, at "
        f"a rate of {rate:.2g}: it has not settled by then. To fit: {fitting}"
    )


def _warnings_about_height(settings: pipeline_pb2.TrainConfig) -> Iterator[str]:
    highest, safe_rate = highest_rate(settings), RATE_PER_IMAGE * settings.batch_size
    if highest.value > safe_rate * 1.001:
        yield (
            f"The learning rate {highest.value:g} is high for batches of {many(settings.batch_size, 'image')}. Such "
            "runs in docs/recipes.md gained 0.03 mAP on some photographs, lost 0.28 on others, or diverged. "
            f"Should the results be poor, try --set {highest.path}={safe_rate:.2g}"
        )
    if settings.fine_tune_checkpoint and settings.fine_tune_checkpoint_type == "full":
        return  # a detector of the same classes has little to learn
    if 0 < highest.value * settings.num_steps < LEAST_RATE_TIMES_STEPS * 0.999:
        better = min(safe_rate, LEAST_RATE_TIMES_STEPS / settings.num_steps)
        higher = f", or try --set {highest.path}={better:.2g}" if better > highest.value * 1.001 else ""
        yield (
            f"The learning rate {highest.value:g} is low for {settings.num_steps} steps: of the short runs in "
            f"docs/recipes.md, such ones reached half the mAP of others. Train longer{higher}"
        )
