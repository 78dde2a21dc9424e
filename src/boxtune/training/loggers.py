"""Where a run is logged: for whoever looks on, in TensorBoard under the API's tags, in the journal `metrics.jsonl`."""

import html
import json
import math
import os
import shutil
import statistics
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import IO, Any, TextIO

import numpy as np
import tensorflow as tf
from tensorflow.core.util.event_pb2 import Event, SessionLog

from boxtune.data.files import require_files, writing
from boxtune.errors import DataError
from boxtune.metrics.results import Evaluation
from boxtune.training.callbacks import Step

LIVE_SECONDS, NOTEBOOK_SECONDS, PLAIN_SECONDS = 0.1, 0.5, 10.0
"""Least time between two lines, on a terminal, in a notebook and in a file."""

_ERASE_LINE = "\r\x1b[K"

JOURNAL = "metrics.jsonl"
"""In the model directory."""

MAX_LINE_BYTES = 1 << 20


class Progress:
    """A line with step, losses, learning rate, images per second, the last evaluation and the time left.

    On a terminal it is overwritten, and cut to the terminal's width; in a notebook it changes in its place, below a
    bar; in a file a line is added every PLAIN_SECONDS.
    """

    def __init__(self, start_step: int, last_step: int, stream: TextIO | None = None):
        self.start_step, self.last_step = start_step, last_step
        self._view = _view_of(stream or sys.stdout)
        self._note = ""
        self._newest: Step | None = None
        self._seconds: deque[float] = deque(maxlen=20)
        self._shown = self._first_done = -1.0

    @property
    def note(self) -> str:
        """What the end of each line says; for the newest evaluation."""
        return self._note

    @note.setter
    def note(self, text: str) -> None:
        self._note = text
        if self._newest and self._view.stays:
            self._add(self._newest, time.monotonic())

    def add_step(self, step: Step) -> None:
        """Show the line if it is time, and always after the first and the last step."""
        now = time.monotonic()
        self._newest = step
        self._seconds.append(step.seconds)
        first, last = step.number == self.start_step + 1, step.number == self.last_step
        if first or last or now - self._shown >= self._view.seconds:
            self._shown = now
            self._add(step, now)
        if last:
            self._view.end()
        if first:
            # It took longer than the others will: the network was compiled in it.
            self._first_done = now
            self._seconds.clear()

    def show(self, text: str) -> None:
        """Show what happens between two steps, but not in a file."""
        self._view.show(text)

    def clear(self) -> None:
        """Clear the line of a terminal for other output."""
        self._view.clear()

    def _add(self, step: Step, now: float) -> None:
        self._view.add(self._line(step, now), step.number / self.last_step)

    def _line(self, step: Step, now: float) -> str:
        terms = " ".join(f"{name.removesuffix('_loss')} {value:.3f}" for name, value in step.losses.items())
        parts = [
            f"step {step.number}/{self.last_step}",
            f"loss {step.total_loss:.3f} ({terms})",
            f"lr {step.learning_rate:.4g}",
            f"{step.num_images / statistics.median(self._seconds or [step.seconds]):.1f} images/s",
            self._time_left(step.number, now),
            self.note,
        ]
        return "  ".join(part for part in parts if part)

    def _time_left(self, step: int, now: float) -> str:
        """Return the time left at the average speed since the first step, evaluations included."""
        made = step - self.start_step - 1
        if not made:
            return ""
        left = round((now - self._first_done) / made * (self.last_step - step))
        return f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"


class _File:
    """Lines, one below the other."""

    seconds, stays = PLAIN_SECONDS, False

    def __init__(self, stream: TextIO):
        self.stream = stream

    def add(self, line: str, done: float) -> None:
        """Show the line of a step, after which `done` of all is made."""
        print(line, file=self.stream, flush=True)

    def show(self, text: str) -> None:
        """Show what happens between two steps."""

    def clear(self) -> None:
        """Make room for other output."""

    def end(self) -> None:
        """Leave the line of the last step."""


