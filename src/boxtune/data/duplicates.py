"""Which images show the same thing: copies, also encoded again or resized.

An image becomes a thumbnail of 16 x 16 grey cells. Copies are found by short hashes of it (locality-sensitive
hashing) and compared cell by cell: what moves visibly changes some cell by more than encoding changes any.
"""

import math
import random
import zlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from PIL import Image

_SIDE = 16
# Decoded smaller than this, the rounding of sizes shows in the thumbnail as if something had moved.
MIN_SIDE = 128
# No cell of a copy differs by more than this fraction of the contrast, or by that many levels. Measured on photographs
# encoded as JPEG of quality 40 to 95, PNG and WebP, and resized to 50 to 200 %: see tests/data/test_duplicates.py.
_MAX_DIFFERENCE = 0.2
_NOISE = 2.0
# With less than this between neighbouring cells images cannot be distinguished: fog, sky, blank paper.
_MIN_DETAIL = 3.0

_NUM_BANDS = 8
_BITS = 32
# What keeps the work linear for a hundred thousand frames of one scene: leaders in a bucket, rounds of grouping.
_MAX_LEADERS = 16
_MAX_ROUNDS = 100
_PAIRS_AT_ONCE = 2**14


def fingerprint(image: Image.Image) -> bytes:
    """Return the image's thumbnail: 256 grey levels, row by row.

    The image is upright, of 8 bits a channel, and may have been decoded at a reduced size, but with neither
    side shorter than MIN_SIDE because of it.
    """
    return image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR).tobytes()


def groups(fingerprints: np.ndarray, digests: Sequence[bytes] | None = None) -> np.ndarray:
    """Return int64 [n], for each image the index of the first one that shows the same thing.

    Two images do if their content is equal or their thumbnails hardly differ. In a group all are like one of
    them, its leader, so that a film does not become one group frame by frame. Images without detail are grouped
    by content only. The order of the images does not matter.

    Args:
        fingerprints: uint8 [n, 256], those of `fingerprint`.
        digests: a hash of the content of each file.
    """
    same = np.arange(len(fingerprints)) if digests is None else _first_equal(digests)
    kept = np.flatnonzero((same == np.arange(len(same))) & (_detail(fingerprints) >= _MIN_DETAIL))
    keys = [fingerprints[i].tobytes() for i in kept]
    # The order of an image does not depend on the others, and is mixed, so that leaders are typical of their groups.
    distinct = sorted(set(keys), key=lambda cells: (zlib.crc32(cells), cells))
    thumbnails = np.frombuffer(b"".join(distinct), np.uint8).reshape(-1, _SIDE * _SIDE)
    leader = dict(zip(distinct, _leaders(thumbnails).tolist(), strict=True))
    same[kept] = kept[_first_equal(leader[cells] for cells in keys)]
    return same[same]


def joined(groups: Sequence[int], keys: Sequence[object]) -> list[int]:
    """Return the groups [n] that result if images of one group or of equal keys [n] belong together.

    A group's number is the index of its first member.
    """
    first = np.concatenate([_first_equal(groups), _first_equal(keys)])
    pairs = np.column_stack((first, np.tile(np.arange(len(groups)), 2)))
    return _components(len(groups), pairs).tolist()


def _first_equal(keys: Iterable[object]) -> np.ndarray:
    """Return int64 [n], for each key the index of its first occurrence."""
    first: dict[object, int] = {}
    return np.array([first.setdefault(key, index) for index, key in enumerate(keys)], np.int64)


