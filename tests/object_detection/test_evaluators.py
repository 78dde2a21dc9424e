"""Evaluators of Pascal VOC and Open Images, image by image: drawn by hand, and against recordings of the API."""

import numpy as np
import pytest
import tensorflow as tf

from golden.recordings import unit_cases
from object_detection.utils import object_detection_evaluation
from object_detection.utils.object_detection_evaluation import (
    ObjectDetectionEvaluation,
    ObjectDetectionEvaluator,
    OpenImagesChallengeEvaluator,
    OpenImagesDetectionEvaluator,
    OpenImagesInstanceSegmentationChallengeEvaluator,
    PascalDetectionEvaluator,
    PascalInstanceSegmentationEvaluator,
    PrecisionAtRecallDetectionEvaluator,
    WeightedPascalDetectionEvaluator,
    WeightedPascalInstanceSegmentationEvaluator,
)
from object_detection.utils.per_image_evaluation import PerImageEvaluation

A, B, AWAY = [0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0], [50.0, 50.0, 60.0, 60.0]
CATEGORIES = [{"id": number, "name": name} for number, name in enumerate(("ant", "bee", "cow"), 1)]
PASCAL = "PascalBoxes_PerformanceByCategory/AP@0.5IOU/"


def boxes(*rows):
    return np.array(rows, float).reshape(-1, 4)


def objects(*rows, **more):
    """Boxes with classes from 1 on."""
    arrays = {name: np.asarray(values) for name, values in more.items()}
    return {
        "groundtruth_boxes": boxes(*(row[0] for row in rows)),
        "groundtruth_classes": np.array([row[1] for row in rows], int),
        **arrays,
    }


def detections(*rows, **more):
    return {
        "detection_boxes": boxes(*(row[0] for row in rows)),
        "detection_classes": np.array([row[1] for row in rows], int),
        "detection_scores": np.array([row[2] for row in rows], float),
        **more,
    }


# One image

PER_IMAGE = {"matching_iou_threshold": 0.5, "nms_iou_threshold": 1.0, "nms_max_output_boxes": 100}


def of_one_class(found, true, difficult=(), group_of=(), **options):
    """Scores and labels of detections (box, score)."""
    evaluation = PerImageEvaluation(1, **{**PER_IMAGE, **options})
    flags = (np.isin(np.arange(len(true)), which) for which in (difficult, group_of))
    scores, labels = evaluation._compute_tp_fp_for_single_class(
        boxes(*(row[0] for row in found)), np.array([row[1] for row in found]), boxes(*true), *flags
    )
    return scores.tolist(), labels.tolist()


def test_labels_of_one_class():
    found = [(A, 0.6), (A, 0.8), (AWAY, 0.5)]
    assert of_one_class(found, [A, B]) == ([0.8, 0.6, 0.5], [1, 0, 0])
    assert of_one_class(found, []) == ([0.8, 0.6, 0.5], [0, 0, 0])
    assert of_one_class([], [A]) == ([], [])
    assert of_one_class(found, [A, B], difficult=[0]) == ([0.5], [0])
    assert of_one_class(found, [A, B], group_of=[0]) == ([0.5], [0])
    # The best in the group is right by half.
    assert of_one_class(found, [A, B], group_of=[0], group_of_weight=0.5) == ([0.5, 0.8], [0, 0.5])
    # Suppressed before: the second and worse of the same box, and all but the best.
    assert of_one_class(found, [A], nms_iou_threshold=0.5) == ([0.8, 0.5], [1, 0])
    assert of_one_class(found, [A], nms_max_output_boxes=2) == ([0.8, 0.6], [1, 0])


def test_all_classes_of_an_image():
    upside_down = [10, 10, 5, 5]
    found = detections((A, 0, 0.8), (upside_down, 1, 0.9), (A, 1, 0.7), (B, 2, 0.6), (A, 3, 0.9))
    scores, labels, is_found = PerImageEvaluation(3, **PER_IMAGE).compute_object_detection_metrics(
        *(found[f"detection_{name}"] for name in ("boxes", "scores", "classes")),
        boxes(A, B, B), np.array([0, 2, -1]), np.zeros(3), np.zeros(3),
    )  # fmt: skip
    assert [part.tolist() for part in scores] == [[0.8], [0.7], [0.6]]
    assert [part.tolist() for part in labels] == [[1], [0], [1]]
    assert is_found.tolist() == [1, 0, 1]


