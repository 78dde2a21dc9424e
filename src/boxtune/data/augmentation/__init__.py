"""Random changes of training images, each drawn from a seed that is an argument.

Every step draws its parameters from its seed and hands them to a pure function of image and boxes. The seed
comes from the run, the epoch and the example, so a run that is stopped and resumed sees the images that an
uninterrupted one sees. Images stay bytes from step to step. Source of steps, fields and defaults: the API's
core.preprocessor.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from boxtune import config
from boxtune.config import pipeline_pb2
from boxtune.data.augmentation import colors, crops, objects, policies, whole_image
from boxtune.data.augmentation.steps import Step, one_after_another
from boxtune.errors import ConfigError

_STEPS: tuple[Callable[..., Step], ...] = (
    whole_image.random_horizontal_flip,
    whole_image.random_vertical_flip,
    whole_image.random_rotation90,
    whole_image.random_self_concat_image,
    whole_image.random_image_scale,
    whole_image.random_resize_method,
    whole_image.resize_image,
    whole_image.random_downscale_to_target_pixels,
    crops.random_crop_image,
    crops.random_crop_to_aspect_ratio,
    crops.random_square_crop_by_scale,
    crops.random_scale_crop_and_pad_to_square,
    crops.random_pad_image,
    crops.random_absolute_pad_image,
    crops.random_crop_pad_image,
    crops.ssd_random_crop,
    crops.ssd_random_crop_fixed_aspect_ratio,
    crops.ssd_random_crop_pad,
    crops.ssd_random_crop_pad_fixed_aspect_ratio,
    colors.random_adjust_brightness,
    colors.random_adjust_contrast,
    colors.random_adjust_hue,
    colors.random_adjust_saturation,
    colors.random_distort_color,
    colors.random_rgb_to_gray,
    colors.adjust_gamma,
    colors.random_pixel_value_scale,
    colors.random_patch_gaussian,
    colors.random_black_patches,
    colors.random_jpeg_quality,
    objects.random_jitter_boxes,
    objects.convert_class_logits_to_softmax,
    policies.autoaugment_image,
)
_STEPS_OF_CLASSES = (objects.drop_label_probabilistically, objects.remap_labels)


def augmentation(options: Sequence[pipeline_pb2.PreprocessingStep], num_classes: int) -> Step:
    """Read `data_augmentation_options`: a function of a sample and a seed int32 [2] that does every step.

    Raises:
        ConfigError: for a step that boxtune does not have, or a field that cannot be.
    """
    built = _readers(num_classes)
    return one_after_another([_step(option, built) for option in options])


def _readers(num_classes: int) -> dict[str, Callable[[Any], Step]]:
    plain = {read.__name__: read for read in _STEPS}
    return plain | {read.__name__: partial(read, num_classes=num_classes) for read in _STEPS_OF_CLASSES}


def _step(option: pipeline_pb2.PreprocessingStep, built: Mapping[str, Callable[[Any], Step]]) -> Step:
    name = option.WhichOneof("preprocessing_step")
    try:
        return config.oneof(option, built)
    except ConfigError as error:
        if name not in built:
            raise
        raise ConfigError(f"data_augmentation_options: {name}: {error}.") from error
