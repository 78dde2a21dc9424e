"""Decaying averages of the weights, which often detect better than the weights themselves (Polyak, Juditsky 1992)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from boxtune.backends import compiled
from boxtune.config import pipeline_pb2
from boxtune.errors import CheckpointError
from boxtune.models import Detector
from boxtune.training import checkpoints

_FOLDER = "moving_averages/"
_SLOT_OF_THE_API = "/.OPTIMIZER_SLOT/optimizer/average"


class Averages:
    """A decaying average of each of some variables.

    After step s an average keeps the fraction min(decay, (1 + s) / (10 + s)) of its value, and takes the rest from the
    weights: a short run is averaged over its last tenth. It starts at 0, which 20 steps later has no effect on the
    first seven digits. Source: the API's official.modeling.optimization.ema_optimizer.
    """

    def __init__(self, variables: Mapping[str, keras.Variable], decay: float):
        """Prepare averages at 0 of `variables` by their keys; without any, nothing is averaged."""
        self.decay = decay
        self._averaged = dict(variables)
        averages = [
            keras.Variable(np.zeros(variable.shape, np.float32), trainable=False)
            for variable in self._averaged.values()
        ]
        self.variables = dict(zip(map(key_of_average, self._averaged), averages, strict=True))
        """The averages by their keys in a checkpoint."""
        self._pairs = list(zip(averages, self._averaged.values(), strict=True))
        self._move = compiled(self._move_by, [*averages, *self._averaged.values()])

    def update(self, step: int) -> None:
        """Move the averages towards the weights after `step` steps."""
        if self._pairs:
            self._move(keras.ops.convert_to_tensor(np.float32(1) - decay_of_step(self.decay, step)))

    def _move_by(self, fraction: Any) -> None:
        for average, variable in self._pairs:
            average.assign_sub(fraction * (average.value - variable.value))

    def start(self) -> None:
        """Start anew at the current weights."""
        for average, variable in self._pairs:
            # A copy: JAX would share the tensor, and training reuses its memory.
            average.assign(variable.numpy())

    def resume(self, reader: checkpoints.Reader) -> bool:
        """Load the averages of a checkpoint, boxtune's or the API's; start anew if it lacks any of them.

        Return whether it had all of them.
        """
        keys = [stored for key in self._averaged if (stored := average_in(reader, key))]
        if len(keys) < len(self._pairs):
            self.start()
            return False
        for (average, _), key in zip(self._pairs, keys, strict=True):
            _assign(average, reader, key)
        return True

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Give the variables the values of their averages; afterwards they have their own again, bit for bit."""
        with restored([variable for _, variable in self._pairs]):
            for average, variable in self._pairs:
                variable.assign(average)
            yield


@contextmanager
def restored(variables: Sequence[keras.Variable]) -> Iterator[None]:
    """Give the variables back at the end the values that they have now, bit for bit."""
    kept = [variable.numpy() for variable in variables]
    try:
        yield
    finally:
        for value, variable in zip(kept, variables, strict=True):
            variable.assign(value)


def averages(section: pipeline_pb2.Optimizer, detector: Detector) -> Averages:
    """Read `use_moving_average` of an `optimizer`: averages of all trained variables, or of none.

    The statistics of batch normalizations are averages already and are not averaged again.
    """
    if not section.use_moving_average:
        return Averages({}, 0.0)
    return Averages(detector.trained_variables(), section.moving_average_decay)


def decay_of_step(decay: float, step: int) -> np.float32:
    """Return the fraction that an average keeps of its value after `step` steps, at least 1."""
    return min(np.float32(decay), np.float32(1 + step) / np.float32(10 + step))


def key_of_average(key: str) -> str:
    """Return the key under which a checkpoint stores the average of a variable."""
    return _FOLDER + key.removeprefix("model/")


def average_in(reader: checkpoints.Reader, key: str) -> str | None:
    """Return the key under which a checkpoint, boxtune's or the API's, holds the average of a variable, if it does."""
    stored = (key_of_average(key), key + _SLOT_OF_THE_API)
    return next((name for name in stored if name in reader), None)


def load(detector: Detector, prefix: str, *, averaged: bool) -> None:
    """Load the weights of the checkpoint `prefix` into `detector`, or with `averaged` their averages.

    Variables that were not averaged, such as statistics and frozen weights, are loaded as they are.

    Raises:
        CheckpointError: if it lacks the averages that `averaged` asks for, or is of another model.
    """
    variables = detector.checkpoint_variables()
    checkpoints.load(variables, prefix)
    if not averaged:
        return
    reader = checkpoints.Reader(prefix)
    stored = {key: name for key in variables if (name := average_in(reader, key))}
    if not stored:
        raise CheckpointError(
            f"{prefix}: holds no averages of its weights, as eval_config.use_moving_averages asks for. Set that "
            "to false, or train with train_config.optimizer.use_moving_average: true"
        )
    for key, name in stored.items():
        _assign(variables[key], reader, name)


def _assign(variable: keras.Variable, reader: checkpoints.Reader, key: str) -> None:
    value = reader[key]
    if value.shape != tuple(variable.shape):
        raise CheckpointError(
            f"{reader.prefix}: {key} has the shape {list(value.shape)}, in the model {list(variable.shape)}"
        )
    variable.assign(value)
