"""The default boxes of SSD, in fractions of the image."""

from collections.abc import Sequence
from typing import Any

from boxtune.detection.anchors import SsdAnchors, tile_maps
from object_detection.core import anchor_generator, box_list_ops
from object_detection.core.box_list import BoxList
from object_detection.utils.ops import TensorError


class MultipleGridAnchorGenerator(anchor_generator.AnchorGenerator):
    """Anchors that are listed for each feature map as pairs of a scale and an aspect ratio.

    Sizes are fractions of the shorter side of the image; strides and offsets, (y, x) for each map, are pixels of an
    image whose size is given to `generate`, or by default such that the maps divide the image evenly. Anchors are
    clipped to `clip_window` [4] if there is one.

    Raises:
        TensorError: for other lists.
    """

    def __init__(
        self,
        box_specs_list: Sequence[Sequence[tuple[float, float]]],
        base_anchor_size: Any = None,
        anchor_strides: Sequence[tuple[Any, Any]] | None = None,
        anchor_offsets: Sequence[tuple[Any, Any]] | None = None,
        clip_window: Any = None,
    ):
        if not (
            isinstance(box_specs_list, list)
            and all(isinstance(specs, list) for specs in box_specs_list)
            and all(len(pair) == 2 for specs in box_specs_list for pair in specs)
        ):
            raise TensorError("box_specs_list is expected to be a list of lists of pairs")
        for name, pairs in (("anchor_strides", anchor_strides), ("anchor_offsets", anchor_offsets)):
            if pairs is not None and len(pairs) != len(box_specs_list):
                raise TensorError(f"{name} has {len(pairs)} pairs for {len(box_specs_list)} feature maps")
            if pairs is not None and not all(len(pair) == 2 for pair in pairs):
                raise TensorError(f"{name} must be a list of pairs; it is {pairs}")
        self._box_specs = box_specs_list
        self._scales = [tuple(scale for scale, _ in specs) for specs in box_specs_list]
        self._aspect_ratios = [tuple(ratio for _, ratio in specs) for specs in box_specs_list]
        self._base_anchor_size = (1.0, 1.0) if base_anchor_size is None else base_anchor_size
        self._anchor_strides, self._anchor_offsets = anchor_strides, anchor_offsets
        self._clip_window = clip_window

    def name_scope(self) -> str:
        """Return the name of this kind of anchors."""
        return "MultipleGridAnchorGenerator"

    def num_anchors_per_location(self) -> list[int]:
        """Return the number of anchors per cell of each feature map."""
        return [len(specs) for specs in self._box_specs]

    def _generate(
        self, feature_map_shape_list: anchor_generator.Grids, im_height: Any = 1, im_width: Any = 1
    ) -> list[BoxList]:
        grids = anchor_generator.checked_grids(feature_map_shape_list, len(self._box_specs))
        anchors = tile_maps(
            grids,
            self._box_specs,
            (im_height, im_width),
            base_size=(self._base_anchor_size[0], self._base_anchor_size[1]),
            strides=self._anchor_strides or (),
            offsets=self._anchor_offsets or (),
        )
        generated = anchor_generator.split_by_map(anchors, grids, self.num_anchors_per_location())
        if self._clip_window is None:
            return generated
        return [
            box_list_ops.clip_to_window(one, self._clip_window, filter_nonoverlapping=False)
            for one in generated
        ]


def create_ssd_anchors(
    num_layers: int = 6,
    min_scale: float = 0.2,
    max_scale: float = 0.95,
    scales: Sequence[float] | None = None,
    aspect_ratios: Sequence[float] = (1.0, 2.0, 3.0, 1.0 / 2, 1.0 / 3),
    interpolated_scale_aspect_ratio: float = 1.0,
    base_anchor_size: Any = None,
    anchor_strides: Sequence[tuple[Any, Any]] | None = None,
    anchor_offsets: Sequence[tuple[Any, Any]] | None = None,
    reduce_boxes_in_lowest_layer: bool = True,
) -> MultipleGridAnchorGenerator:
    """Return the generator of the default boxes of SSD; see `boxtune.detection.anchors.SsdAnchors`."""
    anchors = SsdAnchors(
        num_layers=num_layers,
        min_scale=min_scale,
        max_scale=max_scale,
        scales=scales or (),
        aspect_ratios=aspect_ratios,
        interpolated_scale_aspect_ratio=interpolated_scale_aspect_ratio,
        reduce_boxes_in_lowest_layer=reduce_boxes_in_lowest_layer,
    )
    return MultipleGridAnchorGenerator(
        anchors.scales_and_ratios(), base_anchor_size, anchor_strides, anchor_offsets
    )
