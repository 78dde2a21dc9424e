"""Evaluating a run on its way: telling what was found, keeping the best, and ending what gets no better.

The best checkpoint stands beside the newest ones: in `best/`, with what it reached in `best.json`.
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
from boxtune.errors import DataError
from boxtune.evaluation.evaluator import Evaluator
from boxtune.metrics.results import Evaluation
from boxtune.training.loggers import Journal, Progress
from boxtune.training.run_state import BEST, RunState
from boxtune.training.selection import Selection

BEST_JSON = "best.json"

_log = logging.getLogger("boxtune")


class Validation:
    """Evaluates the weights of a run as they are, once after each step that it is called with.

    Without an evaluator it does nothing.
    """

    def __init__(
        self,
        evaluator: Evaluator | None,
        selection: Selection,
        state: RunState,
        journal: Journal,
        progress: Progress,
        publish: Callable[[Evaluation], object] | None,
        *,
        averaged: bool = False,
    ):
        """Prepare to evaluate the weights, or with `averaged` their averages."""
        self.averaged = averaged
        self.evaluator, self.selection, self.publish = evaluator, selection, publish
        self.state, self.journal, self.progress = state, journal, progress

    def __call__(self, step: int) -> None:
        """Evaluate after `step` steps, unless the journal says that it was done."""
        if self.evaluator is None or self.journal.has_evaluation(step):
            return
        self.progress.show(f"step {step}: evaluating on {len(self.evaluator.records)} images")
        with self.state.averages.swapped_in() if self.averaged else nullcontext():
            evaluation = self.evaluator.evaluate(step)
        self.progress.clear()
        if self.publish is not None:
            self.publish(evaluation)
        # The journal last: a run that is killed before that line evaluates this step again.
        keep_if_best(evaluation, self.selection, self.state)
        self.journal.add_evaluation(evaluation)
        self.progress.note = str(self.selection)
        self.evaluator.detector.stop_training = self.selection.exhausted


@dataclass(frozen=True)
class Best:
    """What the best checkpoint reached."""

    metric: str
    """That it was chosen by, under the API's name."""
    value: float | None
    """Of that metric, None if it is no number."""
    step: int
    checkpoint: str
    """Its name within the folder."""
    num_images: int
    """That it was evaluated on."""
    values: dict[str, float]
    """All that its evaluation found, by the API's names."""


def keep_if_best(evaluation: Evaluation, selection: Selection, state: RunState) -> bool:
    """Note an evaluation of the weights as they are, and keep them if it is the best so far; return whether it is."""
    value = evaluation.values[selection.metric]
    improved = selection.improves(value)
    if improved:
        best = Best(
            metric=selection.metric,
            value=value if math.isfinite(value) else None,
            step=evaluation.step,
            checkpoint=Path(state.save_as_best()).name,
            num_images=evaluation.num_images,
            values={name: number for name, number in evaluation.values.items() if math.isfinite(number)},
        )
        with whole_file(state.model_dir / BEST / BEST_JSON) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(best), indent=2) + "\n", encoding="utf-8")
    selection.history.append((evaluation.step, value))
    return improved


def values_so_far(
    evaluations: Sequence[tuple[int, dict[str, float]]], metric: str, model_dir: Path
) -> list[tuple[int, float]]:
    """Return what `metric` was in the evaluations that a run has in its journal, as (step, value).

    If the best checkpoint was chosen by another metric, the weights that were the best by this one may be gone: then
    none of them counts, and a warning says so.
    """
    best = read_best(model_dir)
    if evaluations and best and best.metric != metric:
        _log.warning(
            "%s was chosen by %s: by %s the choice begins anew, earlier evaluations do not count.",
            model_dir / BEST / best.checkpoint, best.metric, metric,
        )  # fmt: skip
        return []
    return [(step, values.get(metric, math.nan)) for step, values in evaluations]


def read_best(model_dir: Path) -> Best | None:
    """Return what the best checkpoint of a run reached, or None if there is none yet.

    Raises:
        DataError: if `best.json` is none.
    """
    path = model_dir / BEST / BEST_JSON
    if not path.exists():
        return None
    try:
        return Best(**json.loads(read_text(path)))
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is not what a training wrote; mend or remove it") from error
