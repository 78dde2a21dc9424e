"""The records of an input reader, by number; their images are decoded once, as far as memory allows."""

import hashlib
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
from google.protobuf.message import DecodeError

from boxtune.config import input_datasets, input_files, pipeline_pb2
from boxtune.data import decoder, pixels
from boxtune.data.decoder import Sample
from boxtune.data.example_pb2 import Example
from boxtune.data.label_map import LabelMap, read_label_map
from boxtune.data.shuffling import weighted_probabilities
from boxtune.data.tfrecord import RecordIndex, correct_types, parse_example
from boxtune.errors import DataError, many
from boxtune.machine import total_bytes

ANY_FRAME = -1
"""The `frame_index` of a reader that stands for any frame of a sequence."""

MAX_BYTES = 2**29  # of decoded images of training, and as much of validation

_MOST_SHOWN = 10
_MOST_LOOKED_AT = 256
_SEQUENCE = "it is a sequence of images; set input_type: TF_SEQUENCE_EXAMPLE in its input reader"

as_written = tf.autograph.experimental.do_not_convert
"""For functions without Python's `if` and `for` over tensors: converting them takes as long as all else of a start."""

# TensorFlow's errors for a damaged record: the second where its own message is not text.
_READ_ERRORS = (tf.errors.OpError, UnicodeDecodeError)
_NOTHING = np.zeros((0, 0, 3), np.uint8)


