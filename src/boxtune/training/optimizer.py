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


# ---------------------------------------------------------------------------------------------- optimizers


def optimizer(
    section: pipeline_pb2.Optimizer, *, gradient_clipping_by_norm: float = 0.0, accumulate_batches: int = 1
) -> keras.optimizers.Optimizer:
    """Read `optimizer`.

    A step is one update of the weights, by the mean gradient of `accumulate_batches` batches: that is what the learning
    rate's schedule counts. Gradients are cut to `gradient_clipping_by_norm` over all variables together, if it is above
    0. Source: the API's builders.optimizer_builder and model_lib_v2.
    """
    make, chosen = config.chosen(
        section,
        {"momentum_optimizer": _momentum, "rms_prop_optimizer": _rms_prop, "adam_optimizer": _adam},
    )
    return make(
        chosen,
        LearningRate(schedule(chosen.learning_rate), accumulate_batches),
        global_clipnorm=gradient_clipping_by_norm if gradient_clipping_by_norm > 0 else None,
        gradient_accumulation_steps=accumulate_batches if accumulate_batches > 1 else None,
    )


def _momentum(
    section: pipeline_pb2.MomentumOptimizer, rate: LearningRate, **options: Any
) -> keras.optimizers.Optimizer:
    return SGD(rate, momentum=section.momentum_optimizer_value, **options)


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


def _rms_prop(
    section: pipeline_pb2.RMSPropOptimizer, rate: LearningRate, **options: Any
) -> keras.optimizers.Optimizer:
    # In the API, `decay` slows the learning rate down instead of being the average's decay, which stays 0.9.
    return keras.optimizers.RMSprop(
        LearningRate(lambda step: rate.rate(step) / (1 + section.decay * step), rate.batches_per_step),
        rho=0.9,
        momentum=section.momentum_optimizer_value,
        epsilon=section.epsilon,
        **options,
    )


def _adam(
    section: pipeline_pb2.AdamOptimizer, rate: LearningRate, **options: Any
) -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(rate, epsilon=section.epsilon, **options)


def batch_counter(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """Return the variable that counts the batches that an optimizer was given."""
    return next(variable for variable in optimizer.variables if variable.name == _COUNTER)


def optimizer_variables(
    optimizer: keras.optimizers.Optimizer, trained: Mapping[str, keras.Variable]
) -> dict[str, keras.Variable]:
    """Return what an optimizer that was built keeps from step to step, by keys that tell kinds of optimizers apart.

    What it keeps of a variable of the model stands under the key of that variable. `trained` has these, in the order in
    which the optimizer was given them.
    """
    prefix = f"optimizer/{type(optimizer).__name__.lower()}"
    # Keras names a slot by the path of its variable, which several may have: they come in the order of the variables.
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
"""Keras' names of the count of batches, and of gradients that are gathered: between steps, these are 0."""
