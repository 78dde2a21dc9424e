from dataclasses import replace

import numpy as np
import pytest

from boxtune.errors import ConfigError, DataError
from boxtune.metrics import masks
from boxtune.metrics.coco import NAMES as COCO
from boxtune.metrics.coco import KeypointClass
from boxtune.metrics.metric_sets import METRIC_SETS, Options, check_names, explain, measure, tags
from image_results import image_result, random_results, with_keypoints, with_masks

BOX = (10, 10, 60, 60)
NAMES = ["ant", "bee", "cow", "dog"]
# Of the API's eval_util.py, but for the one that is refused, and of its older evaluator the last.
API = {
    "coco_detection_metrics",
    "coco_keypoint_metrics",
    "coco_mask_metrics",
    "lvis_mask_metrics",
    "oid_challenge_detection_metrics",
    "oid_challenge_segmentation_metrics",
    "pascal_voc_detection_metrics",
    "weighted_pascal_voc_detection_metrics",
    "precision_at_recall_detection_metrics",
    "pascal_voc_instance_segmentation_metrics",
    "weighted_pascal_voc_instance_segmentation_metrics",
    "oid_V2_detection_metrics",
    "open_images_V2_detection_metrics",
}
OWN = {"pascal_voc_2007_detection_metrics", "pascal_voc_corloc_metrics", "lvis_detection_metrics"}
EVERYTHING = Options(
    per_category=True,
    all_per_category=True,
    recall_bounds=(0.1, 0.9),
    keypoints=[KeypointClass(1, [0.1] * 4)],
    frequencies="rrcf",
)


def test_the_names():
    assert set(METRIC_SETS) == API | OWN


@pytest.fixture(scope="module")
def results():
    return with_keypoints(with_masks(random_results(0), 0), 0)


@pytest.mark.parametrize("name", METRIC_SETS)
def test_every_set(name, results):
    measured = measure([name], results, NAMES, EVERYTHING)
    assert all(type(value) is float for value in measured.values())
    assert list(measured) == tags([name], NAMES, EVERYTHING)
    assert all(-1 <= value <= 1 for value in measured.values())
    assert measure([name], results[::-1], NAMES, EVERYTHING) == measured
    # Something is found in each of them.
    assert next(iter(measured.values())) > 0


def test_without_names_it_is_coco(results):
    assert list(measure([], results, NAMES)) == list(COCO)


def test_several_sets_in_one(results):
    both = measure(["coco_detection_metrics", "pascal_voc_detection_metrics"], results, NAMES)
    assert both == measure([], results, NAMES) | measure(["pascal_voc_detection_metrics"], results, NAMES)


def test_keypoints_may_be_asked_for_by_their_class_alone(results):
    measured = measure([], results, NAMES, Options(keypoints=EVERYTHING.keypoints))
    assert list(measured) == [*COCO, *measure(["coco_keypoint_metrics"], results, NAMES, EVERYTHING)]


def test_classes_that_nobody_looked_for():
    away = ([150, 0, 190, 40], 1, 0.9)
    image = image_result([([0, 0, 40, 40], 0)], [away], name="a", absent_classes=np.zeros(0, int))
    other = image_result([([0, 0, 40, 40], 1)], [([0, 0, 40, 40], 1, 0.5)], name="b")
    tag = "DetectionBoxes_PerformanceByCategory/mAP/bee"
    for skip, expected in ((False, 0.5), (True, 1)):
        options = Options(per_category=True, skip_unlabeled=skip)
        assert measure([], [image, other], NAMES, options)[tag] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "coco_detection_metric",
            'no metrics "coco_detection_metric". Did you mean "coco_detection_metrics"',
        ),
        ("", "Known are: coco_detection_metrics, "),
        ("coco_panoptic_metrics", "every pixel"),
    ],
)
def test_names_that_are_none(name, message):
    with pytest.raises(ConfigError, match=message):
        check_names(["coco_detection_metrics", name])


