"""Areas and overlaps of masks as arrays uint8 [n, h, w], whose values above 0 belong to the object."""

import numpy as np

from boxtune.errors import DataError

EPSILON = 1e-7


class MaskError(DataError, ValueError):
    """Masks of another type; a ValueError too, which is what the API raises."""


def area(masks: np.ndarray) -> np.ndarray:
    """Return the number of pixels float32 [n] of masks. Raises MaskError unless they are uint8."""
    return np.sum(_pixels(masks), axis=1)


def intersection(masks1: np.ndarray, masks2: np.ndarray) -> np.ndarray:
    """Return float32 [n, m], the pixels that `masks1` [n, h, w] share with `masks2` [m, h, w].

    Raises MaskError unless both are uint8.
    """
    return _pixels(masks1) @ _pixels(masks2).T


def iou(masks1: np.ndarray, masks2: np.ndarray) -> np.ndarray:
    """Return the intersection over union float32 [n, m]; 0 of two without pixels.

    Raises MaskError unless both are uint8.
    """
    shared = intersection(masks1, masks2)
    return shared / np.maximum(area(masks1)[:, None] + area(masks2) - shared, EPSILON)


def ioa(masks1: np.ndarray, masks2: np.ndarray) -> np.ndarray:
    """Return the intersection float32 [n, m] over the area of the second mask; 0 where that has no pixels.

    Raises MaskError unless both are uint8.
    """
    return intersection(masks1, masks2) / np.maximum(area(masks2), EPSILON)


def _pixels(masks: np.ndarray) -> np.ndarray:
    """Return float32 [n, h * w] of zeros and ones, in which sums are exact up to 16 million pixels."""
    if masks.dtype != np.uint8:
        raise MaskError(f"masks have to be of type uint8, not {masks.dtype}.")
    return (masks > 0).reshape(len(masks), int(np.prod(masks.shape[1:]))).astype(np.float32)
