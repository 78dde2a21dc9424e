import numpy as np
import pytest
from keras import ops

from boxtune.detection.box_coders import FasterRcnnBoxCoder, KeypointBoxCoder
from boxtune.detection.boxes import negative_squared_distance_pairwise
from boxtune.detection.matching import IGNORED, UNMATCHED, ArgMaxMatcher, assign_targets
from boxtune.errors import DataError


def match(matcher, similarity, valid=None):
    similarity = np.float32(similarity)
    valid = np.ones(len(similarity), bool) if valid is None else np.array(valid)
    matches = matcher.match(ops.convert_to_tensor(similarity[None]), ops.convert_to_tensor(valid[None]))
    return np.asarray(matches)[0].tolist()


@pytest.mark.parametrize(
    ("similarity", "matches"),
    [
        # Anchors from left to right, boxes from top to bottom.
        pytest.param([[0.5, 0.49, 0]], [0, UNMATCHED, UNMATCHED], id="from the threshold on"),
        pytest.param([[0.6, 0.5], [0.7, 0.4]], [1, 0], id="the better of two boxes"),
        pytest.param([[0.6], [0.6]], [0], id="the first of two as good"),
        pytest.param([[0.9, 0.8, 0.7]], [0, 0, 0], id="one box may have many anchors"),
    ],
)
def test_one_threshold(similarity, matches):
    assert match(ArgMaxMatcher(), similarity) == matches


def test_between_the_thresholds_anchors_are_ignored():
    matcher = ArgMaxMatcher(matched_threshold=0.6, unmatched_threshold=0.4)
    # 0.4 and 0.59 are neither, 0.39 is background.
    assert match(matcher, [[0.6, 0.59, 0.4, 0.39]]) == [0, IGNORED, IGNORED, UNMATCHED]


def test_negatives_may_be_those_between():
    matcher = ArgMaxMatcher(
        matched_threshold=0.6, unmatched_threshold=0.4, negatives_lower_than_unmatched=False
    )
    assert match(matcher, [[0.6, 0.5, 0.3]]) == [0, UNMATCHED, IGNORED]


def test_without_thresholds_every_anchor_is_matched():
    matcher = ArgMaxMatcher(matched_threshold=None, unmatched_threshold=None)
    assert match(matcher, [[0.1, 0.0], [0.2, 0.0]]) == [1, 0]


class TestForcedMatch:
    MATCHER = ArgMaxMatcher(force_match=True)

    def test_each_box_gets_its_best_anchor(self):
        # The second box overlaps nothing by half, yet has the anchor that overlaps it most.
        assert match(self.MATCHER, [[0.9, 0.1, 0], [0, 0.2, 0.1]]) == [0, 1, UNMATCHED]

    def test_it_goes_before_a_better_match_by_threshold(self):
        # Anchor 0 overlaps box 0 more, but is the best that box 1 has; box 0 is best served by anchor 1.
        assert match(self.MATCHER, [[0.8, 0.9], [0.6, 0.1]]) == [1, 0]

    def test_of_two_boxes_that_claim_one_anchor_the_first_gets_it(self):
        # Box 1 overlaps it more, and still goes without: it has no other anchor over the threshold.
        assert match(self.MATCHER, [[0.6, 0.1], [0.9, 0.2]]) == [0, UNMATCHED]

    def test_of_two_anchors_as_good_the_first_is_taken(self):
        assert match(self.MATCHER, [[0.3, 0.3]]) == [0, UNMATCHED]

    def test_padding_forces_nothing(self):
        assert match(self.MATCHER, [[0.0, 0.3], [0.9, 0.9]], valid=[True, False]) == [UNMATCHED, 0]


@pytest.mark.parametrize("force_match", [False, True])
@pytest.mark.parametrize("threshold", [0.5, 0.0, None])
@pytest.mark.parametrize("negatives_lower", [False, True])
def test_padding_is_never_matched(force_match, threshold, negatives_lower):
    matcher = ArgMaxMatcher(
        matched_threshold=threshold,
        unmatched_threshold=threshold,
        force_match=force_match,
        negatives_lower_than_unmatched=negatives_lower,
    )
    similarity = [[0.9, 0.8], [0.9, 0.8]]
    assert match(matcher, similarity, valid=[False, False]) == [UNMATCHED, UNMATCHED]
    assert 1 not in match(matcher, similarity, valid=[True, False])


def test_images_of_a_batch_do_not_mix():
    similarity = np.float32([[[0.9, 0.1], [0.1, 0.1]], [[0.1, 0.1], [0.1, 0.9]]])
    valid = np.ones([2, 2], bool)
    matches = ArgMaxMatcher().match(similarity, valid)
    np.testing.assert_array_equal(matches, [[0, UNMATCHED], [UNMATCHED, 1]])


