"""Which object (row) each anchor (column) is matched with."""

import abc
from typing import Any

import tensorflow as tf

from boxtune.detection.matching import IGNORED, UNMATCHED
from object_detection.utils.ops import TensorError, gather_with_padding_values


class Match:
    """The row of each column, int32 [m]: -1 for a column without one, -2 for one that is to be ignored."""

    def __init__(self, match_results: Any, use_matmul_gather: bool = False):
        match_results = tf.convert_to_tensor(match_results)
        if match_results.shape.rank != 1:
            raise TensorError("match_results should have rank 1")
        if match_results.dtype != tf.int32:
            raise TensorError("match_results should be an int32 or int64 scalar tensor")
        self._match_results = match_results

    @property
    def match_results(self) -> Any:
        """The row of each column, int32 [m]."""
        return self._match_results

    def matched_column_indices(self) -> Any:
        """Return the numbers of the columns with a row."""
        return _indices(self.matched_column_indicator())

    def matched_column_indicator(self) -> Any:
        """Return bool [m]: which columns have a row."""
        return tf.greater_equal(self._match_results, 0)

    def num_matched_columns(self) -> Any:
        """Return how many columns have a row."""
        return tf.size(self.matched_column_indices())

    def unmatched_column_indices(self) -> Any:
        """Return the numbers of the columns without a row."""
        return _indices(self.unmatched_column_indicator())

    def unmatched_column_indicator(self) -> Any:
        """Return bool [m]: which columns have no row."""
        return tf.equal(self._match_results, UNMATCHED)

    def num_unmatched_columns(self) -> Any:
        """Return how many columns have no row."""
        return tf.size(self.unmatched_column_indices())

    def ignored_column_indices(self) -> Any:
        """Return the numbers of the columns that are to be ignored."""
        return _indices(self.ignored_column_indicator())

    def ignored_column_indicator(self) -> Any:
        """Return bool [m]: which columns are to be ignored."""
        return tf.equal(self._match_results, IGNORED)

    def num_ignored_columns(self) -> Any:
        """Return how many columns are to be ignored."""
        return tf.size(self.ignored_column_indices())

    def unmatched_or_ignored_column_indices(self) -> Any:
        """Return the numbers of the columns without a row, or that are to be ignored."""
        return _indices(tf.less(self._match_results, 0))

    def matched_row_indices(self) -> Any:
        """Return the rows of the columns that have one."""
        return tf.gather(self._match_results, self.matched_column_indices())

    def num_matched_rows(self) -> Any:
        """Return how many rows have a column."""
        return tf.size(tf.unique(self.matched_row_indices())[0])

    def gather_based_on_match(self, input_tensor: Any, unmatched_value: Any, ignored_value: Any) -> Any:
        """Return for each column the row of `input_tensor` [n, ...], or one of the two values [...]."""
        unmatched_value = tf.cast(unmatched_value, input_tensor.dtype)
        with_unmatched = tf.concat([unmatched_value[None], input_tensor], axis=0)
        ignored_value = tf.cast(ignored_value, input_tensor.dtype)
        return gather_with_padding_values(with_unmatched, self._match_results + 1, ignored_value)


def _indices(indicator: Any) -> Any:
    return tf.cast(tf.where(indicator)[:, 0], tf.int32)


class Matcher(abc.ABC):
    """Matches columns with rows by their similarity; `use_matmul_gather` makes no difference."""

    def __init__(self, use_matmul_gather: bool = False):
        self._use_matmul_gather = use_matmul_gather

    def match(self, similarity_matrix: Any, valid_rows: Any = None, scope: str | None = None) -> Match:
        """Return the Match by similarities [n, m]; `valid_rows` (bool [n]) tells which rows are no padding."""
        if valid_rows is None:
            valid_rows = tf.ones(tf.shape(similarity_matrix)[0], dtype=tf.bool)
        return Match(self._match(similarity_matrix, valid_rows), self._use_matmul_gather)

    @abc.abstractmethod
    def _match(self, similarity_matrix: Any, valid_rows: Any) -> Any:
        """Return the row of each column, int32 [m]."""
