"""How a run gets on, told in one line: live on a terminal, as a line now and then elsewhere."""

import shutil
import statistics
import sys
import time
from collections import deque
from typing import TextIO

from boxtune.training.steps import Step

LIVE_SECONDS, PLAIN_SECONDS = 0.1, 10.0
"""Least time between two tellings, on a terminal and elsewhere."""

_ERASE_LINE = "\r\x1b[K"


class Progress:
    """A line with step, losses, learning rate, images a second, the last evaluation and the time left.

    On a terminal it is written over itself, and cut to its width; elsewhere, in a file or a notebook, lines are
    added, seldom enough to be read.
    """

    def __init__(self, start_step: int, last_step: int, stream: TextIO | None = None):
        self.start_step, self.last_step = start_step, last_step
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self.note = ""
        """Shown at the end of each line; for the newest evaluation."""
        self._seconds: deque[float] = deque(maxlen=20)
        self._told = self._first_done = -1.0

    def tell(self, step: Step) -> None:
        """Show the line if it is time, and always after the first and the last step."""
        now = time.monotonic()
        self._seconds.append(step.seconds)
        ends = step.number in (self.start_step + 1, self.last_step)
        if ends or now - self._told >= (LIVE_SECONDS if self.live else PLAIN_SECONDS):
            self._told = now
            self._show(self._line(step, now))
        if self.live and step.number == self.last_step:
            print(file=self.stream)
        if step.number == self.start_step + 1:
            # It took longer than the others will: the network was compiled in it.
            self._first_done = now
            self._seconds.clear()

    def show(self, text: str) -> None:
        """Show what is going on between two steps, on a terminal only."""
        if self.live:
            self._show(text)

    def clear(self) -> None:
        """Make room for what somebody else prints."""
        if self.live:
            print(_ERASE_LINE, end="", file=self.stream, flush=True)

    def _show(self, text: str) -> None:
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            print(_ERASE_LINE + text[:width], end="", file=self.stream, flush=True)
        else:
            print(text, file=self.stream, flush=True)

    def _line(self, step: Step, now: float) -> str:
        terms = " ".join(f"{name.removesuffix('_loss')} {value:.3f}" for name, value in step.losses.items())
        parts = [
            f"step {step.number}/{self.last_step}",
            f"loss {step.total_loss:.3f} ({terms})",
            f"lr {step.learning_rate:.4g}",
            f"{step.num_images / statistics.median(self._seconds):.1f} images/s",
            self._time_left(step.number, now),
            self.note,
        ]
        return "  ".join(part for part in parts if part)

    def _time_left(self, step: int, now: float) -> str:
        """Return the time left, if it goes on as it did since the first step, evaluations and all."""
        made = step - self.start_step - 1
        if not made:
            return ""
        left = round((now - self._first_done) / made * (self.last_step - step))
        return f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
