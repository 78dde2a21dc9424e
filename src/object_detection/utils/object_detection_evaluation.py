"""Evaluators of Pascal VOC and Open Images: fed image by image, they return numbers by the API's names.

    evaluator = PascalDetectionEvaluator(categories)
    evaluator.add_single_ground_truth_image_info("1.jpg", {"groundtruth_boxes": ..., "groundtruth_classes": ...})
    evaluator.add_single_detected_image_info("1.jpg", {"detection_boxes": ..., ...})
    evaluator.evaluate()

Boxes are `[ymin, xmin, ymax, xmax]` in pixels; classes are those of the label map, from 1 on. Dimension letters: n,
objects; k, detections; c, classes; h w, pixels.
"""

import unicodedata
import warnings
from abc import ABCMeta, abstractmethod
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from object_detection.core.standard_fields import DetectionResultFields, InputDataFields
from object_detection.utils import label_map_util, metrics, per_image_evaluation
from object_detection.utils.metrics import MetricError

Categories = Sequence[dict[str, Any]]
"""For each class its "id", from 1 on, and its "name"."""
Arrays = Mapping[str, Any]
"""NumPy arrays of one image by the names of `standard_fields`."""

_MINIMUM_IMAGES_BETWEEN_WARNINGS = 1000

ObjectDetectionEvalMetrics = namedtuple(
    "ObjectDetectionEvalMetrics",
    ["average_precisions", "mean_ap", "precisions", "recalls", "corlocs", "mean_corloc"],
)
ObjectDetectionEvaluationState = namedtuple(
    "ObjectDetectionEvaluationState",
    [
        "num_gt_instances_per_class",
        "scores_per_class",
        "tp_fp_labels_per_class",
        "num_gt_imgs_per_class",
        "num_images_correctly_detected_per_class",
    ],
)


