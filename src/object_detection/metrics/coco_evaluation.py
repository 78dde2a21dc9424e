"""Evaluators of COCO's numbers: fed image by image, with boxes, keypoints, masks or panoptic segments.

    evaluator = CocoDetectionEvaluator(categories)
    evaluator.add_single_ground_truth_image_info("1.jpg", {"groundtruth_boxes": ..., "groundtruth_classes": ...})
    evaluator.add_single_detected_image_info("1.jpg", {"detection_boxes": ..., ...})
    evaluator.evaluate()

Boxes are `[ymin, xmin, ymax, xmax]` in pixels. Dimension letters: b, images; n, objects; k, detections; p, keypoints;
h w, pixels; c, classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from object_detection.core.standard_fields import DetectionResultFields, InputDataFields
from object_detection.metrics import coco_tools
from object_detection.metrics.coco_tools import CocoError
from object_detection.utils import json_utils, np_mask_ops
from object_detection.utils.object_detection_evaluation import (
    Arrays,
    Categories,
    DetectionEvaluator,
    metric_ops,
    unwrapped,
)

SuperCategories = Mapping[str, Sequence[str]] | None

MASKS = (InputDataFields.groundtruth_instance_masks, DetectionResultFields.detection_masks)
KEYPOINTS = (
    InputDataFields.groundtruth_keypoints,
    InputDataFields.groundtruth_keypoint_visibilities,
    DetectionResultFields.detection_keypoints,
)
_TRUE_COUNT, _FOUND_COUNT = InputDataFields.num_groundtruth_boxes, DetectionResultFields.num_detections
_SHAPE = InputDataFields.original_image_spatial_shape
_OF_OBJECTS = (
    InputDataFields.groundtruth_boxes,
    InputDataFields.groundtruth_classes,
    InputDataFields.groundtruth_is_crowd,
    InputDataFields.groundtruth_area,
    *KEYPOINTS[:2],
    MASKS[0],
)
_OF_DETECTIONS = (
    DetectionResultFields.detection_boxes,
    DetectionResultFields.detection_scores,
    DetectionResultFields.detection_classes,
    KEYPOINTS[2],
    MASKS[1],
)
_LABELS = (
    InputDataFields.groundtruth_labeled_classes,
    InputDataFields.groundtruth_verified_neg_classes,
    InputDataFields.groundtruth_not_exhaustive_classes,
)
_OF_IMAGES = (
    InputDataFields.key,
    *_LABELS,
    InputDataFields.is_annotated,
    _TRUE_COUNT,
    _FOUND_COUNT,
    _SHAPE,
)


# Batches of tensors


def add_images(
    evaluator: DetectionEvaluator, eval_dict: Mapping[str, Any], shapes: Sequence[str] = ()
) -> Any:
    """Return an operation that adds the objects and detections of each image of `eval_dict` to an evaluator.

    Of MASKS and KEYPOINTS only the `shapes` are taken.

    That holds tensors of one image, or with a dimension more those of a batch, which are cut to the numbers of objects
    and detections, masks also to the size of the image, where these are given. Images that are not annotated are left
    out.
    """
    unused = {*MASKS, *KEYPOINTS}.difference(shapes)
    names = (name for name in (*_OF_IMAGES, *_OF_OBJECTS, *_OF_DETECTIONS) if name not in unused)
    known = [name for name in names if eval_dict.get(name) is not None]

    def update(*arrays: np.ndarray) -> None:
        values = dict(zip(known, arrays, strict=True))
        if np.ndim(values[InputDataFields.key]) == 0:
            values = {name: np.expand_dims(array, 0) for name, array in values.items()}
        for row in range(len(values[InputDataFields.key])):
            image = {name: array[row] for name, array in values.items()}
            if image.get(InputDataFields.is_annotated, True):
                image_id = unwrapped(image[InputDataFields.key])
                objects, detections = _objects_and_detections(image)
                evaluator.add_single_ground_truth_image_info(image_id, objects)
                evaluator.add_single_detected_image_info(image_id, detections)

    return tf.numpy_function(update, [eval_dict[name] for name in known], [])


def _objects_and_detections(image: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return those of an image without their padding."""
    parts: list[dict[str, Any]] = []
    for names, count in ((_OF_OBJECTS, image.get(_TRUE_COUNT)), (_OF_DETECTIONS, image.get(_FOUND_COUNT))):
        part = {name: image[name][:count] for name in names if name in image}
        for name in MASKS:
            if name in part and _SHAPE in image:
                height, width = image[_SHAPE][:2]
                part[name] = part[name][:, :height, :width]
        parts.append(part)
    labels = {name: image[name] for name in _LABELS if name in image}
    return parts[0] | labels, parts[1]


