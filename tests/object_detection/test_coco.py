"""Evaluators of COCO's numbers and its annotations: drawn by hand, and against recordings of the API."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

from boxtune.metrics import masks
from golden.recordings import load_fill, unit_cases
from object_detection.metrics import coco_tools
from object_detection.metrics.coco_evaluation import (
    CocoDetectionEvaluator,
    CocoKeypointEvaluator,
    CocoMaskEvaluator,
    CocoPanopticSegmentationEvaluator,
)

CATEGORIES = [{"id": 0, "name": "person"}, {"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
A, B, AWAY = [100.0, 100.0, 200.0, 200.0], [50.0, 40.0, 100.0, 90.0], [0.0, 0.0, 20.0, 20.0]
MAP = "DetectionBoxes_Precision/mAP"


def boxes(*rows):
    return np.array(rows, float).reshape(-1, 4)


def objects(*rows, **more):
    arrays = {f"groundtruth_{name}": np.asarray(values) for name, values in more.items()}
    classes = np.array([row[1] for row in rows], int)
    return {"groundtruth_boxes": boxes(*(row[0] for row in rows)), "groundtruth_classes": classes, **arrays}


def detections(*rows, **more):
    return {
        "detection_boxes": boxes(*(row[0] for row in rows)),
        "detection_classes": np.array([row[1] for row in rows], int),
        "detection_scores": np.array([row[2] for row in rows], float),
        **{f"detection_{name}": np.asarray(values) for name, values in more.items()},
    }


def added(evaluator, *images):
    for name, true, found in images:
        evaluator.add_single_ground_truth_image_info(name, true)
        evaluator.add_single_detected_image_info(name, found)
    return evaluator


# Annotations of arrays


def annotation(number, image_id, box):
    area = box[2] * box[3]
    return {"id": number, "image_id": image_id, "category_id": 1, "bbox": box, "area": area, "iscrowd": 0}


DATASET = {
    "annotations": [
        annotation(1, "first", [100.0, 100.0, 100.0, 100.0]),
        annotation(3, "second", [40.0, 50.0, 50.0, 50.0]),
    ],
    "images": [{"id": "first"}, {"id": "second"}],
    "categories": CATEGORIES,
}


def found_in_dataset():
    return [
        {"image_id": "first", "category_id": 1, "bbox": [100.0, 100.0, 100.0, 100.0], "score": 0.8},
        {"image_id": "second", "category_id": 1, "bbox": [40.0, 50.0, 50.0, 50.0], "score": 0.7},
    ]


def test_groundtruth_as_json(tmp_path):
    path = tmp_path / "groundtruth.json"
    # The class 9 is none of the categories, but counts for the numbers of annotations.
    true = ([boxes(A, AWAY), boxes(B)], [np.array([1, 9]), np.array([1])])
    assert coco_tools.ExportGroundtruthToCOCO(["first", "second"], *true, CATEGORIES, str(path)) == DATASET
    assert json.loads(path.read_text()) == DATASET
    assert re.search(r'"bbox": \[\n\s+100\.0000,', path.read_text())


def test_detections_as_json(tmp_path):
    path = tmp_path / "detections.json"
    found = ([boxes(A), boxes(B)], [np.array([0.8]), np.array([0.7])], [np.array([1]), np.array([1])])
    exported = coco_tools.ExportDetectionsToCOCO(["first", "second"], *found, CATEGORIES, str(path))
    assert exported == json.loads(path.read_text()) == found_in_dataset()


DRAWN = np.array([[[1, 1], [1, 1]], [[0, 0], [0, 1]], [[0, 0], [0, 0]]], np.uint8)
COUNTS = ["04", "31", "4"]


def test_masks_as_json(tmp_path):
    path = tmp_path / "masks.json"
    scores, classes = [np.array([0.8, 0.5, 0.25])], [np.array([1, 2, 9])]
    exported = coco_tools.ExportSegmentsToCOCO(
        ["a"], [DRAWN[..., None]], scores, classes, CATEGORIES, str(path)
    )
    assert exported == json.loads(path.read_text())
    assert [one["segmentation"] for one in exported] == [
        {"size": [2, 2], "counts": text} for text in COUNTS[:2]
    ]
    assert masks.from_coco(exported[1]["segmentation"]).edges.tolist() == [3, 4]


def test_keypoints_as_json(tmp_path):
    path = tmp_path / "keypoints.json"
    points = np.array([[[100, 200], [300, 400], [500, 600]]] * 2)
    categories = [{"id": 1, "name": "person", "num_keypoints": 2}, {"id": 2, "name": "cat"}]
    found = ([points], [np.array([0.75, 0.5])], [np.array([1, 2])])
    exported = coco_tools.ExportKeypointsToCOCO(["a"], *found, categories, str(path))
    keypoints = [100, 200, 1, 300, 400, 1]
    assert exported == [{"image_id": "a", "category_id": 1, "keypoints": keypoints, "score": 0.75}]
    assert json.loads(path.read_text()) == exported


def test_annotations_of_an_image():
    drawn = coco_tools.ExportSingleImageGroundtruthToCoco(
        "a", 5, {1, 2, 3},
        boxes(A, B, AWAY), np.array([1, 2, 3]), groundtruth_masks=DRAWN, groundtruth_is_crowd=np.array([0, 1, 0]),
        groundtruth_area=np.array([15.0, 16, 17]),
        groundtruth_keypoints=np.array([[[1, 2], [3, 4]]] * 3),
        groundtruth_keypoint_visibilities=np.array([[2, 1], [0, 2], [0, 0]]),
    )  # fmt: skip
    assert [one["id"] for one in drawn] == [5, 6, 7]
    assert [one["segmentation"]["counts"] for one in drawn] == COUNTS
    assert [one["iscrowd"] for one in drawn] == [0, 1, 0]
    assert [one["area"] for one in drawn] == [15, 16, 17]
    assert [one["num_keypoints"] for one in drawn] == [2, 1, 0]
    assert drawn[0]["keypoints"] == [2, 1, 2, 4, 3, 1]
    assert drawn[1]["bbox"] == [40, 50, 50, 50]
    plain = coco_tools.ExportSingleImageGroundtruthToCoco("a", 1, {2}, boxes(A, B), np.array([1, 2]))
    assert plain == [
        {"id": 2, "image_id": "a", "category_id": 2, "bbox": [40, 50, 50, 50], "area": 2500, "iscrowd": 0}
    ]


def test_detections_of_an_image():
    found = coco_tools.ExportSingleImageDetectionBoxesToCoco(
        "a", {1}, boxes(A, B), np.array([0.5, 0.25]), np.array([1, 2]), np.array([[[1, 2], [3, 4]]] * 2)
    )
    assert found == [{
        "image_id": "a", "category_id": 1, "bbox": [100, 100, 100, 100], "score": 0.5,
        "keypoints": [2, 1, 2, 4, 3, 2], "num_keypoints": 2,
    }]  # fmt: skip


ONE = (boxes(A), np.array([1]))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("GroundtruthToCoco", (1, {1}, boxes(A), np.array([[1]]))),
        ("GroundtruthToCoco", (1, {1}, boxes(A, B), np.array([1]))),
        ("GroundtruthToCoco", (1, {1}, np.zeros((1, 5)), np.array([1]))),
        ("GroundtruthToCoco", (1, {1}, *ONE, None, None, DRAWN)),
        ("GroundtruthToCoco", (1, {1}, *ONE, None, None, DRAWN[0])),
        ("GroundtruthToCoco", (1, {1}, *ONE, None, None, None, np.zeros((1, 1)))),
        ("DetectionBoxesToCoco", ({1}, boxes(A), np.array([0.5, 0.4]), np.array([1]))),
        ("DetectionBoxesToCoco", ({1}, boxes(A), np.array([[0.5]]), np.array([1]))),
        ("DetectionMasksToCoco", ({1}, DRAWN, np.array([0.5]), np.array([1]))),
    ],
)
def test_arrays_that_do_not_fit(name, arguments):
    with pytest.raises(ValueError, match=r"shape|there are"):
        getattr(coco_tools, f"ExportSingleImage{name}")("a", *arguments)


# What looks like pycocotools


def test_wrappers():
    true = coco_tools.COCOWrapper(DATASET)
    found = true.LoadAnnotations(found_in_dataset())
    assert [one["area"] for one in found.anns.values()] == [1e4, 2500]
    evaluation = coco_tools.COCOEvalWrapper(true, found)
    numbers, of_categories = evaluation.ComputeMetrics()
    assert (numbers["Precision/mAP"], of_categories) == (1, {})
    assert list(numbers) == [name for name, _ in coco_tools.COCO_METRIC_NAMES_AND_INDEX]
    _, of_categories = evaluation.ComputeMetrics(True)
    assert of_categories == {f"PerformanceByCategory/mAP/{name}": number
                             for name, number in (("person", -1), ("cat", 1), ("dog", -1))}  # fmt: skip
    assert evaluation.GetCategoryIdList() == [0, 1, 2]
    assert evaluation.GetCategory(2)["name"] == "dog"


def test_all_categories_as_one():
    true = coco_tools.COCOWrapper(DATASET)
    other_class = [one | {"category_id": 2} for one in found_in_dataset()]
    numbers = {
        agnostic: coco_tools.COCOEvalWrapper(true, true.LoadAnnotations(other_class), agnostic_mode=agnostic)
        .ComputeMetrics(include_metrics_per_category=agnostic)
        for agnostic in (False, True)
    }  # fmt: skip
    assert numbers[False][0]["Precision/mAP"] == 0
    assert numbers[True][0]["Precision/mAP"] == 1
    assert numbers[True][1] == {}


def test_what_cannot_be_wrapped():
    true = coco_tools.COCOWrapper(DATASET)
    for wrong in ({}, [one | {"image_id": "third"} for one in found_in_dataset()]):
        with pytest.raises(ValueError, match=r"list|third"):
            true.LoadAnnotations(wrong)
    with pytest.raises(ValueError, match="keypoints"):
        coco_tools.COCOWrapper(DATASET, "keypoints")
    for arguments in ({"iou_type": "boxes"}, {"iou_type": "keypoints"}):
        with pytest.raises(ValueError, match="keypoints"):
            coco_tools.COCOEvalWrapper(true, true, **arguments)


# Boxes


def test_boxes():
    pets = {"pets": ["cat", "dog"]}
    evaluator = added(
        CocoDetectionEvaluator(CATEGORIES, include_metrics_per_category=True, super_categories=pets),
        ("a", objects((A, 1), (B, 2)), detections((A, 1, 0.9), (AWAY, 2, 0.8))),
        ("b", objects(), detections()),
    )  # fmt: skip
    numbers = evaluator.evaluate()
    assert numbers[MAP] == 0.5
    assert numbers["DetectionBoxes_Recall/AR@1"] == 0.5
    assert numbers["DetectionBoxes_Precision/mAP (small)"] == -1
    assert numbers["DetectionBoxes_PerformanceByCategory/mAP/cat"] == 1
    assert numbers["DetectionBoxes_PerformanceByCategory/mAP/person"] == -1
    assert numbers["DetectionBoxes_PerformanceBySuperCategory/pets"] == 0.5
    evaluator.clear()
    assert (evaluator._image_ids, evaluator._groundtruth_list, evaluator._detection_boxes_list) == (
        {},
        [],
        [],
    )
    assert set(evaluator.evaluate().values()) == {-1}


def test_crowds():
    found = detections((A, 1, 0.9), (B, 1, 0.8))
    for is_crowd, number in (([False, True], 1), ([], 1)):
        true = objects((B, 1), (A, 1), is_crowd=is_crowd)
        assert added(CocoDetectionEvaluator(CATEGORIES), ("a", true, found)).evaluate()[MAP] == number
    true = objects((A, 1), is_crowd=[True])
    assert added(CocoDetectionEvaluator(CATEGORIES), ("a", true, found)).evaluate()[MAP] == -1


def test_classes_that_nobody_looked_for():
    classes = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    evaluator = CocoDetectionEvaluator(classes, skip_predictions_for_unlabeled_class=True)
    found = detections((A, 1, 0.9), (A, 2, 0.8))
    added(evaluator, ("a", objects((A, 1), labeled_classes=[0, 1, 0]), found))
    assert [one["category_id"] for one in evaluator._detection_boxes_list] == [1]
    added(evaluator, ("b", objects((A, 2)), found))  # where nothing is said all were looked for
    assert len(evaluator._detection_boxes_list) == 3
    with pytest.raises(ValueError, match="image c"):
        added(evaluator, ("c", objects((A, 1), labeled_classes=[0, 1]), found))


def evaluators():
    return [CocoDetectionEvaluator(CATEGORIES), CocoMaskEvaluator(CATEGORIES)]


@pytest.mark.parametrize("evaluator", evaluators(), ids=["boxes", "masks"])
def test_the_order_of_things(evaluator, caplog):
    true, found = objects((A, 1), instance_masks=DRAWN[:1]), detections((A, 1, 0.9), masks=DRAWN[:1])
    with pytest.raises(ValueError, match=r"image (id: )?a"):
        evaluator.add_single_detected_image_info("a", found)
    added(
        evaluator,
        ("a", true, found),
        ("a", objects((B, 1), instance_masks=DRAWN[1:2]), detections((B, 1, 0.9))),
    )
    assert [record.getMessage() for record in caplog.records] == [
        "the objects of image a have already been added",
        "the detections of image a have already been added",
    ]
    assert evaluator.evaluate()[f"{evaluator._prefix}Precision/mAP"] == 1


def test_detections_to_a_file(tmp_path):
    evaluator = added(CocoDetectionEvaluator(CATEGORIES), ("a", objects((A, 1)), detections((A, 1, 0.9))))
    evaluator.dump_detections_to_json_file(str(tmp_path / "found.json"))
    assert json.loads((tmp_path / "found.json").read_text()) == [
        {"image_id": "a", "category_id": 1, "bbox": [100, 100, 100, 100], "score": 0.9}
    ]


# Batches of tensors


def batch(*images):
    return {name: tf.constant(np.stack([image[name] for image in images])) for name in images[0]}


def test_batches():
    one = {
        "key": "a", **objects((A, 1), (B, 0)), **detections((A, 1, 0.9), (B, 1, 0.9)),
        "num_groundtruth_boxes": 1, "num_detections": 1, "is_annotated": True,
    }  # fmt: skip
    other = one | {"key": "b", "num_detections": 0}
    left_out = one | {"key": "c", "is_annotated": False}
    evaluator = CocoDetectionEvaluator(CATEGORIES)
    evaluator.add_eval_dict(batch(one, other, left_out))
    assert sorted(evaluator._image_ids) == [b"a", b"b"]
    assert evaluator.evaluate()[MAP] == pytest.approx(51 / 101)  # the second is missed: recall 0 to 0.5
    ops = evaluator.get_estimator_eval_metric_ops(
        {name: value[0] for name, value in batch(one | {"key": "d"}).items()}
    )
    # Two of three are found: recall 0 to 0.66.
    assert float(ops[MAP][0]) == pytest.approx(67 / 101, abs=1e-6)
    assert list(ops) == [f"DetectionBoxes_{name}" for name, _ in coco_tools.COCO_METRIC_NAMES_AND_INDEX]
    assert not evaluator._image_ids


def test_batches_of_masks_of_several_sizes():
    one = {
        "key": 7, **objects((A, 1), instance_masks=DRAWN[:1]), **detections((A, 1, 0.9), masks=DRAWN[1:2] * 0),
        "original_image_spatial_shape": [2, 2],
    }  # fmt: skip
    found = np.array([[[1, 1], [0, 1]]], np.uint8)
    other = one | {"key": 8, "original_image_spatial_shape": [1, 2], "detection_masks": found}
    evaluator = CocoMaskEvaluator(CATEGORIES)
    evaluator.add_eval_dict(batch(one, other))
    # Of the second image only the first row counts, where both masks agree.
    assert evaluator.evaluate()["DetectionMasks_Recall/AR@100"] == 0.5


# Keypoints

KEYPOINTS = [{"id": 0, "name": "nose"}, {"id": 3, "name": "tail"}]
POINTS = np.array([[[110.0, 120], [np.nan] * 2, [np.nan] * 2, [190, 150]]])


def test_keypoints():
    evaluator = CocoKeypointEvaluator(1, KEYPOINTS, "cat", {"tail": 0.1, "nose": 0.05})
    assert evaluator._oks_sigmas.tolist() == [0.05, 0.1]
    true = objects(
        (A, 1), (B, 2), keypoints=np.repeat(POINTS, 2, 0), keypoint_visibilities=[[2, 0, 0, 1]] * 2
    )
    found = detections((A, 1, 0.9), (A, 2, 0.99), keypoints=np.repeat(POINTS, 2, 0) + 0.1)
    numbers = added(evaluator, ("a", true, found)).evaluate()
    assert numbers["Keypoints_Precision/mAP ByCategory/cat"] == 1
    assert len(numbers) == len(coco_tools.COCO_KEYPOINT_METRIC_NAMES_AND_INDEX)
    evaluator.clear()
    away = detections((A, 1, 0.9), keypoints=POINTS + 60)
    assert added(evaluator, ("a", true, away)).evaluate()["Keypoints_Recall/AR@1 ByCategory/cat"] == 0


def test_keypoints_that_are_not_labelled():
    """Nothing else than NaN tells of them."""
    points = POINTS.astype(float).copy()
    points[0, 0] = np.nan
    evaluator = CocoKeypointEvaluator(1, KEYPOINTS, "cat", {"tail": 0.1, "nose": 0.05})
    true, found = objects((A, 1), keypoints=points), detections((A, 1, 0.9), keypoints=np.nan_to_num(points))
    assert added(evaluator, ("a", true, found)).evaluate()["Keypoints_Precision/mAP ByCategory/cat"] == 1


def test_detections_without_objects():
    with pytest.raises(ValueError, match="Missing groundtruth for image id: a"):
        CocoDetectionEvaluator(CATEGORIES).add_single_detected_image_info("a", detections((A, 1, 0.9)))


def test_sigmas_that_nobody_gave(caplog):
    assert CocoKeypointEvaluator(1, KEYPOINTS, "cat")._oks_sigmas.tolist() == [0.05, 0.05]
    assert "0.05" in caplog.text


def test_batches_of_keypoints():
    evaluator = CocoKeypointEvaluator(1, KEYPOINTS, "cat")
    image = {
        "key": "a", **objects((A, 1), keypoints=POINTS, keypoint_visibilities=[[2, 0, 0, 2]]),
        **detections((A, 1, 0.9), keypoints=POINTS),
    }  # fmt: skip
    ops = evaluator.get_estimator_eval_metric_ops(batch(image))
    assert float(ops["Keypoints_Precision/mAP ByCategory/cat"][0]) == 1
    assert len(ops) == 10


# Masks


def test_masks():
    # Three of four pixels: IoU 0.75, right at six of ten thresholds.
    found = np.array([[[1, 1], [1, 0]]], np.uint8)
    true = objects((A, 1), instance_masks=DRAWN[:1] * 255)
    evaluator = added(CocoMaskEvaluator(CATEGORIES, True), ("a", true, detections((A, 1, 0.9), masks=found)))
    numbers = evaluator.evaluate()
    assert numbers["DetectionMasks_Precision/mAP"] == pytest.approx(0.6)
    assert numbers["DetectionMasks_PerformanceByCategory/mAP/cat"] == pytest.approx(0.6)
    evaluator.clear()
    assert (evaluator._groundtruth_list, evaluator._detection_masks_list) == ([], [])
    assert not evaluator._image_ids_with_detections
    assert not evaluator._image_id_to_mask_shape_map
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(3, 3\)"):
        added(evaluator, ("a", true, detections((A, 1, 0.9), masks=np.zeros((1, 3, 3)))))


# Panoptic segments


def block(rows, columns):
    drawn = np.zeros((10, 10), np.uint8)
    drawn[rows, columns] = 1
    return drawn


def segments(*rows, is_crowd=()):
    return {
        "groundtruth_instance_masks": np.array([row[0] for row in rows]),
        "groundtruth_classes": np.array([row[1] for row in rows]),
        "groundtruth_is_crowd": np.array(is_crowd),
    }


def found_segments(*rows):
    return {
        "detection_masks": np.array([row[0] for row in rows]),
        "detection_classes": np.array([row[1] for row in rows]),
    }


TOP, LEFT, MOST, CORNER = (
    block(slice(0, 5), slice(0, 10)),
    block(slice(0, 10), slice(0, 5)),
    block(slice(0, 4), slice(0, 10)),
    block(slice(5, 10), slice(5, 10)),
)


def test_panoptic_quality():
    evaluator = CocoPanopticSegmentationEvaluator(CATEGORIES, include_metrics_per_category=True)
    # Persons: one found by 40 of 50 pixels, one missed, one segment wrong, one in a crowd. A dog found; no cat.
    added(
        evaluator,
        ("a", segments((TOP, 0), (CORNER, 0)), found_segments((MOST, 0), (LEFT, 0))),
        ("b", segments((TOP, 0), (LEFT, 2), is_crowd=[1, 0]), found_segments((MOST, 0), (LEFT, 2))),
    )
    numbers = evaluator.evaluate()
    assert numbers["SegmentationQuality@0.50IOU_ByCategory/person"] == pytest.approx(0.8)
    assert numbers["RecognitionQuality@0.50IOU_ByCategory/person"] == pytest.approx(1 / (1 + 0.5 + 0.5))
    assert numbers["PanopticQuality@0.50IOU_ByCategory/person"] == pytest.approx(0.4)
    assert numbers["PanopticQuality@0.50IOU_ByCategory/dog"] == pytest.approx(1)
    assert numbers["PanopticQuality@0.50IOU"] == pytest.approx(0.7)
    assert (numbers["NumValidClasses"], numbers["NumTotalClasses"]) == (2, 3)
    assert "PanopticQuality@0.50IOU_ByCategory/cat" not in numbers
    evaluator.clear()
    assert evaluator.evaluate()["NumValidClasses"] == 0


def test_panoptic_segments_that_do_not_fit():
    evaluator = CocoPanopticSegmentationEvaluator(CATEGORIES)
    with pytest.raises(ValueError, match=r"image (id: )?a"):
        evaluator.add_single_detected_image_info("a", found_segments((TOP, 0)))
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        added(evaluator, ("a", segments((TOP, 0)), found_segments((DRAWN[0], 0))))
    image = {"key": "b", **segments((TOP, 0)), **found_segments((TOP, 0))}
    del image["groundtruth_is_crowd"]
    ops = evaluator.get_estimator_eval_metric_ops(batch(image))
    # One found, and the one of the first image missed: 1 / (1 + 1 / 2).
    assert float(ops["PanopticQuality@0.50IOU"][0]) == pytest.approx(2 / 3)


# Recordings of the API

CASES = unit_cases("metrics")
RECORDED = {case.about["name"]: case for case in CASES if case.about["kind"] == "metrics"}
FIVE = [{"id": number, "name": name} for number, name in enumerate(("apple", "bus", "cat", "dog", "egg"), 1)]


def assert_recorded(numbers, name):
    recorded = RECORDED[name].about["metrics"]
    assert sorted(numbers) == sorted(recorded)
    for tag, number in recorded.items():
        assert numbers[tag] == pytest.approx(number, abs=1e-6), tag


def recorded_images(with_crowds=True):
    for case in CASES:
        if case.about["kind"] == "image":
            names = {"gt": "groundtruth_boxes", "classes": "groundtruth_classes", "det": "detection_boxes",
                     "det_classes": "detection_classes", "scores": "detection_scores"}  # fmt: skip
            arrays = {ours: case.arrays[theirs] for theirs, ours in names.items()}
            if with_crowds:
                arrays["groundtruth_is_crowd"] = case.arrays["crowd"]
            yield case.about["image_id"], arrays


def areas(of):
    return (of[:, 2] - of[:, 0]) * (of[:, 3] - of[:, 1])


@pytest.mark.shared
@pytest.mark.parametrize("name", ["coco", "coco_no_crowd_flags", "coco_area"])
def test_recorded_numbers_of_boxes(name):
    evaluator = CocoDetectionEvaluator(FIVE)
    for image_id, image in recorded_images("crowd" in RECORDED[name].about["uses"]):
        if name == "coco_area":
            image["groundtruth_area"] = 0.7 * areas(image["groundtruth_boxes"])
        added(evaluator, (image_id, image, image))
    assert_recorded(evaluator.evaluate(), name)


@pytest.mark.shared
def test_recorded_numbers_of_masks():
    evaluator = CocoMaskEvaluator(FIVE)
    scale, size = np.float32([64 / 400, 80 / 500] * 2), np.float32([64, 80] * 2)
    for image_id, image in recorded_images():
        image["groundtruth_boxes"] = image["groundtruth_boxes"] * scale
        image["groundtruth_instance_masks"] = load_fill().masks(image["groundtruth_boxes"] / size, 64, 80)
        found = np.clip(image["detection_boxes"] * scale, 0, size)
        image["detection_masks"] = load_fill().masks(found / size, 64, 80)
        added(evaluator, (image_id, image, image))
    assert_recorded(evaluator.evaluate(), "coco_mask")


@pytest.mark.shared
def test_recorded_numbers_of_keypoints():
    case = RECORDED["coco_keypoints"]
    names = [{"id": number, "name": name} for number, name in enumerate(case.about["oks_sigmas"])]
    evaluator = CocoKeypointEvaluator(case.about["category_id"], names, "apple", case.about["oks_sigmas"])
    for number, (image_id, image) in enumerate(recorded_images()):
        image |= {
            "groundtruth_area": areas(image["groundtruth_boxes"]),
            "groundtruth_keypoints": case.arrays[f"gt_keypoints_{number}"],
            "groundtruth_keypoint_visibilities": case.arrays[f"gt_visibility_{number}"],
            "detection_keypoints": case.arrays[f"det_keypoints_{number}"],
        }
        added(evaluator, (image_id, image, image))
    assert_recorded(evaluator.evaluate(), "coco_keypoints")
