"""When a run is evaluated, which of its evaluations is the best, and when to stop because none gets better.

The last two follow from the evaluations made so far, so a resumed run needs no state but its journal.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from boxtune.errors import ConfigError, did_you_mean

SHORT_NAMES = {
    "mAP": "DetectionBoxes_Precision/mAP",
    "AP50": "DetectionBoxes_Precision/mAP@.50IOU",
    "AP75": "DetectionBoxes_Precision/mAP@.75IOU",
    "loss": "Loss/total_loss",
}


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """When a run is evaluated, by which metric, and when it stops early; it is always evaluated at the end."""

    every_n: int | None = None
    """Steps from one evaluation to the next; 0 for only the one at the end, None for the command's default."""
    metric: str = "mAP"
    """By which the best checkpoint is chosen: a metric of the API, or a short name (SHORT_NAMES)."""
    patience: int | None = None
    """How many evaluations without improvement end the run; None for no early stopping."""
    min_delta: float = 0.0
    """How much better than the best before it an evaluation has to be to count as an improvement."""
    recalibrate: bool = False
    """Whether the statistics of batch normalizations are estimated anew for each evaluation, and kept with the best."""


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
class EarlyStopping:
    """The values of one metric in the evaluations so far, as (step, value); of losses the lowest is the best.

    With `patience`, a run stops after that many evaluations in a row without an improvement by more than `min_delta`.
    """

    metric: str
    history: list[tuple[int, float]] = field(default_factory=list)
    patience: int | None = None
    min_delta: float = 0.0

    @property
    def best(self) -> tuple[int, float] | None:
        """Step and value of the best evaluation, the first of several; the last if none measured anything."""
        if self.measured_nothing:
            return self.history[-1] if self.history else None
        return max(self.history, key=lambda one: self._score(one[1]))

    @property
    def measured_nothing(self) -> bool:
        """Whether no evaluation so far had objects that the metric is about."""
        return not any(self.is_measured(value) for _, value in self.history)

    @property
    def waited(self) -> int:
        """How many evaluations that measured something there were since the last improvement by over `min_delta`."""
        reached, since = -math.inf, 0
        for _, value in self.history:
            since += self.is_measured(value)
            if self._score(value) > reached + self.min_delta:
                reached, since = self._score(value), 0
        return since

    @property
    def exhausted(self) -> bool:
        """Whether the patience has run out."""
        return self.patience is not None and self.waited >= self.patience

    def improves(self, value: float) -> bool:
        """Return whether `value` is better than any so far, or there is nothing yet to compare it with."""
        return self.measured_nothing or self._score(value) > max(self._score(one) for _, one in self.history)

    def __str__(self) -> str:
        if self.best is None:
            return ""
        (step, value), (best_step, best) = self.history[-1], self.best
        name = self.metric.rpartition("/")[2]
        if not self.is_measured(value):
            return f"{name} not measured at {step}"
        return f"{name} {value:.3f} at {step}" + (
            f", best {best:.3f} at {best_step}" if best_step < step else ""
        )

    @property
    def _is_loss(self) -> bool:
        return self.metric.startswith("Loss/")

    def is_measured(self, value: float) -> bool:
        """Return whether there were objects that the metric is about; without, it is -1 or NaN."""
        return self._is_loss or value >= 0

    def _score(self, value: float) -> float:
        """Return the value so that higher is better, and what was not measured is the worst."""
        if math.isnan(value) or not self.is_measured(value):
            return -math.inf
        return -value if self._is_loss else value
