"""Masks of objects: kept as they were annotated, drawn only when they are written."""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from boxtune import run_lengths
from boxtune.data.compact import Compact
from boxtune.errors import DataError

# Those of an image: see `boxtune.data.images`.
MAX_PIXELS = 100_000_000
# An outline longer than this many pixels was not drawn by a person; drawing it would take seconds.
MAX_OUTLINE = 4_000_000
# Fractions beyond which a polygon is cut before it is clipped, so that no arithmetic overflows.
_FAR = 1e6


@dataclass(frozen=True, slots=True)
class Mask(Compact):
    """Which pixels of an image belong to an object, in one of three forms.

    `polygons`: lists x, y, x, y, ... as fractions of width and height. `counts`: COCO's compressed run lengths over a
    grid of `size` (height, width). `png`: a PNG file whose pixels above 0 belong to it. A grid covers the whole
    image, whatever its size. `orientation` is the EXIF orientation still to be applied to `counts` and `png`;
    polygons are turned with the boxes.
    """

    polygons: tuple[tuple[float, ...], ...] = ()
    counts: bytes = b""
    size: tuple[int, int] = (0, 0)
    png: bytes = b""
    orientation: int = 1


def from_runs(runs: Sequence[int], size: tuple[int, int]) -> Mask:
    """Return a mask from COCO's uncompressed run lengths over a grid of `size` (height, width).

    Raises DataError if they are not whole numbers from 0 on, or do not fill the grid.
    """
    if not all(type(run) is int and 0 <= run <= MAX_PIXELS for run in runs):
        raise DataError("its run lengths are not all whole numbers from 0 to the size of its grid.")
    return Mask(counts=run_lengths.compress(_checked_runs(np.array(runs, np.int64), size)), size=size)


def from_array(array: np.ndarray) -> Mask:
    """Return a mask from an array [h, w] whose values above 0 belong to the object."""
    height, width = array.shape
    return Mask(counts=run_lengths.compress(run_lengths.of_array(array > 0)), size=(height, width))


def check(mask: Mask) -> None:
    """Raise DataError unless a mask can be drawn; polygons may still be too long for a large image."""
    for polygon in mask.polygons:
        _points(polygon)
    if mask.png:
        _png_grid(mask.png)
    elif not mask.polygons:
        _runs(mask)


def edges(mask: Mask) -> tuple[float, float, float, float]:
    """Return xmin, ymin, xmax, ymax of a mask, in the units of its polygons or the pixels of its grid as stored.

    Raises DataError if it cannot be drawn or is empty.
    """
    if mask.png:
        mask = from_array(_png_grid(mask.png))
    if not mask.polygons:
        return _edges_of_runs(_runs(mask), mask.size[0])
    points = np.concatenate([_points(polygon) for polygon in mask.polygons])
    (xmin, ymin), (xmax, ymax) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return xmin, ymin, xmax, ymax


def to_array(mask: Mask, height: int, width: int) -> np.ndarray:
    """Return uint8 [h, w], 1 where the object is, for the upright image; grids of another size are stretched.

    Polygons are filled as COCO does. Raises DataError if the mask cannot be drawn (see `check`) or its outline has
    more than MAX_OUTLINE pixels.
    """
    if mask.polygons:
        return _filled(mask.polygons, height, width)
    if mask.png:
        grid = _png_grid(mask.png)
    else:
        runs = _runs(mask)
        columns = np.repeat((np.arange(len(runs)) & 1).astype(np.uint8), runs)
        grid = columns.reshape(mask.size[1], mask.size[0]).T
    grid = _turned(grid, mask.orientation)
    return grid if grid.shape == (height, width) else _stretched(grid, height, width)


def from_png(data: bytes, height: int, width: int) -> np.ndarray:
    """Return uint8 [h, w], 1 where a PNG of exactly that size has values above 0.

    Raises DataError if it is of another size, which shows before it is decoded, or damaged.
    """
    return _png_grid(data, (height, width))


def to_png(mask: Mask, height: int, width: int) -> bytes:
    """Return a grey PNG of the upright image's size with values 0 and 1, as the API's COCO tool writes it.

    Raises DataError as `to_array` does.
    """
    output = io.BytesIO()
    Image.fromarray(to_array(mask, height, width)).save(output, "PNG")
    return output.getvalue()


def to_runs(mask: Mask, height: int, width: int) -> list[int]:
    """Return COCO's uncompressed run lengths over the upright image: zeros and ones in turn, columns first.

    Raises DataError as `to_array` does.
    """
    return run_lengths.of_array(to_array(mask, height, width)).tolist()


def cropped(mask: Mask, tile: tuple[int, int, int, int], height: int, width: int) -> Mask | None:
    """Return a mask of the upright image of `height` by `width` pixels in the frame of a tile; None if none is left.

    `tile` is its top, left, height and width in pixels. Polygons stay polygons, cut to the tile. Raises DataError as
    `to_array` does.
    """
    top, left, rows, columns = tile
    if mask.polygons:
        moved = (_points(polygon) * (width, height) - (left, top) for polygon in mask.polygons)
        cut = (_clipped(points / (columns, rows)) for points in moved)
        # What touches the tile from outside becomes a line of its edge.
        areas = (points for points in cut if len(points) >= 3 and np.ptp(points, axis=0).min() > 0)
        polygons = tuple(tuple(points.ravel().tolist()) for points in areas)
        return Mask(polygons=polygons) if polygons else None
    array = to_array(mask, height, width)[top : top + rows, left : left + columns]
    return from_array(array) if array.any() else None


