"""How fast training is, and how much of that the network itself takes.

Prints, for the stock SSD MobileNet V2 FPNLite at 320 pixels and batch 8: images a second of training with its input
pipeline, of the bare forward and backward pass on one batch in the same process, their ratio, seconds to the first
step, and the peak of resident memory.

    python benchmarks/training_speed.py [PHOTOS] [--steps 40] [--repeats 3]

Without PHOTOS (a folder with Pascal VOC XML) it draws pictures itself.
"""

import argparse
import os
import resource
import statistics
import tempfile
import time

STARTED = time.perf_counter()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from pathlib import Path  # noqa: E402

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

from boxtune import models  # noqa: E402
from boxtune.configure import configure  # noqa: E402
from boxtune.convert import convert  # noqa: E402
from boxtune.data.input import open_records, training_batches  # noqa: E402
from boxtune.draw import draw  # noqa: E402
from boxtune.training.optimizer import optimizer  # noqa: E402


class Clock(keras.callbacks.Callback):
    """Notes when each step was done."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Wait for the step and note the time."""
        float((logs or {})["loss"])
        self.times.append(time.perf_counter())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, nargs="?")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch_size", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = options.photos
        if photos is None:
            photos = Path(folder) / "photos"
            draw(photos)
        convert(photos, Path(folder) / "records")
        measure(Path(folder) / "records", options.batch_size, options.steps, options.repeats)


def measure(records_folder: Path, batch_size: int, steps: int, repeats: int) -> None:
    """Train and pass bare batches in turn, so that what else the machine does falls on both."""
    began = time.perf_counter()
    pipeline = configure(records_folder, batch_size=batch_size)
    settings = pipeline.train_config
    detector = models.build(pipeline.model)
    detector.compile(optimizer(settings.optimizer), jit_compile=False)
    records = open_records(pipeline.train_input_reader, models.num_classes(pipeline.model))
    batches = training_batches(
        records,
        batch_size=batch_size,
        seed=0,
        image_resizer=models.image_resizer(pipeline.model),
        augmentation_options=settings.data_augmentation_options,
    )
    images, groundtruth = next(iter(batches))
    bare = bare_pass(detector, images, groundtruth)

    first = Clock()
    detector.fit(batches, steps_per_epoch=1, verbose=0, shuffle=False, callbacks=[first])
    print(f"first step          {first.times[0] - began:7.1f} s after the libraries were loaded "
          f"({began - STARTED:.1f} s with conversion)")  # fmt: skip
    bare()
    ratios = []
    for _ in range(repeats):
        clock = Clock()
        detector.fit(batches, steps_per_epoch=steps, verbose=0, shuffle=False, callbacks=[clock])
        # The first steps of a fit fill the pipeline.
        training = batch_size * (steps - 3) / (clock.times[-1] - clock.times[2])
        start = time.perf_counter()
        for _ in range(steps):
            bare()
        network = batch_size * steps / (time.perf_counter() - start)
        ratios.append(training / network)
        print(f"training {training:7.2f} images/s   forward and backward {network:7.2f} images/s   "
              f"ratio {ratios[-1]:.3f}", flush=True)  # fmt: skip
    print(f"ratio, median       {statistics.median(ratios):7.3f}")
    print(f"peak memory         {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:7.2f} GiB")


def bare_pass(detector: models.Detector, images: tf.Tensor, groundtruth: dict):
    """Return a function that makes one forward and backward pass of the network, without any update."""
    variables = [variable.value for variable in detector.trainable_variables]

    @tf.function
    def compiled(images: tf.Tensor, groundtruth: dict) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            predictions = detector(images, training=True)
            loss = sum(detector.loss_terms(predictions, groundtruth).values())
        return tape.gradient(loss, variables)

    return lambda: compiled(images, groundtruth)[0].numpy()


if __name__ == "__main__":
    main()
