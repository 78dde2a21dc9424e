"""Decaying averages of the weights, which often detect better than the weights themselves (Polyak, Juditsky 1992)."""

from collections.abc import Iterator, Mapping
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

    After step s an average keeps the share min(decay, (1 + s) / (10 + s)) of what it was, and takes the rest from the
    weights: a short run is averaged over its last tenth. It starts at 0, which 20 steps later is forgotten to the
    seventh digit. Source: the API's official.modeling.optimization.ema_optimizer.
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
        """Move the averages towards the weights that `step` steps have made."""
        if self._pairs:
            self._move(keras.ops.convert_to_tensor(np.float32(1) - decay_of_step(self.decay, step)))

    def _move_by(self, share: Any) -> None:
        for average, variable in self._pairs:
            average.assign_sub(share * (average.value - variable.value))

    def start(self) -> None:
        """Begin anew at the weights as they are."""
        for average, variable in self._pairs:
            average.assign(
                variable.numpy()
            )  # a copy: JAX would share the tensor, and training takes its memory

    def resume(self, reader: checkpoints.Reader) -> bool:
        """Take over what a checkpoint holds of them, boxtune's or the API's; begin anew if that is not all of them.

        Return whether it was all of them.
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
        """Let the variables hold their averages for a while; then they are, bit for bit, what they were before."""
        kept = [variable.numpy() for _, variable in self._pairs]
        try:
            for average, variable in self._pairs:
                variable.assign(average)
            yield
        finally:
            for value, (_, variable) in zip(kept, self._pairs, strict=True):
                variable.assign(value)


def averages(section: pipeline_pb2.Optimizer, detector: Detector) -> Averages:
    """Read `use_moving_average` of an `optimizer`: averages of everything that is trained, or of nothing.

    The statistics of batch normalizations are averages already and are not averaged again.
    """
    if not section.use_moving_average:
        return Averages({}, 0.0)
    return Averages(detector.trained_variables(), section.moving_average_decay)


def decay_of_step(decay: float, step: int) -> np.float32:
    """Return the share that an average keeps of itself after `step` steps, at least 1."""
    return min(np.float32(decay), np.float32(1 + step) / np.float32(10 + step))


def key_of_average(key: str) -> str:
    """Return where a checkpoint keeps the average of a variable."""
    return _FOLDER + key.removeprefix("model/")


def average_in(reader: checkpoints.Reader, key: str) -> str | None:
    """Return the key under which a checkpoint, boxtune's or the API's, holds the average of a variable, if it does."""
    stored = (key_of_average(key), key + _SLOT_OF_THE_API)
    return next((name for name in stored if name in reader), None)


def load(detector: Detector, prefix: str, *, averaged: bool) -> None:
    """Give `detector` the weights that the checkpoint `prefix` holds, or with `averaged` their averages.

    What was not averaged, such as statistics and frozen weights, is taken as it is.

    Raises:
        CheckpointError: if it holds no averages though they are wanted, or is of another model.
    """
    variables = detector.checkpoint_variables()
    checkpoints.load(variables, prefix)
    if averaged:
        _load_averages(variables, checkpoints.Reader(prefix))


def _load_averages(variables: Mapping[str, keras.Variable], reader: checkpoints.Reader) -> None:
    stored = {key: name for key in variables if (name := average_in(reader, key))}
    if not stored:
        raise CheckpointError(
            f"{reader.prefix}: holds no averages of its weights, as eval_config.use_moving_averages asks for. Set that "
            "to false, or train with train_config.optimizer.use_moving_average: true"
        )
    for key, name in stored.items():
        _assign(variables[key], reader, name)


def _assign(variable: keras.Variable, reader: checkpoints.Reader, key: str) -> None:
    value = reader[key]
    if value.shape != tuple(variable.shape):
        raise CheckpointError(
            f"{reader.prefix}: {key} is of the shape {list(value.shape)}, that of the model is {list(variable.shape)}"
        )
    variable.assign(value)
