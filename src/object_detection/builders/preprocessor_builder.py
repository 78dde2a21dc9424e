"""The function of the preprocessor, and its arguments, that a step of a configuration describes."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from boxtune.config import pipeline_pb2
from object_detection.builders.checked import SectionError, checked
from object_detection.core import preprocessor

Call = tuple[Callable[..., Any], dict[str, Any]]

PREPROCESSING_FUNCTION_MAP = {
    name: getattr(preprocessor, name)
    for name in (
        "normalize_image",
        "random_pixel_value_scale",
        "random_image_scale",
        "random_rgb_to_gray",
        "random_adjust_brightness",
        "random_adjust_contrast",
        "random_adjust_hue",
        "random_adjust_saturation",
        "random_distort_color",
        "random_crop_to_aspect_ratio",
        "random_black_patches",
        "random_jpeg_quality",
        "random_downscale_to_target_pixels",
        "random_patch_gaussian",
        "rgb_to_gray",
        "scale_boxes_to_pixel_coordinates",
        "subtract_channel_mean",
        "convert_class_logits_to_softmax",
    )
}
"""The functions whose arguments have the names of the fields, by the names of the steps."""

RESIZE_METHOD_MAP = {
    pipeline_pb2.ResizeImage.AREA: tf.image.ResizeMethod.AREA,
    pipeline_pb2.ResizeImage.BICUBIC: tf.image.ResizeMethod.BICUBIC,
    pipeline_pb2.ResizeImage.BILINEAR: tf.image.ResizeMethod.BILINEAR,
    pipeline_pb2.ResizeImage.NEAREST_NEIGHBOR: tf.image.ResizeMethod.NEAREST_NEIGHBOR,
}


def get_random_jitter_kwargs(proto: pipeline_pb2.RandomJitterBoxes) -> dict[str, Any]:
    """Return the arguments of `random_jitter_boxes`."""
    return {"ratio": proto.ratio, "jitter_mode": proto.JitterMode.Name(proto.jitter_mode).lower()}


def build(preprocessor_step_config: pipeline_pb2.PreprocessingStep) -> Call:
    """Return a function of `core.preprocessor` and its arguments besides tensors.

    Raises:
        SectionError: for an unknown step, and fields that cannot be.
    """
    checked("preprocessor_step_config", preprocessor_step_config, pipeline_pb2.PreprocessingStep)
    name = preprocessor_step_config.WhichOneof("preprocessing_step")
    if name is None:
        raise SectionError("Unknown preprocessing step.")
    section = getattr(preprocessor_step_config, name)
    if name in PREPROCESSING_FUNCTION_MAP:
        return PREPROCESSING_FUNCTION_MAP[name], _set_fields(section)
    return getattr(preprocessor, name), _ARGUMENTS[name](section)


def _set_fields(section: Any) -> dict[str, Any]:
    return {field.name: list(value) if field.is_repeated else value for field, value in section.ListFields()}


def _fields(*names: str) -> Callable[[Any], dict[str, Any]]:
    """Return the function that reads these fields, set or not."""
    return lambda section: {name: getattr(section, name) for name in names}


def _permutation(name: str) -> Callable[[Any], dict[str, Any]]:
    return lambda section: {name: tuple(getattr(section, name)) or None, "probability": section.probability}


def _color(section: Any) -> Any:
    if not section.pad_color:
        return None
    if len(section.pad_color) != 3:
        raise SectionError(f"pad_color is {list(section.pad_color)}; give red, green and blue, or none")
    return tf.constant(list(section.pad_color), tf.float32)


def _pad_image(section: Any) -> dict[str, Any]:
    def size(which: str) -> tuple[int, int] | None:
        height, width = f"{which}_image_height", f"{which}_image_width"
        if section.HasField(height) != section.HasField(width):
            raise SectionError(f"{height} and {width} should be either both set or both unset.")
        return (getattr(section, height), getattr(section, width)) if section.HasField(height) else None

    return {"min_image_size": size("min"), "max_image_size": size("max"), "pad_color": _color(section)}


def _absolute_pad(section: Any) -> dict[str, Any]:
    return {
        "max_height_padding": section.max_height_padding or 1,
        "max_width_padding": section.max_width_padding or 1,
        "pad_color": _color(section),
    }


def _crop(section: Any) -> dict[str, Any]:
    return {
        "min_object_covered": section.min_object_covered,
        "aspect_ratio_range": (section.min_aspect_ratio, section.max_aspect_ratio),
        "area_range": (section.min_area, section.max_area),
        "overlap_thresh": section.overlap_thresh,
        "clip_boxes": section.clip_boxes,
        "random_coef": section.random_coef,
    }


def _padded_size_ratios(section: Any) -> dict[str, Any]:
    ratios = {}
    for name in ("min_padded_size_ratio", "max_padded_size_ratio"):
        ratio = tuple(getattr(section, name))
        if ratio and len(ratio) != 2:
            raise SectionError(f"{name} should have 2 elements if set; it is {ratio}")
        if ratio:
            ratios[name] = ratio
    return ratios


def _of_each(operations: Sequence[Any], read: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """Return the arguments of several operations as lists, by name."""
    arguments = list(map(read, operations))
    return {name: [one[name] for one in arguments] for name in arguments[0]} if arguments else {}


def _crop_and_pad(section: Any) -> dict[str, Any]:
    return {
        **_crop(section),
        "min_padded_size_ratio": tuple(section.min_padded_size_ratio) or (1.0, 1.0),
        "max_padded_size_ratio": tuple(section.max_padded_size_ratio) or (2.0, 2.0),
        "pad_color": (section.pad_color_r, section.pad_color_g, section.pad_color_b),
    }


def _without_aspect_ratios(section: Any) -> dict[str, Any]:
    arguments = _crop(section)
    del arguments["aspect_ratio_range"]
    return arguments


_ARGUMENTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "random_horizontal_flip": _permutation("keypoint_flip_permutation"),
    "random_vertical_flip": _permutation("keypoint_flip_permutation"),
    "random_rotation90": _permutation("keypoint_rot_permutation"),
    "random_jitter_boxes": get_random_jitter_kwargs,
    "random_crop_image": _crop,
    "random_pad_image": _pad_image,
    "random_absolute_pad_image": _absolute_pad,
    "random_crop_pad_image": lambda section: {
        **_crop(section),
        **_padded_size_ratios(section),
        "pad_color": _color(section),
    },
    "random_resize_method": lambda section: {"target_size": [section.target_height, section.target_width]},
    "resize_image": lambda section: {
        "new_height": section.new_height,
        "new_width": section.new_width,
        "method": RESIZE_METHOD_MAP[section.method],
    },
    "ssd_random_crop": lambda section: _of_each(section.operations, _crop),
    "ssd_random_crop_pad": lambda section: _of_each(section.operations, _crop_and_pad),
    "ssd_random_crop_fixed_aspect_ratio": lambda section: {
        **_of_each(section.operations, _without_aspect_ratios),
        "aspect_ratio": section.aspect_ratio,
    },
    "ssd_random_crop_pad_fixed_aspect_ratio": lambda section: {
        **_of_each(section.operations, _crop),
        "aspect_ratio": section.aspect_ratio,
        **_padded_size_ratios(section),
    },
    "random_self_concat_image": _fields("concat_vertical_probability", "concat_horizontal_probability"),
    "autoaugment_image": _fields("policy_name"),
    "drop_label_probabilistically": lambda section: {
        "dropped_label": section.label,
        "drop_probability": section.drop_probability,
    },
    "remap_labels": lambda section: {
        "original_labels": list(section.original_labels),
        "new_label": section.new_label,
    },
    "random_square_crop_by_scale": _fields("scale_min", "scale_max", "max_border", "num_scales"),
    "random_scale_crop_and_pad_to_square": _fields("scale_min", "scale_max", "output_size"),
    "adjust_gamma": _fields("gamma", "gain"),
}
"""The functions that read the arguments of the other steps."""
