"""Writing one data set to several TFRecord files, as the API's module of this name does."""

from contextlib import ExitStack

import tensorflow as tf


def open_sharded_output_tfrecords(
    exit_stack: ExitStack, base_path: str, num_shards: int
) -> list[tf.io.TFRecordWriter]:
    """Open a writer for each of ``BASE_PATH-00000-of-0000N`` and so on; `exit_stack` closes them."""
    return [
        exit_stack.enter_context(tf.io.TFRecordWriter(f"{base_path}-{shard:05d}-of-{num_shards:05d}"))
        for shard in range(num_shards)
    ]
