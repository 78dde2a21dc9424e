"""Lists of boxes, keypoints and their operations; expected numbers are worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf

from boxtune.errors import DataError
from object_detection.core import box_list_ops, keypoint_ops, region_similarity_calculator
from object_detection.core.box_list import BoxList


def equal(tensor, expected):
    np.testing.assert_allclose(tensor, expected, rtol=1e-5, atol=1e-6)


def boxes_of(*corners, **fields):
    boxes = BoxList(tf.reshape(tf.constant(corners, tf.float32), (-1, 4)))
    for name, values in fields.items():
        boxes.add_field(name, tf.constant(values))
    return boxes


def test_fields():
    boxes = boxes_of([0, 0, 20, 10], scores=[0.5])
    assert boxes.num_boxes_static() == 1
    assert list(boxes.get_all_fields()) == ["boxes", "scores"]
    assert boxes.get_extra_fields() == ["scores"]
    equal(boxes.get_center_coordinates_and_sizes(), [[10], [5], [20], [10]])
    boxes.transpose_coordinates()
    equal(boxes.get(), [[0, 0, 10, 20]])
    assert boxes.as_tensor_dict(["scores"]).keys() == {"scores"}


@pytest.mark.parametrize(
    "call",
    [
        lambda boxes: BoxList(tf.zeros((2, 4, 1))),
        lambda boxes: BoxList(tf.zeros((2, 5))),
        lambda boxes: BoxList(tf.constant([[0, 0, 1, 1]])),
        lambda boxes: boxes.set(tf.zeros(4)),
        lambda boxes: boxes.get_field("masks"),
        lambda boxes: boxes.set_field("masks", 1),
        lambda boxes: boxes.as_tensor_dict(["masks"]),
        lambda boxes: box_list_ops.gather(boxes, tf.constant([[0]])),
        lambda boxes: box_list_ops.gather(boxes, tf.constant([0.0])),
        lambda boxes: box_list_ops.gather(boxes, [0], ["masks"]),
        lambda boxes: box_list_ops.boolean_mask(boxes, tf.constant([[True]])),
        lambda boxes: box_list_ops.boolean_mask(boxes, tf.constant([1])),
        lambda boxes: box_list_ops.boolean_mask(boxes, tf.constant([True]), use_static_shapes=True),
        lambda boxes: box_list_ops.concatenate(boxes),
        lambda boxes: box_list_ops.concatenate([]),
        lambda boxes: box_list_ops.concatenate([boxes, 1]),
        lambda boxes: box_list_ops.concatenate([boxes, boxes_of([0, 0, 1, 1])]),
        lambda boxes: box_list_ops.concatenate([boxes, boxes_of([0, 0, 1, 1], scores=[[1.0]])]),
        lambda boxes: box_list_ops.sort_by_field(boxes, "area"),
        lambda boxes: box_list_ops.sort_by_field(boxes, "scores", order=3),
        lambda boxes: box_list_ops.sort_by_field(boxes_of([0, 0, 1, 1], a=[[1.0]]), "a"),
        lambda boxes: box_list_ops.filter_field_value_equals(boxes, "classes", 1),
        lambda boxes: box_list_ops.filter_field_value_equals(1, "classes", 1),
        lambda boxes: box_list_ops.filter_greater_than(boxes_of([0, 0, 1, 1]), 0),
        lambda boxes: box_list_ops.filter_greater_than(boxes_of([0, 0, 1, 1], scores=[[1.0, 2.0]]), 0),
        lambda boxes: box_list_ops.non_max_suppression(boxes, 1.5, 1),
        lambda boxes: box_list_ops.refine_boxes(boxes, 0.5, 1, voting_iou_thresh=-1),
        lambda boxes: box_list_ops.box_voting(boxes, boxes_of([0, 0, 1, 1])),
    ],
)
def test_what_does_not_fit_is_refused(call):
    with pytest.raises(ValueError) as error:
        call(boxes_of([0, 0, 1, 1], scores=[0.5]))
    assert isinstance(error.value, DataError)


def test_an_error_in_a_graph_keeps_its_class():
    @tf.function
    def scale():
        return BoxList(tf.zeros((1, 4))).get_field("none")

    with pytest.raises(ValueError, match="field none does not exist"):
        scale()


def test_overlaps():
    # squares of area 4 with a common square of area 1; and one inside of the first, of area 1
    first, second = boxes_of([0, 0, 2, 2]), boxes_of([1, 1, 3, 3], [0, 0, 1, 1], [5, 5, 5, 5])
    equal(box_list_ops.area(second), [4, 1, 0])
    equal(box_list_ops.intersection(first, second), [[1, 1, 0]])
    equal(box_list_ops.iou(first, second), [[1 / 7, 1 / 4, 0]])
    equal(box_list_ops.ioa(first, second), [[1 / 4, 1, 0]])
    # around both of the first pair: 9; the rest is 2
    equal(box_list_ops.giou(first, second)[0, :2], [1 / 7 - 2 / 9, 1 / 4])
    equal(box_list_ops.sq_dist(first, second)[0, :2], [4, 2])
    equal(box_list_ops.l1(first, second)[0, :2], [2, 0.5 + 0.5 + 1 + 1])
    equal(box_list_ops.matched_intersection(first, boxes_of([1, 1, 3, 3])), [1])
    equal(box_list_ops.matched_iou(first, boxes_of([1, 1, 3, 3])), [1 / 7])
    assert box_list_ops.iou(first, boxes_of()).shape == (1, 0)


def test_windows():
    boxes = boxes_of([1, 1, 2, 2], [-1, -1, 2, 2], [5, 5, 6, 6], [-9, -9, 9, 9], scores=[1.0, 2, 3, 4])
    window = tf.constant([0.0, 0, 4, 4])
    clipped = box_list_ops.clip_to_window(boxes, window)
    equal(clipped.get(), [[1, 1, 2, 2], [0, 0, 2, 2], [0, 0, 4, 4]])
    equal(clipped.get_field("scores"), [1, 2, 4])
    assert box_list_ops.clip_to_window(boxes, window, filter_nonoverlapping=False).num_boxes() == 4
    equal(box_list_ops.prune_outside_window(boxes, window)[1], [0])
    equal(box_list_ops.prune_completely_outside_window(boxes, window)[1], [0, 1, 3])
    equal(box_list_ops.change_coordinate_frame(boxes, window).get()[0], [0.25, 0.25, 0.5, 0.5])
    equal(box_list_ops.scale(boxes, 2, 3).get()[0], [2, 3, 4, 6])
    equal(box_list_ops.scale_height_width(boxes, 2, 3).get()[0], [0.5, 0, 2.5, 3])
    # the last box covers the window, and a ninth of it is the window's area at most
    _, kept = box_list_ops.prune_non_overlapping_boxes(boxes, BoxList([window]), min_overlap=0.4)
    equal(kept, [0, 1])
    equal(box_list_ops.prune_small_boxes(boxes, 2).get_field("scores"), [2, 4])


def test_coordinates_in_pixels_and_fractions():
    boxes = boxes_of([0, 0, 5, 10])
    fractions = box_list_ops.to_normalized_coordinates(boxes, 10, 20)
    equal(fractions.get(), [[0, 0, 0.5, 0.5]])
    equal(box_list_ops.to_absolute_coordinates(fractions, 10, 20).get(), [[0, 0, 5, 10]])
    with pytest.raises(tf.errors.InvalidArgumentError, match="lower than"):
        box_list_ops.to_normalized_coordinates(fractions, 10, 20)
    with pytest.raises(tf.errors.InvalidArgumentError, match="larger than"):
        box_list_ops.to_absolute_coordinates(boxes, 10, 20)
    equal(box_list_ops.to_absolute_coordinates(boxes, 2, 2, check_range=False).get(), [[0, 0, 10, 20]])


def test_choosing():
    boxes = boxes_of([0] * 4, [1] * 4, [2] * 4, scores=[0.4, 0.9, 0.2], classes=[1, 2, 1])
    equal(box_list_ops.sort_by_field(boxes, "scores").get_field("scores"), [0.9, 0.4, 0.2])
    ascending = box_list_ops.sort_by_field(boxes, "scores", box_list_ops.SortOrder.ascend)
    equal(ascending.get()[:, 0], [2, 0, 1])
    equal(box_list_ops.filter_greater_than(boxes, 0.3).get()[:, 0], [0, 1])
    equal(box_list_ops.filter_field_value_equals(boxes, "classes", 1).get()[:, 0], [0, 2])
    static = box_list_ops.boolean_mask(boxes, [True, False, True], ["scores"], None, True, 2)
    equal(static.get_field("scores"), [0.4, 0.2])
    assert not static.has_field("classes")
    equal(box_list_ops.concatenate([boxes, boxes]).get_field("classes"), [1, 2, 1] * 2)
    equal(box_list_ops.pad_or_clip_box_list(boxes, 4).get_field("classes"), [1, 2, 1, 0])
    equal(box_list_ops.pad_or_clip_box_list(boxes, 1).get_field("classes"), [1])
    equal(box_list_ops.get_minimal_coverage_box(boxes), [[0, 0, 2, 2]])
    equal(box_list_ops.get_minimal_coverage_box(boxes_of()), [[0, 0, 1, 1]])
    box, exists = box_list_ops.select_random_box(boxes_of([1, 2, 3, 4]))
    equal(box, [[1, 2, 3, 4]])
    assert exists
    box, exists = box_list_ops.select_random_box(boxes_of())
    equal(box, [[-1] * 4])
    assert not exists
    assert box_list_ops.sample_boxes_by_jittering(boxes_of([0, 0, 1, 1]), 7).get().shape == (7, 4)


def test_boxes_vote():
    pool = boxes_of([0, 0, 4, 4], [0, 0, 4, 5], [9, 9, 10, 10], scores=[0.6, 0.2, 0.5], classes=[0, 0, 1])
    kept = box_list_ops.non_max_suppression(pool, 0.5, 10)
    equal(kept.get_field("scores"), [0.6, 0.5])
    # overlap 16 / 20: the right side is (0.6 * 4 + 0.2 * 5) / 0.8
    refined = box_list_ops.refine_boxes(pool, 0.5, 10)
    equal(refined.get(), [[0, 0, 4, 4.25], [9, 9, 10, 10]])
    equal(refined.get_field("scores"), [0.4, 0.5])
    of_classes = box_list_ops.refine_boxes_multi_class(pool, 2, 0.5, 10)
    equal(of_classes.get_field("classes"), [1, 0])
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least one box"):
        box_list_ops.box_voting(boxes_of([20, 20, 21, 21]), pool)


def test_boxes_are_drawn():
    image = box_list_ops.visualize_boxes_in_image(tf.zeros((6, 4, 3)), boxes_of([0, 0, 5, 3]))
    assert image.shape == (6, 4, 3)
    assert 0 < np.count_nonzero(np.any(image, axis=-1)) < 24


def test_keypoints():
    points = tf.constant([[[0.25, 0.5], [0.75, 2.0]]])
    equal(keypoint_ops.scale(points, 4, 2), [[[1, 1], [3, 4]]])
    equal(keypoint_ops.clip_to_window(points, [0, 0, 0.5, 1]), [[[0.25, 0.5], [0.5, 1]]])
    equal(keypoint_ops.prune_outside_window(points, [0.0, 0, 1, 1]), [[[0.25, 0.5], [np.nan, np.nan]]])
    equal(keypoint_ops.change_coordinate_frame(points, [0.25, 0, 0.75, 2]), [[[0, 0.25], [1, 1]]])
    equal(keypoint_ops.keypoints_to_enclosing_bounding_boxes(points), [[0.25, 0.5, 0.75, 2]])
    equal(keypoint_ops.to_normalized_coordinates(points, 2, 4), [[[0.125, 0.125], [0.375, 0.5]]])
    equal(keypoint_ops.to_absolute_coordinates(points, 2, 4, check_range=False), [[[0.5, 2], [1.5, 8]]])
    with pytest.raises(tf.errors.InvalidArgumentError, match="larger than"):
        keypoint_ops.to_absolute_coordinates(points, 2, 4)
    equal(keypoint_ops.flip_horizontal(points, 0.5, [1, 0]), [[[0.75, -1], [0.25, 0.5]]])
    equal(keypoint_ops.flip_vertical(points, 0.5), [[[0.75, 0.5], [0.25, 2]]])
    equal(keypoint_ops.rot90(points), [[[0.5, 0.25], [-1, 0.75]]])
    missing = tf.constant([[[0.5, np.nan], [0.5, 0.5]]])
    equal(keypoint_ops.set_keypoint_visibilities(missing), [[False, True]])
    equal(keypoint_ops.set_keypoint_visibilities(missing, [[True, False]]), [[False, False]])
    equal(keypoint_ops.keypoint_weights_from_visibilities([[True, False]], [0.5, 2.0]), [[0.5, 0]])


def test_similarity_of_predictions_and_objects():
    # a box of the same size below: distance 1, no overlap; the class has the probability 1 / 2
    objects = boxes_of([0, 0, 1, 1], classes=[[1.0, 0.0]])
    predicted = boxes_of([1, 0, 2, 1], classes=[[3.0, 3.0]])
    compare = region_similarity_calculator.DETRSimilarity().compare
    equal(compare(objects, predicted), [[0.5 - 5 * 1 - 2 * 1]])
