"""Hard example mining: only the hardest predictions count, so that easy negatives do not outweigh the rest."""

from dataclasses import dataclass
from typing import Any

from keras import ops

from boxtune.detection.kernels import greedy_suppression, highest
from boxtune.detection.matching import UNMATCHED

_WORST = 1e30  # in place of a loss that is not finite: it is picked first, and so reported


@dataclass(frozen=True)
class HardExampleMiner:
    """Keeps the anchors of every image with the greatest loss that overlap no harder one.

    Hardness is the weighted sum of both losses. Of two predicted boxes that overlap by more than `iou_threshold` only
    the harder one counts; with a threshold of at least 1, every box does. Then the easiest negatives are dropped until
    there are at most `max_negatives_per_positive` for each positive among them, but not fewer than
    `min_negatives_per_image`. None is no limit. Sources: Shrivastava et al. 2016 (OHEM, arXiv:1604.03540), section 4;
    Liu et al. 2016 (SSD, arXiv:1512.02325), section 2.2; the API's core.losses.HardExampleMiner.
    """

    num_hard_examples: int | None = 64
    iou_threshold: float = 0.7
    localization_weight: float = 1.0
    classification_weight: float = 1.0
    max_negatives_per_positive: float | None = None
    min_negatives_per_image: int = 0

    def __call__(self, localization, classification, boxes, matches) -> tuple[Any, Any]:
        """Return both losses [b, k] of the anchors that count, 0 where there are fewer than k.

        Args:
            localization: float [b, a], the losses of boxes.
            classification: float [b, a], the losses of classes.
            boxes: float [b, a, 4], as predicted.
            matches: int32 [b, a]: an object's index, UNMATCHED or IGNORED.
        """
        anchors, counts = self.choose(localization, classification, boxes, matches)
        return tuple(
            ops.where(counts, ops.take_along_axis(loss, anchors, axis=1), 0.0)
            for loss in (localization, classification)
        )

    def choose(self, localization, classification, boxes, matches) -> tuple[Any, Any]:
        """Return int32 [b, k], the numbers of the anchors that count, and bool [b, k]: false is padding."""
        hardness = self.localization_weight * localization + self.classification_weight * classification
        hardness = ops.nan_to_num(ops.stop_gradient(hardness), nan=_WORST, posinf=_WORST)
        anchors, counts = self._hardest_first(hardness, ops.stop_gradient(boxes))
        if self.max_negatives_per_positive is not None:
            counts = self._without_easy_negatives(counts, ops.take_along_axis(matches, anchors, axis=1))
        return anchors, counts

    def _hardest_first(self, hardness, boxes) -> tuple[Any, Any]:
        """Return the indices int32 [b, k] of anchors that do not overlap, and bool [b, k]: false is padding."""
        limit = min(self.num_hard_examples or hardness.shape[1], hardness.shape[1])
        if self.iou_threshold >= 1:
            _, anchors = highest(hardness, limit)
            return anchors, ops.ones_like(anchors, dtype="bool")
        anchors, _, valid = greedy_suppression(
            boxes, hardness[:, None], limit=limit, iou_threshold=self.iou_threshold, score_threshold=-1.0
        )
        return anchors[:, 0], valid[:, 0]

    def _without_easy_negatives(self, counts, matches) -> Any:
        positive = counts & (matches >= 0)
        negative = counts & (matches == UNMATCHED)
        num_positives = ops.sum(ops.cast(positive, "float32"), axis=1, keepdims=True)
        most = ops.maximum(
            ops.floor(self.max_negatives_per_positive * num_positives), float(self.min_negatives_per_image)
        )
        return positive | (counts & (ops.cumsum(ops.cast(negative, "float32"), axis=1) <= most))
