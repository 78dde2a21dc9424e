import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxtune.detection import kernels, nms
from boxtune.detection.nms import NonMaxSuppression

# B overlaps A by 1/2 (0.2 of 0.3 + 0.3 - 0.2), C overlaps neither.
A, B, C = [0, 0, 0.3, 1], [0.1, 0, 0.4, 1], [0.6, 0, 0.9, 1]
HALF = {"iou_threshold": 0.45}


def suppress(boxes, scores, window=None, **options):
    """Suppress in one image; scores [a, c]."""
    window = None if window is None else np.float32([window])
    found = NonMaxSuppression(**options)(np.float32([boxes]), np.float32([scores]), window)
    return {name: part[0] for name, part in parts(found).items()}


def parts(found):
    """Return what was found as arrays by name."""
    own = {name: getattr(found, name) for name in ("boxes", "scores", "classes", "count")}
    return {name: np.asarray(part) for name, part in (own | found.extras).items()}


def test_of_three_boxes_one_is_suppressed():
    found = suppress([A, B, C], [[0.9], [0.8], [0.7]], **HALF)
    assert found["count"] == 2
    np.testing.assert_array_equal(found["anchors"][:2], [0, 2])
    np.testing.assert_allclose(found["boxes"][:2], [A, C])
    np.testing.assert_allclose(found["scores"][:2], [0.9, 0.7])


def test_the_threshold_is_kept_to():
    # A and B overlap by exactly a half, which is not more than a half.
    half = [[0, 0, 0.75, 1], [0.25, 0, 1, 1]]
    assert suppress(half, [[0.9], [0.8]], iou_threshold=0.5)["count"] == 2
    assert suppress(half, [[0.9], [0.8]], iou_threshold=0.49)["count"] == 1


def test_a_suppressed_box_suppresses_nothing():
    # The third overlaps only the second, which the first has removed.
    third = [0.2, 0, 0.5, 1]
    found = suppress([A, B, third], [[0.9], [0.8], [0.7]], **HALF)
    np.testing.assert_array_equal(found["anchors"][: found["count"]], [0, 2])


def test_the_best_comes_first_at_any_index():
    found = suppress([C, B, A], [[0.1], [0.5], [0.9]], **HALF)
    np.testing.assert_array_equal(found["anchors"][: found["count"]], [2, 0])


def test_classes_do_not_suppress_each_other():
    # A is of class 0, B of class 1; both of class 2, where B is better.
    found = suppress([A, B], [[0.9, 0, 0.3], [0, 0.8, 0.4]], **HALF)
    assert found["count"] == 3
    np.testing.assert_array_equal(found["classes"][:3], [0, 1, 2])
    np.testing.assert_array_equal(found["anchors"][:3], [0, 1, 1])
    assert found["classes"].dtype == np.int32


def test_a_score_at_the_threshold_is_not_enough():
    scores = [[0.5], [0.4999], [0.5001]]
    found = suppress([A, [0.45, 0, 0.5, 1], C], scores, score_threshold=0.5)
    np.testing.assert_array_equal(found["anchors"][: found["count"]], [2])


def test_a_score_of_0_is_no_detection():
    assert suppress([A, C], [[0.0], [0.0]])["count"] == 0


def test_limits():
    apart = [[y / 10, 0, y / 10 + 0.05, 1] for y in range(10)]
    scores = np.linspace(0.9, 0.1, 20).reshape(10, 2)
    found = suppress(apart, scores, max_detections_per_class=3)
    assert found["count"] == 6
    found = suppress(apart, scores, max_total_detections=4)
    assert found["count"] == 4
    assert len(found["scores"]) == 4
    np.testing.assert_allclose(found["scores"], scores.reshape(-1)[:4], rtol=1e-6)


def test_past_the_last_everything_is_0():
    found = suppress([A, B, C], [[0.9], [0.8], [0.7]], **HALF)
    assert len(found["scores"]) == 3
    for name in ("boxes", "scores", "classes", "anchors"):
        assert not found[name][2:].any(), name


def test_of_equal_scores_the_lower_class_and_then_the_lower_anchor_is_first():
    found = suppress([A, C], [[0.5, 0.5], [0.5, 0.5]])
    np.testing.assert_array_equal(found["classes"][:4], [0, 0, 1, 1])
    np.testing.assert_array_equal(found["anchors"][:4], [0, 1, 0, 1])
    # Of two that overlap and score the same, the first is kept.
    np.testing.assert_array_equal(suppress([B, A], [[0.5], [0.5]], **HALF)["anchors"][0], 0)


