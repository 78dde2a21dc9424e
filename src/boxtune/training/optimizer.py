"""The optimizer that a configuration describes."""

from typing import Any

import keras

from boxtune import config
from boxtune.config import pipeline_pb2
from boxtune.training.schedules import LearningRate, Schedule, schedule


def optimizer(
    section: pipeline_pb2.Optimizer, *, gradient_clipping_by_norm: float = 0.0
) -> keras.optimizers.Optimizer:
    """Read `optimizer`; gradients are cut to `gradient_clipping_by_norm` over all variables together if above 0.

    Source: the API's builders.optimizer_builder.
    """
    make, chosen = config.chosen(
        section,
        {"momentum_optimizer": _momentum, "rms_prop_optimizer": _rms_prop, "adam_optimizer": _adam},
    )
    return make(chosen, schedule(chosen.learning_rate), global_clipnorm=gradient_clipping_by_norm or None)


def _momentum(
    section: pipeline_pb2.MomentumOptimizer, rate: Schedule, **options: Any
) -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(LearningRate(rate), momentum=section.momentum_optimizer_value, **options)


def _rms_prop(
    section: pipeline_pb2.RMSPropOptimizer, rate: Schedule, **options: Any
) -> keras.optimizers.Optimizer:
    # In the API, `decay` slows the learning rate down instead of being the average's decay, which stays 0.9.
    return keras.optimizers.RMSprop(
        LearningRate(lambda step: rate(step) / (1 + section.decay * step)),
        rho=0.9,
        momentum=section.momentum_optimizer_value,
        epsilon=section.epsilon,
        **options,
    )


def _adam(section: pipeline_pb2.AdamOptimizer, rate: Schedule, **options: Any) -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(LearningRate(rate), epsilon=section.epsilon, **options)