class TestNegativeSimilarity:
    """As of distances: the greater the nearer, and never above 0."""

    @pytest.mark.parametrize("force_match", [False, True])
    def test_the_nearest(self, force_match):
        matcher = ArgMaxMatcher(matched_threshold=-2, unmatched_threshold=-4, force_match=force_match)
        # From -2 on matched, down to -4 ignored; the third box is far from all anchors, unless it is forced on one.
        similarity = [[-1, -3, -9], [-5, -2, -8], [-9, -9, -7]]
        assert match(matcher, similarity) == [0, 1, 2 if force_match else UNMATCHED]

    def test_without_thresholds(self):
        matcher = ArgMaxMatcher(matched_threshold=None, unmatched_threshold=None)
        assert match(matcher, [[-1, -3], [-5, -2]]) == [0, 1]

    def test_padding_is_never_nearest(self):
        matcher = ArgMaxMatcher(matched_threshold=None, unmatched_threshold=None)
        # A row of padding is a box of nothing, not far from a small anchor.
        assert match(matcher, [[-0.1, -0.1], [-5, -9]], valid=[False, True]) == [1, 1]
        assert match(matcher, [[-1, -3]], valid=[False]) == [UNMATCHED, UNMATCHED]


class TestTargets:
    ANCHORS = np.float32([[0, 0, 0.5, 0.5], [0, 0.5, 0.5, 1], [0.5, 0.5, 1, 1], [0, 0, 0.5, 0.3]])

    def assign(
        self, *, valid=(True, True), matcher=None, box_coder=None, keypoints=None, anchors=None, **options
    ):
        groundtruth = {
            "boxes": np.float32([[[0, 0, 0.5, 0.5], [0, 0.5, 0.5, 1]]]),
            "classes": np.int32([[2, 0]]),
            "weights": np.float32([[0.5, 1]]),
            "valid": np.array([valid]),
        }
        if keypoints is not None:
            groundtruth["keypoints"] = keypoints
        matcher = matcher or ArgMaxMatcher(matched_threshold=0.7, unmatched_threshold=0.5)
        anchors = self.ANCHORS if anchors is None else anchors
        return assign_targets(groundtruth, anchors, matcher, box_coder or FasterRcnnBoxCoder(), 3, **options)

    def test_of_each_anchor(self):
        targets = self.assign()
        # Anchors 0 and 1 are the boxes themselves, 2 lies elsewhere, 3 overlaps box 0 by 0.6: between.
        np.testing.assert_array_equal(targets.matches, [[0, 1, UNMATCHED, IGNORED]])
        np.testing.assert_array_equal(targets.classes, [[[0, 0, 1], [1, 0, 0], [0, 0, 0], [0, 0, 0]]])
        np.testing.assert_array_equal(targets.class_weights, [[0.5, 1, 1, 0]])
        np.testing.assert_array_equal(targets.box_weights, [[0.5, 1, 0, 0]])
        np.testing.assert_allclose(targets.encodings, np.zeros([1, 4, 4]), atol=1e-6)

    def test_encodings_are_those_of_the_matched_box(self):
        targets = self.assign(matcher=ArgMaxMatcher(matched_threshold=0.55, unmatched_threshold=0.5))
        # Anchor 3 is 0.3 wide, its box 0.5: log(0.5 / 0.3) times 5; its centre 0.1 of 0.3 further, times 10.
        np.testing.assert_allclose(targets.encodings[0, 3], [0, 10 / 3, 0, 5 * np.log(5 / 3)], atol=1e-5)

    def test_weight_of_background(self):
        np.testing.assert_array_equal(self.assign(negative_weight=0.25).class_weights, [[0.5, 1, 0.25, 0]])

    def test_an_image_without_objects_is_all_background(self):
        targets = self.assign(valid=(False, False))
        np.testing.assert_array_equal(targets.matches, [[UNMATCHED] * 4])
        np.testing.assert_array_equal(targets.classes, np.zeros([1, 4, 3]))
        np.testing.assert_array_equal(targets.class_weights, [[1, 1, 1, 1]])
        np.testing.assert_array_equal(targets.box_weights, [[0, 0, 0, 0]])

    def test_another_similarity(self):
        # By distance the third anchor is nearest to box 0 and the others to the boxes that they are.
        matcher = ArgMaxMatcher(matched_threshold=None, unmatched_threshold=None)
        targets = self.assign(matcher=matcher, similarity=negative_squared_distance_pairwise)
        np.testing.assert_array_equal(targets.matches, [[0, 1, 1, 0]])

    def test_keypoints_of_the_matched_box(self):
        points = np.float32([[[[0.25, 0.25], [np.nan, np.nan]], [[0.25, 0.75], [0.5, 1.0]]]])
        coder = KeypointBoxCoder(num_keypoints=2)
        encodings = self.assign(box_coder=coder, keypoints=points).encodings
        assert encodings.shape == (1, 4, 8)
        # The centres of both boxes, and the corner of the second: half a side below and to the right, times 10.
        np.testing.assert_allclose(encodings[0, 0], [0] * 6 + [np.nan] * 2, atol=1e-5)
        np.testing.assert_allclose(encodings[0, 1], [0] * 6 + [5, 5], atol=1e-5)
        np.testing.assert_array_equal(encodings[0, 2:], np.zeros([2, 8]))

    def test_missing_keypoints(self):
        with pytest.raises(DataError, match="keypoint_box_coder encodes 2 keypoints of each object"):
            self.assign(box_coder=KeypointBoxCoder(num_keypoints=2))
