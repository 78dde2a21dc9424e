"""Box encodings: boxes as offsets from anchors.

A coder has a `code_size`, the length of an encoding, which contains `num_keypoints` besides the box; `encode` and
`decode` are inverse to each other.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from boxtune.detection.boxes import from_centers, to_centers

_SMALLEST_SIDE = 1e-8  # keeps the logarithms of empty boxes finite


@dataclass(frozen=True)
class CenterCodes:
    """Boxes in the one form that every runtime's own decoding takes: that of FasterRcnnBoxCoder."""

    encodings: Any  # float [b, a, 4]
    anchors: Any  # float [a, 4]: centre y, centre x, height and width
    scales: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    """Of the offsets of y and x, and of the log height and width."""


def codes_of_boxes(boxes) -> CenterCodes:
    """Return boxes [b, a, 4] as codes relative to anchors of side 1 at the corner of the image."""
    center_y, center_x, height, width = to_centers(boxes)
    height, width = (ops.log(ops.maximum(side, _SMALLEST_SIDE)) for side in (height, width))
    anchors = np.tile(np.array([0, 0, 1, 1], np.float32), (boxes.shape[1], 1))
    return CenterCodes(ops.stack([center_y, center_x, height, width], axis=-1), anchors)


@dataclass(frozen=True)
class FasterRcnnBoxCoder:
    """Centre offsets in anchor sizes and log sizes, each times a scale.

    Source: Ren et al. 2015 (Faster R-CNN, arXiv:1506.01497), eq. 2; the API's faster_rcnn_box_coder.
    """

    y_scale: float = 10.0
    x_scale: float = 10.0
    height_scale: float = 5.0
    width_scale: float = 5.0

    code_size = 4
    num_keypoints = 0

    def encode(self, boxes, anchors):
        """Return the encodings [..., a, 4] of `boxes` [..., a, 4] relative to `anchors` [a, 4]."""
        anchor_y, anchor_x, anchor_height, anchor_width = to_centers(anchors)
        center_y, center_x, height, width = to_centers(boxes)
        anchor_height, anchor_width = anchor_height + _SMALLEST_SIDE, anchor_width + _SMALLEST_SIDE
        height, width = height + _SMALLEST_SIDE, width + _SMALLEST_SIDE
        return ops.stack(
            [
                (center_y - anchor_y) / anchor_height * self.y_scale,
                (center_x - anchor_x) / anchor_width * self.x_scale,
                ops.log(height / anchor_height) * self.height_scale,
                ops.log(width / anchor_width) * self.width_scale,
            ],
            axis=-1,
        )

    def decode(self, encodings, anchors):
        """Return the boxes [..., a, 4] of `encodings` [..., a, 4]."""
        anchor_y, anchor_x, anchor_height, anchor_width = to_centers(anchors)
        y, x, height, width = ops.unstack(ops.convert_to_tensor(encodings), 4, axis=-1)
        return from_centers(
            y / self.y_scale * anchor_height + anchor_y,
            x / self.x_scale * anchor_width + anchor_x,
            ops.exp(height / self.height_scale) * anchor_height,
            ops.exp(width / self.width_scale) * anchor_width,
        )

    def center_codes(self, encodings, anchors) -> CenterCodes:
        """Return the boxes of `encodings` [b, a, 4] as codes: these themselves."""
        scales = (self.y_scale, self.x_scale, self.height_scale, self.width_scale)
        return CenterCodes(encodings, ops.stack(to_centers(anchors), axis=-1), scales)


