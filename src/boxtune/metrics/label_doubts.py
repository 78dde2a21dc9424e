"""Labels that detections contradict: probably missing, surplus, of the wrong class, or misplaced.

As in ObjectLab (Tkachenko, Thyagarajan and Mueller 2023, arXiv:2309.00832) labels are scored by what overlaps them,
one by one, and as in confident learning (Northcutt, Jiang and Chuang 2021, arXiv:1911.00068) what a score is worth is
asked of the labels themselves, class by class: most of them are right. What is added: detections are shared out among
the labels of an image first, so that nothing speaks for two of them, and doubts of all kinds can be compared.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from boxtune.metrics.matching import MATCH_IOU
from boxtune.metrics.results import ImageResult, Results
from boxtune.metrics.tables import Bools, Floats, Ints, box_ious

MIN_SCORE = 0.05
"""Detections that score less say nothing."""

MIN_DOUBT = 0.5
"""Weaker doubts are left out: else there would be one about nearly every label."""

NEAR_IOU = 0.2
"""A detection that overlaps a label less is not meant for it."""


class Kind(StrEnum):
    """What may be wrong with a label."""

    MISSING = "missing"
    SURPLUS = "surplus"
    WRONG_CLASS = "wrong class"
    MISPLACED = "misplaced"


_OF_LABELS = (Kind.SURPLUS, Kind.WRONG_CLASS, Kind.MISPLACED)


@dataclass(frozen=True, slots=True)
class Seen:
    """A detection: its 0-based class, its score, and its box [ymin, xmin, ymax, xmax] in pixels."""

    cls: int
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Doubt:
    """A label that is doubted: `score` in [0, 1], the number of its image, and its own number there.

    `label` is None where one is missing. `seen` is what the model finds instead, None where that is nothing.
    """

    kind: Kind
    score: float
    image: int
    label: int | None
    seen: Seen | None


@dataclass(frozen=True)
class LabelDoubts:
    """What models doubt about a data set.

    Attributes:
        models: what they were called.
        class_names: of the classes that they know, by the numbers in doubts.
        unknown: how many objects there are of each class that they do not know, and that is left out.
        num_labels: how many were compared.
        num_images: in how many images.
        num_trained_on: how many of these are known to have been trained on by the model that looked at them.
        doubts: the strongest first; they count images and labels as the data set does.
    """

    models: Sequence[str]
    class_names: Sequence[str]
    unknown: Mapping[str, int]
    num_labels: int
    num_images: int
    num_trained_on: int
    doubts: Sequence[Doubt]


def label_doubts(results: Results, num_classes: int, images: Sequence[int]) -> list[Doubt]:
    """Return the doubts about the labels of some images, from MIN_DOUBT on.

    With p(d) the precision of all detections of a class that score as high as d, o(l, d) = min(1, IoU / 0.5), and
    detections shared out so that each label l has at most one, d, and each detection at most one label:
    - missing: p(d) * (1 - IoU with the nearest label), of a detection d without a label that is no second one of a
      detection that has one, or of a stronger one without;
    - misplaced: p(d) * r, where r is 0 from the median IoU of its class on, 1 from an IoU of 0.5 down, linear between;
    - wrong class: the root of p(d) * o(l, d) * (1 - s), where s is the support of the label: the highest p * o of
      detections of its class that no other label has. It is a root since detections of other classes are rare on labels
      that are right;
    - surplus: (1 - s) * recall of its class, with detections of any class. Of a class that the model often misses,
      it says little that it misses another.

    Of each label the strongest counts. Crowds, groups, difficult objects and labels of unknown classes are not doubted,
    and nothing is missing where they are.

    Args:
        results: of images, detections from MIN_SCORE on.
        num_classes: c. Labels of this class or a higher one are of unknown classes.
        images: the number of each image.
    """
    agreement = _Agreement(num_classes)
    for result in results:
        agreement.add(_Comparison(result, num_classes))
    agreement.summarize()
    return [
        doubt
        for result, image in zip(results, images, strict=True)
        for doubt in _doubts(_Comparison(result, num_classes), agreement, image)
        if doubt.score >= MIN_DOUBT
    ]


class _Comparison:
    """The n labels of an image beside the k detections.

    Attributes:
        iou: float [n, k]; over the detection's own area where the label is of a crowd or a group, as COCO has it.
        mutual: float [k, k], the IoU of detections.
        same: bool [n, k], of one class.
        counted: bool [n], neither of a crowd or a group nor difficult nor of an unknown class.
        meant: int [n], the detection that each label has, -1 if none.
    """

    def __init__(self, result: ImageResult, num_classes: int):
        self.result = result
        labels, found, several = result.groundtruth_boxes, result.boxes, result.is_crowd | result.group_of
        self.counted = ~(several | result.difficult) & (result.groundtruth_classes < num_classes)
        self.iou = box_ious(found[None], labels[:, None], several[:, None])
        self.mutual = box_ious(found[None], found[:, None], False)
        self.same = result.groundtruth_classes[:, None] == result.classes[None]
        near = (self.iou >= NEAR_IOU) & ~several[:, None]
        self.meant = _shared_out(np.where(near, self.iou * result.scores, 0.0))

    @property
    def has_label(self) -> Bools:
        """Bool [k]: a label has the detection."""
        return np.isin(np.arange(len(self.result.scores)), self.meant)

    @property
    def may_be_wrong(self) -> Bools:
        """Bool [k]: the detection is not on a label that does not count."""
        return self.iou[~self.counted].max(axis=0, initial=0.0) < MATCH_IOU

    def matched(self) -> Ints:
        """Return the labels that count, int [m], and have a detection of their class with an IoU of 0.5 or more."""
        rows = np.flatnonzero((self.meant >= 0) & self.counted)
        columns = self.meant[rows]
        return rows[self.same[rows, columns] & (self.iou[rows, columns] >= MATCH_IOU)]

    def owner(self) -> Ints:
        """Return int [k]: the label that has a detection, or one of which it is a second; -1 if it is free."""
        owner = np.full(len(self.result.scores), -1)
        having = np.flatnonzero(self.meant >= 0)
        if len(having):
            overlaps = self.mutual[self.meant[having]]  # [labels that have one, k]
            owner = np.where(overlaps.max(axis=0) >= MATCH_IOU, having[overlaps.argmax(axis=0)], -1)
        owner[self.meant[having]] = having
        return owner


class _Agreement:
    """How the detections of each class agree with the labels, in all images: most labels are right.

    Attributes:
        recall: float [c], the fraction of the labels that are found.
        iou: float [c], the median overlap of those with what is found.
    """

    def __init__(self, num_classes: int):
        self._scores: list[list[Floats]] = [[] for _ in range(num_classes)]
        self._right: list[list[Bools]] = [[] for _ in range(num_classes)]
        self._ious: list[list[Floats]] = [[] for _ in range(num_classes)]
        self._num_labels = np.zeros(num_classes, np.int64)

    def add(self, one: _Comparison) -> None:
        """Take what was found in an image."""
        matched = one.matched()
        right = np.isin(np.arange(len(one.result.scores)), one.meant[matched])
        for cls in range(len(self._scores)):
            of_class = (one.result.classes == cls) & (right | one.may_be_wrong)
            own = matched[one.result.groundtruth_classes[matched] == cls]
            self._scores[cls].append(one.result.scores[of_class])
            self._right[cls].append(right[of_class])
            self._ious[cls].append(one.iou[own, one.meant[own]])
            self._num_labels[cls] += np.count_nonzero(one.counted & (one.result.groundtruth_classes == cls))

    def summarize(self) -> None:
        """Compute what the attributes and `certainty` say, once all images have been added."""
        ious = [np.concatenate([np.zeros(0), *part]) for part in self._ious]
        self.iou = np.array([np.median(part) if len(part) else 1.0 for part in ious])
        self.recall = np.array(list(map(len, ious))) / np.maximum(self._num_labels, 1)
        self._curves = [
            _precisions(np.concatenate([np.zeros(0), *scores]), np.concatenate([np.zeros(0, bool), *right]))
            for scores, right in zip(self._scores, self._right, strict=True)
        ]

    def certainty(self, classes: Ints, scores: npt.NDArray[np.floating]) -> Floats:
        """Return float [k] in (0, 1): the precision of the detections of each class from each score on."""
        certainty = np.zeros(len(scores))
        for cls in np.unique(classes):
            known, precisions = self._curves[cls]
            of_class = classes == cls
            certainty[of_class] = precisions[np.searchsorted(known, scores[of_class])]
        return certainty


def _precisions(scores: Floats, right: Bools) -> tuple[Floats, Floats]:
    """Return the k scores of detections in ascending order, and [k + 1] the precision from each on, and above all.

    It is (1 + right) / (2 + all), Laplace's rule of succession, since few detections prove little, and never falls.
    """
    order = np.argsort(-scores, kind="stable")
    precisions = (1 + np.cumsum(right[order])) / (2 + np.arange(1, len(order) + 1))
    rising = np.maximum.accumulate(precisions[::-1])
    return scores[order][::-1], np.append(rising, rising[-1:] if len(rising) else 0.5)


def _doubts(one: _Comparison, agreement: _Agreement, image: int) -> Iterator[Doubt]:
    result = one.result
    certainty = agreement.certainty(result.classes, result.scores)
    for label, (kind, score) in _of_labels(one, agreement, certainty).items():
        seen = None if kind == Kind.SURPLUS else _seen(result, int(one.meant[label]))
        yield Doubt(kind, score, image, label, seen)
    for detection, score in _missing(one, certainty).items():
        yield Doubt(Kind.MISSING, score, image, None, _seen(result, detection))


def _of_labels(one: _Comparison, agreement: _Agreement, certainty: Floats) -> dict[int, tuple[Kind, float]]:
    """Return the strongest doubt about each label that may be doubted."""
    result = one.result
    rows = np.flatnonzero(one.counted)
    classes, iou, same, meant = (
        result.groundtruth_classes[rows],
        one.iou[rows],
        one.same[rows],
        one.meant[rows],
    )
    has = meant >= 0
    owner = one.owner()[None]
    speaks = (owner == -1) | (owner == rows[:, None])
    support = certainty * np.minimum(1.0, iou / MATCH_IOU) * speaks  # [n, k]
    typical = agreement.iou[classes, None]
    off = np.clip((typical - iou) / np.maximum(typical - MATCH_IOU, 0.1), 0.0, 1.0)
    against = {
        Kind.SURPLUS: (1 - support.max(axis=1, initial=0.0)) * agreement.recall[classes],
        Kind.WRONG_CLASS: np.sqrt(
            _at(np.where(same, 0.0, support), meant)
            * (1 - np.where(same, support, 0.0).max(axis=1, initial=0.0))
        ),
        Kind.MISPLACED: _at(np.where(same, certainty * off, 0.0), meant),
    }
    scores = np.stack([np.where(has | (kind == Kind.SURPLUS), against[kind], 0.0) for kind in _OF_LABELS])
    strongest = scores.argmax(axis=0)
    return {
        int(row): (_OF_LABELS[kind], float(scores[kind, i]))
        for i, (row, kind) in enumerate(zip(rows, strongest, strict=True))
    }


def _at(values: Floats, columns: Ints) -> Floats:
    """Return float [n]: of each row of `values` [n, k] the one in its column, 0 where that is -1."""
    padded = np.concatenate([values, np.zeros((len(values), 1))], axis=1)
    return padded[np.arange(len(values)), columns]


def _missing(one: _Comparison, certainty: Floats) -> dict[int, float]:
    """Return how strongly each detection that no label has says that a label is missing."""
    nearest = one.iou.max(axis=0, initial=0.0)
    others = list(np.flatnonzero(one.has_label))
    found: dict[int, float] = {}
    for detection in np.argsort(-certainty, kind="stable").tolist():
        if detection in others:
            continue
        second = one.mutual[others, detection].max(initial=0.0) / MATCH_IOU
        found[detection] = float(certainty[detection] * (1 - min(1.0, max(nearest[detection], second))))
        others.append(detection)
    return found


def _seen(result: ImageResult, detection: int) -> Seen:
    ymin, xmin, ymax, xmax = map(float, result.boxes[detection])
    return Seen(int(result.classes[detection]), float(result.scores[detection]), (ymin, xmin, ymax, xmax))


def _shared_out(weights: Floats) -> Ints:
    """Return int [n]: a column of `weights` [n, k] for each row, none twice, the greatest first; -1 where all are 0."""
    left, columns = weights.copy(), np.full(len(weights), -1)
    for _ in range(min(weights.shape)):
        row, column = np.unravel_index(np.argmax(left), left.shape)
        if left[row, column] <= 0:
            break
        columns[row] = column
        left[row], left[:, column] = 0.0, 0.0
    return columns
