"""Whether what a file finds is right where rounding decides between nearly equal scores.

Suppression chooses among all boxes of the network. Where two have the same score but for rounding, another runtime may
choose the other one, and all that follows from it; what it finds is as good then. So a choice is right if each of it is
one of those boxes, and each box that is not chosen is suppressed by one of it that scores no less, or is not among the
best that are kept.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from boxtune.config import pipeline_pb2
from boxtune.data.resize import resizer
from boxtune.evaluation.found import Found, pixels_of
from boxtune.exporting.parity import Bounds, iou
from boxtune.models import Detector
from boxtune.models.detector import windows
from boxtune.structures import Inputs

_IOU_BOUND = 0.01
"""How far from its threshold rounding of boxes may move an IoU."""

Floats = npt.NDArray[np.floating]


class Candidates(NamedTuple):
    """The boxes of all anchors of an image, in its frame."""

    boxes: Floats  # [a, 4], as they suppress each other
    clipped: Floats  # [a, 4], as they are found: those without an area are not
    scores: Floats  # [a, c]


def checker(
    detector: Detector, section: pipeline_pb2.ImageResizer, bounds: Bounds, min_score: float
) -> Callable[[Found], bool]:
    """Return the function that says whether what was found in an image is a right choice.

    Args:
        detector: whose candidates are chosen among.
        section: its `image_resizer`.
        bounds: how far rounding moves scores and boxes.
        min_score: only what scores more is looked at.
    """
    if detector.suppress is not None and detector.suppress.soft_nms_sigma > 0:
        return lambda found: False
    candidates = _candidates_of(detector, section)

    def is_right(found: Found) -> bool:
        among = candidates(pixels_of(found.source)[None])
        return is_right_choice(found, among, detector.suppress, bounds, min_score)

    return is_right


def is_right_choice(found: Found, among: Candidates, suppress: Any, bounds: Bounds, min_score: float) -> bool:
    """Say whether what was found in an image is a right choice by a NonMaxSuppression, or None for the best boxes."""
    num_classes = among.scores.shape[1]
    if ((found.classes < 0) | (found.classes >= num_classes)).any():
        return False
    lowest = found.scores.min(initial=1.0)
    if suppress is None:
        return _Choice(found, among, bounds).is_of_the_best(max(min_score, lowest))
    is_full = len(found.scores) >= suppress.max_total_detections
    min_score = max(min_score, lowest if is_full else 0.0)
    if suppress.class_agnostic:
        best = among.scores.max(axis=1, keepdims=True)
        is_best = among.scores >= best - bounds.score
        choice = _Choice(found, among._replace(scores=np.where(is_best, among.scores, -1.0)), bounds)
        return choice.is_complete(best[:, 0], suppress.iou_threshold, min_score)
    for number in range(num_classes):
        rows = found.classes == number
        of_class = found._replace(
            boxes=found.boxes[rows], classes=found.classes[rows], scores=found.scores[rows]
        )
        is_full = len(of_class.scores) >= suppress.max_detections_per_class
        lowest = of_class.scores.min(initial=1.0) if is_full else 0.0
        choice = _Choice(of_class, among, bounds)
        if not choice.is_complete(among.scores[:, number], suppress.iou_threshold, max(min_score, lowest)):
            return False
    return True


class _Choice(NamedTuple):
    found: Found
    among: Candidates
    bounds: Bounds

    def anchors(self) -> list[npt.NDArray[np.integer]]:
        """Return which candidates each of those that were found may be: that look the same, but for rounding."""
        return [
            np.flatnonzero(
                (np.abs(self.among.clipped - box) <= self.bounds.box).all(axis=1)
                & (np.abs(self.among.scores[:, number] - score) <= self.bounds.score)
            )
            for box, number, score in zip(
                self.found.boxes, self.found.classes, self.found.scores, strict=True
            )
        ]

    def is_complete(self, scores: Floats, iou_threshold: float, min_score: float) -> bool:
        """Say whether they suppress all candidates that score [a] more than `min_score`, and none of themselves."""
        anchors = self.anchors()
        if not all(map(len, anchors)):
            return False
        boxes, left = self.among.boxes, scores > min_score + self.bounds.score
        surely = [rows[0] for rows in anchors if len(rows) == 1]
        for number, row in enumerate(surely):
            if (iou(boxes[surely[number + 1 :]], boxes[row]) > iou_threshold + _IOU_BOUND).any():
                return False
        has_area = (self.among.clipped[:, 2:] > self.among.clipped[:, :2]).all(axis=1)
        suppressing = {*np.concatenate([np.flatnonzero(~has_area & left), *anchors]).tolist()}
        rows = np.flatnonzero(left & has_area)
        is_suppressed = np.zeros(len(rows), bool)
        for row in suppressing:
            overlaps = (iou(boxes[rows], boxes[row]) >= iou_threshold - _IOU_BOUND) | (rows == row)
            is_suppressed |= overlaps & (scores[row] >= scores[rows] - self.bounds.score)
        return bool(is_suppressed.all())

    def is_of_the_best(self, min_score: float) -> bool:
        """Say whether of each candidate that scores more than `min_score` one class at least was found."""
        best = self.among.scores.max(axis=1)
        left = np.flatnonzero(best > min_score + self.bounds.score)
        anchors = self.anchors()
        if not all(map(len, anchors)):
            return False
        return set(left.tolist()) <= {*np.concatenate([np.zeros(0, int), *anchors]).tolist()}


def _candidates_of(
    detector: Detector, section: pipeline_pb2.ImageResizer
) -> Callable[[npt.NDArray[np.uint8]], Candidates]:
    """Return the function from an image uint8 [1, h, w, 3] to what a detector chooses among."""
    resize = resizer(section)

    @tf.function(autograph=False, reduce_retracing=True)
    def run(images: Any) -> tuple[Any, Any, Any]:
        resized = resize(images)
        inputs = Inputs(images=resized.image, sizes=resized.size[None])
        return *detector.candidates(inputs, detector(inputs, training=False)), windows(inputs)

    def candidates(images: npt.NDArray[np.uint8]) -> Candidates:
        boxes, scores, window = (part.numpy()[0] for part in run(tf.constant(images)))
        corner, sides = np.tile(window[:2], 2), np.tile(window[2:] - window[:2], 2)
        of_image = (boxes - corner) / sides
        return Candidates(of_image, np.clip(of_image, 0, 1), scores)

    return candidates
