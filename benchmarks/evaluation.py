"""The speed of an evaluation, and the fraction that the network takes.

Prints, for the stock SSD MobileNet V2 FPNLite at 320 pixels and batches of 8: images a second of a whole evaluation
(reading, network, detections, losses, numbers), of the network's bare inference on one batch in the same process,
without and with its detections, and the ratios of the first to these, by the clock and by the time of processors. They
are measured in turn, so that what else the machine does falls on all; where it does much, the second ratio says more.

    python benchmarks/evaluation.py [--num_images 2000] [--repeats 3] [--previews] [--profile]
"""

import argparse
import cProfile
import os
import pstats
import resource
import tempfile
import time

import boxtune  # noqa: F401 - before TensorFlow: it switches oneDNN on

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from boxtune import models
from boxtune.backends import compiled
from boxtune.configure import configure
from boxtune.convert import convert
from boxtune.data.input import open_records
from boxtune.data.preparation import Options
from boxtune.evaluation.evaluator import Evaluator
from boxtune.report.previews import previews_by_name
from boxtune.structures import Inputs
from data_sets import make

BATCH_SIZE = 8


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num_images", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--previews", action="store_true", help="also make the previews of the page")
    parser.add_argument("--profile", action="store_true", help="print the functions that take longest")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        evaluator = prepared(Path(folder), options.num_images)
        measure(evaluator, options.repeats, previews=options.previews)
        if options.profile:
            profile(evaluator)


def prepared(folder: Path, num_images: int) -> Evaluator:
    """Return the evaluator of a stock detector, with random weights, on `num_images` images."""
    make(folder / "photos", num_images + 1)
    # One is left for training, which the configuration needs.
    fraction = num_images / (num_images + 1)
    convert(folder / "photos", folder / "records", Options(validation_fraction=fraction))
    pipeline = configure(folder / "records", batch_size=BATCH_SIZE)
    pipeline.eval_config.batch_size = BATCH_SIZE
    detector = models.build(pipeline.model)
    records = open_records(pipeline.eval_input_reader[0], detector.num_classes)
    return Evaluator.from_config(detector, records, pipeline)


def measure(evaluator: Evaluator, repeats: int, *, previews: bool) -> None:
    """Evaluate, and run bare forward passes, in turn."""
    count = len(evaluator.records)
    passes = bare_passes(evaluator)
    for warm_up in passes.values():
        warm_up()
    ratios: dict[str, list[np.ndarray]] = {name: [] for name in passes}
    times = passes_for(count)
    for _ in range(repeats):
        # Before and after: the load of the machine changes.
        before = {name: seconds_of(one, times) for name, one in passes.items()}
        whole = seconds_of(partial(evaluate, evaluator, previews), 1) / count
        behind = {name: seconds_of(one, times) for name, one in passes.items()}
        told = f"evaluation {1 / whole[0]:7.2f} images/s"
        for name in passes:
            bare = (before[name] + behind[name]) / (2 * times * BATCH_SIZE)
            ratios[name].append(bare / whole)
            told += f"   {name} {1 / bare[0]:7.2f}"
        print(told, flush=True)
    for name, values in ratios.items():
        by_clock, by_processors = np.median(values, axis=0)
        print(
            f"evaluation / {name}: {by_clock:.3f} by the clock, {by_processors:.3f} by the time of processors"
        )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def evaluate(evaluator: Evaluator, previews: bool) -> None:
    """Evaluate, and make the small images of the page if `previews`."""
    results = evaluator.evaluate(1).results
    if previews:
        previews_by_name([result.name for result in results], evaluator.records.encoded_image)


def bare_passes(evaluator: Evaluator) -> dict[str, Callable[[], object]]:
    """Return functions that run one batch through the network alone, and through the network to its detections."""
    detector = evaluator.detector
    batch, _ = next(iter(evaluator.batches))
    inputs = Inputs(images=batch["images"], sizes=batch["sizes"])
    network = compiled(lambda inputs: detector(inputs, training=False), detector.variables)
    detect = compiled(
        lambda inputs: vars(detector.detect(inputs, detector(inputs, training=False))),
        detector.variables,
    )
    return {
        "network": lambda: tf.nest.map_structure(lambda part: part.numpy(), network(inputs)),
        "network and detections": lambda: detect(inputs)["count"].numpy(),
    }


def passes_for(num_images: int) -> int:
    """Return how many bare passes are enough for comparison: a tenth of the images."""
    return max(num_images // BATCH_SIZE // 10, 5)


def seconds_of(work: Callable[[], object], times: int) -> np.ndarray:
    """Return how long repeating `work` takes: seconds [2] by the clock, and of all processors."""
    start = np.array([time.perf_counter(), time.process_time()])
    for _ in range(times):
        work()
    return np.array([time.perf_counter(), time.process_time()]) - start


def profile(evaluator: Evaluator) -> None:
    """Evaluate once more and print the functions that take longest by themselves."""
    profiler = cProfile.Profile()
    profiler.runcall(evaluator.evaluate, 1)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
