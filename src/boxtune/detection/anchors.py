"""Anchor boxes tiled over feature maps.

Checkpoints depend on the order of the anchors: feature map, row, column, then shape at a location.

Where the sizes of the maps and of the image are known, the anchors are a numpy constant, computed in float64 and
rounded to float32 at the end. Where any of them is a tensor, the anchors are a tensor, computed in float32 throughout.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from keras import ops

Size = tuple[Any, Any]  # height and width, or rows and columns: int, or an integer tensor []
Pair = tuple[Any, Any]  # of lengths, likewise down and across: float, or a float tensor []


@dataclass(frozen=True, kw_only=True)
class SsdAnchors:
    """The default boxes of SSD, in fractions of the image's shorter side.

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

    normalize_coordinates = True

    @property
    def per_location(self) -> list[int]:
        """The number of anchors per cell of each feature map."""
        return [len(pairs) for pairs in self.scales_and_ratios()]

    def generate(self, grids: Sequence[Size], image_size: Size) -> Any:
        """Return the normalised anchors [a, 4] for maps of `grids` over an image of `image_size` pixels."""
        return tile_maps(
            grids,
            self.scales_and_ratios(),
            image_size,
            base_size=self.base_size,
            strides=self.strides,
            offsets=self.offsets,
        )

    def scales_and_ratios(self) -> list[list[tuple[float, float]]]:
        """Return the scale and aspect ratio of each anchor per cell of each feature map."""
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
        """The number of anchors per cell of each feature map."""
        return [len(self.aspect_ratios) * self.scales_per_octave] * (self.max_level - self.min_level + 1)

    def generate(self, grids: Sequence[Size], image_size: Size) -> Any:
        """Return the anchors [a, 4] for feature maps of `grids`, normalised by `image_size` or in pixels."""
        xp = array_module(*grids, image_size)
        height, width = lengths(xp, image_size)
        octave = [2.0 ** (index / self.scales_per_octave) for index in range(self.scales_per_octave)]
        tiles = []
        for level, grid in zip(range(self.min_level, self.max_level + 1), grids, strict=True):
            stride = 2**level
            starts = (xp.where(side % stride == 0, stride / 2, 0.0) for side in (height, width))
            base = (self.anchor_scale * stride, self.anchor_scale * stride)
            shapes = [shape(scale, ratio, base) for ratio in self.aspect_ratios for scale in octave]
            tiles.append(tile(grid, shapes, (stride, stride), tuple(starts), xp))
        anchors = xp.concatenate(tiles)
        return normalized(xp, anchors, (height, width)) if self.normalize_coordinates else anchors


@dataclass(frozen=True, kw_only=True)
class AnchorGrid:
    """The anchors of one feature map, in pixels: one for each of `base_sizes`, with its aspect ratio."""

    base_sizes: Sequence[float]
    aspect_ratios: Sequence[float]
    stride: tuple[int, int]
    offset: tuple[int, int] = (0, 0)
    unit: Pair = (1.0, 1.0)
    """Of the sizes: height and width."""


@dataclass(frozen=True, kw_only=True)
class FlexibleGridAnchors:
    """Anchors that are listed one by one for each feature map. Source: the API's flexible_grid_anchor_generator."""

    maps: Sequence[AnchorGrid]
    normalize_coordinates: bool = True

    @property
    def per_location(self) -> list[int]:
        """The number of anchors per cell of each feature map."""
        return [len(one.base_sizes) for one in self.maps]

    def generate(self, grids: Sequence[Size], image_size: Size) -> Any:
        """Return the anchors [a, 4] for feature maps of `grids`, normalised by `image_size` or in pixels."""
        lengths_of_maps = (pair for one in self.maps for pair in (one.unit, one.stride, one.offset))
        xp = array_module(*grids, image_size, *lengths_of_maps)
        tiles = []
        for one, grid in zip(self.maps, grids, strict=True):
            pairs = zip(one.base_sizes, one.aspect_ratios, strict=True)
            shapes = [shape(size, ratio, one.unit) for size, ratio in pairs]
            tiles.append(tile(grid, shapes, one.stride, one.offset, xp))
        anchors = xp.concatenate(tiles)
        return normalized(xp, anchors, lengths(xp, image_size)) if self.normalize_coordinates else anchors


