"""How long the formats of `boxtune export` take for one image, beside the bare network of the checkpoint.

    python benchmarks/runtimes.py EXPORTED IMAGE [--rounds 30] [--threads 1]

EXPORTED is what `boxtune export --format onnx --format saved_model` wrote. They take turns, so that whatever else the
machine does falls on all of them; the smallest processor time and the smallest wall time of each are printed.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import tensorflow as tf
from PIL import Image

from boxtune import config, models
from boxtune.data.resize import resizer
from boxtune.evaluation.exported import CHECKPOINT, PIPELINE_CONFIG, file_name, load_exported
from boxtune.structures import Inputs
from boxtune.training import averages, checkpoints

ONNX = file_name(".onnx")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("exported", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    image = np.asarray(Image.open(options.image).convert("RGB"))[None]
    calls = {
        "network of the checkpoint, image resized": _network(options.exported, image),
        "saved_model": _saved_model(options.exported, image),
        ONNX: _onnx(options.exported / ONNX, image, options.threads),
    }
    best = dict.fromkeys(calls, (np.inf, np.inf))
    for _ in range(options.rounds + 1):
        for name, call in calls.items():
            busy, wall = time.process_time(), time.perf_counter()
            call()
            taken = time.process_time() - busy, time.perf_counter() - wall
            best[name] = tuple(map(min, best[name], taken))
    print(f"| | processor, ms | wall, ms, {options.threads} thread(s) |\n|---|---|---|")
    for name, (busy, wall) in best.items():
        print(f"| {name} | {1000 * busy:.1f} | {1000 * wall:.1f} |")


def _network(folder: Path, image: np.ndarray) -> Callable[[], Any]:
    """Return a call of the network alone, which neither resizes nor suppresses."""
    pipeline = config.load(folder / PIPELINE_CONFIG)
    detector = models.build(pipeline.model)
    averages.load(detector, checkpoints.find(folder / CHECKPOINT), averaged=False)
    resized = resizer(models.image_resizer(pipeline.model))(tf.cast(image[0], tf.float32))
    inputs = Inputs(images=resized.image[None], sizes=resized.size[None])
    return tf.function(lambda: detector.candidates(inputs, detector(inputs, training=False)), autograph=False)


def _saved_model(folder: Path, image: np.ndarray) -> Callable[[], Any]:
    detect = load_exported(folder)
    return lambda: detect(image)


def _onnx(path: Path, image: np.ndarray, threads: int) -> Callable[[], Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options)
    return lambda: session.run(None, {"input_tensor": image})


if __name__ == "__main__":
    main()
