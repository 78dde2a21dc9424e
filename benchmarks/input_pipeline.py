"""The speed of the input pipeline of training, and how many times faster it is than training itself.

Prints, for the stock SSD MobileNet V2 FPNLite at 320 pixels with its augmentation: images a second of the input
pipeline alone and what one image costs of a processor, with every image decoded each time and with images that were
kept; images a second of training; and the ratios to training. All take turns, so that what else the machine does falls
on each. Last, how many images were kept, and the peak of memory.

    python benchmarks/input_pipeline.py [PHOTOS] [--image_size 480 360] [--batches 60] [--steps 15] [--repeats 3]

Without PHOTOS (an annotated folder of any format) it makes 200 images of `image_size` itself, about 70 kB each at 480
by 360 pixels. `--steps 0` leaves training out.
"""

import argparse
import os
import resource
import statistics
import tempfile
import time

import boxtune  # noqa: F401 - before TensorFlow: it switches oneDNN on

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Callable
from functools import partial
from pathlib import Path

import tensorflow as tf

import data_sets
from boxtune import models
from boxtune.config import pipeline_pb2
from boxtune.configure import configure
from boxtune.convert import convert
from boxtune.data.batching import training_batches, training_samples
from boxtune.data.input import ImageCache, Records, open_records
from boxtune.training.optimizer import optimizer

NUM_IMAGES = 200
FILLING = 5  # steps that fill the pipeline before the clock starts


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, nargs="?")
    parser.add_argument("--image_size", type=int, nargs=2, default=data_sets.PHOTO, metavar=("W", "H"))
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch_size", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = options.photos or data_sets.make(Path(folder) / "photos", NUM_IMAGES, options.image_size)
        convert(photos, Path(folder) / "records")
        pipeline = configure(Path(folder) / "records", batch_size=options.batch_size)
        compare(pipeline, options.batches, options.steps, options.repeats)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def compare(pipeline: pipeline_pb2.TrainEvalPipelineConfig, batches: int, steps: int, repeats: int) -> None:
    """Measure in turn, `repeats` times, and print each and the medians."""
    decoding, keeping = (
        open_records(pipeline.train_input_reader, models.num_classes(pipeline.model)) for _ in range(2)
    )
    decoding.cache = ImageCache(max_bytes=0)
    epoch = len(keeping) // pipeline.train_config.batch_size + 1
    kinds = {
        "decoding each time": partial(consume, make_batches(pipeline, decoding), batches, warm_up=epoch),
        "images kept": partial(consume, make_batches(pipeline, keeping), batches, warm_up=epoch),
    }
    if steps:
        kinds["training"] = training(pipeline, make_batches(pipeline, keeping), steps)
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(repeats):
        for name, run in kinds.items():
            seconds, cpu_seconds = run()
            rates[name].append(pipeline.train_config.batch_size / seconds)
            each = cpu_seconds / pipeline.train_config.batch_size * 1e3
            print(f"{name:20}{rates[name][-1]:8.1f} images/s {each:8.2f} ms of a processor each", flush=True)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, rate in medians.items():
        ratio = f"   {rate / medians['training']:6.1f} times training" if steps else ""
        print(f"{name:20}{rate:8.1f} images/s in the median{ratio}")
    print(f"{len(keeping.cache)} of {len(keeping)} images are kept")


def make_batches(pipeline: pipeline_pb2.TrainEvalPipelineConfig, records: Records) -> tf.data.Dataset:
    """Return the batches of training."""
    sample_at = training_samples(
        records, seed=0, augmentation_options=pipeline.train_config.data_augmentation_options
    )
    return training_batches(
        sample_at,
        batch_size=pipeline.train_config.batch_size,
        image_resizer=models.image_resizer(pipeline.model),
    )


def consume(batches: tf.data.Dataset, count: int, *, warm_up: int) -> tuple[float, float]:
    """Take `count` batches and return the seconds for one by the clock and of the processors."""
    iterator = iter(batches)
    return timed(lambda: next(iterator), count, warm_up=warm_up)


def training(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig, batches: tf.data.Dataset, steps: int
) -> Callable[[], tuple[float, float]]:
    """Return a function that trains `steps` steps and returns the seconds for one by clock and processors."""
    detector = models.build(pipeline.model)
    detector.compile(optimizer(pipeline.train_config.optimizer), jit_compile=False)

    def train() -> tuple[float, float]:
        iterator = iter(batches)
        return timed(lambda: detector.train_on_batch(next(iterator)), steps, warm_up=FILLING)

    return train


def timed(step: Callable[[], object], count: int, *, warm_up: int) -> tuple[float, float]:
    """Do `step` over and over; return the mean seconds of the clock and of the processors, after a warm-up."""
    for _ in range(warm_up):
        step()
    start, cpu_start = time.perf_counter(), time.process_time()
    for _ in range(count):
        step()
    return (time.perf_counter() - start) / count, (time.process_time() - cpu_start) / count


if __name__ == "__main__":
    main()