class TestWindow:
    WINDOW = (0.0, 0.0, 0.5, 1.0)

    def test_boxes_are_clipped_and_expressed_in_its_frame(self):
        found = suppress([[0.25, 0.25, 0.75, 0.75]], [[0.9]], self.WINDOW)
        # Cut to half its height; then its rows count by the window's.
        np.testing.assert_allclose(found["boxes"], [[0.5, 0.25, 1, 0.75]])

    def test_the_frame_can_be_kept(self):
        found = suppress([[0.25, 0.25, 0.75, 0.75]], [[0.9]], self.WINDOW, change_coordinate_frame=False)
        np.testing.assert_allclose(found["boxes"], [[0.25, 0.25, 0.5, 0.75]])

    def test_boxes_outside_are_dropped(self):
        found = suppress([C, [0.1, 0.1, 0.3, 0.3], [0.5, 0, 1, 1]], [[0.9], [0.8], [0.7]], self.WINDOW)
        assert found["count"] == 1
        np.testing.assert_array_equal(found["anchors"], [1, 0, 0])

    def test_overlap_is_computed_before_clipping(self):
        # Cut to the window both are the same; whole they overlap by a third.
        tall, taller = [0.4, 0, 0.6, 1], [0.4, 0, 1.0, 1]
        assert suppress([tall, taller], [[0.9], [0.8]], self.WINDOW, **HALF)["count"] == 2

    def test_each_image_has_its_own(self):
        boxes = np.float32([[[0, 0, 0.5, 0.5]]] * 2)
        windows = np.float32([[0, 0, 1, 1], [0, 0, 0.5, 1]])
        found = NonMaxSuppression()(boxes, np.full([2, 1, 1], 0.9, np.float32), windows)
        np.testing.assert_allclose(found.boxes, [[[0, 0, 0.5, 0.5]], [[0, 0, 1, 0.5]]])


def test_soft_suppression_lowers_scores_by_overlap():
    found = suppress([A, B, C], [[0.9], [0.8], [0.7]], iou_threshold=1.0, soft_nms_sigma=0.5)
    # B overlaps A by 1/2: 0.8 * exp(-0.5 * 0.25 / 0.5) = 0.623, so C overtakes it.
    np.testing.assert_array_equal(found["anchors"], [0, 2, 1])
    np.testing.assert_allclose(found["scores"], [0.9, 0.7, 0.8 * np.exp(-0.25)], rtol=1e-6)


@pytest.mark.parametrize("num_classes", [1, 3])
def test_images_of_a_batch_do_not_mix(num_classes):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 0.7, [4, 20, 2])
    boxes = np.concatenate([corners, corners + rng.uniform(0.1, 0.3, [4, 20, 2])], -1).astype(np.float32)
    scores = rng.uniform(size=[4, 20, num_classes]).astype(np.float32)
    nms = NonMaxSuppression(iou_threshold=0.3)
    together = parts(nms(boxes, scores))
    for i in range(4):
        alone = parts(nms(boxes[i : i + 1], scores[i : i + 1]))
        for name, part in alone.items():
            np.testing.assert_array_equal(part[0], together[name][i], err_msg=name)


def test_of_each_box_its_best_class():
    # A is most of class 1, B of class 0; whatever their classes, B falls to A.
    found = suppress([A, B, C], [[0.1, 0.9], [0.8, 0.7], [0.2, 0.3]], class_agnostic=True, **HALF)
    assert found["count"] == 2
    np.testing.assert_array_equal(found["anchors"][:2], [0, 2])
    np.testing.assert_array_equal(found["classes"], [1, 1, 0])
    np.testing.assert_allclose(found["scores"][:2], [0.9, 0.3])


def test_of_each_box_its_best_class_counts_in_all():
    apart = [[y / 10, 0, y / 10 + 0.05, 1] for y in range(10)]
    scores = np.linspace(0.9, 0.1, 20).reshape(10, 2)
    limits = {"max_detections_per_class": 1, "max_total_detections": 7}
    found = suppress(apart, scores, class_agnostic=True, **limits)
    assert found["count"] == 7
    np.testing.assert_array_equal(found["anchors"], range(7))


class TestBoxesOfEachClass:
    # Two candidates, two classes: the boxes of class 0 overlap, those of class 1 do not.
    BOXES = ([A, A], [B, C])
    SCORES = ((0.9, 0.5), (0.8, 0.6))

    def test_each_class_has_its_own(self):
        found = suppress(self.BOXES, self.SCORES, **HALF)
        assert found["count"] == 3
        np.testing.assert_array_equal(found["classes"][:3], [0, 1, 1])
        np.testing.assert_array_equal(found["anchors"][:3], [0, 1, 0])
        np.testing.assert_allclose(found["boxes"][:3], [A, C, A])

    def test_of_the_best_class(self):
        found = suppress([[A, C], [C, B]], [[0.9, 0.5], [0.1, 0.6]], class_agnostic=True, **HALF)
        # The second candidate is best of class 1, whose box is B: A suppresses it.
        assert found["count"] == 1
        np.testing.assert_allclose(found["boxes"][0], A)


