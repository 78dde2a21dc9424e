"""Matches each anchor with the object that it is most similar to."""

import math
from typing import Any

import tensorflow as tf

from boxtune.detection import matching
from object_detection.core import matcher
from object_detection.utils.ops import TensorError


class ArgMaxMatcher(matcher.Matcher):
    """Matches by thresholds, as `boxtune.detection.matching.ArgMaxMatcher` does.

    Raises:
        TensorError: for thresholds that do not go together.
    """

    def __init__(
        self,
        matched_threshold: float | None,
        unmatched_threshold: float | None = None,
        negatives_lower_than_unmatched: bool = True,
        force_match_for_each_row: bool = False,
        use_matmul_gather: bool = False,
    ):
        super().__init__(use_matmul_gather)
        if unmatched_threshold is None:
            unmatched_threshold = matched_threshold
        elif matched_threshold is None:
            raise TensorError("Need to also define matched_threshold when unmatched_threshold is defined")
        if matched_threshold is not None and unmatched_threshold is not None:
            if unmatched_threshold > matched_threshold:
                raise TensorError(
                    f"unmatched_threshold {unmatched_threshold} needs to be smaller or equal to matched_threshold "
                    f"{matched_threshold}"
                )
            if not negatives_lower_than_unmatched and unmatched_threshold == matched_threshold:
                raise TensorError(
                    "When negatives are in between matched and unmatched thresholds, these cannot be of equal value. "
                    f"matched: {matched_threshold}, unmatched: {unmatched_threshold}"
                )
        self._matched_threshold = matched_threshold
        self._unmatched_threshold = unmatched_threshold
        self._negatives_lower_than_unmatched = negatives_lower_than_unmatched
        self._force_match_for_each_row = force_match_for_each_row

    def _match(self, similarity_matrix: Any, valid_rows: Any) -> Any:
        """Return the row of each column; a row that is not valid is not forced on a column, but may be matched."""
        # One more row, which is never matched, so that there is one.
        similarity = tf.pad(similarity_matrix, [[0, 1], [0, 0]])[None]
        by_threshold = matching.ArgMaxMatcher(
            self._matched_threshold, self._unmatched_threshold, self._negatives_lower_than_unmatched
        )
        exists = tf.pad(tf.ones_like(valid_rows), [[0, 1]])[None]
        matches = by_threshold.match(similarity, exists)[0]
        if self._force_match_for_each_row:
            none_by_threshold = matching.ArgMaxMatcher(math.inf, math.inf, force_match=True)
            forced = none_by_threshold.match(similarity, tf.pad(valid_rows, [[0, 1]])[None])[0]
            matches = self._set_values_using_indicator(matches, forced >= 0, forced)
        return tf.ensure_shape(matches, similarity_matrix.shape[1:])

    def _set_values_using_indicator(self, x: Any, indicator: Any, val: Any) -> Any:
        """Return `x` with `val`, a number or a tensor of the same shape, where `indicator` is true."""
        return tf.where(tf.cast(indicator, tf.bool), tf.cast(val, x.dtype), x)
