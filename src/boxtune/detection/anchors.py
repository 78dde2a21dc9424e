"""Anchor boxes tiled over feature maps, as numpy constants.

The order of the anchors is part of a checkpoint's meaning: feature map, row, column, then shape at a place.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Size = tuple[int, int]  # height and width, or rows and columns


@dataclass(frozen=True, kw_only=True)
class SsdAnchors:
    """The default boxes of SSD, in shares of the image's shorter side.

    Scales grow evenly from `min_scale` on the finest of `num_layers` feature maps to `max_scale` on the
    coarsest, unless `scales` names them. Each map adds one anchor between its own scale and the next.
    `strides` and `offsets` are pixels from cell to cell and to the first centre; by default the maps divide
    the image evenly. Source: Liu et al. 2016 (SSD, arXiv:1512.02325), section 2.2; the API's
    multiple_grid_anchor_generator.
    """

    num_layers: int = 6
    min_scale: float = 0.2
    max_scale: float = 0.95
    scales: Sequence[float] = ()
    aspect_ratios: Sequence[float] = (1.0, 2.0, 0.5, 3.0, 1 / 3)
    interpolated_scale_aspect_ratio: float = 1.0
    reduce_boxes_in_lowest_layer: bool = True
    base_size: tuple[float, float] = (1.0, 1.0)
    strides: Sequence[Size] = ()
    offsets: Sequence[Size] = ()

    @property
    def per_location(self) -> list[int]:
        """How many anchors stand on a cell of each feature map."""
        return [len(pairs) for pairs in self._scales_and_ratios()]

    def generate(self, grids: Sequence[Size], image_size: Size) -> np.ndarray:
        """Return the normalised anchors [a, 4] for maps of `grids` over an image of `image_size` pixels."""
        height, width = (float(side) for side in image_size)
        shorter = min(height, width)
        base = (self.base_size[0] * shorter / height, self.base_size[1] * shorter / width)
        tiles = []
        for index, (grid, pairs) in enumerate(zip(grids, self._scales_and_ratios(), strict=True)):
            if self.strides:
                stride = (self.strides[index][0] / height, self.strides[index][1] / width)
            else:
                stride = (1 / grid[0], 1 / grid[1])
            if self.offsets:
                offset = (self.offsets[index][0] / height, self.offsets[index][1] / width)
            else:
                offset = (0.5 * stride[0], 0.5 * stride[1])
            tiles.append(tile(grid, [shape(scale, ratio, base) for scale, ratio in pairs], stride, offset))
        return np.concatenate(tiles)

    def _scales_and_ratios(self) -> list[list[tuple[float, float]]]:
        steps = list(self.scales) or np.linspace(self.min_scale, self.max_scale, self.num_layers).tolist()
        layers = []
        for layer, (scale, next_scale) in enumerate(zip(steps, [*steps[1:], 1.0], strict=True)):
            if layer == 0 and self.reduce_boxes_in_lowest_layer:
                layers.append([(0.1, 1.0), (scale, 2.0), (scale, 0.5)])
                continue
            pairs = [(scale, ratio) for ratio in self.aspect_ratios]
            if self.interpolated_scale_aspect_ratio > 0:
                pairs.append((float(np.sqrt(scale * next_scale)), self.interpolated_scale_aspect_ratio))
            layers.append(pairs)
        return layers


@dataclass(frozen=True, kw_only=True)
class MultiscaleAnchors:
    """The anchors of RetinaNet: at level l, `anchor_scale` * 2^l pixels times fractions of an octave.

    The grid starts half a stride into the image where the stride divides the image's side, and at 0 where it
    does not. Source: Lin et al. 2017 (arXiv:1708.02002), section 4; the API's
    multiscale_grid_anchor_generator.
    """

    min_level: int = 3
    max_level: int = 7
    anchor_scale: float = 4.0
    aspect_ratios: Sequence[float] = (1.0, 2.0, 0.5)
    scales_per_octave: int = 2
    normalize_coordinates: bool = True

    @property
    def per_location(self) -> list[int]:
        """How many anchors stand on a cell of each feature map."""
        return [len(self.aspect_ratios) * self.scales_per_octave] * (self.max_level - self.min_level + 1)

    def generate(self, grids: Sequence[Size], image_size: Size) -> np.ndarray:
        """Return the anchors [a, 4] for feature maps of `grids`, normalised by `image_size` or in pixels."""
        octave = [2.0 ** (index / self.scales_per_octave) for index in range(self.scales_per_octave)]
        tiles = []
        for level, grid in zip(range(self.min_level, self.max_level + 1), grids, strict=True):
            stride = 2**level
            offset = [stride / 2 if side % stride == 0 else 0.0 for side in image_size]
            base = (self.anchor_scale * stride, self.anchor_scale * stride)
            shapes = [shape(scale, ratio, base) for ratio in self.aspect_ratios for scale in octave]
            tiles.append(tile(grid, shapes, (stride, stride), offset))
        anchors = np.concatenate(tiles)
        return (
            anchors / np.array([*image_size, *image_size], np.float32)
            if self.normalize_coordinates
            else anchors
        )


def shape(scale: float, aspect_ratio: float, base: tuple[float, float]) -> tuple[float, float]:
    """Return (height, width) of an anchor: `base` times `scale`, `aspect_ratio` times as wide as high."""
    root = float(np.sqrt(aspect_ratio))
    return scale / root * base[0], scale * root * base[1]


def tile(
    grid: Size, shapes: Sequence[tuple[float, float]], stride: Sequence[float], offset: Sequence[float]
) -> np.ndarray:
    """Return float32 [a, 4]: `shapes` (height, width) centred on every cell of `grid`.

    The centre of cell (row, column) is `offset + (row, column) * stride`; all lengths have one unit.
    """
    y = np.arange(grid[0]) * stride[0] + offset[0]
    x = np.arange(grid[1]) * stride[1] + offset[1]
    centers = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1)[:, :, None]  # [rows, columns, 1, 2]
    half = 0.5 * np.asarray(shapes)  # [shapes, 2]
    return np.concatenate([centers - half, centers + half], axis=-1).reshape(-1, 4).astype(np.float32)
