"""The metrics against those recorded from the API: every recorded case."""

from dataclasses import replace

import numpy as np
import pytest

from boxtune.metrics import coco, masks, pascal_voc
from boxtune.metrics.coco import KeypointClass
from boxtune.metrics.metric_sets import Options, measure
from boxtune.metrics.open_images import box_metrics
from boxtune.metrics.results import ImageResult, select_detections
from golden.recordings import Case, load_fill, unit_cases

pytestmark = pytest.mark.shared

CASES = unit_cases("metrics")
IMAGES = [case for case in CASES if case.about["kind"] == "image"]
RECORDED = {case.about["name"]: case for case in CASES if case.about["kind"] == "metrics"}
NAMES = ["apple", "bus", "cat", "dog", "egg"]  # the fifth without any object
PER_CLASS = Options(per_category=True, all_per_category=True)


def result(case: Case) -> ImageResult:
    arrays = case.arrays
    return ImageResult(
        name=case.about["image_id"],
        height=400,
        width=500,
        groundtruth_boxes=arrays["gt"],
        groundtruth_classes=arrays["classes"] - 1,
        is_crowd=arrays["crowd"].astype(bool),
        difficult=arrays["difficult"].astype(bool),
        group_of=arrays["group_of"].astype(bool),
        boxes=arrays["det"],
        classes=arrays["det_classes"] - 1,
        scores=arrays["scores"],
    )


def results(name: str, *flags: str) -> list[ImageResult]:
    """The images of a case, with the flags that it uses."""
    unused = {"crowd": "is_crowd", "difficult": "difficult", "group_of": "group_of"}
    for flag in flags:
        assert flag in RECORDED[name].about["uses"], flag
        del unused[flag]
    return [
        replace(one, **dict.fromkeys(unused.values(), np.zeros(len(one.groundtruth_classes), bool)))
        for one in map(result, IMAGES)
    ]


def assert_recorded(measured: dict[str, float], name: str) -> None:
    """All recorded numbers; none is -1 here."""
    recorded = RECORDED[name].about["metrics"]
    assert recorded
    for tag, number in recorded.items():
        assert measured[tag] == pytest.approx(-1 if number is None else number, abs=1e-6), tag


def test_every_recorded_case_is_tested():
    """Those below, by name."""
    assert sorted(RECORDED) == sorted([*COCO, *PASCAL, *OTHERS])


OTHERS = [
    *("pascal_voc_iou_0.7", "pascal_voc_nms", "pascal_corloc", "precision_at_recall"),
    *("open_images_v2_group_weight", "open_images_challenge", "coco_mask", "coco_keypoints"),
]
COCO = {
    "coco": ("crowd",),
    "coco_no_crowd_flags": (),
    "coco_area": ("crowd",),
}


@pytest.mark.parametrize("name", COCO)
def test_coco_boxes(name: str):
    images = results(name, *COCO[name])
    if name == "coco_area":
        images = [replace(one, groundtruth_areas=0.7 * box_areas(one.groundtruth_boxes)) for one in images]
    measured = measure([], images, NAMES, PER_CLASS)
    assert list(measured)[:12] == list(coco.NAMES)
    assert_recorded(measured, name)
    for number, recorded in RECORDED[name].about["per_category"].items():
        cls = NAMES[int(number) - 1]
        for tag, short in (
            ("Precision/mAP", "ap"),
            ("Precision/mAP@.50IOU", "ap50"),
            ("Recall/AR@100", "ar100"),
        ):
            expected = -1 if recorded[short] is None else recorded[short]
            assert measured[f"DetectionBoxes_{tag} ByCategory/{cls}"] == pytest.approx(expected, abs=1e-6)


def box_areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


PASCAL = {
    "pascal_voc": ("pascal_voc_detection_metrics", "difficult"),
    "pascal_voc_no_difficult": ("pascal_voc_detection_metrics",),
    "weighted_pascal_voc": ("weighted_pascal_voc_detection_metrics", "difficult"),
    "open_images_v2": ("oid_V2_detection_metrics", "group_of"),
}


@pytest.mark.parametrize("name", PASCAL)
def test_pascal_and_open_images(name: str):
    metrics_set, *flags = PASCAL[name]
    assert_recorded(measure([metrics_set], results(name, *flags), NAMES), name)


def test_pascal_at_another_overlap():
    name = "pascal_voc_iou_0.7"
    assert_recorded(pascal_voc.detection_metrics(results(name, "difficult"), NAMES, at_least=0.7), name)


