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
from boxtune.detection.nms import NonMaxSuppression
from boxtune.evaluation.found import Found, pixels_of
from boxtune.exporting.parity import Bounds, iou
from boxtune.models import Detector
from boxtune.models.detector import windows
from boxtune.structures import Inputs

_IOU_BOUND = 0.01
"""How far from its threshold rounding of boxes may move an IoU."""


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
    suppress = detector.suppress
    if suppress is None or suppress.soft_nms_sigma > 0:
        return lambda found: False
    candidates = _candidates_of(detector, section)

    def is_right(found: Found) -> bool:
        boxes, scores = candidates(pixels_of(found.source)[None])
        return is_right_choice(found, boxes, scores, suppress, bounds, min_score)

    return is_right


def is_right_choice(
    found: Found,
    boxes: npt.NDArray[np.floating],
    scores: npt.NDArray[np.floating],
    suppress: NonMaxSuppression,
    bounds: Bounds,
    min_score: float,
) -> bool:
    """Say whether what was found in an image is a right choice among boxes [a, 4] with scores [a, c]."""
    num_classes = scores.shape[1]
    if ((found.classes < 0) | (found.classes >= num_classes)).any():
        return False
    is_full = len(found.scores) >= suppress.max_total_detections
    lowest = found.scores.min(initial=1.0) if is_full else 0.0
    if suppress.class_agnostic:
        best = scores.max(axis=1)
        is_best = np.where(scores >= best[:, None] - bounds.score, scores, -1.0)
        chosen = _Chosen(found.boxes, found.scores, suppress.iou_threshold, bounds)
        return _are_among(found, boxes, is_best, bounds) and chosen.leaves_nothing(
            boxes, best, max(min_score, lowest)
        )
    return _are_among(found, boxes, scores, bounds) and all(
        _is_right_of_class(found, number, boxes, scores[:, number], suppress, bounds, max(min_score, lowest))
        for number in range(num_classes)
    )


def _is_right_of_class(
    found: Found,
    number: int,
    boxes: npt.NDArray[np.floating],
    scores: npt.NDArray[np.floating],
    suppress: NonMaxSuppression,
    bounds: Bounds,
    min_score: float,
) -> bool:
    rows = found.classes == number
    chosen = _Chosen(found.boxes[rows], found.scores[rows], suppress.iou_threshold, bounds)
    is_full = len(chosen.scores) >= suppress.max_detections_per_class
    lowest = chosen.scores.min(initial=1.0) if is_full else 0.0
    return chosen.leaves_nothing(boxes, scores, max(min_score, lowest))


def _are_among(
    found: Found,
    boxes: npt.NDArray[np.floating],
    scores: npt.NDArray[np.floating],
    bounds: Bounds,
) -> bool:
    """Say whether each box that was found is one of those [a, 4] with scores [a, c], but for rounding."""
    for box, score, number in zip(found.boxes, found.scores, found.classes, strict=True):
        is_same = (np.abs(boxes - box) <= bounds.box).all(axis=1)
        if not (is_same & (np.abs(scores[:, number] - score) <= bounds.score)).any():
            return False
    return True


class _Chosen(NamedTuple):
    """Boxes [k, 4] that were chosen among others, with their scores [k], best first."""

    boxes: npt.NDArray[np.floating]
    scores: npt.NDArray[np.floating]
    iou_threshold: float
    bounds: Bounds

    def leaves_nothing(
        self, boxes: npt.NDArray[np.floating], scores: npt.NDArray[np.floating], min_score: float
    ) -> bool:
        """Say whether they suppress all boxes [a, 4] that score more than `min_score`, and none of themselves."""
        left = scores > min_score + self.bounds.score
        boxes, scores = boxes[left], scores[left]
        is_suppressed = np.zeros(len(boxes), bool)
        for number, (box, score) in enumerate(zip(self.boxes, self.scores, strict=True)):
            if (iou(self.boxes[number + 1 :], box) > self.iou_threshold + _IOU_BOUND).any():
                return False
            overlaps = iou(boxes, box) >= self.iou_threshold - _IOU_BOUND
            is_same = (np.abs(boxes - box) <= self.bounds.box).all(axis=1)
            is_suppressed |= (overlaps | is_same) & (score >= scores - self.bounds.score)
        return bool(is_suppressed.all())


def _candidates_of(
    detector: Detector, section: pipeline_pb2.ImageResizer
) -> Callable[[npt.NDArray[np.uint8]], tuple[Any, Any]]:
    """Return the function from an image uint8 [1, h, w, 3] to all boxes [a, 4] in its frame, clipped, and scores."""
    resize = resizer(section)

    @tf.function(autograph=False, reduce_retracing=True)
    def run(images: Any) -> tuple[Any, Any, Any]:
        resized = resize(tf.cast(images, tf.float32))
        inputs = Inputs(images=resized.image, sizes=resized.size[None])
        return *detector.candidates(inputs, detector(inputs, training=False)), windows(inputs)

    def candidates(images: npt.NDArray[np.uint8]) -> tuple[Any, Any]:
        boxes, scores, window = (part.numpy()[0] for part in run(tf.constant(images)))
        inside = np.clip(boxes, np.tile(window[:2], 2), np.tile(window[2:], 2))
        has_area = (inside[:, 2:] > inside[:, :2]).all(axis=1)
        sides = np.tile(window[2:] - window[:2], 2)
        return ((inside - np.tile(window[:2], 2)) / sides)[has_area], scores[has_area]

    return candidates
