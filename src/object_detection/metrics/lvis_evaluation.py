"""The evaluator of LVIS' numbers of masks, fed image by image.

Dimension letters: n, objects; k, detections; h w, pixels; c, classes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging

from boxtune.metrics import lvis
from object_detection.core.standard_fields import DetectionResultFields, InputDataFields
from object_detection.metrics import coco_evaluation, lvis_tools
from object_detection.metrics.coco_evaluation import convert_masks_to_binary
from object_detection.utils.object_detection_evaluation import (
    Arrays,
    Categories,
    DetectionEvaluator,
    metric_ops,
)

__all__ = ["LVISMaskEvaluator", "convert_masks_to_binary"]

_PREFIX = "DetectionMasks_"


class LVISMaskEvaluator(DetectionEvaluator):
    """The LVIS numbers of masks, named `DetectionMasks_AP` and so on."""

    def __init__(
        self,
        categories: Categories,
        include_metrics_per_category: bool = False,
        export_path: str | None = None,
    ) -> None:
        """Create an evaluator.

        Args:
            categories: for each class its "id" and "name", and maybe its "frequency", `r`, `c` or `f`.
            include_metrics_per_category: average precision of each class as well.
            export_path: the file to which `evaluate` writes all detections.
        """
        super().__init__(categories)
        self._image_id_to_mask_shape_map: dict[Any, tuple[int, ...]] = {}
        self._image_id_to_verified_neg_classes: dict[Any, list[int]] = {}
        self._image_id_to_not_exhaustive_classes: dict[Any, list[int]] = {}
        self._image_ids_with_detections: set[Any] = set()
        self._groundtruth_list: list[dict[str, Any]] = []
        self._detection_masks_list: list[dict[str, Any]] = []
        self._category_id_set = {category["id"] for category in categories}
        self._annotation_id = 1
        self._include_metrics_per_category = include_metrics_per_category
        self._export_path = export_path
        self._metrics: dict[str, Any] | None = None

    def clear(self) -> None:
        """Forget all images."""
        self._image_id_to_mask_shape_map.clear()
        self._image_id_to_verified_neg_classes.clear()
        self._image_id_to_not_exhaustive_classes.clear()
        self._image_ids_with_detections.clear()
        self._groundtruth_list = []
        self._detection_masks_list = []

    def add_single_ground_truth_image_info(self, image_id: Any, groundtruth_dict: Arrays) -> None:
        """Take the objects of an image, the first time; after that, warn and leave it.

        Args:
            image_id: the name of the image.
            groundtruth_dict: `groundtruth_boxes` [n, 4], `groundtruth_classes` [n], `groundtruth_instance_masks`
                [n, h, w], and `groundtruth_verified_neg_classes` and `groundtruth_not_exhaustive_classes` [c + 1], 1
                where a class is known not to be in the image, or not known to be marked wholly; maybe
                `groundtruth_area` [n].

        Raises:
            CocoError: for arrays of other shapes.
        """
        if image_id in self._image_id_to_mask_shape_map:
            logging.warning("the objects of image %s have already been added", image_id)
            return
        boxes = groundtruth_dict[InputDataFields.groundtruth_boxes]
        masks = groundtruth_dict[InputDataFields.groundtruth_instance_masks]
        area = groundtruth_dict.get(InputDataFields.groundtruth_area)
        self._groundtruth_list += lvis_tools.ExportSingleImageGroundtruthToLVIS(
            image_id,
            self._annotation_id,
            self._category_id_set,
            boxes,
            groundtruth_dict[InputDataFields.groundtruth_classes],
            groundtruth_masks=convert_masks_to_binary(masks),
            groundtruth_area=area if area is not None and len(area) else None,
        )
        self._annotation_id += len(boxes)
        self._image_id_to_mask_shape_map[image_id] = masks.shape
        for known, name in (
            (self._image_id_to_verified_neg_classes, InputDataFields.groundtruth_verified_neg_classes),
            (self._image_id_to_not_exhaustive_classes, InputDataFields.groundtruth_not_exhaustive_classes),
        ):
            known[image_id] = np.flatnonzero(groundtruth_dict.get(name, np.zeros(0)) == 1).tolist()

    def add_single_detected_image_info(self, image_id: Any, detections_dict: Arrays) -> None:
        """Take what was found in an image, the first time; after that, warn and leave it.

        Args:
            image_id: the name of the image, whose objects come first.
            detections_dict: `detection_scores` [k], `detection_classes` [k] and `detection_masks` [k, h, w].

        Raises:
            CocoError: for an image without objects, masks of another size than its objects', arrays of other shapes.
        """
        if image_id not in self._image_id_to_mask_shape_map:
            raise coco_evaluation.missing_groundtruth(image_id)
        if image_id in self._image_ids_with_detections:
            logging.warning("the detections of image %s have already been added", image_id)
            return
        masks = detections_dict[DetectionResultFields.detection_masks]
        coco_evaluation.check_sizes(image_id, self._image_id_to_mask_shape_map[image_id], masks.shape)
        self._detection_masks_list += lvis_tools.ExportSingleImageDetectionMasksToLVIS(
            image_id,
            self._category_id_set,
            convert_masks_to_binary(masks),
            detections_dict[DetectionResultFields.detection_scores],
            detections_dict[DetectionResultFields.detection_classes],
        )
        self._image_ids_with_detections.add(image_id)

    def evaluate(self) -> dict[str, Any]:
        """Return the numbers, and those of classes if asked for; -1 where no object counts.

        Writes all detections to the path that the evaluator was given, if any.
        """
        if self._export_path:
            self.dump_detections_to_json_file(self._export_path)
        images = [
            {
                "id": image_id,
                "height": shape[1],
                "width": shape[2],
                "neg_category_ids": self._image_id_to_verified_neg_classes[image_id],
                "not_exhaustive_category_ids": self._image_id_to_not_exhaustive_classes[image_id],
            }
            for image_id, shape in self._image_id_to_mask_shape_map.items()
        ]
        dataset = {
            "annotations": self._groundtruth_list,
            "images": images,
            "categories": [dict(category) for category in self._categories],
        }
        true = lvis_tools.LVISWrapper(dataset, detection_type="segmentation")
        evaluation = lvis_tools.LVISEvalWrapper(
            true, true.LoadAnnotations(self._detection_masks_list), "segm"
        )
        numbers = evaluation.ComputeMetrics(self._include_metrics_per_category)
        return {f"{_PREFIX}{name}": number for name, number in numbers.items()}

    def dump_detections_to_json_file(self, json_output_path: str) -> None:
        """Write all detections as COCO's results."""
        coco_evaluation.dump(self._detection_masks_list, json_output_path)

    def add_eval_dict(self, eval_dict: Mapping[str, Any]) -> Any:
        """Return an operation that takes the tensors of one image, or of a batch of them."""
        return coco_evaluation.add_images(self, eval_dict, coco_evaluation.MASKS)

    def get_estimator_eval_metric_ops(self, eval_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Return for each number its value, and the operation that takes the tensors of one image or a batch."""
        names = [f"{_PREFIX}{name}" for name in lvis.NAMES]
        return metric_ops(self, names, self.add_eval_dict(eval_dict))
