from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from boxtune.data.image_record import (
    Box,
    ImageRecord,
    ImageSource,
    ObjectRecord,
    class_names,
    clip,
    has_area,
    reorder,
)

NUMBERS = st.floats(-2, 3, allow_nan=False)


def image(*names):
    objects = tuple(ObjectRecord(name, Box(0, 0, 1, 1)) for name in names)
    return ImageRecord("a.jpg", ImageSource(Path("a.jpg")), "a.xml", 4, 4, objects)


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
