"""The calibration error of detections, from tensors of a batch.

Dimension letters: b, images; n, objects; k, detections.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from boxtune.detection.boxes import iou_pairwise
from object_detection.core.standard_fields import DetectionResultFields, InputDataFields
from object_detection.metrics import calibration_metrics
from object_detection.utils.object_detection_evaluation import Arrays, Categories, DetectionEvaluator

_TAG = "CalibrationError/ExpectedCalibrationError"


class CalibrationDetectionEvaluator(DetectionEvaluator):
    """Expected calibration error, where a detection is right if the object that it overlaps most is of its class."""

    def __init__(self, categories: Categories, iou_threshold: float = 0.5) -> None:
        """Create an evaluator of `categories`; detections match objects from `iou_threshold` on."""
        super().__init__(categories)
        self._iou_threshold = iou_threshold

    def match_single_image_info(self, image_info: Sequence[Any]) -> Any:
        """Return int32 [k]: 1 where a detection is right, 0 where it is wrong or padding.

        Args:
            image_info: boxes [n, 4], classes [n] and the number of objects; boxes [k, 4], classes [k] and the number of
                detections.
        """
        true_boxes, true_classes, num_objects, boxes, classes, num_detections = image_info
        true_boxes, true_classes = true_boxes[:num_objects], true_classes[:num_objects]
        # A box without area, of a class that is none, so that there is one to look at.
        ious = iou_pairwise(boxes, tf.pad(true_boxes, [[0, 1], [0, 0]]))
        nearest = tf.gather(
            tf.pad(true_classes, [[0, 1]], constant_values=-1), tf.argmax(ious, axis=1, output_type=tf.int32)
        )
        near = tf.reduce_max(ious, axis=1) >= self._iou_threshold
        exists = tf.range(tf.shape(boxes)[0]) < tf.cast(num_detections, tf.int32)
        return tf.cast(near & exists & (nearest == tf.cast(classes, nearest.dtype)), tf.int32)

    def get_estimator_eval_metric_ops(self, eval_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Return the error of one image or a batch, by name; see `calibration_metrics.expected_calibration_error`.

        Args:
            eval_dict: `key`, `groundtruth_boxes` [b, n, 4], `groundtruth_classes` [b, n], `detection_boxes` [b, k, 4],
                `detection_classes` [b, k] and `detection_scores` [b, k]; or those of one image. Maybe
                `num_groundtruth_boxes` [b], `num_detections` [b], and `is_annotated` [b]: others do not count.
        """
        inputs, fields = InputDataFields, DetectionResultFields
        values = {name: tf.convert_to_tensor(value) for name, value in eval_dict.items()}
        if not values[inputs.key].shape.rank:
            values = {name: value[tf.newaxis] for name, value in values.items()}
        true_boxes, boxes = values[inputs.groundtruth_boxes], values[fields.detection_boxes]
        counts = (
            values.get(name, tf.fill([tf.shape(part)[0]], tf.shape(part)[1]))
            for name, part in ((inputs.num_groundtruth_boxes, true_boxes), (fields.num_detections, boxes))
        )
        num_objects, num_detections = (tf.cast(count, tf.int32) for count in counts)
        right = tf.map_fn(
            self.match_single_image_info,
            (
                true_boxes,
                values[inputs.groundtruth_classes],
                num_objects,
                boxes,
                values[fields.detection_classes],
                num_detections,
            ),
            fn_output_signature=tf.int32,
        )
        counting = tf.sequence_mask(num_detections, tf.shape(boxes)[1])
        annotated = values.get(inputs.is_annotated, tf.ones_like(num_detections))
        counting &= tf.cast(annotated, tf.bool)[:, tf.newaxis]
        scores = values[fields.detection_scores]
        return {
            _TAG: calibration_metrics.expected_calibration_error(right[counting], scores[counting]),
        }

    def add_single_ground_truth_image_info(self, image_id: Any, groundtruth_dict: Arrays) -> None:
        """Raise NotImplementedError: only tensors are taken."""
        raise NotImplementedError("calibration is measured by get_estimator_eval_metric_ops.")

    def add_single_detected_image_info(self, image_id: Any, detections_dict: Arrays) -> None:
        """Raise NotImplementedError: only tensors are taken."""
        raise NotImplementedError("calibration is measured by get_estimator_eval_metric_ops.")

    def evaluate(self) -> dict[str, Any]:
        """Raise NotImplementedError: nothing is kept."""
        raise NotImplementedError("calibration is measured by get_estimator_eval_metric_ops.")

    def clear(self) -> None:
        """Raise NotImplementedError: nothing is kept."""
        raise NotImplementedError("calibration is measured by get_estimator_eval_metric_ops.")
