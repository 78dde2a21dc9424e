"""Precision, recall and what follows from them, of detections by score."""

from collections.abc import Sequence

import numpy as np

from boxtune.errors import DataError
from boxtune.metrics.pascal_matching import area_under, curve


class MetricError(DataError, ValueError):
    """Scores, labels or curves that cannot be measured; a ValueError too, which is what the API raises."""


def compute_precision_recall(
    scores: np.ndarray, labels: np.ndarray, num_gt: float
) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """Return precision [k] and recall [k] by descending score, None and None where nothing is to be found.

    Args:
        scores: float [k].
        labels: bool or float [k], how much each detection is right, 0 of one that is wrong.
        num_gt: how many objects there are; groups may count as parts of one.

    Raises:
        MetricError: for arrays of other shapes or types, or more right detections than objects.
    """
    if not isinstance(labels, np.ndarray) or labels.ndim != 1:
        raise MetricError("labels have to be a NumPy array of one dimension.")
    if labels.dtype.kind not in "bf":
        raise MetricError(f"labels have to be bool or float, not {labels.dtype}.")
    if not isinstance(scores, np.ndarray) or scores.ndim != 1:
        raise MetricError("scores have to be a NumPy array of one dimension.")
    if len(scores) != len(labels):
        raise MetricError(f"there are {len(scores)} scores and {len(labels)} labels.")
    if num_gt < labels.sum():
        raise MetricError(f"{labels.sum():g} detections are right, of {num_gt:g} objects.")
    if num_gt == 0:
        return None, None
    return curve(scores, labels.astype(np.float64), num_gt)


def compute_average_precision(precision: np.ndarray | None, recall: np.ndarray | None) -> float:
    """Return the area under the highest precision at each recall or above; NaN if both are None.

    Args:
        precision: float [k] in [0, 1].
        recall: float [k] in [0, 1], not falling.

    Raises:
        MetricError: for something else.
    """
    if precision is None or recall is None:
        if precision is not recall:
            raise MetricError("precision and recall have to be None together.")
        return np.nan
    for name, values in (("precision", precision), ("recall", recall)):
        if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
            raise MetricError(f"{name} has to be a NumPy array of floats.")
        if values.size and (values.min() < 0 or values.max() > 1):
            raise MetricError(f"{name} reaches from {values.min()} to {values.max()}, not within 0 to 1.")
    if len(precision) != len(recall):
        raise MetricError(f"there are {len(precision)} values of precision and {len(recall)} of recall.")
    if (np.diff(recall) < 0).any():
        raise MetricError("recall has to be a non-decreasing array.")
    return area_under(precision, recall)


def compute_cor_loc(
    num_gt_imgs_per_class: np.ndarray, num_images_correctly_detected_per_class: np.ndarray
) -> np.ndarray:
    """Return [c], of the images with a class the fraction in which it was found; NaN of a class without images."""
    images = num_gt_imgs_per_class
    unknown = np.full(len(images), np.nan)
    return np.divide(num_images_correctly_detected_per_class, images, out=unknown, where=images > 0)


def compute_median_rank_at_k(tp_fp_list: Sequence[np.ndarray], k: int) -> float:
    """Return the median rank, from 0 on, of the right ones among the best `k` detections of each image.

    `tp_fp_list` has for each image how much its detections are right, by descending score.
    """
    return float(np.median(np.concatenate([np.flatnonzero(labels[:k] > 0) for labels in tp_fp_list])))


def compute_recall_at_k(tp_fp_list: Sequence[np.ndarray], num_gt: float, k: int) -> float:
    """Return how many of `num_gt` objects are found by the best `k` detections of each image.

    `tp_fp_list` is as in `compute_median_rank_at_k`.
    """
    return float(sum(labels[:k].sum() for labels in tp_fp_list) / num_gt)
