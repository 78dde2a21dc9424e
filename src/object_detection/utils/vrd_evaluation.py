"""Evaluators of visual relations, such as "woman" "at" "table", fed image by image.

`VRDRelationDetectionEvaluator` matches the boxes of both, `VRDPhraseDetectionEvaluator` the box around both. Boxes and
classes of n relations are structured arrays [n] of `vrd_box_data_type` and `label_data_type`.
"""

from abc import abstractmethod
from collections import namedtuple
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging

from object_detection.core.standard_fields import DetectionResultFields, InputDataFields
from object_detection.utils import metrics, per_image_vrd_evaluation
from object_detection.utils.metrics import MetricError
from object_detection.utils.object_detection_evaluation import Arrays, DetectionEvaluator

vrd_box_data_type = np.dtype([("subject", "f4", (4,)), ("object", "f4", (4,))])
single_box_data_type = np.dtype([("box", "f4", (4,))])
label_data_type = np.dtype([("subject", "i4"), ("object", "i4"), ("relation", "i4")])

VRDDetectionEvalMetrics = namedtuple(
    "VRDDetectionEvalMetrics",
    [
        "weighted_average_precision",
        "mean_average_precision",
        "average_precisions",
        "precisions",
        "recalls",
        "recall_50",
        "recall_100",
        "median_rank_50",
        "median_rank_100",
    ],
)


class VRDDetectionEvaluator(DetectionEvaluator):
    """Average precision and recall of relations; what is made of their boxes is up to those who inherit."""

    def __init__(self, matching_iou_threshold: float = 0.5, metric_prefix: str | None = None) -> None:
        super().__init__([])
        self._matching_iou_threshold = matching_iou_threshold
        self._evaluation = _VRDDetectionEvaluation(matching_iou_threshold)
        self._image_ids: set[Any] = set()
        self._metric_prefix = f"{metric_prefix}_" if metric_prefix else ""
        self._evaluatable_labels: dict[Any, np.ndarray] = {}
        self._negative_labels: dict[Any, np.ndarray] = {}

    @abstractmethod
    def _process_groundtruth_boxes(self, groundtruth_box_tuples: np.ndarray) -> np.ndarray:
        """Return the boxes that are matched."""

    @abstractmethod
    def _process_detection_boxes(self, detections_box_tuples: np.ndarray) -> np.ndarray:
        """Return the boxes that are matched."""

    def add_single_ground_truth_image_info(self, image_id: Any, groundtruth_dict: Arrays) -> None:
        """Take the relations of an image.

        Args:
            image_id: the name of the image.
            groundtruth_dict: `groundtruth_boxes` [n] and `groundtruth_classes` [n]; maybe `groundtruth_image_classes`,
                int, the classes of things that were looked for.

        Raises:
            MetricError: if the image is here already.
        """
        if image_id in self._image_ids:
            raise MetricError(f"the image with id {image_id} has been added already.")
        classes = groundtruth_dict[InputDataFields.groundtruth_classes]
        boxes = groundtruth_dict[InputDataFields.groundtruth_boxes]
        self._evaluation.add_single_ground_truth_image_info(
            image_id, self._process_groundtruth_boxes(boxes), classes
        )
        self._image_ids.add(image_id)
        present = np.unique(np.concatenate([classes[name] for name in boxes.dtype.names]))
        looked_for = groundtruth_dict.get(InputDataFields.groundtruth_image_classes, np.zeros(0, int))
        self._evaluatable_labels[image_id] = np.union1d(looked_for, present)
        self._negative_labels[image_id] = np.setdiff1d(looked_for, present)

    def add_single_detected_image_info(self, image_id: Any, detections_dict: Arrays) -> None:
        """Take the relations that were found in an image: `detection_boxes`, `detection_scores`, `detection_classes`.

        One counts if both things are of classes that were looked for, or one is of a class that is not there; in an
        image without relations so far no class was looked for.
        """
        if image_id not in self._image_ids:
            logging.warning("there are no relations of the image with id %s", image_id)
            self._image_ids.add(image_id)
            self._evaluatable_labels[image_id] = self._negative_labels[image_id] = np.zeros(0, int)
        boxes = detections_dict[DetectionResultFields.detection_boxes]
        classes = detections_dict[DetectionResultFields.detection_classes]
        known, absent = np.ones(len(boxes), bool), np.zeros(len(boxes), bool)
        for name in boxes.dtype.names:
            known &= np.isin(classes[name], self._evaluatable_labels[image_id])
            absent |= np.isin(classes[name], self._negative_labels[image_id])
        counts = known | absent
        self._evaluation.add_single_detected_image_info(
            image_id,
            self._process_detection_boxes(boxes[counts]),
            detections_dict[DetectionResultFields.detection_scores][counts],
            classes[counts],
        )

    def evaluate(self, relationships: Mapping[int, str] | None = None) -> dict[str, Any]:
        """Return the numbers by name; average precisions by the names of `relationships`, or by their numbers."""
        measured = self._evaluation.evaluate()
        at = f"@{self._matching_iou_threshold}IOU"
        numbers = {
            f"weightedAP{at}": measured.weighted_average_precision,
            f"mAP{at}": measured.mean_average_precision,
            f"Recall@50{at}": measured.recall_50,
            f"Recall@100{at}": measured.recall_100,
        }
        for relation, value in measured.average_precisions.items():
            numbers[f"AP{at}/{relationships[relation] if relationships else relation}"] = value
        return {f"{self._metric_prefix}{name}": value for name, value in numbers.items()}

    def clear(self) -> None:
        """Forget all images."""
        self._evaluation = _VRDDetectionEvaluation(self._matching_iou_threshold)
        self._image_ids.clear()
        self._negative_labels.clear()
        self._evaluatable_labels.clear()


