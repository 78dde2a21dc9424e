"""Areas and overlaps of boxes as arrays [n, 4] of `[ymin, xmin, ymax, xmax]`."""

import numpy as np

from boxtune.metrics.tables import box_areas, box_intersections, box_ious


def area(boxes: np.ndarray) -> np.ndarray:
    """Return the areas [n] of `boxes` [n, 4]."""
    return box_areas(boxes)


def intersection(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    """Return the areas [n, m] that `boxes1` [n, 4] share with `boxes2` [m, 4]."""
    return box_intersections(boxes1[:, None], boxes2[None])


def iou(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    """Return the intersection over union [n, m] of `boxes1` [n, 4] and `boxes2` [m, 4]; 0 of two without area."""
    return box_ious(boxes1[:, None], boxes2[None], False)


def ioa(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    """Return the intersection [n, m] over the area of the second box; 0 where that has none."""
    return box_ious(boxes2[None], boxes1[:, None], True)
