"""Boxes as offsets from anchors."""

from dataclasses import dataclass

from keras import ops

from boxtune.detection.boxes import from_centers, to_centers

_SMALLEST_SIDE = 1e-8  # keeps the logarithms of empty boxes finite


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

    def encode(self, boxes, anchors):
        """Return the codes [..., a, 4] of `boxes` [..., a, 4] against `anchors` [a, 4]."""
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

    def decode(self, codes, anchors):
        """Return the boxes [..., a, 4] that `codes` [..., a, 4] stand for."""
        anchor_y, anchor_x, anchor_height, anchor_width = to_centers(anchors)
        code_y, code_x, code_height, code_width = ops.unstack(ops.convert_to_tensor(codes), 4, axis=-1)
        return from_centers(
            code_y / self.y_scale * anchor_height + anchor_y,
            code_x / self.x_scale * anchor_width + anchor_x,
            ops.exp(code_height / self.height_scale) * anchor_height,
            ops.exp(code_width / self.width_scale) * anchor_width,
        )
