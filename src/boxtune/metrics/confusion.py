"""Which classes are taken for which."""

import numpy as np

from boxtune.metrics.tables import Bools, Ints


def confusion_matrix(
    true_class: Ints, ignored: Bools, cls: Ints, paired: Ints, kept: Bools, num_classes: int
) -> Ints:
    """Return int [c + 1, c + 1]: how many objects of each class (row) are found as each class (column).

    The last row is of detections where there is no object, the last column of objects that nothing finds. Every object
    that counts is in one cell, and so is every detection that is kept and not paired with an ignored object.

    Args:
        true_class: int [n], of objects.
        ignored: bool [n], objects that do not count.
        cls: int [k], of detections.
        paired: int [k], the object of each detection by the rule of `matches.pair`, -1 if none.
        kept: bool [k], the detections that count: all that reach a threshold of scores.
        num_classes: c.
    """
    found = kept & (paired >= 0) & ~np.append(ignored, False)[paired]
    unpaired = kept & (paired < 0)
    left = ~ignored
    left[paired[found]] = False
    rows = true_class[paired[found]], np.full(np.count_nonzero(unpaired), num_classes), true_class[left]
    columns = cls[found], cls[unpaired], np.full(np.count_nonzero(left), num_classes)
    size = num_classes + 1
    cells = np.concatenate(rows) * size + np.concatenate(columns)
    return np.bincount(cells, minlength=size * size).reshape(size, size)
