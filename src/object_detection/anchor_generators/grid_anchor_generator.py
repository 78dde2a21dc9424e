"""The anchors of a region proposal network, in pixels."""

from collections.abc import Sequence
from typing import Any

from boxtune.detection.anchors import grid_anchors
from object_detection.core import anchor_generator
from object_detection.core.box_list import BoxList


class GridAnchorGenerator(anchor_generator.AnchorGenerator):
    """Anchors of every scale and aspect ratio on one feature map; sizes, stride and offset are (y, x) in pixels."""

    def __init__(
        self,
        scales: Sequence[float] = (0.5, 1.0, 2.0),
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        base_anchor_size: Sequence[Any] | None = None,
        anchor_stride: Sequence[Any] | None = None,
        anchor_offset: Sequence[Any] | None = None,
    ):
        self._scales, self._aspect_ratios = scales, aspect_ratios
        self._base_anchor_size = [256.0, 256.0] if base_anchor_size is None else base_anchor_size
        self._anchor_stride = [16.0, 16.0] if anchor_stride is None else anchor_stride
        self._anchor_offset = [0.0, 0.0] if anchor_offset is None else anchor_offset

    def name_scope(self) -> str:
        """Return the name of this kind of anchors."""
        return "GridAnchorGenerator"

    def num_anchors_per_location(self) -> list[int]:
        """Return the number of anchors per cell of the feature map."""
        return [len(self._scales) * len(self._aspect_ratios)]

    def _generate(
        self, feature_map_shape_list: anchor_generator.Grids, im_height: Any = 1, im_width: Any = 1
    ) -> list[BoxList]:
        [grid] = anchor_generator.checked_grids(feature_map_shape_list, 1)
        return [
            tile_anchors(
                *grid,
                self._scales,
                self._aspect_ratios,
                self._base_anchor_size,
                self._anchor_stride,
                self._anchor_offset,
            )
        ]


def tile_anchors(
    grid_height: Any,
    grid_width: Any,
    scales: Sequence[float],
    aspect_ratios: Sequence[float],
    base_anchor_size: Sequence[Any],
    anchor_stride: Sequence[Any],
    anchor_offset: Sequence[Any],
) -> BoxList:
    """Return anchors of every scale and aspect ratio on every cell of a grid, row by row."""
    # Each may be a tensor, which a graph does not iterate over.
    size, stride, offset = ((pair[0], pair[1]) for pair in (base_anchor_size, anchor_stride, anchor_offset))
    anchors = grid_anchors(scales, aspect_ratios, size, stride=stride, offset=offset)
    return BoxList(anchors.generate([(grid_height, grid_width)], (1, 1)))
