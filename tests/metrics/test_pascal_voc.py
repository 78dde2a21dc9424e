import numpy as np
import pytest

from boxtune.metrics.pascal_matching import area_under, eleven_points
from boxtune.metrics.pascal_voc import (
    corloc_metrics,
    detection_metrics,
    precision_at_recall,
    segmentation_metrics,
)
from image_results import image_result, random_results, with_masks

A, B, AWAY = [0, 0, 100, 100], [100, 100, 150, 150], [160, 0, 180, 20]
MAP = "PascalBoxes_Precision/mAP@0.5IOU"
NAMES = ["ant", "bee", "cow", "dog"]


def mean_ap(true, found, **flags):
    return detection_metrics([image_result(true, found, **flags)], NAMES)[MAP]


def test_an_object_found_twice():
    # Right, wrong, right: precision 1 up to half of recall, then 2/3.
    found = [(A, 0, 0.9), (A, 0, 0.8), (B, 0, 0.7)]
    assert mean_ap([(A, 0), (B, 0)], found) == pytest.approx((1 + 2 / 3) / 2)


def test_an_object_half_covered_is_found():
    # 50 of 100 rows: IoU 0.5, which is enough.
    assert mean_ap([(A, 0)], [([0, 0, 50, 100], 0, 0.9)]) == 1
    assert mean_ap([(A, 0)], [([0, 0, 49, 100], 0, 0.9)]) == 0


def test_a_detection_is_for_the_object_that_it_overlaps_most():
    # Both are for A, 0.9 and 0.8 of it; COCO would give the second one the other object (0.7 / 0.9 of it).
    other = [20, 0, 100, 100]
    found = [([0, 0, 90, 100], 0, 0.9), ([0, 0, 91, 100], 0, 0.8)]
    assert mean_ap([(A, 0), (other, 0)], found) == pytest.approx(0.5)


def test_difficult_objects_are_not_counted():
    found = [(A, 0, 0.9), (A, 0, 0.8), (B, 0, 0.7)]
    assert mean_ap([(A, 0), (B, 0)], found, difficult=[True, False]) == 1
    measured = detection_metrics([image_result([(A, 0)], found, difficult=[True])], NAMES)
    assert set(measured.values()) == {-1}


def test_detections_without_area_do_not_count():
    assert mean_ap([(A, 0)], [([5, 5, 5, 9], 0, 0.9), (A, 0, 0.8)]) == 1


def test_the_mean_is_over_classes_or_over_detections():
    image = image_result([(A, 0), (B, 1)], [(A, 0, 0.9), (AWAY, 1, 0.8), (B, 1, 0.7), (B, 2, 0.99)])
    plain = detection_metrics([image], NAMES)
    assert plain[MAP] == pytest.approx((1 + 1 / 2) / 2)
    assert plain["PascalBoxes_PerformanceByCategory/AP@0.5IOU/bee"] == pytest.approx(1 / 2)
    assert plain["PascalBoxes_PerformanceByCategory/AP@0.5IOU/cow"] == -1
    # Right, wrong, right over both classes that have objects.
    weighted = detection_metrics([image], NAMES, prefix="WeightedPascalBoxes", weighted=True)
    assert weighted["WeightedPascalBoxes_Precision/mAP@0.5IOU"] == pytest.approx((1 + 2 / 3) / 2)


def test_names_are_decomposed_as_in_the_api():
    measured = detection_metrics([image_result()], ["ﬁsh"])
    assert list(measured) == [MAP, "PascalBoxes_PerformanceByCategory/AP@0.5IOU/fish"]


def test_average_precision():
    # Of 4 objects: found, missed, found, found: 1 to recall 1/4, then 3/4 to recall 3/4.
    precision, recall = np.array([1, 1 / 2, 2 / 3, 3 / 4]), np.array([1, 1, 2, 3]) / 4
    assert area_under(precision, recall) == pytest.approx(1 / 4 + 3 / 4 * 2 / 4)
    # Recalls 0, 0.1, 0.2: 1; 0.3, ..., 0.7: 3/4; 0.8, 0.9, 1: 0.
    assert eleven_points(precision, recall) == pytest.approx((3 + 5 * 3 / 4) / 11)
    # Recalls 1/2 and 3/4 are left, and precision 3/4 up to there.
    assert area_under(precision[2:], recall[2:]) == pytest.approx(3 / 4 * 3 / 4)
    empty = np.zeros((2, 0))
    assert (area_under(*empty), eleven_points(*empty)) == (0, 0)


def test_eleven_points_reach_a_recall_that_is_a_tenth():
    recall = np.arange(1, 11) / 10
    assert eleven_points(np.ones(10), recall) == 1
    # Recall 3/10 exactly: 0, 0.1, 0.2 and 0.3.
    assert eleven_points(np.ones(3), recall[:3]) == pytest.approx(4 / 11)


def test_precision_at_all_recalls_is_that_of_pascal():
    results = random_results(0)
    everything = precision_at_recall(results, NAMES, low=0, high=1)
    assert list(everything.values()) == list(detection_metrics(results, NAMES).values())
    assert "PrecisionAtRecallBoxes_Precision/mAP@0.5IOU" in everything
    part = precision_at_recall(results, NAMES, low=0.1, high=0.45)
    assert "PrecisionAtRecallBoxes_Precision/mAP@0.5IOU@[0.1,0.5]Recall" in part


def test_correct_localization():
    images = [
        image_result([(A, 0), (B, 0)], [(B, 0, 0.9), (AWAY, 0, 0.8)], name="right"),
        image_result([(A, 0)], [(AWAY, 0, 0.9), (A, 0, 0.8)], name="the best one is wrong"),
        image_result([(A, 0)], [(AWAY, 0, 0.9), (A, 0, 0.9)], name="the first of equals is wrong"),
        image_result([(A, 0)], [([5, 5, 5, 9], 0, 0.9), (A, 0, 0.8)], name="no area"),
        image_result([(A, 1)], [], name="none"),
        image_result([], [(A, 2, 0.9)], name="empty"),
    ]
    measured = corloc_metrics(images, NAMES)
    assert measured == {
        "PascalBoxes_Precision/meanCorLoc@0.5IOU": (2 / 4 + 0) / 2,
        "PascalBoxes_PerformanceByCategory/CorLoc@0.5IOU/ant": 2 / 4,
        "PascalBoxes_PerformanceByCategory/CorLoc@0.5IOU/bee": 0,
        "PascalBoxes_PerformanceByCategory/CorLoc@0.5IOU/cow": -1,
        "PascalBoxes_PerformanceByCategory/CorLoc@0.5IOU/dog": -1,
    }


def test_masks():
    results = with_masks(random_results(0), 0)
    measured = segmentation_metrics(results, NAMES)
    assert 0 < measured["PascalMasks_Precision/mAP@0.5IOU"] < 1
    # Without masks nothing is expected.
    assert set(segmentation_metrics(random_results(0), NAMES).values()) == {-1}


def test_the_order_of_images_does_not_matter():
    results = random_results(0)
    for metric in (detection_metrics, corloc_metrics):
        assert metric(results[::-1], NAMES) == metric(results, NAMES)
