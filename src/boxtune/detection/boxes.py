"""Areas, overlaps and frames of boxes [..., 4] as `[ymin, xmin, ymax, xmax]`."""

import numpy as np
from keras import ops

from boxtune.detection.gradients import copies

_SMALLEST = np.finfo(np.float32).tiny


def sides(boxes):
    """Return ymin, xmin, ymax and xmax, each [...], of `boxes` [..., 4]."""
    return ops.unstack(ops.convert_to_tensor(boxes), 4, axis=-1)


def area(boxes):
    """Return the areas [...] of `boxes` [..., 4]."""
    ymin, xmin, ymax, xmax = sides(boxes)
    return (ymax - ymin) * (xmax - xmin)


def intersection_pairwise(boxes1, boxes2):
    """Return the areas [..., n, a] of the pairwise intersections of `boxes1` [..., n, 4] and `boxes2` [..., a, 4]."""
    ymin1, xmin1, ymax1, xmax1 = ops.split(boxes1, 4, axis=-1)  # each [..., n, 1]
    ymin2, xmin2, ymax2, xmax2 = (side[..., None, :] for side in sides(boxes2))
    height = ops.relu(ops.minimum(ymax1, ymax2) - ops.maximum(ymin1, ymin2))
    width = ops.relu(ops.minimum(xmax1, xmax2) - ops.maximum(xmin1, xmin2))
    return height * width


def iou_pairwise(boxes1, boxes2):
    """Return the intersection over union [..., n, a] of `boxes1` [..., n, 4] and `boxes2` [..., a, 4].

    Disjoint boxes have 0, also when both are empty.
    """
    intersection = intersection_pairwise(boxes1, boxes2)
    union = area(boxes1)[..., :, None] + area(boxes2)[..., None, :] - intersection
    return intersection / ops.maximum(union, _SMALLEST)


def ioa_pairwise(boxes1, boxes2):
    """Return the intersection [..., n, a] over the area of the second box."""
    intersection = intersection_pairwise(boxes1, boxes2)
    area2 = area(boxes2)[..., None, :]
    return ops.where(area2 > 0, intersection / ops.where(area2 > 0, area2, 1.0), 0.0)


def thresholded_iou_pairwise(boxes1, boxes2, iou_threshold=0.5):
    """Return 1.0 where the intersection over union [..., n, a] exceeds a threshold, else 0.0."""
    return ops.cast(iou_pairwise(boxes1, boxes2) > iou_threshold, "float32")


def negative_squared_distance_pairwise(boxes1, boxes2):
    """Return minus the squared distance [..., n, a] of `boxes1` [..., n, 4] and `boxes2` [..., a, 4], as points."""
    differences = (
        one[..., :, None] - other[..., None, :]
        for one, other in zip(sides(boxes1), sides(boxes2), strict=True)
    )
    return -sum(map(ops.square, differences))


def iou(boxes1, boxes2):
    """Return the intersection over union [...] of `boxes1` [..., 4] and `boxes2` [..., 4], box by box.

    Disjoint boxes have 0, also when both are empty.
    """
    return _ratio(*_intersection_and_union(boxes1, boxes2))


def giou(boxes1, boxes2):
    """Return the generalized intersection over union [...] of `boxes1` [..., 4] and `boxes2` [..., 4], box by box.

    It is the IoU minus the fraction of the smallest enclosing box that is in neither. Source: Rezatofighi et al. 2019
    (arXiv:1902.09630), algorithm 1.
    """
    first, again1 = copies(ops.convert_to_tensor(boxes1), 2)
    second, again2 = copies(ops.convert_to_tensor(boxes2), 2)
    intersection, union = _intersection_and_union(first, second)
    ymin1, xmin1, ymax1, xmax1 = sides(again1)
    ymin2, xmin2, ymax2, xmax2 = sides(again2)
    height = ops.maximum(ymax1, ymax2) - ops.minimum(ymin1, ymin2)
    enclosing = height * (ops.maximum(xmax1, xmax2) - ops.minimum(xmin1, xmin2))
    union, union_again = copies(union, 2)
    return _ratio(intersection, union) - _ratio(enclosing - union_again, enclosing)


def _intersection_and_union(boxes1, boxes2):
    ymin1, xmin1, ymax1, xmax1 = sides(boxes1)
    ymin2, xmin2, ymax2, xmax2 = sides(boxes2)
    height = ops.relu(ops.minimum(ymax1, ymax2) - ops.maximum(ymin1, ymin2))
    intersection = height * ops.relu(ops.minimum(xmax1, xmax2) - ops.maximum(xmin1, xmin2))
    areas = (ymax1 - ymin1) * (xmax1 - xmin1) + (ymax2 - ymin2) * (xmax2 - xmin2)
    return intersection, areas - intersection


def _ratio(part, whole):
    """Return `part` / `whole`, and 0 without a gradient where `whole` is 0."""
    exists = whole != 0
    return ops.where(exists, part / ops.where(exists, whole, 1.0), 0.0)


def clip(boxes, window):
    """Clip `boxes` [..., 4] to `window` [..., 4] (broadcast against the boxes)."""
    ymin, xmin, ymax, xmax = sides(boxes)
    top, left, bottom, right = sides(window)
    return ops.stack(
        [
            ops.clip(ymin, top, bottom),
            ops.clip(xmin, left, right),
            ops.clip(ymax, top, bottom),
            ops.clip(xmax, left, right),
        ],
        axis=-1,
    )


def to_frame_of(boxes, window):
    """Express `boxes` [..., 4] in coordinates in which `window` [..., 4] is [0, 0, 1, 1]."""
    top, left, bottom, right = sides(window)
    origin = ops.stack([top, left, top, left], axis=-1)
    size = ops.stack([bottom - top, right - left, bottom - top, right - left], axis=-1)
    return (boxes - origin) / size


def to_centers(boxes):
    """Return centre y, centre x, height and width, each [...], of `boxes` [..., 4]."""
    ymin, xmin, ymax, xmax = sides(boxes)
    height, width = ymax - ymin, xmax - xmin
    return ymin + 0.5 * height, xmin + 0.5 * width, height, width


def from_centers(center_y, center_x, height, width):
    """Return boxes [..., 4] from centres and sizes, each [...]."""
    half_height, half_width = 0.5 * height, 0.5 * width
    return ops.stack(
        [center_y - half_height, center_x - half_width, center_y + half_height, center_x + half_width],
        axis=-1,
    )


def take_rows(values, indices):
    """Return the rows `indices` [b, k] of `values` [b, n, ...], as [b, k, ...]; faster than Keras' take_along_axis."""
    b, n = ops.shape(values)[0], ops.shape(values)[1]
    flat = ops.reshape(values, (-1, *values.shape[2:]))
    return ops.take(flat, indices + n * ops.arange(b, dtype=indices.dtype)[:, None], axis=0)
