"""The cost of each step of augmentation: milliseconds of processor time per image, as in training.

Inside `tf.data`, one image after another, each with a seed of its own; less what the same images cost without the
step. Decoding such an image from JPEG and bringing it to 320 x 320 are shown beside it, for comparison.

    python benchmarks/augmentation.py [STEP ...] [--size 500 400] [--images 200] [--repeats 3]

STEP is a part of the names to measure, such as crop.
"""

import argparse
import os
import time

import boxtune  # noqa: F401 - before TensorFlow: it switches oneDNN on

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import text_format

from boxtune.config import pipeline_pb2
from boxtune.data.augmentation import augmentation
from boxtune.data.augmentation.mixing import mixing
from boxtune.data.augmentation.policies import POLICIES
from boxtune.data.decoder import Sample

NUM_OBJECTS = 5
STEPS = (
    "random_horizontal_flip { probability: 1 }",
    "random_vertical_flip { probability: 1 }",
    "random_rotation90 { probability: 1 }",
    "random_self_concat_image { concat_vertical_probability: 1 concat_horizontal_probability: 0 }",
    "random_image_scale { }",
    "random_resize_method { target_height: 320 target_width: 320 }",
    "resize_image { new_height: 320 new_width: 320 }",
    "random_downscale_to_target_pixels { min_target_pixels: 50000 max_target_pixels: 150000 }",
    "random_crop_image { }",
    "random_crop_to_aspect_ratio { }",
    "random_square_crop_by_scale { }",
    "random_scale_crop_and_pad_to_square { output_size: 512 }",
    "random_pad_image { }",
    "random_absolute_pad_image { max_height_padding: 50 max_width_padding: 50 }",
    "random_crop_pad_image { }",
    "ssd_random_crop { }",
    "ssd_random_crop_pad { }",
    "ssd_random_crop_fixed_aspect_ratio { }",
    "ssd_random_crop_pad_fixed_aspect_ratio { }",
    "random_adjust_brightness { }",
    "random_adjust_contrast { }",
    "random_adjust_hue { }",
    "random_adjust_saturation { }",
    "random_distort_color { }",
    "random_rgb_to_gray { probability: 1 }",
    "adjust_gamma { gamma: 1.5 }",
    "random_pixel_value_scale { }",
    "random_patch_gaussian { }",
    "random_black_patches { }",
    "random_jpeg_quality { }",
    "random_jitter_boxes { }",
    "drop_label_probabilistically { label: 1 drop_probability: 0.5 }",
    "remap_labels { original_labels: 1 new_label: 2 }",
    *(f'autoaugment_image {{ policy_name: "{name}" }}' for name in POLICIES),
)
Change = Callable[[Sample, Any], Sample]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("steps", nargs="*", metavar="STEP")
    parser.add_argument("--size", type=int, nargs=2, default=(500, 400), metavar=("W", "H"))
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    given = sample_image(*options.size)
    nothing = cost(lambda sample, _: sample, given, options.images, options.repeats)
    for name, change in changes(given).items():
        if not options.steps or any(part in name for part in options.steps):
            each = cost(change, given, options.images, options.repeats) - nothing
            print(f"{name:45}{each * 1e3:8.2f} ms", flush=True)


def changes(given: Sample) -> dict[str, Change]:
    """Return all that is measured, by name."""
    encoded = tf.io.encode_jpeg(given["image"], quality=90)
    mixed = {name: mixing(lambda seed: given, **{name: 1.0}) for name in ("mosaic", "mixup", "copy_paste")}
    return {
        "(decoding JPEG)": lambda sample, seed: sample | {"image": decoded(encoded, seed)},
        "(resizing to 320 x 320)": lambda sample, _: sample | {"image": resized(sample["image"])},
        **{_name(text): augmentation([parsed(text)], NUM_OBJECTS) for text in STEPS},
        **{f"{name} (decoding left out)": change for name, change in mixed.items()},
    }


def _name(text: str) -> str:
    return text.split()[0] + (f" {text.split()[3]}" if "policy" in text else "")


def parsed(text: str) -> pipeline_pb2.PreprocessingStep:
    """Return the step described by protobuf text."""
    return text_format.Parse(text, pipeline_pb2.PreprocessingStep())


def decoded(encoded: Any, seed: Any) -> Any:
    """Decode; depends on the seed, so that it is not done once for all images."""
    suffix = tf.strings.as_string(seed[0])
    return tf.io.decode_jpeg(tf.strings.join([encoded, suffix]), channels=3)


def resized(image: Any) -> Any:
    """Resize as the model's image_resizer does."""
    return tf.compat.v1.image.resize(tf.cast(image, tf.float32), (320, 320))


def sample_image(width: int, height: int) -> Sample:
    """Return an image of soft colours with some detail, and objects in it."""
    random = np.random.default_rng(0)
    soft = tf.image.resize(random.uniform(0, 220, (8, 10, 3)), (height, width), "bicubic")
    image = np.clip(soft + random.normal(15, 8, (height, width, 3)), 0, 255).astype(np.uint8)
    corners = np.sort(random.uniform(0, 1, (NUM_OBJECTS, 2, 2)), 1).reshape(-1, 4).astype(np.float32)
    return {
        "image": tf.constant(image),
        "boxes": tf.constant(corners),
        "classes": tf.range(NUM_OBJECTS),
        "weights": tf.ones(NUM_OBJECTS),
        "areas": tf.zeros(NUM_OBJECTS),
        **{flag: tf.zeros(NUM_OBJECTS, tf.bool) for flag in ("is_crowd", "difficult", "group_of")},
    }


def cost(change: Change, given: Sample, images: int, repeats: int) -> float:
    """Return the processor time of one change of an image in seconds: the least of `repeats` measurements."""
    seeds = tf.data.Dataset.range(images + 10, output_type=tf.int32)
    # The shape of the image must be unknown, as in training.
    image = tf.data.Dataset.from_generator(
        lambda: iter([given["image"]]), output_signature=tf.TensorSpec([None, None, 3], tf.uint8)
    )
    samples = tf.data.Dataset.zip(image.cache().repeat(), seeds)
    changed = samples.map(lambda image, seed: change(given | {"image": image}, tf.stack([seed, 0])))
    times = []
    for _ in range(repeats):
        iterator = iter(changed)
        for _ in range(10):
            next(iterator)
        start = time.process_time()
        for _ in range(images):
            next(iterator)
        times.append((time.process_time() - start) / images)
    return min(times)


if __name__ == "__main__":
    main()
