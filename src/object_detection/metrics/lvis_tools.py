"""Annotations and detections in LVIS' form, made of arrays, and the LVIS numbers of them.

What looks like the classes of the package lvis does so as far as it is used here; the numbers are boxtune's own.
Images of the data set have `neg_category_ids`, classes that are known not to be there, and
`not_exhaustive_category_ids`, those of which some objects may not be marked.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from boxtune.metrics import lvis
from boxtune.metrics.coco import Options
from boxtune.metrics.results import ImageResult
from object_detection.metrics import coco_tools
from object_detection.metrics.coco_tools import Annotation, CocoError


def RleCompress(masks: np.ndarray) -> dict[str, Any]:
    """Return the run lengths of a mask uint8 [h, w], compressed, and its size."""
    return coco_tools.compressed(masks)


class LVISWrapper(coco_tools.COCOWrapper):
    """Annotations or detections of some images; see `coco_tools.COCOWrapper`."""


class LVISEvalWrapper(coco_tools.COCOEvalWrapper):
    """The LVIS numbers of detections."""

    def __init__(
        self,
        groundtruth: coco_tools.COCOWrapper | None = None,
        detections: coco_tools.COCOWrapper | None = None,
        iou_type: str = "bbox",
    ) -> None:
        """Create an evaluation of `groundtruth` and what its `LoadAnnotations` returned, by "bbox" or "segm".

        Raises CocoError for another `iou_type`.
        """
        if iou_type not in ("bbox", "segm"):
            raise CocoError(f'iou_type is "{iou_type}", neither "bbox" nor "segm".')
        super().__init__(groundtruth, detections, iou_type=iou_type)

    def ComputeMetrics(  # type: ignore[override]
        self, include_metrics_per_category: bool = False
    ) -> dict[str, float]:
        """Return AP, AP50 and so on; those of rare, common and frequent classes need the "frequency" of each category.

        Those of each class, if they are asked for, are `PerformanceByCategory/AP/NAME`. -1 where no object counts.
        """
        categories = [self.GetCategory(number) for number in self.GetCategoryIdList()]
        letters = [category.get("frequency") or "" for category in categories]
        of_masks = self._iou_type == "segm"
        numbers = (lvis.mask_metrics if of_masks else lvis.box_metrics)(
            list(self._results()),
            [category["name"] for category in categories],
            Options(per_category=include_metrics_per_category, frequencies=letters if any(letters) else ()),
        )
        prefix = "DetectionMasks_" if of_masks else "DetectionBoxes_"
        return OrderedDict((name.removeprefix(prefix), number) for name, number in numbers.items())

    def _results(self) -> Iterator[ImageResult]:
        true = self._annotated()
        indices = {number: index for index, number in enumerate(self.GetCategoryIdList())}
        for image_id, result in zip(sorted(true.imgs), super()._results(), strict=True):
            absent, partly = (
                np.array(
                    [indices[one] for one in true.imgs[image_id].get(name, ()) if one in indices], np.int64
                )
                for name in ("neg_category_ids", "not_exhaustive_category_ids")
            )
            yield replace(result, absent_classes=absent, not_exhaustive_classes=partly)


def ExportSingleImageGroundtruthToLVIS(
    image_id: Any,
    next_annotation_id: int,
    category_id_set: Collection[int],
    groundtruth_boxes: np.ndarray,
    groundtruth_classes: np.ndarray,
    groundtruth_masks: np.ndarray | None = None,
    groundtruth_area: np.ndarray | None = None,
) -> list[Annotation]:
    """Return the annotations of an image as `coco_tools.ExportSingleImageGroundtruthToCoco` does, without crowds."""
    annotations = coco_tools.ExportSingleImageGroundtruthToCoco(
        image_id,
        next_annotation_id,
        category_id_set,
        groundtruth_boxes,
        groundtruth_classes,
        groundtruth_masks=groundtruth_masks,
        groundtruth_area=groundtruth_area,
    )
    for annotation in annotations:
        del annotation["iscrowd"]
    return annotations


def ExportSingleImageDetectionMasksToLVIS(
    image_id: Any,
    category_id_set: Collection[int],
    detection_masks: np.ndarray,
    detection_scores: np.ndarray,
    detection_classes: np.ndarray,
) -> list[Annotation]:
    """Return the detections of an image as `coco_tools.ExportSingleImageDetectionMasksToCoco` does."""
    return coco_tools.ExportSingleImageDetectionMasksToCoco(
        image_id, category_id_set, detection_masks, detection_scores, detection_classes
    )
