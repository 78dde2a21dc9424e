"""The generator of anchors that a configuration describes."""

from boxtune.config import pipeline_pb2
from object_detection.anchor_generators.flexible_grid_anchor_generator import FlexibleGridAnchorGenerator
from object_detection.anchor_generators.grid_anchor_generator import GridAnchorGenerator
from object_detection.anchor_generators.multiple_grid_anchor_generator import create_ssd_anchors
from object_detection.anchor_generators.multiscale_grid_anchor_generator import MultiscaleGridAnchorGenerator
from object_detection.builders.checked import SectionError, checked
from object_detection.core.anchor_generator import AnchorGenerator


def build(anchor_generator_config: pipeline_pb2.AnchorGenerator) -> AnchorGenerator:
    """Return the generator of anchors; raise SectionError if none is set."""
    checked("anchor_generator_config", anchor_generator_config, pipeline_pb2.AnchorGenerator)
    match anchor_generator_config.WhichOneof("anchor_generator_oneof"):
        case "grid_anchor_generator":
            grid = anchor_generator_config.grid_anchor_generator
            return GridAnchorGenerator(
                list(grid.scales),
                list(grid.aspect_ratios),
                base_anchor_size=[grid.height, grid.width],
                anchor_stride=[grid.height_stride, grid.width_stride],
                anchor_offset=[grid.height_offset, grid.width_offset],
            )
        case "ssd_anchor_generator":
            return _ssd(anchor_generator_config.ssd_anchor_generator)
        case "multiscale_anchor_generator":
            multiscale = anchor_generator_config.multiscale_anchor_generator
            return MultiscaleGridAnchorGenerator(
                multiscale.min_level,
                multiscale.max_level,
                multiscale.anchor_scale,
                list(multiscale.aspect_ratios),
                multiscale.scales_per_octave,
                multiscale.normalize_coordinates,
            )
        case "flexible_grid_anchor_generator":
            return _flexible(anchor_generator_config.flexible_grid_anchor_generator)
    raise SectionError("Unknown anchor generator.")


def _ssd(section: pipeline_pb2.SsdAnchorGenerator) -> AnchorGenerator:
    strides = list(zip(section.height_stride, section.width_stride, strict=True))
    offsets = list(zip(section.height_offset, section.width_offset, strict=True))
    return create_ssd_anchors(
        num_layers=section.num_layers,
        min_scale=section.min_scale,
        max_scale=section.max_scale,
        scales=list(section.scales),
        aspect_ratios=list(section.aspect_ratios),
        interpolated_scale_aspect_ratio=section.interpolated_scale_aspect_ratio,
        base_anchor_size=[section.base_anchor_height, section.base_anchor_width],
        anchor_strides=strides or None,
        anchor_offsets=offsets or None,
        reduce_boxes_in_lowest_layer=section.reduce_boxes_in_lowest_layer,
    )


def _flexible(section: pipeline_pb2.FlexibleGridAnchorGenerator) -> AnchorGenerator:
    grids = section.anchor_grid
    return FlexibleGridAnchorGenerator(
        [tuple(grid.base_sizes) for grid in grids],
        [tuple(grid.aspect_ratios) for grid in grids],
        [(grid.height_stride, grid.width_stride) for grid in grids],
        [(grid.height_offset, grid.width_offset) for grid in grids],
        section.normalize_coordinates,
    )
