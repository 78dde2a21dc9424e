"""The records of an input reader, by number."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from boxtune.config import input_datasets, input_files, pipeline_pb2
from boxtune.data.examples import Sample, class_parser, parser
from boxtune.data.image_cache import ImageCache
from boxtune.data.label_map import LabelMap, read_label_map
from boxtune.data.order import weighted_shares
from boxtune.data.tfrecord import RecordIndex
from boxtune.errors import DataError

as_written = tf.autograph.experimental.do_not_convert
"""For functions without Python's `if` and `for` over tensors: converting them takes as long as all else of a start."""

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
        datasets: Sequence[tuple[Sequence[Path], float]] = (),
    ):
        """Find the records of `files`; `datasets` are groups of these, with how often a training reads from each."""
        self.index = RecordIndex(files)
        self.label_map, self.num_classes, self.one_of_n = label_map, num_classes, max(one_of_n, 1)
        self.expand_hierarchy, self.datasets = expand_hierarchy, datasets
        self.parse = parser(label_map, num_classes, expand_hierarchy=expand_hierarchy)
        self.cache = ImageCache()

    def __len__(self) -> int:
        return -(-len(self.index) // self.one_of_n)

    def sample(self, number: Any) -> Sample:
        """Return record `number` (a tensor) as a Sample."""
        return self.parse(self._serialized(number), partial(self.cache.image, number))

    @cached_property
    def shares(self) -> npt.NDArray[np.float64] | None:
        """How often a training shows each record [records], adding up to 1; None for all alike.

        Raises:
            ConfigError: if a data set has no record.
        """
        if not self.datasets:
            return None
        files = np.array(list(map(str, self.index.paths)))[self.index.file_numbers[:: self.one_of_n]]
        return weighted_shares(
            [np.isin(files, list(map(str, paths))) for paths, _ in self.datasets],
            [weight for _, weight in self.datasets],
        )

    @cached_property
    def classes(self) -> list[npt.NDArray[np.int32]]:
        """The classes [n] of the objects of every record, read without decoding a picture.

        Raises:
            DataError: if a record cannot be read.
        """
        parse = class_parser(self.label_map, self.num_classes, expand_hierarchy=self.expand_hierarchy)
        read = tf.data.Dataset.range(len(self)).map(
            as_written(lambda number: parse(self._serialized(number))),
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
        datasets=input_datasets(reader) if reader.sample_from_datasets_weights else (),
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
