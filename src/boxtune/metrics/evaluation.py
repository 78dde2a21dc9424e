"""What an evaluation found."""

import json
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Example:
    """A picture as the model took it, with its truth and what was found; boxes normalised to the picture."""

    name: str
    picture: np.ndarray  # uint8 [h, w, 3]
    true_boxes: np.ndarray
    true_classes: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """The numbers of an evaluation by the API's names, and some pictures to look at."""

    step: int
    metrics: dict[str, float]
    losses: dict[str, float]
    num_images: int
    num_objects: int
    seconds: float
    examples: list[Example] = field(default_factory=list, repr=False)

    @property
    def values(self) -> dict[str, float]:
        """Metrics and losses in one."""
        return self.metrics | self.losses

    def to_json(self) -> str:
        """Return the numbers as JSON text, to be read by people and programs."""
        about = {"step": self.step, "num_images": self.num_images, "num_objects": self.num_objects}
        return json.dumps(about | {"seconds": round(self.seconds, 2)} | self.values, indent=2) + "\n"
