"""Annotations and detections in COCO's form, made of arrays, and the COCO numbers of them.

Boxes of arrays are `[ymin, xmin, ymax, xmax]`, those of COCO `[x, y, width, height]`, in pixels. Dimension letters: n,
objects; k, detections; p, keypoints; h w, pixels. `COCOWrapper` and `COCOEvalWrapper` look like pycocotools' COCO and
COCOeval as far as they are used here; ids of images may be anything that can be sorted. The numbers are boxtune's own.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from boxtune import run_lengths
from boxtune.errors import DataError
from boxtune.metrics import coco, masks
from boxtune.metrics.coco import KeypointClass, Options
from boxtune.metrics.results import ImageResult
from object_detection.utils import json_utils

Annotation = dict[str, Any]
"""Of an object or a detection, as COCO's JSON has it."""
Arrays = Sequence[np.ndarray]
"""An array for each image."""

_BOXES, _MASKS = "DetectionBoxes_", "DetectionMasks_"
COCO_METRIC_NAMES_AND_INDEX = tuple(
    (name.removeprefix(_BOXES), index) for index, name in enumerate(coco.NAMES)
)
COCO_KEYPOINT_METRIC_NAMES_AND_INDEX = tuple((name, index) for index, name in enumerate(coco.KEYPOINT_NAMES))


class CocoError(DataError, ValueError):
    """Arrays or annotations that do not fit; a ValueError too, which is what the API raises."""


# Measuring


class COCOWrapper:
    """Annotations or detections of some images.

    Attributes:
        dataset: lists of "images", "categories" and "annotations", as COCO's JSON has them.
        imgs, cats, anns: these by id.
        imgToAnns: for each image its annotations.
    """

    def __init__(self, dataset: dict[str, list[dict[str, Any]]], detection_type: str = "bbox") -> None:
        """Create an index; raises CocoError for a `detection_type` that is neither "bbox" nor "segmentation"."""
        if detection_type not in ("bbox", "segmentation"):
            raise CocoError(f'detection_type is "{detection_type}", neither "bbox" nor "segmentation".')
        self._detection_type = detection_type
        self.dataset = dataset
        self.createIndex()

    def createIndex(self) -> None:
        """Index the data set anew."""
        self.imgs = {image["id"]: image for image in self.dataset["images"]}
        self.cats = {category["id"]: category for category in self.dataset["categories"]}
        self.anns = {annotation["id"]: annotation for annotation in self.dataset["annotations"]}
        self.imgToAnns: dict[Any, list[Annotation]] = {image_id: [] for image_id in self.imgs}
        for annotation in self.dataset["annotations"]:
            self.imgToAnns.setdefault(annotation["image_id"], []).append(annotation)

    def getImgIds(self) -> list[Any]:
        """Return the ids of all images."""
        return list(self.imgs)

    def getCatIds(self) -> list[int]:
        """Return the ids of all categories."""
        return list(self.cats)

    def LoadAnnotations(self, annotations: list[Annotation]) -> "COCOWrapper":
        """Return detections in the same images and categories.

        Each gets an "id", its "area", "iscrowd", and of a mask its "bbox", in place.

        Raises:
            CocoError: if they are no list, or some are in an image that is not there.
        """
        if not isinstance(annotations, list):
            raise CocoError(f"annotations have to be a list, not {type(annotations).__name__}.")
        if unknown := {annotation["image_id"] for annotation in annotations} - set(self.imgs):
            raise CocoError(
                f"there are detections in images without annotations, such as {next(iter(unknown))!r}."
            )
        for number, annotation in enumerate(annotations, 1):
            if self._detection_type == "segmentation":
                mask = masks.from_coco(annotation["segmentation"])
                annotation["bbox"], annotation["area"] = _coco_box(masks.box(mask)), float(masks.area(mask))
            else:
                annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
            annotation["id"], annotation["iscrowd"] = number, 0
        dataset = {**self.dataset, "annotations": annotations}
        return COCOWrapper(dataset, self._detection_type)