TALL, WIDE, EMPTY = [[1, 0], [1, 0]], [[1, 1], [0, 0]], [[0, 0], [0, 0]]


def of_masks(found, true, group_of=(), weight=0.0):
    """Scores and labels of detections (mask, score) whose boxes are all the same."""
    evaluation = PerImageEvaluation(1, **PER_IMAGE, group_of_weight=weight)
    scores, labels = evaluation._compute_tp_fp_for_single_class(
        boxes(*[A] * len(found)),
        np.array([score for _, score in found]),
        boxes(*[A] * len(true)),
        np.zeros(len(true), bool),
        np.isin(np.arange(len(true)), group_of),
        np.array([mask for mask, _ in found], np.uint8),
        np.array(true, np.uint8).reshape(-1, 2, 2),
    )
    return scores.tolist(), labels.tolist()


def test_masks_are_matched_in_place_of_boxes():
    found = [(TALL, 0.9), (WIDE, 0.8)]  # IoU 1/3
    assert of_masks(found, [TALL]) == ([0.9, 0.8], [1, 0])
    assert of_masks(found, []) == ([0.9, 0.8], [0, 0])
    # An object without a mask is known by its box: what finds that does not count.
    assert of_masks(found, [TALL, EMPTY]) == ([0.9], [1])
    # Half of WIDE lies in the group.
    assert of_masks(found, [TALL], group_of=[0]) == ([], [])
    assert of_masks(found, [TALL], group_of=[0], weight=0.5) == ([0.9], [0.5])


def test_masks_are_suppressed_by_masks():
    evaluation = PerImageEvaluation(1, 0.5, nms_iou_threshold=0.5, nms_max_output_boxes=10)
    # One box for all, and of the three masks two are the same.
    drawn = np.array([TALL, WIDE, TALL], np.uint8)
    flags = np.zeros(1, bool)
    scores, labels = evaluation._compute_tp_fp_for_single_class(
        boxes(A, A, A), np.array([0.7, 0.8, 0.9]), boxes(A), flags, flags, drawn, drawn[:1]
    )
    assert (scores.tolist(), labels.tolist()) == ([0.9, 0.8], [1, 0])


def test_correct_localization_of_one_image():
    evaluation = PerImageEvaluation(2, **PER_IMAGE)
    found = (boxes(A, AWAY, B), np.array([0.5, 0.4, 0.9]), np.array([0, 0, 1]))
    assert evaluation._compute_cor_loc(*found, boxes(A, A), np.array([0, 1])).tolist() == [1, 0]
    drawn = [np.array(part, np.uint8) for part in ([TALL, TALL, WIDE], [WIDE, WIDE])]
    assert evaluation._compute_cor_loc(*found, boxes(A, A), np.array([0, 1]), *drawn).tolist() == [0, 1]


# Several images


def three_images():
    """Of class 0 three objects count, one of which is found, second; of 1 and 2 none is found."""
    evaluation = ObjectDetectionEvaluation(3)
    evaluation.add_single_ground_truth_image_info("a", boxes(A, B, AWAY), np.array([0, 2, 0]))
    evaluation.add_single_ground_truth_image_info(
        "b", boxes(A, AWAY, B), np.array([0, 0, 2]), np.array([0, 1, 0], bool), np.array([0, 0, 1], bool)
    )
    evaluation.add_single_ground_truth_image_info("c", boxes(A), np.array([1]))
    evaluation.add_single_detected_image_info(
        "b", boxes(A, [90, 90, 99, 99], AWAY), np.array([0.7, 0.8, 0.9]), np.array([0, 0, 2])
    )
    return evaluation


