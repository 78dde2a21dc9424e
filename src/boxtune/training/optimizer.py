"""The optimizer that a configuration describes."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from boxtune import config
from boxtune.config import pipeline_pb2
from boxtune.training.learning_rates import LearningRate, schedule


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
            "rms_prop_optimizer": lambda one: RMSprop(
                rate(one, one.decay),
                rho=0.9,
                momentum=one.momentum_optimizer_value,
                epsilon=one.epsilon,
                **options,
            ),
            "adam_optimizer": lambda one: Adam(rate(one), epsilon=one.epsilon, **options),
        },
    )


class _WithFactors(keras.optimizers.Optimizer):
    """An optimizer whose learning rate is multiplied for some variables."""

    factors: Sequence[float] = ()
    """By which, in the order of the variables; empty for 1."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable."""
        if self.factors:
            learning_rate = learning_rate * self.factors[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate)


class _SGD(keras.optimizers.SGD):
    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
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


class SGD(_WithFactors, _SGD):
    """Keras' gradient descent with momentum, by TensorFlow's fused kernel where there is one: equal to the last bit."""


class RMSprop(_WithFactors, keras.optimizers.RMSprop):
    """Keras' RMSprop."""


class Adam(_WithFactors, keras.optimizers.Adam):
    """Keras' Adam."""


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
