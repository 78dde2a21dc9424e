"""A process of `boxtune benchmark`: it loads a model, or its network alone, and times it whenever it is asked.

It reads lines of JSON and answers each with one. The first says what to load (`Order`), each of the others on which
image to run it. A line with `error` is its last.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from boxtune.benchmarking.networks import network_of
from boxtune.data.image_record import ImageSource
from boxtune.errors import BoxtuneError, CheckpointError
from boxtune.evaluation.exported import load_exported
from boxtune.evaluation.found import Source, pixels_of
from boxtune.machine import peak_memory

CALLS, SECONDS = 5, 0.5
"""A turn has so many timed calls with each batch, or fewer once so much time has passed."""

_PACKAGES = {".onnx": "onnxruntime", ".tflite": "ai-edge-litert", ".xml": "openvino"}


@dataclass(frozen=True)
class Order:
    """What a process measures."""

    path: str
    threads: int | None
    """Of the runtime; None for as many as it takes by itself."""
    network_alone: bool
    batch_sizes: tuple[int, ...]
    size: int
    """Of the sides of an image of noise, which stands in where no image is named."""


def main() -> None:
    """Answer until there are no more lines."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that has started this one ends it
    answers = _own_output()
    try:
        for answer in _answers(Order(**json.loads(sys.stdin.readline()))):
            print(json.dumps(answer), file=answers, flush=True)
    except BoxtuneError as error:
        print(json.dumps({"error": str(error)}), file=answers, flush=True)


def _own_output() -> TextIO:
    """Return standard output; what libraries print there goes to standard error from now on."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own


def _answers(order: Order) -> Iterator[dict[str, Any]]:
    path = Path(order.path)
    began = time.perf_counter()
    model = load_exported(path, order.threads)
    load_seconds = time.perf_counter() - began
    call = network_of(model, order.threads) if order.network_alone else model
    # A runtime that takes one image at a time is given the images of a batch one by one.
    at_a_time = [min(size, model.largest_batch or size) for size in order.batch_sizes]
    yield {"load_seconds": load_seconds, "runtime": _runtime(path), "at_a_time": at_a_time}
    for line in sys.stdin:
        image = _image(json.loads(line)["image"], order.size)
        try:
            seconds = [
                _timed(call, np.repeat(image[None], size, axis=0), most)
                for size, most in zip(order.batch_sizes, at_a_time, strict=True)
            ]
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        yield {"seconds": seconds, "peak_memory": peak_memory()}


def _runtime(path: Path) -> str:
    package = _PACKAGES.get(path.suffix.lower(), "tensorflow")
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:  # another build of it, such as tensorflow-cpu
        return package


def _image(name: str | None, size: int) -> npt.NDArray[np.uint8]:
    """Return an image [h, w, 3]: a file's, or noise."""
    if name is None:
        return np.random.default_rng(0).integers(0, 256, [size, size, 3], np.uint8)
    return pixels_of(Source(name, ImageSource(Path(name)), None))


def _timed(
    model: Callable[[Any], dict[str, Any]], images: npt.NDArray[np.uint8], at_a_time: int
) -> list[float]:
    """Return the seconds that calls on a batch [b, h, w, 3] take.

    A first call is not counted: it finds nothing in the caches, since other models have had their turn.
    """
    batches = [images[first : first + at_a_time] for first in range(0, len(images), at_a_time)]
    seconds: list[float] = []
    for number in range(CALLS + 1):
        began = time.perf_counter()
        for batch in batches:
            for part in model(batch).values():
                np.asarray(part)
        if number:
            seconds.append(time.perf_counter() - began)
        if sum(seconds) > SECONDS:
            break
    return seconds


if __name__ == "__main__":
    main()
