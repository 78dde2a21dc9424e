import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from boxtune.metrics.confusion import confusion_matrix
from boxtune.metrics.matching import pair
from boxtune.metrics.tables import near_pairs, tabulate
from hand_drawn import FAR, A, B, image, random_images, rows


def matrix(*images, threshold=0.5, num_classes=2):
    everything = tabulate(images, num_classes)
    ignored = everything.groundtruth.ignored
    paired = pair(everything, near_pairs(everything), 0.5, ignored)
    kept = everything.detections.score >= threshold
    groundtruth, found = everything.groundtruth.cls, everything.detections.cls
    return confusion_matrix(groundtruth, ignored, found, paired, kept, num_classes).tolist()


def test_one_of_each():
    one = image(
        groundtruth=[(A, 0), (B, 1), ([0, 300, 100, 400], 1)],
        found=[(A, 0, 0.9), (B, 0, 0.8), (FAR, 1, 0.7)],
    )
    assert matrix(one) == [
        [1, 0, 0],  # the object of class 0 is found as such
        [1, 0, 1],  # of class 1 one is taken for class 0, one is missed
        [0, 1, 0],  # nothing is taken for class 1
    ]


def test_detections_below_the_threshold_do_not_count():
    one = image([(A, 0)], [(A, 0, 0.5), (FAR, 1, 0.49)])
    assert matrix(one) == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert matrix(one, threshold=0.51) == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_a_duplicate_is_of_the_background():
    assert matrix(image([(A, 0)], [(A, 0, 0.9), (A, 0, 0.8)])) == [[1, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_a_box_too_poor_counts_twice():
    # 40 of 100 rows: the object is missed, the detection is of the background.
    assert matrix(image([(A, 0)], [(rows(40), 0, 0.9)])) == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]


def test_a_better_scored_wrong_class_takes_the_object():
    assert matrix(image([(A, 0)], [(A, 1, 0.9), (A, 0, 0.8)])) == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]


def test_crowds_and_difficult_objects_count_nowhere():
    one = image([(A, 0), (B, 1)], [(rows(20), 0, 0.9), (B, 1, 0.9), (B, 1, 0.8)], crowd=[0], difficult=[1])
    assert matrix(one) == [[0, 0, 0]] * 3


def test_in_a_crowd_of_another_class_a_detection_is_of_the_background():
    assert matrix(image([(A, 0)], [(rows(20), 1, 0.9)], crowd=[0])) == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_nothing():
    assert matrix(image()) == [[0, 0, 0]] * 3


@given(st.integers(0, 1000), st.floats(0, 1))
def test_rows_hold_all_counted_objects(seed, threshold):
    images = random_images(seed, number=3, difficult=0.2)
    counts = np.array(matrix(*images, threshold=threshold, num_classes=4))
    everything = tabulate(images, 4)
    expected = np.bincount(everything.groundtruth.cls[~everything.groundtruth.ignored], minlength=4)
    assert counts[:-1].sum(axis=1).tolist() == expected.tolist()
    assert counts[-1, -1] == 0
    assert (counts >= 0).all()
    assert counts[:, :-1].sum() <= np.count_nonzero(everything.detections.score >= threshold)