def test_boxes_past_the_count_are_padding():
    boxes, scores = np.float32([[A, C], [A, C]]), np.full([2, 2, 1], 0.5, np.float32)
    found = NonMaxSuppression()(boxes, scores, counts=np.int32([1, 2]))
    np.testing.assert_array_equal(found.count, [1, 2])


class TestOfManyOnlyTheBest:
    """What is left out beforehand would not have been among the best; so nothing tells that it was."""

    @settings(max_examples=30)
    @given(st.data())
    def test_the_detections_are_those_of_all(self, data):
        draw = data.draw
        images, anchors, classes = draw(st.integers(1, 2)), draw(st.integers(1, 60)), draw(st.integers(1, 4))
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        own_boxes = draw(st.booleans())
        shape = (images, anchors, classes, 2) if own_boxes else (images, anchors, 2)
        # Of a grid as coarse as this many are equal, empty or outside of the window.
        corners = rng.integers(-1, 8, shape) / 8
        boxes = np.concatenate([corners, corners + rng.integers(0, 5, shape) / 8], axis=-1)
        scores = rng.uniform(-0.1, 1, (images, anchors, classes))
        levels = draw(st.sampled_from([0, 1, 4, 32]))  # of scores, 0 for any
        scores = np.ceil(scores * levels) / levels if levels else scores
        scores = np.where(rng.uniform(size=scores.shape) < draw(st.sampled_from([0, 0.2, 0.9])), -1, scores)
        if not (class_agnostic := draw(st.booleans())):  # else the best class of NaN is another question
            scores = np.where(
                rng.uniform(size=scores.shape) < draw(st.sampled_from([0, 0.1])), np.nan, scores
            )
        suppress = NonMaxSuppression(
            score_threshold=draw(st.sampled_from([0.0, 1e-8, 0.25, 0.6])),
            iou_threshold=draw(st.sampled_from([0.0, 0.3, 0.5, 1.0])),
            max_detections_per_class=draw(st.sampled_from([1, 2, 5, 100])),
            max_total_detections=draw(st.sampled_from([1, 2, 7, 100])),
            soft_nms_sigma=draw(st.sampled_from([0.0, 0.3])),
            class_agnostic=class_agnostic,
        )
        window = draw(st.sampled_from([None, [0, 0, 1, 1], [0, 0, 0.5, 1]]))
        arguments = (
            boxes.astype(np.float32),
            scores.astype(np.float32),
            None if window is None else np.float32([window] * images),
            draw(st.sampled_from([None, np.int32([anchors // 2] * images)])),
        )
        found = parts(suppress(*arguments))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nms, "enough_of_greedy_suppression", suppress_all)
            expected = parts(suppress(*arguments))
        for name, part in expected.items():
            np.testing.assert_array_equal(found[name], part, err_msg=name)

    def test_a_score_that_is_no_number_is_none(self):
        apart = [[y / 10, 0, y / 10 + 0.05, 1] for y in range(10)]
        scores = np.linspace(0.9, 0.1, 20).reshape(10, 2)
        scores[[0, 3], [1, 0]] = np.nan
        found = suppress(apart, scores, max_total_detections=1)
        np.testing.assert_array_equal([found["anchors"], found["classes"]], [[0], [0]])

    def test_images_are_looked_at_as_deep_as_each_needs(self):
        # In the first image all boxes but the worst are one, in the second none overlap.
        apart = np.linspace(0, 0.9, 40)
        boxes = np.zeros([2, 40, 4], np.float32)
        boxes[..., 2:] = [0.02, 1]
        boxes[1, :, 0], boxes[1, :, 2] = apart, apart + 0.02
        boxes[0, -1] = [0.5, 0.5, 1, 1]
        scores = np.stack([np.linspace(0.9, 0.1, 40), np.full(40, 0.05)], axis=-1)
        found = parts(NonMaxSuppression(max_total_detections=2)(boxes, np.float32([scores, scores])))
        np.testing.assert_array_equal(found["anchors"], [[0, 39], [0, 1]])
        np.testing.assert_array_equal(found["count"], [2, 2])


def suppress_all(boxes, scores, *, enough, counts, **options):
    return kernels.greedy_suppression(boxes, np.swapaxes(scores, 1, 2), **options)
