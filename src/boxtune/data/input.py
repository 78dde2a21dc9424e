"""The records of an input reader, by number; their pictures are decoded once, as far as memory allows."""

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from boxtune.config import input_datasets, input_files, pipeline_pb2
from boxtune.data.examples import Sample, class_parser, parser
from boxtune.data.label_map import LabelMap, read_label_map
from boxtune.data.order import weighted_shares
from boxtune.data.sequences import annotated_frames, example_of_frame, is_sequence
from boxtune.data.tfrecord import RecordIndex
from boxtune.errors import DataError

ANY_FRAME = -1
"""The `frame_index` of a reader that stands for any frame of a sequence."""

MAX_BYTES = 2**29  # of decoded pictures of training, and as much of validation

_MOST_TOLD = 10
_SEQUENCE = "it is a sequence of images; set input_type: TF_SEQUENCE_EXAMPLE in its input reader"

as_written = tf.autograph.experimental.do_not_convert
"""For functions without Python's `if` and `for` over tensors: converting them takes as long as all else of a start."""

# What TensorFlow raises for a damaged record: the second where its own message is no text.
_READ_ERRORS = (tf.errors.OpError, UnicodeDecodeError)
_NOTHING = np.zeros((0, 0, 3), np.uint8)


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
        class_scores: bool = False,
        datasets: Sequence[tuple[Sequence[Path], float]] = (),
        sequences: bool = False,
        frame: int | None = None,
    ):
        """Find the records of `files`; `datasets` are groups of these, with how often a training reads from each.

        If they are `sequences` of images, each annotated frame counts as a record, or only number `frame` of each.
        """
        self.index = RecordIndex(files)
        self.label_map, self.num_classes, self.one_of_n = label_map, num_classes, max(one_of_n, 1)
        self.frames = self._find_frames(frame) if sequences else None
        self.expand_hierarchy, self.datasets = expand_hierarchy, datasets
        self.parse = parser(
            label_map, num_classes, expand_hierarchy=expand_hierarchy, class_scores=class_scores
        )
        self.cache = ImageCache()

    def __len__(self) -> int:
        return self._num_read if self.frames is None else len(self.frames)

    def sample(self, number: Any) -> Sample:
        """Return record `number` (a tensor) as a Sample."""
        return self.parse(self._serialized(number), partial(self.cache.image, number))

    @cached_property
    def shares(self) -> npt.NDArray[np.float64] | None:
        """How often a training shows each record [records], adding up to 1; None for all alike.

        Sequences count alike, however many frames they have.

        Raises:
            ConfigError: if a data set has no record.
        """
        of_sequences = self._shares_of_datasets()
        if self.frames is None:
            return of_sequences
        sequence = self.frames[:, 0] // self.one_of_n
        counts = np.bincount(sequence, minlength=self._num_read)
        if of_sequences is None:
            if len(set(counts[sequence])) == 1:
                return None
            of_sequences = np.ones(self._num_read)
        shown = of_sequences[sequence] / counts[sequence]
        shares: npt.NDArray[np.float64] = shown / shown.sum()
        return shares

    def _shares_of_datasets(self) -> npt.NDArray[np.float64] | None:
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
        """Return record `number` as a serialized tf.train.Example; raise DataError if it is no such frame."""
        position, frame = self._position(int(number))
        record = self.index.read(position)
        if frame is None:
            return record
        try:
            return example_of_frame(record, frame)
        except DataError as error:
            raise DataError(f"{self.name_of(number)}: {error}") from error

    @property
    def _num_read(self) -> int:
        """How many records of the files are read."""
        return -(-len(self.index) // self.one_of_n)

    def place(self, number: int) -> str:
        """Return in a few words where record `number` is."""
        position, frame = self._position(number)
        file = self.index.paths[self.index.file_numbers[position]]
        return f"record {position}{'' if frame is None else f', frame {frame},'} of {file}"

    def _position(self, number: int) -> tuple[int, int | None]:
        """Return the position in the files of record `number`, and its frame if that is a sequence."""
        if self.frames is None:
            return number * self.one_of_n, None
        position, frame = self.frames[number]
        return int(position), int(frame)

    def _find_frames(self, only: int | None) -> npt.NDArray[np.int64]:
        """Return the positions and numbers [frames, 2] of the frames to read, reading every sequence once.

        Raises:
            DataError: if a record is no sequence, does not have the frame that is wanted, or there is no frame at all.
        """
        found = []
        for position in range(0, len(self.index), self.one_of_n):
            try:
                frames = annotated_frames(self.index.read(position))
                if only is not None and only not in frames:
                    raise DataError(
                        f"it has no annotated frame {only}; its annotated frames are {_few(frames)}. "
                        "Set frame_index to one that every sequence has, or to -1 for any."
                    )
            except DataError as error:
                raise DataError(f"{self._file_and_position(position)}: {error}") from error
            found += [(position, frame) for frame in (frames if only is None else [only])]
        if not found:
            raise DataError(f"no frame of {', '.join(map(str, self.index.paths))} is annotated.")
        return np.array(found, np.int64)

    def find_fault(self) -> DataError | None:
        """Read every record until one fails, and say which and why; for after a failure, where only that it was."""
        for number in range(len(self)):
            try:
                self.sample(tf.constant(number, tf.int64))
            except _READ_ERRORS as error:
                reason = _SEQUENCE if is_sequence(self.read(number)) else _reason(error)
                return DataError(f"{self.name_of(number)}: {reason}")
            except DataError as error:
                return error
        return None

    def name_of(self, number: int) -> str:
        """Return the record's place and, where it has one, its image's name."""
        position, frame = self._position(number)
        place = self._file_and_position(position)
        if frame is not None:
            return f"{place}, frame {frame}"
        try:
            example = tf.train.Example.FromString(self.read(number))
            names = example.features.feature["image/filename"].bytes_list.value
        except Exception:
            return f"{place} (not a tf.train.Example)"
        return f"{place} (image {names[0].decode('utf-8', 'replace')})" if names else place

    def _file_and_position(self, position: int) -> str:
        file = self.index.paths[self.index.file_numbers[position]]
        return f"{file}: record {position} at byte {self.index.offsets[position]}"


@contextmanager
def naming_faults(records: Records) -> Iterator[None]:
    """Turn TensorFlow's error about some record into a DataError that names the record and what is wrong."""
    try:
        yield
    except _READ_ERRORS as error:
        raise records.find_fault() or error from error


def open_records(
    reader: pipeline_pb2.InputReader,
    num_classes: int,
    *,
    label_map: LabelMap | None = None,
    for_training: bool = False,
) -> Records:
    """Open the records of an input reader; `frame_index` is for training, and an evaluation reads every frame.

    Raises:
        ConfigError: if its files are not there.
        DataError: if they are no TFRecords, or hold nothing, or no sequences where these are wanted.
    """
    return Records(
        input_files(reader),
        label_map or read_label_map(Path(reader.label_map_path)),
        num_classes,
        one_of_n=reader.sample_1_of_n_examples,
        expand_hierarchy=reader.expand_labels_hierarchy,
        class_scores=reader.load_multiclass_scores,
        datasets=input_datasets(reader) if reader.sample_from_datasets_weights else (),
        sequences=reader.input_type == pipeline_pb2.TF_SEQUENCE_EXAMPLE,
        frame=reader.frame_index if for_training and reader.frame_index != ANY_FRAME else None,
    )


def _few(numbers: Sequence[int]) -> str:
    """Return the first numbers, for a message."""
    return (
        ", ".join(map(str, numbers[:_MOST_TOLD])) + (", ..." if len(numbers) > _MOST_TOLD else "")
    ) or "none"


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


class ImageCache:
    """Pictures by number, uint8 [h, w, 3], of `max_bytes` together; the first to come are kept, none is replaced.

    So a set that does not fit loses nothing but the room: in a random order, what was used last is used last again.
    """

    def __init__(self, max_bytes: int | None = None) -> None:
        """Keep up to `max_bytes`; if None, a quarter of the memory, but no more than MAX_BYTES."""
        self.bytes_left = min(MAX_BYTES, _memory() // 4) if max_bytes is None else max_bytes
        self._kept: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def image(self, number: Any, decode: Callable[[], Any]) -> Any:
        """Return picture `number` (a tensor): the kept one, else what `decode` returns, uint8 [h, w, 3]."""
        kept = tf.numpy_function(self._get, [number], tf.uint8, stateful=True)
        image = tf.cond(
            tf.size(kept) > 0,
            lambda: kept,
            lambda: tf.numpy_function(self._keep, [number, decode()], tf.uint8, stateful=True),
        )
        return tf.ensure_shape(image, [None, None, 3])

    def _get(self, number: int) -> np.ndarray:
        return self._kept.get(int(number), _NOTHING)

    def _keep(self, number: int, image: np.ndarray) -> np.ndarray:
        with self._lock:
            if int(number) not in self._kept and image.nbytes <= self.bytes_left:
                self.bytes_left -= image.nbytes
                self._kept[int(number)] = image.copy()  # what TensorFlow hands over is its own, for now
        return image


def _memory() -> int:
    """Return the bytes of memory that this process may use, or much where that cannot be told."""
    limits = [2**40]
    with suppress(AttributeError, ValueError, OSError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(ValueError, OSError):  # "max", or no such group
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits)
