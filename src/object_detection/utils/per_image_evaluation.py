"""Which detections of one image are right, class by class, and in which classes the best one finds an object."""

from typing import Any

import numpy as np

from boxtune.metrics import masks
from boxtune.metrics.pascal_matching import Labels, correct_localization, label_boxes, label_masks
from boxtune.metrics.results import ImageResult
from boxtune.metrics.tables import box_overlap, mask_overlap, tabulate
from object_detection.utils import np_box_list_ops, np_box_mask_list_ops
from object_detection.utils.np_box_list import BoxList
from object_detection.utils.np_box_mask_list import BoxMaskList

Arrays = list[np.ndarray]


class PerImageEvaluation:
    """Matches the detections of an image, suppressed first, with its objects as Pascal VOC and Open Images do.

    Dimension letters: k, detections; n, objects; c, `num_groundtruth_classes`; h w, pixels. Classes are 0-based.
    """

    def __init__(
        self,
        num_groundtruth_classes: int,
        matching_iou_threshold: float = 0.5,
        nms_iou_threshold: float = 0.3,
        nms_max_output_boxes: int = 50,
        group_of_weight: float = 0.0,
    ) -> None:
        self.matching_iou_threshold = matching_iou_threshold
        self.nms_iou_threshold = nms_iou_threshold
        self.nms_max_output_boxes = nms_max_output_boxes
        self.num_groundtruth_classes = num_groundtruth_classes
        self.group_of_weight = group_of_weight

    def compute_object_detection_metrics(
        self,
        detected_boxes: np.ndarray,
        detected_scores: np.ndarray,
        detected_class_labels: np.ndarray,
        groundtruth_boxes: np.ndarray,
        groundtruth_class_labels: np.ndarray,
        groundtruth_is_difficult_list: np.ndarray,
        groundtruth_is_group_of_list: np.ndarray,
        detected_masks: np.ndarray | None = None,
        groundtruth_masks: np.ndarray | None = None,
    ) -> tuple[Arrays, Arrays, np.ndarray]:
        """Return c arrays of scores, c of how much each detection is right, and int [c]: 1 where the best one is.

        Detections without area, and those that match a difficult object or lie in a group, are left out; each group
        adds its best one, right by `group_of_weight`. Where there are masks, these are matched. Classes outside of 0 to
        c - 1, such as those of padding, do not count.

        Args:
            detected_boxes: float [k, 4].
            detected_scores: float [k].
            detected_class_labels: int [k].
            groundtruth_boxes: float [n, 4].
            groundtruth_class_labels: int [n].
            groundtruth_is_difficult_list: bool [n].
            groundtruth_is_group_of_list: bool [n].
            detected_masks: uint8 [k, h, w].
            groundtruth_masks: uint8 [n, h, w]; an object whose mask has no pixels is known by its box.
        """
        usable = (detected_boxes[:, :2] < detected_boxes[:, 2:]).all(axis=1) & self._is_known(
            detected_class_labels
        )
        detected = (detected_boxes[usable], detected_scores[usable], detected_class_labels[usable])
        known = self._is_known(groundtruth_class_labels)
        true = (groundtruth_boxes[known], groundtruth_class_labels[known])
        detected_masks = None if detected_masks is None else detected_masks[usable]
        groundtruth_masks = None if groundtruth_masks is None else groundtruth_masks[known]
        labels = self._labels(
            *detected,
            *true,
            groundtruth_is_difficult_list[known],
            groundtruth_is_group_of_list[known],
            detected_masks,
            groundtruth_masks,
        )
        of_class = [labels.classes == cls for cls in range(self.num_groundtruth_classes)]
        return (
            [labels.scores[rows] for rows in of_class],
            [labels.right[rows] for rows in of_class],
            self._compute_cor_loc(*detected, *true, detected_masks, groundtruth_masks),
        )

    def _is_known(self, classes: np.ndarray) -> np.ndarray:
        return (classes >= 0) & (classes < self.num_groundtruth_classes)

    def _compute_tp_fp_for_single_class(
        self,
        detected_boxes: np.ndarray,
        detected_scores: np.ndarray,
        groundtruth_boxes: np.ndarray,
        groundtruth_is_difficult_list: np.ndarray,
        groundtruth_is_group_of_list: np.ndarray,
        detected_masks: np.ndarray | None = None,
        groundtruth_masks: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores and how much each is right, of detections and objects of one class."""
        labels = self._labels(
            detected_boxes,
            detected_scores,
            np.zeros(len(detected_boxes), np.int64),
            groundtruth_boxes,
            np.zeros(len(groundtruth_boxes), np.int64),
            groundtruth_is_difficult_list,
            groundtruth_is_group_of_list,
            detected_masks,
            groundtruth_masks,
        )
        return labels.scores, labels.right

    def _compute_cor_loc(
        self,
        detected_boxes: np.ndarray,
        detected_scores: np.ndarray,
        detected_class_labels: np.ndarray,
        groundtruth_boxes: np.ndarray,
        groundtruth_class_labels: np.ndarray,
        detected_masks: np.ndarray | None = None,
        groundtruth_masks: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return int [c]: 1 where the best detection of a class finds any object of it."""
        true, found = (groundtruth_boxes, groundtruth_class_labels), (detected_boxes, detected_class_labels)
        image = _image_result(*found, detected_scores, *true, detected_masks, groundtruth_masks)
        overlap = box_overlap if image.masks is None else mask_overlap
        table = tabulate([image], self.num_groundtruth_classes)
        found_fraction = correct_localization(table, self.matching_iou_threshold, overlap)
        return np.nan_to_num(found_fraction[: self.num_groundtruth_classes]).astype(int)

    def _labels(
        self,
        detected_boxes: np.ndarray,
        detected_scores: np.ndarray,
        detected_class_labels: np.ndarray,
        groundtruth_boxes: np.ndarray,
        groundtruth_class_labels: np.ndarray,
        difficult: np.ndarray,
        group_of: np.ndarray,
        detected_masks: np.ndarray | None,
        groundtruth_masks: np.ndarray | None,
    ) -> Labels:
        if groundtruth_masks is None:
            detected_masks = None
        boxes, classes, scores, detected_masks = self._suppressed(
            detected_boxes, detected_class_labels, detected_scores, detected_masks
        )
        true = (groundtruth_boxes, groundtruth_class_labels)
        image = _image_result(boxes, classes, scores, *true, detected_masks, groundtruth_masks)
        label = label_boxes if image.masks is None else label_masks
        return label(
            tabulate([image], self.num_groundtruth_classes),
            self.matching_iou_threshold,
            difficult=np.asarray(difficult, bool),
            group_of=np.asarray(group_of, bool),
            group_of_weight=self.group_of_weight,
        )

    def _suppressed(
        self, boxes: np.ndarray, classes: np.ndarray, scores: np.ndarray, detected_masks: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """Return boxes, classes, scores and masks of what is left of each class, by descending score."""
        if self.nms_iou_threshold == 1.0 and len(boxes) <= self.nms_max_output_boxes:  # nothing is suppressed
            best_first = np.argsort(scores, kind="stable")[::-1]
            left_masks = None if detected_masks is None else detected_masks[best_first]
            return boxes[best_first], classes[best_first], scores[best_first], left_masks
        found: list[Any] = []
        suppress: Any = np_box_list_ops if detected_masks is None else np_box_mask_list_ops
        for cls in np.unique(classes):
            rows = classes == cls
            boxes_of_class = boxes[rows].astype(np.float64)
            if detected_masks is None:
                of_class = BoxList(boxes_of_class)
            else:
                of_class = BoxMaskList(boxes_of_class, detected_masks[rows].astype(np.uint8))
            of_class.add_field("scores", scores[rows])
            of_class.add_field("classes", classes[rows])
            found.append(
                suppress.non_max_suppression(of_class, self.nms_max_output_boxes, self.nms_iou_threshold)
            )
        if not found:
            return boxes, classes, scores, detected_masks
        best = suppress.concatenate(found)
        left_masks = None if detected_masks is None else best.get_masks()
        return best.get(), best.get_field("classes"), best.get_field("scores"), left_masks


def _image_result(
    boxes: np.ndarray,
    classes: np.ndarray,
    scores: np.ndarray,
    groundtruth_boxes: np.ndarray,
    groundtruth_classes: np.ndarray,
    detected_masks: np.ndarray | None,
    groundtruth_masks: np.ndarray | None,
) -> ImageResult:
    """Return detections beside objects; with masks only if both have them."""
    has_masks = detected_masks is not None and groundtruth_masks is not None
    return ImageResult(
        name="",
        height=0,
        width=0,
        groundtruth_boxes=groundtruth_boxes,
        groundtruth_classes=groundtruth_classes,
        is_crowd=np.zeros(len(groundtruth_classes), bool),
        boxes=boxes,
        classes=classes,
        scores=scores,
        groundtruth_masks=_masks(groundtruth_masks) if has_masks else None,
        masks=_masks(detected_masks) if has_masks else None,
    )


def _masks(arrays: np.ndarray | None) -> list[masks.Mask]:
    return [] if arrays is None else [masks.from_array(array) for array in arrays]
