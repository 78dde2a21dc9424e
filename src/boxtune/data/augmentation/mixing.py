"""Images made of several: mosaic, mixup and copy-paste.

Each draws its parameters from its seed and hands them to a pure function of samples. What is taken from another
image keeps its aspect ratio: a window of the shape that is needed is cut out of it and resized.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import tensorflow as tf

from boxtune.data import geometry, stateless_random
from boxtune.data.augmentation.crops import crop_to, largest_window
from boxtune.data.augmentation.steps import (
    Step,
    check,
    keep,
    objects_of,
    one_after_another,
    paste,
    size_of,
    to_bytes,
    with_probability,
)
from boxtune.data.augmentation.whole_image import resize
from boxtune.data.decoder import Sample
from boxtune.data.geometry import Window, move_objects

RandomSample = Callable[[Any], Sample]
"""A function of a seed int32 [2] to some sample of the set."""

_LEAST_FRACTION = 0.3  # of a box's area, that must be in the window that is cut out
_MOST_PASTED = 4  # objects
_POSITIONS = 10  # tried for each pasted object
_MOST_COVERED = 0.3  # of the area of a box, by a pasted one


@dataclass(frozen=True)
class Mixing:
    """With which probabilities a training image is mixed with others; these are done in this order."""

    mosaic: float = 0.0
    copy_paste: float = 0.0
    mixup: float = 0.0


def mixing(random_sample: RandomSample, probabilities: Mixing) -> Step:
    """Return a step that does each of the three with its probability; `random_sample` gets the other samples.

    Raises:
        ConfigError: if a probability is not in [0, 1].
    """
    steps = []
    for name, step in (("mosaic", _mosaic), ("copy_paste", _copy_paste), ("mixup", _mixup)):
        probability = getattr(probabilities, name)
        fault = f"boxtune.{name}_probability is {probability:g}; it must be in [0, 1]"
        check(0 <= probability <= 1, fault)
        if probability > 0:
            steps.append(with_probability(probability, partial(step, random_sample=random_sample)))
    return one_after_another(steps)


# ---------------------------------------------------------------------------------------------- mosaic


def _mosaic(sample: Sample, seed: Any, random_sample: RandomSample) -> Sample:
    center_seed, positions_seed, *other_seeds = stateless_random.split(seed, 5)
    samples = [sample, *map(random_sample, other_seeds)]
    center = stateless_random.uniform(center_seed, 0.25, 0.75, [2])
    return mosaic(samples, center, stateless_random.uniform(positions_seed, shape=[4, 2]))


def mosaic(samples: Sequence[Sample], center: Any, positions: Any) -> Sample:
    """Put a window of each of four images into one quarter of an image of the size of the first.

    Source: Bochkovskiy et al. 2020 (YOLOv4, arXiv:2004.10934).

    Args:
        samples: for the top left, top right, bottom left and bottom right.
        center: [2], where the four meet, as fractions of height and width in (0, 1).
        positions: [4, 2], in [0, 1), where in each image its window lies along the height or width that is left over.
    """
    whole = tf.maximum(size_of(samples[0]["image"]), 2)
    first = tf.clip_by_value(tf.cast(center * tf.cast(whole, tf.float32), tf.int32), 1, whole - 1)
    (top, left), (bottom, right) = tf.unstack(first), tf.unstack(whole - first)
    sizes = [tf.stack(size) for size in ((top, left), (top, right), (bottom, left), (bottom, right))]
    starts = [tf.stack(start) for start in ((0, 0), (0, left), (top, 0), (top, left))]
    parts = list(map(fit, samples, sizes, tf.unstack(positions)))
    moved = [_placed(part, start, whole) for part, start in zip(parts, starts, strict=True)]
    images = [part["image"] for part in parts]
    image = tf.concat([tf.concat(images[:2], 1), tf.concat(images[2:], 1)], 0)
    return samples[0] | objects_of(*moved) | {"image": image}


def fit(sample: Sample, size: Any, position: Any) -> Sample:
    """Cut the largest window of the shape of `size` (int32 [2]) out of an image, at `position`, and resize it to it."""
    height, width = tf.unstack(tf.cast(size, tf.float32))
    cropped = crop_to(sample, *largest_window(sample["image"], width / height, position), _LEAST_FRACTION)
    return cropped | {"image": resize(cropped["image"], size)}


def _placed(part: Sample, start: Any, whole: Any) -> Sample:
    """Return the part with its objects as they are where it starts at `start` in an image of size `whole`."""
    return move_objects(part, geometry.from_window, window=Window(start, size_of(part["image"]), whole))


# ---------------------------------------------------------------------------------------------- mixup


def _mixup(sample: Sample, seed: Any, random_sample: RandomSample) -> Sample:
    other_seed, position_seed, fraction_seed = stateless_random.split(seed, 3)
    # A Beta distribution is made of two Gamma ones.
    one, other = tf.unstack(tf.random.stateless_gamma([2], fraction_seed, alpha=1.5))
    position = stateless_random.uniform(position_seed, shape=[2])
    return mixup(sample, random_sample(other_seed), one / (one + other), position)


def mixup(sample: Sample, other: Sample, fraction: Any, position: Any) -> Sample:
    """Blend two images; each object counts by the fraction of its image.

    Source: Zhang et al. 2019 (arXiv:1902.04103), where the fraction follows Beta(1.5, 1.5).

    Args:
        sample: the image whose size the result has.
        other: the image of which a window is blended in.
        fraction: in [0, 1], how much of the blend is `sample`.
        position: [2], in [0, 1), where in `other` the window lies.
    """
    other = fit(other, size_of(sample["image"]), position)
    one, two = (tf.cast(each["image"], tf.float32) for each in (sample, other))
    objects = objects_of(
        sample | {"weights": sample["weights"] * fraction},
        other | {"weights": other["weights"] * (1 - fraction)},
    )
    return sample | objects | {"image": to_bytes(one * fraction + two * (1 - fraction))}


# ---------------------------------------------------------------------------------------------- copy-paste


def _copy_paste(sample: Sample, seed: Any, random_sample: RandomSample) -> Sample:
    other_seed, order_seed, count_seed, object_seed = stateless_random.split(seed, 4)
    other = random_sample(other_seed)
    other = keep(other, ~other["is_crowd"] & (geometry.areas(other["boxes"]) > 0))
    order = tf.argsort(stateless_random.uniform(order_seed, shape=[tf.shape(other["boxes"])[0]]))
    count = tf.minimum(stateless_random.integer(count_seed, 1, _MOST_PASTED + 1), tf.size(order))
    # What changes from one pasted object to the next, also in the number of objects.
    shapes = {name: tf.TensorShape([None, *value.shape[1:]]) for name, value in objects_of(sample).items()}
    shapes["image"] = tf.TensorShape([None, None, 3])

    def paste_next(number: Any, changing: Sample) -> tuple[Any, Sample]:
        seed = stateless_random.fold(object_seed, number)
        changed = _paste_one(sample | changing, other, order[number], seed)
        return number + 1, {name: changed[name] for name in shapes}

    _, changed = tf.while_loop(
        lambda number, _: number < count,
        paste_next,
        [0, {name: sample[name] for name in shapes}],
        shape_invariants=[tf.TensorShape([]), shapes],
    )
    return sample | changed


def _paste_one(sample: Sample, other: Sample, number: Any, seed: Any) -> Sample:
    """Paste an object of `other`, from half to one and a half times as large, where it covers least, if it fits in."""
    scale_seed, positions_seed = stateless_random.split(seed, 2)
    patch = cut_out(other, number, size_of(sample["image"]), stateless_random.uniform(scale_seed, 0.5, 1.5))
    free = tf.cast(size_of(sample["image"]) - size_of(patch["image"]) + 1, tf.float32)
    starts = tf.cast(stateless_random.uniform(positions_seed, shape=[_POSITIONS, 2]) * free, tf.int32)
    covered = covered_fractions(sample, starts, size_of(patch["image"]))
    best = tf.argmin(covered)
    return tf.cond(
        covered[best] <= _MOST_COVERED, lambda: paste_object(sample, patch, starts[best]), lambda: sample
    )


def cut_out(sample: Sample, number: Any, size: Any, scale: Any) -> Sample:
    """Return one object as an image of its own, as large as if its image were fitted into `size`.

    Times `scale`, but not larger than `size` (int32 [2]).
    """
    window = geometry.pixels_of(sample["boxes"][number], size_of(sample["image"]))
    full, room, pixels = (tf.cast(each, tf.float32) for each in (window.frame, size, window.size))
    ratio = tf.minimum(scale * tf.reduce_min(room / full), tf.reduce_min(room / pixels))
    only = keep(sample, tf.range(tf.shape(sample["boxes"])[0]) == number)
    patch = crop_to(only, window.start, window.size)
    patch_size = tf.clip_by_value(tf.cast(tf.round(pixels * ratio), tf.int32), 1, size)
    return patch | {"image": resize(patch["image"], patch_size)}


def covered_fractions(sample: Sample, starts: Any, size: Any) -> Any:
    """Return for each position [w, 2] the largest fraction [w] of a box that a patch of `size` there covers."""
    windows = Window(starts, size, size_of(sample["image"])).box
    fractions = geometry.fractions_inside(sample["boxes"], windows[:, None])
    return tf.reduce_max(tf.pad(fractions, [[0, 0], [0, 1]]), 1)


def paste_object(sample: Sample, patch: Sample, start: Any) -> Sample:
    """Lay a patch and its objects over an image at `start` (int32 [2]).

    Source: Dwibedi et al. 2017 (arXiv:1708.01642) and Ghiasi et al. 2021 (arXiv:2012.07177), with the boxes for masks.
    """
    image = paste(sample["image"], patch["image"], start[0], start[1])
    objects = objects_of(sample, _placed(patch, start, size_of(sample["image"])))
    return sample | objects | {"image": image}
