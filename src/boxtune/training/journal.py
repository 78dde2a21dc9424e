"""The numbers of a run as lines of JSON: one for each step and each evaluation, in the order they were made.

    {"step": 7, "Loss/localization_loss": 0.31, ..., "Loss/total_loss": 0.8, "learning_rate": 0.08,
     "images_per_sec": 21.5, "time": 1760000000.5}
    {"step": 1000, "evaluation": {"DetectionBoxes_Precision/mAP": 0.41, ...}, "num_images": 40, ..., "time": ...}

Numbers have as many digits as it takes to read the same float again. An evaluation that is no number is null.
"""

import json
import math
import os
import time
from pathlib import Path
from typing import IO, Any, Self

from boxtune.errors import DataError
from boxtune.metrics.evaluation import Evaluation
from boxtune.training.steps import Step

JOURNAL = "metrics.jsonl"
"""In the model directory."""

MAX_LINE_BYTES = 1 << 20


class Journal:
    """A run's journal, open for more.

    Attributes:
        evaluations: what the evaluations so far found by the API's names, as (step, values).
    """

    def __init__(self, path: Path, start_step: int):
        """Open the journal of a run that goes on after `start_step` steps.

        What it says of later steps is cut off, since they are made again; so is a last line that is not whole.

        Raises:
            DataError: if the file cannot be read or written, or holds a line that is none of a journal.
        """
        self.path = path
        self.evaluations: list[tuple[int, dict[str, float]]] = []
        try:
            self._file: IO[bytes] = path.open("a+b")
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error.strerror}.") from error
        try:
            self._file.truncate(self._read(start_step))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def add_step(self, step: Step) -> None:
        """Write the line of a step."""
        losses = {f"Loss/{name}": value for name, value in step.losses.items()}
        self._append(
            {"step": step.number}
            | losses
            | {
                "Loss/total_loss": step.total_loss,
                "learning_rate": step.learning_rate,
                "images_per_sec": round(step.num_images / step.seconds, 2),
            }
        )

    def add_evaluation(self, evaluation: Evaluation) -> None:
        """Write the line of an evaluation, and see that it is on the disk."""
        values = {name: value if math.isfinite(value) else None for name, value in evaluation.values.items()}
        self.evaluations.append((evaluation.step, dict(evaluation.values)))
        self._append(
            {
                "step": evaluation.step,
                "evaluation": values,
                "num_images": evaluation.num_images,
                "seconds": round(evaluation.seconds, 2),
            }
        )
        os.fsync(self._file.fileno())

    def has_evaluation(self, step: int) -> bool:
        """Return whether the run was evaluated after `step` steps."""
        return any(one == step for one, _ in self.evaluations)

    def _append(self, content: dict[str, Any]) -> None:
        line = json.dumps(content | {"time": round(time.time(), 3)}, allow_nan=False)
        try:
            self._file.write(line.encode() + b"\n")
            self._file.flush()  # to the kernel: what is there survives the end of this process, however it comes
        except OSError as error:
            raise DataError(f"{self.path} cannot be written: {error.strerror}.") from error

    def _read(self, start_step: int) -> int:
        """Note the evaluations up to `start_step`; return the bytes up to where later steps begin."""
        self._file.seek(0)
        end = number = 0
        while (line := self._file.readline(MAX_LINE_BYTES)).endswith(b"\n"):
            number += 1
            step, values = self._parse(line, number)
            if step > start_step:
                break
            if values is not None:
                self.evaluations.append((step, values))
            end += len(line)
        else:
            if len(line) == MAX_LINE_BYTES:
                raise self._no_journal(number + 1)
        return end

    def _parse(self, line: bytes, number: int) -> tuple[int, dict[str, float] | None]:
        try:
            content = json.loads(line)
            step, values = content["step"], content.get("evaluation")
            if not isinstance(step, int):
                raise TypeError
            if values is not None:
                values = {name: math.nan if value is None else float(value) for name, value in values.items()}
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise self._no_journal(number) from error
        return step, values

    def _no_journal(self, number: int) -> DataError:
        return DataError(
            f"{self.path}:{number} is no line of a training's journal. Mend or remove the file, or give a new "
            "--model_dir"
        )
