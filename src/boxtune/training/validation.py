"""Evaluating a run on its way: telling what was found, keeping the best, and ending what gets no better."""

from collections.abc import Callable
from contextlib import nullcontext

from boxtune.evaluation.evaluator import Evaluator
from boxtune.metrics.evaluation import Evaluation
from boxtune.training.best import keep_if_best
from boxtune.training.journal import Journal
from boxtune.training.progress import Progress
from boxtune.training.run_state import RunState
from boxtune.training.selection import Selection


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
