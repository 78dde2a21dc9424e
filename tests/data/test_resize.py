import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from boxtune.config import pipeline_pb2
from boxtune.data.resize import resizer
from boxtune.errors import ConfigError


def resize(text, image):
    resized = resizer(text_format.Parse(text, pipeline_pb2.ImageResizer()))(np.float32(image))
    return np.asarray(resized.image), np.asarray(resized.extent)


def picture(height, width, value=100):
    return np.full([height, width, 3], value, np.float32)


def test_fixed_shape_pays_no_heed_to_the_aspect_ratio():
    image, extent = resize("fixed_shape_resizer { height: 4 width: 6 }", picture(20, 10))
    np.testing.assert_array_equal(image, picture(4, 6))
    np.testing.assert_array_equal(extent, [1, 1])


def test_pixels_count_from_their_corners():
    # From 2 to 4 rows the new ones lie at 0, 0.5, 1 and 1.5, the last being repeated.
    image, _ = resize("fixed_shape_resizer { height: 4 width: 1 }", [[[0] * 3], [[10] * 3]])
    np.testing.assert_allclose(image[:, 0, 0], [0, 5, 10, 10])


def test_nearest_neighbor_invents_no_values():
    image, _ = resize(
        "fixed_shape_resizer { height: 4 width: 1 resize_method: NEAREST_NEIGHBOR }", [[[0] * 3], [[10] * 3]]
    )
    np.testing.assert_array_equal(image[:, 0, 0], [0, 0, 10, 10])


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        pytest.param(20, 30, (40, 60), id="the shorter side reaches the minimum"),
        pytest.param(30, 20, (60, 40), id="whichever that is"),
        pytest.param(20, 80, (20, 80), id="unless the longer would pass the maximum"),
        pytest.param(100, 200, (40, 80), id="large pictures shrink"),
        pytest.param(40, 60, (40, 60), id="nothing to do"),
        pytest.param(1, 160, (1, 80), id="a thread keeps a pixel"),
    ],
)
def test_keep_aspect_ratio(height, width, size):
    text = "keep_aspect_ratio_resizer { min_dimension: 40 max_dimension: 80 }"
    image, extent = resize(text, picture(height, width))
    assert image.shape == (*size, 3)
    np.testing.assert_array_equal(extent, [1, 1])


def test_padding_lies_below_and_to_the_right():
    text = "keep_aspect_ratio_resizer { min_dimension: 8 max_dimension: 8 pad_to_max_dimension: true }"
    image, extent = resize(text, picture(10, 20))
    np.testing.assert_allclose(image[:4], picture(4, 8), atol=1e-4)
    np.testing.assert_array_equal(image[4:], picture(4, 8, value=0))
    np.testing.assert_array_equal(extent, [0.5, 1])


def test_padding_has_a_color():
    text = (
        "keep_aspect_ratio_resizer { min_dimension: 4 max_dimension: 4 pad_to_max_dimension: true "
        "per_channel_pad_value: [1, 2, 3] }"
    )
    image, extent = resize(text, picture(4, 2))
    np.testing.assert_array_equal(image[:, 2:], np.broadcast_to(np.float32([1, 2, 3]), [4, 2, 3]))
    np.testing.assert_array_equal(extent, [1, 0.5])


@given(st.integers(1, 300), st.integers(1, 300))
@settings(max_examples=40, deadline=None)
def test_any_picture_fits_its_square(height, width):
    text = "keep_aspect_ratio_resizer { min_dimension: 32 max_dimension: 64 pad_to_max_dimension: true }"
    image, extent = resize(text, picture(height, width))
    assert image.shape == (64, 64, 3)
    assert np.all((extent > 0) & (extent <= 1))
    rows, columns = np.round(extent * 64).astype(int)
    np.testing.assert_allclose(image[:rows, :columns], picture(rows, columns), atol=1e-4)
    assert not image[rows:].any()
    assert not image[:, columns:].any()


def test_a_resizer_that_is_not_built():
    with pytest.raises(ConfigError, match="fixed_shape_resizer, keep_aspect_ratio_resizer"):
        resizer(pipeline_pb2.ImageResizer())
