"""The loss while the learning rate grows, and the learning rate that it suggests.

Source: Smith 2017, Cyclical learning rates for training neural networks (arXiv:1506.01186), section 3.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from boxtune.config import pipeline_pb2

SMOOTHING = 0.9
"""Of the running mean of the losses, by which it is seen that they diverge."""

DIVERGED = 2.0
"""A running mean this many times its lowest has diverged."""

MIN_STEPS = 10
"""Before a mean is reliable."""

WINDOW = 10**0.25
"""The mean at a rate is over the rates within this factor of it, on both sides."""

MARGIN = 3
"""How many times lower than the rate of the lowest loss the suggested one is: docs/training.md has the measurements."""


@dataclass(frozen=True)
class RangeTest:
    """The loss of each step of a range test, all finite, and the learning rate of the step."""

    learning_rates: Sequence[float]
    losses: Sequence[float]

    @cached_property
    def means(self) -> list[float]:
        """The mean loss of the steps around each one.

        A running mean would lag behind the loss, by a factor of the learning rate that depends on the number of steps.
        """
        rates, losses = np.asarray(self.learning_rates), np.asarray(self.losses)
        starts = np.searchsorted(rates, rates / WINDOW)
        ends = np.searchsorted(rates, rates * WINDOW, side="right")
        return [float(losses[start:end].mean()) for start, end in zip(starts, ends, strict=True)]

    @property
    def diverged(self) -> bool:
        """Whether the loss has diverged, so that higher rates need not be tried."""
        mean, means = 0.0, []
        for made, loss in enumerate(self.losses, start=1):
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
            means.append(mean / (1 - SMOOTHING**made))
        means = means[MIN_STEPS:]
        return bool(means) and means[-1] > DIVERGED * min(means)

    @property
    def lowest(self) -> float | None:
        """The learning rate at which the mean was lowest; None if that is the first, or after too few steps."""
        means = self.means[MIN_STEPS:]
        position = means.index(min(means)) if means else 0
        return self.learning_rates[MIN_STEPS + position] if position else None

    @property
    def suggested(self) -> float | None:
        """The MARGIN-th part of that: there the loss still falls, with a margin for harder batches."""
        return None if self.lowest is None else self.lowest / MARGIN


def set_growing_rate(section: pipeline_pb2.Optimizer, lowest: float, highest: float, num_steps: int) -> None:
    """Give an optimizer a learning rate that grows from `lowest` to `highest`, by one factor at each of `num_steps`."""
    rate = getattr(section, section.WhichOneof("optimizer")).learning_rate
    growing = pipeline_pb2.ExponentialDecayLearningRate(
        initial_learning_rate=lowest,
        decay_steps=num_steps - 1,
        decay_factor=highest / lowest,
        staircase=False,
    )
    rate.exponential_decay_learning_rate.CopyFrom(growing)
