"""Where tiles lie in an image: for small objects in large images, which a detector would otherwise see scaled down."""

import math
from dataclasses import dataclass
from itertools import product

from boxtune.data.image_record import Tile
from boxtune.errors import ConfigError, many

OVERLAP = 0.2
"""Of neighbouring tiles, as a fraction of their side: that of SAHI (Akyon et al. 2022, arXiv:2202.06934)."""

MIN_SIDE, MAX_SIDE = 32, 2**15
MAX_TILES = 1024
"""In one image: 26 x 26 of 640 pixels are in the largest that can be read."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """How images are cut: into squares of `side` pixels, of which neighbours share the fraction `overlap` at least.

    Raises:
        ConfigError: naming the flag and its value, if `side` is no whole number from 32 to 32,768, or `overlap` is not
            in [0, 1).
    """

    side: int
    overlap: float = OVERLAP

    def __post_init__(self) -> None:
        is_whole = isinstance(self.side, int) and not isinstance(self.side, bool)
        if not is_whole or not MIN_SIDE <= self.side <= MAX_SIDE:
            raise ConfigError(
                f"--tile is {self.side!r}: give the side of a tile in whole pixels from {MIN_SIDE} to {MAX_SIDE}, such "
                "as 640"
            )
        is_number = isinstance(self.overlap, int | float) and not isinstance(self.overlap, bool)
        if not is_number or not 0 <= self.overlap < 1:  # NaN is refused, too
            raise ConfigError(
                f"--overlap is {self.overlap!r}: give the fraction of a tile that its neighbour shares, from 0 to less "
                f"than 1, such as {OVERLAP}"
            )

    def __str__(self) -> str:
        return f"tiles of {self.side} pixels that overlap by {self.overlap:g}, and the whole"

    def tiles(self, height: int, width: int, name: str = "the image") -> list[Tile]:
        """Return the tiles of an image, row by row; none if it is not larger than one.

        All are of one size, `side` or that of the image where it is smaller. The first and the last touch the edges
        of the image, and the others lie evenly between, so that together they cover every pixel.

        Args:
            height, width: of the upright image, in pixels.
            name: of the image, for the error.

        Raises:
            ConfigError: naming the image and a side that is large enough, for more than MAX_TILES.
        """
        if max(height, width) <= self.side:
            return []
        rows, columns = self._count(height), self._count(width)
        if rows * columns > MAX_TILES:
            raise ConfigError(
                f"{name} of {width}x{height} pixels would become {many(rows * columns, 'tile')} by {self._flags()}; at "
                f"most {MAX_TILES:,} are possible: give {self._way_out(height, width)}"
            )
        size = min(self.side, height), min(self.side, width)
        starts = product(self._starts(height, rows), self._starts(width, columns))
        return [Tile(top, left, *size) for top, left in starts]

    def _count(self, length: int) -> int:
        """Return how many tiles a side of an image needs."""
        step = max(math.floor(self.side * (1 - self.overlap)), 1)
        return 1 + max(-(-(length - self.side) // step), 0)

    def _starts(self, length: int, count: int) -> list[int]:
        """Return where `count` tiles begin along a side, as evenly as whole pixels allow."""
        free = max(length - self.side, 0)
        return [free * number // max(count - 1, 1) for number in range(count)]

    def _flags(self) -> str:
        return f"--tile {self.side} --overlap {self.overlap:g}"

    def _way_out(self, height: int, width: int) -> str:
        """Return the flags of the smallest power of two that is large enough, with less overlap where none is."""
        sides = (2**power for power in range(5, 16) if self.side < 2**power < max(height, width))
        for side in sides:
            larger = Tiling(side, self.overlap)
            if larger._count(height) * larger._count(width) <= MAX_TILES:
                return f"--tile {side}"
        return f"less overlap, such as --overlap {OVERLAP}"


def tiling_of(tile: int | None, overlap: float | None = None) -> Tiling | None:
    """Return the tiling that --tile and --overlap ask for; None where images stay whole.

    Raises:
        ConfigError: for a value that cannot be, or an overlap without tiles.
    """
    if tile is None:
        if overlap is not None:
            raise ConfigError(f"--overlap {overlap:g} goes with --tile, such as --tile 640")
        return None
    return Tiling(tile, OVERLAP if overlap is None else overlap)
