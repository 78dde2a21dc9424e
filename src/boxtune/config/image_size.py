"""The size to which a configuration resizes every image."""

from boxtune.config.pipeline_pb2 import ImageResizer


def fixed_size(section: ImageResizer) -> tuple[int, int] | None:
    """Return the (height, width) in pixels that `image_resizer` gives every image, None where it varies."""
    fixed, aspect = section.fixed_shape_resizer, section.keep_aspect_ratio_resizer
    if section.HasField("fixed_shape_resizer"):
        return fixed.height, fixed.width
    if section.HasField("keep_aspect_ratio_resizer") and aspect.pad_to_max_dimension:
        return aspect.max_dimension, aspect.max_dimension
    return None
