"""The twelve COCO numbers of detections, under the API's names."""

from collections.abc import Sequence

import numpy as np

from boxtune.metrics.results import ImageResult

NAMES = (
    "DetectionBoxes_Precision/mAP",
    "DetectionBoxes_Precision/mAP@.50IOU",
    "DetectionBoxes_Precision/mAP@.75IOU",
    "DetectionBoxes_Precision/mAP (small)",
    "DetectionBoxes_Precision/mAP (medium)",
    "DetectionBoxes_Precision/mAP (large)",
    "DetectionBoxes_Recall/AR@1",
    "DetectionBoxes_Recall/AR@10",
    "DetectionBoxes_Recall/AR@100",
    "DetectionBoxes_Recall/AR@100 (small)",
    "DetectionBoxes_Recall/AR@100 (medium)",
    "DetectionBoxes_Recall/AR@100 (large)",
)
"""In the order of COCO's own table. -1 where there is no object of that size."""


def coco_metrics(results: Sequence[ImageResult], num_classes: int) -> dict[str, float]:
    """Return the twelve numbers by NAMES.

    Classes without any object do not count; where nothing counts the number is -1. Source: Lin et al. 2014
    (arXiv:1405.0312) and its evaluation code, computed by faster-coco-eval.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    truth = COCO(_truth(results, num_classes))
    found = truth.loadRes(_found(results))
    evaluation = COCOeval_faster(truth, found, iouType="bbox", print_function=lambda *_: None)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return {name: float(value) for name, value in zip(NAMES, evaluation.stats, strict=False)}


def _truth(results: Sequence[ImageResult], num_classes: int) -> dict[str, list[dict]]:
    annotations: list[dict] = []
    for image_id, result in enumerate(results, start=1):
        for box, cls, crowd in zip(result.true_boxes, result.true_classes, result.is_crowd, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(cls) + 1,
                    "bbox": _xywh(box),
                    "area": float((box[2] - box[0]) * (box[3] - box[1])),
                    "iscrowd": int(crowd),
                }
            )
    return {
        "images": [
            {"id": image_id, "height": result.height, "width": result.width}
            for image_id, result in enumerate(results, start=1)
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": str(number)} for number in range(1, num_classes + 1)],
    }


def _found(results: Sequence[ImageResult]) -> list[dict]:
    return [
        {"image_id": image_id, "category_id": int(cls) + 1, "bbox": _xywh(box), "score": float(score)}
        for image_id, result in enumerate(results, start=1)
        for box, cls, score in zip(result.boxes, result.classes, result.scores, strict=True)
    ]


def _xywh(box: np.ndarray) -> list[float]:
    ymin, xmin, ymax, xmax = (float(side) for side in box)
    return [xmin, ymin, xmax - xmin, ymax - ymin]
