"""The function that resizes images that a configuration describes."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow.compat.v1 as tf

from boxtune.config import pipeline_pb2
from object_detection.builders.checked import SectionError, checked
from object_detection.core import preprocessor

Resizer = Callable[..., Any]
"""From an image [h, w, 3], and masks [n, h, w] if any, to these resized and the true shape (int32 [3])."""


def build(image_resizer_config: pipeline_pb2.ImageResizer) -> Resizer:
    """Return the function that resizes images.

    Raises:
        SectionError: for a resizer that is not set, and sizes that cannot be.
    """
    checked("image_resizer_config", image_resizer_config, pipeline_pb2.ImageResizer)
    name = image_resizer_config.WhichOneof("image_resizer_oneof")
    if name is None:
        raise SectionError("Invalid image resizer option: none is set, such as fixed_shape_resizer.")
    if name == "identity_resizer":
        return _identity
    section = getattr(image_resizer_config, name)
    resizer = _RESIZERS[name](section)
    return functools.partial(_gray, resizer) if section.convert_to_grayscale else resizer


def _identity(image: Any, masks: Any = None) -> list[Any]:
    return [image, *([] if masks is None else [masks]), tf.shape(image)]


def _keep_aspect_ratio(section: pipeline_pb2.KeepAspectRatioResizer) -> Resizer:
    if section.min_dimension > section.max_dimension:
        raise SectionError(
            f"min_dimension > max_dimension: {section.min_dimension} > {section.max_dimension}"
        )
    return functools.partial(
        preprocessor.resize_to_range,
        min_dimension=section.min_dimension,
        max_dimension=section.max_dimension,
        method=_tf_resize_method(section.resize_method),
        pad_to_max_dimension=section.pad_to_max_dimension,
        per_channel_pad_value=tuple(section.per_channel_pad_value) or (0, 0, 0),
    )


def _fixed_shape(section: pipeline_pb2.FixedShapeResizer) -> Resizer:
    return functools.partial(
        preprocessor.resize_image,
        new_height=section.height,
        new_width=section.width,
        method=_tf_resize_method(section.resize_method),
    )


def _conditional_shape(section: pipeline_pb2.ConditionalShapeResizer) -> Resizer:
    method = _tf_resize_method(section.resize_method)
    if section.condition == section.GREATER:
        return functools.partial(
            preprocessor.resize_to_max_dimension, max_dimension=section.size_threshold, method=method
        )
    if section.condition == section.SMALLER:
        return functools.partial(
            preprocessor.resize_to_min_dimension, min_dimension=section.size_threshold, method=method
        )
    raise SectionError("Invalid image resizer condition option for conditional_shape_resizer: INVALID.")


def _pad_to_multiple(section: pipeline_pb2.PadToMultipleResizer) -> Resizer:
    if section.multiple < 1:
        raise SectionError(f"multiple is {section.multiple}; it must be at least 1")
    return functools.partial(preprocessor.resize_pad_to_multiple, multiple=section.multiple)


_RESIZERS: dict[str, Callable[[Any], Resizer]] = {
    "keep_aspect_ratio_resizer": _keep_aspect_ratio,
    "fixed_shape_resizer": _fixed_shape,
    "conditional_shape_resizer": _conditional_shape,
    "pad_to_multiple_resizer": _pad_to_multiple,
}


def _tf_resize_method(resize_method: int) -> int:
    """Return TensorFlow's number of an interpolation."""
    method: int = getattr(tf.image.ResizeMethod, pipeline_pb2.ResizeType.Name(resize_method))
    return method


def _gray(resizer: Resizer, image: Any, masks: Any = None) -> list[Any]:
    """Return what a resizer does, with one channel."""
    resized, *others, shape = resizer(image, masks)
    return [preprocessor.rgb_to_gray(resized), *others, tf.concat([shape[:-1], [1]], axis=0)]
