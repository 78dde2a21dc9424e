"""The twelve COCO numbers against those recorded from the API."""

import numpy as np
import pytest

from boxtune.metrics.coco import NAMES, coco_metrics
from boxtune.metrics.results import ImageResult
from golden.recordings import Case, unit_cases

pytestmark = pytest.mark.shared

CASES = unit_cases("metrics")
NUM_CLASSES = 5  # the fifth without any object


def result(case: Case, *, crowd: bool) -> ImageResult:
    arrays = case.arrays
    return ImageResult(
        name="",
        height=400,
        width=500,
        true_boxes=arrays["gt"],
        true_classes=arrays["classes"] - 1,
        is_crowd=arrays["crowd"].astype(bool) & crowd,
        boxes=arrays["det"],
        classes=arrays["det_classes"] - 1,
        scores=arrays["scores"],
    )


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.about["name"])
        for case in CASES
        if case.about.get("name") in ("coco", "coco_no_crowd_flags")
    ],
)
def test_coco_metrics(case: Case):
    crowd = case.about["name"] == "coco"
    results = [result(image, crowd=crowd) for image in CASES if image.about["kind"] == "image"]
    assert any(one.is_crowd.any() for one in results) == crowd
    measured = coco_metrics(results, NUM_CLASSES)
    assert list(measured) == list(NAMES)
    recorded = [case.about["metrics"][name] for name in NAMES]
    np.testing.assert_allclose(list(measured.values()), recorded, atol=1e-6)
