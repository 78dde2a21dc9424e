"""What predicted boxes lose against those that they should be."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras import ops

from boxtune.detection.box_coders import BoxCoder


@dataclass(frozen=True)
class LocalizationLoss:
    """Weighs a measure of how far predictions are from targets: of their codes, or of the boxes they stand for.

    An overlap is one of boxes. The API takes it of codes, as though these were corners; that says nothing of boxes,
    so here they are decoded first.
    """

    measure: Callable[[Any, Any], Any]
    """From predictions and targets [b, a, d] to losses [b, a]."""
    of_boxes: bool = False
    squares_weights: bool = False
    """The weight is the error's, before it is squared."""

    def __call__(self, codes, targets, weights, box_coder: BoxCoder, anchors):
        """Return the weighted losses [b, a].

        Args:
            codes: predicted, float [b, a, d].
            targets: the codes that are wanted, float [b, a, d]; NaN where anything is as good (a keypoint not seen).
            weights: float [b, a].
            box_coder: what the codes are of.
            anchors: float [a, 4].
        """
        if box_coder.num_keypoints:
            targets = ops.where(ops.isnan(targets), ops.stop_gradient(codes), targets)
        if self.of_boxes:
            # Where nothing counts, a far-off code may decode to infinity, whose slope no weight of 0 removes.
            counted = ops.where(weights[..., None] > 0, codes, targets)
            codes, targets = box_coder.decode(counted, anchors), box_coder.decode(targets, anchors)
        if self.squares_weights:
            weights = ops.square(weights)
        return self.measure(codes, targets) * weights
