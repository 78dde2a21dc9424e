"""What happens between the steps: each step is measured once and handed to whoever wants to know."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras


@dataclass(frozen=True, slots=True)
class Step:
    """A step that was made."""

    number: int
    """How many steps the run has made with this one."""
    losses: dict[str, float]
    """Every term of the loss, by the detector's names."""
    learning_rate: float
    """That this step was made with."""
    num_images: int
    """In its batch."""
    seconds: float
    """What it took, waiting for its batch included."""

    @property
    def total_loss(self) -> float:
        """The sum of all terms."""
        return sum(self.losses.values())


Action = Callable[[Step], object]


class BetweenSteps(keras.callbacks.Callback):
    """Calls some functions with each step after it was made, one after the other."""

    def __init__(self, start_step: int, batch_size: int, actions: Sequence[Action]):
        super().__init__()
        self._number, self._batch_size, self._actions = start_step, batch_size, actions
        self._began = self._learning_rate = 0.0

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        self._learning_rate = float(self.model.optimizer.learning_rate)
        self._began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Read what the step came to, and hand it on."""
        self._number += 1
        # Under "loss" Keras has a mean over the steps so far.
        losses = {name: float(value) for name, value in (logs or {}).items() if name != "loss"}
        seconds = time.perf_counter() - self._began
        step = Step(self._number, losses, self._learning_rate, self._batch_size, seconds)
        for action in self._actions:
            action(step)


def every(interval: int, action: Callable[[int], object]) -> Action:
    """Return what calls `action` with the number of each `interval`th step; never if `interval` is 0."""

    def act(step: Step) -> None:
        if is_due(step.number, interval):
            action(step.number)

    return act


def is_due(step: int, interval: int) -> bool:
    """Return whether something done every `interval` steps (0 for never) is done after `step` steps."""
    return bool(interval and step and step % interval == 0)
