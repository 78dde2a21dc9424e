import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxtune.metrics import tables
from boxtune.metrics.matching import IGNORED, RIGHT, WRONG, match, outcomes, pair
from boxtune.metrics.tables import box_ious, near_pairs, tabulate
from hand_drawn import FAR, A, B, image, random_images, rows


def matched(*images, thresholds=(0.5,), num_classes=3):
    everything = tabulate(images, num_classes)
    crowd = everything.groundtruth.crowd
    return match(everything, near_pairs(everything), np.array(thresholds), crowd, crowd).tolist()


def paired(*images, num_classes=3):
    everything = tabulate(images, num_classes)
    return pair(everything, near_pairs(everything), 0.5, everything.groundtruth.ignored).tolist()


def iou(box, other, crowd=False):
    return box_ious(np.array([box], float), np.array([other], float), np.array([crowd]))[0]


def test_iou():
    assert iou(A, A) == 1
    assert iou(A, B) == 0
    assert iou(A, [0, 100, 100, 200]) == 0  # they touch
    # Shared 50 x 50 of 10,000 + 10,000 - 2,500.
    assert iou(A, [50, 50, 150, 150]) == pytest.approx(2500 / 17500)


def test_overlap_with_a_crowd_is_over_the_detections_own_area():
    assert iou([0, 0, 50, 50], A, crowd=True) == 1
    assert iou([0, 50, 100, 150], A, crowd=True) == 0.5


def test_boxes_without_area_overlap_nothing():
    point = [10, 10, 10, 10]
    assert iou(point, point) == 0
    assert iou(point, A) == 0
    assert iou(point, A, crowd=True) == 0


def test_images_are_taken_by_name_and_detections_by_score():
    everything = tabulate(
        [image([(B, 1)], name="b"), image([(A, 0)], [(A, 0, 0.2), (B, 1, 0.9), (FAR, 2, 0.2)], name="a")],
        3,
    )
    assert [image.name for image in everything.images] == ["a", "b"]
    assert everything.groundtruth.cls.tolist() == [0, 1]
    assert everything.detections.cls.tolist() == [1, 0, 2]  # equal scores as they came
    assert everything.first_object.tolist() == [0, 1, 2]
    assert everything.detections.image.tolist() == [0, 0, 0]
    assert everything.detections.row.tolist() == [1, 0, 2]


def test_rank_counts_within_image_and_class():
    found = [(A, 0, 0.9), (A, 1, 0.8), (A, 0, 0.7)]
    everything = tabulate([image(found=found, name="a"), image(found=found, name="b")], 2)
    assert everything.rank.tolist() == [0, 0, 1, 0, 0, 1]


def test_annotated_areas_come_before_those_of_boxes():
    one = image([(A, 0), (A, 0)])
    one.groundtruth_areas[:] = [70, 0]
    assert tabulate([one], 1).groundtruth.area.tolist() == [70, 10_000]


def test_overlaps_by_detection_and_descending_overlap():
    found = near_pairs(tabulate([image([(rows(40), 0), (A, 1), (B, 0)], [(rows(60), 2, 0.9)])], 3))
    # IoU of 60 rows with 40 is 2/3, with 100 is 0.6, with B nothing.
    assert found.groundtruth.tolist() == [0, 1]
    assert found.iou.tolist() == pytest.approx([2 / 3, 0.6])
    assert found.best.tolist() == pytest.approx([2 / 3])


def test_the_best_overlap_is_of_any_class_below_any_floor_and_of_no_crowd():
    one = image([(A, 0), ([0, 0, 500, 500], 1)], [(rows(5), 2, 0.9)], crowd=[1])
    found = near_pairs(tabulate([one], 3))
    assert found.best.tolist() == pytest.approx([0.05])
    assert found.groundtruth.tolist() == [1]  # in the crowd as a whole


def test_an_object_is_found_from_the_threshold_on():
    one = image([(A, 0)], [(rows(50), 0, 0.9)])
    assert matched(one, thresholds=[0.5, 0.51]) == [[0], [-1]]


def test_of_another_class_nothing_is_found():
    assert matched(image([(A, 0)], [(A, 1, 0.9)])) == [[-1]]


def test_the_better_scored_detection_chooses_first():
    # The 0.9 overlaps by 0.6, the 0.8 by 1: the former has it all the same.
    assert matched(image([(A, 0)], [(A, 0, 0.8), (rows(60), 0, 0.9)])) == [[0, -1]]


def test_at_a_threshold_it_does_not_reach_it_takes_nothing_away():
    one = image([(A, 0)], [(rows(60), 0, 0.9), (A, 0, 0.8)])
    assert matched(one, thresholds=[0.5, 0.75]) == [[0, -1], [-1, 0]]


