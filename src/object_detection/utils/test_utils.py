"""Stand-ins for the parts of a detector, and arrays, for tests."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from object_detection.core import anchor_generator, box_coder, box_predictor, matcher
from object_detection.core.box_list import BoxList

DEFAULT_MASK_SIZE = 5


class MockBoxCoder(box_coder.BoxCoder):
    """Encodes a box as its difference from the anchor."""

    @property
    def code_size(self) -> int:
        """The length of the encoding of a box."""
        return 4

    def _encode(self, boxes: BoxList, anchors: BoxList) -> Any:
        return boxes.get() - anchors.get()

    def _decode(self, rel_codes: Any, anchors: BoxList) -> BoxList:
        return BoxList(rel_codes + anchors.get())


class MockMaskHead:
    """Predicts masks of zeros."""

    def __init__(self, num_classes: int):
        self._num_classes = num_classes

    def predict(self, features: Any) -> Any:
        """Return a mask of each class for each row of features, [b, 1, c, y, x]."""
        return tf.zeros([tf.shape(features)[0], 1, self._num_classes, DEFAULT_MASK_SIZE, DEFAULT_MASK_SIZE])


def _zeros(image_features: Sequence[Any], num_columns: int) -> dict[str, Any]:
    """Return an encoding and scores of 0 for each cell of the first map, that depend on it."""
    b, height, width, _ = tf.unstack(tf.shape(image_features[0]))
    zero = 0.0 * tf.reduce_sum(image_features[0])
    return {
        box_predictor.BOX_ENCODINGS: zero + tf.zeros([b, height * width, 1, 4]),
        box_predictor.CLASS_PREDICTIONS_WITH_BACKGROUND: zero + tf.zeros([b, height * width, num_columns]),
    }


class MockBoxPredictor(box_predictor.BoxPredictor):
    """Predicts zeros for each cell of the first map."""

    def __init__(self, is_training: bool, num_classes: int, add_background_class: bool = True):
        super().__init__(is_training, num_classes)
        self._add_background_class = add_background_class

    def _predict(
        self, image_features: Sequence[Any], num_predictions_per_location: Sequence[int], **params: Any
    ) -> dict[str, Any]:
        return _zeros(image_features, self.num_classes + self._add_background_class)


class MockKerasBoxPredictor(box_predictor.KerasBoxPredictor):
    """Predicts zeros for each cell of the first map."""

    def __init__(self, is_training: bool, num_classes: int, add_background_class: bool = True):
        super().__init__(is_training, num_classes, False, False)
        self._add_background_class = add_background_class

    def _predict(self, image_features: Sequence[Any], **kwargs: Any) -> dict[str, Any]:
        return _zeros(image_features, self.num_classes + self._add_background_class)


class MockAnchorGenerator(anchor_generator.AnchorGenerator):
    """Generates an anchor of zeros for each cell."""

    def name_scope(self) -> str:
        """Return the name of this kind of anchors."""
        return "MockAnchorGenerator"

    def num_anchors_per_location(self) -> list[int]:
        """Return the number of anchors per cell of the one feature map."""
        return [1]

    def _generate(
        self, feature_map_shape_list: anchor_generator.Grids, im_height: Any = 1, im_width: Any = 1
    ) -> list[BoxList]:
        return [BoxList(tf.zeros([sum(height * width for height, width in feature_map_shape_list), 4]))]


class MockMatcher(matcher.Matcher):
    """Matches no column."""

    def _match(self, similarity_matrix: Any, valid_rows: Any) -> Any:
        return tf.fill([tf.shape(similarity_matrix)[1]], -1)


def create_diagonal_gradient_image(height: int, width: int, depth: int) -> np.ndarray:
    """Return float32 [h, w, d], that grows downwards and to the left; each channel is ten times the one before."""
    layer = np.arange(height)[:, None] + np.arange(width)[::-1]
    return (layer[..., None] * 10.0 ** np.arange(depth)).astype(np.float32)


def create_random_boxes(num_boxes: int, max_height: float, max_width: float) -> np.ndarray:
    """Return boxes float32 [n, 4] within a height and a width."""
    corners = np.random.uniform(size=(2, num_boxes, 2)) * [max_height, max_width]  # noqa: NPY002
    return np.concatenate([corners.min(0), corners.max(0)], axis=1).astype(np.float32)


def first_rows_close_as_set(
    a: Any, b: Any, k: int | None = None, rtol: float = 1e-6, atol: float = 1e-6
) -> bool:
    """Return whether the first k rows of two arrays are the same in whatever order."""
    a, b = np.asarray(a), np.asarray(b)
    count = min(len(a), len(b)) if k is None else k
    if min(len(a), len(b)) < count or (k is None and len(a) != len(b)) or a.shape[1:] != b.shape[1:]:
        return False
    first, second = (sorted(rows[:count].tolist()) for rows in (a, b))
    return bool(np.allclose(first, second, rtol, atol))


class GraphContextOrNone:
    """A graph of TensorFlow 1 to build in; nothing where TensorFlow is eager."""

    def __init__(self) -> None:
        self.graph = None if tf.executing_eagerly() else tf.Graph().as_default()

    def __enter__(self) -> Any:
        return None if self.graph is None else self.graph.__enter__()

    def __exit__(self, *error: Any) -> Any:
        return None if self.graph is None else self.graph.__exit__(*error)


def image_with_dynamic_shape(height: int, width: int, channels: int) -> Any:
    """Return an image [h, w, d] whose height and width are not known before the graph runs."""
    return _random(tf.stack([_unknown(height), _unknown(width), channels]))


def keypoints_with_dynamic_shape(num_instances: int, num_keypoints: int, num_coordinates: int) -> Any:
    """Return keypoints whose numbers of instances and keypoints are not known before the graph runs."""
    return _random(tf.stack([_unknown(num_instances), _unknown(num_keypoints), num_coordinates]))


def _unknown(number: int) -> Any:
    return tf.random.uniform([], number, number + 1, tf.int32)


def _random(shape: Any) -> Any:
    return tf.random.uniform(shape)
