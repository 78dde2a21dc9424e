"""AutoAugment: sub-policies of operations that a search found to help detectors.

Source: Zoph et al. 2019 (arXiv:1906.11172); the policies, and levels for an operation, are those of the
API's utils.autoaugment_utils. Two of its faults are not repeated: where an object has left the image, that one leaves
a box at the edge, and here the object is dropped; and its contrast takes the number of pixels for their mean.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import tensorflow as tf

from boxtune.config import pipeline_pb2
from boxtune.data import geometry, stateless_random
from boxtune.data.augmentation import operations
from boxtune.data.augmentation.steps import (
    Step,
    check,
    keep,
    one_after_another,
    one_of,
    paste,
    size_of,
    with_probability,
)
from boxtune.data.decoder import Sample
from boxtune.data.geometry import move_objects, pixels_of

Operation = tuple[str, float, int]
"""A name, the probability of doing it, and a level from 0 to 10. "... in boxes" changes each box by itself."""

Change = Callable[[Any, Any], Any]
"""A function of an image uint8 [h, w, 3] and a seed int32 [2] to an image of the same size."""

_MOST = 10  # the highest level
_IN_BOXES = " in boxes"

_V0: list[list[Operation]] = [
    [("translate x", 0.6, 4), ("equalize", 0.8, 10)],
    [("translate y in boxes", 0.2, 2), ("cutout", 0.8, 8)],
    [("sharpness", 0.0, 8), ("shear x", 0.4, 0)],
    [("shear y", 1.0, 2), ("translate y in boxes", 0.6, 6)],
    [("rotate", 0.6, 10), ("color", 1.0, 6)],
]
POLICIES: dict[str, list[list[Operation]]] = {
    "v0": _V0,
    "v1": [
        *_V0,
        [("color", 0.0, 0), ("shear x in boxes", 0.8, 4)],
        [("shear y in boxes", 0.8, 2), ("flip in boxes", 0.0, 10)],
        [("equalize", 0.6, 10), ("translate x", 0.2, 2)],
        [("color", 1.0, 10), ("translate y in boxes", 0.4, 6)],
        [("rotate", 0.8, 10), ("contrast", 0.0, 10)],
        [("cutout", 0.2, 2), ("brightness", 0.8, 10)],
        [("color", 1.0, 6), ("equalize", 1.0, 2)],
        [("cutout in boxes", 0.4, 6), ("translate y in boxes", 0.8, 2)],
        [("color", 0.2, 8), ("rotate", 0.8, 10)],
        [("sharpness", 0.4, 4), ("translate y in boxes", 0.0, 4)],
        [("sharpness", 1.0, 4), ("solarize add", 0.4, 4)],
        [("rotate", 1.0, 8), ("sharpness", 0.2, 8)],
        [("shear y", 0.6, 10), ("equalize in boxes", 0.6, 8)],
        [("shear x", 0.2, 6), ("translate y in boxes", 0.2, 10)],
        [("solarize add", 0.6, 8), ("brightness", 0.8, 10)],
    ],
    "v2": [
        [("color", 0.0, 6), ("cutout", 0.6, 8), ("sharpness", 0.4, 8)],
        [("rotate", 0.4, 8), ("sharpness", 0.4, 2), ("rotate", 0.8, 10)],
        [("translate y", 1.0, 8), ("auto contrast", 0.8, 2)],
        [("auto contrast", 0.4, 6), ("shear x", 0.8, 8), ("brightness", 0.0, 10)],
        [("solarize add", 0.2, 6), ("contrast", 0.0, 10), ("auto contrast", 0.6, 0)],
        [("cutout", 0.2, 0), ("solarize", 0.8, 8), ("color", 1.0, 4)],
        [("translate y", 0.0, 4), ("equalize", 0.6, 8), ("solarize", 0.0, 10)],
        [("translate y", 0.2, 2), ("shear y", 0.8, 8), ("rotate", 0.8, 8)],
        [("cutout", 0.8, 8), ("brightness", 0.8, 8), ("cutout", 0.2, 2)],
        [("color", 0.8, 4), ("translate y", 1.0, 6), ("rotate", 0.6, 6)],
        [("rotate", 0.6, 10), ("cutout of a box", 1.0, 4), ("cutout", 0.2, 8)],
        [("rotate", 0.0, 0), ("equalize", 0.6, 6), ("shear y", 0.6, 8)],
        [("brightness", 0.8, 8), ("auto contrast", 0.4, 2), ("brightness", 0.2, 2)],
        [("translate y", 0.4, 8), ("solarize", 0.4, 6), ("solarize add", 0.2, 10)],
        [("contrast", 1.0, 10), ("solarize add", 0.2, 8), ("equalize", 0.2, 4)],
    ],
    "v3": [
        [("posterize", 0.8, 2), ("translate x", 1.0, 8)],
        [("cutout of a box", 0.2, 10), ("sharpness", 1.0, 8)],
        [("rotate", 0.6, 8), ("rotate", 0.8, 10)],
        [("equalize", 0.8, 10), ("auto contrast", 0.2, 10)],
        [("solarize add", 0.2, 2), ("translate y", 0.2, 8)],
        [("sharpness", 0.0, 2), ("color", 0.4, 8)],
        [("equalize", 1.0, 8), ("translate y", 1.0, 8)],
        [("posterize", 0.6, 2), ("rotate", 0.0, 10)],
        [("auto contrast", 0.6, 0), ("rotate", 1.0, 6)],
        [("equalize", 0.0, 4), ("cutout", 0.8, 10)],
        [("brightness", 1.0, 2), ("translate y", 1.0, 6)],
        [("contrast", 0.0, 2), ("shear y", 0.8, 0)],
        [("auto contrast", 0.8, 10), ("contrast", 0.2, 10)],
        [("rotate", 1.0, 10), ("cutout", 1.0, 10)],
        [("solarize add", 0.8, 6), ("equalize", 0.8, 8)],
    ],
    "test": [[("translate x", 1.0, 4), ("equalize", 1.0, 10)]],
}


# ---------------------------------------------------------------------------------------------- policies


def autoaugment_image(section: pipeline_pb2.AutoAugmentImage) -> Step:
    """Read `autoaugment_image`: one of the sub-policies of a policy, each of its operations with its probability."""
    name = section.policy_name
    check(name in POLICIES, f'policy_name is "{name}"; choose one of: {", ".join(POLICIES)}')
    sub_policies = ([operation(*one) for one in sub_policy if one[1] > 0] for sub_policy in POLICIES[name])
    return one_of(list(map(one_after_another, sub_policies)))


def operation(name: str, probability: float, level: int) -> Step:
    """Return the step that an operation of a policy stands for."""
    alone = name.removesuffix(_IN_BOXES)
    if alone != name:
        # A third of the probability, so that neighbours are not all changed at once.
        change = _change(alone, level, in_boxes=True)
        return partial(_change_boxes, change=change, probability=probability / 3)
    if name in _MOVES:
        step = partial(_move, name=name, level=level)
    elif name == "cutout of a box":
        step = partial(_cutout_of_a_box, fraction=0.75 * level / _MOST)
    else:
        change = _change(name, level, in_boxes=False)
        return with_probability(
            probability, lambda sample, seed: sample | {"image": change(sample["image"], seed)}
        )
    return with_probability(probability, step)


def _change(name: str, level: int, *, in_boxes: bool) -> Change:
    """Return the function of an image that an operation of a level stands for."""
    if name in _MOVES:
        return lambda image, seed: operations.warp(
            image, _matrix(name, level, size_of(image), stateless_random.sign(seed), in_boxes)
        )
    if name == "cutout":
        half = (50 if in_boxes else 100) * level // _MOST
        return partial(_cutout, half=half)
    change = _CHANGES[name](level)
    return lambda image, _: change(image)


# ---------------------------------------------------------------------------------------------- levels


_MOVES = {"rotate": 30, "shear x": 0.3, "shear y": 0.3, "translate x": 250, "translate y": 250}
"""How far the highest level moves: degrees, fractions of the other coordinate, and pixels."""

_MOST_IN_BOXES = 120  # pixels of a translation


def _matrix(name: str, level: int, size: Any, direction: Any, in_boxes: bool = False) -> Any:
    """Return the matrix of `warp` for a move in a direction (1 or -1) of an image of `size`, which may be a box."""
    kind, _, axis = name.partition(" ")
    most = _MOST_IN_BOXES if in_boxes and kind == "translate" else _MOVES[name]
    amount = direction * most * level / _MOST
    if kind == "rotate":
        return operations.rotation(amount, size)
    make = operations.shear if kind == "shear" else operations.translation
    return make(amount, 0.0) if axis == "x" else make(0.0, amount)


def _factor(level: int) -> float:
    """Return the weight of the image at a level: 1 is the image itself, 0 the image that it is blended with."""
    return 0.1 + 1.8 * level / _MOST


_CHANGES: dict[str, Callable[[int], Callable[[Any], Any]]] = {
    "auto contrast": lambda level: operations.auto_contrast,
    "equalize": lambda level: operations.equalize,
    "flip": lambda level: lambda image: tf.reverse(image, [1]),
    "posterize": lambda level: partial(operations.posterize, bits=4 * level // _MOST),
    "solarize": lambda level: partial(operations.solarize, threshold=256 * level // _MOST),
    "solarize add": lambda level: partial(operations.solarize_add, addition=110 * level // _MOST),
    "color": lambda level: partial(operations.color, factor=_factor(level)),
    "contrast": lambda level: partial(operations.contrast, factor=_factor(level)),
    "brightness": lambda level: partial(operations.brightness, factor=_factor(level)),
    "sharpness": lambda level: partial(operations.sharpness, factor=_factor(level)),
}


# ---------------------------------------------------------------------------------------------- images and boxes


def _move(sample: Sample, seed: Any, name: str, level: int) -> Sample:
    """Move image and objects; drop objects smaller than a pixel."""
    size = size_of(sample["image"])
    matrix = _matrix(name, level, size, stateless_random.sign(seed))
    moved = move_objects(sample, geometry.warp_boxes, size=size, matrix=matrix)
    boxes = geometry.clip(moved["boxes"])
    sides = geometry.sides(boxes) * tf.cast(size, tf.float32)
    changed = moved | {"image": operations.warp(sample["image"], matrix), "boxes": boxes}
    return keep(changed, tf.reduce_all(sides >= 1, 1))


def _change_boxes(sample: Sample, seed: Any, change: Change, probability: float) -> Sample:
    """Change the inside of each box, as an image of its own, with a probability each."""

    def change_next(number: Any, image: Any) -> tuple[Any, Any]:
        chance_seed, own_seed = stateless_random.split(stateless_random.fold(seed, number), 2)

        def changed() -> Any:
            window = pixels_of(sample["boxes"][number], size_of(image))
            start, end = window.start, window.end
            patch = change(image[start[0] : end[0], start[1] : end[1]], own_seed)
            return paste(image, patch, start[0], start[1])

        drawn = stateless_random.chance(chance_seed, probability)
        return number + 1, tf.cond(drawn, changed, lambda: image)

    image = tf.ensure_shape(sample["image"], [None, None, 3])
    count = tf.shape(sample["boxes"])[0]
    _, changed = tf.while_loop(
        lambda number, _: number < count,
        change_next,
        [0, image],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, None, 3])],
    )
    return sample | {"image": changed}


# ---------------------------------------------------------------------------------------------- holes


def _cutout(image: Any, seed: Any, half: int) -> Any:
    """Make a grey square of twice `half` pixels around a pixel drawn uniformly."""
    row_seed, column_seed = stateless_random.split(seed, 2)
    height, width = tf.unstack(size_of(image))
    row, column = (
        stateless_random.integer(row_seed, 0, height),
        stateless_random.integer(column_seed, 0, width),
    )
    center = tf.stack([row, column])
    return operations.cutout(image, center - half, center + half)


def _cutout_of_a_box(sample: Sample, seed: Any, fraction: float) -> Sample:
    """Make a grey window, `fraction` as high and wide as one of the boxes, around a pixel of that box."""

    def cut() -> Any:
        box_seed, row_seed, column_seed = stateless_random.split(seed, 3)
        image, count = sample["image"], tf.shape(sample["boxes"])[0]
        window = pixels_of(sample["boxes"][stateless_random.integer(box_seed, 0, count)], size_of(image))
        start, end = window.start, window.end
        row = stateless_random.integer(row_seed, start[0], end[0])
        column = stateless_random.integer(column_seed, start[1], end[1])
        center = tf.stack([row, column])
        half = tf.cast(tf.cast(window.size, tf.float32) * fraction / 2, tf.int32)
        return operations.cutout(image, center - half, center + half)

    has_objects = tf.shape(sample["boxes"])[0] > 0
    return sample | {"image": tf.cond(has_objects, cut, lambda: sample["image"])}
