"""What ends a run before its last step: numbers that are none, and the user."""

import math
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

import keras

from boxtune.config import pipeline_pb2
from boxtune.errors import BoxtuneError
from boxtune.training import checkpoints
from boxtune.training.learning_rates import how_to_calm
from boxtune.training.run_state import RunState, not_finite
from boxtune.training.steps import Step


class StopOnNonFinite:
    """Ends a run at the first step of which a loss, or a weight after it, is infinite or not a number.

    As the weights are looked at after every step, what is found is what broke first: a loss that is no number comes
    of finite weights, weights that are none come of a finite loss and its gradients.
    """

    def __init__(self, state: RunState, images_of: Callable[[int], str], settings: pipeline_pb2.TrainConfig):
        """Watch the trainable weights of a run; `images_of` a step and `settings` are for the message."""
        self.model_dir, self.images_of, self.settings = state.model_dir, images_of, settings
        self.weights = {key: value for key, value in state.model_variables.items() if value.trainable}

    def __call__(self, step: Step) -> None:
        """Look at the losses, then at the weights; raise BoxtuneError for those that are no numbers."""
        if not math.isfinite(step.total_loss):
            raise self._error(step, _broken_loss(step))
        # A sum that overflows is of weights that are beyond hope, too.
        if not math.isfinite(step.weights):
            raise self._error(step, self._broken_weights(step))

    def _broken_weights(self, step: Step) -> str:
        broken = not_finite(self.weights)
        which = (
            f"{len(broken)} of {len(self.weights)} variables (such as {broken[0]})"
            if broken
            else "the weights"
        )
        return f"the loss was a number ({step.total_loss:.3g}), but its gradients made {which} infinite or not a number"

    def _error(self, step: Step, what: str) -> BoxtuneError:
        kept = checkpoints.latest(self.model_dir)
        return BoxtuneError(
            f"Step {step.number}: {what}. The images of this step: {self.images_of(step.number)}. "
            f"{f'The last checkpoint is kept: {kept}' if kept else 'There was no checkpoint yet'}. "
            f"{how_to_calm(self.settings)}"
        )


def _broken_loss(step: Step) -> str:
    broken = [name for name, value in step.losses.items() if not math.isfinite(value)]
    fine = [f"{name} {value:.3g}" for name, value in step.losses.items() if name not in broken]
    others = f", while {', '.join(fine)}" if fine else ""
    return f"{', '.join(broken)} became infinite or not a number{others}; the weights before this step were numbers"


class Interruption(keras.callbacks.Callback):
    """While it is entered, SIGINT and SIGTERM raise KeyboardInterrupt: at once, or within a step, at its end.

    A second signal within a step raises at once. In other threads than the main one, which get no signals, it does
    nothing.
    """

    def __init__(self, agree: Callable[[bool], bool] | None = None) -> None:
        """With `agree`, which tells whether any of those who train together wants to end, all end after one step.

        Then signals wait between the steps as well.
        """
        super().__init__()
        self._agree = agree
        self._within_step, self._wanted = agree is not None, False
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

    def give_way(self, step: Step) -> None:
        """Raise KeyboardInterrupt if a signal came within the step; from here to the next step they are not held."""
        if self._agree is None:
            self._within_step = False
        if self._agree(self._wanted) if self._agree else self._wanted:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._wanted or not self._within_step:
            raise KeyboardInterrupt
        self._wanted = True
