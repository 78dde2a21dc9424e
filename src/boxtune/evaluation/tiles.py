"""Finding small objects in large images: in tiles of an image and in the whole, merged in the frame of the image.

Any model can do it: `tiled` takes what finds objects in images and returns what does the same by tiles.

A tile may cut an object. What is found of it then reaches to an inner edge of that tile, an edge that is not one of the
image, and is called cut here. Neighbours overlap so that an object of less than that is whole in one of them.

Dimension letters: k detections, m of them that are kept, p pairs of them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from boxtune.data.image_record import Tile
from boxtune.data.tiling import Tiling
from boxtune.evaluation.found import Found, Source, pixels_of

Find: TypeAlias = Callable[[Iterable[Source]], Iterator[Found]]
"""Yields what is found in each of some images, in order."""

Floats = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]

SAME = 0.5
"""Two detections of one class in different tiles show one object from this overlap on: IoU, or where one is cut, the
fraction of the smaller that lies in the other (SAHI's IOS, and its threshold)."""

EDGE = 0.05
"""A detection is cut if it comes as near to an inner edge, as a fraction of the tile: docs/small_objects.md."""

MOST = 1000
"""Detections of an image that are kept, the best; of one that is not cut into tiles all."""


_PAIRS = 1_000_000
"""Of boxes that are compared at a time: 100 MB."""


class _Plan(NamedTuple):
    """An image that is looked at: its size, and the tiles behind the whole."""

    source: Source
    size: tuple[int, int]
    tiles: Sequence[Tile]


def tiled(find: Find, tiling: Tiling | None) -> Find:
    """Return what finds objects as `find` does, in tiles and the whole; `find` itself where there is no tiling."""
    return find if tiling is None else partial(find_in_tiles, find, tiling)


def find_in_tiles(find: Find, tiling: Tiling, sources: Iterable[Source]) -> Iterator[Found]:
    """Yield what is found in each image, by its tiles and the whole, best first, as fractions of the image.

    The tiles of all images are one stream, so that batches fill up across images, and are views of their image, of
    which few are decoded at a time. An image that is not larger than a tile gives what `find` gives.

    Args:
        find: takes images of any size.
        tiling: where the tiles lie.
        sources: the images.

    Raises:
        DataError: naming the image that cannot be read.
        ConfigError: naming the image that would become too many tiles.
        BoxtuneError: as `find` does, naming the image and the tile.
    """
    plans: deque[_Plan] = deque()
    found = find(_parts(sources, tiling, plans))
    for whole in found:
        plan = plans.popleft()
        of_tiles = list(islice(found, len(plan.tiles)))
        yield _merged(plan, whole, of_tiles) if plan.tiles else whole._replace(source=plan.source)


def _parts(sources: Iterable[Source], tiling: Tiling, plans: deque[_Plan]) -> Iterator[Source]:
    """Yield each image, then its tiles; how it was cut goes to `plans` before."""
    for source in sources:
        pixels = pixels_of(source)
        height, width = pixels.shape[:2]
        tiles = tiling.tiles(height, width, source.name)
        plans.append(_Plan(source, (height, width), tiles))
        yield Source(source.name, pixels, None)
        for tile in tiles:
            part = pixels[tile.top : tile.bottom, tile.left : tile.right]
            yield Source(f"{source.name} ({tile})", part, None)


def _merged(plan: _Plan, whole: Found, of_tiles: Sequence[Found]) -> Found:
    """Return what was found in an image and its tiles as one, in the frame of the image."""
    image = Tile(0, 0, *plan.size)
    parts = list(zip((image, *plan.tiles), (whole, *of_tiles), strict=True))
    boxes = np.concatenate([_in_image(found.boxes, tile, plan.size) for tile, found in parts])
    is_cut = np.concatenate([cut_by(found.boxes, tile, plan.size) for tile, found in parts])
    classes = np.concatenate([found.classes for _, found in parts])
    scores = np.concatenate([found.scores for _, found in parts])
    origin = np.repeat(np.arange(len(parts)), [len(found.scores) for _, found in parts])
    kept = suppressed_across_tiles(boxes, classes, scores, origin, is_cut)[:MOST]
    masks = [found.masks for _, found in parts if found.masks is not None]
    keypoints = [
        _in_image(found.keypoints, tile, plan.size) for tile, found in parts if found.keypoints is not None
    ]
    return Found(
        *(plan.source, plan.size, boxes[kept], classes[kept], scores[kept]),
        np.concatenate(masks)[kept] if masks else None,
        np.concatenate(keypoints)[kept] if keypoints else None,
    )


def _in_image(points: Floats, tile: Tile, size: tuple[int, int]) -> Floats:
    """Return boxes [k, 4] or keypoints [k, p, 2] of a tile as fractions of the image of `size` (height, width)."""
    times = points.shape[-1] // 2
    start, sides, frame = (
        np.array(pair * times, np.float32)
        for pair in ((tile.top, tile.left), (tile.height, tile.width), size)
    )
    return np.clip((points.astype(np.float32) * sides + start) / frame, 0.0, 1.0)


def cut_by(boxes: Floats, tile: Tile, size: tuple[int, int]) -> Flags:
    """Return bool [k]: which boxes [k, 4], fractions of a tile, reach to one of its inner edges.

    Args:
        boxes: `[ymin, xmin, ymax, xmax]`.
        tile: in which they were found.
        size: height and width of the image in pixels: an edge of the tile that is one of the image cuts nothing.
    """
    inner = np.array([tile.top > 0, tile.left > 0, tile.bottom < size[0], tile.right < size[1]])
    near = np.concatenate([boxes[:, :2] <= EDGE, boxes[:, 2:] >= 1 - EDGE], axis=1)
    return (near & inner).any(axis=1)


def suppressed_across_tiles(
    boxes: Floats,
    classes: npt.NDArray[np.integer],
    scores: Floats,
    origin: npt.NDArray[np.integer],
    is_cut: Flags,
) -> npt.NDArray[np.intp]:
    """Return int [m]: which detections are kept, best first, so that each object has one.

    Those that are whole go first, each by its score, and remove what shows the same object in another tile: by IoU what
    is whole, by the fraction of the smaller what is cut. So half of an object never stands in for all of it, whatever
    the scores. Detections of one tile do not remove each other: the model has decided about these.

    Source: greedy suppression; its overlap for what is cut is that of SAHI's postprocess (match metric IOS), and its
    order our own.

    Args:
        boxes: [k, 4] `[ymin, xmin, ymax, xmax]` in one frame.
        classes: [k]; only those of one class are compared.
        scores: [k].
        origin: [k], the number of the tile in which each was found.
        is_cut: [k], which of them reach to an inner edge of their tile.
    """
    order = np.lexsort((-scores, is_cut))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    ranks = np.sort(rank[_same_objects(boxes, classes, origin, is_cut)], axis=1)
    ranks = ranks[np.argsort(ranks[:, 0], kind="stable")]
    first, starts = np.unique(ranks[:, 0], return_index=True)
    ends = [*starts[1:].tolist(), len(ranks)]
    is_left = np.ones(len(order), bool)
    for one, start, end in zip(first.tolist(), starts.tolist(), ends, strict=False):
        if is_left[one]:
            is_left[ranks[start:end, 1]] = False
    kept = order[is_left]
    return kept[np.argsort(-scores[kept], kind="stable")]


def _same_objects(
    boxes: Floats, classes: npt.NDArray[np.integer], origin: npt.NDArray[np.integer], is_cut: Flags
) -> npt.NDArray[np.intp]:
    """Return int [p, 2]: the pairs of detections that show the same object, in no order."""
    found = [np.zeros((0, 2), np.intp)]
    for number in np.unique(classes):
        rows = np.flatnonzero(classes == number)
        for pairs in _beside_each_other(boxes[rows]):
            one, other = rows[pairs[:, 0]], rows[pairs[:, 1]]
            is_near = origin[one] != origin[other]
            one, other = one[is_near], other[is_near]
            is_same = _shows_same(boxes[one], boxes[other], is_cut[one] | is_cut[other])
            found.append(np.stack([one[is_same], other[is_same]], axis=1))
    return np.concatenate(found)


def _beside_each_other(boxes: Floats) -> Iterator[npt.NDArray[np.intp]]:
    """Yield the pairs of boxes [k, 4] that share columns, int [p, 2] with about _PAIRS at a time.

    In the order of their left edges those that begin before one ends follow each other.
    """
    order = np.argsort(boxes[:, 1], kind="stable")
    left, right = boxes[order, 1], boxes[order, 3]
    places = np.arange(len(order))
    counts = np.maximum(np.searchsorted(left, right) - places - 1, 0)
    total = np.cumsum(counts)
    for some in np.split(places, np.flatnonzero(np.diff(total // _PAIRS)) + 1):
        one = np.repeat(some, counts[some])
        before = np.repeat(np.cumsum(counts[some]) - counts[some], counts[some])
        other = one + 1 + np.arange(len(one)) - before
        yield np.stack([order[one], order[other]], axis=1)


def _shows_same(one: Floats, other: Floats, either_cut: Flags) -> Flags:
    """Return bool [p]: which pairs of boxes [p, 4] show the same object, where `either_cut` of them is cut or not."""
    sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    shared = np.maximum(sides, 0).prod(axis=1)
    areas = _areas(one), _areas(other)
    of = np.where(either_cut, np.minimum(*areas), sum(areas) - shared)
    return (shared >= SAME * of) & (of > 0)


def _areas(boxes: Floats) -> Floats:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
