"""The batches of a run, and the names of the images in them."""

import numpy as np
import tensorflow as tf

from boxtune import models
from boxtune.backends import row_multiple
from boxtune.config import pipeline_pb2
from boxtune.data.augmentation.mixing import Mixing
from boxtune.data.batching import record_order, training_batches, training_samples
from boxtune.data.input import Records
from boxtune.detection.shares import WHOLE, Shares


def batches(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig,
    records: Records,
    *,
    seed: int,
    start_step: int,
    shares: Shares = WHOLE,
) -> tf.data.Dataset:
    """Return the endless Inputs that a configuration trains on, from `start_step` on: this device's share of each."""
    settings, own = pipeline.train_config, pipeline.boxtune
    sample_at = training_samples(
        records,
        seed=seed,
        augmentation_options=settings.data_augmentation_options,
        shuffle=pipeline.train_input_reader.shuffle,
        class_balance=own.class_balance,
        mixed=Mixing(own.mosaic_probability, own.copy_paste_probability, own.mixup_probability),
    )
    return training_batches(
        sample_at,
        batch_size=settings.batch_size // shares.count,
        class_scores=settings.use_multiclass_scores,
        image_resizer=models.image_resizer(pipeline.model),
        start_step=start_step * own.accumulate_batches,
        row_multiple=row_multiple(pipeline.train_input_reader),
        rank=shares.rank,
        num_shares=shares.count,
    )


def images_per_step(pipeline: pipeline_pb2.TrainEvalPipelineConfig) -> int:
    """Return how many images one update of the weights uses."""
    return pipeline.train_config.batch_size * pipeline.boxtune.accumulate_batches


def images_of_step(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig, records: Records, seed: int, step: int
) -> str:
    """Return the names of the images of step `step`, counted from 1, for a message; without those mixed into them."""
    shuffle, class_balance = pipeline.train_input_reader.shuffle, pipeline.boxtune.class_balance
    order = record_order(records, seed=seed, shuffle=shuffle, class_balance=class_balance)
    size = images_per_step(pipeline)
    positions = np.arange((step - 1) * size, step * size)
    numbers = [int(order.number(position)) for position in positions]
    return ", ".join(records.image_name(number) or records.name_of(number) for number in numbers)
