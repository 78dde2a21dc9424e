"""Turning, mirroring, repeating and resizing whole images.

Source of steps, ranges and order: the API's core.preprocessor.
"""

from typing import Any

import tensorflow as tf

from boxtune.config import pipeline_pb2
from boxtune.data import geometry, stateless_random
from boxtune.data.augmentation.steps import (
    MAX_SIDE,
    Step,
    check,
    check_probability,
    check_range,
    check_size,
    objects_of,
    one_after_another,
    one_of,
    size_of,
    to_bytes,
    with_probability,
)
from boxtune.data.decoder import Sample
from boxtune.data.geometry import Window, move_objects

_Method = tf.compat.v1.image.ResizeMethod


# ---------------------------------------------------------------------------------------------- flips and turns


def random_horizontal_flip(section: pipeline_pb2.RandomHorizontalFlip) -> Step:
    """Read `random_horizontal_flip`: mirror left and right with a probability."""
    probability = check_probability(section, "probability")
    return with_probability(probability, lambda sample, _: flip_left_right(sample))


def random_vertical_flip(section: pipeline_pb2.RandomVerticalFlip) -> Step:
    """Read `random_vertical_flip`: mirror top and bottom with a probability."""
    return with_probability(check_probability(section, "probability"), lambda sample, _: flip_up_down(sample))


def random_rotation90(section: pipeline_pb2.RandomRotation90) -> Step:
    """Read `random_rotation90`: turn by 90 degrees, counter-clockwise, with a probability."""
    return with_probability(check_probability(section, "probability"), lambda sample, _: turn_left(sample))


def flip_left_right(sample: Sample) -> Sample:
    """Mirror image and objects left and right."""
    # A slice with a step of -1 does the same in fourteen times the time.
    image = tf.reverse(sample["image"], [1])
    return move_objects(sample, geometry.flip_left_right) | {"image": image}


def flip_up_down(sample: Sample) -> Sample:
    """Mirror image and objects top and bottom."""
    image = tf.reverse(sample["image"], [0])
    return move_objects(sample, geometry.flip_up_down) | {"image": image}


def turn_left(sample: Sample) -> Sample:
    """Turn image and objects by 90 degrees, counter-clockwise: the right side becomes the top."""
    image = tf.reverse(tf.transpose(sample["image"], [1, 0, 2]), [0])
    return move_objects(sample, geometry.rotate_90) | {"image": image}


# ---------------------------------------------------------------------------------------------- repetition


def random_self_concat_image(section: pipeline_pb2.RandomSelfConcatImage) -> Step:
    """Read `random_self_concat_image`: the image twice, one below or beside the other, each with a probability."""
    vertical = check_probability(section, "concat_vertical_probability")
    horizontal = check_probability(section, "concat_horizontal_probability")
    below = with_probability(vertical, lambda sample, _: repeat(sample, 0))
    beside = with_probability(horizontal, lambda sample, _: repeat(sample, 1))
    return one_after_another([below, beside])


def repeat(sample: Sample, axis: int) -> Sample:
    """Put an image and its objects below (axis 0) or beside (axis 1) themselves."""
    frame, second = ((2, 1), (1, 0)) if axis == 0 else ((1, 2), (0, 1))  # in images
    windows = (Window(start, (1, 1), frame) for start in ((0, 0), second))
    moved = [move_objects(sample, geometry.from_window, window=window) for window in windows]
    return sample | objects_of(*moved) | {"image": tf.concat([sample["image"]] * 2, axis)}


# ---------------------------------------------------------------------------------------------- sizes


def random_image_scale(section: pipeline_pb2.RandomImageScale) -> Step:
    """Read `random_image_scale`: make the image larger or smaller by a ratio drawn uniformly."""
    low, high = check_range(section, "min_scale_ratio", "max_scale_ratio", 0.01, 10)

    def scale(sample: Sample, seed: Any) -> Sample:
        size = scaled(size_of(sample["image"]), stateless_random.uniform(seed, low, high))
        return sample | {"image": resize(sample["image"], size, align_corners=True)}

    return scale


def random_resize_method(section: pipeline_pb2.RandomResizeMethod) -> Step:
    """Read `random_resize_method`: resize to a size, interpolated in one of four ways."""
    size = check_size(section, "target_height", "target_width", 1)
    methods = (_Method.BILINEAR, _Method.NEAREST_NEIGHBOR, _Method.BICUBIC, _Method.AREA)
    return one_of([_resizing(size, method) for method in methods])


def resize_image(section: pipeline_pb2.ResizeImage) -> Step:
    """Read `resize_image`: resize to a size; the model's image_resizer comes after it."""
    method = getattr(_Method, pipeline_pb2.ResizeImage.Method.Name(section.method))
    return _resizing(check_size(section, "new_height", "new_width", 1), method)


def random_downscale_to_target_pixels(section: pipeline_pb2.RandomDownscaleToTargetPixels) -> Step:
    """Read `random_downscale_to_target_pixels`: shrink to a random number of pixels, or leave a smaller one."""
    kept = check_probability(section, "random_coef")
    # The default that works in the API is not the one that its pipeline.proto declares.
    most = section.max_target_pixels if section.HasField("max_target_pixels") else 800_000
    least = section.min_target_pixels
    fault = f"min_target_pixels is {least} and max_target_pixels {most}; both must be positive and in order"
    check(1 <= least <= most <= MAX_SIDE**2, fault)

    def downscale(sample: Sample, seed: Any) -> Sample:
        size = tf.cast(size_of(sample["image"]), tf.float32)
        target = tf.cast(stateless_random.integer(seed, least, most), tf.float32)
        ratio = tf.sqrt(target / tf.reduce_prod(size))
        smaller = lambda: sample | {"image": resize(sample["image"], scaled(size, ratio))}  # noqa: E731
        return tf.cond(ratio < 1, smaller, lambda: sample)

    return with_probability(1 - kept, downscale)


def resize(image: Any, size: Any, method: int = _Method.BILINEAR, *, align_corners: bool = False) -> Any:
    """Return an image uint8 [h, w, 3] in another size (int32 [2]), the corners counted as in TensorFlow 1."""
    resized = tf.compat.v1.image.resize(image, size, method, align_corners=align_corners)
    return resized if resized.dtype == tf.uint8 else to_bytes(resized)


def scaled(size: Any, ratio: Any) -> Any:
    """Return a size (int32 [2]) times a ratio, rounded down, a pixel at least."""
    return tf.maximum(tf.cast(tf.cast(size, tf.float32) * ratio, tf.int32), 1)


def _resizing(size: tuple[int, int], method: int) -> Step:
    return lambda sample, _: sample | {"image": resize(sample["image"], size, method)}