def test_pascal_after_suppression():
    name = "pascal_voc_nms"
    about = RECORDED[name].about
    suppressed = [
        suppress(one, about["nms_iou_threshold"], about["nms_max_output_boxes"])
        for one in results(name, "difficult")
    ]
    assert sum(len(one.scores) for one in suppressed) < sum(len(one.arrays["scores"]) for one in IMAGES)
    assert_recorded(pascal_voc.detection_metrics(suppressed, NAMES), name)


def suppress(one: ImageResult, most: float, limit: int) -> ImageResult:
    """Of each class keep the best scored detections, `limit` at most, that overlap none kept before by more."""
    kept: list[int] = []
    for row in np.argsort(-one.scores):
        rivals = [other for other in kept if one.classes[other] == one.classes[row]]
        if len(rivals) < limit and all(iou(one.boxes[row], one.boxes[other]) <= most for other in rivals):
            kept.append(int(row))
    return select_detections(one, np.array(kept))


def iou(one: np.ndarray, other: np.ndarray) -> float:
    sides = np.maximum(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0)
    shared = sides[0] * sides[1]
    return shared / (box_areas(one[None])[0] + box_areas(other[None])[0] - shared)


def test_corloc():
    name = "pascal_corloc"
    images = results(name, "difficult")
    measured = pascal_voc.corloc_metrics(images, NAMES, prefix="X")
    measured |= pascal_voc.detection_metrics(images, NAMES, prefix="X")
    # A class without any object has neither precision nor recall in the API, and no tag for them here.
    recorded = RECORDED[name].about["metrics"]
    for kind in ("Precision", "Recall"):
        assert recorded[f"X_PerformanceByCategory/{kind}@0.5IOU/egg"] is None
        measured[f"X_PerformanceByCategory/{kind}@0.5IOU/egg"] = -1
    assert_recorded(measured, name)


def test_precision_at_recall():
    name = "precision_at_recall"
    options = Options(recall_bounds=(0.2, 0.8))
    measured = measure(["precision_at_recall_detection_metrics"], results(name, "difficult"), NAMES, options)
    assert_recorded(measured, name)


def test_open_images_with_weighted_groups():
    name = "open_images_v2_group_weight"
    measured = box_metrics(results(name, "group_of"), NAMES, "OpenImagesV2", group_of_weight=1.0)
    assert_recorded(measured, name)


def test_open_images_challenge():
    name = "open_images_challenge"
    images = [
        replace(one, present_classes=np.array(classes) - 1)
        for one, classes in zip(results(name, "group_of"), RECORDED[name].about["image_classes"], strict=True)
    ]
    assert_recorded(measure(["oid_challenge_detection_metrics"], images, NAMES), name)


def test_coco_masks():
    name = "coco_mask"
    measured = measure(["coco_mask_metrics"], [with_masks(one) for one in results(name, "crowd")], NAMES)
    assert_recorded(measured, name)


def with_masks(one: ImageResult) -> ImageResult:
    """The image at a smaller scale, with the masks that were recorded."""
    height, width = 64, 80
    scale = np.float32([height / 400, width / 500] * 2)
    groundtruth_boxes, boxes = one.groundtruth_boxes * scale, one.boxes * scale
    boxes = np.clip(boxes, 0, np.float32([height, width] * 2))
    return replace(
        one,
        height=height,
        width=width,
        groundtruth_boxes=groundtruth_boxes,
        boxes=boxes,
        groundtruth_masks=drawn(groundtruth_boxes, height, width),
        masks=drawn(boxes, height, width),
    )


def drawn(boxes: np.ndarray, height: int, width: int) -> list[masks.Mask]:
    normalised = boxes / np.float32([height, width] * 2)
    return [masks.from_array(mask) for mask in load_fill().masks(normalised, height, width)]


def test_coco_keypoints():
    name = "coco_keypoints"
    case = RECORDED[name]
    images = [
        replace(
            one,
            groundtruth_areas=box_areas(one.groundtruth_boxes),
            groundtruth_keypoints=case.arrays[f"gt_keypoints_{number}"],
            groundtruth_visibility=case.arrays[f"gt_visibility_{number}"],
            keypoints=case.arrays[f"det_keypoints_{number}"],
        )
        for number, one in enumerate(results(name, "crowd"))
    ]
    person = KeypointClass(case.about["category_id"] - 1, list(case.about["oks_sigmas"].values()))
    measured = measure(["coco_keypoint_metrics"], images, NAMES, Options(keypoints=[person]))
    assert_recorded(measured, name)
