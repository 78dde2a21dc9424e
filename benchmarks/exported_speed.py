"""How much time an exported model takes for one image, part by part, beside its bare network.

    python benchmarks/exported_speed.py MODEL... IMAGES [--threads 1] [--rounds 20] [--num_images 10]

MODEL is a folder with `pipeline.config` and a checkpoint: what `boxtune export` wrote, or a model of the zoo. It is
exported again, so that what is measured is this version of boxtune. IMAGES is a folder of images, given one at a time.
The parts are

    network       from the resized image to the raw predictions
    candidates    from these to the boxes and scores of all anchors
    detections    from the raw predictions to the detections: candidates and suppression
    whole         the exported model, from the image uint8 in its own size

and each is run once for each image in every round, one part after the other. Times are milliseconds of CPU, all threads
together: unlike those of a clock they hardly change when other programs run. `ratio` is whole / network.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

import boxtune
from boxtune import config, models
from boxtune.backends import prepare_backend
from boxtune.data.images import SUFFIXES
from boxtune.data.resize import Resizer, resizer
from boxtune.evaluation.exported import CHECKPOINT, PIPELINE_CONFIG, load_exported
from boxtune.models import Detector
from boxtune.structures import Inputs
from boxtune.training import averages, checkpoints


def main() -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL")
    parser.add_argument("images", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--num_images", type=int, default=10)
    options = parser.parse_args()
    paths = [path for path in sorted(options.images.rglob("*")) if path.suffix.lower() in SUFFIXES]
    if not paths:
        parser.error(f"{options.images}: no images here")
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    prepare_backend()
    images = [np.asarray(Image.open(path).convert("RGB")) for path in islice(paths, options.num_images)]
    for model in options.models:
        measure(model, images, options.rounds)


def measure(model: Path, images: list[np.ndarray], rounds: int) -> None:
    """Print the times of a model."""
    pipeline = config.load(model / PIPELINE_CONFIG)
    prefix = checkpoints.find(model / CHECKPOINT if (model / CHECKPOINT).is_dir() else model)
    detector = models.build(pipeline.model)
    averages.load(detector, prefix, averaged=pipeline.eval_config.use_moving_averages)
    parts = compiled_parts(detector)
    resize = resizer(models.image_resizer(pipeline.model))
    with tempfile.TemporaryDirectory() as folder:
        whole = load_exported(boxtune.export(model / PIPELINE_CONFIG, prefix, folder))
        calls = [calls_of(parts, whole, resize, image) for image in images]
        times = timed(calls, rounds)
    print(f"{model}: {models.num_classes(pipeline.model)} classes, {len(images)} images, {rounds} rounds")
    for name, values in times.items():
        print(f"  {name:12} minimum {min(values):6.2f}  median {statistics.median(values):6.2f}  ms")
    least, middle = (which(times["whole"]) / which(times["network"]) for which in (min, statistics.median))
    print(f"  {'ratio':12} minimum {least:6.2f}  median {middle:6.2f}", flush=True)


def compiled_parts(detector: Detector) -> dict[str, Callable[..., Any]]:
    """Return the parts of a detector, each compiled."""
    return {
        "network": tf.function(lambda inputs: detector(inputs, training=False)),
        "candidates": tf.function(detector.candidates),
        "detections": tf.function(lambda *arguments: vars(detector.detect(*arguments))),
    }


def calls_of(
    parts: dict[str, Callable[..., Any]], whole: Callable[..., Any], resize: Resizer, image: np.ndarray
) -> dict[str, Callable[[], Any]]:
    """Return by name what runs each part on an image."""
    resized = resize(tf.cast(image, tf.float32))
    inputs = Inputs(images=resized.image[None], sizes=resized.size[None])
    predictions = parts["network"](inputs)
    return {
        "network": partial(parts["network"], inputs),
        "candidates": partial(parts["candidates"], inputs, predictions),
        "detections": partial(parts["detections"], inputs, predictions),
        "whole": partial(whole, tf.constant(image[None])),
    }


def timed(calls: list[dict[str, Callable[[], Any]]], rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of CPU of each call of each part, but those of a first round, which compiles."""
    times: dict[str, list[float]] = {name: [] for name in calls[0]}
    for number in range(rounds + 1):
        for one in calls:
            for name, call in one.items():
                start = time.process_time()
                call()
                if number:
                    times[name].append(1000 * (time.process_time() - start))
    return times


if __name__ == "__main__":
    main()