class Records:
    """The records of an input reader, by number; their images are decoded once, as far as memory allows."""

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
        self._correct_types = not sequences and self._has_other_types()
        self.parse = decoder.parser(
            label_map, num_classes, expand_hierarchy=expand_hierarchy, class_scores=class_scores
        )
        self.cache = ImageCache()
        # A training with mosaic asks for samples in six places: a graph of its own is traced once for all of them.
        signature = [tf.TensorSpec([], tf.int64)]
        self.sample = tf.function(self._sample, autograph=False, input_signature=signature)
        """Returns record number `number` (int64) as a Sample."""

    def __len__(self) -> int:
        return self._num_read if self.frames is None else len(self.frames)

    def _sample(self, number: Any) -> Sample:
        return self.parse(self._serialized(number), partial(self.cache.image, number))

    @cached_property
    def probabilities(self) -> npt.NDArray[np.float64] | None:
        """How often a training shows each record [records], adding up to 1; None if all are shown equally often.

        Sequences count alike, however many frames they have.

        Raises:
            ConfigError: if a data set has no record.
        """
        of_sequences = None
        if self.datasets:
            files = np.array(list(map(str, self.index.paths)))[self.index.file_numbers[:: self.one_of_n]]
            members = [np.isin(files, list(map(str, paths))) for paths, _ in self.datasets]
            of_sequences = weighted_probabilities(members, [weight for _, weight in self.datasets])
        if self.frames is None:
            return of_sequences
        sequence = self.frames[:, 0] // self.one_of_n
        counts = np.bincount(sequence, minlength=self._num_read)
        if of_sequences is None:
            if len(set(counts[sequence])) == 1:
                return None
            of_sequences = np.ones(self._num_read)
        shown = of_sequences[sequence] / counts[sequence]
        probabilities: npt.NDArray[np.float64] = shown / shown.sum()
        return probabilities

    @cached_property
    def classes(self) -> list[npt.NDArray[np.int32]]:
        """The classes [n] of the objects of every record, read without decoding an image.

        Raises:
            DataError: if a record cannot be read.
        """
        parse = decoder.class_parser(self.label_map, self.num_classes, expand_hierarchy=self.expand_hierarchy)
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
        """Return record `number` as a serialized tf.train.Example; raise DataError if the frame does not exist."""
        position, frame = self._position(int(number))
        record = self.index.read(position)
        if frame is None:
            if not self._correct_types:
                return record
            example = parse_example(record)
            correct_types(example)
            return example.SerializeToString()
        try:
            return decoder.example_of_frame(record, frame)
        except DataError as error:
            raise DataError(f"{self.name_of(number)}: {error}") from error

    def spread_numbers(self) -> list[int]:
        """Return the numbers of up to 256 records from all over."""
        return [*range(0, len(self), max(1, -(-len(self) // _MOST_LOOKED_AT)))]

    def _has_other_types(self) -> bool:
        """Say whether some of the records have keys of other types than the API's.

        Raises:
            DataError: if they have values that are not of that type.
        """
        for number in self.spread_numbers():
            position, _ = self._position(number)
            with suppress(DecodeError):  # which is named when it is read
                example = Example.FromString(self.index.read(position))
                try:
                    if correct_types(example):
                        return True
                except DataError as error:
                    raise DataError(f"{self._location(position)}: {error}") from error
        return False

    @property
    def _num_read(self) -> int:
        """How many records of the files are read."""
        return -(-len(self.index) // self.one_of_n)

    def _position(self, number: int) -> tuple[int, int | None]:
        """Return the position in the files of record `number`, and its frame if that is a sequence."""
        if self.frames is None:
            return number * self.one_of_n, None
        position, frame = self.frames[number]
        return int(position), int(frame)

    def _find_frames(self, only: int | None) -> npt.NDArray[np.int64]:
        """Return the positions and numbers [frames, 2] of the frames to read, reading every sequence once.

        Raises:
            DataError: if a record is not a sequence, lacks the frame, or there is no frame at all.
        """
        found = []
        for position in range(0, len(self.index), self.one_of_n):
            try:
                frames = decoder.annotated_frames(self.index.read(position))
                if only is not None and only not in frames:
                    few = [*map(str, frames[:_MOST_SHOWN]), *(["..."] if len(frames) > _MOST_SHOWN else [])]
                    raise DataError(
                        f"it has no annotated frame {only}; its annotated frames are {', '.join(few) or 'none'}. "
                        "Set frame_index to one that every sequence has, or to -1 for any."
                    )
            except DataError as error:
                raise DataError(f"{self._location(position)}: {error}") from error
            found += [(position, frame) for frame in (frames if only is None else [only])]
        if not found:
            raise DataError(f"no frame of {', '.join(map(str, self.index.paths))} is annotated.")
        return np.array(found, np.int64)

    def find_fault(self) -> DataError | None:
        """Read every record until one fails, and return which and why; TensorFlow's own errors do not say which."""
        for number in range(len(self)):
            try:
                record = self.read(number)
            except DataError as error:
                return error
            try:
                self._sample(tf.constant(number, tf.int64))  # eagerly, for TensorFlow's plain message
            except (*_READ_ERRORS, DataError) as error:
                return DataError(f"{self.name_of(number)}: {_why(record, error)}")
        return None

    def name_of(self, number: int) -> str:
        """Return where record `number` is and, where it has one, its image's name."""
        position, frame = self._position(number)
        location = self._location(position)
        if frame is not None:
            return f"{location}, frame {frame}"
        try:
            name = self.image_name(number)
        except DataError:
            return f"{location} (not a tf.train.Example)"
        return f"{location} (image {name})" if name else location

    def image_name(self, number: int) -> str:
        """Return the file name or else the id of the image of record `number`, "" if it has neither.

        Raises:
            DataError: if it is not a tf.train.Example.
        """
        features = parse_example(self.read(number)).features.feature
        names = (features[key].bytes_list.value for key in ("image/filename", "image/source_id"))
        return next((name[0].decode("utf-8", "replace") for name in names if name), "")

    def encoded_image(self, number: int) -> bytes:
        """Return the image of record `number`, as it is encoded there.

        Raises:
            DataError: if it is not a tf.train.Example.
        """
        feature = parse_example(self.read(number)).features.feature["image/encoded"]
        return b"".join(feature.bytes_list.value)

    def _location(self, position: int) -> str:
        file = self.index.paths[self.index.file_numbers[position]]
        return f"{file}: record {position} at byte {self.index.offsets[position]}"


@contextmanager
def naming_faults(records: Records) -> Iterator[None]:
    """Turn TensorFlow's error about some record into a DataError that names the record and the reason."""
    try:
        yield
    except _READ_ERRORS as error:
        raise records.find_fault() or error from error


def open_records(
    reader: pipeline_pb2.InputReader,
    num_classes: int,
    *,
    for_training: bool = False,
    label_map: LabelMap | None = None,
) -> Records:
    """Open the records of an input reader, whose `label_map` is read unless it is given.

    Its `frame_index` is for training; an evaluation reads every frame.

    Raises:
        ConfigError: if its files are not there.
        DataError: if they are not TFRecords, or hold nothing, or not sequences where sequences are expected.
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


def _why(record: bytes, error: Exception) -> str:
    """Return why a record cannot be read, which TensorFlow's error says less plainly."""
    if decoder.is_sequence(record):
        return _SEQUENCE
    try:
        example = parse_example(record)
        if changed := correct_types(example):
            return f"{next(iter(changed.values()))}, unlike other records; boxtune convert writes all of them alike"
        ours = re.search(r"image/object[^\n\[\]]*", str(getattr(error, "message", error)))
        if ours:
            return f"{ours[0].rstrip(' .')}; check the label map, num_classes and what wrote the records"
        pixels.rgb(b"".join(example.features.feature["image/encoded"].bytes_list.value[:1]))
    except DataError as fault:
        return str(fault)
    return f"it cannot be read ({error}); convert again"


def doubts_about(records: Records, name: str, *, evaluation: bool = False) -> list[str]:
    """Return what is doubtful about the objects of the records `name`, by 256 of them at most, from all over.

    Raises:
        DataError: if a box is in pixels, or they are for training and all records are looked at, but none has a box
            with an area.
    """
    numbers = records.spread_numbers()
    objects, without_area, crowds, example = _counted(records, numbers)
    is_whole = len(numbers) == len(records)
    of_them = f"{name}: of {'all' if is_whole else 'some'} {many(len(numbers), 'record')}"
    if objects == without_area:
        none = f"{of_them} {'no box has an area' if objects else 'none has an object'}"
        if is_whole and not evaluation:
            raise DataError(f"{none}, so nothing can be learnt. Give it records with objects.")
        return [f"{none}, so nothing can be {'measured' if evaluation else 'learnt'} there"]
    doubts = []
    if without_area:
        doubts.append(f"{of_them} {many(without_area, 'box', 'boxes')} without area, first in {example}")
    if crowds == objects:
        doubts.append(f"{of_them} every object is a crowd (is_crowd), which no evaluation counts")
    return doubts


def doubt_about_both(training: Records, evaluation: Records) -> str:
    """Return that images are for training and for evaluation, "" if there are none among some from all over."""
    both = _digests(training) & (measured := _digests(evaluation))
    if not both:
        return ""
    return (
        f"{len(both)} of {len(measured)} images of eval_input_reader are for training, too: the result will look"
        " better than it is. Split the data set, as boxtune convert does"
    )


def _digests(records: Records) -> set[bytes]:
    """Return the SHA-256 of the images of some records from all over."""
    digests = set()
    for number in records.spread_numbers():
        with suppress(DataError):  # which is named when it is read
            digests.add(hashlib.sha256(records.encoded_image(number)).digest())
    return digests


def _counted(records: Records, numbers: Sequence[int]) -> tuple[int, int, int, str]:
    """Return how many objects some records hold, without area, and crowds, and which is the first without area."""
    objects = without_area = crowds = 0
    example = ""
    for number in numbers:
        try:
            features = parse_example(records.read(number)).features.feature
        except DataError:  # of a record that is damaged, which is named when it is read
            continue
        boxes = [list(features[side].float_list.value) for side in decoder.SIDES]
        if len({*map(len, boxes)}) > 1:
            continue
        if any(value > decoder.MAX_COORDINATE for side in boxes for value in side):
            raise DataError(
                f"{records.name_of(number)}: {decoder.IN_PIXELS}. Convert the annotated images again."
            )
        empty = sum(ymax <= ymin or xmax <= xmin for ymin, xmin, ymax, xmax in zip(*boxes, strict=True))
        objects, without_area = objects + len(boxes[0]), without_area + empty
        example = example or (records.name_of(number) if empty else "")
        crowds += sum(value > 0 for value in features["image/object/is_crowd"].int64_list.value)
    return objects, without_area, crowds, example


class ImageCache:
    """Images by number, uint8 [h, w, 3], of `max_bytes` together; the first to come are kept, none is replaced.

    So a set that does not fit loses nothing but the room: in a random order, what was used last is used last again.
    """

    def __init__(self, max_bytes: int | None = None) -> None:
        """Keep up to `max_bytes`; if None, a quarter of the memory, but no more than MAX_BYTES."""
        most = min(MAX_BYTES, (total_bytes() or 4 * MAX_BYTES) // 4)
        self.bytes_left = most if max_bytes is None else max_bytes
        self._kept: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def image(self, number: Any, decode: Callable[[], Any]) -> Any:
        """Return image `number` (a tensor): the kept one, else the result of `decode`, uint8 [h, w, 3]."""
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
