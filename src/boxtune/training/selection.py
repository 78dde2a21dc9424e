"""When a run is evaluated, which of its evaluations is the best, and whether a better one is still to be expected.

The last two follow from the evaluations made so far, so that a run that goes on needs no state but its journal.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from boxtune.errors import ConfigError, did_you_mean

SHORT_NAMES = {
    "mAP": "DetectionBoxes_Precision/mAP",
    "AP50": "DetectionBoxes_Precision/mAP@.50IOU",
    "AP75": "DetectionBoxes_Precision/mAP@.75IOU",
    "loss": "Loss/total_loss",
}


@dataclass(frozen=True, kw_only=True)
class Evaluating:
    """When a run is evaluated, what is best, and what ends it early; it is always evaluated at the end."""

    every_n: int | None = None
    """Steps from one evaluation to the next; 0 for none on the way, None for the verb's own default."""
    metric: str = "mAP"
    """That the best checkpoint is chosen by: a metric of the API, or a short name (SHORT_NAMES)."""
    patience: int | None = None
    """How many evaluations without progress end the run; None for no such end."""
    min_delta: float = 0.0
    """How much better than the best before it an evaluation has to be to count as progress."""


def full_name(metric: str, known: Collection[str]) -> str:
    """Return the API's name of a metric that is given by it, by its last part or by a short name, in any case.

    Raises:
        ConfigError: with the nearest name, if none of `known` is meant.
    """
    names = {name.rpartition("/")[2]: name for name in known} | SHORT_NAMES | {name: name for name in known}
    found = {short.casefold(): name for short, name in names.items()}.get(metric.casefold())
    if found is None or found not in known:
        raise ConfigError(
            f'there is no metric "{metric}" to choose the best checkpoint by.{did_you_mean(metric, names)} There '
            f"are {', '.join(SHORT_NAMES)}, {', '.join(known)}"
        )
    return found


@dataclass
class Selection:
    """The values of one metric in the evaluations so far, as (step, value); of losses the lowest is the best.

    With `patience`, a run is to end after so many evaluations in a row of which none was better than the best
    before them by more than `min_delta`.
    """

    metric: str
    history: list[tuple[int, float]] = field(default_factory=list)
    patience: int | None = None
    min_delta: float = 0.0

    @property
    def best(self) -> tuple[int, float] | None:
        """Step and value of the best evaluation, the first of several."""
        return max(self.history, key=lambda one: self._score(one[1]), default=None)

    @property
    def waited(self) -> int:
        """How many evaluations there were since the last progress."""
        return waited([self._score(value) for _, value in self.history], self.min_delta)

    @property
    def exhausted(self) -> bool:
        """Whether the patience is at its end."""
        return self.patience is not None and self.waited >= self.patience

    def improves(self, value: float) -> bool:
        """Return whether `value` is better than any so far."""
        return self.best is None or self._score(value) > self._score(self.best[1])

    def __str__(self) -> str:
        if self.best is None:
            return ""
        (step, value), (best_step, best) = self.history[-1], self.best
        name = self.metric.rpartition("/")[2]
        return f"{name} {value:.3f} at {step}" + (
            f", best {best:.3f} at {best_step}" if best_step < step else ""
        )

    def _score(self, value: float) -> float:
        """Return the value so that more is better, and what is no number is the worst."""
        if math.isnan(value):
            return -math.inf
        return -value if self.metric.startswith("Loss/") else value


def waited(scores: Sequence[float], min_delta: float) -> int:
    """Return how many scores stand behind the last one that was above all before it by more than `min_delta`."""
    reached, since = -math.inf, 0
    for score in scores:
        since += 1
        if score > reached + min_delta:
            reached, since = score, 0
    return since
