"""The localization loss of predicted boxes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras import ops

from boxtune.detection.box_coders import BoxCoder


@dataclass(frozen=True)
class LocalizationLoss:
    """A weighted loss between predictions and targets: of their encodings, or of the decoded boxes.

    Losses of overlaps need boxes. The API computes them from encodings, as though these were corners, which has no
    meaning; here they are decoded first.
    """

    measure: Callable[[Any, Any], Any]
    """From predictions and targets [b, a, d] to losses [b, a]."""
    of_boxes: bool = False
    squares_weights: bool = False
    """The weight is the error's, before it is squared."""

    def __call__(self, encodings, targets, weights, box_coder: BoxCoder, anchors):
        """Return the weighted losses [b, a].

        Args:
            encodings: predicted, float [b, a, d].
            targets: encodings, float [b, a, d]; NaN where any prediction is right (a keypoint that is not visible).
            weights: float [b, a].
            box_coder: of the encodings.
            anchors: float [a, 4].
        """
        weights = ops.convert_to_tensor(weights)
        if box_coder.num_keypoints:
            targets = ops.where(ops.isnan(targets), ops.stop_gradient(encodings), targets)
        if self.of_boxes:
            # Where the weight is 0, a prediction may decode to infinity, and 0 times its gradient is NaN.
            counted = ops.where(weights[..., None] > 0, encodings, targets)
            encodings, targets = box_coder.decode(counted, anchors), box_coder.decode(targets, anchors)
        if self.squares_weights:
            weights = ops.square(weights)
        return self.measure(encodings, targets) * weights
