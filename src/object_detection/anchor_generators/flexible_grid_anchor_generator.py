"""Anchors that are listed one by one for each feature map."""

from collections.abc import Sequence
from typing import Any

from boxtune.detection.anchors import AnchorGrid, FlexibleGridAnchors
from object_detection.core import anchor_generator
from object_detection.core.box_list import BoxList
from object_detection.utils.ops import TensorError


class FlexibleGridAnchorGenerator(anchor_generator.AnchorGenerator):
    """Anchors of boxtune's FlexibleGridAnchors; each argument has an item for each feature map."""

    def __init__(
        self,
        base_sizes: Sequence[Sequence[float]],
        aspect_ratios: Sequence[Sequence[float]],
        anchor_strides: Sequence[tuple[Any, Any]],
        anchor_offsets: Sequence[tuple[Any, Any]],
        normalize_coordinates: bool = True,
    ):
        self._base_sizes, self._aspect_ratios = base_sizes, aspect_ratios
        self._anchor_strides, self._anchor_offsets = anchor_strides, anchor_offsets
        self._normalize_coordinates = normalize_coordinates
        maps = zip(base_sizes, aspect_ratios, anchor_strides, anchor_offsets, strict=True)
        self._anchors = FlexibleGridAnchors(
            maps=[
                AnchorGrid(base_sizes=sizes, aspect_ratios=ratios, stride=stride, offset=offset)
                for sizes, ratios, stride, offset in maps
            ],
            normalize_coordinates=normalize_coordinates,
        )

    def name_scope(self) -> str:
        """Return the name of this kind of anchors."""
        return "FlexibleGridAnchorGenerator"

    def num_anchors_per_location(self) -> list[int]:
        """Return the number of anchors per cell of each feature map."""
        return self._anchors.per_location

    def _generate(
        self, feature_map_shape_list: anchor_generator.Grids, im_height: Any = 1, im_width: Any = 1
    ) -> list[BoxList]:
        grids = anchor_generator.checked_grids(feature_map_shape_list, len(self._base_sizes))
        if self._normalize_coordinates and _is_unknown(im_height, im_width):
            raise TensorError(
                "Normalized coordinates were requested upon construction of the FlexibleGridAnchorGenerator, but a "
                "subsequent call to generate did not supply dimension information."
            )
        anchors = self._anchors.generate(grids, (im_height, im_width))
        return anchor_generator.split_by_map(anchors, grids, self._anchors.per_location)


def _is_unknown(im_height: Any, im_width: Any) -> bool:
    return any(isinstance(side, int) and side == 1 for side in (im_height, im_width))
