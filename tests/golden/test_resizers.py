"""Resized images against those recorded from the API."""

import numpy as np
import pytest
from google.protobuf import text_format

from boxtune.config import pipeline_pb2
from boxtune.data.resize import resizer
from golden.recordings import Case, element_index, load_fill, unit_cases

pytestmark = pytest.mark.shared

CASES = [
    pytest.param(case, id=str(case))
    for case in unit_cases("image_resizers")
    if "convert_to_grayscale" not in case.about["proto"]
]


@pytest.mark.parametrize("case", CASES)
def test_image_resizers(case: Case):
    resize = resizer(text_format.Parse(case.about["proto"], pipeline_pb2.ImageResizer()))
    height, width, _ = case.about["image"]
    resized = resize(load_fill().image(height, width, 3).astype(np.float32))
    image = np.asarray(resized.image)
    assert image.shape == tuple(case.arrays["resized.shape"])
    sampled = image.reshape(-1)[element_index(image.size, 600)]
    np.testing.assert_allclose(sampled, case.arrays["resized.elems"], atol=1e-3, rtol=1e-5)
    np.testing.assert_array_equal(resized.size, case.arrays["true_shape"][:2])
