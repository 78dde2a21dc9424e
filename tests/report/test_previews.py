import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from boxtune.report import previews as module
from boxtune.report.previews import (
    MAX_PREVIEW_CHARACTERS,
    MAX_PREVIEW_SIDE,
    MAX_PREVIEWS,
    choose_previews,
    encode_preview,
    preview_limits,
    previews_by_name,
)


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


def decoded(url):
    kind, comma, content = url.partition(",")
    assert (kind, comma) == ("data:image/jpeg;base64", ",")
    return Image.open(io.BytesIO(base64.b64decode(content, validate=True)))


def png(width, height):
    stream = io.BytesIO()
    Image.new("RGB", (width, height)).save(stream, "PNG")
    return stream.getvalue()


class TestByName:
    @pytest.mark.parametrize(
        ("size", "expected"), [((24, 18), (24, 18)), ((4096, 1024), (1024, 256)), ((1, 9000), (1, 1024))]
    )
    def test_an_image_is_as_large_as_can_be(self, size, expected):
        urls = previews_by_name(["a"], {0: png(*size)}.get)
        assert decoded(urls["a"]).size == expected

    def test_of_too_many_images_some_have_none(self, monkeypatch):
        monkeypatch.setattr(module, "MAX_PREVIEWS", 3)
        names = list("abcdefgh")
        urls = previews_by_name(names, lambda number: png(8, 8))
        assert list(urls) == [names[number] for number in choose_previews(8, set())]
        assert len(urls) == 3

    def test_one_that_cannot_be_read_any_more_has_none(self):
        assert list(previews_by_name(["a", "b"], {0: b"no image", 1: png(8, 8)}.get)) == ["b"]
