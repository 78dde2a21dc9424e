"""Evaluators that a configuration asks for, and the tensors that they take; LVIS."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from object_detection import eval_util
from object_detection.metrics import lvis_evaluation, lvis_tools
from object_detection.metrics.coco_evaluation import CocoKeypointEvaluator
from object_detection.protos import eval_pb2

CATEGORIES = [
    {"id": 1, "name": "person", "keypoints": {"left_eye": 0, "right_eye": 3}},
    {"id": 2, "name": "dog", "keypoints": {"tail": 1}},
    {"id": 3, "name": "cat"},
]


def config(*metrics_set, **fields):
    return eval_pb2.EvalConfig(metrics_set=metrics_set, **fields)


def test_options_of_a_configuration():
    asked = config(
        "coco_detection_metrics", "coco_mask_metrics", "precision_at_recall_detection_metrics", "lvis_mask_metrics",
        "pascal_voc_detection_metrics",
        include_metrics_per_category=True, all_metrics_per_category=True, recall_lower_bound=0.25,
        recall_upper_bound=0.5, super_categories={"pets": "dog,cat"}, export_path="found.json",
    )  # fmt: skip
    options = eval_util.evaluator_options_from_eval_config(asked)
    of_each = {"include_metrics_per_category": True, "all_metrics_per_category": True,
               "super_categories": {"pets": ["dog", "cat"]}}  # fmt: skip
    assert options == {
        "coco_detection_metrics": {**of_each, "skip_predictions_for_unlabeled_class": False},
        "coco_mask_metrics": of_each,
        "precision_at_recall_detection_metrics": {"recall_lower_bound": 0.25, "recall_upper_bound": 0.5},
        "lvis_mask_metrics": {"include_metrics_per_category": True, "export_path": "found.json"},
    }
    evaluators = eval_util.get_evaluators(asked, CATEGORIES, options)
    assert evaluators[0]._include_metrics_per_category
    assert evaluators[2]._recall_lower_bound == 0.25
    without = eval_util.get_evaluators(asked, CATEGORIES)
    assert not without[0]._include_metrics_per_category
    assert without[2]._recall_upper_bound == 1


def test_every_name_has_an_evaluator():
    names = sorted(set(eval_util.EVAL_METRICS_CLASS_DICT) - {eval_util.EVAL_KEYPOINT_METRIC})
    evaluators = eval_util.get_evaluators(config(*names), CATEGORIES)
    assert [type(one) for one in evaluators] == [eval_util.EVAL_METRICS_CLASS_DICT[name] for name in names]
    (default,) = eval_util.get_evaluators(config(), CATEGORIES)
    assert type(default) is eval_util.EVAL_METRICS_CLASS_DICT[eval_util.EVAL_DEFAULT_METRIC]
    with pytest.raises(ValueError, match='"coco_metrics"'):
        eval_util.get_evaluators(config("coco_metrics"), CATEGORIES)


def test_evaluators_of_keypoints(caplog):
    asked = config(eval_util.EVAL_KEYPOINT_METRIC, eval_util.EVAL_DEFAULT_METRIC)
    with pytest.raises(ValueError, match="class_label"):
        eval_util.get_evaluators(asked, CATEGORIES)
    for name, sigmas in (("person", {"right_eye": 0.25, "left_eye": 0.5}), ("dog", {}), ("cow", {"tail": 1})):
        metric = asked.parameterized_metric.add().coco_keypoint_metrics
        metric.class_label = name
        metric.keypoint_label_to_sigmas.update(sigmas)
    _, person, dog = eval_util.get_evaluators(asked, CATEGORIES)
    assert isinstance(person, CocoKeypointEvaluator)
    assert (person._keypoint_ids, person._oks_sigmas.tolist()) == ([0, 3], [0.5, 0.25])
    assert (dog._keypoint_ids, dog._oks_sigmas.tolist()) == ([1], [0.05])
    assert '"cow"' in caplog.text


# Tensors


def found_in(batch_size, **more):
    return {
        "detection_boxes": tf.tile([[[0.0, 0.0, 1.0, 1.0]]], [batch_size, 1, 1]),
        "detection_scores": tf.fill([batch_size, 1], 0.75),
        "detection_classes": tf.zeros([batch_size, 1]),
        "num_detections": tf.ones([batch_size]),
        **more,
    }


def test_one_image():
    detections = found_in(1, detection_masks=tf.ones([1, 1, 3, 3]))
    groundtruth = {
        "groundtruth_boxes": tf.constant([[0.0, 0.0, 0.5, 1.0]]),
        "groundtruth_classes": tf.constant([1]),
        "groundtruth_instance_masks": tf.ones([1, 10, 20], tf.uint8),
        "groundtruth_keypoints": tf.constant([[0.0, 0.0], [0.5, 0.5]]),
    }
    result = eval_util.result_dict_for_single_example(
        tf.zeros([1, 10, 20, 3], tf.uint8), tf.constant("a"), detections, groundtruth, scale_to_absolute=True
    )
    assert result["original_image"].shape == (1, 10, 20, 3)
    assert result["key"] == b"a"
    assert result["original_image_spatial_shape"].numpy().tolist() == [10, 20]
    assert result["detection_boxes"].numpy().tolist() == [[0, 0, 10, 20]]
    assert result["detection_classes"].numpy().tolist() == [1]
    assert result["detection_classes"].dtype == tf.int64
    assert result["detection_masks"].dtype == tf.uint8
    np.testing.assert_array_equal(result["detection_masks"], np.ones((1, 10, 20)))
    assert result["groundtruth_boxes"].numpy().tolist() == [[0, 0, 5, 20]]
    assert result["groundtruth_keypoints"].numpy().tolist() == [[0, 0], [5, 10]]
    assert result["groundtruth_instance_masks"].shape == (1, 10, 20)
    assert {"num_detections", "num_groundtruth_boxes"}.isdisjoint(result)
    assert groundtruth["groundtruth_boxes"].shape == (1, 4)  # as it was given
    metric_ops = eval_util.get_eval_metric_ops_for_evaluators(
        config("coco_detection_metrics", "coco_mask_metrics"), CATEGORIES, result
    )
    # IoU 0.5: right at the first of ten thresholds. The masks are those of the whole image.
    assert float(metric_ops["DetectionBoxes_Precision/mAP"][0]) == pytest.approx(0.1)
    assert float(metric_ops["DetectionMasks_Precision/mAP"][0]) == 1


def test_a_padded_batch():
    points = tf.constant([[[[0.0, 0.0], [0.5, 0.5]]]] * 2)
    boxes = tf.constant([[[0.0, 0.0, 1.0, 1.0]], [[0.0, 0.0, 0.5, 0.5]]])
    marks = np.zeros((2, 1, 100, 100), np.uint8)
    marks[:, :, 25:50] = 1  # the lower half of the second image

    @tf.function
    def results():
        return eval_util.result_dict_for_batched_example(
            tf.zeros([2, 100, 100, 3]),
            tf.constant(["a", "b"]),
            found_in(2, detection_boxes=boxes, detection_keypoints=points),
            {
                "groundtruth_boxes": boxes,
                "groundtruth_keypoints": points,
                "groundtruth_classes": tf.constant([[1.0], [2.0]]),
                "groundtruth_instance_masks": tf.constant(marks),
            },
            class_agnostic=True,
            scale_to_absolute=True,
            original_image_spatial_shapes=tf.constant([[200, 200], [150, 300]]),
            true_image_shapes=tf.constant([[100, 100, 3], [50, 100, 3]]),
            max_gt_boxes=tf.constant(1),
        )

    result = {name: value.numpy() for name, value in results().items()}
    assert result["groundtruth_boxes"].tolist() == [[[0, 0, 200, 200]], [[0, 0, 150, 150]]]
    assert result["groundtruth_keypoints"][1].tolist() == [[[0, 0], [150, 150]]]
    # What a model finds is in the frame of the image.
    assert result["detection_boxes"].tolist() == [[[0, 0, 200, 200]], [[0, 0, 75, 150]]]
    assert result["detection_keypoints"][1].tolist() == [[[0, 0], [75, 150]]]
    assert result["detection_keypoint_scores"].tolist() == [[[1, 1]]] * 2
    assert result["groundtruth_classes"].tolist() == result["detection_classes"].tolist() == [[1], [1]]
    drawn = result["groundtruth_instance_masks"]
    assert drawn.shape == (2, 1, 200, 300)
    rows, columns = np.nonzero(drawn[1, 0])
    assert (rows.min(), rows.max(), columns.max()) == (75, 149, 299)
    assert not drawn[0, 0, :, 200:].any()


def test_masks_of_boxes_over_images_of_two_sizes():
    masks = eval_util.resize_detection_masks(
        tf.constant([[[0.0, 0.0, 0.5, 1.0]]] * 2), tf.ones([2, 1, 4, 4]), tf.constant([[4, 4], [8, 2]])
    )
    expected = np.zeros((2, 1, 8, 4), np.uint8)
    expected[0, 0, :2] = expected[1, 0, :4, :2] = 1
    np.testing.assert_array_equal(masks, expected)


def test_tensors_that_do_not_fit():
    images, keys = tf.zeros([2, 9, 9, 3]), tf.constant(["a", "b"])
    with pytest.raises(ValueError, match=r"\[b, 2\]"):
        eval_util.result_dict_for_batched_example(
            images, keys, found_in(2), original_image_spatial_shapes=tf.constant([9, 9])
        )
    with pytest.raises(ValueError, match="max_gt_boxes"):
        eval_util.result_dict_for_batched_example(
            images, keys, found_in(2), {"groundtruth_boxes": tf.zeros([2, 1, 4])}
        )
    assert eval_util.has_densepose({"detection_masks": 0, "detection_surface_coords": 0})
    assert not eval_util.has_densepose({"detection_masks": 0})


# What people look at


def test_numbers_and_drawings_for_tensorboard(tmp_path):
    eval_util.write_metrics({"b": 0.5, "a": 0.25}, 7, str(tmp_path))
    image = np.zeros((1, 40, 40, 1), np.uint8)
    found = {
        "original_image": image,
        "key": b"../1",
        "detection_boxes": np.array([[10.0, 10, 30, 30]]),
        "detection_scores": np.array([0.9]),
        "detection_classes": np.array([1.0]),
        "groundtruth_boxes": np.array([[5.0, 5, 35, 35]]),
    }
    eval_util.visualize_detection_results(
        found, "eval", 7, CATEGORIES, str(tmp_path), str(tmp_path), show_groundtruth=True,
        keep_image_id_for_visualization_export=True,
    )  # fmt: skip
    events = EventAccumulator(str(tmp_path)).Reload()
    assert events.Tensors("a")[0].step == 7
    assert sorted(events.Tags()["tensors"]) == ["a", "b", "eval"]
    drawn = tf.io.decode_png((tmp_path / "export-eval-.._1.png").read_bytes()).numpy()
    assert drawn.shape == (40, 40, 3)
    assert drawn[20, 10].any()
    assert not image.any()
    with pytest.raises(ValueError, match="detection_scores"):
        eval_util.visualize_detection_results(
            {name: value for name, value in found.items() if name != "detection_scores"},
            "eval",
            7,
            CATEGORIES,
        )


# LVIS

LVIS = [{"id": number, "name": name, "frequency": letter} for number, name, letter in
        ((1, "ant", "f"), (2, "bee", "c"), (3, "cow", "r"))]  # fmt: skip
BOX = np.array([[0.0, 0.0, 4.0, 4.0]])
MASK = np.pad(np.ones((1, 4, 4), np.uint8), ((0, 0), (0, 4), (0, 4)))


def lvis_evaluator(absent=(), partly=(), **options):
    """An ant; an ant, a bee and a cow found in the same place, the ant least surely."""
    evaluator = lvis_evaluation.LVISMaskEvaluator(LVIS, **options)
    labels = [np.isin(np.arange(4), part).astype(float) for part in (absent, partly)]
    true = {
        "groundtruth_boxes": BOX,
        "groundtruth_classes": np.array([1]),
        "groundtruth_instance_masks": MASK,
        "groundtruth_verified_neg_classes": labels[0],
        "groundtruth_not_exhaustive_classes": labels[1],
    }
    found = {
        "detection_masks": np.concatenate([MASK[:, ::-1], MASK, MASK, MASK]),
        "detection_classes": np.array([1, 1, 2, 3]),
        "detection_scores": np.array([0.9, 0.8, 0.9, 0.9]),
    }
    for _ in range(2):  # the second time warns
        evaluator.add_single_ground_truth_image_info(5, true)
        evaluator.add_single_detected_image_info(5, found)
    return evaluator


def test_lvis(tmp_path, caplog):
    path = tmp_path / "found.json"
    evaluator = lvis_evaluator(absent=[2], include_metrics_per_category=True, export_path=str(path))
    assert len(caplog.records) == 2
    numbers = evaluator.evaluate()
    assert numbers["DetectionMasks_AP"] == pytest.approx(0.5)  # of the ant: a wrong one, then a right one
    assert numbers["DetectionMasks_APf"] == pytest.approx(0.5)
    assert numbers["DetectionMasks_APr"] == -1
    assert numbers["DetectionMasks_PerformanceByCategory/AP/ant"] == pytest.approx(0.5)
    # Where not all ants are marked, the wrong one is not wrong.
    assert lvis_evaluator(partly=[1]).evaluate()["DetectionMasks_AP"] == 1
    assert [one["category_id"] for one in json.loads(path.read_text())] == [1, 1, 2, 3]
    evaluator.clear()
    assert evaluator._groundtruth_list == evaluator._detection_masks_list == []
    assert not evaluator._image_ids_with_detections
    with pytest.raises(ValueError, match="image 5"):
        evaluator.add_single_detected_image_info(5, {})


def test_lvis_takes_batches():
    evaluator = lvis_evaluation.LVISMaskEvaluator(LVIS)
    batch = {
        "key": [1], "groundtruth_boxes": BOX[None], "groundtruth_classes": [[1]],
        "groundtruth_instance_masks": MASK[None],
        "groundtruth_verified_neg_classes": [[0, 0, 1, 0]], "detection_masks": MASK[None],
        "detection_classes": [[1]], "detection_scores": [[0.5]],
    }  # fmt: skip
    ops = evaluator.get_estimator_eval_metric_ops({name: tf.constant(value) for name, value in batch.items()})
    assert float(ops["DetectionMasks_AP"][0]) == 1
    assert len(ops) == 13


def test_lvis_annotations():
    true = lvis_tools.ExportSingleImageGroundtruthToLVIS(5, 1, {1}, BOX, np.array([1]), MASK)
    assert true == [{"id": 1, "image_id": 5, "category_id": 1, "bbox": [0, 0, 4, 4], "area": 16,
                     "segmentation": lvis_tools.RleCompress(MASK[0])}]  # fmt: skip
    wrapped = lvis_tools.LVISWrapper({"annotations": true, "images": [{"id": 5}], "categories": LVIS})
    box = {"image_id": 5, "category_id": 1, "bbox": [0.0, 0.0, 4.0, 4.0], "score": 0.5}
    numbers = lvis_tools.LVISEvalWrapper(wrapped, wrapped.LoadAnnotations([box])).ComputeMetrics()
    assert (numbers["AP"], numbers["APs"], numbers["APl"]) == (1, 1, -1)
    with pytest.raises(ValueError, match="keypoints"):
        lvis_tools.LVISEvalWrapper(wrapped, wrapped, "keypoints")