def assert_measured(measured):
    np.testing.assert_allclose(measured.average_precisions, [1 / 3 * 1 / 2, 0, 0])
    assert measured.mean_ap == pytest.approx(1 / 18)
    assert [part.tolist() for part in measured.precisions] == [[0, 0.5], [], [0]]
    np.testing.assert_allclose(measured.recalls[0], [0, 1 / 3])
    np.testing.assert_array_equal(measured.corlocs, [0, 0, 0])
    assert measured.mean_corloc == 0


def test_counts_and_numbers_of_several_images():
    evaluation = three_images()
    assert evaluation.num_gt_instances_per_class.tolist() == [3, 1, 1]  # no difficult one, no group
    assert evaluation.num_gt_imgs_per_class.tolist() == [2, 1, 2]
    assert evaluation.groundtruth_is_difficult_list["b"].tolist() == [False, True, False]
    assert evaluation.groundtruth_is_group_of_list["a"].tolist() == [False] * 3
    assert [[part.tolist() for part in parts] for parts in evaluation.scores_per_class] == [
        [[0.8, 0.7]],
        [],
        [[0.9]],
    ]
    assert evaluation.tp_fp_labels_per_class[0][0].tolist() == [0, 1]
    assert_measured(evaluation.evaluate())
    merged = ObjectDetectionEvaluation(3)
    merged.merge_internal_state(evaluation.get_internal_state())
    assert_measured(merged.evaluate())
    evaluation.clear_detections()
    assert evaluation.evaluate().average_precisions.tolist() == [0, 0, 0]


def test_what_is_given_twice_is_left_with_a_warning(caplog):
    evaluation = three_images()
    evaluation.add_single_ground_truth_image_info("b", boxes(A), np.array([0]))
    evaluation.add_single_detected_image_info("b", boxes(A), np.array([0.9]), np.array([0]))
    assert [record.getMessage() for record in caplog.records] == [
        "the objects of image b have already been added",
        "the detections of image b have already been added",
    ]
    assert_measured(evaluation.evaluate())


def test_what_cannot_be_evaluated():
    with pytest.raises(ValueError, match="0 classes"):
        ObjectDetectionEvaluation(0)
    with pytest.raises(ValueError, match="1-indexed"):
        PascalDetectionEvaluator([{"id": 0, "name": "background"}])
    with pytest.raises(ValueError, match=r"\[1, 1, 2\]"):
        three_images().add_single_detected_image_info("c", boxes(A), np.array([0.5]), np.array([0, 1]))
    evaluator = PascalDetectionEvaluator(CATEGORIES)
    evaluator.add_single_ground_truth_image_info("a", objects((A, 1)))
    with pytest.raises(ValueError, match="id a "):
        evaluator.add_single_ground_truth_image_info("a", objects((A, 1)))
    with pytest.raises(ValueError, match="id a "):
        evaluator.merge_internal_state(["a"], evaluator.get_internal_state())
    evaluator = PascalInstanceSegmentationEvaluator(CATEGORIES)
    with pytest.raises(ValueError, match="groundtruth_instance_masks"):
        evaluator.add_single_ground_truth_image_info("a", objects((A, 1)))
    with pytest.raises(ValueError, match="detection_masks"):
        evaluator.add_single_detected_image_info("a", detections((A, 1, 0.5)))


def test_numbers_of_pascal_voc():
    evaluator = PascalDetectionEvaluator(CATEGORIES)
    evaluator.add_single_ground_truth_image_info(
        "a", objects((A, 1), (B, 2), groundtruth_difficult=[False, True])
    )
    evaluator.add_single_detected_image_info("a", detections((AWAY, 1, 0.9), (A, 1, 0.8)))
    numbers = evaluator.evaluate()
    assert list(numbers) == [
        "PascalBoxes_Precision/mAP@0.5IOU", *(PASCAL + name for name in ("ant", "bee", "cow"))
    ]  # fmt: skip
    np.testing.assert_allclose(list(numbers.values()), [0.5, 0.5, np.nan, np.nan])  # the bee is difficult
    other = PascalDetectionEvaluator(CATEGORIES)
    other.merge_internal_state(["a"], evaluator.get_internal_state())
    np.testing.assert_equal(other.evaluate(), numbers)
    evaluator.clear()
    assert not evaluator._image_ids
    assert np.isnan(evaluator.evaluate()["PascalBoxes_Precision/mAP@0.5IOU"])


