"""From the decoded boxes and scores of all anchors to the detections of an image."""

from dataclasses import dataclass, replace

from keras import ops

from boxtune.detection.boxes import area, clip, take_rows, to_frame_of
from boxtune.detection.kernels import best_class, enough_of_greedy_suppression, highest
from boxtune.structures import Detections


@dataclass(frozen=True)
class NonMaxSuppression:
    """Suppression class by class, then the best of all classes; or with `class_agnostic`, of each box's best class.

    Source: the API's core.post_processing: multiclass_non_max_suppression, class_agnostic_non_max_suppression.
    """

    score_threshold: float = 0.0
    iou_threshold: float = 0.6
    max_detections_per_class: int = 100
    max_total_detections: int = 100
    soft_nms_sigma: float = 0.0
    change_coordinate_frame: bool = True
    class_agnostic: bool = False
    """Boxes of different classes suppress each other, too; `max_detections_per_class` has no effect."""

    def __call__(self, boxes, scores, window=None, counts=None) -> Detections:
        """Return the detections among boxes with scores.

        Args:
            boxes: float [b, a, 4], or [b, a, c, 4] where each class has boxes of its own.
            scores: float [b, a, c].
            window: float [b, 4], the part of each input that holds the image: boxes are clipped to it, empty ones
                are dropped, and the rest are expressed in its frame (unless `change_coordinate_frame` is false).
            counts: int32 [b]: how many boxes of each image are not padding, if not all.
        """
        if counts is not None:
            exists = ops.arange(ops.shape(scores)[1], dtype="int32") < ops.cast(counts, "int32")[:, None]
            scores = ops.where(exists[:, :, None], scores, -1.0)
        if self.class_agnostic:
            return self._of_best_classes(boxes, scores, window)
        return self._of_each_class(boxes, scores, window, self.max_detections_per_class)

    def _of_best_classes(self, boxes, scores, window) -> Detections:
        best = best_class(scores)  # [b, a]
        if len(boxes.shape) == 4:
            boxes = ops.take_along_axis(boxes, best[:, :, None, None], axis=2)[:, :, 0]
        highest_scores = ops.max(scores, axis=-1, keepdims=True)
        found = self._of_each_class(boxes, highest_scores, window, self.max_total_detections)
        is_found = ops.arange(ops.shape(found.scores)[1], dtype="int32") < found.count[:, None]
        return replace(found, classes=ops.where(is_found, take_rows(best, found.extras["anchors"]), 0))

    def _of_each_class(self, boxes, scores, window, limit) -> Detections:
        num_classes = scores.shape[2]
        limit = limit if scores.shape[1] is None else min(limit, scores.shape[1])
        boxes = boxes if len(boxes.shape) == 3 else ops.transpose(boxes, (0, 2, 1, 3))  # [b, c, a, 4]
        counts = None
        if window is not None:
            of_each = window[:, None] if len(boxes.shape) == 3 else window[:, None, None]
            counts = area(clip(boxes, of_each)) > 0
        kept = enough_of_greedy_suppression(
            boxes,
            scores,
            enough=self.max_total_detections,
            counts=counts,
            limit=limit,
            iou_threshold=self.iou_threshold,
            score_threshold=self.score_threshold,
            soft_sigma=self.soft_nms_sigma,
        )
        anchors, per_class, valid = (ops.reshape(part, (-1, num_classes * limit)) for part in kept)
        kept_boxes = _take_boxes(boxes, anchors)
        ranks = ops.where(valid, per_class, -1.0)
        if window is not None:
            kept_boxes = clip(kept_boxes, window[:, None])
            ranks = ops.where(area(kept_boxes) > 0, ranks, -1.0)
            if self.change_coordinate_frame:
                kept_boxes = to_frame_of(kept_boxes, window[:, None])
        return self._best_of_all(kept_boxes, ranks, anchors, num_classes)

    def _best_of_all(self, boxes, ranks, anchors, num_classes) -> Detections:
        per_class = ranks.shape[1] // num_classes
        total = min(self.max_total_detections, ranks.shape[1])
        scores, order = highest(ranks, total)  # ties: the lower class and index first
        valid = scores >= 0
        zero = ops.zeros_like(order)
        return Detections(
            boxes=ops.where(valid[..., None], take_rows(boxes, order), 0.0),
            scores=ops.where(valid, scores, 0.0),
            classes=ops.where(valid, order // per_class, zero),
            count=ops.sum(ops.cast(valid, "int32"), axis=1),
            extras={"anchors": ops.where(valid, take_rows(anchors, order), zero)},
        )


def _take_boxes(boxes, anchors):
    """Return the boxes [b, c * k, 4] that `anchors` [b, c * k] number among [b, a, 4] or [b, c, a, 4]."""
    if len(boxes.shape) == 3:
        return take_rows(boxes, anchors)
    num_classes, a = boxes.shape[1], ops.shape(boxes)[2]
    classes = ops.repeat(ops.arange(num_classes, dtype="int32"), anchors.shape[1] // num_classes)
    return take_rows(ops.reshape(boxes, (-1, num_classes * a, 4)), anchors + a * classes)
