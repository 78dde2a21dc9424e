"""What happens between the steps: each step is measured once and handed to whoever wants to know."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from boxtune.models.detector import LEARNING_RATE, WEIGHTS


@dataclass(frozen=True, slots=True)
class Step:
    """A step that was made."""

    number: int
    """How many steps the run has made with this one."""
    losses: dict[str, float]
    """Every term of the loss, by the detector's names."""
    learning_rate: float
    """That this step was made with."""
    weights: float
    """The sum of the weights after it: no number if any of them is none."""
    num_images: int
    """That it was made from."""
    seconds: float
    """What it took, waiting for images included."""

    @property
    def total_loss(self) -> float:
        """The sum of all terms."""
        return sum(self.losses.values())


Action = Callable[[Step], object]


class BetweenSteps(keras.callbacks.Callback):
    """Calls some functions with each step after it was made, one after the other.

    A step is an update of the weights, by `batches_per_step` batches; its losses are their means.
    """

    def __init__(
        self, start_step: int, images_per_step: int, actions: Sequence[Action], *, batches_per_step: int = 1
    ):
        super().__init__()
        self._number, self._images_per_step, self._actions = start_step, images_per_step, actions
        self._batches_per_step = batches_per_step
        self._batches: list[dict[str, float]] = []
        self._began = 0.0

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        if not self._batches:
            self._began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Read what the batch came to, and hand the step on when it is made."""
        self._batches.append({name: float(value) for name, value in (logs or {}).items()})
        if len(self._batches) < self._batches_per_step:
            return
        self._number += 1
        _ = (
            self.model
        )  # under JAX, Keras gives the variables their values back when it is asked for the model
        step = self._step_of(self._batches)
        self._batches = []
        for action in self._actions:
            action(step)

    def _step_of(self, batches: list[dict[str, float]]) -> Step:
        return Step(
            number=self._number,
            # Under "loss" Keras has a mean over the steps so far.
            losses={
                name: sum(batch[name] for batch in batches) / len(batches)
                for name in batches[-1]
                if name not in ("loss", LEARNING_RATE, WEIGHTS)
            },
            learning_rate=batches[-1][LEARNING_RATE],
            weights=batches[-1][WEIGHTS],
            num_images=self._images_per_step,
            seconds=time.perf_counter() - self._began,
        )


def every(interval: int, action: Callable[[int], object]) -> Action:
    """Return what calls `action` with the number of each `interval`th step; never if `interval` is 0."""

    def act(step: Step) -> None:
        if is_due(step.number, interval):
            action(step.number)

    return act


def is_due(step: int, interval: int) -> bool:
    """Return whether something done every `interval` steps (0 for never) is done after `step` steps."""
    return bool(interval and step and step % interval == 0)
