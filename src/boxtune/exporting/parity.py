"""Whether an exported file finds in images what the checkpoint finds: compared box by box, as a table and as JSON."""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from boxtune.errors import CheckpointError, many
from boxtune.evaluation.found import Found, Source

PARITY = "parity.json"
"""In the folder of an exported model: the comparison of each of its files with the checkpoint."""

MIN_IOU = 0.9
"""Of two boxes that are the same detection."""

IMAGES = 16
"""The most that are compared."""


class Bounds(NamedTuple):
    """What is asked of the files of a precision."""

    min_score: float
    """Detections of higher scores are compared, or if there are none those above half of the highest."""
    score: float
    """How much the scores of the same detection may differ."""
    box: float
    """How much the sides of boxes may differ before suppression, as a fraction of the image."""
    is_exact: bool
    """Whether all detections have to be found, and none besides; else a warning says so if too many differ."""


BOUNDS = {
    "float32": Bounds(0.3, 1e-4, 1e-4, True),
    "float16": Bounds(0.3, 0.01, 0.01, False),  # where boxes crowd, its rounding moves the choice among them
    "dynamic_range": Bounds(0.5, 0.05, 0.05, False),
    "int8": Bounds(0.5, 0.15, 0.1, False),
}
"""By the precisions of files."""

_MOST_LOST, _MOST_BESIDES = 0.05, 0.1
"""Of the detections, without a warning, where a file is not exact."""

_SAME = 1e-6  # of the sides of boxes, as fractions of the image

_NOISE_SIZES = ((96, 128), (240, 160), (333, 500), (64, 64))

_log = logging.getLogger("boxtune")


@dataclass(frozen=True)
class Parity:
    """How a file compares with its checkpoint."""

    file: str
    precision: str
    megabytes: float
    images: int
    of: str
    """What the images are: of which records, or noise."""
    min_score: float
    """Detections of higher scores were compared."""
    detections: int
    """So many the checkpoint found."""
    matched: int
    """So many of them the file found, too: of the same class, at an IoU of MIN_IOU, with a score within the bound."""
    extra: int
    """So many others it found."""
    largest_box_difference: float
    """Of the sides of the matched boxes, as a fraction of the image."""
    largest_score_difference: float
    """Of the matched."""
    score_bound: float
    """The most that was allowed."""
    score_floor: float = 0.0
    """The score that detections of the file exceed."""
    by_ties: bool = False
    """What is lost or found besides has as good a score as what it stands for: rounding decides, and the file is right.

    Of a detector that has learned little most scores are nearly equal.
    """

    @property
    def differs(self) -> bool:
        """Whether the file lost a detection or found others."""
        return self.matched < self.detections or self.extra > 0

    @property
    def is_exact(self) -> bool:
        """Whether files of its precision have to find the same."""
        return BOUNDS[self.precision].is_exact

    @property
    def falls_short(self) -> bool:
        """Whether it differs by more than is allowed, and not by ties."""
        if self.is_exact:
            return self.differs and not self.by_ties
        lost = self.detections - self.matched
        return lost > _MOST_LOST * self.detections or self.extra > _MOST_BESIDES * self.detections


def compare(
    expected: Iterable[Found],
    found: Iterable[Found],
    *,
    file: str,
    size: int,
    of: str,
    precision: str = "float32",
    score_floor: float = 0.0,
) -> Parity:
    """Compare what a checkpoint finds in some images with what a file finds in the same images.

    Args:
        expected: by the checkpoint.
        found: by the file.
        file: its name.
        size: its bytes.
        of: what the images are.
        precision: a key of BOUNDS.
        score_floor: the score that detections of the file exceed.
    """
    pairs = list(zip(expected, found, strict=True))
    scores = [one.scores.max(initial=0.0) for one, _ in pairs]
    highest = float(max(scores, default=0.0))
    bounds = BOUNDS[precision]
    min_score = bounds.min_score if highest > bounds.min_score else highest / 2
    if score_floor > 0:
        min_score = max(min_score, score_floor + bounds.score)  # nearer to it, rounding decides
    matches = [_match(one, other, min_score, bounds.score) for one, other in pairs]
    differences = np.concatenate([np.zeros((1, 2)), *(match.differences for match in matches)])
    return Parity(
        file=file,
        precision=precision,
        megabytes=size / 1e6,
        images=len(pairs),
        of=of,
        min_score=min_score,
        detections=sum(match.expected for match in matches),
        matched=sum(len(match.differences) for match in matches),
        extra=sum(match.extra for match in matches),
        largest_box_difference=float(differences[:, 0].max()),
        largest_score_difference=float(differences[:, 1].max()),
        score_bound=bounds.score,
        score_floor=score_floor,
    )


