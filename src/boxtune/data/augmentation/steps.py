"""What steps of augmentation share: composing steps, objects, images, and checks of fields."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from boxtune.data import stateless_random
from boxtune.data.decoder import PER_OBJECT, Sample
from boxtune.errors import ConfigError

Step = Callable[[Sample, Any], Sample]
"""A function of a sample and a seed int32 [2]."""

MAX_SIDE = 16384  # pixels; so that no typing error asks for images that do not fit into memory


# ---------------------------------------------------------------------------------------------- steps of steps


def with_probability(probability: float, step: Step) -> Step:
    """Do `step` with a probability in [0, 1]."""

    def perhaps(sample: Sample, seed: Any) -> Sample:
        chance_seed, seed = stateless_random.split(seed, 2)
        return tf.cond(
            stateless_random.chance(chance_seed, probability), lambda: step(sample, seed), lambda: sample
        )

    return perhaps


def one_of(steps: Sequence[Step]) -> Step:
    """Do one of `steps`, each as likely as the others."""

    def one(sample: Sample, seed: Any) -> Sample:
        chance_seed, seed = stateless_random.split(seed, 2)
        chosen = stateless_random.integer(chance_seed, 0, len(steps))
        return tf.switch_case(chosen, [lambda step=step: step(sample, seed) for step in steps])

    return one


def one_after_another(steps: Sequence[Step]) -> Step:
    """Do all of `steps`, each with a seed of its own."""

    def all_of_them(sample: Sample, seed: Any) -> Sample:
        for step, own_seed in zip(steps, stateless_random.split(seed, max(len(steps), 1)), strict=False):
            sample = step(sample, own_seed)
        return sample

    return all_of_them


# ---------------------------------------------------------------------------------------------- samples


def size_of(image: Any) -> Any:
    """Return the height and width (int32 [2]) of an image [h, w, 3]."""
    return tf.shape(image)[:2]


def keep(sample: Sample, kept: Any) -> Sample:
    """Return the sample with those objects only for which `kept` (bool [n]) is true."""
    return sample | {name: tf.boolean_mask(sample[name], kept) for name in PER_OBJECT if name in sample}


def objects_of(*samples: Sample) -> Sample:
    """Return the objects of all `samples`, one after another, and nothing else."""
    parts = [name for name in PER_OBJECT if name in samples[0]]
    return {name: tf.concat([sample[name] for sample in samples], 0) for name in parts}


def to_bytes(values: Any) -> Any:
    """Return pixels, float32 of any range, as uint8: rounded, and cut to [0, 255]."""
    return tf.cast(tf.round(tf.clip_by_value(values, 0.0, 255.0)), tf.uint8)


def paste(image: Any, patch: Any, top: Any, left: Any) -> Any:
    """Return an image [h, w, 3] with a patch [p, q, 3], that fits, laid over it at `top`, `left`."""
    bottom, right = top + tf.shape(patch)[0], left + tf.shape(patch)[1]
    rows = tf.concat([image[top:bottom, :left], patch, image[top:bottom, right:]], 1)
    return tf.ensure_shape(tf.concat([image[:top], rows, image[bottom:]], 0), [None, None, 3])


# ---------------------------------------------------------------------------------------------- fields


def check(right: bool, fault: str) -> None:
    """Refuse fields: `fault` names them, their values and the right ones.

    Raises:
        ConfigError: unless `right`.
    """
    if not right:
        raise ConfigError(fault)


def check_range(section: Any, low: str, high: str, least: float, most: float) -> tuple[Any, Any]:
    """Return the fields `low` and `high` of a section, which must be in order and in [`least`, `most`].

    Raises:
        ConfigError: if they are not.
    """
    values = getattr(section, low), getattr(section, high)
    check(
        least <= values[0] <= values[1] <= most,
        f"{low} is {values[0]:g} and {high} {values[1]:g}; both must be in [{least:g}, {most:g}] and in order",
    )
    return values


def check_size(section: Any, height: str, width: str, least: int) -> tuple[int, int]:
    """Return the fields `height` and `width` of a section, which must be in [`least`, MAX_SIDE].

    Raises:
        ConfigError: if they are not.
    """
    size = getattr(section, height), getattr(section, width)
    fault = f"{height} is {size[0]} and {width} {size[1]}; both must be in [{least}, {MAX_SIDE}]"
    check(min(size) >= least and max(size) <= MAX_SIDE, fault)
    return size


def check_probability(section: Any, name: str) -> float:
    """Return the field `name`, a probability.

    Raises:
        ConfigError: if it is not in [0, 1].
    """
    value: float = getattr(section, name)
    check(0 <= value <= 1, f"{name} is {value:g}, a probability; it must be in [0, 1]")
    return value