def test_names_with_everything():
    evaluator = ObjectDetectionEvaluator(
        [{"id": 2, "name": "caf\u00e9".encode()}],
        evaluate_corlocs=True, evaluate_precision_recall=True, recall_upper_bound=0.5,
    )  # fmt: skip
    evaluator.add_single_ground_truth_image_info("a", objects((A, 2), (B, 2)))
    evaluator.add_single_detected_image_info("a", detections((A, 2, 0.9), (B, 2, 0.8)))
    numbers = evaluator.evaluate()
    of = "PerformanceByCategory/{}@0.5IOU/cafe\u0301"
    assert numbers["Precision/mAP@0.5IOU@[0.0,0.5]Recall"] == 0.5  # the second lies beyond
    assert numbers["Precision/meanCorLoc@0.5IOU"] == numbers[of.format("CorLoc")] == 1
    assert numbers[of.format("Precision")].tolist() == [1]
    assert numbers[of.format("Recall")].tolist() == [0.5]
    assert evaluator._metric_names[2:] == [of.format("AP"), of.format("CorLoc")]


def test_masks_of_pascal_voc():
    for kind in (PascalInstanceSegmentationEvaluator, WeightedPascalInstanceSegmentationEvaluator):
        evaluator = kind(CATEGORIES)
        drawn = np.array([TALL, EMPTY], np.uint8)
        evaluator.add_single_ground_truth_image_info(
            "a", objects((A, 1), (A, 1), groundtruth_instance_masks=drawn)
        )
        evaluator.add_single_detected_image_info("a", detections((A, 1, 0.9), detection_masks=drawn[:1]))
        prefix = "WeightedPascalMasks" if "Weighted" in kind.__name__ else "PascalMasks"
        assert evaluator.evaluate()[f"{prefix}_Precision/mAP@0.5IOU"] == 1
        assert evaluator._evaluation.groundtruth_masks == {}  # they take much memory


def test_the_open_images_challenge_asks_who_looked():
    evaluator = OpenImagesChallengeEvaluator(CATEGORIES)
    true = objects((A, 1), groundtruth_group_of=[True], groundtruth_image_classes=[2])
    evaluator.add_single_ground_truth_image_info("a", true)
    evaluator.add_single_detected_image_info("a", detections((A, 1, 0.5), (A, 2, 0.6), (A, 3, 0.7)))
    evaluator.add_single_detected_image_info("b", detections((A, 1, 0.9)))  # nobody looked there
    counted = [len(parts) for parts in evaluator._evaluation.scores_per_class]
    assert counted == [1, 1, 0]
    assert evaluator.evaluate()["OpenImagesDetectionChallenge_PerformanceByCategory/AP@0.5IOU/ant"] == 1
    evaluator.clear()
    assert not evaluator._image_ids
    assert not evaluator._evaluatable_labels


def test_masks_of_the_open_images_challenge():
    evaluator = OpenImagesInstanceSegmentationChallengeEvaluator(CATEGORIES)
    drawn = np.array([TALL, WIDE], np.uint8)
    true = objects((A, 1), (A, 1), groundtruth_group_of=[False, True], groundtruth_labeled_classes=[1],
                   groundtruth_instance_masks=drawn)  # fmt: skip
    evaluator.add_single_ground_truth_image_info("a", true)
    found = detections((A, 1, 0.9), (A, 1, 0.8), detection_masks=drawn[[1, 0]])
    evaluator.add_single_detected_image_info("a", found)
    assert evaluator.evaluate()["OpenImagesInstanceSegmentationChallenge_Precision/mAP@0.5IOU"] == 1


def eval_dict(images):
    names = list(images[0])
    return {name: tf.constant(np.stack([image[name] for image in images])) for name in names}


