"""The anchors of RetinaNet."""

from collections.abc import Sequence
from typing import Any

from boxtune.detection.anchors import MultiscaleAnchors
from object_detection.core import anchor_generator
from object_detection.core.box_list import BoxList
from object_detection.utils.ops import TensorError


class MultiscaleGridAnchorGenerator(anchor_generator.AnchorGenerator):
    """Anchors of boxtune's MultiscaleAnchors."""

    def __init__(
        self,
        min_level: int,
        max_level: int,
        anchor_scale: float,
        aspect_ratios: Sequence[float],
        scales_per_octave: int,
        normalize_coordinates: bool = True,
    ):
        self._aspect_ratios, self._scales_per_octave = aspect_ratios, scales_per_octave
        self._normalize_coordinates = normalize_coordinates
        self._anchors = MultiscaleAnchors(
            min_level=min_level,
            max_level=max_level,
            anchor_scale=anchor_scale,
            aspect_ratios=tuple(aspect_ratios),
            scales_per_octave=scales_per_octave,
            normalize_coordinates=normalize_coordinates,
        )
        scales = [2.0 ** (index / scales_per_octave) for index in range(scales_per_octave)]
        self._anchor_grid_info = [
            {"level": level, "info": [scales, aspect_ratios, [anchor_scale * 2**level] * 2, [2**level] * 2]}
            for level in range(min_level, max_level + 1)
        ]

    def name_scope(self) -> str:
        """Return the name of this kind of anchors."""
        return "MultiscaleGridAnchorGenerator"

    def num_anchors_per_location(self) -> list[int]:
        """Return the number of anchors per cell of each feature map."""
        return self._anchors.per_location

    def _generate(
        self, feature_map_shape_list: anchor_generator.Grids, im_height: Any = 1, im_width: Any = 1
    ) -> list[BoxList]:
        grids = anchor_generator.checked_grids(feature_map_shape_list, len(self._anchor_grid_info))
        # An image that is not known starts like one whose sides every stride divides.
        height, width = (0 if isinstance(side, int) and side == 1 else side for side in (im_height, im_width))
        if self._normalize_coordinates and any(
            isinstance(side, int) and not side for side in (height, width)
        ):
            raise TensorError(
                "Normalized coordinates were requested upon construction of the MultiscaleGridAnchorGenerator, but a "
                "subsequent call to generate did not supply dimension information."
            )
        return anchor_generator.split_by_map(
            self._anchors.generate(grids, (height, width)), grids, self._anchors.per_location
        )