def test_the_highest_overlap_is_chosen_of_what_is_free():
    # 70 rows overlap with 60 by 6/7 and with 100 by 0.7: the first takes the former, the second the latter.
    one = image([(A, 0), (rows(60), 0)], [(rows(70), 0, 0.9), (rows(70), 0, 0.8), (rows(70), 0, 0.7)])
    assert matched(one) == [[1, 0, -1]]


def test_of_equal_overlaps_the_later_object_is_chosen():
    assert matched(image([(A, 0), (A, 0)], [(A, 0, 0.9)])) == [[1]]


def test_equal_scores_choose_as_they_came():
    assert matched(image([(A, 0)], [(rows(60), 0, 0.9), (A, 0, 0.9)])) == [[0, -1]]


def test_an_object_comes_before_a_crowd_and_a_crowd_is_never_full():
    inside = rows(60)  # wholly in the crowd, and 0.6 of the object
    one = image([(A, 0), (A, 0)], [(inside, 0, 0.9), (inside, 0, 0.8), (inside, 0, 0.7)], crowd=[0])
    assert matched(one) == [[1, 0, 0]]


def test_an_ignored_object_that_is_no_crowd_is_full_with_one():
    everything = tabulate([image([(A, 0)], [(A, 0, 0.9), (A, 0, 0.8)])], 1)
    ignored, reusable = np.array([True]), np.array([False])
    found = match(everything, near_pairs(everything), np.array([0.5]), ignored, reusable)
    assert found.tolist() == [[0, -1]]
    assert outcomes(found, ignored).tolist() == [[IGNORED, WRONG]]
    assert outcomes(found, ~ignored).tolist() == [[RIGHT, WRONG]]


def test_images_do_not_meet():
    one, other = image([(A, 0)], name="a"), image([(B, 0)], [(A, 0, 0.9), (B, 0, 0.8)], name="b")
    assert matched(one, other) == [[-1, 1]]


def test_pairing_prefers_the_own_class_to_the_higher_overlap():
    # 0.8 with the object of class 1, 0.6 (60 of 100 rows) with its own.
    one = image([(A, 0), ([0, 0, 75, 100], 1)], [(rows(60), 0, 0.9)])
    assert paired(one) == [0]


def test_pairing_takes_another_class_where_there_is_no_own():
    assert paired(image([(A, 0)], [(rows(60), 1, 0.9)])) == [0]
    assert paired(image([(A, 0)], [(rows(40), 1, 0.9)])) == [-1]


def test_pairing_is_greedy_by_score_across_classes():
    # The wrong class is scored better: the right one finds nothing left.
    assert paired(image([(A, 0)], [(A, 1, 0.9), (A, 0, 0.8)])) == [0, -1]


def test_pairing_with_a_difficult_object_is_for_its_own_class_alone_and_leaves_it_free():
    one = image([(A, 0)], [(A, 0, 0.9), (A, 0, 0.8), (A, 1, 0.7)], difficult=[0])
    assert paired(one) == [0, 0, -1]


def test_pairing_prefers_a_counted_object_of_another_class_to_an_ignored_one():
    one = image([(A, 0), (A, 1)], [(A, 0, 0.9)], difficult=[0])
    assert paired(one) == [1]


def test_many_pairs_are_looked_at_in_parts(monkeypatch):
    images = random_images(3)
    whole = near_pairs(tabulate(images, 4))
    monkeypatch.setattr(tables, "_PAIRS_AT_ONCE", 7)
    parts = near_pairs(tabulate(images, 4))
    for name in ("detection", "groundtruth", "iou", "best"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


@pytest.mark.parametrize("images", [[image()], [image([(A, 0)])], [image(found=[(A, 0, 0.5)])]])
def test_nothing_to_match(images):
    everything = tabulate(images, 1)
    assert matched(*images, num_classes=1) == [[-1] * len(everything.detections.cls)]
    assert paired(*images, num_classes=1) == [-1] * len(everything.detections.cls)


@given(st.integers(0, 1000), st.sampled_from([0.2, 0.5, 0.8]))
def test_what_a_threshold_of_scores_keeps_is_matched_as_without_it(seed, threshold):
    images = random_images(seed, number=3, difficult=0.2)
    everything = tabulate(images, 4)
    kept = everything.detections.score >= threshold
    fewer = tabulate([with_scores_from(one, threshold) for one in images], 4)
    ignored = everything.groundtruth.ignored
    for matching in (
        lambda one: match(one, near_pairs(one), np.array([0.5, 0.75]), ignored, ignored),
        lambda one: pair(one, near_pairs(one), 0.5, ignored)[None],
    ):
        np.testing.assert_array_equal(matching(everything)[:, kept], matching(fewer))


def with_scores_from(one, threshold):
    from boxtune.metrics.results import select_detections

    return select_detections(one, np.flatnonzero(one.scores >= threshold))
