from dataclasses import replace

import numpy as np
import pytest

from boxtune.errors import DataError
from boxtune.metrics import comparison
from boxtune.metrics.comparison import FoundObject, compare
from hand_drawn import FAR, A, B, image, random_images

CLASSES = ["cat", "dog"]
TRUTH = [(A, 0), (B, 1)]


def names(found):
    return [(one.image, one.index, one.class_name) for one in found]


def many(number, found):
    """Images with one object each, of which the first `found` are found."""
    return [image([(A, 0)], [(A, 0, 0.9)] if i < found else [], name=f"{i:03}") for i in range(number)]


def test_fixed_and_broken():
    before = [image(TRUTH, [(A, 0, 0.9)], name="x"), image([(B, 1)], [(B, 1, 0.8)], name="y")]
    after = [image(TRUTH, [(A, 0, 0.7), (B, 1, 0.6)], name="x"), image([(B, 1)], name="y")]
    found = compare(before, after, CLASSES)
    assert found.fixed == [FoundObject("x", 1, "dog", 200, 200, 300, 300, pytest.approx(0.6))]
    assert found.broken == [FoundObject("y", 0, "dog", 200, 200, 300, 300, pytest.approx(0.8))]
    assert found.threshold == 0.5


def test_found_is_from_the_threshold_on():
    before, after = [image([(A, 0)], [(A, 0, 0.5)])], [image([(A, 0)], [(A, 0, 0.4)])]
    assert names(compare(before, after, CLASSES).broken) == [("a.jpg", 0, "cat")]
    assert compare(before, after, CLASSES, threshold=0.3).broken == []
    assert compare(before, after, CLASSES, threshold=0.6).broken == []


def test_another_class_finds_nothing():
    before, after = [image([(A, 0)], [(A, 1, 0.9)])], [image([(A, 0)], [(A, 0, 0.9)])]
    assert names(compare(before, after, CLASSES).fixed) == [("a.jpg", 0, "cat")]


def test_crowds_and_difficult_objects_are_left_out():
    groundtruth = {"groundtruth": TRUTH, "crowd": [0], "difficult": [1]}
    found = compare([image(**groundtruth)], [image(**groundtruth, found=[(A, 0, 0.9), (B, 1, 0.9)])], CLASSES)
    assert found.fixed == []


def test_the_order_of_images_changes_nothing():
    before, after = random_images(0), [replace(one, scores=one.scores**2) for one in random_images(0)]
    assert compare(before, after, range(4)) == compare(before[::-1], after[3:] + after[:3], range(4))


def test_the_same_run_twice():
    run = random_images(1)
    found = compare(run, run, range(4))
    assert (found.fixed, found.broken) == ([], [])
    for one in found.differences:
        assert (one.difference, one.interval, one.p_value, one.significant) == (0, (0, 0), 1, False)


def test_many_fixed_are_more_than_chance():
    found = compare(many(60, 20), many(60, 40), CLASSES)
    by_name = {one.name: one for one in found.differences}
    assert list(by_name) == ["DetectionBoxes_Precision/mAP", "DetectionBoxes_Precision/mAP@.50IOU"]
    one = by_name["DetectionBoxes_Precision/mAP@.50IOU"]
    # A third found with precision 1 is 34 of 101 points, two thirds are 67.
    assert (one.first, one.second) == pytest.approx((34 / 101, 67 / 101))
    assert one.difference == pytest.approx(33 / 101)
    # The share of 60 images: a third, with a standard error of sqrt(2/9 / 60) = 0.061.
    assert one.interval == pytest.approx((0.327 - 1.96 * 0.061, 0.327 + 1.96 * 0.061), abs=0.04)
    assert one.p_value < 0.01
    assert one.significant


def test_one_fixed_may_be_chance():
    one = compare(many(60, 20), many(60, 21), CLASSES).differences[0]
    # Every third resample lacks the image: (1 - 1/60) ** 60 = 0.36.
    assert one.p_value == pytest.approx(2 * 0.36, abs=0.1)
    assert not one.significant


def test_chance_is_rarely_called_significant(monkeypatch):
    monkeypatch.setattr(comparison, "num_resamples", lambda _: 100)
    chance = np.random.default_rng(0)
    verdicts = []
    for trial in range(30):
        finds = chance.random([2, 50]) < 0.6
        runs = [
            [image([(A, 0)], [(A, 0, 0.9)] if one else [], name=f"{i:02}") for i, one in enumerate(run)]
            for run in finds
        ]
        verdicts.append(compare(*runs, CLASSES, seed=trial).differences[1].significant)
    assert sum(verdicts) <= 5  # 1 or 2 are expected


def test_one_image_tells_nothing_of_chance():
    one = compare([image([(A, 0)])], [image([(A, 0)], [(A, 0, 0.9)])], CLASSES).differences[0]
    assert one.difference == pytest.approx(1)
    assert (one.interval, one.p_value, one.significant) == (None, None, False)


def test_no_objects():
    one = compare([image()], [image(found=[(A, 0, 0.9)])], CLASSES).differences[0]
    assert (one.first, one.second, one.difference, one.interval, one.p_value) == (None,) * 5


def test_other_images_are_refused_with_examples():
    before = [image(name=name) for name in ("a", "b", "c", "d", "e")]
    with pytest.raises(DataError, match=r"in the first run alone: 4 \(b, c, d, \.\.\.\)"):
        compare(before, before[:1], CLASSES)
    with pytest.raises(DataError, match=r"in the second run alone: 1 \(e\)"):
        compare(before[:4], before, CLASSES)


@pytest.mark.parametrize(
    "other",
    [
        image([(FAR, 0), (B, 1)]),
        image([(A, 1), (B, 1)]),
        image([(A, 0)]),
        image(TRUTH, crowd=[0]),
        image(TRUTH, difficult=[0]),
    ],
)
def test_other_objects_are_refused(other):
    with pytest.raises(DataError, match=r"other objects in the second run .* 1 \(a.jpg\)"):
        compare([image(TRUTH)], [other], CLASSES)


def test_boxes_may_differ_by_rounding():
    rounded = replace(image(TRUTH), groundtruth_boxes=image(TRUTH).groundtruth_boxes + np.float32(0.004))
    assert compare([image(TRUTH)], [rounded], CLASSES).fixed == []


def test_two_images_of_one_name_are_refused():
    with pytest.raises(DataError, match=r"a\.jpg"):
        compare([image(), image()], [image(), image()], CLASSES)
