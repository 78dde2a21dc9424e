"""The learning rate and the optimizer that a configuration describes.

Source of the schedules: the API's utils.learning_schedules, and Keras for the rest.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from boxtune import config
from boxtune.config import pipeline_pb2
from boxtune.errors import ConfigError

Schedule = Callable[[Any], Any]
"""From the step (a float scalar, 0 before the first update) to the learning rate."""


# ---------------------------------------------------------------------------------------------- learning rates


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


# ---------------------------------------------------------------------------------------------- optimizers


def optimizer(
    section: pipeline_pb2.Optimizer, *, gradient_clipping_by_norm: float = 0.0, accumulate_batches: int = 1
) -> keras.optimizers.Optimizer:
    """Read `optimizer`.

    A step is one update of the weights, by the mean gradient of `accumulate_batches` batches: the learning rate's
    schedule counts such steps. Gradients are clipped to `gradient_clipping_by_norm` over all variables together, if it
    is above 0. Source: the API's builders.optimizer_builder and model_lib_v2.
    """
    options = {
        "global_clipnorm": gradient_clipping_by_norm if gradient_clipping_by_norm > 0 else None,
        "gradient_accumulation_steps": accumulate_batches if accumulate_batches > 1 else None,
    }

    def rate(section: Any, decay: float = 0.0) -> LearningRate:
        scheduled = schedule(section.learning_rate)
        # In the API, `decay` of RMSprop slows the learning rate down instead of being the average's decay.
        slowed = (lambda step: scheduled(step) / (1 + decay * step)) if decay else scheduled
        return LearningRate(slowed, accumulate_batches)

    return config.oneof(
        section,
        {
            "momentum_optimizer": lambda one: SGD(
                rate(one), momentum=one.momentum_optimizer_value, **options
            ),
            "rms_prop_optimizer": lambda one: keras.optimizers.RMSprop(
                rate(one, one.decay),
                rho=0.9,
                momentum=one.momentum_optimizer_value,
                epsilon=one.epsilon,
                **options,
            ),
            "adam_optimizer": lambda one: keras.optimizers.Adam(rate(one), epsilon=one.epsilon, **options),
        },
    )


class SGD(keras.optimizers.SGD):
    """Keras' gradient descent with momentum, by TensorFlow's fused kernel where there is one: equal to the last bit."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable and its momentum."""
        if keras.backend.backend() != "tensorflow" or not self.momentum:
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=self.momentums[self._get_variable_index(variable)].value.handle,
            lr=learning_rate,
            grad=gradient,
            momentum=tf.cast(self.momentum, variable.dtype),
        )


def batch_counter(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """Return the variable that counts the batches of an optimizer."""
    return next(variable for variable in optimizer.variables if variable.name == _COUNTER)


def optimizer_variables(
    optimizer: keras.optimizers.Optimizer, trained: Mapping[str, keras.Variable]
) -> dict[str, keras.Variable]:
    """Return the variables of a built optimizer by their keys in a checkpoint, which differ between optimizers.

    A slot of a variable of the model is stored under that variable's key. `trained` has these variables, in the order
    in which the optimizer was given them.
    """
    prefix = f"optimizer/{type(optimizer).__name__.lower()}"
    # Keras names a slot by the path of its variable. Variables may share a path: their slots come in the same order.
    owners: dict[str, list[str]] = {}
    for key, variable in trained.items():
        owners.setdefault(variable.path.replace("/", "_"), []).append(key)
    found: dict[str, keras.Variable] = {}
    for slot in optimizer.variables:
        if slot.name == _COUNTER or slot.name.endswith(_WITHIN_A_STEP):
            continue
        path = max((path for path in owners if slot.name.startswith(f"{path}_")), key=len, default=None)
        names = [f"{prefix}/{slot.name}"]
        if path is not None:
            names = [f"{prefix}/{key}/{slot.name.removeprefix(f'{path}_')}" for key in owners[path]]
        found[next(name for name in names if name not in found)] = slot
    return found


_COUNTER, _WITHIN_A_STEP = "iteration", "_gradient_accumulator"
"""Keras' names of the counter of batches, and of accumulated gradients, which are 0 between steps."""