class VRDRelationDetectionEvaluator(VRDDetectionEvaluator):
    """Relations whose things are both found."""

    def __init__(self, matching_iou_threshold: float = 0.5) -> None:
        super().__init__(matching_iou_threshold, "VRDMetric_Relationships")

    def _process_groundtruth_boxes(self, groundtruth_box_tuples: np.ndarray) -> np.ndarray:
        return groundtruth_box_tuples

    def _process_detection_boxes(self, detections_box_tuples: np.ndarray) -> np.ndarray:
        return detections_box_tuples


class VRDPhraseDetectionEvaluator(VRDDetectionEvaluator):
    """Relations whose things are found together, by the box around both."""

    def __init__(self, matching_iou_threshold: float = 0.5) -> None:
        super().__init__(matching_iou_threshold, "VRDMetric_Phrases")

    def _process_groundtruth_boxes(self, groundtruth_box_tuples: np.ndarray) -> np.ndarray:
        return _around(groundtruth_box_tuples)

    def _process_detection_boxes(self, detections_box_tuples: np.ndarray) -> np.ndarray:
        return _around(detections_box_tuples)


def _around(boxes: np.ndarray) -> np.ndarray:
    """Return the box around all boxes of each relation, as `single_box_data_type` [n]."""
    fields = np.stack([boxes[name] for name in boxes.dtype.names or ()])
    enclosing = np.zeros(len(boxes), single_box_data_type)
    enclosing["box"] = np.concatenate([fields[..., :2].min(axis=0), fields[..., 2:].max(axis=0)], axis=-1)
    return enclosing


class _VRDDetectionEvaluation:
    """Relations counted image by image."""

    def __init__(self, matching_iou_threshold: float = 0.5) -> None:
        self._per_image_eval = per_image_vrd_evaluation.PerImageVRDEvaluation(matching_iou_threshold)
        self._groundtruth_box_tuples: dict[Any, np.ndarray] = {}
        self._groundtruth_class_tuples: dict[Any, np.ndarray] = {}
        self._num_gt_instances = 0
        self._num_gt_imgs = 0
        self._num_gt_instances_per_relationship: dict[int, int] = {}
        self.clear_detections()

    def clear_detections(self) -> None:
        """Forget all that was found."""
        self._detection_keys: set[Any] = set()
        self._scores: list[np.ndarray] = []
        self._relation_field_values: list[np.ndarray] = []
        self._tp_fp_labels: list[np.ndarray] = []

    def add_single_ground_truth_image_info(
        self, image_key: Any, groundtruth_box_tuples: np.ndarray, groundtruth_class_tuples: np.ndarray
    ) -> None:
        """Take the relations of an image, the first time; after that, warn and leave it."""
        if image_key in self._groundtruth_box_tuples:
            logging.warning("the relations of image %s have already been added", image_key)
            return
        self._groundtruth_box_tuples[image_key] = groundtruth_box_tuples
        self._groundtruth_class_tuples[image_key] = groundtruth_class_tuples
        self._num_gt_instances += len(groundtruth_class_tuples)
        self._num_gt_imgs += 1
        counts = self._num_gt_instances_per_relationship
        for relation, count in zip(
            *np.unique(groundtruth_class_tuples["relation"], return_counts=True), strict=True
        ):
            counts[int(relation)] = counts.get(int(relation), 0) + int(count)

    def add_single_detected_image_info(
        self,
        image_key: Any,
        detected_box_tuples: np.ndarray,
        detected_scores: np.ndarray,
        detected_class_tuples: np.ndarray,
    ) -> None:
        """Take the relations that were found in an image."""
        self._detection_keys.add(image_key)
        scores, labels, given = self._per_image_eval.compute_detection_tp_fp(
            detected_box_tuples,
            detected_scores,
            detected_class_tuples,
            self._groundtruth_box_tuples.get(image_key, detected_box_tuples[:0]),
            self._groundtruth_class_tuples.get(image_key, detected_class_tuples[:0]),
        )
        self._scores.append(scores)
        self._tp_fp_labels.append(labels)
        self._relation_field_values.append(detected_class_tuples[given]["relation"])

    def evaluate(self) -> VRDDetectionEvalMetrics:
        """Return the numbers of all images; NaN where there are no relations."""
        if not self._num_gt_instances:
            logging.warning("there are no relations at all")
        scores, labels = np.concatenate([np.zeros(0), *self._scores]), self._labels()
        relations = np.concatenate([np.zeros(0, int), *self._relation_field_values])
        precisions, recalls = metrics.compute_precision_recall(scores, labels, self._num_gt_instances)
        of_each = {
            relation: metrics.compute_average_precision(
                *metrics.compute_precision_recall(
                    scores[relations == relation], labels[relations == relation], count
                )
            )
            for relation, count in self._num_gt_instances_per_relationship.items()
        }
        return VRDDetectionEvalMetrics(
            metrics.compute_average_precision(precisions, recalls),
            np.mean(list(of_each.values())) if of_each else np.nan,
            of_each,
            precisions,
            recalls,
            *(self._recall_at(k) for k in (50, 100)),
            *(self._median_rank_at(k) for k in (50, 100)),
        )

    def _labels(self) -> np.ndarray:
        return np.concatenate([np.zeros(0, bool), *self._tp_fp_labels])

    def _recall_at(self, k: int) -> float:
        if not self._num_gt_instances:
            return np.nan
        return metrics.compute_recall_at_k(self._tp_fp_labels, self._num_gt_instances, k)

    def _median_rank_at(self, k: int) -> float:
        if not any(labels[:k].any() for labels in self._tp_fp_labels):
            return np.nan
        return metrics.compute_median_rank_at_k(self._tp_fp_labels, k)
