"""The operations on tensors that scripts import; expected numbers are worked out by hand."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from boxtune.errors import DataError
from object_detection.core.standard_fields import InputDataFields as Fields
from object_detection.utils import ops


def equal(tensor, expected):
    np.testing.assert_allclose(tensor, expected, rtol=1e-6)


def in_graph(function):
    return tf.function(function, autograph=False)


# Masks and boxes


def test_masks_of_boxes_are_stretched_over_the_image():
    masks = tf.ones((1, 2, 2))
    whole = in_graph(ops.reframe_box_masks_to_image_masks)(masks, tf.constant([[0.0, 0.5, 1.0, 1.0]]), 5, 5)
    expected = np.zeros((1, 5, 5))
    expected[:, :, 2:] = 1  # columns 0.5 to 1 of 5 corners, 0, 0.25, ...
    equal(whole, expected)


def test_masks_of_bytes_are_not_smoothed():
    masks = tf.constant([[[1, 0], [0, 0]]], tf.uint8)
    whole = ops.reframe_box_masks_to_image_masks(masks, [[0.0, 0.0, 1.0, 1.0]], 4, 4)
    assert whole.dtype == tf.uint8
    equal(whole[0], [[1, 1, 0, 0], [1, 1, 0, 0], [0] * 4, [0] * 4])
    smooth = ops.reframe_box_masks_to_image_masks(tf.cast(masks, tf.float32), [[0.0, 0.0, 1.0, 1.0]], 4, 4)
    equal(smooth[0, 0], [1, 2 / 3, 1 / 3, 0])


def test_no_masks_and_masks_of_empty_boxes():
    nothing = ops.reframe_box_masks_to_image_masks(tf.zeros((0, 3, 3)), tf.zeros((0, 4)), 4, 5)
    assert nothing.shape == (0, 4, 5)
    empty = ops.reframe_box_masks_to_image_masks(tf.ones((1, 3, 3)), [[0.3, 0.3, 0.3, 0.3]], 4, 4)
    assert np.isfinite(empty).all()


def test_boxes_in_pixels():
    boxes = tf.constant([[[0.0, 0.25, 0.5, 1.0]]])
    equal(ops.normalized_to_image_coordinates(boxes, tf.constant([1, 10, 20, 3])), [[[0, 5, 5, 20]]])
    equal(ops.normalized_to_image_coordinates(boxes, [1, 10, 20, 3]), [[[0, 5, 5, 20]]])


def test_overlaps_and_corners():
    # disjoint unit squares two apart: union 2 of an enclosing box of 3
    equal(ops.giou(tf.constant([[0.0, 0, 1, 1]]), tf.constant([[0.0, 2, 1, 3]])), [-1 / 3])
    equal(ops.center_to_corner_coordinate(tf.constant([[0.5, 0.5, 0.2, 0.4]])), [[0.4, 0.3, 0.6, 0.7]])


def test_boxes_in_the_order_of_their_classes():
    dense = tf.reshape(tf.range(16.0), (4, 4))
    boxes, classes = ops.dense_to_sparse_boxes(dense, tf.constant([1, 0, 2]), 3)
    equal(boxes, dense[:3])
    equal(classes, [0, 2, 2])


def test_objects_of_one_box_are_merged():
    boxes = tf.constant([[0.25, 0.25, 0.75, 0.75], [0.0, 0.0, 0.5, 0.75], [0.25, 0.25, 0.75, 0.75]])
    merge = in_graph(ops.merge_boxes_with_multiple_labels)
    merged = merge(boxes, tf.constant([0, 4, 2], tf.int64), tf.constant([0.8, 0.2, 0.1]), 5)
    equal(merged[0], boxes[:2])
    equal(merged[1], [[1, 0, 1, 0, 0], [0, 0, 0, 0, 1]])
    equal(merged[2], [[0.8, 0, 0.1, 0, 0], [0, 0, 0, 0, 0.2]])
    equal(merged[3], [0, 1])
    with pytest.raises(ValueError, match=r"\[n, 4\]"):
        ops.merge_boxes_with_multiple_labels(tf.zeros((2, 3)), tf.zeros(2, tf.int64), tf.zeros(2), 5)


def test_nothing_to_merge():
    nothing = ops.merge_boxes_with_multiple_labels(
        tf.zeros((0, 4)), tf.zeros((0,), tf.int64), tf.zeros((0,)), 5
    )
    assert [part.shape.as_list() for part in nothing] == [[0, 4], [0, 5], [0, 5], [0]]


def test_levels_of_a_pyramid():
    # side 1 of 4 levels at unit scale 2: level 2; half of it: 1; 1/16: -2, which is 0; twice: 3
    boxes = tf.constant([[[0, 0, 1, 1], [0, 0, 0.5, 0.5], [0, 0, 1 / 16, 1 / 16], [0, 0, 0, 1]]], tf.float32)
    equal(ops.fpn_feature_levels(4, 2, 1.0, boxes), [[2, 1, 0, 0]])
    equal(ops.fpn_feature_levels(4, 2, 8.0, boxes)[0, 0], 3)


def test_crops():
    image = tf.reshape(tf.range(9.0), (1, 3, 3, 1))
    crops = ops.native_crop_and_resize(image, tf.constant([[[0.0, 0, 1, 1], [0.5, 0.5, 1, 1]]]), [2, 2])
    equal(crops[0, ..., 0], [[[0, 2], [6, 8]], [[4, 5], [7, 8]]])
    outside = ops.matmul_crop_and_resize(
        image, tf.constant([[[2.0, 2, 3, 3]]]), [1, 1], extrapolation_value=7.0
    )
    equal(outside, [[[[[7]]]]])


# Ground truth


def groundtruth(**more):
    return {
        Fields.image: tf.zeros((4, 4, 3)),
        Fields.groundtruth_boxes: tf.constant(
            [[0, 0, 1, 1], [np.nan, 0, 1, 1], [0, 0, 0.5, 0.5]], tf.float32
        ),
        Fields.groundtruth_classes: tf.constant([1, -1, 3]),
        Fields.groundtruth_is_crowd: tf.constant([False, False, True]),
        Fields.groundtruth_area: tf.zeros((0,)),
        **more,
    }


@pytest.mark.parametrize(
    ("function", "kept"),
    [
        (ops.retain_groundtruth_with_positive_classes, [0, 2]),
        (ops.filter_unrecognized_classes, [0, 2]),
        (ops.filter_groundtruth_with_crowd_boxes, [0, 1]),
        (ops.filter_groundtruth_with_nan_box_coordinates, [0, 2]),
    ],
)
def test_objects_are_left_out(function, kept):
    masks = tf.reshape(tf.range(12.0), (3, 2, 2))
    before = groundtruth(groundtruth_instance_masks=masks)
    after = in_graph(function)(before)
    for name in (Fields.groundtruth_boxes, Fields.groundtruth_classes, Fields.groundtruth_instance_masks):
        equal(after[name], tf.gather(before[name], kept))
    assert after[Fields.groundtruth_area].shape == (0,)  # the record has no areas
    assert after[Fields.image].shape == (4, 4, 3)


def test_objects_are_kept_by_number():
    for numbers in ([2, 0], [[2], [0]]):
        equal(ops.retain_groundtruth(groundtruth(), numbers)[Fields.groundtruth_classes], [3, 1])
    without_crowds = {Fields.groundtruth_boxes: tf.zeros((1, 4))}
    assert ops.filter_groundtruth_with_crowd_boxes(without_crowds) is without_crowds


@pytest.mark.parametrize(
    "call",
    [
        lambda: ops.retain_groundtruth(groundtruth(), [[0, 1]]),
        lambda: ops.retain_groundtruth({Fields.image: tf.zeros(1)}, [0]),
        lambda: ops.filter_unrecognized_classes({Fields.groundtruth_boxes: tf.zeros((1, 4))}),
        lambda: ops.retain_groundtruth_with_positive_classes({Fields.groundtruth_boxes: tf.zeros((1, 4))}),
        lambda: ops.padded_one_hot_encoding([1], depth=-1, left_pad=0),
        lambda: ops.padded_one_hot_encoding([1], depth=1, left_pad=-1),
        lambda: ops.padded_one_hot_encoding([1], depth=0.1, left_pad=0),
        lambda: ops.matmul_crop_and_resize(tf.zeros((2, 2, 1)), tf.zeros((1, 1, 4)), [4, 4]),
        lambda: ops.native_crop_and_resize(tf.zeros((1, 2, 2, 1)), tf.zeros((1, 4)), [4, 4]),
        lambda: ops.matmul_crop_and_resize(tf.zeros((1, 2, 2, 1)), tf.zeros((1, 1, 4)), [4, 4, 4]),
        lambda: ops.padded_one_hot_encoding([[1]], depth=1, left_pad=1),
        lambda: ops.nearest_neighbor_upsampling(tf.zeros((1, 1, 1, 1))),
    ],
)
def test_what_does_not_fit_is_refused(call):
    with pytest.raises(ValueError) as error:
        call()
    assert isinstance(error.value, DataError)


def test_each_part_of_a_box_from_its_own_channel():
    image = tf.broadcast_to(tf.range(6.0), (4, 5, 6))
    box = tf.constant([[0.0, 0, 1, 1], [0.5, 0.5, 1, 1]])
    crops = ops.position_sensitive_crop_regions(image, box, [4, 6], [2, 3], global_pool=False)
    expected = np.kron([[0, 1, 2], [3, 4, 5]], np.ones((2, 2)))
    assert np.allclose(crops[..., 0], [expected, expected])
    columns = tf.broadcast_to(tf.range(4.0)[:, None], (3, 4, 1))
    pooled = ops.batch_position_sensitive_crop_regions(columns[None], box[None, :1], [1, 2], [1, 1], True)
    assert np.allclose(pooled, 1.5)
    assert pooled.shape == (1, 1, 1, 1, 1)


@pytest.mark.parametrize(
    ("crop_size", "bins", "message"),
    [([4, 4], [0, 2], ">= 1"), ([4, 4], [3, 2], "divisible"), ([4, 6], [2, 2], "square")],
)
def test_parts_that_do_not_fit(crop_size, bins, message):
    with pytest.raises(ValueError, match=message):
        ops.position_sensitive_crop_regions(tf.zeros((3, 3, 4)), tf.zeros((1, 4)), crop_size, bins, False)


def test_scores_without_a_number():
    equal(ops.replace_nan_groundtruth_label_scores_with_ones(tf.constant([0.5, np.nan])), [0.5, 1])


def test_what_a_sequence_has_once_is_repeated():
    tensors = {Fields.image: tf.zeros((3, 2, 2, 3)), Fields.filename: tf.constant("a")}
    tiled = ops.tile_context_tensors(tensors)
    assert tiled[Fields.filename].numpy().tolist() == [b"a"] * 3
    assert tiled[Fields.image] is tensors[Fields.image]


def test_images_are_decoded():
    output = io.BytesIO()
    Image.new("L", (3, 2), 9).save(output, "PNG")
    decoded = ops.decode_image({Fields.image: tf.constant(output.getvalue())})[Fields.image]
    assert decoded.dtype == tf.uint8
    equal(decoded, np.full((2, 3, 3), 9))


# Shapes and choosing


def test_shapes():
    equal(ops.expanded_shape(tf.constant([2, 3]), 1, 2), [2, 1, 1, 3])
    x, y = ops.meshgrid(tf.constant([1, 2, 3]), tf.constant([[4], [5]]))
    assert x.shape == y.shape == (2, 1, 3)
    equal(x[1, 0], [1, 2, 3])
    equal(y[1, 0], [5, 5, 5])
    assert ops.fixed_padding(tf.zeros((1, 4, 4, 1)), 3).shape == (1, 6, 6, 1)
    assert ops.fixed_padding(tf.zeros((1, 4, 4, 1)), 3, rate=2).shape == (1, 8, 8, 1)
    padded = ops.pad_to_multiple(tf.ones((1, 3, 4, 1)), 4)
    assert padded.shape == (1, 4, 4, 1)
    equal(padded[0, :, 0, 0], [1, 1, 1, 0])
    equal(ops.reduce_sum_trailing_dimensions(tf.ones((2, 3, 4)), 1), [12, 12])


def test_each_pixel_is_repeated():
    image = tf.reshape(tf.range(2.0), (1, 1, 2, 1))
    equal(ops.nearest_neighbor_upsampling(image, scale=2)[0, ..., 0], [[0, 0, 1, 1]] * 2)
    wide = ops.nearest_neighbor_upsampling(image, height_scale=1, width_scale=3)
    equal(wide[0, ..., 0], [[0, 0, 0, 1, 1, 1]])


def test_choices():
    equal(ops.padded_one_hot_encoding([1, 0], depth=2, left_pad=1), [[0, 0, 1], [0, 1, 0]])
    assert ops.padded_one_hot_encoding([1], depth=0, left_pad=2) is None
    equal(ops.indices_to_dense_vector([3, 1], 4, 7.0, default_value=2), [2, 7, 2, 7])
    equal(ops.indices_to_dense_vector(tf.zeros((0,), tf.int32), 2, dtype=tf.int32), [0, 0])
    rows = tf.constant([[1.0, 2], [3, 4]])
    equal(ops.matmul_gather_on_zeroth_axis(rows, [1]), [[3, 4]])
    equal(ops.gather_with_padding_values(rows, tf.constant([1, -1]), tf.constant([9.0, 9])), [[3, 4], [9, 9]])


def test_bfloat16_in_nested_lists():
    nested = {"a": (tf.ones(1, tf.bfloat16), tf.ones(1, tf.int32)), "b": "text"}
    converted = ops.bfloat16_to_float32_nested(nested)
    assert [tensor.dtype for tensor in converted["a"]] == [tf.float32, tf.int32]
    assert converted["b"] == "text"
