"""Boxes and masks as NumPy arrays: overlaps, lists with fields, suppression; curves; JSON with few digits."""

import io

import numpy as np
import pytest

from object_detection.utils import (
    json_utils,
    metrics,
    np_box_list_ops,
    np_box_mask_list_ops,
    np_box_ops,
    np_mask_ops,
)
from object_detection.utils.np_box_list import BoxList
from object_detection.utils.np_box_mask_list import BoxMaskList

A, B, AWAY = [0.0, 0.0, 2.0, 2.0], [0.0, 1.0, 2.0, 4.0], [5.0, 5.0, 6.0, 6.0]


def boxes(*rows):
    return np.array(rows, float).reshape(-1, 4)


def box_list(*rows, **fields):
    made = BoxList(boxes(*rows))
    for name, values in fields.items():
        made.add_field(name, np.asarray(values))
    return made


# Overlaps


def test_overlaps_of_boxes():
    one, other = boxes(A, AWAY), boxes(A, B)
    np.testing.assert_array_equal(np_box_ops.area(other), [4, 6])
    np.testing.assert_array_equal(np_box_ops.intersection(one, other), [[4, 2], [0, 0]])
    np.testing.assert_allclose(np_box_ops.iou(one, other), [[1, 2 / 8], [0, 0]])
    np.testing.assert_allclose(np_box_ops.ioa(one, other), [[1, 2 / 6], [0, 0]])  # of the second
    assert np_box_ops.iou(boxes(A).astype(np.float32), boxes(B).astype(np.float32)).dtype == np.float32
    assert np_box_ops.iou(boxes(A).astype(int), boxes(B).astype(int)).item() == 0.25
    assert np_box_ops.iou(boxes(), other).shape == (0, 2)


LEFT, RIGHT, NOTHING = [[1, 1, 0], [1, 1, 0]], [[0, 1, 1], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]


def masks(*drawn):
    return np.array(drawn, np.uint8).reshape(-1, 2, 3)


def test_overlaps_of_masks():
    one, other = masks(LEFT, NOTHING), masks(LEFT, RIGHT)
    np.testing.assert_array_equal(np_mask_ops.area(other), [4, 2])
    np.testing.assert_array_equal(np_mask_ops.intersection(one, other), [[4, 1], [0, 0]])
    np.testing.assert_allclose(np_mask_ops.iou(one, other), [[1, 1 / 5], [0, 0]])
    np.testing.assert_allclose(np_mask_ops.ioa(one, other), [[1, 1 / 2], [0, 0]])
    np.testing.assert_array_equal(np_mask_ops.iou(other, masks(NOTHING)), [[0], [0]])
    assert np_mask_ops.iou(masks(), other).shape == (0, 2)
    with pytest.raises(ValueError, match="uint8, not float64"):
        np_mask_ops.area(one.astype(float))


# Lists


@pytest.mark.parametrize(
    "data",
    [
        [A],
        boxes(A).astype(int),
        np.zeros(4),
        np.zeros((1, 5)),
        boxes(A, [3, 0, 1, 1]),
    ],
)
def test_what_is_no_list_of_boxes(data):
    with pytest.raises(ValueError, match="box"):
        BoxList(data)


def test_fields():
    made = box_list(A, B, scores=[0.5, 0.25])
    assert (made.num_boxes(), made.get_extra_fields()) == (2, ["scores"])
    assert made.has_field("boxes")
    assert not made.has_field("labels")
    np.testing.assert_array_equal(made.get_coordinates(), [[0, 0], [0, 1], [2, 2], [2, 4]])
    for name, values in (("boxes", [[0], [1]]), ("labels", [1, 2, 3]), ("labels", 1)):
        with pytest.raises(ValueError, match=name):
            made.add_field(name, np.array(values))
    with pytest.raises(ValueError, match='no field "labels"'):
        made.get_field("labels")


