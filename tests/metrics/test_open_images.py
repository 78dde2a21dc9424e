from dataclasses import replace

import numpy as np
import pytest

from boxtune.metrics import masks
from boxtune.metrics.open_images import (
    challenge_detection_metrics,
    challenge_segmentation_metrics,
    v2_metrics,
)
from image_results import image_result, random_results, with_masks

A, B, GROUP, AWAY = [0, 0, 40, 40], [0, 60, 40, 100], [100, 0, 200, 200], [50, 160, 70, 180]
# Two in the group, one of them by half.
INSIDE, HALF = [110, 10, 150, 50], [80, 100, 120, 140]
NAMES = ["ant", "bee"]


def mean_ap(metric, *results):
    return next(iter(metric(results, NAMES).values()))


def test_what_lies_in_a_group_does_not_count():
    found = [(INSIDE, 0, 0.9), (HALF, 0, 0.8), (A, 0, 0.7)]
    image = image_result([(A, 0), (GROUP, 0)], found, group_of=[False, True])
    assert mean_ap(v2_metrics, image) == 1
    alone = image_result([(A, 0), (GROUP, 0)], found)
    # Wrong, wrong, right of two objects.
    assert mean_ap(v2_metrics, alone) == pytest.approx(1 / 3 / 2)


def test_a_group_is_one_object_in_the_challenge():
    found = [(INSIDE, 0, 0.9), (AWAY, 0, 0.85), (HALF, 0, 0.8), (A, 0, 0.7)]
    image = image_result([(A, 0), (GROUP, 0)], found, group_of=[False, True])
    # The group by its best, wrong, nothing, right.
    assert mean_ap(challenge_detection_metrics, image) == pytest.approx((1 + 2 / 3) / 2)
    missed = image_result([(A, 0), (GROUP, 0)], found[3:], group_of=[False, True])
    assert mean_ap(challenge_detection_metrics, missed) == pytest.approx(1 / 2)


def test_classes_that_nobody_looked_for_do_not_count():
    image = image_result([(A, 0)], [(A, 0, 0.5), (A, 1, 0.9)], name="a")
    other = image_result([(A, 1)], [(A, 1, 0.5)], name="b")
    assert mean_ap(challenge_detection_metrics, image, other) == pytest.approx((1 + 1 / 2) / 2)
    unknown = replace(image, absent_classes=np.zeros(0, int))
    assert mean_ap(challenge_detection_metrics, unknown, other) == 1
    absent = replace(image, absent_classes=np.array([1]))
    assert mean_ap(challenge_detection_metrics, absent, other) == pytest.approx((1 + 1 / 2) / 2)


def drawn(box):
    array = np.zeros((200, 200), bool)
    array[box[0] : box[2], box[1] : box[3]] = True
    return masks.from_array(array)


def segmented(true, found, undrawn=(), **flags):
    image = image_result(true, found, **flags)
    nothing = masks.from_array(np.zeros((200, 200), bool))
    return replace(
        image,
        groundtruth_masks=[nothing if row in undrawn else drawn(box) for row, (box, _) in enumerate(true)],
        masks=[drawn(box) for box, *_ in found],
    )


def test_masks_and_boxes_alone():
    true, found = [(A, 0), (B, 0)], [(B, 0, 0.9), (B, 0, 0.8), (A, 0, 0.7)]
    # All drawn: right, wrong, right.
    assert mean_ap(challenge_segmentation_metrics, segmented(true, found)) == pytest.approx((1 + 2 / 3) / 2)
    # B is a box alone: nothing, wrong, right of one.
    assert mean_ap(challenge_segmentation_metrics, segmented(true, found, [1])) == pytest.approx(1 / 2)


def test_groups_with_and_without_masks():
    true, found = [(A, 0), (GROUP, 0)], [(INSIDE, 0, 0.9), (HALF, 0, 0.8), (A, 0, 0.7)]
    for undrawn in ([], [1]):
        image = segmented(true, found, undrawn, group_of=[False, True])
        assert mean_ap(challenge_segmentation_metrics, image) == 1


def test_the_order_of_images_does_not_matter():
    results = with_masks(random_results(4), 4)
    names = ["ant", "bee", "cow", "dog"]
    for metric in (v2_metrics, challenge_detection_metrics, challenge_segmentation_metrics):
        assert metric(results[::-1], names) == metric(results, names)
