"""What a detector found in a picture, beside what is there."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.floating]


def _none() -> npt.NDArray[np.bool_]:
    return np.zeros(0, bool)


@dataclass(frozen=True)
class ImageResult:
    """The truth of a picture and what was found in it; boxes `[ymin, xmin, ymax, xmax]` in pixels, classes 0-based."""

    name: str
    height: int
    width: int
    true_boxes: Boxes  # [n, 4]
    true_classes: npt.NDArray[np.integer]  # [n]
    is_crowd: npt.NDArray[np.bool_]  # [n]
    boxes: Boxes  # [k, 4]
    classes: npt.NDArray[np.integer]  # [k]
    scores: npt.NDArray[np.floating]  # [k]
    difficult: npt.NDArray[np.bool_] = field(default_factory=_none)  # [n], or empty: none of them is
    group_of: npt.NDArray[np.bool_] = field(default_factory=_none)  # [n], or empty: none of them is

    def __post_init__(self) -> None:
        for name in ("difficult", "group_of"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.zeros(len(self.true_classes), bool))
