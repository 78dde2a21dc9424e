"""Where tiles lie: they cover every pixel, overlap as asked, and are never too many."""

import math

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from boxtune.data.image_record import Tile
from boxtune.data.tiling import Tiling, tiling_of
from boxtune.errors import ConfigError

TILINGS = st.builds(Tiling, st.integers(32, 200), st.floats(0, 0.9))
LENGTHS = st.integers(1, 700)


def test_tiles_lie_evenly_between_the_edges():
    # 1000 - 640 = 360 free pixels; neighbours may be 640 * 0.8 = 512 apart: two columns. 1500: 860 free, three rows.
    assert Tiling(640, 0.2).tiles(1500, 1000) == [
        Tile(0, 0, 640, 640),
        Tile(0, 360, 640, 640),
        Tile(430, 0, 640, 640),
        Tile(430, 360, 640, 640),
        Tile(860, 0, 640, 640),
        Tile(860, 360, 640, 640),
    ]


@pytest.mark.parametrize("size", [(640, 640), (1, 1), (640, 1), (20, 33)])
def test_an_image_that_is_not_larger_has_no_tiles(size):
    assert Tiling(640).tiles(*size) == []


def test_a_long_strip_has_tiles_of_its_own_height():
    tiles = Tiling(640, 0.2).tiles(20, 30_000)
    # 29,360 free pixels, 512 apart at most: 58 steps.
    assert len(tiles) == 59
    assert tiles[0] == Tile(0, 0, 20, 640)
    assert tiles[-1] == Tile(0, 29_360, 20, 640)


@pytest.mark.parametrize("size", [(1, 700), (700, 1)])
def test_an_image_of_one_pixel_in_width_is_cut(size):
    assert len(Tiling(100, 0).tiles(*size)) == 7


@given(TILINGS, LENGTHS, LENGTHS)
def test_every_pixel_is_covered_and_neighbours_overlap_as_asked(tiling, height, width):
    try:
        tiles = tiling.tiles(height, width)
    except ConfigError:
        reject()
    if not tiles:
        assert max(height, width) <= tiling.side
        return
    covered = np.zeros((height, width), bool)
    for tile in tiles:
        assert tile.top >= 0
        assert tile.left >= 0
        assert (tile.height, tile.width) == (min(tiling.side, height), min(tiling.side, width))
        covered[tile.top : tile.bottom, tile.left : tile.right] = True
    assert covered.all()
    assert len(set(tiles)) == len(tiles)
    for starts in (sorted({tile.top for tile in tiles}), sorted({tile.left for tile in tiles})):
        steps = np.diff(starts)
        assert (steps <= max(tiling.side * (1 - tiling.overlap), 1)).all()
        assert len(steps) == 0 or np.ptp(steps) <= 1


def test_too_many_tiles_are_an_error_with_a_side_that_is_large_enough():
    # Steps of 6 pixels: (3000 - 640) / 6 + 1 = 395 each way. With 2048: steps of 20, 49 each way, still too many.
    with pytest.raises(
        ConfigError, match=r"^sky\.jpg of 3000x3000 .*156,025 tiles by --tile 640 --overlap 0\.99"
    ):
        Tiling(640, 0.99).tiles(3000, 3000, "sky.jpg")
    with pytest.raises(ConfigError, match=r"give --tile 64$"):  # 62 a side by steps of 32, 31 by steps of 64
        Tiling(32, 0).tiles(1990, 1990)
    with pytest.raises(ConfigError, match=r"give less overlap, such as --overlap 0\.2$"):
        Tiling(640, 0.999).tiles(800, 800)


@given(st.integers(33, 20_000), st.integers(33, 20_000), st.integers(32, 400), st.floats(0, 0.99))
def test_the_way_out_of_too_many_tiles_is_one(height, width, side, overlap):
    try:
        Tiling(side, overlap).tiles(height, width)
    except ConfigError as error:
        if "--tile" in str(error).rpartition("give ")[2]:
            Tiling(int(str(error).rpartition(" ")[2]), overlap).tiles(height, width)


@pytest.mark.parametrize("side", [0, -640, 31, 2**15 + 1, 640.0, True, "640", math.nan])
def test_a_side_that_cannot_be_is_refused(side):
    with pytest.raises(ConfigError, match=r"^--tile is .*such as 640"):
        Tiling(side)


@pytest.mark.parametrize("overlap", [-0.1, 1, 1.5, math.nan, math.inf, True, "0.2"])
def test_an_overlap_that_cannot_be_is_refused(overlap):
    with pytest.raises(ConfigError, match=r"^--overlap is .*such as 0\.2"):
        Tiling(640, overlap)


def test_flags_become_a_tiling():
    assert tiling_of(None) is None
    assert tiling_of(640) == Tiling(640, 0.2)
    assert tiling_of(640, 0) == Tiling(640, 0.0)
    with pytest.raises(ConfigError, match=r"--overlap 0\.5 goes with --tile"):
        tiling_of(None, 0.5)
