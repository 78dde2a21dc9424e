"""The calibration of scores that a configuration describes."""

from collections.abc import Callable
from typing import Any

from boxtune.config import pipeline_pb2
from boxtune.detection.calibration import piecewise_linear
from boxtune.models.from_config import calibration_functions
from object_detection.builders.checked import as_section_errors


def build(calibration_config: pipeline_pb2.CalibrationConfig) -> Callable[[Any], Any]:
    """Return the function from scores [b, a, c], or logits for a temperature, to calibrated ones.

    Raises:
        SectionError: for a calibration that is not set, not known, or cannot be.
    """
    with as_section_errors():
        of_logits, of_scores = calibration_functions(calibration_config)
    return lambda values: of_scores(of_logits(values))


def _tf_linear_interp1d(x_to_interpolate: Any, fn_x: Any, fn_y: Any) -> Any:
    """Return the piecewise linear function through points at values of any shape."""
    return piecewise_linear(x_to_interpolate, fn_x, fn_y)
