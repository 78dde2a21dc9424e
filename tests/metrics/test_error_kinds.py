import numpy as np
import pytest

from boxtune.metrics.error_kinds import KINDS, error_kinds, mistakes
from boxtune.metrics.matching import match
from boxtune.metrics.tables import near_pairs, tabulate
from hand_drawn import FAR, A, B, image, random_images, rows

# Half as many columns, or as many rows, as A, shifted: IoU below.
BESIDE = [0, 50, 100, 150]  # shares 5,000 of 15,000 with A: IoU 1/3


def sorted_out(*images, num_classes=2):
    everything = tabulate(images, num_classes)
    ignored = everything.groundtruth.ignored
    pairs = near_pairs(everything)
    matched = match(everything, pairs, np.array([0.5]), ignored, ignored)[0]
    return everything, mistakes(everything, pairs, matched, ignored)


def kinds(*images, **kwargs):
    return [KINDS[kind] for kind in sorted_out(*images, **kwargs)[1].kind]


def missed(*images, **kwargs):
    return sorted_out(*images, **kwargs)[1].missed.tolist()


def gains(*images, **kwargs):
    everything, found = sorted_out(*images, **kwargs)
    table = error_kinds(everything, found, everything.groundtruth.ignored)
    return {row.kind: row.AP50_gain for row in table}


def counts(*images, **kwargs):
    everything, found = sorted_out(*images, **kwargs)
    table = error_kinds(everything, found, everything.groundtruth.ignored)
    return {row.kind: row.count for row in table if row.count}


@pytest.mark.parametrize(
    ("detection", "kind"),
    [
        ((A, 0), "correct"),
        ((rows(50), 0), "correct"),  # IoU 0.5
        ((rows(49), 0), "localization"),
        ((rows(10), 0), "localization"),  # IoU 0.1
        ((rows(9), 0), "background"),
        ((A, 1), "class"),
        ((rows(50), 1), "class"),
        ((rows(49), 1), "class and localization"),
        ((rows(10), 1), "class and localization"),
        ((rows(9), 1), "background"),
        ((FAR, 0), "background"),
    ],
)
def test_kind_by_class_and_overlap(detection, kind):
    assert kinds(image([(A, 0)], [(*detection, 0.9)])) == [kind]


def test_found_twice():
    assert kinds(image([(A, 0)], [(A, 0, 0.9), (rows(60), 0, 0.8)])) == ["correct", "duplicate"]


def test_a_poor_box_on_a_found_object_is_a_poor_box():
    assert kinds(image([(A, 0)], [(A, 0, 0.9), (rows(40), 0, 0.8)])) == ["correct", "localization"]


def test_localization_comes_before_class():
    # IoU 1/3 with its own, 1 with the other.
    assert kinds(image([(A, 0), (BESIDE, 1)], [(BESIDE, 0, 0.9)])) == ["localization"]


def test_class_comes_before_duplicate():
    assert kinds(image([(A, 0), (A, 1)], [(A, 0, 0.9), (A, 0, 0.8)])) == ["correct", "class"]


@pytest.mark.parametrize("flag", ["crowd", "difficult"])
def test_what_finds_an_ignored_object_is_ignored(flag):
    one = image([(A, 0)], [(A, 0, 0.9), (A, 0, 0.8)], **{flag: [0]})
    assert kinds(one) == ["ignored", "ignored"]
    assert missed(one) == [False]


def test_in_a_crowd_of_another_class_is_background():
    assert kinds(image([(A, 0)], [(rows(60), 1, 0.9)], crowd=[0])) == ["background"]


def test_another_class_on_a_difficult_object_is_of_the_wrong_class():
    assert kinds(image([(A, 0)], [(A, 1, 0.9)], difficult=[0])) == ["class"]


def test_missed_is_what_no_mistaken_class_or_box_was_meant_for():
    far = (FAR, 0)
    assert missed(image([(A, 0), far], [])) == [True, True]
    assert missed(image([(A, 0), far], [(A, 0, 0.9)])) == [False, True]
    assert missed(image([(A, 0), far], [(A, 1, 0.9)])) == [False, True]
    assert missed(image([(A, 0), far], [(rows(40), 0, 0.9)])) == [False, True]
    # Both at once cannot be set right.
    assert missed(image([(A, 0), far], [(rows(40), 1, 0.9)])) == [True, True]


