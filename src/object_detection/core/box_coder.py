"""Encodings of boxes relative to anchors."""

import abc
from typing import Any

import tensorflow as tf

from object_detection.core.box_list import BoxList
from object_detection.utils.ops import TensorError

FASTER_RCNN = "faster_rcnn"
KEYPOINT = "keypoint"
MEAN_STDDEV = "mean_stddev"
SQUARE = "square"


class BoxCoder(abc.ABC):
    """Encodes boxes relative to anchors, and decodes them."""

    @property
    @abc.abstractmethod
    def code_size(self) -> int:
        """The length of the encoding of a box."""

    def encode(self, boxes: BoxList, anchors: BoxList) -> Any:
        """Return the encodings [a, code size] of boxes."""
        return self._encode(boxes, anchors)

    def decode(self, rel_codes: Any, anchors: BoxList) -> BoxList:
        """Return the boxes of encodings [a, code size]."""
        return self._decode(rel_codes, anchors)

    @abc.abstractmethod
    def _encode(self, boxes: BoxList, anchors: BoxList) -> Any:
        """Return the encodings [a, code size] of boxes."""

    @abc.abstractmethod
    def _decode(self, rel_codes: Any, anchors: BoxList) -> BoxList:
        """Return the boxes of encodings [a, code size]."""


def checked_scale_factors(scale_factors: Any, count: int) -> Any:
    """Return scale factors, or None for none; raise TensorError unless there are `count` of them, above 0."""
    if scale_factors and (len(scale_factors) != count or min(scale_factors) <= 0):
        raise TensorError(f"scale_factors is {scale_factors}; give {count} numbers above 0")
    return scale_factors


def batch_decode(encoded_boxes: Any, box_coder: BoxCoder, anchors: BoxList) -> Any:
    """Return the boxes [b, a, 4] of encodings [b, a, code size].

    Raises:
        TensorError: if there are not as many encodings as anchors, or they are not of rank 3.
    """
    encoded_boxes = tf.convert_to_tensor(encoded_boxes)
    encoded_boxes.shape.assert_has_rank(3)
    if encoded_boxes.shape[1] != anchors.num_boxes_static():
        raise TensorError(
            "The number of anchors inferred from encoded_boxes and anchors are inconsistent: shape[1] of encoded_boxes "
            f"{encoded_boxes.shape[1]} should be equal to the number of anchors: {anchors.num_boxes_static()}."
        )
    return tf.stack([box_coder.decode(boxes, anchors).get() for boxes in tf.unstack(encoded_boxes)])