# Polygons


def _points(polygon: Sequence[float]) -> np.ndarray:
    """Return float64 [n, 2], the points x, y of a polygon."""
    if len(polygon) < 6 or len(polygon) % 2:
        raise DataError(f"its polygon has {len(polygon)} numbers; it takes three pairs or more.")
    points = np.array(polygon, np.float64).reshape(-1, 2)
    if not np.isfinite(points).all():
        raise DataError("its polygon holds a number that is not finite.")
    return points


def _filled(polygons: Sequence[Sequence[float]], height: int, width: int) -> np.ndarray:
    from faster_coco_eval import mask as coco

    outlines = [_clipped(_points(polygon)) * (width, height) for polygon in polygons]
    length = sum(float(np.abs(np.diff(outline, axis=0)).max(axis=1).sum()) for outline in outlines)
    if length > MAX_OUTLINE:
        raise DataError(f"its outline is {length:.3g} pixels long; the limit is {MAX_OUTLINE:,}.")
    drawn = [outline.ravel().tolist() for outline in outlines if len(outline) >= 3]
    if not drawn:
        return np.zeros((height, width), np.uint8)
    return np.ascontiguousarray(coco.decode(coco.merge(coco.frPyObjects(drawn, height, width))))


def _clipped(points: np.ndarray) -> np.ndarray:
    """Return the part of a polygon [n, 2] of fractions that lies within the image."""
    if points.min() >= 0 and points.max() <= 1:
        return points
    points = points.clip(-_FAR, _FAR)
    for axis in (0, 1):
        points = _above_zero(points, points[:, axis])
        points = _above_zero(points, 1 - points[:, axis])
    return points


def _above_zero(points: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Cut a polygon [n, 2] where a linear function of its points is below 0; `heights` [n] are its values there.

    Source: Sutherland and Hodgman, Reentrant polygon clipping, 1974.
    """
    next_points, next_heights = np.roll(points, -1, axis=0), np.roll(heights, -1)
    kept = heights >= 0
    crossing = kept != (next_heights >= 0)
    fraction = np.divide(heights, heights - next_heights, out=np.zeros_like(heights), where=crossing)
    crossings = points + fraction[:, np.newaxis] * (next_points - points)
    return np.stack((points, crossings), axis=1)[np.stack((kept, crossing), axis=1)]


# Grids


def _png_grid(data: bytes, size: tuple[int, int] | None = None) -> np.ndarray:
    """Return uint8 [h, w] of a PNG file, which has to be of `size` (height, width) if that is given."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's own limit, which depends on a global
            with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise DataError(f"its mask has {image.width} x {image.height} pixels, over the limit.")
                if size and (image.height, image.width) != size:
                    raise DataError(
                        f"its mask is {image.height} x {image.width} pixels, the image {size[0]} x {size[1]}."
                    )
                return (np.asarray(image.convert("L")) > 0).astype(np.uint8)
    except DataError:
        raise
    except Exception as error:  # Pillow's reader raises errors of any kind
        raise DataError(f"its mask is not a PNG that can be decoded ({type(error).__name__}).") from error


def _turned(grid: np.ndarray, orientation: int) -> np.ndarray:
    """Return a grid [h, w] turned upright by an EXIF orientation from 1 to 8."""
    if orientation >= 5:
        grid = grid.T
    if orientation in (2, 3, 6, 7):
        grid = grid[:, ::-1]
    if orientation in (3, 4, 7, 8):
        grid = grid[::-1]
    return np.ascontiguousarray(grid)


def _stretched(grid: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a grid in another size, each pixel that of the nearest centre."""
    sides = zip((height, width), grid.shape, strict=True)
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for new, old in sides)
    return grid[rows[:, np.newaxis], columns]


# Run lengths


def _runs(mask: Mask) -> np.ndarray:
    return _checked_runs(run_lengths.decompress(mask.counts), mask.size)


def _checked_runs(runs: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return run lengths [r] as they are; raise DataError unless they fill a grid of `size` (height, width)."""
    height, width = size
    if not (0 < height <= MAX_PIXELS and 0 < width <= MAX_PIXELS and height * width <= MAX_PIXELS):
        raise DataError(f"its mask is of {height} x {width} pixels, which is empty or over the limit.")
    if runs.min(initial=0) < 0 or runs.sum() != height * width:
        raise DataError(f"its run lengths do not fill its grid of {height} x {width} pixels.")
    return runs


def _edges_of_runs(runs: np.ndarray, height: int) -> tuple[float, float, float, float]:
    """Return xmin, ymin, xmax, ymax of run lengths [r] over a grid of `height` rows, without drawing them."""
    starts, ends = np.cumsum(runs)[:-1:2], np.cumsum(runs)[1::2]
    starts, ends = starts[starts < ends], ends[starts < ends]
    if not len(starts):
        raise DataError("its mask has no pixel.")
    ymin, xmin, ymax, xmax = run_lengths.bounds(starts, ends, height)
    return xmin, ymin, xmax, ymax
