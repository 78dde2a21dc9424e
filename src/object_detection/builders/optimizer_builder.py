"""The optimizer that a configuration describes, for training loops of one's own."""

import logging
from collections.abc import Callable
from typing import Any

import keras

from boxtune.config.pipeline_pb2 import LearningRate, Optimizer
from boxtune.training.learning_rates import schedule
from boxtune.training.optimizer import optimizer
from object_detection.builders.checked import SectionError, as_section_errors

Built = tuple[keras.optimizers.Optimizer, list[Callable[[], Any]]]

_log = logging.getLogger("boxtune")


def build(config: Optimizer, global_step: Any = None) -> Built:
    """Return the optimizer of a configuration, and in a list the function that returns its current learning rate.

    The rate follows the updates that the optimizer has made, which are counted from `global_step` on if that is given.
    Moving averages are not kept here but by `boxtune train`; a warning of the logger "boxtune" tells where
    `use_moving_average`, which is on by default, asks for them.

    Raises:
        SectionError: for an optimizer or a learning rate that is not set, or cannot be.
    """
    return build_optimizers_tf_v2(config, global_step)


def build_optimizers_tf_v2(optimizer_config: Optimizer, global_step: Any = None) -> Built:
    """Return the same as `build`."""
    with as_section_errors():
        built = optimizer(optimizer_config)
    if optimizer_config.use_moving_average:
        _log.warning(
            "use_moving_average: this optimizer keeps no averages of the weights; `boxtune train` does. Set it to "
            "false to be rid of this line."
        )
    if global_step is not None:
        built.iterations.assign(global_step)
    return built, [lambda: built.learning_rate]


def _create_learning_rate(learning_rate_config: LearningRate, global_step: Any = None) -> Any:
    """Return the function of the rate at `global_step`, which may be a variable; a number if it is constant."""
    if learning_rate_config.HasField("constant_learning_rate"):
        return learning_rate_config.constant_learning_rate.learning_rate
    with as_section_errors():
        rate = schedule(learning_rate_config)
    return lambda: rate(keras.ops.cast(0 if global_step is None else global_step, "float32"))


def build_optimizers_tf_v1(optimizer_config: Optimizer, global_step: Any = None) -> Built:
    """Refuse: raise SectionError."""
    raise SectionError("Optimizers of TensorFlow 1 are not supported; call build, for one of Keras.")
