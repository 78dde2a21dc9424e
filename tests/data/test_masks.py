import io
import time

import numpy as np
import pytest
from faster_coco_eval import mask as coco
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageOps

from boxtune.data import masks
from boxtune.data.masks import Mask
from boxtune.errors import DataError

GRIDS = arrays.arrays(
    np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 1)
)

# An L of five pixels on 3 rows and 4 columns. Columns first: 3 zeros, 3 ones, 2 zeros, 1 one, 3 zeros.
L_SHAPE = np.array([[0, 1, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0]], np.uint8)
L_RUNS = [3, 3, 2, 1, 3]


def png(array, **options):
    output = io.BytesIO()
    Image.fromarray(array).save(output, "PNG", **options)
    return output.getvalue()


# Run lengths


def test_runs_go_down_the_columns():
    mask = masks.from_runs(L_RUNS, (3, 4))
    np.testing.assert_array_equal(masks.to_array(mask, 3, 4), L_SHAPE)
    assert masks.to_runs(mask, 3, 4) == L_RUNS


@given(GRIDS)
def test_compressed_runs_are_those_of_coco(grid):
    mask = masks.from_array(grid)
    assert mask.size == grid.shape
    assert mask.counts == coco.encode(np.asfortranarray(grid))["counts"]
    np.testing.assert_array_equal(masks.to_array(mask, *grid.shape), grid)
    assert masks.from_runs(masks.to_runs(mask, *grid.shape), grid.shape) == mask


def test_long_runs_take_several_characters():
    # The first run has 1,234,500 pixels: five digits of five bits with the sign.
    grid = np.zeros((1000, 3000), np.uint8, order="F")
    grid[500:, 1234:] = 1
    mask = masks.from_array(grid)
    np.testing.assert_array_equal(coco.decode({"size": [1000, 3000], "counts": mask.counts}), grid)
    np.testing.assert_array_equal(masks.to_array(mask, 1000, 3000), grid)


@pytest.mark.parametrize(
    ("counts", "size"),
    [
        (b"", (3, 4)),
        (b"abc\x00", (3, 4)),  # a character below "0"
        ("3é".encode(), (3, 4)),  # characters beyond six bits
        (b"3P", (3, 4)),  # the last digit says that another follows
        (b"P" * 9 + b"0", (3, 4)),  # 45 bits
        (b"34", (3, 4)),  # 7 of 12 pixels
        (b"3322O", (3, 4)),  # a run of 2 - 1 - ... pixels that does not fill it either
        (b"<", (0, 12)),
        (b"<", (-3, -4)),
        (b"<", (10**9, 10**9)),
    ],
)
def test_malformed_counts_are_an_error(counts, size):
    with pytest.raises(DataError):
        masks.check(Mask(counts=counts, size=size))
    with pytest.raises(DataError):
        masks.to_array(Mask(counts=counts, size=size), 3, 4)


@given(st.binary(max_size=30), st.tuples(st.integers(-3, 9), st.integers(-3, 9)))
def test_any_bytes_are_a_mask_or_an_error(counts, size):
    mask = Mask(counts=counts, size=size)
    try:
        masks.check(mask)
    except DataError:
        return
    assert masks.to_array(mask, *size).shape == size


@pytest.mark.parametrize(
    "runs", [[], [11], [13], [14, -2], [6.0, 6], ["12"], [True, 11], [10**30, 12], [None]]
)
def test_malformed_runs_are_an_error(runs):
    with pytest.raises(DataError):
        masks.from_runs(runs, (3, 4))


# Polygons


def test_a_polygon_is_filled_in_the_image_it_is_drawn_for():
    # The rectangle x from 1/4 to 3/4, y from 0 to 1/2: columns 2 to 5 of 8, rows 0 and 1 of 4.
    mask = Mask(polygons=((0.25, 0.0, 0.75, 0.0, 0.75, 0.5, 0.25, 0.5),))
    expected = np.zeros((4, 8), np.uint8)
    expected[:2, 2:6] = 1
    np.testing.assert_array_equal(masks.to_array(mask, 4, 8), expected)


def test_several_polygons_are_one_mask():
    left, right = ((x, 0.0, x + 0.25, 0.0, x + 0.25, 1.0, x, 1.0) for x in (0.0, 0.75))
    expected = np.array([[1, 0, 0, 1]] * 4, np.uint8)
    np.testing.assert_array_equal(masks.to_array(Mask(polygons=(left, right)), 4, 4), expected)


INSIDE = st.floats(0, 1, width=32)


@given(st.lists(st.tuples(INSIDE, INSIDE), min_size=3, max_size=8))
def test_polygons_are_filled_as_coco_does(points):
    pixels = [value for x, y in points for value in (x * 30, y * 20)]
    expected = coco.decode(coco.frPyObjects([pixels], 20, 30))[..., 0]
    mask = Mask(polygons=(tuple(value for point in points for value in point),))
    np.testing.assert_array_equal(masks.to_array(mask, 20, 30), expected)


