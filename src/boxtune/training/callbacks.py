"""What runs with each training step: the step is measured once and passed to every callback; signals end the run."""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Self

import keras

from boxtune.models.detector import LEARNING_RATE, WEIGHTS


@dataclass(frozen=True, slots=True)
class Step:
    """A training step that was made."""

    number: int
    """How many steps the run has made with this one."""
    losses: dict[str, float]
    """Every term of the loss, by the detector's names."""
    learning_rate: float
    """Of this step."""
    weights: float
    """The sum of the weights after it: not finite if any of them is not."""
    num_images: int
    """In its batches."""
    seconds: float
    """How long it took, waiting for images included."""

    @property
    def total_loss(self) -> float:
        """The sum of all terms."""
        return sum(self.losses.values())


Callback = Callable[[Step], object]


class StepCallbacks(keras.callbacks.Callback):
    """Calls functions with each step after it was made, one after the other.

    A step is an update of the weights, by `batches_per_step` batches; its losses are their means.
    """

    def __init__(
        self,
        start_step: int,
        images_per_step: int,
        callbacks: Sequence[Callback],
        *,
        batches_per_step: int = 1,
    ):
        super().__init__()
        self._number, self._images_per_step, self._callbacks = start_step, images_per_step, callbacks
        self._batches_per_step = batches_per_step
        self._batches: list[dict[str, float]] = []
        self._start_time = 0.0

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        if not self._batches:
            self._start_time = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Read the losses of the batch, and pass the step on when it is complete."""
        self._batches.append({name: float(value) for name, value in (logs or {}).items()})
        if len(self._batches) < self._batches_per_step:
            return
        batches, self._batches = self._batches, []
        self._number += 1
        _ = (
            self.model
        )  # under JAX, Keras gives the variables their values back when it is asked for the model
        # Under "loss" Keras has a mean over the steps so far.
        names = [name for name in batches[-1] if name not in ("loss", LEARNING_RATE, WEIGHTS)]
        step = Step(
            number=self._number,
            losses={name: sum(one[name] for one in batches) / len(batches) for name in names},
            learning_rate=batches[-1][LEARNING_RATE],
            weights=batches[-1][WEIGHTS],
            num_images=self._images_per_step,
            seconds=time.perf_counter() - self._start_time,
        )
        for callback in self._callbacks:
            callback(step)


def every(interval: int, action: Callable[[int], object]) -> Callback:
    """Return a callback that calls `action` with the number of each `interval`th step; never if `interval` is 0."""

    def callback(step: Step) -> None:
        if is_due(step.number, interval):
            action(step.number)

    return callback


def is_due(step: int, interval: int) -> bool:
    """Return whether something done every `interval` steps (0 for never) is done after `step` steps."""
    return bool(interval and step and step % interval == 0)


class StopSignals(keras.callbacks.Callback):
    """While it is entered, SIGINT and SIGTERM raise KeyboardInterrupt: at once between steps, else after the step.

    A second signal within a step raises at once. Outside the main thread, which alone receives signals, it does
    nothing.
    """

    def __init__(self, agree: Callable[[bool], bool] | None = None) -> None:
        """With `agree`, which tells whether any of those who train together wants to end, all end after one step.

        Then signals wait between the steps as well.
        """
        super().__init__()
        self._agree = agree
        self._within_step, self._received = agree is not None, False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Hold signals back from here on."""
        self._within_step = True

    def raise_if_received(self, step: Step) -> None:
        """Raise KeyboardInterrupt if a signal came within the step; until the next step signals are not held back."""
        if self._agree is None:
            self._within_step = False
        if self._agree(self._received) if self._agree else self._received:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._received or not self._within_step:
            raise KeyboardInterrupt
        self._received = True
