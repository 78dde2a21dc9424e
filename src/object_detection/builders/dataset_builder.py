"""The records that an input reader names, decoded, as a tf.data.Dataset for loops of one's own.

`boxtune train` reads records by `boxtune.data.input`, in an order that a resumed run goes on with.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import tensorflow as tf

from boxtune.config.pipeline_pb2 import InputReader
from boxtune.errors import DataError
from object_detection.builders import decoder_builder
from object_detection.utils.config_util import ConfigValueError

Function = Callable[..., Any]

_READ_BYTES = 8_000_000

_log = logging.getLogger("boxtune")


class NoFilesError(DataError, RuntimeError):
    """Patterns that fit no file; a RuntimeError too, which is what the API raises."""


def make_initializable_iterator(dataset: tf.data.Dataset) -> Any:
    """Return what goes through a data set by `get_next`; in a graph it is initialized with the tables."""
    if tf.executing_eagerly():
        return iter(dataset)
    iterator = tf.compat.v1.data.make_initializable_iterator(dataset)
    tf.compat.v1.add_to_collection(tf.compat.v1.GraphKeys.TABLE_INITIALIZERS, iterator.initializer)
    return iterator


def read_dataset(
    file_read_func: Function,
    input_files: Sequence[str],
    config: InputReader,
    filename_shard_fn: Function | None = None,
) -> tf.data.Dataset:
    """Return the records of files, again and again or as often as `num_epochs` says, shuffled if `shuffle` is set.

    Args:
        file_read_func: from a file name to a data set.
        input_files: patterns.
        config: of the fields `shuffle`, `filenames_shuffle_buffer_size`, `shuffle_buffer_size`, `num_readers`,
            `read_block_length` and `num_epochs`.
        filename_shard_fn: from the data set of all file names to that of those to read.

    Raises:
        NoFilesError: if no file fits.
    """
    filenames = tf.io.gfile.glob(list(input_files))
    if not filenames:
        raise NoFilesError(f"{', '.join(input_files)}: there are no such files")
    num_readers = max(min(config.num_readers, len(filenames)), 1)
    files = tf.data.Dataset.from_tensor_slices(filenames)
    if config.shuffle:
        files = files.shuffle(config.filenames_shuffle_buffer_size)
    elif num_readers > 1:
        _log.warning("shuffle is false, but several readers mix the records of %d files.", len(filenames))
    if filename_shard_fn:
        files = filename_shard_fn(files)
    records = files.repeat(config.num_epochs or None).interleave(
        file_read_func,
        cycle_length=num_readers,
        block_length=config.read_block_length,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=not config.shuffle,
    )
    return records.shuffle(config.shuffle_buffer_size) if config.shuffle else records


def shard_function_for_context(input_context: Any) -> Function | None:
    """Return a function from a data set to the share of this process; None if there is one only."""
    if input_context is None:
        return None
    return lambda dataset: dataset.shard(input_context.num_input_pipelines, input_context.input_pipeline_id)


def build(
    input_reader_config: InputReader,
    batch_size: int | None = None,
    transform_input_data_fn: Function | None = None,
    input_context: Any = None,
    reduce_to_frame_fn: Function | None = None,
) -> tf.data.Dataset:
    """Return what an input reader reads: tensors by the names of `standard_fields.InputDataFields`.

    Args:
        input_reader_config: of TFRecords.
        batch_size: of all replicas together; without it there are no batches. Tensors of a batch have to be of one
            shape.
        transform_input_data_fn: is applied to the tensors of each record.
        input_context: says which share of the files this process reads.
        reduce_to_frame_fn: as of `inputs.get_reduce_to_frame_fn`.

    Raises:
        ConfigValueError: if it is no input reader, or names no files.
        BoxtuneError: for files that are not there, or what the decoder refuses.
    """
    decoder = decoder_builder.build(input_reader_config)
    paths = list(input_reader_config.tf_record_input_reader.input_path)
    if not paths:
        raise ConfigValueError("tf_record_input_reader: input_path is empty; name the files")
    if input_context is not None and batch_size:
        batch_size = input_context.get_per_replica_batch_size(batch_size)
    read = partial(
        read_dataset,
        partial(tf.data.TFRecordDataset, buffer_size=_READ_BYTES),
        config=input_reader_config,
        filename_shard_fn=shard_function_for_context(input_context),
    )
    weights = list(input_reader_config.sample_from_datasets_weights)
    if weights and len(weights) != len(paths):
        raise ConfigValueError(
            f"sample_from_datasets_weights has {len(weights)} weights for {len(paths)} input_path; each needs one"
        )
    if weights:
        dataset = tf.data.Dataset.sample_from_datasets([read([path]) for path in paths], weights)
    else:
        dataset = read(paths)
    if input_reader_config.sample_1_of_n_examples > 1:
        dataset = dataset.shard(input_reader_config.sample_1_of_n_examples, 0)
    decode = tf.autograph.experimental.do_not_convert(decoder.decode)
    dataset = _mapped(dataset, decode, batch_size, input_reader_config)
    if reduce_to_frame_fn:
        dataset = reduce_to_frame_fn(dataset, _mapped, batch_size, input_reader_config)
    if transform_input_data_fn:
        dataset = _mapped(dataset, transform_input_data_fn, batch_size, input_reader_config)
    if batch_size:
        dataset = dataset.batch(batch_size, drop_remainder=input_reader_config.drop_remainder)
    return dataset.prefetch(input_reader_config.num_prefetch_batches)


def _mapped(
    dataset: tf.data.Dataset, function: Function, batch_size: int | None, input_reader_config: InputReader
) -> tf.data.Dataset:
    return dataset.map(function, num_parallel_calls=tf.data.AUTOTUNE)
