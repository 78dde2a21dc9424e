"""Evaluates a run while it trains: reports the evaluation, keeps the best checkpoint, and stops early.

The best checkpoint is kept beside the newest ones: in `best/`, with its metrics in `best.json`, and the thresholds that
were the best for its scores.
"""

import dataclasses
import json
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from boxtune.data.files import read_text, whole_file
from boxtune.errors import DataError, many
from boxtune.evaluation.evaluator import Evaluator
from boxtune.evaluation.thresholds import thresholds_of, write_thresholds
from boxtune.metrics.results import Evaluation
from boxtune.training.batch_norm import Recalibration
from boxtune.training.early_stopping import EarlyStopping
from boxtune.training.loggers import Journal, Progress
from boxtune.training.run_state import BEST, BEST_JSON, RunState

_log = logging.getLogger("boxtune")


@dataclass(eq=False)
class Validation:
    """Evaluates the current weights of a run, once after each step that it is called with.

    Without an evaluator it does nothing.
    """

    evaluator: Evaluator | None
    stopping: EarlyStopping
    state: RunState
    journal: Journal
    progress: Progress
    publish: Callable[[Evaluation], object]
    averaged: bool = False
    """Whether the averages of the weights are evaluated in their place."""
    recalibration: Recalibration | None = None
    """Estimates the statistics that are evaluated, and kept with the best, and that training does not see."""

    def __call__(self, step: int) -> None:
        """Evaluate after `step` steps, unless the journal says that it was done."""
        if self.evaluator is None or self.journal.has_evaluation(step):
            return
        with self.recalibration.undone() if self.recalibration else nullcontext():
            evaluation = self._evaluate(self.evaluator, step)
            self.publish(evaluation)
            keep_if_best(evaluation, self.stopping, self.state)
        # The journal last: a run that is killed before that line evaluates this step again.
        self.journal.add_evaluation(evaluation)
        self.progress.note = str(self.stopping)
        self.evaluator.detector.stop_training = self.stopping.exhausted

    def _evaluate(self, evaluator: Evaluator, step: int) -> Evaluation:
        with self.state.averages.swapped_in() if self.averaged else nullcontext():
            if self.recalibration:
                self.progress.show(f"step {step}: estimating the statistics of batch normalization")
                self.recalibration.estimate()
            self.progress.show(f"step {step}: evaluating on {many(len(evaluator.records), 'image')}")
            evaluation = evaluator.evaluate(step)
        self.progress.clear()
        return evaluation


@dataclass(frozen=True)
class Best:
    """The best checkpoint and its evaluation."""

    metric: str
    """By which it was chosen, under the API's name."""
    value: float | None
    """Of that metric; None if it was not measured, for there are no such objects: this is the last checkpoint then."""
    step: int
    checkpoint: str
    """Its name within the folder."""
    num_images: int
    """On which it was evaluated."""
    values: dict[str, float]
    """All metrics of its evaluation, by the API's names."""


def keep_if_best(evaluation: Evaluation, stopping: EarlyStopping, state: RunState) -> bool:
    """Add an evaluation of the current weights, and keep them if it is the best so far; return whether it is."""
    value = evaluation.values[stopping.metric]
    improved = stopping.improves(value)
    if improved:
        best = Best(
            metric=stopping.metric,
            value=value if math.isfinite(value) and stopping.is_measured(value) else None,
            step=evaluation.step,
            checkpoint=Path(state.save_as_best()).name,
            num_images=evaluation.num_images,
            values={name: number for name, number in evaluation.values.items() if math.isfinite(number)},
        )
        with whole_file(state.model_dir / BEST / BEST_JSON) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(best), indent=2) + "\n", encoding="utf-8")
        write_thresholds(thresholds_of(evaluation), state.model_dir / BEST)
    stopping.history.append((evaluation.step, value))
    return improved


def values_so_far(
    evaluations: Sequence[tuple[int, dict[str, float]]], metric: str, model_dir: Path
) -> list[tuple[int, float]]:
    """Return `metric` in the evaluations that a run has in its journal, as (step, value).

    If the best checkpoint was chosen by another metric, the weights that were best by this one may be gone: then
    the history starts empty, and a warning says so.
    """
    best = read_best(model_dir)
    if evaluations and best and best.metric != metric:
        _log.warning(
            "%s was chosen by %s: by %s the choice starts anew, earlier evaluations do not count.",
            model_dir / BEST / best.checkpoint, best.metric, metric,
        )  # fmt: skip
        return []
    return [(step, values.get(metric, math.nan)) for step, values in evaluations]


def read_best(model_dir: Path) -> Best | None:
    """Return the best checkpoint of a run, or None if there is none yet.

    Raises:
        DataError: if `best.json` is damaged.
    """
    path = model_dir / BEST / BEST_JSON
    if not path.exists():
        return None
    try:
        return Best(**json.loads(read_text(path)))
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is not what a training wrote; repair or remove it") from error
