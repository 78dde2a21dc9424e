"""The batches that training and evaluation consume.

A position in the endless stream of training examples says which epoch it belongs to, which record it is, and from
which seed it is augmented. So a run can begin at any step at once, and what it sees depends on the seed alone.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from boxtune.config import fixed_size, input_files, pipeline_pb2
from boxtune.data.augmentation import augmentation
from boxtune.data.augmentation.mixing import mixing
from boxtune.data.examples import Sample, class_parser, parser
from boxtune.data.image_cache import ImageCache
from boxtune.data.label_map import LabelMap, read_label_map
from boxtune.data.order import Order, Purpose, balanced_shares, seed_for
from boxtune.data.resize import Resizer, resizer
from boxtune.data.tfrecord import RecordIndex
from boxtune.errors import DataError

# What TensorFlow raises for a damaged record: the second where its own message is no text.
_READ_ERRORS = (tf.errors.OpError, UnicodeDecodeError)


class Records:
    """The records of an input reader, by number; their pictures are decoded once, as far as memory allows."""

    def __init__(
        self,
        files: Sequence[Path],
        label_map: LabelMap,
        num_classes: int,
        *,
        one_of_n: int = 1,
        expand_hierarchy: bool = False,
    ):
        self.index = RecordIndex(files)
        self.label_map, self.num_classes, self.one_of_n = label_map, num_classes, max(one_of_n, 1)
        self.expand_hierarchy = expand_hierarchy
        self.parse = parser(label_map, num_classes, expand_hierarchy=expand_hierarchy)
        self.cache = ImageCache()

    def __len__(self) -> int:
        return -(-len(self.index) // self.one_of_n)

    def sample(self, number: Any) -> Sample:
        """Return record `number` (a tensor) as a Sample."""
        return self.parse(self._serialized(number), partial(self.cache.image, number))

    @cached_property
    def classes(self) -> list[npt.NDArray[np.int32]]:
        """The classes [n] of the objects of every record, read without decoding a picture.

        Raises:
            DataError: if a record cannot be read.
        """
        parse = class_parser(self.label_map, self.num_classes, expand_hierarchy=self.expand_hierarchy)
        read = tf.data.Dataset.range(len(self)).map(
            lambda number: parse(self._serialized(number)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        with naming_faults(self):
            return list(read.as_numpy_iterator())

    def _serialized(self, number: Any) -> Any:
        return tf.ensure_shape(tf.numpy_function(self.read, [number], tf.string, stateful=False), [])

    def read(self, number: int) -> bytes:
        """Return record `number` as it is serialized."""
        return self.index.read(int(number) * self.one_of_n)

    def find_fault(self) -> DataError | None:
        """Read every record until one fails, and say which and why; for after a failure, where only that it was."""
        for number in range(len(self)):
            try:
                self.sample(tf.constant(number, tf.int64))
            except _READ_ERRORS as error:
                return DataError(f"{self.name_of(number)}: {_reason(error)}")
            except DataError as error:
                return error
        return None

    def name_of(self, number: int) -> str:
        """Return the record's place and, where it has one, its image's name."""
        position = number * self.one_of_n
        file = self.index.paths[self.index.file_numbers[position]]
        place = f"{file}: record {position} at byte {self.index.offsets[position]}"
        try:
            example = tf.train.Example.FromString(self.read(number))
            names = example.features.feature["image/filename"].bytes_list.value
        except Exception:
            return f"{place} (not a tf.train.Example)"
        return f"{place} (image {names[0].decode('utf-8', 'replace')})" if names else place


@contextmanager
def naming_faults(records: Records) -> Iterator[None]:
    """Turn TensorFlow's error about some record into a DataError that names the record and what is wrong."""
    try:
        yield
    except _READ_ERRORS as error:
        raise records.find_fault() or error from error


def open_records(reader: pipeline_pb2.InputReader, num_classes: int) -> Records:
    """Open the records of an input reader.

    Raises:
        ConfigError: if its files are not there.
        DataError: if they are no TFRecords, or hold nothing.
    """
    return Records(
        input_files(reader),
        read_label_map(Path(reader.label_map_path)),
        num_classes,
        one_of_n=reader.sample_1_of_n_examples,
        expand_hierarchy=reader.expand_labels_hierarchy,
    )


def _reason(error: Exception) -> str:
    """Return the sentence of an error that says what was wrong."""
    message = str(getattr(error, "message", error))
    ours = re.search(r"image/object[^\n\[\]]*", message)
    if ours:
        return f"{ours[0].rstrip(' .')}; check the label map, num_classes and what wrote the records"
    first = next((line.strip() for line in message.splitlines() if line.strip()), type(error).__name__)
    if "image" in first.lower() or "JPEG" in first or "PNG" in first:
        return f"the image cannot be decoded ({first}); remove it and convert again"
    return first


