"""What an evaluation found."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from boxtune.metrics.results import ImageResult


@dataclass(frozen=True)
class Example:
    """What was found in a picture, and the picture as the model took it."""

    result: ImageResult
    picture: npt.NDArray[np.uint8]  # [h, w, 3]


@dataclass(frozen=True)
class Evaluation:
    """The numbers of an evaluation by the API's names, what they were computed of, and some pictures to look at."""

    step: int
    """After how many steps of training; 0 where nobody knows."""
    metrics: dict[str, float]
    losses: dict[str, float]
    num_images: int
    num_objects: int
    seconds: float
    class_names: Sequence[str] = ()
    """By 0-based class."""
    results: Sequence[ImageResult] = field(default=(), repr=False)
    examples: Sequence[Example] = field(default=(), repr=False)

    @property
    def values(self) -> dict[str, float]:
        """Metrics and losses in one."""
        return self.metrics | self.losses


def evaluation_of(
    results: Sequence[ImageResult],
    class_names: Sequence[str],
    *,
    metrics: dict[str, float],
    seconds: float,
    step: int = 0,
    losses: dict[str, float] | None = None,
    examples: Sequence[Example] = (),
) -> Evaluation:
    """Return the evaluation that `results` come to, with their numbers counted."""
    return Evaluation(
        step=step,
        metrics=metrics,
        losses=losses or {},
        num_images=len(results),
        num_objects=sum(len(result.true_classes) for result in results),
        seconds=seconds,
        class_names=class_names,
        results=results,
        examples=examples,
    )
