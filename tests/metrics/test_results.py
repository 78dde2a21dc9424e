from dataclasses import replace

import numpy as np
import pytest

from boxtune.errors import DataError
from boxtune.metrics import masks
from boxtune.metrics.results import check_results, known_classes, without_unknown_classes
from image_results import image_result, random_results, with_keypoints, with_masks

BOX = [0, 0, 10, 10]
GOOD = image_result([(BOX, 0)], [(BOX, 1, 0.5), (BOX, 0, 0.25)], name="a.jpg")


def test_good_results():
    results = with_keypoints(with_masks(random_results(0, 4), 0), 0)
    check_results([*results, GOOD], 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"boxes": np.array([[0, 0, np.nan, 5], BOX])},
            "detection 0 has a box with coordinates that are not finite",
        ),
        (
            {"groundtruth_boxes": np.array([[5.0, 0, 4, 5]])},
            r"object 0 .*minimum above its maximum, \[5.0, 0.0, 4.0, 5.0\]",
        ),
        ({"boxes": np.array([BOX, [0, 5, 4, 4]])}, "detection 1 has a box with its minimum"),
        ({"scores": np.array([0.5, np.inf])}, "1 score not finite, such as inf"),
        ({"scores": np.array([0.5])}, r"scores are of shape \(1,\), not \(2,\)"),
        ({"boxes": np.zeros((2, 5))}, r"boxes are of shape \(2, 5\)"),
        ({"is_crowd": np.zeros(2, bool)}, "is_crowd are of shape"),
        ({"classes": np.array([0, 2])}, "a detection is of class 3, but the highest is 2"),
        ({"groundtruth_classes": np.array([-1])}, "an object is of class 0"),
        ({"absent_classes": np.array([7])}, "a label is of class 8"),
        ({"groundtruth_areas": np.array([np.nan])}, "1 annotated area not finite, such as nan"),
        ({"masks": []}, "there are 0 masks, not 2"),
        (
            {"groundtruth_masks": [masks.Mask(3, 4, np.zeros(0, int))]},
            "groundtruth_masks is 3 x 4 pixels, the image 200 x 200",
        ),
        ({"keypoints": np.zeros((2, 3))}, "keypoints are of shape"),
        (
            {"groundtruth_keypoints": np.zeros((1, 4, 2)), "keypoints": np.zeros((2, 5, 2))},
            r"keypoints are of shape \(2, 5, 2\)",
        ),
        ({"keypoints": np.full((2, 3, 2), np.nan)}, "12 keypoints not finite, such as nan"),
    ],
)
def test_bad_results(change, message):
    with pytest.raises(DataError, match=rf"a\.jpg: .*{message}"):
        check_results([image_result(name="b.jpg"), replace(GOOD, **change)], 2)


def test_no_images():
    with pytest.raises(DataError, match="no images to evaluate"):
        check_results([], 2)


def test_images_of_the_same_name():
    with pytest.raises(DataError, match=r"1 image evaluated twice, such as 'a\.jpg'"):
        check_results([GOOD, image_result(name="b.jpg"), GOOD], 2)


def test_labels_of_the_whole_image():
    assert known_classes(GOOD) is None
    assert without_unknown_classes(GOOD) is GOOD
    labelled = replace(GOOD, present_classes=np.array([3]), absent_classes=np.array([2]))
    assert known_classes(labelled).tolist() == [0, 2, 3]
    # Class 1 is neither labelled nor has an object: nobody knows.
    assert without_unknown_classes(labelled).classes.tolist() == [0]
    assert without_unknown_classes(labelled).scores.tolist() == [0.25]
