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
    return np.asarray(resized.image), np.asarray(resized.size)


def gray_image(height, width, value=100):
    return np.full([height, width, 3], value, np.float32)


def test_fixed_shape_pays_no_heed_to_the_aspect_ratio():
    image, size = resize("fixed_shape_resizer { height: 4 width: 6 }", gray_image(20, 10))
    np.testing.assert_array_equal(image, gray_image(4, 6))
    np.testing.assert_array_equal(size, [4, 6])
    assert size.dtype == np.int32


def test_pixels_count_from_their_corners():
    # From 2 to 4 rows the new ones lie at 0, 0.5, 1 and 1.5, the last being repeated.
    image, _ = resize("fixed_shape_resizer { height: 4 width: 1 }", [[[0] * 3], [[10] * 3]])
    np.testing.assert_allclose(image[:, 0, 0], [0, 5, 10, 10])


@pytest.mark.parametrize(
    "resize_to",
    [
        *(
            f"fixed_shape_resizer {{ height: 5 width: 9 resize_method: {method} }}"
            for method in ("BILINEAR", "NEAREST_NEIGHBOR", "BICUBIC", "AREA")
        ),
        "keep_aspect_ratio_resizer { min_dimension: 5 max_dimension: 8 pad_to_max_dimension: true }",
        "conditional_shape_resizer { condition: SMALLER size_threshold: 30 }",
        "pad_to_multiple_resizer { multiple: 8 }",
        "identity_resizer {}",
    ],
)
def test_bytes_become_what_floats_become(resize_to):
    image = np.random.default_rng(0).integers(0, 256, [13, 21, 3], np.uint8)
    both = resizer(text_format.Parse(resize_to, pipeline_pb2.ImageResizer()))(image)
    floats, size = resize(resize_to, image)
    assert both.image.dtype == "float32"
    np.testing.assert_array_equal(both.image, floats)
    np.testing.assert_array_equal(both.size, size)


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
        pytest.param(100, 200, (40, 80), id="large images shrink"),
        pytest.param(40, 60, (40, 60), id="nothing to do"),
        pytest.param(1, 160, (1, 80), id="a thread keeps a pixel"),
    ],
)
def test_keep_aspect_ratio(height, width, size):
    text = "keep_aspect_ratio_resizer { min_dimension: 40 max_dimension: 80 }"
    image, filled = resize(text, gray_image(height, width))
    assert image.shape == (*size, 3)
    np.testing.assert_array_equal(filled, size)
    assert filled.dtype == np.int32


def test_padding_lies_below_and_to_the_right():
    text = "keep_aspect_ratio_resizer { min_dimension: 8 max_dimension: 8 pad_to_max_dimension: true }"
    image, size = resize(text, gray_image(10, 20))
    np.testing.assert_allclose(image[:4], gray_image(4, 8), atol=1e-4)
    np.testing.assert_array_equal(image[4:], gray_image(4, 8, value=0))
    np.testing.assert_array_equal(size, [4, 8])


def test_padding_has_a_color():
    text = (
        "keep_aspect_ratio_resizer { min_dimension: 4 max_dimension: 4 pad_to_max_dimension: true "
        "per_channel_pad_value: [1, 2, 3] }"
    )
    image, size = resize(text, gray_image(4, 2))
    np.testing.assert_array_equal(image[:, 2:], np.broadcast_to(np.float32([1, 2, 3]), [4, 2, 3]))
    np.testing.assert_array_equal(size, [4, 2])


@given(st.integers(1, 300), st.integers(1, 300))
@settings(max_examples=40, deadline=None)
def test_any_image_fits_its_square(height, width):
    text = "keep_aspect_ratio_resizer { min_dimension: 32 max_dimension: 64 pad_to_max_dimension: true }"
    image, size = resize(text, gray_image(height, width))
    assert image.shape == (64, 64, 3)
    assert np.all((size > 0) & (size <= 64))
    rows, columns = size
    np.testing.assert_allclose(image[:rows, :columns], gray_image(rows, columns), atol=1e-4)
    assert not image[rows:].any()
    assert not image[:, columns:].any()


def test_identity_changes_nothing():
    drawn = np.random.default_rng(0).uniform(0, 255, [5, 7, 3]).astype(np.float32)
    image, size = resize("identity_resizer {}", drawn)
    np.testing.assert_array_equal(image, drawn)
    np.testing.assert_array_equal(size, [5, 7])
    assert size.dtype == np.int32


@pytest.mark.parametrize(
    ("condition", "height", "width", "size"),
    [
        pytest.param("GREATER", 20, 40, (10, 20), id="a longer side becomes the threshold"),
        pytest.param("GREATER", 40, 20, (20, 10), id="whichever that is"),
        pytest.param("GREATER", 20, 20, (20, 20), id="not greater"),
        pytest.param("GREATER", 3, 19, (3, 19), id="smaller stays"),
        pytest.param("GREATER", 1, 300, (1, 20), id="a thread keeps a pixel"),
        pytest.param("SMALLER", 10, 30, (20, 60), id="a shorter side becomes the threshold"),
        pytest.param("SMALLER", 30, 10, (60, 20), id="whichever that is, too"),
        pytest.param("SMALLER", 20, 20, (20, 20), id="not smaller"),
        pytest.param("SMALLER", 21, 90, (21, 90), id="greater stays"),
        # 7 * 20 / 3 = 46.7, which the API cuts off.
        pytest.param("SMALLER", 3, 7, (20, 46), id="fractions of pixels are cut off"),
    ],
)
def test_conditional_shape(condition, height, width, size):
    text = f"conditional_shape_resizer {{ condition: {condition} size_threshold: 20 }}"
    image, filled = resize(text, gray_image(height, width))
    np.testing.assert_allclose(image, gray_image(*size), atol=1e-4)
    np.testing.assert_array_equal(filled, size)
    assert filled.dtype == np.int32


@pytest.mark.parametrize(
    ("height", "width", "padded"), [(5, 9, (8, 12)), (8, 12, (8, 12)), (1, 1, (4, 4)), (4, 13, (4, 16))]
)
def test_pad_to_multiple(height, width, padded):
    image, size = resize("pad_to_multiple_resizer { multiple: 4 }", gray_image(height, width))
    assert image.shape == (*padded, 3)
    np.testing.assert_array_equal(image[:height, :width], gray_image(height, width))
    assert not image[height:].any()
    assert not image[:, width:].any()
    np.testing.assert_array_equal(size, [height, width])
    assert size.dtype == np.int32


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pad_to_multiple_resizer { multiple: 0 }", "pad_to_multiple_resizer.multiple is 0; .* at least 1"),
        ("pad_to_multiple_resizer { multiple: -32 }", "pad_to_multiple_resizer.multiple is -32;"),
        ("conditional_shape_resizer { condition: INVALID size_threshold: 9 }", "must be GREATER or SMALLER"),
        ("conditional_shape_resizer { size_threshold: -9 }", r"size_threshold \(-9\) at least 1"),
        ("conditional_shape_resizer { size_threshold: 0 }", r"size_threshold \(0\) at least 1"),
    ],
)
def test_sizes_that_cannot_be(text, said):
    with pytest.raises(ConfigError, match=said):
        resizer(text_format.Parse(text, pipeline_pb2.ImageResizer()))


def test_a_resizer_that_is_not_chosen():
    with pytest.raises(ConfigError, match="fixed_shape_resizer, keep_aspect_ratio_resizer, identity_resizer"):
        resizer(pipeline_pb2.ImageResizer())