def training_batches(
    records: Records,
    *,
    batch_size: int,
    seed: int,
    image_resizer: pipeline_pb2.ImageResizer,
    augmentation_options: Sequence[pipeline_pb2.PreprocessingStep] = (),
    shuffle: bool = True,
    class_balance: float = 0.0,
    mosaic_probability: float = 0.0,
    mixup_probability: float = 0.0,
    copy_paste_probability: float = 0.0,
    start_step: int = 0,
    row_multiple: int = 1,
    rank: int = 0,
    num_shares: int = 1,
) -> tf.data.Dataset:
    """Return the endless batches of training from `start_step` on: (images, ground truth).

    Images are float32 [b, h, w, 3] in [0, 255]; the ground truth has `boxes` [b, n, 4], `classes` [b, n], `weights`
    [b, n] and `valid` [b, n], where n is above the largest number of objects in the batch (never none): the next
    multiple of `row_multiple`, for backends that compile each shape anew.

    With `num_shares`, batches are shares of `batch_size` each: number `rank` of so many that make up the whole batch.

    Raises:
        ConfigError: if a step of augmentation, a probability or `class_balance` cannot be.
        DataError: if the classes of a record are needed and cannot be read.
    """
    order = record_order(records, seed=seed, shuffle=shuffle, class_balance=class_balance)
    mix = mixing(
        lambda drawn: records.sample(order.draw(drawn)),
        mosaic=mosaic_probability,
        mixup=mixup_probability,
        copy_paste=copy_paste_probability,
    )
    augment = augmentation(augmentation_options, records.num_classes)
    resize = resizer(image_resizer)

    def example(number: Any) -> tuple[Any, Sample]:
        step, place = number // batch_size, number % batch_size
        position = (step * num_shares + rank) * batch_size + place
        sample = records.sample(order.number(position))
        sample = mix(sample, seed_for(seed, Purpose.MIXING, position))
        sample = augment(sample, seed_for(seed, Purpose.AUGMENTATION, position))
        # Floats as late as this: until here a quarter of the bytes are moved.
        return resize(tf.cast(sample["image"], tf.float32)).image, _groundtruth(sample)

    numbers = tf.data.Dataset.range(start_step * batch_size, tf.int64.max)
    examples = numbers.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    padded = {"boxes": [None, 4], "classes": [None], "weights": [None], "valid": [None]}
    batches = examples.padded_batch(batch_size, padded_shapes=([None, None, 3], padded), drop_remainder=True)
    if row_multiple > 1:
        batches = batches.map(
            lambda images, groundtruth: (images, _with_more_rows(groundtruth, row_multiple))
        )
    return batches.map(_with_static_size(image_resizer)).prefetch(2)


def record_order(records: Records, *, seed: int, shuffle: bool, class_balance: float = 0.0) -> Order:
    """Return which record stands at which position of a training.

    Raises:
        ConfigError: if `class_balance` is not in [0, 1].
        DataError: if it is above 0 and the classes of a record cannot be read.
    """
    shares = balanced_shares(records.classes, class_balance) if class_balance else None
    return Order(len(records), seed, shuffle, shares)


def _groundtruth(sample: Sample) -> Sample:
    """Return the objects with one row of padding behind them, so that no batch is without rows."""
    count = tf.shape(sample["boxes"])[0]
    return {
        "boxes": tf.pad(sample["boxes"], [[0, 1], [0, 0]]),
        "classes": tf.pad(sample["classes"], [[0, 1]]),
        "weights": tf.pad(sample["weights"], [[0, 1]]),
        "valid": tf.pad(tf.ones([count], tf.bool), [[0, 1]]),
    }


def _with_more_rows(samples: Sample, multiple: int) -> Sample:
    """Pad parts [b, n, ...] of a batch behind the last row, until n is a multiple."""
    missing = -tf.shape(next(iter(samples.values())))[1] % multiple
    return {
        name: tf.pad(part, [[0, 0], [0, missing], *[[0, 0]] * (part.shape.rank - 2)])
        for name, part in samples.items()
    }


def _with_static_size(section: pipeline_pb2.ImageResizer) -> Any:
    height, width = fixed_size(section) or (None, None)

    def fix(images: Any, groundtruth: Sample) -> tuple[Any, Sample]:
        return tf.ensure_shape(images, [None, height, width, 3]), groundtruth

    return fix


def evaluation_batches(
    records: Records, *, batch_size: int, image_resizer: pipeline_pb2.ImageResizer
) -> tf.data.Dataset:
    """Return every record once, in order: batches of (images, extents [b, 2], samples).

    `extents` is the share of height and width of each input that is picture. The samples keep the objects (padded
    to the batch's largest number, `count` int32 [b] of them true), names and sizes, without the pictures.
    """
    resize: Resizer = resizer(image_resizer)

    def example(number: Any) -> tuple[Any, Any, Sample]:
        sample = records.sample(number)
        resized = resize(tf.cast(sample.pop("image"), tf.float32))
        return resized.image, resized.extent, sample | {"count": tf.shape(sample["boxes"])[0]}

    numbers = tf.data.Dataset.range(len(records))
    examples = numbers.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return examples.padded_batch(batch_size).prefetch(2)