def test_lists_with_masks():
    made = BoxMaskList(boxes(A, B), masks(LEFT, RIGHT))
    assert made.get_extra_fields() == ["masks"]
    np.testing.assert_array_equal(made.get_masks(), masks(LEFT, RIGHT))
    for wrong in ([LEFT], masks(LEFT), masks(LEFT, RIGHT)[0], masks(LEFT, RIGHT).astype(float)):
        with pytest.raises(ValueError, match="masks"):
            BoxMaskList(boxes(A, B), wrong)


def test_gather_and_sort():
    made = box_list(A, B, AWAY, scores=[0.5, 0.9, 0.5], labels=[[1], [2], [3]])
    chosen = np_box_list_ops.gather(made, np.array([2, 0]), ["labels"])
    np.testing.assert_array_equal(chosen.get(), boxes(AWAY, A))
    assert (chosen.get_extra_fields(), chosen.get_field("labels").tolist()) == (["labels"], [[3], [1]])
    assert np_box_list_ops.gather(made, np.zeros(0, int)).num_boxes() == 0
    for indices in ([0, 3], [-1], [[0, 1]]):
        with pytest.raises(ValueError, match=r"indices|boxes"):
            np_box_list_ops.gather(made, np.array(indices))
    order = np_box_list_ops.sort_by_field(made, "scores").get_field("labels").ravel()
    assert order.tolist() == [2, 3, 1]  # of equal scores the last comes first
    ascending = np_box_list_ops.sort_by_field(made, "scores", np_box_list_ops.SortOrder.ASCEND)
    assert ascending.get_field("labels").ravel().tolist() == [1, 3, 2]
    for arguments in (("objectness",), ("labels",), ("scores", "Descending")):
        with pytest.raises(ValueError, match=arguments[-1]):
            np_box_list_ops.sort_by_field(made, *arguments)


def test_concatenate():
    joined = np_box_list_ops.concatenate([box_list(A, scores=[0.5]), box_list(B, scores=[0.25], more=[1])])
    np.testing.assert_array_equal(joined.get(), boxes(A, B))
    assert joined.get_field("scores").tolist() == [0.5, 0.25]
    for wrong in (
        [],
        box_list(A),
        [box_list(A), boxes(B)],
        [box_list(A, scores=[1]), box_list(B)],
        [box_list(A, scores=[1]), box_list(B, scores=[[1]])],
    ):
        with pytest.raises(ValueError, match=r"list|scores"):
            np_box_list_ops.concatenate(wrong)


def test_windows():
    made = box_list(A, B, AWAY, scores=[1, 2, 3])
    inside, indices = np_box_list_ops.prune_outside_window(made, np.array([0.0, 0.0, 3.0, 3.0]))
    assert (indices.tolist(), inside.get_field("scores").tolist()) == ([0], [1])
    clipped = np_box_list_ops.clip_to_window(made, np.array([1.0, 0.0, 3.0, 3.0]))
    np.testing.assert_array_equal(clipped.get(), boxes([1, 0, 2, 2], [1, 1, 2, 3]))
    kept = np_box_list_ops.clip_to_window(made, np.array([1.0, 0.0, 3.0, 3.0]), filter_nonoverlapping=False)
    np.testing.assert_array_equal(kept.get()[2], [3, 3, 3, 3])
    framed = np_box_list_ops.change_coordinate_frame(made, np.array([1.0, 1.0, 3.0, 5.0]))
    np.testing.assert_array_equal(framed.get()[0], [-0.5, -0.25, 0.5, 0.25])
    np.testing.assert_array_equal(np_box_list_ops.scale(made, 0.5, 2).get()[1], [0, 2, 1, 8])
    # B covers half of A, and A covers a third of B.
    covered = np_box_list_ops.prune_non_overlapping_boxes(made, box_list(B), minoverlap=0.5)
    assert covered.get_field("scores").tolist() == [1, 2]
    assert np_box_list_ops.prune_non_overlapping_boxes(made, box_list(), 0.1).num_boxes() == 0


