import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco

from boxtune import run_lengths
from boxtune.errors import DataError
from boxtune.metrics import masks
from image_results import pixels

drawings = arrays.arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7)))


def test_runs_go_down_the_columns():
    mask = masks.from_array(np.array([[0, 1], [1, 1], [0, 0]]))
    # Columns 0 1 0 and 1 1 0: pixels 1, and 3 and 4.
    assert mask.edges.tolist() == [1, 2, 3, 5]
    assert masks.area(mask) == 3
    assert masks.box(mask) == (0, 0, 2, 2)


@given(drawings)
def test_masks_keep_their_pixels(drawing):
    mask = masks.from_array(drawing)
    np.testing.assert_array_equal(pixels(mask), drawing)
    assert masks.area(mask) == drawing.sum()


@given(drawings)
def test_the_box_is_tight(drawing):
    rows, columns = np.flatnonzero(drawing.any(axis=1)), np.flatnonzero(drawing.any(axis=0))
    expected = (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1) if len(rows) else (0, 0, 0, 0)
    assert masks.box(masks.from_array(drawing)) == expected


@given(drawings, st.data())
def test_intersections_are_counted(drawing, data):
    other = data.draw(arrays.arrays(bool, drawing.shape))
    shared = masks.intersection(masks.from_array(drawing), masks.from_array(other))
    assert shared == (drawing & other).sum()


@given(drawings)
def test_the_text_is_that_of_pycocotools(drawing):
    expected = coco.encode(np.asfortranarray(drawing.astype(np.uint8)))
    np.testing.assert_array_equal(pixels(masks.from_coco(expected)), drawing)


def test_long_runs():
    edges = np.array([3, 70_000, 70_001, 24_000_000])
    counts = run_lengths.compress(np.diff(edges, prepend=0, append=5000 * 5000))
    assert masks.from_coco({"size": [5000, 5000], "counts": counts}).edges.tolist() == edges.tolist()


@pytest.mark.parametrize(
    ("counts", "edges"),
    [
        ([0, 6], [0, 6]),
        ([6], []),
        ([], None),
        # Runs without pixels: 2 on, none off, 3 on are 5 on.
        ([1, 2, 0, 3], [1, 6]),
        ([1, 0, 0, 0, 2, 3], [3, 6]),
        ([1, 0, 0, 2, 3], [1, 3]),
    ],
)
def test_lists_of_runs(counts, edges):
    rle = {"size": [2, 3], "counts": counts}
    if edges is None:
        with pytest.raises(DataError, match="do not fill"):
            masks.from_coco(rle)
    else:
        assert masks.from_coco(rle).edges.tolist() == edges


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        [[0, 0, 1, 1, 0, 1]],
        {"size": [2, 3]},
        {"size": [2], "counts": [6]},
        {"size": [2, -3], "counts": [6]},
        {"size": ["2", 3], "counts": [6]},
        {"size": [2, 3], "counts": [5]},
        {"size": [2, 3], "counts": [7, -1]},
        {"size": [2, 3], "counts": [6.0]},
        {"size": [2, 3], "counts": 6},
        {"size": [2, 3], "counts": "!"},
        {"size": [2, 3], "counts": "P"},
        {"size": [2, 3], "counts": "oooooooo0"},
        {"size": [2, 3], "counts": "é"},
        {"size": [2, 3], "counts": "6O"},
    ],
)
def test_what_is_no_mask(segmentation):
    with pytest.raises(DataError, match="a mask"):
        masks.from_coco(segmentation)


@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=12))
def test_no_text_breaks_it(counts):
    try:
        mask = masks.from_coco({"size": [4, 5], "counts": counts})
    except DataError:
        return
    assert 0 <= masks.area(mask) <= 20


class TestWithinABox:
    def test_between_the_first_and_the_last_column(self):
        # Of 5 columns, at shares 0, .25, .5, .75 and 1, three are in the box; there the grid is 1, 0.5 and 0.
        mask = masks.from_box(np.array([[1.0, 0], [1, 0]]), np.array([0, 0.25, 0.5, 0.75]), 5, 5)
        assert (mask.height, mask.width) == (5, 5)
        assert np.argwhere(pixels(mask)).tolist() == [[0, 1], [1, 1], [2, 1]]

    def test_beyond_the_image(self):
        mask = masks.from_box(np.ones((3, 3)), np.array([-1, 0.5, 0.5, 7]), 3, 3)
        # Rows at 0 and 0.5, columns at 0.5 and 1.
        assert np.argwhere(pixels(mask)).tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]
        assert masks.area(masks.from_box(np.ones((3, 3)), np.array([2, 2, 3, 3]), 3, 3)) == 0

    def test_of_no_size(self):
        assert masks.area(masks.from_box(np.ones((3, 3)), np.array([0.3, 0.3, 0.3, 0.3]), 5, 5)) == 0