def table(parities: Sequence[Parity]) -> str:
    """Return comparisons, of the same images each, as a table."""
    rows = [
        ("file", "precision", "MB", "floor", "above", "detections", "found", "besides", "boxes", "scores"),
        *map(_row, parities),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"Compared with the checkpoint on {many(parities[0].images, 'image')} of {parities[0].of}:"]
    for row in rows:
        texts = (
            f"{text:<{width}}" if number < 2 else f"{text:>{width}}"
            for number, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append(f"  {'  '.join(texts)}")
    lines.append("  boxes, scores: the largest difference, of boxes as a fraction of the image")
    lines.append("  floor: detections score more, in any use of the file; a high one lowers mAP")
    tied = [one.file for one in parities if one.differs and one.by_ties]
    if tied:
        lines.append(f"  {', '.join(tied)}: the others are as good: rounding decides between equal scores")
    return "\n".join(lines)


def _row(one: Parity) -> tuple[str, ...]:
    return (
        *(one.file, one.precision, f"{one.megabytes:.2f}", f"{one.score_floor:g}", f"{one.min_score:.2g}"),
        *(f"{one.detections}", f"{one.matched}", f"{one.extra}"),
        *(f"{one.largest_box_difference:.1e}", f"{one.largest_score_difference:.1e}"),
    )


def require(parities: Sequence[Parity]) -> None:
    """Raise CheckpointError if a file falls short of its checkpoint; warn of one that need not be exact."""
    for one in parities:
        if not one.detections:
            _log.warning(
                "%s: nothing was compared, since the checkpoint finds nothing above %.2g in %s.",
                *(one.file, one.min_score, many(one.images, "image")),
            )
        if not one.falls_short:
            continue
        lost = one.detections - one.matched
        what = (
            f"of {many(one.detections, 'detection')} above {one.min_score:.2g} in {many(one.images, 'image')} it "
            f"loses {lost}, and it finds {one.extra} others"
        )
        if one.is_exact:
            raise CheckpointError(
                f"{one.file} does not find what the checkpoint finds: {what}. It is not written; please report this "
                "with the pipeline.config"
            )
        _log.warning(
            "%s: %s. That is much for %s: measure it with `boxtune evaluate --model %s`, or take a file of a higher "
            "precision.",
            *(one.file, what, one.precision, one.file),
        )


def write(parities: Sequence[Parity], folder: Path) -> None:
    """Write comparisons as JSON."""
    text = json.dumps([asdict(one) for one in parities], indent=2, allow_nan=False)
    (folder / PARITY).write_text(f"{text}\n", encoding="utf-8")


def keep(folder: Path, new: Path) -> None:
    """Add to the comparisons in a new folder those in an old one of files that are not in the new one."""
    try:
        before = json.loads((folder / PARITY).read_text(encoding="utf-8"))
        kept = [one for one in before if (folder / one["file"]).exists() and not (new / one["file"]).exists()]
    except (OSError, ValueError, TypeError, KeyError):
        return  # there are none, or somebody has edited them
    text = json.dumps([*kept, *json.loads((new / PARITY).read_text(encoding="utf-8"))], indent=2)
    (new / PARITY).write_text(f"{text}\n", encoding="utf-8")


def noise(count: int = IMAGES) -> list[Source]:
    """Return images of coloured noise of several sizes, the same each time: where there are no photographs."""
    rng = np.random.default_rng(0)
    images = []
    for number in range(count):
        height, width = _NOISE_SIZES[number % len(_NOISE_SIZES)]
        coarse = rng.integers(0, 256, [8, 8, 3], np.uint8)
        rows, columns = np.arange(height) * 8 // height, np.arange(width) * 8 // width
        images.append(Source(f"noise {number}", coarse[rows][:, columns], None))
    return images


@dataclass(frozen=True)
class _Match:
    expected: int
    extra: int
    differences: npt.NDArray[
        np.floating
    ]  # [m, 2]: of the boxes and the scores of those that were found again


def _match(expected: Found, found: Found, min_score: float, bound: float) -> _Match:
    """Match what is found in one image, the best first; each of `found` is matched once.

    Where a score lies within the bound of `min_score`, the other may lie below it.
    """
    differences = []
    is_left = found.scores > min_score - bound
    compared = np.flatnonzero(expected.scores > min_score)
    for row in compared:
        apart = np.abs(found.scores - expected.scores[row])
        fits = is_left & (found.classes == expected.classes[row]) & (apart <= bound)
        sides = np.abs(found.boxes - expected.boxes[row]).max(axis=1, initial=0.0)
        # Of boxes so thin that rounding decides on their area, the IoU says nothing.
        overlaps = np.where(sides <= _SAME, 1.0, iou(found.boxes, expected.boxes[row])) * fits
        if overlaps.max(initial=0.0) >= MIN_IOU:
            best = int(overlaps.argmax())
            is_left[best] = False
            differences.append([float(sides[best]), float(apart[best])])
    extra = int((is_left & (found.scores > min_score + bound)).sum())
    return _Match(len(compared), extra, np.reshape(differences, (-1, 2)))


def iou(boxes: npt.NDArray[np.floating], box: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Return the IoU [k] of boxes [k, 4] with one [4], 0 where neither has an area."""
    sides = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    shared = np.maximum(sides, 0).prod(axis=1)
    union = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod() - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1), 0.0)
