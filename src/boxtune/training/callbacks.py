"""What happens beside the steps: telling, summarizing, saving, evaluating."""

import math
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import keras
import tensorflow as tf

from boxtune.errors import BoxtuneError

LOSSES = ("localization_loss", "classification_loss", "regularization_loss")


class StepCallback(keras.callbacks.Callback):
    """A callback that is told the number of each step that was made."""

    def __init__(self, start_step: int):
        super().__init__()
        self.step = start_step

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Count the step and hand it on."""
        self.step += 1
        self.on_step(self.step, logs or {})

    def on_step(self, step: int, logs: dict[str, Any]) -> None:
        """Do what is to be done after `step` steps; `logs` has the losses of the last one."""


class Every(StepCallback):
    """Calls a function every so many steps and after the last one."""

    def __init__(self, start_step: int, last_step: int, interval: int, action: Callable[[int], object]):
        super().__init__(start_step)
        self.last_step, self.interval, self.action = last_step, interval, action

    def on_step(self, step: int, logs: dict[str, Any]) -> None:
        """Act if it is time."""
        if step == self.last_step or (self.interval and step % self.interval == 0):
            self.action(step)


class StopOnNonFinite(StepCallback):
    """Ends a run whose loss is no number any more, before that reaches a checkpoint."""

    def on_step(self, step: int, logs: dict[str, Any]) -> None:
        """Look at each loss."""
        broken = [name for name in LOSSES if name in logs and not math.isfinite(float(logs[name]))]
        if broken:
            raise BoxtuneError(
                f"Step {step}: {', '.join(broken)} became infinite or not a number. The last checkpoint is kept. "
                "Try a lower learning rate (--set train_config.optimizer...learning_rate_base=...), a longer "
                "warm-up, or train_config.gradient_clipping_by_norm=10"
            )


class Progress(StepCallback):
    """A line that shows step, losses, learning rate, images a second and the time left.

    On a terminal it is written over itself; elsewhere a line is printed every `interval` steps.
    """

    def __init__(
        self,
        start_step: int,
        last_step: int,
        batch_size: int,
        interval: int = 10,
        stream: TextIO | None = None,
    ):
        super().__init__(start_step)
        self.last_step, self.batch_size, self.interval = last_step, batch_size, interval
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self._times: list[float] = []
        self._began = 0.0

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def on_step(self, step: int, logs: dict[str, Any]) -> None:
        """Show the line if it is time."""
        losses = {name: float(logs[name]) for name in LOSSES if name in logs}
        self._times = [*self._times[-19:], time.perf_counter() - self._began]
        if self.live or step == self.last_step or step % self.interval == 0:
            print(self._line(step, losses), end="\r" if self.live else "\n", file=self.stream, flush=True)
        if self.live and step == self.last_step:
            print(file=self.stream)

    def _line(self, step: int, losses: dict[str, float]) -> str:
        seconds = sorted(self._times)[len(self._times) // 2]
        left = round(seconds * (self.last_step - step))
        short = "  ".join(f"{name.split('_')[0][:3]} {value:.3f}" for name, value in losses.items())
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        return (
            f"step {step}/{self.last_step}  loss {sum(losses.values()):.3f} ({short})  lr {rate:.5f}  "
            f"{self.batch_size / seconds:.1f} images/s  {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left "
        )


class Summaries(StepCallback):
    """TensorBoard scalars under the API's tags, every `interval` steps."""

    def __init__(self, start_step: int, writer: tf.summary.SummaryWriter, interval: int = 10):
        super().__init__(start_step)
        self.writer, self.interval = writer, interval
        self._last = (start_step, time.perf_counter())

    def on_step(self, step: int, logs: dict[str, Any]) -> None:
        """Write if it is time."""
        if step % self.interval:
            return
        losses = {name: float(logs[name]) for name in LOSSES if name in logs}
        now = time.perf_counter()
        steps_per_second = (step - self._last[0]) / (now - self._last[1])
        self._last = (step, now)
        with self.writer.as_default(step):
            for name, value in losses.items():
                tf.summary.scalar(f"Loss/{name}", value)
            tf.summary.scalar("Loss/total_loss", sum(losses.values()))
            tf.summary.scalar("learning_rate", float(self.model.optimizer.learning_rate))
            tf.summary.scalar("steps_per_sec", steps_per_second)
