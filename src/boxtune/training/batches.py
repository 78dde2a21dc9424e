"""The batches of a run, and which images are in them."""

import numpy as np
import tensorflow as tf

from boxtune import models
from boxtune.config import pipeline_pb2
from boxtune.data import input as data_input
from boxtune.data.input import Records
from boxtune.data.tfrecord import parse_example


def batches(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig, records: Records, *, seed: int, start_step: int
) -> tf.data.Dataset:
    """Return the endless batches (images, ground truth) that a configuration trains on, from `start_step` on."""
    settings = pipeline.train_config
    return data_input.training_batches(
        records,
        batch_size=settings.batch_size,
        seed=seed,
        image_resizer=models.image_resizer(pipeline.model),
        augmentation_options=settings.data_augmentation_options,
        shuffle=pipeline.train_input_reader.shuffle,
        start_step=start_step,
    )


def numbers_of_step(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig, records: Records, *, seed: int, step: int
) -> list[int]:
    """Return the numbers of the records that make the batch of step `step`, counted from 1."""
    size, count = pipeline.train_config.batch_size, len(records)
    numbers = []
    for position in range((step - 1) * size, step * size):
        epoch, place = np.int64(position // count), np.int64(position % count)
        if pipeline.train_input_reader.shuffle:
            place = data_input.shuffled(place, count, data_input._seed(seed, data_input._ORDER, epoch))
        numbers.append(int(place))
    return numbers


def images_of_step(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig, records: Records, seed: int, step: int
) -> str:
    """Return the names of the images in the batch of step `step`, for a message."""
    numbers = numbers_of_step(pipeline, records, seed=seed, step=step)
    return ", ".join(_name_of(records, number) for number in numbers)


def _name_of(records: Records, number: int) -> str:
    position = number * records.one_of_n
    features = parse_example(records.index.read(position)).features.feature
    for key in ("image/filename", "image/source_id"):
        if features[key].bytes_list.value:
            return features[key].bytes_list.value[0].decode("utf-8", "replace")
    return f"record {position} of {records.index.paths[records.index.file_numbers[position]]}"
