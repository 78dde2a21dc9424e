"""Which relations that were found in one image are right."""

import numpy as np

from object_detection.utils import np_box_list_ops
from object_detection.utils.np_box_list import BoxList


class PerImageVRDEvaluation:
    """Matches relations found in an image with those that are there.

    Boxes of n or k relations are structured arrays [n] whose fields, such as "subject" and "object", are boxes [4];
    classes are structured arrays [n] with the classes of these and maybe more, such as "relation".
    """

    def __init__(self, matching_iou_threshold: float = 0.5) -> None:
        self.matching_iou_threshold = matching_iou_threshold

    def compute_detection_tp_fp(
        self,
        detected_box_tuples: np.ndarray,
        detected_scores: np.ndarray,
        detected_class_tuples: np.ndarray,
        groundtruth_box_tuples: np.ndarray,
        groundtruth_class_tuples: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return scores [k], highest first, which of them are right, bool [k], and what each was among the given, [k].

        Relations of the same classes are matched: each detection is for the one that it overlaps most, of all its boxes
        by the threshold at least. Of those for one relation the best scored is right.
        """
        best_first = np.argsort(detected_scores, kind="stable")[::-1]
        right = np.zeros(len(best_first), bool)
        for classes in np.unique(detected_class_tuples):
            rows = np.flatnonzero(detected_class_tuples[best_first] == classes)
            right[rows] = self._compute_tp_fp_for_single_class(
                detected_box_tuples[best_first[rows]],
                groundtruth_box_tuples[groundtruth_class_tuples == classes],
            )
        return detected_scores[best_first], right, best_first

    def _compute_tp_fp_for_single_class(
        self, detected_box_tuples: np.ndarray, groundtruth_box_tuples: np.ndarray
    ) -> np.ndarray:
        """Return bool [k], which of the detections, best first, are right."""
        right = np.zeros(len(detected_box_tuples), bool)
        if not len(detected_box_tuples) or not len(groundtruth_box_tuples):
            return right
        ious = self._least_overlaps(detected_box_tuples, groundtruth_box_tuples)
        best = ious.argmax(axis=1)
        near = np.flatnonzero(ious.max(axis=1) >= self.matching_iou_threshold)
        _, first = np.unique(best[near], return_index=True)
        right[near[first]] = True
        return right

    def _least_overlaps(self, detected: np.ndarray, groundtruth: np.ndarray) -> np.ndarray:
        """Return [k, n], the lowest intersection over union among the boxes of each pair."""
        overlaps = [
            np_box_list_ops.iou(BoxList(detected[name]), BoxList(groundtruth[name]))
            for name in detected.dtype.names or ()
        ]
        return np.min(overlaps, axis=0)