@dataclass(frozen=True)
class KeypointBoxCoder:
    """The encoding of a box as by FasterRcnnBoxCoder, then of each keypoint its offset from the anchor's centre.

    Source: the API's keypoint_box_coder.
    """

    num_keypoints: int
    y_scale: float = 10.0
    x_scale: float = 10.0
    height_scale: float = 5.0
    width_scale: float = 5.0

    @property
    def code_size(self) -> int:
        """Four numbers for the box and two for each keypoint."""
        return 4 + 2 * self.num_keypoints

    @property
    def _boxes(self) -> FasterRcnnBoxCoder:
        return FasterRcnnBoxCoder(self.y_scale, self.x_scale, self.height_scale, self.width_scale)

    def encode(self, boxes, anchors, keypoints):
        """Return the encodings [..., a, d] of `boxes` [..., a, 4] and `keypoints` [..., a, p, 2] (y, x), NaN as NaN."""
        anchor_y, anchor_x, height, width = (side[..., None] for side in to_centers(anchors))
        y, x = ops.unstack(ops.convert_to_tensor(keypoints), 2, axis=-1)
        offsets = ops.stack(
            [
                (y - anchor_y) / (height + _SMALLEST_SIDE) * self.y_scale,
                (x - anchor_x) / (width + _SMALLEST_SIDE) * self.x_scale,
            ],
            axis=-1,
        )
        encodings = self._boxes.encode(boxes, anchors)
        flat = ops.reshape(offsets, (*ops.shape(encodings)[:-1], 2 * self.num_keypoints))
        return ops.concatenate([encodings, flat], axis=-1)

    def decode(self, encodings, anchors):
        """Return the boxes [..., a, 4] of `encodings` [..., a, d]."""
        return self._boxes.decode(encodings[..., :4], anchors)

    def center_codes(self, encodings, anchors) -> CenterCodes:
        """Return the boxes of `encodings` [b, a, d] as codes."""
        return self._boxes.center_codes(encodings[..., :4], anchors)

    def decode_keypoints(self, encodings, anchors):
        """Return the keypoints [..., a, p, 2] (y, x) of `encodings` [..., a, d]."""
        anchor_y, anchor_x, height, width = (side[..., None] for side in to_centers(anchors))
        y, x = encodings[..., 4::2], encodings[..., 5::2]
        return ops.stack([y / self.y_scale * height + anchor_y, x / self.x_scale * width + anchor_x], axis=-1)


@dataclass(frozen=True)
class MeanStddevBoxCoder:
    """The differences of the corners, divided by one standard deviation. Source: the API's mean_stddev_box_coder."""

    stddev: float = 0.01

    code_size = 4
    num_keypoints = 0

    def encode(self, boxes, anchors):
        """Return the encodings [..., a, 4] of `boxes` [..., a, 4] relative to `anchors` [a, 4]."""
        return ops.subtract(boxes, anchors) / self.stddev

    def decode(self, encodings, anchors):
        """Return the boxes [..., a, 4] of `encodings` [..., a, 4]."""
        return ops.add(ops.convert_to_tensor(encodings) * self.stddev, anchors)

    def center_codes(self, encodings, anchors) -> CenterCodes:
        """Return the boxes of `encodings` [b, a, 4] as codes."""
        return codes_of_boxes(self.decode(encodings, anchors))


@dataclass(frozen=True)
class SquareBoxCoder:
    """The offset of the centre in anchor lengths, and the log length of a square; a length is the root of an area.

    Decoded boxes are square. Source: the API's square_box_coder.
    """

    y_scale: float = 10.0
    x_scale: float = 10.0
    length_scale: float = 5.0

    code_size = 3
    num_keypoints = 0

    def encode(self, boxes, anchors):
        """Return the encodings [..., a, 3] of `boxes` [..., a, 4] relative to `anchors` [a, 4]."""
        anchor_y, anchor_x, anchor_height, anchor_width = to_centers(anchors)
        center_y, center_x, height, width = to_centers(boxes)
        anchor_length = ops.sqrt(anchor_height * anchor_width) + _SMALLEST_SIDE
        length = ops.sqrt(height * width) + _SMALLEST_SIDE
        return ops.stack(
            [
                (center_y - anchor_y) / anchor_length * self.y_scale,
                (center_x - anchor_x) / anchor_length * self.x_scale,
                ops.log(length / anchor_length) * self.length_scale,
            ],
            axis=-1,
        )

    def decode(self, encodings, anchors):
        """Return the square boxes [..., a, 4] of `encodings` [..., a, 3]."""
        anchor_y, anchor_x, anchor_height, anchor_width = to_centers(anchors)
        anchor_length = ops.sqrt(anchor_height * anchor_width)
        y, x, log_length = ops.unstack(ops.convert_to_tensor(encodings), 3, axis=-1)
        length = ops.exp(log_length / self.length_scale) * anchor_length
        return from_centers(
            y / self.y_scale * anchor_length + anchor_y,
            x / self.x_scale * anchor_length + anchor_x,
            length,
            length,
        )

    def center_codes(self, encodings, anchors) -> CenterCodes:
        """Return the boxes of `encodings` [b, a, 3] as codes relative to square anchors."""
        anchor_y, anchor_x, anchor_height, anchor_width = to_centers(anchors)
        length = ops.sqrt(anchor_height * anchor_width)
        square = ops.stack([anchor_y, anchor_x, length, length], axis=-1)
        repeated = ops.take(encodings, np.array([0, 1, 2, 2]), axis=-1)
        return CenterCodes(
            repeated, square, (self.y_scale, self.x_scale, self.length_scale, self.length_scale)
        )


BoxCoder = FasterRcnnBoxCoder | KeypointBoxCoder | MeanStddevBoxCoder | SquareBoxCoder