class COCOEvalWrapper:
    """The COCO numbers of detections."""

    def __init__(
        self,
        groundtruth: COCOWrapper | None = None,
        detections: COCOWrapper | None = None,
        agnostic_mode: bool = False,
        iou_type: str = "bbox",
        oks_sigmas: Sequence[float] | np.ndarray | None = None,
    ) -> None:
        """Create an evaluation.

        Args:
            groundtruth: the objects.
            detections: what `groundtruth.LoadAnnotations` returned.
            agnostic_mode: all categories are one.
            iou_type: what is matched, "bbox", "segm" or "keypoints".
            oks_sigmas: float [p], how much each keypoint's annotations vary, needed for keypoints.

        Raises:
            CocoError: for another `iou_type`, and keypoints without `oks_sigmas`.
        """
        if iou_type not in ("bbox", "segm", "keypoints"):
            raise CocoError(f'iou_type is "{iou_type}", not one of "bbox", "segm", "keypoints".')
        if iou_type == "keypoints" and oks_sigmas is None:
            raise CocoError("keypoints need oks_sigmas, a number for each.")
        self.cocoGt, self.cocoDt = groundtruth, detections
        self._iou_type, self._agnostic_mode, self._oks_sigmas = iou_type, agnostic_mode, oks_sigmas

    def GetCategory(self, category_id: int) -> dict[str, Any]:
        """Return a category by its id."""
        return self._annotated().cats[category_id]

    def GetAgnosticMode(self) -> bool:
        """Say whether all categories are one."""
        return self._agnostic_mode

    def GetCategoryIdList(self) -> list[int]:
        """Return the ids of all categories, ascending."""
        return sorted(self._annotated().cats)

    def ComputeMetrics(
        self,
        include_metrics_per_category: bool = False,
        all_metrics_per_category: bool = False,
        super_categories: Mapping[str, Sequence[str]] | None = None,
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Return the numbers of all categories, and those of each and of `super_categories`, if these are asked for.

        The first are named by COCO_METRIC_NAMES_AND_INDEX, or by COCO_KEYPOINT_METRIC_NAMES_AND_INDEX and the
        category. -1 where no object counts.

        Raises:
            ConfigError: for a super-category with an unknown class.
        """
        results = list(self._results())
        names = [str(self.GetCategory(number)["name"]) for number in self.GetCategoryIdList()]
        if self._iou_type == "keypoints":
            sigmas = [] if self._oks_sigmas is None else list(self._oks_sigmas)
            numbers = coco.keypoint_metrics(results, names, KeypointClass(0, sigmas))
            return _without_prefix(numbers, "Keypoints_"), {}
        if self._agnostic_mode:
            names, include_metrics_per_category = [""], False
        options = Options(include_metrics_per_category, all_metrics_per_category, super_categories or {})
        of_masks = self._iou_type == "segm"
        measure = coco.mask_metrics if of_masks else coco.box_metrics
        numbers = _without_prefix(measure(results, names, options), _MASKS if of_masks else _BOXES)
        summary = {name: numbers.pop(name) for name, _ in COCO_METRIC_NAMES_AND_INDEX}
        return OrderedDict(summary), OrderedDict(numbers)

    def _annotated(self) -> COCOWrapper:
        if self.cocoGt is None:
            raise CocoError("there is no groundtruth.")
        return self.cocoGt

    def _results(self) -> Iterator[ImageResult]:
        """Yield objects and detections of each image; images are named so that they sort as their ids do."""
        true, found = self._annotated(), self.cocoDt
        categories = {number: index for index, number in enumerate(self.GetCategoryIdList())}
        for number, image_id in enumerate(sorted(true.imgs)):
            objects, detections = (
                [one for one in of.imgToAnns.get(image_id, ()) if one["category_id"] in categories]
                if of
                else []
                for of in (true, found)
            )
            classes, found_classes = (
                np.array(
                    [0 if self._agnostic_mode else categories[one["category_id"]] for one in part], np.int64
                )
                for part in (objects, detections)
            )
            image = true.imgs[image_id]
            yield ImageResult(
                name=f"{number:012d}",
                height=image.get("height", 0),
                width=image.get("width", 0),
                groundtruth_boxes=_boxes(objects),
                groundtruth_classes=classes,
                is_crowd=np.array([bool(one.get("iscrowd", 0)) for one in objects], bool),
                groundtruth_areas=np.array([one.get("area", 0) for one in objects], np.float64),
                boxes=_boxes(detections),
                classes=found_classes,
                scores=np.array([one["score"] for one in detections], np.float64),
                **self._shapes(objects, detections),
            )

    def _shapes(self, objects: Sequence[Annotation], detections: Sequence[Annotation]) -> dict[str, Any]:
        """Return the masks or keypoints of an image, if it is these that are matched."""
        if self._iou_type == "segm":
            true, found = (
                [masks.from_coco(one["segmentation"]) for one in part] for part in (objects, detections)
            )
            return {"groundtruth_masks": true, "masks": found}
        if self._iou_type == "keypoints" and self._oks_sigmas is not None:
            points, found_points = (_keypoints(part, len(self._oks_sigmas)) for part in (objects, detections))
            return {
                "groundtruth_keypoints": points[..., 1::-1],
                "groundtruth_visibility": points[..., 2],
                "keypoints": found_points[..., 1::-1],
            }
        return {}


def _without_prefix(numbers: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): number for name, number in numbers.items()}


def _boxes(annotations: Sequence[Annotation]) -> np.ndarray:
    """Return boxes float64 [n, 4] as `[ymin, xmin, ymax, xmax]`."""
    boxes = np.array([one["bbox"] for one in annotations], np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, 1::-1], boxes[:, 1::-1] + boxes[:, :1:-1]], axis=1)


def _keypoints(annotations: Sequence[Annotation], count: int) -> np.ndarray:
    """Return x, y and visibility float64 [n, count, 3]; zeros of an annotation without keypoints."""
    nothing = [0.0] * 3 * count
    points = [one.get("keypoints") or nothing for one in annotations]
    return np.array(points, np.float64).reshape(len(annotations), count, 3)


# From arrays


def ExportSingleImageGroundtruthToCoco(
    image_id: Any,
    next_annotation_id: int,
    category_id_set: Collection[int],
    groundtruth_boxes: np.ndarray,
    groundtruth_classes: np.ndarray,
    groundtruth_keypoints: np.ndarray | None = None,
    groundtruth_keypoint_visibilities: np.ndarray | None = None,
    groundtruth_masks: np.ndarray | None = None,
    groundtruth_is_crowd: np.ndarray | None = None,
    groundtruth_area: np.ndarray | None = None,
) -> list[Annotation]:
    """Return the annotations of an image, of the classes in `category_id_set`.

    Args:
        image_id: of the image.
        next_annotation_id: of the first object; each following one has the next.
        category_id_set: of the classes that are kept.
        groundtruth_boxes: float [n, 4].
        groundtruth_classes: int [n].
        groundtruth_keypoints: float [n, p, 2], y, x.
        groundtruth_keypoint_visibilities: int [n, p], 0 not labelled, 1 hidden, 2 visible; None: all visible.
        groundtruth_masks: uint8 [n, h, w].
        groundtruth_is_crowd: [n]; None: none is.
        groundtruth_area: float [n]; None: those of the boxes.

    Raises:
        CocoError: for arrays of other shapes.
    """
    count = _check_boxes(groundtruth_boxes, groundtruth_classes)
    _check_lengths(
        count,
        groundtruth_masks=groundtruth_masks,
        groundtruth_is_crowd=groundtruth_is_crowd,
        groundtruth_area=groundtruth_area,
        groundtruth_keypoints=groundtruth_keypoints,
        groundtruth_keypoint_visibilities=groundtruth_keypoint_visibilities,
    )
    if groundtruth_masks is not None and groundtruth_masks.ndim != 3:
        raise CocoError(f"groundtruth_masks are of shape {groundtruth_masks.shape}, not [n, h, w].")
    if groundtruth_is_crowd is not None and groundtruth_is_crowd.ndim != 1:
        raise CocoError(f"groundtruth_is_crowd is of shape {groundtruth_is_crowd.shape}, not [n].")
    found = []
    for row in _rows_of(groundtruth_classes, category_id_set):
        box = _coco_box(groundtruth_boxes[row])
        annotation = {
            "id": next_annotation_id + row,
            "image_id": image_id,
            "category_id": int(groundtruth_classes[row]),
            "bbox": box,
            "area": box[2] * box[3] if groundtruth_area is None else float(groundtruth_area[row]),
            "iscrowd": 0 if groundtruth_is_crowd is None else int(groundtruth_is_crowd[row]),
        }
        if groundtruth_masks is not None:
            annotation["segmentation"] = compressed(groundtruth_masks[row])
        if groundtruth_keypoints is not None:
            points = _coco_keypoints(groundtruth_keypoints, groundtruth_keypoint_visibilities, row)
            annotation |= {"keypoints": points, "num_keypoints": sum(value > 0 for value in points[2::3])}
        found.append(annotation)
    return found


def ExportGroundtruthToCOCO(
    image_ids: Sequence[Any],
    groundtruth_boxes: Arrays,
    groundtruth_classes: Arrays,
    categories: list[dict[str, Any]],
    output_path: str | None = None,
) -> dict[str, Any]:
    """Return the annotations of images as COCO's JSON has them, and write them if there is an `output_path`."""
    known = {category["id"] for category in categories}
    annotations: list[Annotation] = []
    next_id = 1
    for image_id, boxes, classes in zip(image_ids, groundtruth_boxes, groundtruth_classes, strict=True):
        annotations += ExportSingleImageGroundtruthToCoco(image_id, next_id, known, boxes, classes)
        next_id += len(classes)
    dataset = {
        "annotations": annotations,
        "images": [{"id": image_id} for image_id in image_ids],
        "categories": categories,
    }
    _write(dataset, output_path)
    return dataset


def ExportSingleImageDetectionBoxesToCoco(
    image_id: Any,
    category_id_set: Collection[int],
    detection_boxes: np.ndarray,
    detection_scores: np.ndarray,
    detection_classes: np.ndarray,
    detection_keypoints: np.ndarray | None = None,
    detection_keypoint_visibilities: np.ndarray | None = None,
) -> list[Annotation]:
    """Return the detections of an image, of the classes in `category_id_set`.

    Args:
        image_id: of the image.
        category_id_set: of the classes that are kept.
        detection_boxes: float [k, 4].
        detection_scores: float [k].
        detection_classes: int [k].
        detection_keypoints: float [k, p, 2], y, x.
        detection_keypoint_visibilities: int [k, p]; None: all visible.

    Raises:
        CocoError: for arrays of other shapes.
    """
    count = _check_boxes(detection_boxes, detection_classes)
    _check_scores(detection_scores, detection_classes)
    _check_lengths(
        count,
        detection_keypoints=detection_keypoints,
        detection_keypoint_visibilities=detection_keypoint_visibilities,
    )
    found = []
    for row in _rows_of(detection_classes, category_id_set):
        detection = {
            "image_id": image_id,
            "category_id": int(detection_classes[row]),
            "bbox": _coco_box(detection_boxes[row]),
            "score": float(detection_scores[row]),
        }
        if detection_keypoints is not None:
            points = _coco_keypoints(detection_keypoints, detection_keypoint_visibilities, row)
            detection |= {"keypoints": points, "num_keypoints": detection_keypoints.shape[1]}
        found.append(detection)
    return found


def ExportSingleImageDetectionMasksToCoco(
    image_id: Any,
    category_id_set: Collection[int],
    detection_masks: np.ndarray,
    detection_scores: np.ndarray,
    detection_classes: np.ndarray,
) -> list[Annotation]:
    """Return the detections of an image with their masks [k, h, w] as run lengths, of the classes that are kept.

    Raises:
        CocoError: for arrays of other shapes.
    """
    _check_scores(detection_scores, detection_classes)
    _check_lengths(len(detection_classes), detection_masks=detection_masks)
    return [
        {
            "image_id": image_id,
            "category_id": int(detection_classes[row]),
            "segmentation": compressed(detection_masks[row]),
            "score": float(detection_scores[row]),
        }
        for row in _rows_of(detection_classes, category_id_set)
    ]


def ExportDetectionsToCOCO(
    image_ids: Sequence[Any],
    detection_boxes: Arrays,
    detection_scores: Arrays,
    detection_classes: Arrays,
    categories: list[dict[str, Any]],
    output_path: str | None = None,
) -> list[Annotation]:
    """Return the detections of images as COCO's results, and write them if there is an `output_path`."""
    return _of_images(
        ExportSingleImageDetectionBoxesToCoco,
        *(image_ids, detection_boxes, detection_scores, detection_classes, categories, output_path),
    )


def ExportSegmentsToCOCO(
    image_ids: Sequence[Any],
    detection_masks: Arrays,
    detection_scores: Arrays,
    detection_classes: Arrays,
    categories: list[dict[str, Any]],
    output_path: str | None = None,
) -> list[Annotation]:
    """Return the detections of images with masks [k, h, w] or [k, h, w, 1]; write them if there is an `output_path`."""
    return _of_images(
        ExportSingleImageDetectionMasksToCoco,
        *(image_ids, detection_masks, detection_scores, detection_classes, categories, output_path),
    )


def ExportKeypointsToCOCO(
    image_ids: Sequence[Any],
    detection_keypoints: Arrays,
    detection_scores: Arrays,
    detection_classes: Arrays,
    categories: list[dict[str, Any]],
    output_path: str | None = None,
) -> list[Annotation]:
    """Return the keypoints [k, p, 2] found in images, x, y, all visible; write them if there is an `output_path`.

    Of categories without "num_keypoints" nothing is returned; of others that many.

    Raises:
        CocoError: for arrays of other shapes.
    """
    counts = {one["id"]: one["num_keypoints"] for one in categories if "num_keypoints" in one}
    found: list[Annotation] = []
    of_images = zip(image_ids, detection_keypoints, detection_scores, detection_classes, strict=True)
    for image_id, keypoints, scores, classes in of_images:
        _check_scores(scores, classes)
        _check_lengths(len(classes), detection_keypoints=keypoints)
        if keypoints.ndim != 3:
            raise CocoError(f"detection_keypoints are of shape {keypoints.shape}, not [k, p, 2].")
        for row in _rows_of(classes, counts):
            points = keypoints[row, : counts[int(classes[row])]]
            visible = np.ones((len(points), 1))
            found.append(
                {
                    "image_id": image_id,
                    "category_id": int(classes[row]),
                    "keypoints": np.concatenate([points, visible], axis=1).ravel().tolist(),
                    "score": float(scores[row]),
                }
            )
    _write(found, output_path)
    return found


def _of_images(
    of_image: Callable[..., list[Annotation]],
    image_ids: Sequence[Any],
    shapes: Arrays,
    scores: Arrays,
    classes: Arrays,
    categories: list[dict[str, Any]],
    output_path: str | None,
) -> list[Annotation]:
    """Return what a function of one image makes of each, and write it if there is an `output_path`."""
    known = {category["id"] for category in categories}
    images = zip(image_ids, shapes, scores, classes, strict=True)
    found = [one for image_id, *parts in images for one in of_image(image_id, known, *parts)]
    _write(found, output_path)
    return found


def _write(content: Any, path: str | None) -> None:
    if path:
        with tf.io.gfile.GFile(path, "w") as file:
            json_utils.Dump(content, file, float_digits=4, indent=2)


def _rows_of(classes: np.ndarray, kept: Iterable[int]) -> list[int]:
    return np.flatnonzero(np.isin(classes, list(kept))).tolist()


def _coco_box(box: Iterable[float]) -> list[float]:
    """Return x, y, width and height of a box."""
    ymin, xmin, ymax, xmax = map(float, box)
    return [xmin, ymin, xmax - xmin, ymax - ymin]


def _coco_keypoints(keypoints: np.ndarray, visibilities: np.ndarray | None, row: int) -> list[float]:
    """Return x, y, visibility, x, ... of the keypoints [n, p, 2] of an object, the visibilities as whole numbers.

    A keypoint that is NaN is not labelled: three zeros.
    """
    of_row = [2] * keypoints.shape[1] if visibilities is None else visibilities[row].astype(int).tolist()
    points: list[float] = []
    for (y, x), visibility in zip(keypoints[row].tolist(), of_row, strict=True):
        points += [0.0, 0.0, 0] if math.isnan(x) or math.isnan(y) else [x, y, visibility]
    return points


def compressed(mask: np.ndarray) -> dict[str, Any]:
    """Return the run lengths of a mask [h, w] or [h, w, 1], compressed, and its size."""
    mask = mask.reshape(mask.shape[:2])
    return {"size": list(mask.shape), "counts": run_lengths.compress(run_lengths.of_array(mask)).decode()}


def _check_boxes(boxes: np.ndarray, classes: np.ndarray) -> int:
    """Return how many there are."""
    if classes.ndim != 1:
        raise CocoError(f"classes are of shape {classes.shape}, not of one dimension.")
    if boxes.shape != (len(classes), 4):
        raise CocoError(
            f"boxes of {len(classes)} classes are of shape {boxes.shape}, not [{len(classes)}, 4]."
        )
    return len(classes)


def _check_scores(scores: np.ndarray, classes: np.ndarray) -> None:
    if classes.ndim != 1 or scores.shape != classes.shape:
        raise CocoError(
            f"scores are of shape {scores.shape}, classes of {classes.shape}; both have to be [k]."
        )


def _check_lengths(count: int, **arrays: np.ndarray | None) -> None:
    for name, array in arrays.items():
        if array is not None and len(array) != count:
            raise CocoError(f"there are {count} classes, but {len(array)} {name}.")