def grid_anchors(
    scales: Sequence[float], aspect_ratios: Sequence[float], base_size: Pair, **grid: Any
) -> FlexibleGridAnchors:
    """Return the anchors of a region proposal network on its one feature map, in pixels.

    There is an anchor for each of `aspect_ratios` and `scales`, of `base_size` times the scale; `grid` has the stride
    and the offset. Source: Ren et al. 2015 (Faster R-CNN, arXiv:1506.01497), section 3.1.1; the API's
    grid_anchor_generator.
    """
    ratios, sizes = zip(*((ratio, scale) for ratio in aspect_ratios for scale in scales), strict=True)
    anchors = AnchorGrid(base_sizes=sizes, aspect_ratios=ratios, unit=base_size, **grid)
    return FlexibleGridAnchors(maps=(anchors,), normalize_coordinates=False)


def tile_maps(
    grids: Sequence[Size],
    scales_and_ratios: Sequence[Sequence[tuple[float, float]]],
    image_size: Size,
    *,
    base_size: Pair = (1.0, 1.0),
    strides: Sequence[Size] = (),
    offsets: Sequence[Size] = (),
) -> Any:
    """Return the normalised anchors [a, 4] for maps of `grids` over an image of `image_size` pixels.

    Sizes are fractions of the image's shorter side, times `base_size`. `strides` and `offsets` are pixels from cell to
    cell and to the first centre; by default the maps divide the image evenly.
    """
    xp = array_module(*grids, image_size, base_size, *strides, *offsets)
    height, width = lengths(xp, image_size)
    shorter = xp.minimum(height, width)
    base = (base_size[0] * shorter / height, base_size[1] * shorter / width)
    tiles = []
    for index, (grid, pairs) in enumerate(zip(grids, scales_and_ratios, strict=True)):
        if strides:
            stride = (strides[index][0] / height, strides[index][1] / width)
        else:
            rows, columns = lengths(xp, grid)
            stride = (1 / rows, 1 / columns)
        if offsets:
            offset = (offsets[index][0] / height, offsets[index][1] / width)
        else:
            offset = (0.5 * stride[0], 0.5 * stride[1])
        tiles.append(tile(grid, [shape(scale, ratio, base) for scale, ratio in pairs], stride, offset, xp))
    return xp.concatenate(tiles)


def shape(scale: float, aspect_ratio: float, base: Pair) -> Pair:
    """Return (height, width) of an anchor: `base` times `scale`, `aspect_ratio` times as wide as high."""
    root = float(np.sqrt(aspect_ratio))
    return scale / root * base[0], scale * root * base[1]


def tile(grid: Size, shapes: Sequence[Pair], stride: Pair, offset: Pair, xp: Any = np) -> Any:
    """Return float32 [a, 4]: `shapes` (height, width) centred on every cell of `grid`.

    The centre of cell (row, column) is `offset + (row, column) * stride`; all lengths have one unit.
    `xp` is the module to compute with: numpy, or `keras.ops` where a length is a tensor.
    """
    y, x = (
        xp.arange(count, dtype="float32" if xp is ops else "float64") * step + start
        for count, step, start in zip(grid, stride, offset, strict=True)
    )
    centers = xp.stack(xp.meshgrid(y, x, indexing="ij"), axis=-1)[:, :, None]  # [rows, columns, 1, 2]
    half = 0.5 * xp.stack([xp.stack(lengths(xp, pair)) for pair in shapes])  # [shapes, 2]
    anchors = xp.reshape(xp.concatenate([centers - half, centers + half], axis=-1), (-1, 4))
    return xp.array(anchors, dtype="float32")


def normalized(xp: Any, anchors: Any, image_size: Pair) -> Any:
    """Return float32 anchors [a, 4] in pixels as fractions of the image's height and width."""
    return anchors / xp.array(xp.stack([*image_size, *image_size]), dtype="float32")


def array_module(*sizes: Size) -> Any:
    """Return the module to compute with `sizes`: numpy if they are all numbers, else `keras.ops`."""
    return np if all(isinstance(side, Real) for size in sizes for side in size) else ops


def lengths(xp: Any, pair: Pair) -> Pair:
    """Return both of `pair` as floats: float64 by numpy, float32 tensors by `keras.ops`."""
    first, second = (xp.cast(one, "float32") if xp is ops else np.float64(one) for one in pair)
    return first, second