class DetectionEvaluator(metaclass=ABCMeta):
    """What an evaluator does: it takes objects and then detections of each image, and measures them.

    Attributes:
        _categories: for each class its "id" and "name".
    """

    def __init__(self, categories: Categories) -> None:
        self._categories = categories

    def observe_result_dict_for_single_example(self, eval_dict: Arrays) -> None:
        """Take objects and detections of one image at once. Raises NotImplementedError where that is not there."""
        raise NotImplementedError(f"{type(self).__name__} takes objects and detections one after another.")

    @abstractmethod
    def add_single_ground_truth_image_info(self, image_id: Any, groundtruth_dict: Arrays) -> None:
        """Take the objects of an image."""

    @abstractmethod
    def add_single_detected_image_info(self, image_id: Any, detections_dict: Arrays) -> None:
        """Take what was found in an image."""

    def get_estimator_eval_metric_ops(self, eval_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Return for each number its value and the operation that takes `eval_dict`."""
        raise NotImplementedError(f"{type(self).__name__} is not for estimators.")

    @abstractmethod
    def evaluate(self) -> dict[str, Any]:
        """Return the numbers of all images."""

    @abstractmethod
    def clear(self) -> None:
        """Forget all images."""


def unwrapped(value: Any) -> Any:
    """Return the only value of an array without dimensions: names of images have to be hashable."""
    return value.item() if isinstance(value, np.ndarray) else value


def metric_ops(evaluator: Any, names: Sequence[str], update_op: Any) -> dict[str, Any]:
    """Return for each name of a number its value, float32, and `update_op`.

    The values are those of `evaluator` once they are asked for, which is now where tensors have values; it is cleared
    then.
    """

    def first_value() -> np.float32:
        evaluator._metrics = evaluator.evaluate()
        evaluator.clear()
        return np.float32(evaluator._metrics[names[0]])

    def value_of(name: str) -> Callable[[], np.float32]:
        return lambda: np.float32(evaluator._metrics[name])

    first = tf.numpy_function(first_value, [], tf.float32)
    ops = {names[0]: (first, update_op)}
    with tf.control_dependencies([first]):
        for name in names[1:]:
            ops[name] = (tf.numpy_function(value_of(name), [], tf.float32), update_op)
    return ops


class ObjectDetectionEvaluator(DetectionEvaluator):
    """Average precision as Pascal VOC has it, of each class and in the mean, under a prefix of one's own."""

    def __init__(
        self,
        categories: Categories,
        matching_iou_threshold: float = 0.5,
        recall_lower_bound: float = 0.0,
        recall_upper_bound: float = 1.0,
        evaluate_corlocs: bool = False,
        evaluate_precision_recall: bool = False,
        metric_prefix: str | None = None,
        use_weighted_mean_ap: bool = False,
        evaluate_masks: bool = False,
        group_of_weight: float = 0.0,
        nms_iou_threshold: float = 1.0,
        nms_max_output_boxes: int = 10000,
    ) -> None:
        """Create an evaluator.

        Args:
            categories: for each class its "id", from 1 on, and its "name".
            matching_iou_threshold: the overlap from which on a detection finds an object.
            recall_lower_bound, recall_upper_bound: the recalls within which average precision is measured.
            evaluate_corlocs: also in how many images of each class the best detection finds an object.
            evaluate_precision_recall: also precision and recall of each class as arrays.
            metric_prefix: what the names of the numbers start with.
            use_weighted_mean_ap: the mean is over all detections, not over classes.
            evaluate_masks: masks are matched, not boxes.
            group_of_weight: how much the best detection in a group is right.
            nms_iou_threshold, nms_max_output_boxes: detections are suppressed by these first.

        Raises:
            MetricError: for a class whose number is below 1.
        """
        super().__init__(categories)
        self._num_classes = max(category["id"] for category in categories)
        if min(category["id"] for category in categories) < 1:
            raise MetricError("Classes should be 1-indexed, but there is one below 1.")
        self._matching_iou_threshold = matching_iou_threshold
        self._recall_lower_bound = recall_lower_bound
        self._recall_upper_bound = recall_upper_bound
        self._use_weighted_mean_ap = use_weighted_mean_ap
        self._label_id_offset = 1
        self._evaluate_masks = evaluate_masks
        self._group_of_weight = group_of_weight
        self._nms_iou_threshold = nms_iou_threshold
        self._nms_max_output_boxes = nms_max_output_boxes
        self._evaluation = self._new_evaluation()
        self._image_ids: set[Any] = set()
        self._evaluate_corlocs = evaluate_corlocs
        self._evaluate_precision_recall = evaluate_precision_recall
        self._metric_prefix = f"{metric_prefix}_" if metric_prefix else ""
        self._expected_keys = {
            InputDataFields.key,
            InputDataFields.groundtruth_boxes,
            InputDataFields.groundtruth_classes,
            InputDataFields.groundtruth_difficult,
            InputDataFields.groundtruth_instance_masks,
            DetectionResultFields.detection_boxes,
            DetectionResultFields.detection_scores,
            DetectionResultFields.detection_classes,
            DetectionResultFields.detection_masks,
        }
        self._metrics: dict[str, Any] | None = None
        self._build_metric_names()

    def _new_evaluation(self) -> "ObjectDetectionEvaluation":
        return ObjectDetectionEvaluation(
            num_groundtruth_classes=self._num_classes,
            matching_iou_threshold=self._matching_iou_threshold,
            nms_iou_threshold=self._nms_iou_threshold,
            nms_max_output_boxes=self._nms_max_output_boxes,
            recall_lower_bound=self._recall_lower_bound,
            recall_upper_bound=self._recall_upper_bound,
            use_weighted_mean_ap=self._use_weighted_mean_ap,
            label_id_offset=self._label_id_offset,
            group_of_weight=self._group_of_weight,
        )

    def get_internal_state(self) -> ObjectDetectionEvaluationState:
        """Return what was counted so far, for another evaluator to merge."""
        return self._evaluation.get_internal_state()

    def merge_internal_state(self, image_ids: Sequence[Any], state_tuple: Any) -> None:
        """Add what another evaluator has counted in other images.

        Raises MetricError for an image that is here already.
        """
        for image_id in image_ids:
            if image_id in self._image_ids:
                raise MetricError(f"the image with id {image_id} has been added already.")
        self._image_ids.update(image_ids)
        self._evaluation.merge_internal_state(state_tuple)

    def _build_metric_names(self) -> None:
        """Set the names of all numbers, the mean average precision first."""
        at = f"@{self._matching_iou_threshold}IOU"
        bounds = ""
        if self._recall_lower_bound > 0.0 or self._recall_upper_bound < 1.0:
            bounds = f"@[{self._recall_lower_bound:.1f},{self._recall_upper_bound:.1f}]Recall"
        self._metric_names = [f"{self._metric_prefix}Precision/mAP{at}{bounds}"]
        if self._evaluate_corlocs:
            self._metric_names.append(f"{self._metric_prefix}Precision/meanCorLoc{at}")
        for name in self._class_names().values():
            self._metric_names.append(self._name_of("AP", name))
            if self._evaluate_corlocs:
                self._metric_names.append(self._name_of("CorLoc", name))

    def _name_of(self, number: str, class_name: str) -> str:
        return f"{self._metric_prefix}PerformanceByCategory/{number}@{self._matching_iou_threshold}IOU/{class_name}"

    def _class_names(self) -> dict[int, str]:
        """Return the names of classes by number, ascending, decomposed as the API writes them."""
        index = label_map_util.create_category_index(self._categories)
        return {number: _decomposed(index[number]["name"]) for number in sorted(index)}

    def add_single_ground_truth_image_info(self, image_id: Any, groundtruth_dict: Arrays) -> None:
        """Take the objects of an image: boxes [n, 4], classes [n], maybe `groundtruth_difficult` [n], and masks.

        Raises:
            MetricError: if the image is here already, or masks that are evaluated are not there.
        """
        self._add_objects(image_id, groundtruth_dict, InputDataFields.groundtruth_difficult)

    def _add_objects(self, image_id: Any, groundtruth_dict: Arrays, flag: str) -> None:
        """Take the objects of an image, of which a flag says whether they are difficult or groups."""
        if image_id in self._image_ids:
            raise MetricError(f"the image with id {image_id} has been added already.")
        classes = groundtruth_dict[InputDataFields.groundtruth_classes] - self._label_id_offset
        flags = groundtruth_dict.get(flag)
        if flags is not None and not flags.size and classes.size:
            flags = None
        if flags is None and not len(self._image_ids) % _MINIMUM_IMAGES_BETWEEN_WARNINGS:
            logging.warning("image %s does not have the flag %s", image_id, flag)
        is_difficult = flag == InputDataFields.groundtruth_difficult
        self._evaluation.add_single_ground_truth_image_info(
            image_key=image_id,
            groundtruth_boxes=groundtruth_dict[InputDataFields.groundtruth_boxes],
            groundtruth_class_labels=classes,
            groundtruth_is_difficult_list=flags if is_difficult else None,
            groundtruth_is_group_of_list=None if is_difficult else flags,
            groundtruth_masks=self._masks(groundtruth_dict, InputDataFields.groundtruth_instance_masks),
        )
        self._image_ids.add(image_id)

    def _masks(self, arrays: Arrays, name: str) -> np.ndarray | None:
        """Return the masks [n or k, h, w] if they are evaluated."""
        if not self._evaluate_masks:
            return None
        if name not in arrays:
            raise MetricError(f"masks are evaluated, but there are no {name}.")
        return arrays[name]

    def add_single_detected_image_info(self, image_id: Any, detections_dict: Arrays) -> None:
        """Take what was found in an image: boxes [k, 4], scores [k], classes [k], and masks if they are evaluated.

        Raises:
            MetricError: if masks that are evaluated are not there, or lengths disagree.
        """
        self._add_detections(image_id, detections_dict, slice(None))

    def _add_detections(self, image_id: Any, detections_dict: Arrays, rows: Any) -> None:
        classes = detections_dict[DetectionResultFields.detection_classes] - self._label_id_offset
        masks = self._masks(detections_dict, DetectionResultFields.detection_masks)
        self._evaluation.add_single_detected_image_info(
            image_key=image_id,
            detected_boxes=detections_dict[DetectionResultFields.detection_boxes][rows],
            detected_scores=detections_dict[DetectionResultFields.detection_scores][rows],
            detected_class_labels=classes[rows],
            detected_masks=None if masks is None else masks[rows],
        )

    def evaluate(self) -> dict[str, Any]:
        """Return the numbers by name: means first, then those of each class; NaN for a class without objects."""
        measured = self._evaluation.evaluate()
        numbers = {self._metric_names[0]: measured.mean_ap}
        if self._evaluate_corlocs:
            numbers[self._metric_names[1]] = measured.mean_corloc
        for number, name in self._class_names().items():
            index = number - self._label_id_offset
            numbers[self._name_of("AP", name)] = measured.average_precisions[index]
            if self._evaluate_precision_recall:
                numbers[self._name_of("Precision", name)] = measured.precisions[index]
                numbers[self._name_of("Recall", name)] = measured.recalls[index]
            if self._evaluate_corlocs:
                numbers[self._name_of("CorLoc", name)] = measured.corlocs[index]
        return numbers

    def clear(self) -> None:
        """Forget all images."""
        self._evaluation = self._new_evaluation()
        self._image_ids.clear()

    def observe_result_dict_for_single_example(self, eval_dict: Arrays) -> None:
        """Take objects and detections of one image, whose name is under "key"."""
        known = {name: value for name, value in eval_dict.items() if name in self._expected_keys}
        image_id = known[InputDataFields.key]
        self.add_single_ground_truth_image_info(image_id, known)
        self.add_single_detected_image_info(image_id, known)

    def add_eval_dict(self, eval_dict: Mapping[str, Any]) -> Any:
        """Return an operation that takes the tensors of one image, or of a batch of them."""
        known = {name: value for name, value in eval_dict.items() if name in self._expected_keys}

        def update(*arrays: np.ndarray) -> None:
            keys = arrays[names.index(InputDataFields.key)]
            for image in [arrays] if np.ndim(keys) == 0 else zip(*arrays, strict=True):
                example = dict(zip(names, image, strict=True))
                example[InputDataFields.key] = unwrapped(example[InputDataFields.key])
                self.observe_result_dict_for_single_example(example)

        names = list(known)
        return tf.numpy_function(update, list(known.values()), [])

    def get_estimator_eval_metric_ops(self, eval_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Return for each number its value, and the operation that takes the tensors of one image or a batch."""
        return metric_ops(self, self._metric_names, self.add_eval_dict(eval_dict))


def _decomposed(name: str | bytes) -> str:
    text = name.decode("utf-8") if isinstance(name, bytes) else name
    return unicodedata.normalize("NFKD", text)


class PascalDetectionEvaluator(ObjectDetectionEvaluator):
    """Pascal VOC's mean average precision of boxes."""

    def __init__(
        self,
        categories: Categories,
        matching_iou_threshold: float = 0.5,
        nms_iou_threshold: float = 1.0,
        nms_max_output_boxes: int = 10000,
    ) -> None:
        super().__init__(
            categories,
            matching_iou_threshold=matching_iou_threshold,
            evaluate_corlocs=False,
            metric_prefix="PascalBoxes",
            use_weighted_mean_ap=False,
            nms_iou_threshold=nms_iou_threshold,
            nms_max_output_boxes=nms_max_output_boxes,
        )


class WeightedPascalDetectionEvaluator(ObjectDetectionEvaluator):
    """The same, with the mean over detections of all classes together."""

    def __init__(self, categories: Categories, matching_iou_threshold: float = 0.5) -> None:
        super().__init__(
            categories,
            matching_iou_threshold=matching_iou_threshold,
            metric_prefix="WeightedPascalBoxes",
            use_weighted_mean_ap=True,
        )


class PrecisionAtRecallDetectionEvaluator(ObjectDetectionEvaluator):
    """Mean average precision within bounds of recall."""

    def __init__(
        self,
        categories: Categories,
        matching_iou_threshold: float = 0.5,
        recall_lower_bound: float = 0.0,
        recall_upper_bound: float = 1.0,
    ) -> None:
        super().__init__(
            categories,
            matching_iou_threshold=matching_iou_threshold,
            recall_lower_bound=recall_lower_bound,
            recall_upper_bound=recall_upper_bound,
            metric_prefix="PrecisionAtRecallBoxes",
        )


class PascalInstanceSegmentationEvaluator(ObjectDetectionEvaluator):
    """Pascal VOC's mean average precision of masks."""

    def __init__(self, categories: Categories, matching_iou_threshold: float = 0.5) -> None:
        super().__init__(
            categories,
            matching_iou_threshold=matching_iou_threshold,
            metric_prefix="PascalMasks",
            evaluate_masks=True,
        )


class WeightedPascalInstanceSegmentationEvaluator(ObjectDetectionEvaluator):
    """The same, with the mean over detections of all classes together."""

    def __init__(self, categories: Categories, matching_iou_threshold: float = 0.5) -> None:
        super().__init__(
            categories,
            matching_iou_threshold=matching_iou_threshold,
            metric_prefix="WeightedPascalMasks",
            use_weighted_mean_ap=True,
            evaluate_masks=True,
        )


class OpenImagesDetectionEvaluator(ObjectDetectionEvaluator):
    """Open Images' mean average precision: `groundtruth_group_of` takes the place of `groundtruth_difficult`."""

    def __init__(
        self,
        categories: Categories,
        matching_iou_threshold: float = 0.5,
        evaluate_masks: bool = False,
        evaluate_corlocs: bool = False,
        metric_prefix: str = "OpenImagesV2",
        group_of_weight: float = 0.0,
    ) -> None:
        super().__init__(
            categories,
            matching_iou_threshold,
            evaluate_corlocs=evaluate_corlocs,
            metric_prefix=metric_prefix,
            group_of_weight=group_of_weight,
            evaluate_masks=evaluate_masks,
        )
        self._expected_keys.remove(InputDataFields.groundtruth_difficult)
        self._expected_keys.add(InputDataFields.groundtruth_group_of)

    def add_single_ground_truth_image_info(self, image_id: Any, groundtruth_dict: Arrays) -> None:
        """Take the objects of an image: boxes [n, 4], classes [n], maybe `groundtruth_group_of` [n], and masks.

        Raises:
            MetricError: if the image is here already, or masks that are evaluated are not there.
        """
        self._add_objects(image_id, groundtruth_dict, InputDataFields.groundtruth_group_of)


class OpenImagesChallengeEvaluator(OpenImagesDetectionEvaluator):
    """The Open Images Challenge: what is found of a class that nobody looked for in an image does not count.

    `groundtruth_image_classes`, or else `groundtruth_labeled_classes`, are the classes known to be in an image or not
    to be; objects come before detections.
    """

    def __init__(
        self,
        categories: Categories,
        evaluate_masks: bool = False,
        matching_iou_threshold: float = 0.5,
        evaluate_corlocs: bool = False,
        group_of_weight: float = 1.0,
    ) -> None:
        kind = "InstanceSegmentation" if evaluate_masks else "Detection"
        super().__init__(
            categories,
            matching_iou_threshold,
            evaluate_masks=evaluate_masks,
            evaluate_corlocs=evaluate_corlocs,
            metric_prefix=f"OpenImages{kind}Challenge",
            group_of_weight=group_of_weight,
        )
        self._evaluatable_labels: dict[Any, np.ndarray] = {}
        # One of the two is enough, in this order.
        self._expected_keys.add(InputDataFields.groundtruth_image_classes)
        self._expected_keys.add(InputDataFields.groundtruth_labeled_classes)

    def add_single_ground_truth_image_info(self, image_id: Any, groundtruth_dict: Arrays) -> None:
        """Take the objects of an image, and the classes that were looked for in it.

        Raises:
            MetricError: if the image is here already, or masks that are evaluated are not there.
        """
        super().add_single_ground_truth_image_info(image_id, groundtruth_dict)
        labels = groundtruth_dict.get(InputDataFields.groundtruth_image_classes)
        if labels is None:
            labels = groundtruth_dict.get(InputDataFields.groundtruth_labeled_classes)
        if labels is None:
            logging.warning("image %s does not have labels of the whole image", image_id)
            labels = np.zeros(0, int)
        known = np.concatenate([labels, groundtruth_dict[InputDataFields.groundtruth_classes]])
        self._evaluatable_labels[image_id] = np.unique(known - self._label_id_offset)

    def add_single_detected_image_info(self, image_id: Any, detections_dict: Arrays) -> None:
        """Take what was found in an image; in one without objects so far no class was looked for.

        Raises:
            MetricError: if masks that are evaluated are not there, or lengths disagree.
        """
        if image_id not in self._image_ids:
            self._image_ids.add(image_id)
            self._evaluatable_labels[image_id] = np.zeros(0, int)
        classes = detections_dict[DetectionResultFields.detection_classes] - self._label_id_offset
        known = np.isin(classes, self._evaluatable_labels[image_id])
        self._add_detections(image_id, detections_dict, np.flatnonzero(known))

    def clear(self) -> None:
        """Forget all images."""
        super().clear()
        self._evaluatable_labels.clear()


class OpenImagesDetectionChallengeEvaluator(OpenImagesChallengeEvaluator):
    """The detection track: a group is one object."""

    def __init__(
        self, categories: Categories, matching_iou_threshold: float = 0.5, evaluate_corlocs: bool = False
    ) -> None:
        super().__init__(
            categories=categories,
            evaluate_masks=False,
            matching_iou_threshold=matching_iou_threshold,
            evaluate_corlocs=evaluate_corlocs,
            group_of_weight=1.0,
        )


class OpenImagesInstanceSegmentationChallengeEvaluator(OpenImagesChallengeEvaluator):
    """The track of masks: what lies in a group does not count."""

    def __init__(
        self, categories: Categories, matching_iou_threshold: float = 0.5, evaluate_corlocs: bool = False
    ) -> None:
        super().__init__(
            categories=categories,
            evaluate_masks=True,
            matching_iou_threshold=matching_iou_threshold,
            evaluate_corlocs=evaluate_corlocs,
            group_of_weight=0.0,
        )


class ObjectDetectionEvaluation:
    """Average precision and correct localization of 0-based classes, counted image by image.

    Attributes:
        groundtruth_boxes, groundtruth_class_labels, groundtruth_masks, groundtruth_is_difficult_list,
            groundtruth_is_group_of_list: by image.
        num_gt_instances_per_class: float [c], a group counts by its weight.
        num_gt_imgs_per_class: int [c].
        scores_per_class, tp_fp_labels_per_class: for each class a list of arrays, one for each image.
        num_images_correctly_detected_per_class: int [c].
    """

    def __init__(
        self,
        num_groundtruth_classes: int,
        matching_iou_threshold: float = 0.5,
        nms_iou_threshold: float = 1.0,
        nms_max_output_boxes: int = 10000,
        recall_lower_bound: float = 0.0,
        recall_upper_bound: float = 1.0,
        use_weighted_mean_ap: bool = False,
        label_id_offset: int = 0,
        group_of_weight: float = 0.0,
        per_image_eval_class: Callable[..., Any] = per_image_evaluation.PerImageEvaluation,
    ) -> None:
        """See `ObjectDetectionEvaluator`; raises MetricError if there are no classes."""
        if num_groundtruth_classes < 1:
            raise MetricError(f"there are {num_groundtruth_classes} classes: it takes one at least.")
        self.per_image_eval = per_image_eval_class(
            num_groundtruth_classes=num_groundtruth_classes,
            matching_iou_threshold=matching_iou_threshold,
            nms_iou_threshold=nms_iou_threshold,
            nms_max_output_boxes=nms_max_output_boxes,
            group_of_weight=group_of_weight,
        )
        self.recall_lower_bound = recall_lower_bound
        self.recall_upper_bound = recall_upper_bound
        self.group_of_weight = group_of_weight
        self.num_class = num_groundtruth_classes
        self.use_weighted_mean_ap = use_weighted_mean_ap
        self.label_id_offset = label_id_offset
        self.groundtruth_boxes: dict[Any, np.ndarray] = {}
        self.groundtruth_class_labels: dict[Any, np.ndarray] = {}
        self.groundtruth_masks: dict[Any, np.ndarray | None] = {}
        self.groundtruth_is_difficult_list: dict[Any, np.ndarray] = {}
        self.groundtruth_is_group_of_list: dict[Any, np.ndarray] = {}
        self.num_gt_instances_per_class = np.zeros(self.num_class, float)
        self.num_gt_imgs_per_class = np.zeros(self.num_class, int)
        self.clear_detections()

    def clear_detections(self) -> None:
        """Forget all that was found, and keep the objects."""
        self.detection_keys: set[Any] = set()
        self.scores_per_class: list[list[np.ndarray]] = [[] for _ in range(self.num_class)]
        self.tp_fp_labels_per_class: list[list[np.ndarray]] = [[] for _ in range(self.num_class)]
        self.num_images_correctly_detected_per_class = np.zeros(self.num_class, int)
        self.average_precision_per_class = np.full(self.num_class, np.nan)
        self.precisions_per_class: list[Any] = [np.nan] * self.num_class
        self.recalls_per_class: list[Any] = [np.nan] * self.num_class
        self.sum_tp_class = np.full(self.num_class, np.nan)
        self.corloc_per_class = np.ones(self.num_class, float)

    def get_internal_state(self) -> ObjectDetectionEvaluationState:
        """Return what was counted so far; arrays are shared."""
        return ObjectDetectionEvaluationState(
            self.num_gt_instances_per_class,
            self.scores_per_class,
            self.tp_fp_labels_per_class,
            self.num_gt_imgs_per_class,
            self.num_images_correctly_detected_per_class,
        )

    def merge_internal_state(self, state_tuple: Any) -> None:
        """Add what was counted in other images."""
        state = ObjectDetectionEvaluationState(*state_tuple)
        self.num_gt_instances_per_class += state.num_gt_instances_per_class
        self.num_gt_imgs_per_class += state.num_gt_imgs_per_class
        self.num_images_correctly_detected_per_class += state.num_images_correctly_detected_per_class
        for cls in range(self.num_class):
            self.scores_per_class[cls].extend(state.scores_per_class[cls])
            self.tp_fp_labels_per_class[cls].extend(state.tp_fp_labels_per_class[cls])

    def add_single_ground_truth_image_info(
        self,
        image_key: Any,
        groundtruth_boxes: np.ndarray,
        groundtruth_class_labels: np.ndarray,
        groundtruth_is_difficult_list: np.ndarray | None = None,
        groundtruth_is_group_of_list: np.ndarray | None = None,
        groundtruth_masks: np.ndarray | None = None,
    ) -> None:
        """Take the objects of an image, the first time; after that, warn and leave it.

        Args:
            image_key: the name of the image.
            groundtruth_boxes: float [n, 4].
            groundtruth_class_labels: int [n].
            groundtruth_is_difficult_list: bool [n]; None: none is.
            groundtruth_is_group_of_list: bool [n]; None: none is.
            groundtruth_masks: uint8 [n, h, w]; an object whose mask has no pixels does not count.
        """
        if image_key in self.groundtruth_boxes:
            logging.warning("the objects of image %s have already been added", image_key)
            return
        none = np.zeros(len(groundtruth_boxes), bool)
        difficult, group_of = (
            none if flags is None else flags.astype(bool)
            for flags in (groundtruth_is_difficult_list, groundtruth_is_group_of_list)
        )
        self.groundtruth_boxes[image_key] = groundtruth_boxes
        self.groundtruth_class_labels[image_key] = groundtruth_class_labels
        self.groundtruth_masks[image_key] = groundtruth_masks
        self.groundtruth_is_difficult_list[image_key] = difficult
        self.groundtruth_is_group_of_list[image_key] = group_of
        drawn = ~none if groundtruth_masks is None else groundtruth_masks.any(axis=(1, 2))
        self._count_objects(groundtruth_class_labels, difficult | ~drawn, group_of)

    def _count_objects(self, classes: np.ndarray, uncounted: np.ndarray, group_of: np.ndarray) -> None:
        weights = np.where(group_of, self.group_of_weight, 1.0) * ~uncounted
        for cls in np.unique(classes[(classes >= 0) & (classes < self.num_class)]):
            self.num_gt_instances_per_class[cls] += weights[classes == cls].sum()
            self.num_gt_imgs_per_class[cls] += 1

    def add_single_detected_image_info(
        self,
        image_key: Any,
        detected_boxes: np.ndarray,
        detected_scores: np.ndarray,
        detected_class_labels: np.ndarray,
        detected_masks: np.ndarray | None = None,
    ) -> None:
        """Take what was found in an image, the first time; after that, warn and leave it.

        Masks of its objects are forgotten then: they take much memory.

        Args:
            image_key: the name of the image, whose objects come first.
            detected_boxes: float [k, 4].
            detected_scores: float [k].
            detected_class_labels: int [k].
            detected_masks: uint8 [k, h, w].

        Raises:
            MetricError: if lengths disagree.
        """
        lengths = [len(detected_boxes), len(detected_scores), len(detected_class_labels)]
        if len(set(lengths)) > 1:
            raise MetricError(
                f"image {image_key}: boxes, scores and classes are of different lengths: {lengths}."
            )
        if image_key in self.detection_keys:
            logging.warning("the detections of image %s have already been added", image_key)
            return
        self.detection_keys.add(image_key)
        no_masks = None if detected_masks is None else np.zeros((0, 1, 1), np.uint8)
        none = np.zeros(0, bool)
        scores, labels, is_class_found = self.per_image_eval.compute_object_detection_metrics(
            detected_boxes=detected_boxes,
            detected_scores=detected_scores,
            detected_class_labels=detected_class_labels,
            groundtruth_boxes=self.groundtruth_boxes.get(image_key, np.zeros((0, 4))),
            groundtruth_class_labels=self.groundtruth_class_labels.get(image_key, np.zeros(0, int)),
            groundtruth_is_difficult_list=self.groundtruth_is_difficult_list.get(image_key, none),
            groundtruth_is_group_of_list=self.groundtruth_is_group_of_list.get(image_key, none),
            detected_masks=detected_masks,
            groundtruth_masks=self.groundtruth_masks.pop(image_key, no_masks),
        )
        for cls in range(self.num_class):
            if len(scores[cls]):
                self.scores_per_class[cls].append(scores[cls])
                self.tp_fp_labels_per_class[cls].append(labels[cls])
        self.num_images_correctly_detected_per_class += is_class_found

    def evaluate(self) -> ObjectDetectionEvalMetrics:
        """Return average precisions [c], precisions and recalls (lists of c arrays), correct localizations [c], and
        the means; NaN of classes without objects, which are warned of."""
        without = np.flatnonzero(self.num_gt_instances_per_class == 0)
        if len(without):
            logging.warning("The following classes have no objects: %s", without + self.label_id_offset)
        counted = np.flatnonzero(self.num_gt_instances_per_class)
        for cls in counted:
            labels = _joined(self.tp_fp_labels_per_class[cls])
            precision, recall = self._within_bounds(
                _joined(self.scores_per_class[cls]), labels, self.num_gt_instances_per_class[cls]
            )
            self.precisions_per_class[cls], self.recalls_per_class[cls] = precision, recall
            self.sum_tp_class[cls] = labels.sum()
            self.average_precision_per_class[cls] = metrics.compute_average_precision(precision, recall)
        self.corloc_per_class = metrics.compute_cor_loc(
            self.num_gt_imgs_per_class, self.num_images_correctly_detected_per_class
        )
        return ObjectDetectionEvalMetrics(
            self.average_precision_per_class,
            self._weighted_mean_ap(counted)
            if self.use_weighted_mean_ap
            else _mean(self.average_precision_per_class),
            self.precisions_per_class,
            self.recalls_per_class,
            self.corloc_per_class,
            _mean(self.corloc_per_class),
        )

    def _weighted_mean_ap(self, counted: np.ndarray) -> float:
        scores = _joined([part for cls in counted for part in self.scores_per_class[cls]])
        labels = _joined([part for cls in counted for part in self.tp_fp_labels_per_class[cls]])
        curve = self._within_bounds(scores, labels, self.num_gt_instances_per_class.sum())
        return metrics.compute_average_precision(*curve)

    def _within_bounds(self, scores: np.ndarray, labels: np.ndarray, num_objects: float) -> tuple[Any, Any]:
        """Return precision and recall where recall is within the bounds; None and None without objects."""
        precision, recall = metrics.compute_precision_recall(scores, labels, num_objects)
        if precision is None or recall is None:
            return None, None
        within = (recall >= self.recall_lower_bound) & (recall <= self.recall_upper_bound)
        return precision[within], recall[within]


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *parts])


def _mean(values: np.ndarray) -> float:
    """Return the mean of the values that are not NaN, NaN if all are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of an empty mean
        return float(np.nanmean(values))