def _leaders(thumbnails: np.ndarray) -> np.ndarray:
    """Return int64 [n], for each thumbnail uint8 [n, 256] the one it is a copy of; a leader is its own.

    Of all that pairs connect the first becomes leader; what they connect without its copies goes on likewise.
    """
    leaders = np.arange(len(thumbnails))
    # The levels by which a cell of a copy may differ; the contrast is the standard deviation.
    variance = _mean_square(thumbnails) - np.square(thumbnails.mean(axis=1))
    limits = np.maximum(_NOISE, _MAX_DIFFERENCE * np.sqrt(variance))
    pairs = np.concatenate([np.empty((0, 2), np.int64), *_similar_pairs(thumbnails, limits)])
    for _ in range(_MAX_ROUNDS):
        if not len(pairs):
            break
        connected = np.unique(pairs)
        candidates = np.column_stack((_components(len(thumbnails), pairs)[connected], connected))
        found = candidates[_are_similar(thumbnails, limits, candidates)]
        leaders[found[:, 1]] = found[:, 0]
        is_left = ~np.isin(np.arange(len(thumbnails)), found[:, 1])
        pairs = pairs[is_left[pairs[:, 0]] & is_left[pairs[:, 1]]]
    return leaders


def _similar_pairs(thumbnails: np.ndarray, limits: np.ndarray) -> Iterator[np.ndarray]:
    """Yield int64 [p, 2], pairs that connect almost all copies among the thumbnails uint8 [n, 256]."""
    rng = random.Random(0)
    # For each band the cells to compare with each other, every cell twice in all.
    cells = [cell for _ in range(2) for cell in sorted(range(_SIDE * _SIDE), key=lambda _: rng.random())]
    for left, right in np.array(cells).reshape(_NUM_BANDS, 2, _BITS):
        differences = thumbnails[:, left].astype(np.int16) - thumbnails[:, right]
        keys = np.ascontiguousarray(np.packbits(differences > 0, axis=1)).view(np.uint32).ravel()
        # Ordered differently in each band, so that a crowded bucket has other leaders each time.
        order = np.lexsort((differences.sum(axis=1), keys))
        for _ in range(_MAX_LEADERS):
            pairs = _with_first_of_bucket(keys, order)
            similar = _are_similar(thumbnails, limits, pairs)
            yield pairs[similar]
            order = pairs[~similar, 1]


def _with_first_of_bucket(keys: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return int64 [p, 2], the first thumbnail of each bucket with each other; `order` has equal keys side by side."""
    starts = np.flatnonzero(np.diff(keys[order], prepend=~keys[order[:1]]))
    first = np.repeat(order[starts], np.diff(starts, append=len(order)))
    return np.column_stack((first, order))[first != order]


def _components(count: int, pairs: np.ndarray) -> np.ndarray:
    """Return int64 [n], for each of `count` nodes the lowest that pairs int64 [p, 2] connect it to."""
    lowest = np.arange(count)
    while True:
        a, b = lowest[pairs[:, 0]], lowest[pairs[:, 1]]
        if np.array_equal(a, b):
            return lowest
        np.minimum.at(lowest, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(shorter := lowest[lowest], lowest):
            lowest = shorter


def _are_similar(thumbnails: np.ndarray, limits: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Say for each of the pairs int64 [p, 2] whether all cells differ by no more than the lower limit: bool [p]."""
    similar = np.empty(len(pairs), bool)
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        a, b = pairs[start : start + _PAIRS_AT_ONCE].T
        worst = _absolute_difference(thumbnails[a], thumbnails[b]).max(axis=1)
        similar[start : start + len(a)] = worst <= np.minimum(limits[a], limits[b])
    return similar


def _detail(thumbnails: np.ndarray) -> np.ndarray:
    """Return float64 [n], the root mean square difference of neighbouring cells."""
    cells = thumbnails.reshape(-1, _SIDE, _SIDE)
    down = _absolute_difference(cells[:, 1:], cells[:, :-1])
    across = _absolute_difference(cells[:, :, 1:], cells[:, :, :-1])
    return np.sqrt((_mean_square(down) + _mean_square(across)) / 2)


def _mean_square(values: np.ndarray) -> np.ndarray:
    """Return float64 [n], the mean square of each of n arrays uint8 [n, ...]."""
    rows = values.reshape(len(values), math.prod(values.shape[1:]))
    return np.einsum("nk,nk->n", rows, rows, dtype=np.int64) / rows.shape[1]


def _absolute_difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.maximum(a, b) - np.minimum(a, b)
