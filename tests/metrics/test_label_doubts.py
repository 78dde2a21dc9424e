"""Which labels are doubted, hand-drawn: ten images agree, so that the model is believed, and one does not."""

import numpy as np
import pytest

from boxtune.metrics.label_doubts import MIN_DOUBT, Kind, label_doubts
from boxtune.metrics.results import ImageResult

CAT, DOG, UNKNOWN = 0, 1, 2
LEFT, RIGHT = (10, 10, 50, 50), (10, 60, 50, 100)
AGREEING = 20


def image(labels=(), found=(), name="a", **flags):
    """Return an image of labels (box, class) and detections (box, class, score)."""
    boxes, classes = [box for box, _ in labels], [cls for _, cls in labels]
    return ImageResult(
        name=name,
        height=120,
        width=120,
        groundtruth_boxes=np.array(boxes, np.float32).reshape(-1, 4),
        groundtruth_classes=np.array(classes, np.int64),
        is_crowd=flags.pop("is_crowd", np.zeros(len(labels), bool)),
        boxes=np.array([box for box, _, _ in found], np.float32).reshape(-1, 4),
        classes=np.array([cls for _, cls, _ in found], np.int64),
        scores=np.array([score for _, _, score in found], np.float32),
        **flags,
    )


def doubts(*images, agreeing=AGREEING):
    """Return the doubts about images, numbered from 100 on, among others in which all labels are found."""
    both = image([(LEFT, CAT), (RIGHT, DOG)], [(LEFT, CAT, 0.6), (RIGHT, DOG, 0.7)])
    numbers = [*range(agreeing), *range(100, 100 + len(images))]
    return label_doubts([*[both] * agreeing, *images], 2, numbers)


def test_what_agrees_is_not_doubted():
    assert doubts() == []


def test_a_label_is_missing_where_something_is_found():
    (one,) = doubts(image([(LEFT, CAT)], [(LEFT, CAT, 0.6), (RIGHT, DOG, 0.7)]))
    assert (one.kind, one.image, one.label) == (Kind.MISSING, 100, None)
    assert (one.seen.cls, one.seen.box, round(one.seen.score, 4)) == (DOG, RIGHT, 0.7)
    # Of 21 dogs, 20 have labels: Laplace's (20 + 1) / (21 + 2). No label is near.
    assert one.score == pytest.approx(21 / 23)


def test_a_label_is_surplus_where_nothing_is_found():
    (one,) = doubts(image([(LEFT, CAT)]))
    assert (one.kind, one.image, one.label, one.seen) == (Kind.SURPLUS, 100, 0, None)
    assert one.score == pytest.approx(20 / 21)  # the fraction of cats that are found


def test_a_class_that_the_model_often_misses_is_not_surplus():
    missed = [image([(LEFT, CAT)], name=f"{i}") for i in range(2 * AGREEING)]
    assert doubts(*missed) == []  # a third of the cats are found


def test_a_label_is_of_the_wrong_class():
    (one,) = doubts(image([(LEFT, DOG)], [(LEFT, CAT, 0.6)]))
    assert (one.kind, one.label, one.seen.cls) == (Kind.WRONG_CLASS, 0, CAT)
    assert one.score == pytest.approx(np.sqrt(21 / 23))  # of cats, likewise, and nothing speaks for a dog


def test_the_own_class_speaks_for_a_label():
    # Both are found where a dog is labelled, the cat with the higher score.
    found = [(LEFT, CAT, 0.9), (LEFT, DOG, 0.7)]
    assert doubts(image([(LEFT, DOG)], found)) == []


def test_a_label_is_misplaced():
    moved = (10, 26, 50, 66)  # by 0.4 of its width: IoU 24 / 56
    (one,) = doubts(image([(moved, CAT)], [(LEFT, CAT, 0.6)]))
    assert (one.kind, one.label, one.seen.box) == (Kind.MISPLACED, 0, LEFT)
    assert one.score == pytest.approx(21 / 23)
    # An IoU of 0.75 lies in the middle between that of the others, 1, and 0.5; half of 22 / 23 is too little.
    slightly = (10, 10, 40, 50)
    assert doubts(image([(slightly, CAT)], [(LEFT, CAT, 0.6)])) == []


