"""Masks of objects as runs of pixels: their areas and overlaps, and COCO's way to write them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from boxtune import run_lengths
from boxtune.errors import DataError

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Mask:
    """The pixels of an object in an image of `height` and `width`, counted down the columns.

    `edges` [2r] are where its r runs start and end: pixels `edges[0]` to `edges[1]`, without the latter, and so on.
    """

    height: int
    width: int
    edges: Integers


def from_array(array: npt.NDArray[Any]) -> Mask:
    """Return the mask of an array [h, w] whose values above 0 belong to the object."""
    height, width = array.shape
    pixels = np.concatenate([[False], (array > 0).ravel(order="F"), [False]])
    return Mask(height, width, np.flatnonzero(pixels[1:] != pixels[:-1]))


def to_array(mask: Mask) -> npt.NDArray[np.bool_]:
    """Return a mask as bool [h, w]."""
    pixels = np.zeros(mask.height * mask.width, bool)
    for start, end in mask.edges.reshape(-1, 2).tolist():
        pixels[start:end] = True
    return pixels.reshape(mask.width, mask.height).T


def from_box(grid: npt.NDArray[np.floating], box: npt.NDArray[np.floating], height: int, width: int) -> Mask:
    """Return the mask in an image of what a model finds within a box.

    Source: the API's utils/ops.py, reframe_box_masks_to_image_masks, and its threshold in eval_util.py.

    Args:
        grid: [gh, gw], how certain the object is there, over the box from its first to its last row and column; pixels
            above 0.5, between them bilinearly, belong to it.
        box: [4] ymin, xmin, ymax, xmax in fractions of the image.
    """
    ymin, xmin, ymax, xmax = box.tolist()
    rows, ys = _grid_positions(ymin, ymax, grid.shape[0], height)
    columns, xs = _grid_positions(xmin, xmax, grid.shape[1], width)
    if not len(rows) or not len(columns):
        return Mask(height, width, np.zeros(0, np.int64))
    band = np.zeros((height, len(columns)), bool)
    band[rows] = _between(_between(grid, ys).T, xs).T > 0.5
    return Mask(height, width, from_array(band).edges + columns[0] * height)


def _grid_positions(
    low: float, high: float, size: int, count: int
) -> tuple[Integers, npt.NDArray[np.float64]]:
    """Return which of `count` pixels lie in a grid of `size` between two fractions of the image, and where in it."""
    fractions = np.arange(count) / (count - 1) if count > 1 else np.full(1, 0.5)
    positions = (size - 1) * (fractions - low) / max(high - low, 1e-4)
    within = np.flatnonzero((positions >= 0) & (positions <= size - 1))
    return within, positions[within]


def _between(grid: npt.NDArray[np.floating], positions: npt.NDArray[np.float64]) -> npt.NDArray[np.floating]:
    """Return the rows of a grid at positions between its own, linearly."""
    below = np.floor(positions).astype(np.int64)
    fraction = (positions - below)[:, None]
    return grid[below] * (1 - fraction) + grid[np.ceil(positions).astype(np.int64)] * fraction


def from_coco(segmentation: Any) -> Mask:
    """Return the mask of COCO's `{"size": [h, w], "counts": ...}`, whose counts are a list or compressed text.

    Raises:
        DataError: if it is something else, or its runs do not fill its size.
    """
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        raise DataError('a mask has to be run lengths: {"size": [height, width], "counts": ...}.')
    size, counts = segmentation["size"], segmentation["counts"]
    if not (isinstance(size, list | tuple) and len(size) == 2 and all(_is_count(side) for side in size)):
        raise DataError(f"a mask's size is {size!r:.50}, not [height, width].")
    counts = run_lengths.unprinted(counts) if isinstance(counts, str) else counts
    if isinstance(counts, bytes):
        runs = run_lengths.decompress(counts)
    elif isinstance(counts, list | tuple) and all(map(_is_count, counts)):
        runs = np.array(counts, np.int64)
    else:
        raise DataError("a mask's run lengths are not whole numbers from 0 on.")
    if (runs.size and runs.min() < 0) or int(runs.sum()) != size[0] * size[1]:
        raise DataError(f"a mask's run lengths do not fill its size of {size[0]} x {size[1]}.")
    edges = np.cumsum(runs)
    edges = edges if len(edges) % 2 == 0 else edges[:-1]
    # Where runs without pixels let two edges meet, there is none.
    positions, times = np.unique(edges, return_counts=True)
    return Mask(size[0], size[1], positions[times % 2 == 1])


def area(mask: Mask) -> int:
    """Return the number of its pixels."""
    return int(mask.edges[1::2].sum() - mask.edges[0::2].sum())


def box(mask: Mask) -> tuple[float, float, float, float]:
    """Return ymin, xmin, ymax, xmax of its pixels; zeros if it has none."""
    if not len(mask.edges):
        return (0.0, 0.0, 0.0, 0.0)
    return run_lengths.bounds(mask.edges[0::2], mask.edges[1::2], mask.height)


def intersection(one: Mask, other: Mask) -> float:
    """Return the number of pixels that two masks of the same image share."""
    if not len(one.edges) or not len(other.edges):
        return 0.0
    # Pixels of the other before a position grow along its runs and stay between them.
    lengths = other.edges[1::2] - other.edges[0::2]
    before = np.zeros(len(other.edges))
    before[1::2] = np.cumsum(lengths)
    before[2::2] = before[1:-1:2]
    covered = np.interp(one.edges, other.edges, before)
    return float(covered[1::2].sum() - covered[0::2].sum())


def _is_count(number: Any) -> bool:
    return type(number) is int and 0 <= number < 1 << 31
