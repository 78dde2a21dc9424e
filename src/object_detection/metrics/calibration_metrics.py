"""How far scores are the probabilities that detections are right."""

from typing import Any

import numpy as np
import tensorflow as tf

from boxtune.metrics.calibration import calibration
from boxtune.metrics.matching import RIGHT, WRONG


def expected_calibration_error(y_true: Any, y_pred: Any, nbins: int = 20) -> tuple[Any, Any]:
    """Return the expected calibration error, float32, of scores in `nbins` bins of equal width, twice.

    It is the mean difference between score and fraction that is right, weighted by detections; NaN where there are
    none, or scores are not all in [0, 1]. The API returns a value that grows from batch to batch, and the operation
    that adds one; nothing is kept here, and both are those of what is given.

    Args:
        y_true: 1 where a detection is right, else 0, any shape.
        y_pred: scores in [0, 1], of the same shape.
        nbins: how many bins.
    """

    def error(right: np.ndarray, scores: np.ndarray) -> np.float32:
        outcome = np.where(right.ravel() > 0, RIGHT, WRONG)
        found = calibration(scores.ravel().astype(np.float64), outcome, nbins).error
        return np.float32(np.nan if found is None else found)

    value = tf.numpy_function(error, [y_true, y_pred], tf.float32)
    return value, value
