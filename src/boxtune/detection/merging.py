"""Objects of one box and several classes become one object with all of them."""

from keras import ops

from boxtune.structures import GroundTruth

_STEPS = 9999  # of a side: corners that are the same after rounding down to them are the same corner


def merge_equal_boxes(groundtruth: GroundTruth, num_classes: int) -> GroundTruth:
    """Return ground truth of which only the first object of each box is valid, with the classes of all of them.

    They are its `class_scores`: 1 for a class that an object of the box has, else 0.
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
