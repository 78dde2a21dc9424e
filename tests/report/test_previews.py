import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from boxtune.metrics.results import Example
from boxtune.report import previews as module
from boxtune.report.previews import (
    MAX_PREVIEW_CHARACTERS,
    MAX_PREVIEW_SIDE,
    MAX_PREVIEWS,
    Previews,
    choose_previews,
    encode_preview,
    preview_limits,
)
from image_results import image_result


def test_beyond_the_limit_those_with_findings_come_first():
    number, with_findings = MAX_PREVIEWS + 500, set(range(0, 3000, 3)) | {MAX_PREVIEWS + 499}
    chosen = choose_previews(number, with_findings)
    assert len(chosen) == len(set(chosen)) == MAX_PREVIEWS
    assert chosen == sorted(chosen) == choose_previews(number, with_findings)
    assert with_findings <= set(chosen)
    # The others are drawn from everywhere.
    assert not set(range(MAX_PREVIEWS, number)).isdisjoint(set(chosen) - with_findings)


@given(st.integers(0, MAX_PREVIEWS))
def test_all_previews_together_stay_within_the_limit(number):
    side, max_bytes = preview_limits(number)
    assert 100 <= side <= MAX_PREVIEW_SIDE
    assert max_bytes >= 1000
    assert number * 4 * -(-max_bytes // 3) <= MAX_PREVIEW_CHARACTERS + 4 * number


def test_few_images_have_large_previews_and_many_small_ones():
    assert preview_limits(100)[0] == MAX_PREVIEW_SIDE
    assert 140 <= preview_limits(MAX_PREVIEWS)[0] <= 180


@pytest.mark.parametrize("max_bytes", [1000, 4500, 10**6])
@pytest.mark.parametrize("size", [(160, 120), (160, 1), (1, 1)])
def test_a_preview_never_has_more_bytes_than_allowed(max_bytes, size):
    # Noise is what JPEG can do least about.
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    preview = encode_preview(Image.fromarray(noise), max_bytes)
    assert len(preview) <= max_bytes
    width, height = Image.open(io.BytesIO(preview)).size
    assert width <= size[0]
    assert height <= size[1]


def shown(name, size, taken):
    """Return an image of `size` that a model took as `taken` (width, height): its left half black, the right white."""
    pixels = np.zeros((taken[1], taken[0], 3), np.uint8)
    pixels[:, taken[0] // 2 :] = 255
    result = image_result(name=name)
    object.__setattr__(result, "width", size[0])
    object.__setattr__(result, "height", size[1])
    return Example(result, pixels)


def decoded(url):
    kind, comma, content = url.partition(",")
    assert (kind, comma) == ("data:image/jpeg;base64", ",")
    return Image.open(io.BytesIO(base64.b64decode(content, validate=True)))


class TestPreviews:
    @pytest.mark.parametrize(
        ("size", "expected"),
        [
            ((24, 18), (24, 18)),
            # No larger than the 32 pixels that there are to see.
            ((4000, 1000), (32, 8)),
            ((1, 9000), (1, 32)),
        ],
    )
    def test_the_shape_is_that_of_the_image_not_of_what_the_model_took(self, size, expected):
        previews = Previews(1)
        previews.add(shown("a.jpg", size, (32, 32)))
        small = decoded(previews.urls["a.jpg"])
        assert small.size == expected
        if expected[0] > 1:
            assert small.getpixel((2, 2))[0] < 50
            assert small.getpixel((expected[0] - 3, 2))[0] > 200

    def test_no_larger_than_a_page_can_carry(self):
        previews = Previews(1)
        previews.add(shown("a.jpg", (4000, 1000), (1000, 250)))
        assert decoded(previews.urls["a.jpg"]).size == (MAX_PREVIEW_SIDE, MAX_PREVIEW_SIDE // 4)

    def test_of_too_many_images_some_have_none(self, monkeypatch):
        monkeypatch.setattr(module, "MAX_PREVIEWS", 3)
        previews = Previews(8)
        for number in range(8):
            previews.add(shown(f"{number}.jpg", (8, 8), (8, 8)))
        assert len(previews.urls) == 3
        assert list(previews.urls) == [f"{number}.jpg" for number in choose_previews(8, set())]