def _unless_empty(arrays: Arrays, name: str) -> Any:
    """Return an array of `arrays`; None of one that is not there or has no rows."""
    array = arrays.get(name)
    return None if array is None or not array.shape[0] else array


class _CocoEvaluator(DetectionEvaluator):
    """What those of boxes and masks share."""

    _prefix: str
    _shapes: Sequence[str] = ()
    """What it takes besides boxes."""

    def __init__(
        self,
        categories: Categories,
        include_metrics_per_category: bool,
        all_metrics_per_category: bool,
        super_categories: SuperCategories,
    ) -> None:
        super().__init__(categories)
        self._category_id_set = {category["id"] for category in categories}
        self._groundtruth_list: list[dict[str, Any]] = []
        self._annotation_id = 1
        self._metrics: dict[str, Any] | None = None
        self._include_metrics_per_category = include_metrics_per_category
        self._all_metrics_per_category = all_metrics_per_category
        self._super_categories = super_categories

    def _measured(
        self,
        images: list[dict[str, Any]],
        detections: list[dict[str, Any]],
        detection_type: str,
        iou_type: str,
    ) -> dict[str, float]:
        dataset = {
            "annotations": self._groundtruth_list,
            "images": images,
            "categories": [dict(category) for category in self._categories],
        }
        true = coco_tools.COCOWrapper(dataset, detection_type=detection_type)
        found = true.LoadAnnotations(detections)
        numbers, of_categories = coco_tools.COCOEvalWrapper(true, found, iou_type=iou_type).ComputeMetrics(
            self._include_metrics_per_category, self._all_metrics_per_category, self._super_categories
        )
        return {f"{self._prefix}{name}": number for name, number in (numbers | of_categories).items()}

    def add_eval_dict(self, eval_dict: Mapping[str, Any]) -> Any:
        """Return an operation that takes the tensors of one image, or of a batch of them."""
        return add_images(self, eval_dict, self._shapes)

    def get_estimator_eval_metric_ops(self, eval_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Return for each number its value, and the operation that takes the tensors of one image or a batch."""
        names = [f"{self._prefix}{name}" for name, _ in coco_tools.COCO_METRIC_NAMES_AND_INDEX]
        if self._include_metrics_per_category:
            names += [f"{self._prefix}PerformanceByCategory/mAP/{one['name']}" for one in self._categories]
        return metric_ops(self, names, self.add_eval_dict(eval_dict))


def dump(detections: list[dict[str, Any]], path: str) -> None:
    """Write detections as COCO's results."""
    with tf.io.gfile.GFile(path, "w") as file:
        logging.info("Writing %d detections to %s.", len(detections), path)
        json_utils.Dump(detections, file, float_digits=4, indent=2)


class CocoDetectionEvaluator(_CocoEvaluator):
    """The COCO numbers of boxes, named `DetectionBoxes_...`."""

    _prefix = "DetectionBoxes_"

    def __init__(
        self,
        categories: Categories,
        include_metrics_per_category: bool = False,
        all_metrics_per_category: bool = False,
        skip_predictions_for_unlabeled_class: bool = False,
        super_categories: SuperCategories = None,
    ) -> None:
        """Create an evaluator.

        Args:
            categories: for each class its "id" and "name".
            include_metrics_per_category: average precision of each class as well.
            all_metrics_per_category: all twelve numbers of each class then.
            skip_predictions_for_unlabeled_class: detections of classes that `groundtruth_labeled_classes` of their
                image does not have are left out.
            super_categories: names of classes by the name of a group, which gets numbers of its own.
        """
        super().__init__(categories, include_metrics_per_category, all_metrics_per_category, super_categories)
        self._image_ids: dict[Any, bool] = {}
        """For each image with objects, whether it has its detections."""
        self._detection_boxes_list: list[dict[str, Any]] = []
        self._skip_predictions_for_unlabeled_class = skip_predictions_for_unlabeled_class
        self._groundtruth_labeled_classes: dict[Any, list[int]] = {}

    def clear(self) -> None:
        """Forget all images."""
        self._image_ids.clear()
        self._groundtruth_list = []
        self._detection_boxes_list = []
        self._groundtruth_labeled_classes.clear()

    def add_single_ground_truth_image_info(self, image_id: Any, groundtruth_dict: Arrays) -> None:
        """Take the objects of an image, the first time; after that, warn and leave it.

        Args:
            image_id: the name of the image.
            groundtruth_dict: `groundtruth_boxes` [n, 4] and `groundtruth_classes` [n]; maybe `groundtruth_is_crowd`
                [n], `groundtruth_area` [n], `groundtruth_keypoints` [n, p, 2], `groundtruth_keypoint_visibilities`
                [n, p], and `groundtruth_labeled_classes` [c + 1], 1 where a class was looked for, 0 being background.

        Raises:
            CocoError: for arrays of other shapes.
        """
        if image_id in self._image_ids:
            logging.warning("the objects of image %s have already been added", image_id)
            return
        boxes = groundtruth_dict[InputDataFields.groundtruth_boxes]
        labels = groundtruth_dict.get(InputDataFields.groundtruth_labeled_classes)
        if labels is not None and labels.shape != (len(self._category_id_set) + 1,):
            raise CocoError(
                f"image {image_id}: groundtruth_labeled_classes are of shape {labels.shape}, not of one for the "
                f"background and one for each of {len(self._category_id_set)} classes."
            )
        self._groundtruth_list += coco_tools.ExportSingleImageGroundtruthToCoco(
            image_id,
            self._annotation_id,
            self._category_id_set,
            boxes,
            groundtruth_dict[InputDataFields.groundtruth_classes],
            groundtruth_keypoints=_unless_empty(groundtruth_dict, InputDataFields.groundtruth_keypoints),
            groundtruth_keypoint_visibilities=_unless_empty(
                groundtruth_dict, InputDataFields.groundtruth_keypoint_visibilities
            ),
            groundtruth_is_crowd=_unless_empty(groundtruth_dict, InputDataFields.groundtruth_is_crowd),
            groundtruth_area=_unless_empty(groundtruth_dict, InputDataFields.groundtruth_area),
        )
        self._annotation_id += len(boxes)
        if labels is not None:
            self._groundtruth_labeled_classes[image_id] = np.flatnonzero(labels == 1).tolist()
        self._image_ids[image_id] = False

    def add_single_detected_image_info(self, image_id: Any, detections_dict: Arrays) -> None:
        """Take what was found in an image, the first time; after that, warn and leave it.

        Args:
            image_id: the name of the image, whose objects come first.
            detections_dict: `detection_boxes` [k, 4], `detection_scores` [k] and `detection_classes` [k]; maybe
                `detection_keypoints` [k, p, 2].

        Raises:
            CocoError: for an image without objects, and arrays of other shapes.
        """
        if image_id not in self._image_ids:
            raise missing_groundtruth(image_id)
        if self._image_ids[image_id]:
            logging.warning("the detections of image %s have already been added", image_id)
            return
        classes = detections_dict[DetectionResultFields.detection_classes]
        kept = np.arange(len(classes))
        if self._skip_predictions_for_unlabeled_class and image_id in self._groundtruth_labeled_classes:
            kept = np.flatnonzero(np.isin(classes, self._groundtruth_labeled_classes[image_id]))
        keypoints = _unless_empty(detections_dict, DetectionResultFields.detection_keypoints)
        self._detection_boxes_list += coco_tools.ExportSingleImageDetectionBoxesToCoco(
            image_id,
            self._category_id_set,
            detections_dict[DetectionResultFields.detection_boxes][kept],
            detections_dict[DetectionResultFields.detection_scores][kept],
            classes[kept],
            detection_keypoints=None if keypoints is None else keypoints[kept],
        )
        self._image_ids[image_id] = True

    def dump_detections_to_json_file(self, json_output_path: str) -> None:
        """Write all detections as COCO's results."""
        dump(self._detection_boxes_list, json_output_path)

    def evaluate(self) -> dict[str, Any]:
        """Return the twelve numbers, and those of classes that were asked for; -1 where no object counts.

        Those of a class are `DetectionBoxes_PerformanceByCategory/mAP/NAME` and
        `DetectionBoxes_Precision/mAP ByCategory/NAME` and so on.
        """
        images = [{"id": image_id} for image_id in self._image_ids]
        return self._measured(images, self._detection_boxes_list, "bbox", "bbox")


class CocoKeypointEvaluator(CocoDetectionEvaluator):
    """The COCO numbers of the keypoints of one class, named `Keypoints_... ByCategory/NAME`."""

    _shapes = KEYPOINTS

    def __init__(
        self,
        category_id: int,
        category_keypoints: Sequence[Mapping[str, Any]],
        class_text: str,
        oks_sigmas: Mapping[str, float] | None = None,
    ) -> None:
        """Create an evaluator.

        Args:
            category_id: of the class.
            category_keypoints: for each of its keypoints the "id", which of an object's points it is, and the "name".
            class_text: the name of the class.
            oks_sigmas: by name how much annotations of a keypoint vary; None: 0.05 for all.
        """
        self._category_id = category_id
        self._category_name = class_text
        names = {keypoint["id"]: keypoint["name"] for keypoint in category_keypoints}
        self._keypoint_ids = sorted(names)
        if oks_sigmas:
            self._oks_sigmas = np.array([oks_sigmas[names[number]] for number in self._keypoint_ids])
        else:
            self._oks_sigmas = np.full(len(self._keypoint_ids), 0.05)
            logging.warning("No sigmas for the keypoints of %s: 0.05 for all.", class_text)
        super().__init__([{"id": category_id, "name": class_text}])

    def add_single_ground_truth_image_info(self, image_id: Any, groundtruth_dict: Arrays) -> None:
        """Take those objects of an image that are of the class, with its keypoints; see `CocoDetectionEvaluator`."""
        rows = self._rows(groundtruth_dict[InputDataFields.groundtruth_classes])
        names = [name for name in _OF_OBJECTS if _unless_empty(groundtruth_dict, name) is not None]
        names += [InputDataFields.groundtruth_boxes, InputDataFields.groundtruth_classes]
        of_class = {name: groundtruth_dict[name][rows] for name in dict.fromkeys(names)}
        super().add_single_ground_truth_image_info(image_id, self._with_own_points(of_class))

    def add_single_detected_image_info(self, image_id: Any, detections_dict: Arrays) -> None:
        """Take those detections in an image that are of the class, with its keypoints."""
        rows = self._rows(detections_dict[DetectionResultFields.detection_classes])
        of_class = {name: detections_dict[name][rows] for name in _OF_DETECTIONS if name in detections_dict}
        super().add_single_detected_image_info(image_id, self._with_own_points(of_class))

    def _rows(self, classes: np.ndarray) -> np.ndarray:
        return np.flatnonzero(classes == self._category_id)

    def _with_own_points(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """Return arrays of which those of keypoints [n, p, ...] have the keypoints of the class only."""
        return arrays | {name: arrays[name][:, self._keypoint_ids] for name in KEYPOINTS if name in arrays}

    def evaluate(self) -> dict[str, Any]:
        """Return the ten numbers of the class; -1 where no object counts."""
        dataset = {
            "annotations": self._groundtruth_list,
            "images": [{"id": image_id, "height": 1, "width": 1} for image_id in self._image_ids],
            "categories": [dict(category) for category in self._categories],
        }
        true = coco_tools.COCOWrapper(dataset)
        found = true.LoadAnnotations(self._detection_boxes_list)
        evaluation = coco_tools.COCOEvalWrapper(
            true, found, iou_type="keypoints", oks_sigmas=self._oks_sigmas
        )
        numbers, _ = evaluation.ComputeMetrics()
        return {f"Keypoints_{name}": number for name, number in numbers.items()}

    def get_estimator_eval_metric_ops(self, eval_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Return for each number its value, and the operation that takes the tensors of one image or a batch."""
        names = [
            f"Keypoints_{name} ByCategory/{self._category_name}"
            for name, _ in coco_tools.COCO_KEYPOINT_METRIC_NAMES_AND_INDEX
        ]
        return metric_ops(self, names, self.add_eval_dict(eval_dict))


def convert_masks_to_binary(masks: np.ndarray) -> np.ndarray:
    """Return uint8 of the same shape, 1 where masks are above 0."""
    return (masks > 0).astype(np.uint8)


class CocoMaskEvaluator(_CocoEvaluator):
    """The COCO numbers of masks, named `DetectionMasks_...`."""

    _prefix = "DetectionMasks_"
    _shapes = MASKS

    def __init__(
        self,
        categories: Categories,
        include_metrics_per_category: bool = False,
        all_metrics_per_category: bool = False,
        super_categories: SuperCategories = None,
    ) -> None:
        """Create an evaluator; see `CocoDetectionEvaluator`."""
        super().__init__(categories, include_metrics_per_category, all_metrics_per_category, super_categories)
        self._image_id_to_mask_shape_map: dict[Any, tuple[int, ...]] = {}
        self._image_ids_with_detections: set[Any] = set()
        self._detection_masks_list: list[dict[str, Any]] = []

    def clear(self) -> None:
        """Forget all images."""
        self._image_id_to_mask_shape_map.clear()
        self._image_ids_with_detections.clear()
        self._groundtruth_list = []
        self._detection_masks_list = []

    def add_single_ground_truth_image_info(self, image_id: Any, groundtruth_dict: Arrays) -> None:
        """Take the objects of an image, the first time; after that, warn and leave it.

        Args:
            image_id: the name of the image.
            groundtruth_dict: `groundtruth_boxes` [n, 4], `groundtruth_classes` [n] and `groundtruth_instance_masks`
                [n, h, w]; maybe `groundtruth_is_crowd` [n] and `groundtruth_area` [n].

        Raises:
            CocoError: for arrays of other shapes.
        """
        if image_id in self._image_id_to_mask_shape_map:
            logging.warning("the objects of image %s have already been added", image_id)
            return
        boxes = groundtruth_dict[InputDataFields.groundtruth_boxes]
        masks = groundtruth_dict[InputDataFields.groundtruth_instance_masks]
        self._groundtruth_list += coco_tools.ExportSingleImageGroundtruthToCoco(
            image_id,
            self._annotation_id,
            self._category_id_set,
            boxes,
            groundtruth_dict[InputDataFields.groundtruth_classes],
            groundtruth_masks=convert_masks_to_binary(masks),
            groundtruth_is_crowd=_unless_empty(groundtruth_dict, InputDataFields.groundtruth_is_crowd),
            groundtruth_area=_unless_empty(groundtruth_dict, InputDataFields.groundtruth_area),
        )
        self._annotation_id += len(boxes)
        self._image_id_to_mask_shape_map[image_id] = masks.shape

    def add_single_detected_image_info(self, image_id: Any, detections_dict: Arrays) -> None:
        """Take what was found in an image, the first time; after that, warn and leave it.

        Args:
            image_id: the name of the image, whose objects come first.
            detections_dict: `detection_scores` [k], `detection_classes` [k] and `detection_masks` [k, h, w].

        Raises:
            CocoError: for an image without objects, masks of another size than its objects', arrays of other shapes.
        """
        if image_id not in self._image_id_to_mask_shape_map:
            raise missing_groundtruth(image_id)
        if image_id in self._image_ids_with_detections:
            logging.warning("the detections of image %s have already been added", image_id)
            return
        masks = detections_dict[DetectionResultFields.detection_masks]
        check_sizes(image_id, self._image_id_to_mask_shape_map[image_id], masks.shape)
        self._detection_masks_list += coco_tools.ExportSingleImageDetectionMasksToCoco(
            image_id,
            self._category_id_set,
            convert_masks_to_binary(masks),
            detections_dict[DetectionResultFields.detection_scores],
            detections_dict[DetectionResultFields.detection_classes],
        )
        self._image_ids_with_detections.add(image_id)

    def dump_detections_to_json_file(self, json_output_path: str) -> None:
        """Write all detections as COCO's results."""
        dump(self._detection_masks_list, json_output_path)

    def evaluate(self) -> dict[str, Any]:
        """Return the twelve numbers, and those of classes that were asked for; -1 where no object counts."""
        images = [
            {"id": image_id, "height": shape[1], "width": shape[2]}
            for image_id, shape in self._image_id_to_mask_shape_map.items()
        ]
        return self._measured(images, self._detection_masks_list, "segmentation", "segm")


def missing_groundtruth(image_id: Any) -> CocoError:
    """Return the error for detections in an image of which no objects were added."""
    return CocoError(
        f"Missing groundtruth for image id: {image_id}. The objects of image {image_id} have to be added before its "
        "detections."
    )


def check_sizes(image_id: Any, true: Sequence[int], found: Sequence[int]) -> None:
    """Raise CocoError if masks of the shapes [n, h, w] and [k, h, w] are of different sizes."""
    if tuple(true[1:]) != tuple(found[1:]):
        raise CocoError(
            f"image {image_id}: masks of objects are of {true[1:]} pixels, those of detections of {found[1:]}."
        )


class CocoPanopticSegmentationEvaluator(DetectionEvaluator):
    """Panoptic quality: of segments that do not overlap, how well they agree with objects and regions.

    Source: Kirillov et al. 2019 (arXiv:1801.00868), section 4.
    """

    def __init__(
        self,
        categories: Categories,
        include_metrics_per_category: bool = False,
        iou_threshold: float = 0.5,
        ioa_threshold: float = 0.5,
    ) -> None:
        """Create an evaluator.

        Args:
            categories: for each class its "id" and "name".
            include_metrics_per_category: the numbers of each class as well.
            iou_threshold: a segment above it is a match; from 0.5 on there is one match at most.
            ioa_threshold: a segment that matches nothing is not wrong if more than this fraction of it lies in a crowd
                of its class.
        """
        super().__init__(categories)
        self._groundtruth_masks: dict[Any, np.ndarray] = {}
        self._groundtruth_class_labels: dict[Any, np.ndarray] = {}
        self._groundtruth_is_crowd: dict[Any, np.ndarray] = {}
        self._predicted_masks: dict[Any, np.ndarray] = {}
        self._predicted_class_labels: dict[Any, np.ndarray] = {}
        self._include_metrics_per_category = include_metrics_per_category
        self._iou_threshold = iou_threshold
        self._ioa_threshold = ioa_threshold
        self._metrics: dict[str, Any] | None = None

    def clear(self) -> None:
        """Forget all images."""
        self._groundtruth_masks.clear()
        self._groundtruth_class_labels.clear()
        self._groundtruth_is_crowd.clear()
        self._predicted_masks.clear()
        self._predicted_class_labels.clear()

    def add_single_ground_truth_image_info(self, image_id: Any, groundtruth_dict: Arrays) -> None:
        """Take the segments of an image, the first time; after that, warn and leave it.

        Args:
            image_id: the name of the image.
            groundtruth_dict: `groundtruth_classes` [n] and `groundtruth_instance_masks` uint8 [n, h, w]; maybe
                `groundtruth_is_crowd` [n].
        """
        if image_id in self._groundtruth_masks:
            logging.warning("the objects of image %s have already been added", image_id)
            return
        self._groundtruth_masks[image_id] = groundtruth_dict[InputDataFields.groundtruth_instance_masks]
        self._groundtruth_class_labels[image_id] = groundtruth_dict[InputDataFields.groundtruth_classes]
        is_crowd = _unless_empty(groundtruth_dict, InputDataFields.groundtruth_is_crowd)
        if is_crowd is not None:
            self._groundtruth_is_crowd[image_id] = is_crowd

    def add_single_detected_image_info(self, image_id: Any, detections_dict: Arrays) -> None:
        """Take the segments that were found in an image.

        Args:
            image_id: the name of the image, whose objects come first.
            detections_dict: `detection_classes` [k] and `detection_masks` uint8 [k, h, w].

        Raises:
            CocoError: for an image without objects, and masks of another size than its objects'.
        """
        if image_id not in self._groundtruth_masks:
            raise missing_groundtruth(image_id)
        masks = detections_dict[DetectionResultFields.detection_masks]
        check_sizes(image_id, self._groundtruth_masks[image_id].shape, masks.shape)
        self._predicted_masks[image_id] = masks
        self._predicted_class_labels[image_id] = detections_dict[DetectionResultFields.detection_classes]

    def evaluate(self) -> dict[str, Any]:
        """Return `PanopticQuality@0.50IOU`, `SegmentationQuality@0.50IOU` and `RecognitionQuality@0.50IOU`, which are
        means over classes that occur, how many these are, and if asked for the numbers of each class."""
        sums = np.zeros(
            (len(self._categories), 4)
        )  # overlap of matches, matches, wrong segments, missed ones
        for image_id in self._groundtruth_masks:
            for row, category in enumerate(self._categories):
                sums[row] += self._count(image_id, category["id"])
        overlap, right, wrong, missed = sums.T
        occurs = right + wrong + missed > 0
        segmentation = np.divide(overlap, right, out=np.zeros(len(sums)), where=right > 0)
        whole = right + wrong / 2 + missed / 2
        recognition = np.divide(right, whole, out=np.zeros(len(sums)), where=occurs)
        qualities = [segmentation * recognition, segmentation, recognition]
        named = dict(zip(self._names(), qualities, strict=True))
        numbers: dict[str, Any] = {
            name: values[occurs].mean() if occurs.any() else 0.0 for name, values in named.items()
        }
        numbers |= {"NumValidClasses": int(occurs.sum()), "NumTotalClasses": len(self._categories)}
        if self._include_metrics_per_category:
            for row in np.flatnonzero(occurs):
                category = self._categories[row]["name"]
                numbers |= {f"{name}_ByCategory/{category}": values[row] for name, values in named.items()}
        return numbers

    def _names(self) -> list[str]:
        kinds = ("PanopticQuality", "SegmentationQuality", "RecognitionQuality")
        return [f"{kind}@{self._iou_threshold:.2f}IOU" for kind in kinds]

    def _count(self, image_id: Any, category_id: int) -> tuple[float, int, int, int]:
        """Return the overlap of matches of one class, and the numbers of matches, wrong segments and missed ones."""
        of_class = self._groundtruth_class_labels[image_id] == category_id
        is_crowd = self._groundtruth_is_crowd.get(image_id, np.zeros(len(of_class))).astype(bool)
        masks = self._groundtruth_masks[image_id]
        true, crowds = masks[of_class & ~is_crowd], masks[of_class & is_crowd]
        found = masks[:0]
        if image_id in self._predicted_masks:
            found = self._predicted_masks[image_id][self._predicted_class_labels[image_id] == category_id]
        ious = np_mask_ops.iou(found, true)
        matches = ious > self._iou_threshold
        in_crowd = np_mask_ops.ioa(crowds, found).max(axis=0, initial=0) > self._ioa_threshold
        wrong = ~matches.any(axis=1) & ~in_crowd
        missed = ~matches.any(axis=0)
        return float(ious[matches].sum()), int(matches.sum()), int(wrong.sum()), int(missed.sum())

    def add_eval_dict(self, eval_dict: Mapping[str, Any]) -> Any:
        """Return an operation that takes the tensors of one image, or of a batch of them."""
        return add_images(self, eval_dict, MASKS)

    def get_estimator_eval_metric_ops(self, eval_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Return for each mean its value, and the operation that takes the tensors of one image or a batch."""
        names = [*self._names(), "NumValidClasses", "NumTotalClasses"]
        return metric_ops(self, names, self.add_eval_dict(eval_dict))
