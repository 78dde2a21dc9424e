"""Whether a written file finds in images what the checkpoint finds: compared box by box, as a table and as JSON."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from boxtune.errors import CheckpointError, many
from boxtune.evaluation.found import Found, Source

PARITY = "parity.json"
"""In the folder of an exported model: the comparison of each of its files with the checkpoint."""

MIN_IOU = 0.9
"""Of two boxes that are the same detection."""

MIN_SCORE = 0.3
"""Detections of higher scores are compared, or if there are none those above half of the highest."""

SCORE_BOUNDS = {"float32": 1e-4}
"""By the precision of a file, how much the scores of the same detection may differ."""

BOX_BOUND = 1e-4
"""How much the sides of boxes may differ before suppression, as a fraction of the input."""

IMAGES = 16
"""The most that are compared."""

_NOISE_SIZES = ((96, 128), (240, 160), (333, 500), (64, 64))


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
    by_ties: bool = False
    """What is lost or found besides has as good a score as what it stands for: rounding decides, and the file is right.

    Of a detector that has learned little most scores are nearly equal.
    """

    @property
    def differs(self) -> bool:
        """Whether the file lost a detection or found others."""
        return self.matched < self.detections or self.extra > 0

    @property
    def falls_short(self) -> bool:
        """Whether it did so, and not by ties."""
        return self.differs and not self.by_ties

    def __str__(self) -> str:
        return "\n".join(f"  {name:<26}{value}" for name, value in self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        return [
            ("file", f"{self.file}, {self.precision}, {self.megabytes:.2f} MB"),
            ("images", f"{self.images} of {self.of}"),
            (f"detections above {self.min_score:.2g}", f"{self.detections}"),
            ("of them found again", f"{self.matched}"),
            ("found besides", f"{self.extra}"),
            *(
                [("the others", "are as good: rounding decides between equal scores")]
                if self.differs and self.by_ties
                else []
            ),
            ("boxes differ by at most", f"{self.largest_box_difference:.1e} of the image"),
            (
                "scores differ by at most",
                f"{self.largest_score_difference:.1e} ({self.score_bound:g} is allowed)",
            ),
        ]


def compare(
    expected: Iterable[Found],
    found: Iterable[Found],
    *,
    file: str,
    size: int,
    of: str,
    precision: str = "float32",
) -> Parity:
    """Compare what a checkpoint finds in some images with what a file finds in the same images.

    Args:
        expected: by the checkpoint.
        found: by the file.
        file: its name.
        size: its bytes.
        of: what the images are.
        precision: a key of SCORE_BOUNDS.
    """
    pairs = list(zip(expected, found, strict=True))
    scores = [one.scores.max(initial=0.0) for one, _ in pairs]
    highest = float(max(scores, default=0.0))
    min_score = MIN_SCORE if highest > MIN_SCORE else highest / 2
    bound = SCORE_BOUNDS[precision]
    matches = [_match(one, other, min_score, bound) for one, other in pairs]
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
        score_bound=bound,
    )


def require(parity: Parity) -> None:
    """Raise CheckpointError if a file falls short of its checkpoint."""
    if parity.falls_short:
        lost = parity.detections - parity.matched
        raise CheckpointError(
            f"{parity.file} does not find what the checkpoint finds: of {many(parity.detections, 'detection')} above "
            f"{parity.min_score:.2g} in {many(parity.images, 'image')} it loses {lost}, and it finds {parity.extra} "
            "others. It is not written; please report this with the pipeline.config"
        )


def as_json(parities: Sequence[Parity]) -> list[dict[str, Any]]:
    """Return comparisons as values of JSON."""
    return [asdict(parity) for parity in parities]


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
        overlaps = np.where(fits, _iou(found.boxes, expected.boxes[row]), 0.0)
        if overlaps.max(initial=0.0) >= MIN_IOU:
            best = int(overlaps.argmax())
            is_left[best] = False
            box = np.abs(found.boxes[best] - expected.boxes[row]).max()
            differences.append([float(box), float(apart[best])])
    extra = int((is_left & (found.scores > min_score + bound)).sum())
    return _Match(len(compared), extra, np.reshape(differences, (-1, 2)))


def _iou(boxes: npt.NDArray[np.floating], box: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Return the IoU [k] of boxes [k, 4] with one [4]; that of two without an area is 1 where they are the same."""
    sides = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    shared = np.maximum(sides, 0).prod(axis=1)
    union = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod() - shared
    same = (boxes == box).all(axis=1)
    return np.where(union > 0, shared / np.where(union > 0, union, 1), same)
