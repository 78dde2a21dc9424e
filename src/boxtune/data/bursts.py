"""Which images were taken one right after the other: bursts and frames of films, which show nearly the same."""

import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import PurePosixPath

import numpy as np

MAX_SECONDS = 3.0
"""Between neighbours whose names or EXIF tell when they were taken."""
MIN_LIKENESS = 0.8
"""Correlation of the thumbnails of neighbours by number, after the mean of the set is taken away.

On sets of photographs that are numbered one by one it is 0.0 in the middle, and above 0.6 for one pair in twenty.
"""

_DATE_AND_TIME = re.compile(
    r"(?<!\d)((?:19|20)\d\d)[-_.:]?(0[1-9]|1[0-2])[-_.:]?(0[1-9]|[12]\d|3[01])[-_ T.]{0,3}"
    r"([01]\d|2[0-3])[-_.:h]?([0-5]\d)[-_.:m]?([0-5]\d)(?:[._,-]?(\d{3}))?(?!\d)"
)
_SECONDS_SINCE_1970 = re.compile(r"(?<!\d)(1\d{9})(?:[._]?(\d{3}|\d{6}))?(?!\d)")
_NUMBER = re.compile(r"(.*?)(\d{1,15})(\D*)", re.DOTALL)
# What programs append to the name of an image when they make versions of it.
_APPENDED = re.compile(r"([_-](jpe?g|png|bmp|tiff?|webp))?(\.rf\.[0-9a-f]{32})?$", re.IGNORECASE)

_Series = tuple[bool, list[tuple[float, int]]]
"""Whether the places in it are times, and (place, index) of each image."""


def bursts(
    names: Sequence[str], fingerprints: np.ndarray, times: Sequence[float | None] | None = None
) -> list[int]:
    """Return for each image the index of the first of its burst [n]; that of an image on its own is its own.

    Neighbours are images of one folder that were taken at most MAX_SECONDS apart, as their EXIF says. Without EXIF,
    they also have one kind of name, with times that close, or with consecutive numbers if they look alike. A burst of
    more than half of all images is cut into twentieths of the set, since otherwise nothing could be split.

    Args:
        names: of the images, with `/` between folders.
        fingerprints: uint8 [n, d], grey thumbnails.
        times: in seconds, as the EXIF of each image says, where it does.
    """
    if not names:
        return []
    first = list(range(len(names)))
    for members in _chains(_series(names, times or [None] * len(names)), fingerprints):
        at_most = len(names) if 2 * len(members) <= len(names) else max(1, len(names) // 20)
        for place, index in enumerate(members):
            first[index] = members[place // at_most * at_most]
    return first


def _chains(series: Iterable[_Series], fingerprints: np.ndarray) -> Iterator[list[int]]:
    """Yield the indices of each burst, in its order."""
    looks = _normalized(fingerprints)
    for is_time, places in series:
        chain: list[int] = []
        for (before, index), (after, following) in pairwise(sorted(places)):
            chain = chain or [index]
            near = after - before <= MAX_SECONDS if is_time else after - before == 1
            if near and (is_time or float(looks[index] @ looks[following]) >= MIN_LIKENESS):
                chain.append(following)
            else:
                yield chain
                chain = []
        if chain:
            yield chain


def _series(names: Sequence[str], times: Sequence[float | None]) -> list[_Series]:
    """Return the images whose places in a series are known."""
    series: dict[Hashable, _Series] = {}
    for index, (name, taken) in enumerate(zip(names, times, strict=True)):
        path = PurePosixPath(name)
        if taken is not None:
            series.setdefault(path.parent, (True, []))[1].append((taken, index))
            continue
        stem = _APPENDED.sub("", path.stem)
        timed, numbered = _time(stem), _NUMBER.fullmatch(stem)
        if timed:
            before, seconds = timed
            series.setdefault((path.parent, before), (True, []))[1].append((seconds, index))
        elif numbered:
            before, number, after = numbered.groups()
            series.setdefault((path.parent, before, after), (False, []))[1].append((int(number), index))
    # One time for all says when they were written, not when they were taken.
    return [
        (is_time, places)
        for is_time, places in series.values()
        if len({place for place, _ in places}) > 1 or (is_time and len(places) < len(names) / 2)
    ]


def _time(stem: str) -> tuple[str, float] | None:
    """Return what stands before the time in a name, and the time in seconds; None if there is none."""
    if found := _DATE_AND_TIME.search(stem):
        *parts, milliseconds = found.groups()
        try:
            seconds = datetime(*map(int, parts), tzinfo=UTC).timestamp()  # type: ignore[misc, arg-type]
        except ValueError:  # such as February 30th
            return None
        return stem[: found.start()], seconds + int(milliseconds or 0) / 1000
    if found := _SECONDS_SINCE_1970.search(stem):
        fraction = found[2] or "0"
        return stem[: found.start()], int(found[1]) + int(fraction) / 10 ** len(fraction)
    return None


def _normalized(fingerprints: np.ndarray) -> np.ndarray:
    """Return thumbnails without the mean of all, of mean 0 and length 1; 0 where nothing is left."""
    looks = fingerprints - fingerprints.mean(axis=0, dtype=np.float32, keepdims=True)
    looks -= looks.mean(axis=1, keepdims=True)
    return looks / np.maximum(np.linalg.norm(looks, axis=1, keepdims=True), 1e-6)