def test_suppression():
    # IoU of A and B is 0.25.
    made = box_list(A, B, AWAY, scores=[0.5, 0.9, 0.1])
    found = np_box_list_ops.non_max_suppression(made, iou_threshold=0.25)
    assert found.get_field("scores").tolist() == [0.9, 0.5, 0.1]  # 0.25 is not above it
    found = np_box_list_ops.non_max_suppression(made, iou_threshold=0.2)
    assert found.get_field("scores").tolist() == [0.9, 0.1]
    found = np_box_list_ops.non_max_suppression(made, max_output_size=1, iou_threshold=0.2)
    assert found.get_field("scores").tolist() == [0.9]
    found = np_box_list_ops.non_max_suppression(made, max_output_size=2, score_threshold=0.1)
    assert found.get_field("scores").tolist() == [0.9, 0.5]
    assert np_box_list_ops.non_max_suppression(made, score_threshold=1).num_boxes() == 0
    for wrong in ({"iou_threshold": 1.5}, {"max_output_size": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            np_box_list_ops.non_max_suppression(made, **wrong)
    with pytest.raises(ValueError, match="scores"):
        np_box_list_ops.non_max_suppression(box_list(A))
    with pytest.raises(ValueError, match="scores"):
        np_box_list_ops.filter_scores_greater_than(box_list(A, scores=[[1.0, 2.0]]), 0.5)


def test_suppression_of_each_class():
    made = box_list(A, B, AWAY, scores=[[0.5, 0.3], [0.9, 0.2], [0.05, 0.8]])
    found = np_box_list_ops.multi_class_non_max_suppression(made, 0.1, 0.2, 2)
    np.testing.assert_array_equal(found.get(), boxes(B, AWAY, A))  # B suppresses A in the first class only
    assert found.get_field("scores").tolist() == [0.9, 0.8, 0.3]
    assert found.get_field("classes").tolist() == [0, 1, 1]
    with pytest.raises(ValueError, match="BoxList"):
        np_box_list_ops.multi_class_non_max_suppression(boxes(A), 0.1, 0.2, 2)


def test_operations_on_lists_with_masks():
    made = BoxMaskList(boxes(A, A, AWAY), masks(LEFT, RIGHT, LEFT))
    made.add_field("scores", np.array([0.5, 0.9, 0.1]))
    ops = np_box_mask_list_ops
    np.testing.assert_array_equal(ops.area(made), [4, 2, 4])
    np.testing.assert_allclose(ops.iou(made, made)[0], [1, 1 / 5, 1])
    np.testing.assert_allclose(ops.ioa(made, made)[0], [1, 1 / 2, 1])
    np.testing.assert_array_equal(ops.intersection(made, made)[0], [4, 1, 4])
    # The boxes of the first two are one, but their masks overlap by a fifth; the third has the mask of the first.
    found = ops.non_max_suppression(made, iou_threshold=0.5)
    assert found.get_field("scores").tolist() == [0.9, 0.5]
    np.testing.assert_array_equal(found.get_masks(), masks(RIGHT, LEFT))
    made_of_classes = BoxMaskList(made.get(), made.get_masks())
    made_of_classes.add_field("scores", np.array([[0.5, 0.1], [0.1, 0.9], [0.4, 0.3]]))
    found = ops.multi_class_non_max_suppression(made_of_classes, 0.2, 0.5, 10)
    assert found.get_field("classes").tolist() == [1, 0, 1]
    np.testing.assert_array_equal(found.get_masks(), masks(RIGHT, LEFT, LEFT))
    for chosen in (ops.gather(made, np.array([1]), []), ops.sort_by_field(made, "scores")):
        np.testing.assert_array_equal(chosen.get_masks()[0], RIGHT)
    assert ops.concatenate([made, made], []).get_masks().shape == (6, 2, 3)
    assert ops.filter_scores_greater_than(made, 0.5).num_boxes() == 1
    half = ops.prune_non_overlapping_masks(made, BoxMaskList(boxes(A), masks(RIGHT)), 0.5)
    np.testing.assert_array_equal(half.get_masks(), masks(RIGHT))
    with pytest.raises(ValueError, match="masks"):
        ops.box_list_to_box_mask_list(box_list(A))


# Curves


def test_precision_recall_and_average_precision():
    scores, labels = np.array([0.4, 0.3, 0.6, 0.2, 0.7, 0.1]), np.array([0, 1, 1, 0, 0, 1], bool)
    # By score: wrong, right, wrong, right, wrong, right, of 10.
    precision, recall = metrics.compute_precision_recall(scores, labels, 10)
    np.testing.assert_allclose(precision, [0, 1 / 2, 1 / 3, 1 / 2, 2 / 5, 1 / 2])
    np.testing.assert_allclose(recall, [0, 0.1, 0.1, 0.2, 0.2, 0.3])
    assert metrics.compute_average_precision(precision, recall) == pytest.approx(0.3 / 2)
    # A group that is right by half.
    precision, _ = metrics.compute_precision_recall(np.array([0.9, 0.8]), np.array([0.5, 0.0]), 1)
    np.testing.assert_allclose(precision, [1, 0.5 / 1.5])
    assert metrics.compute_precision_recall(scores, np.zeros(6), 0) == (None, None)
    assert np.isnan(metrics.compute_average_precision(None, None))
    assert metrics.compute_average_precision(np.zeros(0), np.zeros(0)) == 0


@pytest.mark.parametrize(
    ("scores", "labels", "num_gt"),
    [
        ([0.5], np.array([1.0]), 1),
        (np.array([0.5]), [1.0], 1),
        (np.array([0.5]), np.array([1]), 1),
        (np.array([0.5]), np.array([[1.0]]), 1),
        (np.array([[0.5]]), np.array([1.0]), 1),
        (np.array([0.5, 0.4]), np.array([1.0]), 1),
        (np.array([0.5]), np.array([1.0]), 0),
    ],
)
def test_what_has_no_precision(scores, labels, num_gt):
    with pytest.raises(ValueError, match=r"scores|labels|objects"):
        metrics.compute_precision_recall(scores, labels, num_gt)


@pytest.mark.parametrize(
    ("precision", "recall"),
    [
        (None, np.zeros(1)),
        (np.zeros(1), None),
        ([0.5], np.zeros(1)),
        (np.zeros(1, int), np.zeros(1)),
        (np.zeros(2), np.zeros(1)),
        (np.array([1.5]), np.zeros(1)),
        (np.zeros(1), np.array([-0.5])),
        (np.zeros(2), np.array([0.5, 0.25])),
    ],
)
def test_what_has_no_average_precision(precision, recall):
    with pytest.raises(ValueError, match=r"precision|recall"):
        metrics.compute_average_precision(precision, recall)


def test_other_numbers():
    corloc = metrics.compute_cor_loc(np.array([100, 0, 5]), np.array([10, 0, 1]))
    np.testing.assert_allclose(corloc, [0.1, np.nan, 0.2])
    labels = [np.array([1.0, 0, 0]), np.array([0, 1.0]), np.zeros(5)]
    assert [metrics.compute_recall_at_k(labels, 2, k) for k in (1, 2)] == [0.5, 1]
    assert [metrics.compute_median_rank_at_k(labels, k) for k in (1, 3)] == [0, 0.5]


# JSON


@pytest.mark.parametrize(
    ("value", "arguments", "text"),
    [
        (1.0, {"float_digits": 2}, "1.00"),
        (1.0, {"float_digits": 0}, "1"),
        (1.012345, {}, "1.012345"),
        ([1.12345], {"float_digits": 2, "indent": 3}, "[\n   1.12\n]"),
        ({"1.250 \" 3.125": 3, "b": -1e-7}, {"float_digits": 1}, '{"1.250 \\" 3.125": 3, "b": -0.0}'),
        ({"v": 1.012345, "n": 2}, json_utils.PrettyParams(), '{\n  "n": 2,\n  "v": 1.0123\n}'),
        (float("nan"), json_utils.PrettyParams(allow_nan=True), "NaN"),
    ],
)  # fmt: skip
def test_digits_of_json(value, arguments, text):
    assert json_utils.Dumps(value, **arguments) == text
    file = io.StringIO()
    json_utils.Dump(value, file, **arguments)
    assert file.getvalue() == text


def test_nan_is_refused_where_that_is_asked_for():
    with pytest.raises(ValueError, match="JSON"):
        json_utils.Dumps(float("nan"), **json_utils.PrettyParams(allow_nan=False))
