from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxtune.data.records import (
    Box,
    Finding,
    ImageRecord,
    ObjectRecord,
    Reading,
    Severity,
    box_from_pixels,
    class_names,
    clip,
    has_area,
    reorder,
    require_usable,
)
from boxtune.errors import DataError

NUMBERS = st.floats(-2, 3, allow_nan=False)


def image(*names):
    objects = tuple(ObjectRecord(name, Box(0, 0, 1, 1)) for name in names)
    return ImageRecord("a.jpg", Path("a.jpg"), Path("a.xml"), 4, 4, objects)


def reading(num_used, num_annotations, *findings):
    return Reading(Path("photos"), (image("cat"),) * num_used, findings, num_annotations)


def test_pixel_edges_become_shares_without_an_offset():
    # The right edge of a picture 40 wide is 40, not 39.
    assert box_from_pixels(10, 5, 40, 20, width=40, height=20) == Box(0.25, 0.25, 1.0, 1.0)


def test_reorder_and_clip():
    assert reorder(Box(0.75, 0.5, 0.25, 0.125)) == Box(0.25, 0.125, 0.75, 0.5)
    assert clip(Box(-0.5, 0.25, 0.5, 1.5)) == Box(0.0, 0.25, 0.5, 1.0)
    assert not has_area(clip(Box(1.25, 0.0, 1.5, 1.0)))


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_what_has_area_after_repair_has_it_in_float32(ymin, xmin, ymax, xmax):
    box = clip(reorder(Box(ymin, xmin, ymax, xmax)))
    top, left, bottom, right = np.float32(box)
    assert 0 <= top <= bottom <= 1
    assert 0 <= left <= right <= 1
    if has_area(box):
        assert top < bottom
        assert left < right


def test_class_names_are_sorted_by_bytes_and_unique():
    assert class_names([image("b", "Z"), image("ä", "b")]) == ["Z", "b", "ä"]


def test_half_of_the_annotations_may_be_lost_but_not_more():
    require_usable(reading(5, 10), max_loss=0.5)
    skipped = Finding("picture not found", Severity.SKIPPED, "b.xml", "no picture is named b.")
    with pytest.raises(DataError, match=r"6 of 10 annotations \(60%\).*50%.*picture not found 1.*b.xml"):
        require_usable(reading(4, 10, skipped), max_loss=0.5)
    require_usable(reading(4, 10, skipped), max_loss=0.6)


def test_nothing_left_is_an_error_whatever_may_be_lost():
    with pytest.raises(DataError, match="2 of 2"):
        require_usable(reading(0, 2), max_loss=1.0)


def test_a_data_set_without_objects_is_an_error():
    with pytest.raises(DataError, match="no annotation has an object"):
        require_usable(Reading(Path("photos"), (image(),), (), 1), max_loss=0.5)
