"""The optimizer that a configuration describes."""

from collections.abc import Mapping
from typing import Any

import keras

from boxtune import config
from boxtune.config import pipeline_pb2
from boxtune.training.schedules import LearningRate, schedule


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
