import numpy as np
import pytest
from keras import ops

from boxtune.detection.matching import IGNORED, UNMATCHED
from boxtune.detection.mining import HardExampleMiner
from differentiation import gradients

# Five anchors of one image: the second overlaps the first by an IoU of 0.8, the others lie apart.
BOXES = np.float32(
    [[[0, 0, 0.1, 0.1], [0, 0, 0.1, 0.08], [0.2, 0, 0.3, 0.1], [0.4, 0, 0.5, 0.1], [0.6, 0, 0.7, 0.1]]]
)
HARDNESS = np.float32([[5, 4, 3, 2, 1]])
NOTHING = np.zeros([1, 5], np.float32)
NEGATIVES = np.full([1, 5], UNMATCHED, np.int32)


def mined(classification=HARDNESS, localization=NOTHING, matches=NEGATIVES, boxes=BOXES, **options):
    """Return the losses that are left, of boxes and of classes, hardest first."""
    given = map(ops.convert_to_tensor, (localization, classification, boxes, matches))
    parts = HardExampleMiner(**options)(*given)
    return [np.asarray(part).tolist() for part in parts]


def test_of_two_that_overlap_the_harder_one_counts():
    assert mined(iou_threshold=0.7)[1] == [[5, 3, 2, 1, 0]]
    assert mined(iou_threshold=0.9)[1] == [[5, 4, 3, 2, 1]]


def test_only_so_many():
    assert mined(num_hard_examples=2)[1] == [[5, 3]]
    assert mined(num_hard_examples=2, iou_threshold=1.0)[1] == [[5, 4]]


def test_without_limits_all_count():
    assert mined(num_hard_examples=None, iou_threshold=1.0)[1] == [[5, 4, 3, 2, 1]]


def test_hardness_is_the_weighted_sum_of_both_losses():
    # By boxes the last anchor is the hardest, by classes the first.
    localization = np.float32([[0, 0, 0, 0, 9]])
    for weights, first in [((1, 0), 1), ((0, 1), 5), ((1, 1), 1), ((0.1, 1), 5)]:
        options = {"localization_weight": weights[0], "classification_weight": weights[1]}
        assert mined(localization=localization, num_hard_examples=1, **options)[1] == [[first]], weights


def test_the_losses_themselves_are_not_weighted():
    localization = np.float32([[7, 0, 0, 0, 0]])
    assert mined(localization=localization, num_hard_examples=1, classification_weight=0.5) == [[[7]], [[5]]]


@pytest.mark.parametrize(
    ("matches", "most", "least", "left"),
    [
        # One positive (the third): it stays, and with it the two hardest negatives.
        ([-1, -1, 0, -1, -1], 2, 0, [5, 4, 3, 0, 0]),
        ([-1, -1, 0, -1, -1], 3, 0, [5, 4, 3, 2, 0]),
        ([0, -1, -1, -1, 0], 1, 0, [5, 4, 3, 0, 1]),
        # No positive: no negative, unless some are asked for.
        ([-1, -1, -1, -1, -1], 3, 0, [0, 0, 0, 0, 0]),
        ([-1, -1, -1, -1, -1], 3, 2, [5, 4, 0, 0, 0]),
        # Shares are rounded down: 1.5 negatives are one.
        ([-1, -1, 0, -1, -1], 1.5, 0, [5, 0, 3, 0, 0]),
    ],
)
def test_negatives_for_each_positive(matches, most, least, left):
    options = {"max_negatives_per_positive": most, "min_negatives_per_image": least}
    assert mined(matches=np.int32([matches]), iou_threshold=1.0, **options)[1] == [left]


def test_ignored_anchors_are_not_negatives():
    # With one negative allowed, the ignored one (of no loss in a detector) does not use it up.
    matches = np.int32([[0, IGNORED, UNMATCHED, UNMATCHED, UNMATCHED]])
    assert mined(matches=matches, iou_threshold=1.0, max_negatives_per_positive=1)[1] == [[5, 4, 3, 0, 0]]


def test_images_do_not_mix():
    two = mined(
        classification=np.concatenate([HARDNESS, HARDNESS[:, ::-1]]),
        localization=np.zeros([2, 5], np.float32),
        matches=np.concatenate([np.int32([[0, -1, -1, -1, -1]]), NEGATIVES]),
        boxes=np.concatenate([BOXES, BOXES]),
        iou_threshold=1.0,
        max_negatives_per_positive=1,
        min_negatives_per_image=1,
    )
    assert two[1] == [[5, 4, 0, 0, 0], [5, 0, 0, 0, 0]]


def test_a_loss_that_is_nan_is_not_ignored():
    losses = np.float32([[1, 2, np.nan, 3, 4]])
    for threshold in (0.7, 1.0):
        assert np.isnan(mined(classification=losses, iou_threshold=threshold, num_hard_examples=1)[1]).all()


def test_gradients_reach_the_losses_that_count_and_no_box():
    def total(losses, boxes):
        negatives = ops.convert_to_tensor(NEGATIVES)
        _, left = HardExampleMiner(num_hard_examples=2)(ops.zeros_like(losses), losses, boxes, negatives)
        return ops.sum(left)

    of_losses, of_boxes = gradients(total, HARDNESS, BOXES)
    np.testing.assert_array_equal(of_losses, [[1, 0, 1, 0, 0]])
    assert not of_boxes.any()