def test_what_lies_beyond_the_image_is_cut_off():
    # A diamond around the image's right edge: within it a triangle, whose left corner is at 0.5.
    diamond = Mask(polygons=((1.0, 0.0, 1.5, 0.5, 1.0, 1.0, 0.5, 0.5),))
    triangle = Mask(polygons=((1.0, 0.0, 1.0, 1.0, 0.5, 0.5),))
    np.testing.assert_array_equal(masks.to_array(diamond, 40, 40), masks.to_array(triangle, 40, 40))
    outside = Mask(polygons=((2.0, 2.0, 3.0, 2.0, 3.0, 3.0),))
    assert not masks.to_array(outside, 40, 40).any()


@given(st.lists(st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 2), min_size=3, max_size=6))
def test_coordinates_of_any_size_are_drawn(points):
    mask = Mask(polygons=(tuple(value for point in points for value in point),))
    assert masks.to_array(mask, 20, 30).shape == (20, 30)


@pytest.mark.parametrize(
    "polygon", [(), (0.1,) * 4, (0.1,) * 7, (0.1,) * 5 + (float("nan"),), (float("inf"),) * 6]
)
def test_malformed_polygons_are_an_error(polygon):
    with pytest.raises(DataError, match="polygon"):
        masks.check(Mask(polygons=((0.0, 0.0, 1.0, 0.0, 1.0, 1.0), polygon)))


def test_an_outline_without_end_is_refused_at_once():
    zigzag = Mask(polygons=((0.0, 0.0, 1.0, 1.0) * 100_000,))
    begin = time.process_time()
    with pytest.raises(DataError, match="outline"):
        masks.to_array(zigzag, 1000, 1000)
    assert time.process_time() - begin < 5


# PNG


@pytest.mark.parametrize("value", [1, 255])
def test_pixels_above_zero_of_a_png_belong_to_the_object(value):
    np.testing.assert_array_equal(masks.to_array(Mask(png=png(L_SHAPE * np.uint8(value))), 3, 4), L_SHAPE)


@pytest.mark.parametrize("mode", ["1", "P", "RGB", "RGBA"])
def test_png_of_any_mode(mode):
    output = io.BytesIO()
    Image.fromarray(L_SHAPE * np.uint8(255)).convert(mode).save(output, "PNG")
    np.testing.assert_array_equal(masks.to_array(Mask(png=output.getvalue()), 3, 4), L_SHAPE)


def test_the_png_written_holds_zeros_and_ones():
    with Image.open(io.BytesIO(masks.to_png(masks.from_array(L_SHAPE), 3, 4))) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        np.testing.assert_array_equal(np.asarray(image), L_SHAPE)


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n", b"GIF89a", png(L_SHAPE)[:45], b"x"])
def test_what_is_no_png_is_an_error(data):
    with pytest.raises(DataError, match="PNG"):
        masks.check(Mask(png=data))


def test_a_png_of_too_many_pixels_is_refused():
    large = png(np.zeros((1, 1), np.uint8)).replace(b"\0\0\0\1\0\0\0\1", b"\0\0\x30\0\0\0\x30\0", 1)
    with pytest.raises(DataError):
        masks.check(Mask(png=large))


# All forms


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_grid_is_turned_as_the_image_is(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = png(L_SHAPE, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    for mask in (
        Mask(png=data, orientation=orientation),
        Mask(counts=masks.from_array(L_SHAPE).counts, size=(3, 4), orientation=orientation),
    ):
        np.testing.assert_array_equal(masks.to_array(mask, *upright.shape), upright)


def test_a_grid_of_another_size_covers_the_image():
    doubled = masks.to_array(masks.from_array(L_SHAPE), 6, 8)
    np.testing.assert_array_equal(doubled, L_SHAPE.repeat(2, axis=0).repeat(2, axis=1))
    np.testing.assert_array_equal(masks.to_array(masks.from_array(doubled), 3, 4), L_SHAPE)


def test_edges_are_those_of_the_pixels_or_points():
    assert masks.edges(masks.from_array(L_SHAPE)) == (1, 0, 3, 3)
    assert masks.edges(Mask(polygons=((3, 4, 9, 5, 6, 8), (1, 7, 2, 7, 2, 6)))) == (1, 4, 9, 8)


@given(GRIDS.filter(np.any))
def test_edges_of_runs_are_those_of_the_drawn_pixels(grid):
    rows, columns = np.nonzero(grid)
    expected = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert masks.edges(masks.from_array(grid)) == masks.edges(Mask(png=png(grid))) == expected


def test_a_mask_of_no_pixel_has_no_edges():
    with pytest.raises(DataError, match="no pixel"):
        masks.edges(masks.from_array(L_SHAPE * 0))
