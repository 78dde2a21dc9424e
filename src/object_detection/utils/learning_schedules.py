"""Learning rates by the step; the schedules are those of `boxtune.training.learning_rates`.

Each returns a rate, float32 []; where TensorFlow is eager, the function that returns it.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import tensorflow as tf

from boxtune.config import pipeline_pb2
from boxtune.training.learning_rates import schedule
from object_detection.utils.ops import TensorError


def exponential_decay_with_burnin(
    global_step: Any,
    learning_rate_base: float,
    learning_rate_decay_steps: int,
    learning_rate_decay_factor: float,
    burnin_learning_rate: float = 0.0,
    burnin_steps: int = 0,
    min_learning_rate: float = 0.0,
    staircase: bool = True,
) -> Any:
    """Return the rate that decays by a factor every so many steps, after a constant one; 0 is the base."""
    return _rate(
        global_step,
        exponential_decay_learning_rate=pipeline_pb2.ExponentialDecayLearningRate(
            initial_learning_rate=learning_rate_base,
            decay_steps=learning_rate_decay_steps,
            decay_factor=learning_rate_decay_factor,
            burnin_learning_rate=burnin_learning_rate,
            burnin_steps=burnin_steps,
            min_learning_rate=min_learning_rate,
            staircase=staircase,
        ),
    )


def exponential_decay_with_warmup(
    global_step: Any,
    learning_rate_base: float,
    learning_rate_decay_steps: int,
    learning_rate_decay_factor: float,
    warmup_learning_rate: float = 0.0,
    warmup_steps: int = 0,
    min_learning_rate: float = 0.0,
    staircase: bool = True,
) -> Any:
    """Return the rate that grows linearly to the base, then decays by a factor every so many steps."""
    section = pipeline_pb2.ExponentialDecayLearningRate(
        initial_learning_rate=learning_rate_base,
        decay_steps=learning_rate_decay_steps,
        decay_factor=learning_rate_decay_factor,
        min_learning_rate=min_learning_rate,
        staircase=staircase,
    )
    decayed = schedule(pipeline_pb2.LearningRate(exponential_decay_learning_rate=section))

    def rate(step: Any) -> Any:
        growth = (learning_rate_base - warmup_learning_rate) * step / max(warmup_steps, 1)
        return tf.where(step < warmup_steps, warmup_learning_rate + growth, decayed(step - warmup_steps))

    return _at(global_step, rate)


def cosine_decay_with_warmup(
    global_step: Any,
    learning_rate_base: float,
    total_steps: int,
    warmup_learning_rate: float = 0.0,
    warmup_steps: int = 0,
    hold_base_rate_steps: int = 0,
) -> Any:
    """Return the rate that grows linearly to the base, is held, and decays to 0 along half a cosine.

    Raises:
        TensorError: if the total is less than the steps of the warm-up, or its rate is above the base.
    """
    if total_steps < warmup_steps:
        raise TensorError("total_steps must be larger or equal to warmup_steps.")
    if warmup_steps > 0 and learning_rate_base < warmup_learning_rate:
        raise TensorError("learning_rate_base must be larger or equal to warmup_learning_rate.")
    return _rate(
        global_step,
        cosine_decay_learning_rate=pipeline_pb2.CosineDecayLearningRate(
            learning_rate_base=learning_rate_base,
            total_steps=total_steps,
            warmup_learning_rate=warmup_learning_rate,
            warmup_steps=warmup_steps,
            hold_base_rate_steps=hold_base_rate_steps,
        ),
    )


def manual_stepping(
    global_step: Any, boundaries: Sequence[int], rates: Sequence[float], warmup: bool = False
) -> Any:
    """Return one rate after another, each from its boundary on; with `warmup` it grows from the first to the second.

    Raises:
        TensorError: for boundaries that do not ascend from 1 on, and unless there is one rate more.
    """
    if any(not isinstance(step, int) or step < 0 for step in boundaries):
        raise TensorError(f"boundaries must be a list of positive integers; they are {boundaries}")
    if any(later <= step for step, later in pairwise(boundaries)):
        raise TensorError(f"Entries in boundaries must be strictly increasing; they are {boundaries}")
    if any(not isinstance(rate, float) for rate in rates):
        raise TensorError(f"Learning rates must be floats; they are {rates}")
    if len(rates) != len(boundaries) + 1:
        raise TensorError(
            "Number of provided learning rates must exceed number of boundary points by exactly 1."
        )
    if boundaries and boundaries[0] == 0:
        raise TensorError("First step cannot be zero.")
    changes = [
        pipeline_pb2.ManualStepLearningRate.LearningRateSchedule(step=step, learning_rate=rate)
        for step, rate in zip(boundaries, rates[1:], strict=True)
    ]
    return _rate(
        global_step,
        manual_step_learning_rate=pipeline_pb2.ManualStepLearningRate(
            initial_learning_rate=rates[0], schedule=changes, warmup=warmup
        ),
    )


def _rate(global_step: Any, **section: Any) -> Any:
    return _at(global_step, schedule(pipeline_pb2.LearningRate(**section)))


def _at(global_step: Any, rate: Callable[[Any], Any]) -> Any:
    def at_step() -> Any:
        return tf.identity(rate(tf.cast(global_step, tf.float32)), name="learning_rate")

    return at_step if tf.executing_eagerly() else at_step()
