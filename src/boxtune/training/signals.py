"""Ctrl-C and SIGTERM end a run after the step that is being made."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

import keras

from boxtune.training.callbacks import Step


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
