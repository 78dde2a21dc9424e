"""The speed of training, the fraction that the network takes, and the speed of the same network in PyTorch.

Prints, for a model of `boxtune models` (by default SSD MobileNet V2 FPNLite at 320 pixels) and batch 8: images a second
of training with its input pipeline, of the bare forward and backward pass on one batch in the same process, their
ratio, the fraction of the time that training waits for images, seconds to the first step, and the peak of resident
memory. With `--pytorch`, the bare pass of a PyTorch model of the same size too, in turn with the others, and the ratio
of their times.

    python benchmarks/training_speed.py [PHOTOS] [--model NAME] [--batch_size 8] [--steps 15] [--repeats 7] [--pytorch]

Without PHOTOS (a folder of annotated photographs) it draws images itself. PyTorch is not needed for anything else:
`pip install torch`, and for other models than the default `pip install torchvision effdet`.
"""

import argparse
import math
import os
import resource
import statistics
import tempfile
import time

import boxtune  # noqa: F401 - before TensorFlow: it switches oneDNN on

STARTED = time.perf_counter()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

from boxtune import config, models  # noqa: E402
from boxtune.configure import configure  # noqa: E402
from boxtune.convert import convert  # noqa: E402
from boxtune.data.input import open_records  # noqa: E402
from boxtune.data.label_map import read_label_map  # noqa: E402
from boxtune.draw import draw  # noqa: E402
from boxtune.models.layers import Unused  # noqa: E402
from boxtune.structures import Inputs  # noqa: E402
from boxtune.training.batches import batches  # noqa: E402
from boxtune.training.build import build_detector  # noqa: E402


class Clock(keras.callbacks.Callback):
    """Records when each step was done."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Wait for the step and record the time."""
        float((logs or {})["loss"])
        self.times.append(time.perf_counter())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, nargs="?")
    parser.add_argument("--model", help="one of boxtune models")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--pytorch", action="store_true")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = options.photos
        if photos is None:
            photos = Path(folder) / "photos"
            draw(photos)
        convert(photos, Path(folder) / "records")
        pipeline = configure(Path(folder) / "records", model=options.model, batch_size=options.batch_size)
        for override in options.overrides:
            config.apply_override(pipeline, override)
        measure(pipeline, options.steps, options.repeats, with_pytorch=options.pytorch)


def measure(
    pipeline: config.pipeline_pb2.TrainEvalPipelineConfig, steps: int, repeats: int, *, with_pytorch: bool
) -> None:
    """Train, and run bare passes, in turn, so that other load of the machine affects both."""
    began = time.perf_counter()
    batch_size = pipeline.train_config.batch_size
    detector = build_detector(pipeline, read_label_map(Path(pipeline.train_input_reader.label_map_path)), 0)
    records = open_records(pipeline.train_input_reader, detector.num_classes)
    stream = batches(pipeline, records, seed=0, start_step=0)
    bare = bare_pass(detector, next(iter(stream)))

    first = Clock()
    detector.fit(stream, steps_per_epoch=1, verbose=0, shuffle=False, callbacks=[first])
    print(f"first step          {first.times[0] - began:7.1f} s after the libraries were loaded "
          f"({began - STARTED:.1f} s with conversion)")  # fmt: skip
    passes = {"forward and backward": bare} | (
        {"in PyTorch": pytorch_pass(pipeline, detector)} if with_pytorch else {}
    )
    for warm_up in passes.values():
        warm_up()
    ratios: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(repeats):
        clock = Clock()
        detector.fit(stream, steps_per_epoch=steps, verbose=0, shuffle=False, callbacks=[clock])
        # The first steps of a fit fill the pipeline.
        training = batch_size * (steps - 3) / (clock.times[-1] - clock.times[2])
        told = f"training {training:7.2f} images/s"
        for name, one_pass in passes.items():
            speed = batch_size * steps / seconds_of(one_pass, steps)
            ratios[name].append(training / speed)
            told += f"   {name} {speed:7.2f}"
        print(told, flush=True)
    for name, values in ratios.items():
        print(f"training / {name}: {statistics.median(values):.3f}")
    if with_pytorch:
        each = [own / other for own, other in zip(*ratios.values(), strict=True)]
        print(f"time of the bare pass / in PyTorch: {statistics.median(each):.3f}")
    print(f"waiting for images  {share_of_waiting(detector, stream, steps):7.1%} of the time")
    print(f"peak memory         {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:7.2f} GiB")


def seconds_of(one_pass: Callable[[], object], times: int) -> float:
    """Return how long `times` passes take."""
    start = time.perf_counter()
    for _ in range(times):
        one_pass()
    return time.perf_counter() - start


def share_of_waiting(detector: models.Detector, stream: tf.data.Dataset, steps: int) -> float:
    """Return the fraction of the time of some steps spent waiting for the next batch."""
    iterator = iter(stream)
    detector.train_on_batch(next(iterator))
    waited = 0.0
    started = time.perf_counter()
    for _ in range(steps):
        asked = time.perf_counter()
        inputs = next(iterator)
        waited += time.perf_counter() - asked
        detector.train_on_batch(inputs)
    return waited / (time.perf_counter() - started)


def pytorch_pass(
    pipeline: config.pipeline_pb2.TrainEvalPipelineConfig, detector: models.Detector
) -> Callable[[], object]:
    """Return a function that makes one pass of a PyTorch model, after making sure that it is as large."""
    import pytorch_pass as pytorch

    size = config.fixed_size(models.image_resizer(pipeline.model))
    if size is None:
        raise SystemExit("image_resizer makes images of several sizes, the PyTorch model takes one.")
    network = pytorch.network_like(
        pipeline.model.ssd.feature_extractor.type, detector.num_classes + 1, size[0]
    )
    count = sum(parameter.numel() for parameter in network.parameters())
    own = number_of_parameters(detector)
    print(f"parameters          {own / 1e6:7.2f} M, in PyTorch {count / 1e6:.2f} M")
    if not 0.98 < count / own < 1.02:
        raise SystemExit("They are not the same network.")
    return pytorch.bare_pass(network, pipeline.train_config.batch_size, size[0])


def number_of_parameters(detector: models.Detector) -> int:
    """Return how many trainable numbers a detector computes with: not those that only its checkpoints have."""
    unused = {
        id(weight)
        for layer in detector._flatten_layers()
        if isinstance(layer, Unused)
        for weight in layer.trainable_variables
    }
    return sum(math.prod(weight.shape) for weight in detector.trainable_variables if id(weight) not in unused)


def bare_pass(detector: models.Detector, inputs: Inputs):
    """Return a function that makes one forward and backward pass of the network, without any update."""
    variables = [variable.value for variable in detector.trainable_variables]

    @tf.function
    def compiled(inputs: Inputs) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            predictions = detector(inputs, training=True)
            loss = sum(detector.loss_terms(inputs, predictions).values())
        return tape.gradient(loss, variables)

    return lambda: compiled(inputs)[0].numpy()


if __name__ == "__main__":
    main()