def test_a_detection_speaks_for_one_label_only():
    # Nothing but the neighbour's detection overlaps the second label.
    (one,) = doubts(image([(LEFT, CAT), ((10, 25, 50, 65), CAT)], [(LEFT, CAT, 0.6)]))
    assert (one.kind, one.label) == (Kind.SURPLUS, 1)


def test_a_second_detection_of_an_object_is_no_missing_label():
    again = (12, 12, 52, 52)  # IoU 0.82
    part = (10, 10, 40, 40)  # 0.56
    assert doubts(image([(LEFT, CAT)], [(LEFT, CAT, 0.6), (again, CAT, 0.6), (part, DOG, 0.7)])) == []
    missing = doubts(image([], [(RIGHT, DOG, 0.7), ((10, 62, 50, 102), DOG, 0.65)]))
    assert [one.seen.box for one in missing] == [RIGHT]


@pytest.mark.parametrize("flag", ["is_crowd", "group_of", "difficult"])
def test_what_does_not_count_is_not_doubted(flag):
    flags = {flag: np.array([True])}
    assert doubts(image([(LEFT, CAT)], **flags)) == []
    inside = (15, 15, 30, 30)
    found = doubts(image([(LEFT, CAT)], [(inside, CAT, 0.6)], **flags))
    # A detection within a crowd or a group is of it, one within a difficult object (IoU 0.14) is another.
    assert [one.kind for one in found] == ([Kind.MISSING] if flag == "difficult" else [])


def test_labels_of_unknown_classes_are_not_doubted_and_nothing_is_missing_there():
    assert doubts(image([(LEFT, UNKNOWN)])) == []
    assert doubts(image([(LEFT, UNKNOWN)], [(LEFT, CAT, 0.6)])) == []


def test_a_low_score_that_is_often_wrong_is_not_believed():
    wrong = [image([], [(RIGHT, DOG, 0.2)], name=f"{i}") for i in range(2 * AGREEING)]
    assert doubts(*wrong) == []
    sure = image([], [(LEFT, DOG, 0.7)], name="sure")
    assert [one.image for one in doubts(*wrong, sure)] == [100 + len(wrong)]


def test_few_images_prove_little():
    few = image([(LEFT, CAT)], [(LEFT, CAT, 0.6), (RIGHT, CAT, 0.6)])
    assert all(one.score < 0.6 for one in doubts(few, agreeing=0))
    assert label_doubts([], 2, []) == []
    assert label_doubts([image()], 2, [0]) == []


def test_doubts_of_any_images_are_in_range_and_one_for_each_label():
    rng = np.random.default_rng(0)

    def boxes(count):
        corners = np.sort(rng.uniform(0, 120, (count, 2, 2)), axis=1)
        return [tuple(box) for box in corners.reshape(count, 4)]

    images = []
    for number in range(50):
        labels = [(box, int(rng.integers(3))) for box in boxes(rng.integers(6))]
        seen = [
            (np.add(box, rng.normal(0, 4)), int(rng.integers(2)), rng.uniform(0.3, 1)) for box, _ in labels
        ]
        more = [(box, int(rng.integers(2)), rng.uniform(0.05, 0.5)) for box in boxes(rng.integers(4))]
        images.append(image(labels, seen[1:] + more, name=f"{number}"))
    found = label_doubts(images, 2, range(50))
    assert {one.kind for one in found} >= {Kind.MISSING, Kind.WRONG_CLASS}
    assert all(MIN_DOUBT <= one.score <= 1 for one in found)
    labels = [(one.image, one.label) for one in found if one.label is not None]
    assert len(labels) == len(set(labels))
    assert all(images[one.image].groundtruth_classes[one.label] < 2 for one in found if one.label is not None)