class _Terminal(_File):
    """One line, written over again and again."""

    seconds = LIVE_SECONDS

    def add(self, line: str, done: float) -> None:
        self.show(line)

    def show(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        print(_ERASE_LINE + text[:width], end="", file=self.stream, flush=True)

    def clear(self) -> None:
        print(_ERASE_LINE, end="", file=self.stream, flush=True)

    def end(self) -> None:
        print(file=self.stream)


class _Notebook(_File):
    """A bar and a line in the output of a cell, changed in their place; what is printed meanwhile stands below."""

    seconds, stays = NOTEBOOK_SECONDS, True
    _done = 0.0
    _handle: Any = None

    def add(self, line: str, done: float) -> None:
        self._done = done
        self.show(line)

    def show(self, text: str) -> None:
        from IPython.display import display  # is there where a notebook is

        bar = f'<progress max="1" value="{self._done:.4f}" style="width: 100%"></progress>'
        line = f'<pre style="margin: 0; white-space: pre-wrap">{html.escape(text)}</pre>'
        shown = {"text/plain": text, "text/html": bar + line}
        if self._handle:
            self._handle.update(shown, raw=True)
        else:
            self._handle = display(shown, raw=True, display_id=True)


def _view_of(stream: TextIO) -> _File:
    """Return how progress is shown on a stream."""
    kernel = sys.modules.get(
        "ipykernel.iostream"
    )  # which notebooks have loaded: theirs are the cells' streams
    if kernel and isinstance(stream, kernel.OutStream):
        return _Notebook(stream)
    return _Terminal(stream) if stream.isatty() else _File(stream)


class Summaries(AbstractContextManager["Summaries"]):
    """TensorBoard's folder `train` of a run: scalars every `interval` steps, and images when they are given.

    All methods raise DataError if the file system has no room or refuses.
    """

    def __init__(self, model_dir: Path, start_step: int, interval: int = 10):
        """Open the folder of a run that continues after `start_step` steps; TensorBoard will forget later ones."""
        self.interval = interval
        self._folder = model_dir / "train"
        with writing(self._folder):
            if start_step:
                newest = {path.parent: path for path in sorted(model_dir.glob("*/**/events.out.tfevents.*"))}
                for path in newest.values():
                    _write_restart(path, start_step + 1)
            self._writer = tf.summary.create_file_writer(str(self._folder))
        self._last = (start_step, time.perf_counter())

    def __exit__(self, *exception: object) -> None:
        with writing(self._folder):
            self._writer.close()

    def add_step(self, step: Step) -> None:
        """Write the losses, the learning rate and the speed if it is time."""
        if step.number % self.interval:
            return
        now = time.perf_counter()
        steps_per_second = (step.number - self._last[0]) / (now - self._last[1])
        self._last = (step.number, now)
        with writing(self._folder), self._writer.as_default(step.number):
            for name, value in step.losses.items():
                tf.summary.scalar(f"Loss/{name}", value)
            tf.summary.scalar("Loss/total_loss", step.total_loss)
            tf.summary.scalar("learning_rate", step.learning_rate)
            tf.summary.scalar("steps_per_sec", steps_per_second)

    def add_images(self, step: int, images: Sequence[np.ndarray]) -> None:
        """Write training images uint8 [h, w, 3] of one size, as the model takes them."""
        with writing(self._folder), self._writer.as_default(step):
            tf.summary.image("train_input_images", np.stack(images), max_outputs=len(images))


def _write_restart(newest: Path, step: int) -> None:
    """Tell TensorBoard that what a folder has about `step` and later ones, up to its newest file, is made again."""
    now = time.time()
    start = Event(wall_time=now, step=step, session_log=SessionLog(status=SessionLog.START))
    # TensorBoard reads the files in the order of their names. The first start that it sees is no restart to it.
    with tf.io.TFRecordWriter(f"{newest}.restart") as writer:
        for event in (Event(wall_time=now, file_version="brain.Event:2"), start, start):
            writer.write(event.SerializeToString())


class Journal(AbstractContextManager["Journal"]):
    """The metrics of a run as lines of JSON, open for appending: one for each step and each evaluation, in order.

        {"step": 7, "Loss/localization_loss": 0.31, ..., "Loss/total_loss": 0.8, "learning_rate": 0.08,
         "images_per_sec": 21.5, "time": 1760000000.5}
        {"step": 1000, "evaluation": {"DetectionBoxes_Precision/mAP": 0.41, ...}, "num_images": 40, ..., "time": ...}

    Numbers have as many digits as it takes to read the same float again. A metric that is not finite is null.

    Attributes:
        evaluations: the metrics of the evaluations so far by the API's names, as (step, values).
    """

    def __init__(self, path: Path, start_step: int):
        """Open the journal of a run that continues after `start_step` steps.

        Lines about later steps are cut off, since these are made again; so is an incomplete last line.

        Raises:
            DataError: if the file cannot be read or written, or a line does not belong to a journal.
        """
        self.path = path
        self.evaluations, end = read_journal(path, start_step)
        with writing(path):
            self._file: IO[bytes] = path.open("ab")
            self._file.truncate(end)

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def add_step(self, step: Step) -> None:
        """Write the line of a step."""
        content = {
            "step": step.number,
            **{f"Loss/{name}": value for name, value in step.losses.items()},
            "Loss/total_loss": step.total_loss,
            "learning_rate": step.learning_rate,
            "images_per_sec": round(step.num_images / step.seconds, 2),
        }
        self._append(content)

    def add_evaluation(self, evaluation: Evaluation) -> None:
        """Write the line of an evaluation, and flush it to the disk."""
        self.evaluations.append((evaluation.step, dict(evaluation.values)))
        content = {
            "step": evaluation.step,
            "evaluation": {
                name: value if math.isfinite(value) else None for name, value in evaluation.values.items()
            },
            "num_images": evaluation.num_images,
            "seconds": round(evaluation.seconds, 2),
        }
        self._append(content)
        os.fsync(self._file.fileno())

    def has_evaluation(self, step: int) -> bool:
        """Return whether the run was evaluated after `step` steps."""
        return any(one == step for one, _ in self.evaluations)

    def _append(self, content: dict[str, Any]) -> None:
        line = json.dumps(content | {"time": round(time.time(), 3)}, allow_nan=False)
        with writing(self.path):
            self._file.write(line.encode() + b"\n")
            self._file.flush()  # to the kernel: the line survives the end of this process, however it comes


Evaluations = list[tuple[int, dict[str, float]]]


def read_journal(path: Path, start_step: int) -> tuple[Evaluations, int]:
    """Return the evaluations of a journal up to `start_step`, and the byte at which the lines of later steps start.

    Raises:
        DataError: if the file cannot be read, or a line does not belong to a journal.
    """
    evaluations: Evaluations = []
    end = 0
    for content, behind in journal_lines(path):
        if content["step"] > start_step:
            break
        if "evaluation" in content:
            evaluations.append((content["step"], content["evaluation"]))
        end = behind
    return evaluations, end


def journal_lines(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the content of each whole line of a journal, as `Journal` writes it, and the byte behind the line.

    Raises:
        DataError: if the file cannot be read, or a line does not belong to a journal.
    """
    if not os.path.lexists(path):
        return
    require_files([path])
    end = 0
    with path.open("rb") as file:
        for number, line in enumerate(iter(partial(file.readline, MAX_LINE_BYTES), b""), start=1):
            if not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES:
                return  # the last, of a run that was killed while it wrote
            end += len(line)
            yield _parsed(line, f"{path}:{number}"), end


def _parsed(line: bytes, place: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(line)
        if not isinstance(content["step"], int):
            raise TypeError
        if "evaluation" in content:
            values = content["evaluation"].items()
            content["evaluation"] = {name: math.nan if one is None else float(one) for name, one in values}
        elif "Loss/total_loss" in content:
            content["Loss/total_loss"] = float(content["Loss/total_loss"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{place} is not a line of a training's journal. Repair or remove the file, or give a new --model_dir"
        ) from error
    return content
