"""What counts as a right choice among boxes, by hand: rounding may decide, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from boxtune.detection.nms import NonMaxSuppression
from boxtune.evaluation.found import Found, Source
from boxtune.exporting.choice import Candidates, is_right_choice
from boxtune.exporting.parity import BOUNDS

SUPPRESS = NonMaxSuppression(iou_threshold=0.6, max_detections_per_class=3, max_total_detections=4)
A, NEAR_A, FAR = (
    [0.2, 0.2, 0.6, 0.6],
    [0.2, 0.2, 0.6, 0.58],
    [0.7, 0.7, 0.9, 0.9],
)  # IoU of the first two: 0.95
BOXES = np.array([A, NEAR_A, FAR], np.float32)
EQUAL = np.array([[0.8, 0.1], [0.80001, 0.1], [0.5, 0.4]], np.float32)  # of classes 0 and 1


def is_right(rows, scores=EQUAL, suppress=SUPPRESS, boxes=BOXES):
    found, classes, of_found = zip(*rows, strict=True)
    one = Found(
        Source("a", np.zeros((1, 1, 3), np.uint8), None),
        (1, 1),
        np.array(found, np.float32),
        np.array(classes),
        np.array(of_found, np.float32),
    )
    among = Candidates(boxes, boxes.clip(0, 1), scores)
    return is_right_choice(one, among, suppress, BOUNDS["float32"], min_score=0.2)


REST = [(FAR, 0, 0.5), (FAR, 1, 0.4)]


@pytest.mark.parametrize(
    "rows",
    [
        [(NEAR_A, 0, 0.80001), *REST],
        [(A, 0, 0.8), *REST],  # as good, but for rounding
        [(A, 0, 0.80005), *REST],
    ],
)
def test_either_of_two_equal_boxes(rows):
    assert is_right(rows)


@pytest.mark.parametrize(
    "rows",
    [
        REST,  # neither of them
        [(A, 0, 0.8), (NEAR_A, 0, 0.8), *REST],  # both
        [(A, 0, 0.8), (FAR, 0, 0.5)],  # without the other class
        [(A, 1, 0.8), *REST],  # of another class
        [(A, 2, 0.8), *REST],  # of one that there is not
        [([0.2, 0.2, 0.6, 0.59], 0, 0.8), *REST],  # a box between them
        [(A, 0, 0.7), *REST],  # a score that it does not have
    ],
)
def test_what_is_wrong(rows):
    assert not is_right(rows)


def test_a_box_that_scores_clearly_less_does_not_stand_for_the_better_one():
    scores = np.array([[0.7, 0.1], [0.8, 0.1], [0.5, 0.4]], np.float32)
    assert is_right([(NEAR_A, 0, 0.8), *REST], scores)
    assert not is_right([(A, 0, 0.7), *REST], scores)


def test_what_is_beyond_the_most_that_are_kept_may_be_missing():
    both = replace(SUPPRESS, max_total_detections=2)
    assert is_right([(A, 0, 0.8), (FAR, 0, 0.5)], suppress=both)
    assert not is_right([(A, 0, 0.8), (FAR, 1, 0.4)], suppress=both)  # the better one is missing
    one = replace(SUPPRESS, max_detections_per_class=1)
    assert is_right([(A, 0, 0.8), (FAR, 1, 0.4)], suppress=one)
    assert not is_right([(FAR, 0, 0.5), (FAR, 1, 0.4)], suppress=one)


def test_classes_that_suppress_each_other():
    agnostic = replace(SUPPRESS, class_agnostic=True)
    assert is_right([(A, 0, 0.8), (FAR, 0, 0.5)], suppress=agnostic)
    assert not is_right([(A, 0, 0.8), (FAR, 1, 0.4)], suppress=agnostic)  # not its best class
    tied = np.array([[0.8, 0.1], [0.8, 0.1], [0.5, 0.5]], np.float32)
    assert is_right([(A, 0, 0.8), (FAR, 1, 0.5)], tied, agnostic)
    assert not is_right([(A, 0, 0.8), (FAR, 0, 0.5), (FAR, 1, 0.5)], tied, agnostic)


def test_without_suppression_the_best_are_found():
    scores = np.array([[0.7, 0.1], [0.5, 0.1], [0.5, 0.4]], np.float32)
    assert is_right([(A, 0, 0.7), (NEAR_A, 0, 0.5), (FAR, 0, 0.5)], scores, None)
    assert is_right([(A, 0, 0.7), (NEAR_A, 0, 0.5)], scores, None)  # either of two equals
    assert is_right([(A, 0, 0.7), (FAR, 0, 0.5)], scores, None)
    assert not is_right([(NEAR_A, 0, 0.5), (FAR, 0, 0.5)], scores, None)  # the best is missing
    assert not is_right([(A, 1, 0.7), (FAR, 0, 0.5)], scores, None)


def test_boxes_suppress_each_other_before_they_are_clipped():
    """The first two have an IoU of 0.5 as a whole, and of 0.73 within the image; both are found."""
    boxes = np.array([[-0.5, 0, 0.2, 0.1], [-0.2, 0, 0.27, 0.1]], np.float32)
    scores = np.array([[0.8], [0.7]], np.float32)
    first, second = ([0, 0, 0.2, 0.1], 0, 0.8), ([0, 0, 0.27, 0.1], 0, 0.7)
    assert is_right([first, second], scores, boxes=boxes)
    assert not is_right([first], scores, boxes=boxes)


def test_what_lies_beyond_the_image_suppresses_without_being_found():
    boxes = np.array([[-0.5, 0, -0.01, 0.1], [-0.5, 0, 0.02, 0.1]], np.float32)  # IoU 0.94
    scores = np.array([[0.8], [0.7]], np.float32)
    assert is_right([(FAR, 0, 0.5)], np.append(scores, [[0.5]], 0), boxes=np.append(boxes, [FAR], 0))
