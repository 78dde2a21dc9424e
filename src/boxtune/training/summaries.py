"""A run as TensorBoard shows it, under the API's tags."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import tensorflow as tf

from boxtune.training.steps import Step


class Summaries:
    """TensorBoard's folder `train` of a run: scalars every `interval` steps, and pictures when they are given."""

    def __init__(self, model_dir: Path, start_step: int, interval: int = 10):
        self.interval = interval
        self._writer = tf.summary.create_file_writer(str(model_dir / "train"))
        self._last = (start_step, time.perf_counter())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.close()

    def add_step(self, step: Step) -> None:
        """Write the losses, the learning rate and the speed if it is time."""
        if step.number % self.interval:
            return
        now = time.perf_counter()
        steps_per_second = (step.number - self._last[0]) / (now - self._last[1])
        self._last = (step.number, now)
        with self._writer.as_default(step.number):
            for name, value in step.losses.items():
                tf.summary.scalar(f"Loss/{name}", value)
            tf.summary.scalar("Loss/total_loss", step.total_loss)
            tf.summary.scalar("learning_rate", step.learning_rate)
            tf.summary.scalar("steps_per_sec", steps_per_second)

    def add_pictures(self, step: int, pictures: Sequence[np.ndarray]) -> None:
        """Write training images uint8 [h, w, 3] of one size, as the model takes them."""
        with self._writer.as_default(step):
            tf.summary.image("train_input_images", np.stack(pictures), max_outputs=len(pictures))
