"""Merges objects of one box and several classes into one object with all of them."""

from keras import ops

from boxtune.structures import GroundTruth

_STEPS = 9999  # of a side: corners that are equal after rounding down to a step are the same corner


def merge_equal_boxes(groundtruth: GroundTruth, num_classes: int) -> GroundTruth:
    """Return ground truth in which only the first object of each box is valid, with the classes of all of them.

    Its `class_scores` are 1 for the classes of the objects with this box, else 0.
    Source: the API's utils.ops.merge_boxes_with_multiple_labels.
    """
    valid = groundtruth["valid"]
    corners = ops.cast(ops.floor(groundtruth["boxes"] * _STEPS), "int32")
    same = ops.all(corners[:, :, None] == corners[:, None, :], axis=-1)
    same = same & valid[:, :, None] & valid[:, None, :]  # [b, n, n]
    numbers = ops.arange(ops.shape(valid)[1], dtype="int32")
    has_earlier = ops.any(same & (numbers[None, :] < numbers[:, None]), axis=2)
    classes = ops.one_hot(groundtruth["classes"], num_classes, dtype="float32")
    class_scores = ops.minimum(ops.matmul(ops.cast(same, "float32"), classes), 1.0)
    return {**groundtruth, "valid": valid & ~has_earlier, "class_scores": class_scores}
