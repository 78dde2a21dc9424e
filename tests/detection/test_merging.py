import numpy as np
from keras import ops

from boxtune.detection.merging import merge_equal_boxes


def merged(boxes, classes, valid=None, num_classes=3):
    valid = np.ones(len(boxes), bool) if valid is None else np.array(valid)
    groundtruth = {
        "boxes": np.float32([boxes]),
        "classes": np.int32([classes]),
        "weights": np.ones([1, len(boxes)], np.float32),
        "valid": valid[None],
    }
    tensors = {name: ops.convert_to_tensor(part) for name, part in groundtruth.items()}
    after = {
        name: ops.convert_to_numpy(part)[0] for name, part in merge_equal_boxes(tensors, num_classes).items()
    }
    np.testing.assert_array_equal(after["boxes"], np.float32(boxes))
    return after["valid"].tolist(), after["class_scores"].tolist()


ONE, OTHER = [0, 0, 0.5, 0.5], [0, 0, 0.5, 0.6]


def test_the_first_of_equal_boxes_has_the_classes_of_all():
    valid, scores = merged([ONE, OTHER, ONE], [2, 1, 0])
    assert valid == [True, True, False]
    assert scores[:2] == [[1, 0, 1], [0, 1, 0]]


def test_a_class_counts_once():
    valid, scores = merged([ONE, ONE, ONE], [2, 2, 2])
    assert valid == [True, False, False]
    assert scores[0] == [0, 0, 1]


def test_boxes_are_equal_to_four_digits():
    # 0.5 * 9999 = 4999.5, and 0.50004 * 9999 = 4999.9: both are 4999. 0.5001 * 9999 = 5000.5 is not.
    near, far = [0, 0, 0.5, 0.50004], [0, 0, 0.5, 0.5001]
    assert merged([ONE, near], [0, 1])[0] == [True, False]
    assert merged([ONE, far], [0, 1])[0] == [True, True]


def test_padding_is_equal_to_nothing():
    nothing = [0, 0, 0, 0]
    valid, scores = merged([nothing, nothing, nothing], [1, 0, 0], [True, False, False])
    assert valid == [True, False, False]
    assert scores[0] == [0, 1, 0]


def test_images_are_apart():
    groundtruth = {
        "boxes": ops.convert_to_tensor(np.float32([[ONE], [ONE]])),
        "classes": ops.convert_to_tensor(np.int32([[0], [1]])),
        "weights": ops.ones([2, 1]),
        "valid": ops.ones([2, 1], dtype="bool"),
    }
    after = merge_equal_boxes(groundtruth, 2)
    np.testing.assert_array_equal(after["valid"], [[True], [True]])
    np.testing.assert_array_equal(after["class_scores"], [[[1, 0]], [[0, 1]]])