def test_keypoints_without_their_class(results):
    with pytest.raises(ConfigError, match="the class whose keypoints"):
        measure(["coco_keypoint_metrics"], results, NAMES)


MASK_SETS = sorted(name for name in METRIC_SETS if "mask" in name or "segmentation" in name)


@pytest.mark.parametrize("name", MASK_SETS)
class TestWithoutMasks:
    """Neither objects that have no masks nor detections that have none give a 0."""

    def test_of_any_object(self, name):
        (drawn,) = with_masks([image_result([(BOX, 0)], [(BOX, 0, 0.5)])], seed=0)
        for groundtruth_masks in (None, [masks.from_array(np.zeros((200, 200)))]):
            with pytest.raises(DataError, match=f"{name}: none of 1 object has a mask"):
                measure([name], [replace(drawn, groundtruth_masks=groundtruth_masks)], NAMES)

    def test_of_any_detection(self, name):
        (drawn,) = with_masks([image_result([(BOX, 0)], [(BOX, 0, 0.5)])], seed=0)
        with pytest.raises(DataError, match=f"{name}: the detections have no masks"):
            measure([name], [replace(drawn, masks=None)], NAMES)

    def test_because_there_are_no_objects_or_detections(self, name):
        none = measure([name], [image_result()], NAMES)
        assert -1 in none.values() or any(np.isnan(value) for value in none.values())
        (drawn,) = with_masks([image_result([(BOX, 0)])], seed=0)
        assert 0 in measure([name], [replace(drawn, masks=None)], NAMES).values()  # nothing is found


def test_detections_without_keypoints_give_no_0():
    options = Options(keypoints=[KeypointClass(0, [0.1])])
    (posed,) = with_keypoints([image_result([(BOX, 0)], [(BOX, 0, 0.5)])], seed=0, count=1)
    with pytest.raises(DataError, match="coco_keypoint_metrics: the detections have no keypoints"):
        measure([], [replace(posed, keypoints=None)], NAMES, options)
    # Where no object has a labelled keypoint, the number is -1, and explained.
    unlabelled = measure(
        ["coco_keypoint_metrics"], [replace(posed, groundtruth_visibility=np.array([[0]]))], NAMES, options
    )
    assert set(unlabelled.values()) == {-1}
    assert "with labelled keypoints" in explain(next(iter(unlabelled)))


@pytest.mark.parametrize("bounds", [(0.5, 0.5), (-0.1, 1), (0, 1.1), (float("nan"), 1)])
def test_recalls_that_are_none(results, bounds):
    with pytest.raises(ConfigError, match="recall_lower_bound"):
        measure(["precision_at_recall_detection_metrics"], results, NAMES, Options(recall_bounds=bounds))


def test_bad_results_are_refused(results):
    with pytest.raises(DataError, match="class 4, but the highest is 3"):
        measure([], results, NAMES[:3])


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ("DetectionBoxes_Precision/mAP", "no objects in these images that count"),
        ("DetectionBoxes_Recall/AR@100 (large)", "no large (from 96 x 96 pixels) objects in"),
        ("DetectionBoxes_PerformanceByCategory/mAP/a/b", 'no objects of "a/b" in'),
        (
            "DetectionBoxes_Precision/mAP (small) ByCategory/ant",
            'no small (up to 32 x 32 pixels) objects of "ant"',
        ),
        ("DetectionBoxes_PerformanceBySuperCategory/pets", 'no objects of "pets"'),
        ("DetectionBoxes_Precision/mAP BySuperCategory/pets", 'no objects of "pets"'),
        ("PascalBoxes_PerformanceByCategory/AP@0.5IOU/bee", 'no objects of "bee"'),
        ("Keypoints_Precision/mAP (medium) ByCategory/ant", "objects with labelled keypoints"),
        ("DetectionMasks_APr", "no objects of rare classes"),
        ("DetectionMasks_ARs@300", "no small (up"),
    ],
)
def test_why_a_number_is_missing(tag, words):
    assert words in explain(tag)
