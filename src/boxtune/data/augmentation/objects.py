"""Boxes and classes alone; the image stays as it is.

Source of steps, ranges and order: the API's core.preprocessor.
"""

import math
from typing import Any

import tensorflow as tf

from boxtune.config import pipeline_pb2
from boxtune.data import geometry, stateless_random
from boxtune.data.augmentation.steps import Step, check, check_probability, keep
from boxtune.data.decoder import Sample

_Jitter = pipeline_pb2.RandomJitterBoxes


# ---------------------------------------------------------------------------------------------- boxes


def random_jitter_boxes(section: pipeline_pb2.RandomJitterBoxes) -> Step:
    """Read `random_jitter_boxes`: move the sides of every box, at most by half of `ratio` times its height or width."""
    mode, ratio = section.jitter_mode, section.ratio
    grows = mode not in (_Jitter.SHRINK, _Jitter.SHRINK_SYMMETRIC, _Jitter.SHRINK_SYMMETRIC_XY)
    shrinks = mode not in (_Jitter.EXPAND, _Jitter.EXPAND_SYMMETRIC, _Jitter.EXPAND_SYMMETRIC_XY)
    most = 1 if shrinks else 100
    check(0 <= ratio < most, f"ratio is {ratio:g}; it must be in [0, {most}), or boxes would turn inside out")
    low, high = 1 - ratio * shrinks, 1 + ratio * grows

    def jitter(sample: Sample, seed: Any) -> Sample:
        boxes = sample["boxes"]
        count = tf.shape(boxes)[0]
        if mode in (_Jitter.DEFAULT, _Jitter.EXPAND, _Jitter.SHRINK):
            stretch = stateless_random.uniform(seed, low, high, [count, 4])
        else:
            same = mode in (_Jitter.EXPAND_SYMMETRIC_XY, _Jitter.SHRINK_SYMMETRIC_XY)
            stretch = stateless_random.uniform(seed, low, high, [count, 1 if same else 2])
            stretch = tf.tile(within_image(boxes, stretch), [1, 4 if same else 2])
        return sample | {"boxes": geometry.clip(geometry.stretch(boxes, stretch))}

    return jitter


def within_image(boxes: Any, stretch: Any) -> Any:
    """Return `stretch` ([n, 1], or [n, 2] for height and width), made less where a side would leave the image."""
    centers, sides = geometry.centers(boxes), tf.maximum(geometry.sides(boxes), 1e-6)
    most = 2 * tf.minimum(centers, 1 - centers) / sides
    if stretch.shape[1] == 1:
        most = tf.reduce_min(most, 1, keepdims=True)
    return tf.minimum(stretch, tf.maximum(most, 0.0))


# ---------------------------------------------------------------------------------------------- classes


def drop_label_probabilistically(section: pipeline_pb2.DropLabelProbabilistically, num_classes: int) -> Step:
    """Read `drop_label_probabilistically`: drop each object of one class with a probability."""
    dropped = _class_of(section.label, "label", num_classes)
    probability = check_probability(section, "drop_probability")

    def drop(sample: Sample, seed: Any) -> Sample:
        unlucky = stateless_random.uniform(seed, shape=tf.shape(sample["classes"])) < probability
        return keep(sample, (sample["classes"] != dropped) | ~unlucky)

    return drop


def remap_labels(section: pipeline_pb2.RemapLabels, num_classes: int) -> Step:
    """Read `remap_labels`: give the objects of some classes another class."""
    new = _class_of(section.new_label, "new_label", num_classes)
    originals = [_class_of(label, "original_labels", num_classes) for label in section.original_labels]

    def remap(sample: Sample, seed: Any) -> Sample:
        classes = sample["classes"]
        found = tf.reduce_any(classes[:, None] == tf.constant(originals, tf.int32, [1, len(originals)]), 1)
        return sample | {"classes": tf.where(found, new, classes)}

    return remap


def convert_class_logits_to_softmax(section: pipeline_pb2.ConvertClassLogitsToSoftmax) -> Step:
    """Read `convert_class_logits_to_softmax`: make probabilities of `class_scores` [n, c], divided by a temperature."""
    temperature = section.temperature
    check(0 < temperature < math.inf, f"temperature is {temperature:g}; it must be above 0 and finite")

    def convert(sample: Sample, seed: Any) -> Sample:
        return sample | {"class_scores": tf.nn.softmax(sample["class_scores"] / temperature)}

    return convert


def _class_of(label: int, field: str, num_classes: int) -> int:
    """Return the class, counted from 0, of an id of the label map, counted from 1."""
    fault = f"{field} {label} is not an id of the label map; they go from 1 to {num_classes}"
    check(1 <= label <= num_classes, fault)
    return label - 1