def test_a_batch_of_tensors():
    images = [
        {
            "key": key,
            **objects((A, 1), groundtruth_difficult=[False]),
            **detections((box, 1, 0.9)),
            "other": 1,
        }
        for key, box in (("a", A), ("b", AWAY))
    ]
    evaluator = PascalDetectionEvaluator(CATEGORIES)
    evaluator.add_eval_dict(eval_dict(images))
    evaluator.add_eval_dict({name: value[0] for name, value in eval_dict([images[0] | {"key": "c"}]).items()})
    assert sorted(evaluator._image_ids) == [b"a", b"b", b"c"]
    numbers = evaluator.evaluate()
    # Right, right, wrong or right, wrong, right, by the order of equal scores backwards: c, b, a.
    assert numbers[PASCAL + "ant"] == pytest.approx((1 + 2 / 3) / 3)
    evaluator.clear()
    ops = evaluator.get_estimator_eval_metric_ops(eval_dict(images))
    assert list(ops) == evaluator._metric_names
    assert float(ops[PASCAL + "ant"][0]) == pytest.approx(0.25)  # wrong, right, of two
    assert not evaluator._image_ids


# Recordings of the API

CASES = unit_cases("metrics")
NAMES = ["apple", "bus", "cat", "dog", "egg"]
FIVE = [{"id": number, "name": name} for number, name in enumerate(NAMES, 1)]
RECORDED = {
    "pascal_voc": PascalDetectionEvaluator(FIVE),
    "pascal_voc_no_difficult": PascalDetectionEvaluator(FIVE),
    "pascal_voc_iou_0.7": PascalDetectionEvaluator(FIVE, 0.7),
    "pascal_voc_nms": PascalDetectionEvaluator(FIVE, nms_iou_threshold=0.4, nms_max_output_boxes=5),
    "weighted_pascal_voc": WeightedPascalDetectionEvaluator(FIVE),
    "open_images_v2": OpenImagesDetectionEvaluator(FIVE),
    "open_images_v2_group_weight": OpenImagesDetectionEvaluator(FIVE, group_of_weight=1.0),
    "open_images_challenge": OpenImagesChallengeEvaluator(FIVE),
    "precision_at_recall": PrecisionAtRecallDetectionEvaluator(FIVE, 0.5, 0.2, 0.8),
    "pascal_corloc": ObjectDetectionEvaluator(
        FIVE, evaluate_corlocs=True, evaluate_precision_recall=True, metric_prefix="X"
    ),
}


@pytest.mark.shared
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_numbers(name):
    evaluator = RECORDED[name]
    about = next(case.about for case in CASES if case.about.get("name") == name)
    for number, image in enumerate(case for case in CASES if case.about["kind"] == "image"):
        true = {"groundtruth_boxes": image.arrays["gt"], "groundtruth_classes": image.arrays["classes"]}
        for flag in about["uses"]:
            if flag in image.arrays:
                true[f"groundtruth_{flag}"] = image.arrays[flag].astype(bool)
        if "image_classes" in about:
            true["groundtruth_image_classes"] = np.array(about["image_classes"][number])
        found = {
            "detection_boxes": image.arrays["det"],
            "detection_scores": image.arrays["scores"],
            "detection_classes": image.arrays["det_classes"],
        }
        evaluator.add_single_ground_truth_image_info(image.about["image_id"], true)
        evaluator.add_single_detected_image_info(image.about["image_id"], found)
    # Curves were not recorded.
    numbers = {tag: value for tag, value in evaluator.evaluate().items() if np.ndim(value) == 0}
    assert sorted(numbers) == sorted(about["metrics"])
    for tag, value in about["metrics"].items():
        np.testing.assert_allclose(numbers[tag], np.nan if value is None else value, atol=1e-6, err_msg=tag)


def test_the_base_takes_nothing_at_once():
    class Nothing(object_detection_evaluation.DetectionEvaluator):
        def add_single_ground_truth_image_info(self, image_id, groundtruth_dict): ...
        def add_single_detected_image_info(self, image_id, detections_dict): ...
        def evaluate(self): ...
        def clear(self): ...

    with pytest.raises(NotImplementedError):
        Nothing(CATEGORIES).observe_result_dict_for_single_example({})