def test_all_counts():
    one = image(
        groundtruth=[(A, 0), (B, 1), ([0, 300, 100, 400], 0)],
        found=[(A, 0, 0.9), (A, 0, 0.8), (B, 0, 0.7), (FAR, 1, 0.6), (FAR, 1, 0.5)],
    )
    assert counts(one) == {"class": 1, "duplicate": 1, "background": 2, "missed": 1}


def test_fixing_the_background():
    # Wrong, then right: AP50 1/2. Without the first: 1.
    assert gains(image([(A, 0)], [(FAR, 0, 0.9), (A, 0, 0.8)])) == pytest.approx(
        dict.fromkeys(KINDS[1:6], 0) | {"background": 0.5, "missed": 0}
    )


def test_fixing_a_class():
    # Class 0: found 0 of 1. Class 1: wrong, then right, 1/2. Mended both are 1: from (0 + 1/2) / 2 to 1.
    one = image([(A, 0), (B, 1)], [(A, 1, 0.9), (B, 1, 0.8)])
    assert gains(one)["class"] == pytest.approx(0.75)


def test_fixing_a_box():
    one = image([(A, 0), (B, 0)], [(rows(40), 0, 0.9), (B, 0, 0.8)])
    # Wrong, right: precision 1/2 up to recall 1/2, 51 of 101 points. Mended: 1.
    assert gains(one)["localization"] == pytest.approx(1 - 0.5 * 51 / 101)


def test_fixing_a_box_of_an_object_that_is_found_takes_the_box_away():
    # Right, wrong, right: 1 for 51 points, then 2/3 for 50. Mended: 1.
    one = image([(A, 0), (B, 0)], [(A, 0, 0.9), (rows(40), 0, 0.8), (B, 0, 0.7)])
    assert gains(one)["localization"] == pytest.approx(50 / 101 / 3)


def test_of_two_poor_boxes_the_better_scored_is_fixed_and_the_other_goes():
    # Mended: right at 0.9 and right at 0.5, of two objects.
    one = image([(A, 0), (B, 0)], [(rows(40), 0, 0.9), (rows(30), 0, 0.8), (B, 0, 0.5)])
    # Before: wrong, wrong, right: 1/3 for 51 points.
    assert gains(one)["localization"] == pytest.approx(1 - 51 / 101 / 3)


def test_fixing_duplicates():
    # Right, wrong, right: 1 for 51 points, then 2/3 for 50.
    one = image([(A, 0), (B, 0)], [(A, 0, 0.9), (A, 0, 0.8), (B, 0, 0.7)])
    assert gains(one)["duplicate"] == pytest.approx(50 / 101 / 3)


def test_fixing_both_at_once_takes_the_detection_away():
    # Class 1 has its object at 0.8 after a detection of A's edge at 0.9.
    one = image([(A, 0), (B, 1)], [(rows(40), 1, 0.9), (B, 1, 0.8)])
    # Class 1: from 1/2 to 1, of two classes.
    assert gains(one)["class and localization"] == pytest.approx(0.25)


def test_fixing_what_is_missed():
    # One of two found: 51 of 101 points. Without the other: 1.
    assert gains(image([(A, 0), (B, 0)], [(A, 0, 0.9)]))["missed"] == pytest.approx(50 / 101)


def test_a_class_all_of_whose_objects_were_missed_is_perfect_without_them_unless_something_is_found():
    # Class 0 is perfect, class 1 is 0 and becomes 1.
    assert gains(image([(A, 0), (B, 1)], [(A, 0, 0.9)]))["missed"] == pytest.approx(0.5)
    assert gains(image([(A, 0), (B, 1)], [(A, 0, 0.9), (FAR, 1, 0.2)]))["missed"] == pytest.approx(0)


def test_without_objects_there_is_nothing_to_gain():
    assert gains(image(found=[(A, 0, 0.9)])) == dict.fromkeys([*KINDS[1:6], "missed"])


@pytest.mark.parametrize("seed", range(5))
def test_every_error_has_one_kind_and_few_gains_are_losses(seed):
    images = random_images(seed, difficult=0.1)
    everything, found = sorted_out(*images, num_classes=4)
    table = error_kinds(everything, found, everything.groundtruth.ignored)
    errors = (found.kind > 0) & (found.kind < 6)
    assert sum(row.count for row in table[:-1]) == np.count_nonzero(errors)
    # To take away what is wrong never harms.
    assert all(row.AP50_gain >= 0 for row in table if row.kind != "class")
