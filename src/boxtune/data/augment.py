"""Random changes of training images, each drawn from a seed that is an argument.

Every step draws its parameters from its seed and hands them to a pure function of image and boxes. The seed
comes from the run, the epoch and the example, so a run that is stopped and resumed sees the images that an
uninterrupted one sees. Source of steps and defaults: the API's core.preprocessor.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from boxtune import config
from boxtune.config import pipeline_pb2
from boxtune.data.examples import Sample

Step = Callable[[Sample, Any], Sample]

_PER_OBJECT = ("boxes", "classes", "weights", "is_crowd", "difficult")


def augmentation(options: Sequence[pipeline_pb2.PreprocessingStep]) -> Step:
    """Read `data_augmentation_options`: a function of a sample and a seed int32 [2] that does every step."""
    steps = [_step(option) for option in options]

    def augment(sample: Sample, seed: Any) -> Sample:
        for number, step in enumerate(steps):
            sample = step(sample, tf.random.experimental.stateless_fold_in(seed, number))
        return sample

    return augment


def _step(option: pipeline_pb2.PreprocessingStep) -> Step:
    read, chosen = config.chosen(
        option,
        {
            "random_horizontal_flip": random_horizontal_flip,
            "random_crop_image": random_crop_image,
            "ssd_random_crop": ssd_random_crop,
        },
    )
    return read(chosen)


def random_horizontal_flip(section: pipeline_pb2.RandomHorizontalFlip) -> Step:
    """Read `random_horizontal_flip`: mirror left and right with a probability."""

    def flip(sample: Sample, seed: Any) -> Sample:
        wanted = tf.random.stateless_uniform([], seed) < section.probability
        return tf.cond(wanted, lambda: flip_horizontally(sample), lambda: sample)

    return flip


def flip_horizontally(sample: Sample) -> Sample:
    """Mirror image and boxes left and right."""
    ymin, xmin, ymax, xmax = tf.unstack(sample["boxes"], axis=-1)
    boxes = tf.stack([ymin, 1.0 - xmax, ymax, 1.0 - xmin], axis=-1)
    return {**sample, "image": sample["image"][:, ::-1], "boxes": boxes}


def random_crop_image(section: pipeline_pb2.RandomCropImage) -> Step:
    """Read `random_crop_image`: cut out a window that covers enough of some object."""
    return _random_crop(section)


def ssd_random_crop(section: pipeline_pb2.SSDRandomCrop) -> Step:
    """Read `ssd_random_crop`: one of several crops, that ask for more and more of an object.

    Source: Liu et al. 2016 (SSD, arXiv:1512.02325), section 2.2.
    """
    crops = [_random_crop(operation) for operation in section.operations or _ssd_operations()]

    def crop(sample: Sample, seed: Any) -> Sample:
        drawn, seed = tf.unstack(tf.random.split(seed, 2))
        chosen = tf.random.stateless_uniform([], drawn, 0, len(crops), tf.int32)
        branches = [lambda one=one: one(sample, seed) for one in crops]
        return tf.switch_case(chosen, branches)

    return crop


def _ssd_operations() -> list[pipeline_pb2.SSDRandomCropOperation]:
    return [
        pipeline_pb2.SSDRandomCropOperation(
            min_object_covered=covered,
            min_aspect_ratio=0.5,
            max_aspect_ratio=2.0,
            min_area=0.1,
            max_area=1.0,
            overlap_thresh=covered,
            random_coef=0.15,
        )
        for covered in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
    ]


def _random_crop(section: Any) -> Step:
    def crop(sample: Sample, seed: Any) -> Sample:
        kept_whole, seed = tf.unstack(tf.random.split(seed, 2))
        begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
            tf.shape(sample["image"]),
            tf.clip_by_value(sample["boxes"], 0.0, 1.0)[None],
            seed,
            min_object_covered=section.min_object_covered,
            aspect_ratio_range=(section.min_aspect_ratio, section.max_aspect_ratio),
            area_range=(section.min_area, section.max_area),
            max_attempts=100,
            use_image_if_no_bounding_boxes=True,
        )
        keep = tf.random.stateless_uniform([], kept_whole) < section.random_coef
        return tf.cond(
            keep,
            lambda: sample,
            lambda: crop_to(sample, begin[:2], size[:2], section.overlap_thresh, section.clip_boxes),
        )

    return crop


def crop_to(
    sample: Sample, begin: Any, size: Any, overlap_thresh: float = 0.0, clip_boxes: bool = True
) -> Sample:
    """Cut out a window and drop the objects of which too little lies in it.

    Args:
        sample: with `image` [h, w, 3] and objects.
        begin: int32 [2], top and left of the window in pixels.
        size: int32 [2], its height and width.
        overlap_thresh: least share of a box's area that must lie in the window.
        clip_boxes: cut the boxes to the window.
    """
    image = tf.slice(sample["image"], tf.concat([begin, [0]], 0), tf.concat([size, [-1]], 0))
    full = tf.cast(tf.shape(sample["image"])[:2], tf.float32)
    top_left, bottom_right = tf.cast(begin, tf.float32) / full, tf.cast(begin + size, tf.float32) / full
    origin, scale = tf.tile(top_left, [2]), tf.tile(bottom_right - top_left, [2])
    # Measured before the boxes are moved, so that no rounding takes a share of 1 from those that lie within.
    inside = tf.clip_by_value(sample["boxes"], origin, tf.tile(bottom_right, [2]))
    share = tf.math.divide_no_nan(_area(inside), _area(sample["boxes"]))
    kept = (_area(inside) > 0) & (share >= overlap_thresh)
    boxes = (sample["boxes"] - origin) / scale
    moved = {
        **sample,
        "image": tf.ensure_shape(image, [None, None, 3]),
        "boxes": tf.clip_by_value(boxes, 0.0, 1.0) if clip_boxes else boxes,
    }
    return moved | {name: tf.boolean_mask(moved[name], kept) for name in _PER_OBJECT}


def _area(boxes: Any) -> Any:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
