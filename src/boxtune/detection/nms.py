"""From decoded boxes and scores of every anchor to the few detections of an image."""

from dataclasses import dataclass

from keras import ops

from boxtune.detection.boxes import area, clip, take_rows, to_frame_of
from boxtune.detection.kernels import greedy_suppression, highest
from boxtune.structures import Detections


@dataclass(frozen=True)
class NonMaxSuppression:
    """Suppression class by class, then the best of all classes.

    Source: the API's core.post_processing.multiclass_non_max_suppression.
    """

    score_threshold: float = 0.0
    iou_threshold: float = 0.6
    max_detections_per_class: int = 100
    max_total_detections: int = 100
    soft_nms_sigma: float = 0.0
    change_coordinate_frame: bool = True

    def __call__(self, boxes, scores, window=None) -> Detections:
        """Return the detections among `boxes` [b, a, 4] with `scores` [b, a, c].

        `window` [b, 4] is the part of each input that holds the picture: boxes are cut to it, those with
        nothing left are dropped, and the rest are expressed in its frame (unless `change_coordinate_frame` is
        false).
        """
        anchors, per_class, valid = self._suppress_each_class(boxes, scores)
        kept = take_rows(boxes, anchors)  # [b, c * k', 4]
        ranks = ops.where(valid, per_class, -1.0)
        if window is not None:
            kept = clip(kept, window[:, None])
            ranks = ops.where(area(kept) > 0, ranks, -1.0)
            if self.change_coordinate_frame:
                kept = to_frame_of(kept, window[:, None])
        return self._best_of_all(kept, ranks, anchors, num_classes=scores.shape[-1])

    def _suppress_each_class(self, boxes, scores):
        limit = min(self.max_detections_per_class, scores.shape[1] or self.max_detections_per_class)
        kept = greedy_suppression(
            boxes,
            ops.transpose(scores, (0, 2, 1)),
            limit=limit,
            iou_threshold=self.iou_threshold,
            score_threshold=self.score_threshold,
            soft_sigma=self.soft_nms_sigma,
        )
        return [ops.reshape(part, (-1, scores.shape[2] * limit)) for part in kept]

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
