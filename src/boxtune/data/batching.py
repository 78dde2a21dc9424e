"""Batches, of training and of evaluation.

Images are resized each for itself, then padded to the largest of their batch; the boxes go from the image's frame to
that of the padded input.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from boxtune.config import fixed_size, pipeline_pb2
from boxtune.data.augmentation import augmentation
from boxtune.data.augmentation.mixing import Mixing, mixing
from boxtune.data.decoder import Sample
from boxtune.data.geometry import to_input_frame
from boxtune.data.input import Records, as_written
from boxtune.data.resize import resizer
from boxtune.data.shuffling import Order, balanced_probabilities
from boxtune.data.stateless_random import Purpose, seed_for
from boxtune.errors import ConfigError
from boxtune.structures import GroundTruth, Inputs

_OF_TRAINING = ("boxes", "classes", "weights")


def training_samples(
    records: Records,
    *,
    seed: int,
    augmentation_options: Sequence[pipeline_pb2.PreprocessingStep] = (),
    shuffle: bool = True,
    class_balance: float = 0.0,
    mixed: Mixing | None = None,
) -> Callable[[Any], Sample]:
    """Return a function from a position in the endless stream of training to the augmented Sample there.

    It depends on the position and the seed alone, so a run can start at any of them.

    Raises:
        ConfigError: if a step of augmentation, a probability or `class_balance` cannot be.
        DataError: if the classes of a record are needed and cannot be read.
    """
    order = record_order(records, seed=seed, shuffle=shuffle, class_balance=class_balance)
    mix = mixing(lambda seed: records.sample(order.random_number(seed)), mixed or Mixing())
    augment = augmentation(augmentation_options, records.num_classes)

    def sample_at(position: Any) -> Sample:
        sample = records.sample(order.number(position))
        sample = mix(sample, seed_for(seed, Purpose.MIXING, position))
        return augment(sample, seed_for(seed, Purpose.AUGMENTATION, position))

    return sample_at


def record_order(records: Records, *, seed: int, shuffle: bool, class_balance: float = 0.0) -> Order:
    """Return the order of records in a training.

    Raises:
        ConfigError: if `class_balance` is not in [0, 1], or data sets have weights.
        DataError: if it is above 0 and the classes of a record cannot be read.
    """
    probabilities = records.probabilities
    if class_balance:
        if records.datasets:
            raise ConfigError(
                "boxtune.class_balance and sample_from_datasets_weights both say how often each record is shown; "
                "remove one of them."
            )
        probabilities = balanced_probabilities(records.classes, class_balance)
    return Order(len(records), seed, shuffle, probabilities)


def training_batches(
    sample_at: Callable[[Any], Sample],
    *,
    batch_size: int,
    image_resizer: pipeline_pb2.ImageResizer,
    class_scores: bool = False,
    start_step: int = 0,
    row_multiple: int = 1,
    rank: int = 0,
    num_shares: int = 1,
) -> tf.data.Dataset:
    """Return the endless Inputs of training from `start_step` on, with their ground truth.

    Args:
        sample_at: from positions to Samples, see `training_samples`.
        batch_size: b.
        image_resizer: the section.
        class_scores: the Samples have such, and they are part of the ground truth.
        start_step: how many batches come before the first.
        row_multiple: what the rows n of the ground truth are a multiple of, for backends that compile each shape anew;
            there is one row of padding at least.
        rank, num_shares: batches are number `rank` of so many shares that make up the whole batch, `batch_size` each.
    """
    parts = ("image", *_OF_TRAINING, *(["class_scores"] if class_scores else []))

    def sample(number: Any) -> Sample:
        step, offset = number // batch_size, number % batch_size
        record = sample_at((step * num_shares + rank) * batch_size + offset)
        return {name: record[name] for name in parts}

    numbers = tf.data.Dataset.range(start_step * batch_size, tf.int64.max)
    batches = _padded_batches(numbers, sample, batch_size, image_resizer, drop_remainder=True)
    return batches.map(as_written(lambda batch: _inputs(batch, row_multiple, class_scores))).prefetch(2)


def evaluation_batches(
    records: Records, *, batch_size: int, image_resizer: pipeline_pb2.ImageResizer, row_multiple: int = 1
) -> tf.data.Dataset:
    """Return every record once, in order: batches of (Inputs with ground truth, Samples).

    The Samples keep the objects in the image's frame (padded to the batch's largest number, `count` int32 [b] of them
    true), names and sizes, without the images.
    """
    numbers = tf.data.Dataset.range(len(records))
    batches = _padded_batches(numbers, records.sample, batch_size, image_resizer)

    def pair(batch: Sample) -> tuple[Inputs, Sample]:
        rest = {name: part for name, part in batch.items() if name not in ("image", "resized_size")}
        return _inputs(batch, row_multiple), rest

    return batches.map(as_written(pair)).prefetch(2)


def _padded_batches(
    numbers: tf.data.Dataset,
    sample: Callable[[Any], Sample],
    batch_size: int,
    image_resizer: pipeline_pb2.ImageResizer,
    *,
    drop_remainder: bool = False,
) -> tf.data.Dataset:
    """Return batches of Samples with resized images, the `resized_size` [2] of each, and the `count` of its objects."""
    resize = resizer(image_resizer)
    height, width = fixed_size(image_resizer) or (None, None)

    def example(number: Any) -> Sample:
        record = sample(number)
        resized = resize(record["image"])  # uint8 until here: a quarter of the bytes are moved
        image = tf.ensure_shape(resized.image, [height, width, 3])
        count = tf.shape(record["boxes"])[0]
        return record | {"image": image, "resized_size": resized.size, "count": count}

    examples = numbers.map(as_written(example), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return examples.padded_batch(batch_size, drop_remainder=drop_remainder)


def _inputs(batch: Sample, row_multiple: int, class_scores: bool = False) -> Inputs:
    """Return a batch of padded Samples as a detector takes it, with a row of padding or more for the objects."""
    count = tf.shape(batch["boxes"])[1]
    more = row_multiple - count % row_multiple
    boxes = to_input_frame(batch["boxes"], batch["resized_size"], tf.shape(batch["image"])[1:3])
    groundtruth = GroundTruth(
        boxes=tf.pad(boxes, [[0, 0], [0, more], [0, 0]]),
        classes=tf.pad(batch["classes"], [[0, 0], [0, more]]),
        weights=tf.pad(batch["weights"], [[0, 0], [0, more]]),
        valid=tf.range(count + more)[None] < batch["count"][:, None],
    )
    if class_scores:
        groundtruth["class_scores"] = tf.pad(batch["class_scores"], [[0, 0], [0, more], [0, 0]])
    return Inputs(images=batch["image"], sizes=batch["resized_size"], groundtruth=groundtruth)
