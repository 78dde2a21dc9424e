"""How much boxes are alike: [n, m] of two lists of boxes."""

import abc
from typing import Any

import tensorflow as tf

from boxtune.detection.boxes import thresholded_iou_pairwise
from object_detection.core import box_list_ops
from object_detection.core.box_list import BoxList
from object_detection.core.standard_fields import BoxListFields


class RegionSimilarityCalculator(abc.ABC):
    """Compares the boxes of two lists."""

    def compare(self, boxlist1: BoxList, boxlist2: BoxList, scope: str | None = None) -> Any:
        """Return the similarities [n, m]; `scope` names nothing."""
        return self._compare(boxlist1, boxlist2)

    @abc.abstractmethod
    def _compare(self, boxlist1: BoxList, boxlist2: BoxList) -> Any:
        """Return the similarities [n, m]."""


class IouSimilarity(RegionSimilarityCalculator):
    """The intersection over union."""

    def _compare(self, boxlist1: BoxList, boxlist2: BoxList) -> Any:
        return box_list_ops.iou(boxlist1, boxlist2)


class DETRSimilarity(RegionSimilarityCalculator):
    """Minus the costs by which DETR matches objects (first) and predictions, which have logits as "classes".

    Source: Carion et al. 2020 (DETR, arXiv:2005.12872), section 3.1.
    """

    def __init__(self, l1_weight: float = 5, giou_weight: float = 2):
        super().__init__()
        self.l1_weight, self.giou_weight = l1_weight, giou_weight

    def _compare(self, boxlist1: BoxList, boxlist2: BoxList) -> Any:
        targets = boxlist1.get_field(BoxListFields.classes)
        probabilities = tf.nn.softmax(boxlist2.get_field(BoxListFields.classes), axis=-1)
        of_class = tf.matmul(targets, probabilities, transpose_b=True)
        distance = box_list_ops.l1(boxlist1, boxlist2)
        overlap = box_list_ops.giou(boxlist1, boxlist2)
        return of_class - self.l1_weight * distance - self.giou_weight * (1 - overlap)


class NegSqDistSimilarity(RegionSimilarityCalculator):
    """Minus the squared distance."""

    def _compare(self, boxlist1: BoxList, boxlist2: BoxList) -> Any:
        return -box_list_ops.sq_dist(boxlist1, boxlist2)


class IoaSimilarity(RegionSimilarityCalculator):
    """The intersection over the area of the second box."""

    def _compare(self, boxlist1: BoxList, boxlist2: BoxList) -> Any:
        return box_list_ops.ioa(boxlist1, boxlist2)


class ThresholdedIouSimilarity(RegionSimilarityCalculator):
    """The scores of the first boxes where the intersection over union is at least a threshold, else 0."""

    def __init__(self, iou_threshold: float = 0):
        super().__init__()
        self._iou_threshold = iou_threshold

    def _compare(self, boxlist1: BoxList, boxlist2: BoxList) -> Any:
        scores = tf.expand_dims(boxlist1.get_field(BoxListFields.scores), axis=1)
        overlaps = thresholded_iou_pairwise(boxlist1.get(), boxlist2.get(), self._iou_threshold)
        return scores * overlaps
