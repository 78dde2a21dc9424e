"""Learning rates step by step against those recorded from the API."""

import numpy as np
import pytest
from google.protobuf import text_format

from boxtune.config import pipeline_pb2
from boxtune.training.learning_rates import LearningRate, schedule
from golden.recordings import Case, unit_cases

pytestmark = pytest.mark.shared


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=str(case))
        for case in unit_cases("learning_rates")
        if "proto" in case.about  # the others are functions that no configuration makes
    ],
)
def test_learning_rates(case: Case):
    section = text_format.Parse(case.about["proto"], pipeline_pb2.LearningRate())
    rate = LearningRate(schedule(section))
    measured = [float(rate(step)) for step in case.arrays["steps"]]
    np.testing.assert_allclose(measured, case.arrays["learning_rate"], rtol=1e-5, atol=1e-8)
