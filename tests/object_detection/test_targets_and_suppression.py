"""Matches, targets, samples, losses and suppression; expected numbers are worked out by hand."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from object_detection.anchor_generators import grid_anchor_generator, multiple_grid_anchor_generator
from object_detection.anchor_generators import multiscale_grid_anchor_generator as multiscale
from object_detection.box_coders.keypoint_box_coder import KeypointBoxCoder
from object_detection.box_coders.mean_stddev_box_coder import MeanStddevBoxCoder
from object_detection.core import losses, post_processing, target_assigner
from object_detection.core.balanced_positive_negative_sampler import BalancedPositiveNegativeSampler
from object_detection.core.box_coder import batch_decode
from object_detection.core.box_list import BoxList
from object_detection.core.matcher import Match
from object_detection.core.minibatch_sampler import MinibatchSampler
from object_detection.core.region_similarity_calculator import IouSimilarity, ThresholdedIouSimilarity
from object_detection.matchers.argmax_matcher import ArgMaxMatcher


def equal(tensor, expected):
    np.testing.assert_allclose(tensor, expected, rtol=1e-5, atol=1e-6)


# Matches


def test_columns_by_their_rows():
    match = Match(tf.constant([3, 1, -1, 0, -1, 1, -2]))
    equal(match.matched_column_indices(), [0, 1, 3, 5])
    equal(match.unmatched_column_indices(), [2, 4])
    equal(match.ignored_column_indices(), [6])
    equal(match.unmatched_or_ignored_column_indices(), [2, 4, 6])
    equal(match.matched_row_indices(), [3, 1, 0, 1])
    numbers = match.num_matched_columns(), match.num_unmatched_columns(), match.num_ignored_columns()
    assert [*map(int, numbers), int(match.num_matched_rows())] == [4, 2, 1, 3]
    gathered = match.gather_based_on_match(tf.range(4.0), 100.0, 200.0)
    equal(gathered, [3, 1, 100, 0, 100, 1, 200])
    for wrong in ([[1, 2]], [1.0]):
        with pytest.raises(ValueError, match="match_results should"):
            Match(tf.constant(wrong))


def test_rows_are_matched_by_force():
    similarity = tf.constant([[1.0, 1, 1, 3, 1], [2, -1, 2, 0, 4], [3, 0, -1, 0, 0]])
    matcher = ArgMaxMatcher(3.0, 2.0, force_match_for_each_row=True)
    equal(matcher.match(similarity).match_results, [2, -1, -2, 0, 1])
    # the third row is padding, and the first column is its own all the same
    padded = matcher.match(similarity, valid_rows=tf.constant([True, True, False]))
    equal(padded.match_results, [2, -1, -2, 0, 1])
    equal(
        ArgMaxMatcher(9.0, force_match_for_each_row=True).match(similarity).match_results, [2, -1, -1, 0, 1]
    )
    equal(matcher.match(tf.zeros((0, 3))).match_results, [-1, -1, -1])


@pytest.mark.parametrize("thresholds", [(None, 4), (3, 4), (3, 3, False)])
def test_thresholds_that_do_not_go_together(thresholds):
    with pytest.raises(ValueError, match="threshold"):
        ArgMaxMatcher(*thresholds)


# Targets


ANCHORS = np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 0.8], [0, 0.5, 0.5, 1]], np.float32)
OBJECTS = np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 0.9, 0.9]], np.float32)


def assigner(coder=None, similarity=None, **more):
    return target_assigner.TargetAssigner(
        similarity or IouSimilarity(),
        ArgMaxMatcher(0.5, 0.5),
        coder or MeanStddevBoxCoder(stddev=0.1),
        **more,
    )


def test_targets():
    labels = tf.constant([[0.0, 1, 0], [0, 0, 1]])
    unmatched = tf.constant([1.0, 0, 0])
    targets = assigner(negative_class_weight=0.5).assign(
        BoxList(ANCHORS), BoxList(OBJECTS), labels, unmatched, groundtruth_weights=tf.constant([1.0, 0.25])
    )
    equal(targets[0], [[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    equal(targets[1], [[1] * 3, [0.25] * 3, [0.5] * 3])
    equal(targets[2], [[0] * 4, [0, 0, -1, 1], [0] * 4])  # 0.9 - 1 and 0.9 - 0.8, in tenths
    equal(targets[3], [1, 0.25, 0])
    equal(targets[4], [0, 1, -1])


def test_as_many_labels_as_objects():
    boxes = BoxList(tf.constant([[0.0, 0, 1, 1]] * 2))
    with pytest.raises(ValueError, match="Unequal first dimension"):
        assigner().assign(boxes, boxes, tf.zeros([1, 3]), tf.zeros([3]))


def test_labels_of_any_shape_and_none():
    labels = tf.constant([[[0.0, 1], [1, 0]], [[1, 0], [0, 1]]])
    targets = assigner().assign(BoxList(ANCHORS), BoxList(OBJECTS), labels, tf.zeros((2, 2)))
    equal(targets[0][2], [[0, 0], [0, 0]])
    assert targets[1].shape == (3, 2, 2)
    default = assigner().assign(BoxList(ANCHORS), BoxList(OBJECTS))
    equal(default[0], [[1], [1], [0]])
    nothing = assigner().assign(BoxList(ANCHORS), BoxList(tf.zeros((0, 4))), tf.zeros((0, 3)), tf.zeros(3))
    equal(nothing[0], np.zeros((3, 3)))
    equal(nothing[3], [0, 0, 0])


def test_keypoints_are_encoded():
    objects = BoxList(OBJECTS)
    objects.add_field("keypoints", tf.constant([[[0.25, 0.5]], [[0.7, 0.7]]]))
    targets = assigner(KeypointBoxCoder(1)).assign(BoxList(ANCHORS), objects)
    # the centre is 0.25, 0.25 and the side 0.5: one half to the right
    equal(targets[2][0, 4:], [0, 0.5])


def test_objects_are_compared_by_what_is_no_background():
    labels = tf.constant([[0.0, 1], [1, 0]])  # the second is background
    compared = assigner(similarity=ThresholdedIouSimilarity(0.5)).assign(
        BoxList(ANCHORS), BoxList(OBJECTS), labels, tf.constant([1.0, 0])
    )
    equal(compared[4], [0, -1, -1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: target_assigner.TargetAssigner(1, ArgMaxMatcher(0.5), MeanStddevBoxCoder()), "similarity"),
        (lambda: target_assigner.TargetAssigner(IouSimilarity(), 1, MeanStddevBoxCoder()), "matcher"),
        (lambda: target_assigner.TargetAssigner(IouSimilarity(), ArgMaxMatcher(0.5), 1), "box_coder"),
        (lambda: assigner().assign(ANCHORS, BoxList(OBJECTS)), "anchors must be a BoxList"),
        (lambda: target_assigner.create_target_assigner("Multibox", "proposal"), "No valid combination"),
        (
            lambda: assigner().assign(BoxList(ANCHORS), BoxList(OBJECTS), tf.zeros((2, 3)), tf.zeros(7)),
            "Unequal shapes",
        ),
        (
            lambda: target_assigner.batch_assign(assigner(), BoxList(ANCHORS), [BoxList(OBJECTS)], []),
            "batch size",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_assigners_of_known_detectors():
    proposals = target_assigner.create_target_assigner("FasterRCNN", "proposal")
    assert (proposals._matcher._matched_threshold, proposals._matcher._unmatched_threshold) == (0.7, 0.3)
    assert proposals.get_box_coder()._scale_factors == [10.0, 10.0, 5.0, 5.0]
    fast = target_assigner.create_target_assigner("FastRCNN", negative_class_weight=0.5)
    # an overlap of 0.2 is between the thresholds: a negative; one of 0 is ignored
    objects = BoxList(tf.constant([[0.0, 0, 0.2, 0.5]]))
    equal(fast.assign(BoxList(ANCHORS), objects)[1][:, 0], [0.5, 0, 0])


def test_confidences_of_classes():
    confidences = [tf.constant([[0.0, 1, 0], [0, 0, -1]])]
    targets = target_assigner.batch_assign_confidences(
        assigner(), BoxList(ANCHORS), [BoxList(OBJECTS)], confidences,
        unmatched_class_label=tf.constant([1.0, 0, 0]), implicit_class_weight=0.5,
    )  # fmt: skip
    equal(targets[0], [[[0, 1, 0], [1, 0, 0], [1, 0, 0]]])
    equal(targets[1], [[[1, 1, 0.5], [0.5, 0.5, 1], [0.5, 0.5, 0.5]]])
    equal(targets[3], [[1, 0, 0]])


def test_values_of_matched_objects():
    values, weights = target_assigner.batch_get_targets(
        tf.constant([[0, -1, -2]]),
        [tf.constant([5.0])],
        [tf.constant([0.25])],
        tf.constant(9.0),
        tf.constant(0.5),
    )
    equal(values, [[5, 9, 9]])
    equal(weights, [[0.25, 0.5, 0]])


def test_codes_of_a_batch():
    decoded = batch_decode(tf.ones((2, 3, 4)), MeanStddevBoxCoder(0.1), BoxList(ANCHORS))
    equal(decoded, np.tile(ANCHORS + 0.1, (2, 1, 1)))
    with pytest.raises(ValueError, match="inconsistent"):
        batch_decode(tf.ones((2, 2, 4)), MeanStddevBoxCoder(0.1), BoxList(ANCHORS))


# Samples


def test_samples():
    indicator = tf.constant([True, False, True, True])
    assert MinibatchSampler.subsample_indicator(indicator, 9).numpy().tolist() == [True, False, True, True]
    assert not np.any(MinibatchSampler.subsample_indicator(indicator, 0))
    few = MinibatchSampler.subsample_indicator(indicator, 2).numpy()
    assert few.sum() == 2
    assert not few[1]


@pytest.mark.parametrize("is_static", [False, True])
def test_positives_and_negatives_are_balanced(is_static):
    positive = np.arange(300) >= 200
    sampler = BalancedPositiveNegativeSampler(is_static=is_static)
    sampled = sampler.subsample(tf.ones(300, tf.bool), 64, tf.constant(positive)).numpy()
    assert (sampled.sum(), (sampled & positive).sum()) == (64, 32)
    # 10 positives only: 54 negatives
    sampled = sampler.subsample(tf.ones(300, tf.bool), 64, tf.range(300) < 10).numpy()
    assert (sampled.sum(), sampled[:10].sum()) == (64, 10)
    # no size: all of the 4 positives, and 3 negatives for each
    quarter = BalancedPositiveNegativeSampler(0.25)
    sampled = quarter.subsample(tf.ones(300, tf.bool), None, tf.range(300) < 4).numpy()
    assert (sampled.sum(), sampled[:4].sum()) == (16, 4)


def test_samplers_refuse():
    with pytest.raises(ValueError, match="range"):
        BalancedPositiveNegativeSampler(2)
    with pytest.raises(ValueError, match="1 dimensional"):
        BalancedPositiveNegativeSampler().subsample(tf.ones((1, 1), tf.bool), 2, tf.ones((1, 1), tf.bool))
    with pytest.raises(ValueError, match="type bool"):
        BalancedPositiveNegativeSampler().subsample(tf.ones(1), 2, tf.ones(1))


# Losses


def test_images_that_do_not_count():
    loss = losses.WeightedL2LocalizationLoss()
    measured = loss(
        tf.ones((2, 1, 4)), tf.zeros((2, 1, 4)), losses_mask=[True, False], weights=tf.ones((2, 1))
    )
    equal(measured, [[2], [0]])


def test_hard_examples_of_one_loss():
    # all boxes are equal: the greatest loss of the one kind counts, and the other loss of that anchor
    location = tf.constant([[100.0, 90, 80, 0], [0, 1, 2, 3]])
    classes = tf.constant([[0.0, 10, 50, 110], [9, 6, 3, 0]])
    boxes = [BoxList(tf.constant([[0.1, 0.1, 0.9, 0.9]] * 4))] * 2
    for loss_type, expected in (("loc", (103, 0)), ("cls", (0, 119))):
        equal(losses.HardExampleMiner(1, 0.0, loss_type)(location, classes, boxes), expected)
    with pytest.raises(ValueError, match="for 1 lists of boxes"):
        losses.HardExampleMiner()(location, classes, boxes[:1])


# Suppression


@pytest.mark.parametrize(("ratio", "expected"), [(0.0, 3), (1.0, 3 + 5), (None, 3 + 4 + 5)])
def test_negatives_for_each_positive(ratio, expected):
    boxes = [BoxList(tf.constant([[0.0, 0, 1, 1], [2, 0, 3, 1], [4, 0, 5, 1]]))]
    miner = losses.HardExampleMiner(None, loss_type="cls", max_negatives_per_positive=ratio)
    values = tf.constant([[3.0, 4, 5]])
    matches = [Match(tf.constant([0, -1, -1]))]
    equal(miner(values, values, boxes, matches), [expected, expected])


def test_detections_of_one_image():
    boxes = tf.constant([[[0.0, 0, 1, 1]], [[0, 0.1, 1, 1.1]], [[0, 5, 1, 6]], [[0, 50, 1, 51]]])
    scores = tf.constant([[0.9, 0.05], [0.8, 0.3], [0.2, 0.7], [0.1, 0.6]])
    suppress = post_processing.multiclass_non_max_suppression
    found, count = suppress(boxes, scores, 0.15, 0.5, 3, additional_fields={"number": tf.range(4)})
    # the second box overlaps the first by 0.9 / 1.1; of the second class it is the best there
    equal(found.get_field("scores"), [0.9, 0.7, 0.6, 0.3, 0.2])
    equal(found.get_field("classes"), [0, 1, 1, 1, 0])
    equal(found.get_field("number"), [0, 2, 3, 1, 2])
    assert count == 5
    window = tf.constant([0.0, 0, 1, 10])
    masks = tf.reshape(tf.range(4.0), (4, 1, 1, 1))
    found, count = suppress(boxes, scores, 0.15, 0.5, 3, 2, window, True, masks, pad_to_max_output_size=True)
    equal(found.get(), [[0, 0, 1, 0.1], [0, 0.5, 1, 0.6]])
    equal(found.get_field("masks")[:, 0, 0], [0, 2])
    agnostic, count = post_processing.class_agnostic_non_max_suppression(boxes, scores, 0.15, 0.5)
    equal(agnostic.get_field("classes"), [0, 1, 1])
    assert count == 3


def test_detections_of_a_batch_are_padded():
    boxes = tf.constant([[[[0.0, 0, 1, 1]]], [[[0, 0, 1, 1]]]])
    scores = tf.constant([[[0.9]], [[0.05]]])
    found = post_processing.batch_multiclass_non_max_suppression(
        boxes, scores, 0.1, 0.5, 2, 3, additional_fields={"more": tf.ones((2, 1, 5))}
    )
    assert [part.shape.as_list() for part in found[:3]] == [[2, 3, 4], [2, 3], [2, 3]]
    assert found[3] is None
    equal(found[4]["more"][:, :, 0], [[1, 0, 0], [0, 0, 0]])
    equal(found[5], [1, 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iou_thresh": 1.5}, "between 0 and 1"),
        ({"scores": tf.zeros(2)}, "rank 2"),
        ({"boxes": tf.zeros((2, 4))}, "rank 3"),
        ({"boxes": tf.zeros((2, 3, 4))}, "third dimension"),
        ({"boxes": tf.zeros((2, 1, 5))}, "size 4"),
        ({"change_coordinate_frame": True}, "clip_window"),
    ],
)
def test_suppression_refuses(changes, message):
    given = {
        "boxes": tf.zeros((2, 1, 4)), "scores": tf.zeros((2, 2)), "score_thresh": 0.1, "iou_thresh": 0.5,
        "max_size_per_class": 1,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        post_processing.multiclass_non_max_suppression(**(given | changes))


def test_suppression_of_one_class():
    boxes = tf.constant([[0.0, 0, 1, 1], [0, 0.1, 1, 1.1], [5, 5, 6, 6]])
    kept, count = post_processing.partitioned_non_max_suppression_padded(
        boxes, tf.constant([0.5, 0.9, 0.7]), 4
    )
    equal(kept, [1, 2, 0, 0])
    assert count == 2
    equal(post_processing.batch_iou(boxes[None], boxes[None, :1]), [[[1], [0.9 / 1.1], [0]]])


# Anchors


def test_anchors_of_maps_known_later():
    @partial(tf.function, autograph=False)
    def generate(rows):
        generator = grid_anchor_generator.GridAnchorGenerator([1.0], [1.0], [10.0, 10], [19.0, 19])
        return generator.generate([(rows, rows)])[0].get()

    equal(generate(2), [[-5, -5, 5, 5], [-5, 14, 5, 24], [14, -5, 24, 5], [14, 14, 24, 24]])
    equal(generate(tf.constant(1)), [[-5, -5, 5, 5]])


def test_sizes_of_anchors_as_tensors_of_a_graph():
    @tf.function
    def anchors(size, stride):
        generator = grid_anchor_generator.GridAnchorGenerator([1.0], [1.0], size, stride)
        return generator.generate([(1, 2)])[0].get()

    equal(anchors(tf.constant([4.0, 2]), tf.constant([8.0, 8])), [[-2, -1, 2, 1], [-2, 7, 2, 9]])


def test_anchors_are_clipped():
    generator = multiple_grid_anchor_generator.MultipleGridAnchorGenerator(
        [[(1.0, 1.0)], [(2.0, 4.0)]], clip_window=tf.constant([0.0, 0, 1, 1])
    )
    first, second = generator.generate([(1, 1), (1, 2)])
    equal(first.get(), [[0, 0, 1, 1]])
    equal(second.get(), [[0, 0, 1, 1], [0, 0, 1, 1]])
    equal(generator.anchor_index_to_feature_map_index([first, second]), [0, 1, 1])


@pytest.mark.parametrize(
    "call",
    [
        lambda: multiple_grid_anchor_generator.MultipleGridAnchorGenerator([(1, 1)]),
        lambda: multiple_grid_anchor_generator.MultipleGridAnchorGenerator([[(1, 1)]], anchor_strides=[]),
        lambda: multiple_grid_anchor_generator.MultipleGridAnchorGenerator([[(1, 1)]], anchor_strides=[(1,)]),
        lambda: grid_anchor_generator.GridAnchorGenerator().generate([(1, 1), (2, 2)]),
        lambda: grid_anchor_generator.GridAnchorGenerator().generate([(1, 1, 1)]),
        lambda: multiscale.MultiscaleGridAnchorGenerator(5, 5, 4, [1.0], 1).generate([(2, 2)]),
    ],
)
def test_anchors_refuse(call):
    with pytest.raises(ValueError):
        call()
