"""The speed and memory of training detectors on a GPU, and whether it computes the same as the CPU.

    PYTHONPATH=src KERAS_BACKEND=jax python3 benchmarks/gpu.py --output results.jsonl     # or KERAS_BACKEND=torch

is the one command for a machine with a GPU. It needs Keras and what Keras itself needs, protobuf, and JAX or PyTorch;
neither TensorFlow nor an installed boxtune. What a machine without a package index lacks travels as wheels:

    pip download --no-deps --only-binary=:all: --dest wheels keras namex optree protobuf  # elsewhere, same Python
    python3 -m pip install --no-index --no-deps --target site wheels/*.whl                # there
    PYTHONPATH=src:site KERAS_BACKEND=jax python3 benchmarks/gpu.py --output results.jsonl

For each stock recipe, or those of `--models`, it builds the detector with 90 classes and compares its float32
predictions with the CPU's: they may differ by a thousandth of the largest. Then it measures forward and backward
passes: predictions, the loss with regularization, the gradients of all trainable variables; no update of the weights
and no input pipeline. First each precision at each of `--batches`; then twice the largest of them, and twice that,
until memory is out or `--largest_batch` is reached. JAX compiles a pass whole; so does PyTorch where `torch.compile`
can take it, otherwise it runs eagerly, and the result says which, and why.

A result is a line of JSON in `--output` as soon as it is there, and a line of text on the terminal. Its `kind` is

- `machine`: device, versions, options;
- `check`: the largest differences between device and CPU, each as a fraction of the largest prediction, and whether
  they are allowed (`ok`);
- `speed`: images a second, the median of five rounds; peak memory; and the fraction of the device's peak. That fraction
  counts convolutions and dense layers only, two operations for each multiplication, times three for forward and
  backward;
- `out_of_memory`, or `skipped`, and why: `--budget_seconds` are kept to by leaving out what is expected to take longer
  than is left, as long as the longest of its kind so far;
- `failed`: what went wrong. Then, and when a check is not ok, the exit status is 1.

`float32` is computed with TF32 off, and its peak is that of the CUDA cores. `tf32` is float32 with convolutions and
matrix products in TF32, the default of JAX and of PyTorch's convolutions; its peak, and that of `bfloat16`, is that of
the tensor cores without sparsity. Memory is, under JAX, that of the compiled pass (arguments, results, temporaries);
under PyTorch, the most that was allocated; under PyTorch on a CPU, the most that was resident in the process.

`--small` runs everything in less than two minutes on a CPU: one model, images of 64 pixels, batches of 1 and 2.
"""

import argparse
import contextlib
import datetime
import gc
import json
import math
import os
import platform
import statistics
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

STARTED = time.perf_counter()
os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.9")  # what JAX takes of the GPU's memory, once

import keras  # noqa: E402
import numpy as np  # noqa: E402

import boxtune  # noqa: E402
from boxtune import config, models  # noqa: E402

BACKEND = keras.backend.backend()
PRECISIONS = ("float32", "tf32", "bfloat16")
NUM_CLASSES = 90
SMALL_MODEL = "ssd_mobilenet_v2_keras"  # of `--small`
ROWS = 100  # of ground truth in each image, as many as the input readers of stock recipes take
OBJECTS = 8  # of them, those that are valid
TOLERANCE = 1e-3
ROUNDS = 5

PEAKS: dict[str, dict[str, float]] = {
    "NVIDIA H200": {"float32": 67, "tf32": 494.5, "bfloat16": 989},
    "NVIDIA H100 80GB HBM3": {"float32": 67, "tf32": 494.5, "bfloat16": 989},
    "NVIDIA H100 PCIe": {"float32": 51, "tf32": 378, "bfloat16": 756},
    "NVIDIA A100": {"float32": 19.5, "tf32": 156, "bfloat16": 312},
    "NVIDIA L40S": {"float32": 91.6, "tf32": 183, "bfloat16": 362},
    "NVIDIA L4": {"float32": 30.3, "tf32": 60, "bfloat16": 121},
    "Tesla T4": {"float32": 8.1},
}
"""TFLOP/s without sparsity, as the vendor states them, by the start of the device's name."""


def main() -> None:
    """Check and measure what the options ask for; exit with 1 if anything was wrong."""
    options = parsed_options()
    if BACKEND not in BACKENDS:
        raise SystemExit(
            f"Keras runs on {BACKEND}; set KERAS_BACKEND to jax or torch. For TensorFlow on a CPU there is "
            "benchmarks/training_speed.py."
        )
    backend = BACKENDS[BACKEND]()
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(options.output.open("w")) if options.output else None
        report = Report(file)
        report.write("machine", **machine(backend, options))
        Session(backend, options, report, Budget(options.budget_seconds)).run()
    sys.exit(1 if report.problems else 0)


def parsed_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    recipes = config.families.recipe_names()
    parser.add_argument("--output", type=Path, help="a file for the results, JSON lines; written anew")
    parser.add_argument("--models", nargs="+", default=None, choices=recipes, metavar="RECIPE",
                        help=f"of {', '.join(recipes)}; default: all")  # fmt: skip
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"], choices=PRECISIONS)
    parser.add_argument("--batches", nargs="+", type=positive, default=None, help="default: 8 64")
    parser.add_argument("--largest_batch", type=positive, default=None, help="default: 1024")
    parser.add_argument("--image_size", type=positive, help="height and width, instead of the recipe's")
    parser.add_argument("--budget_seconds", type=float, default=None, help="of the whole run; default: 480")
    parser.add_argument("--seconds", type=float, default=None, help="each speed is measured for; default: 3")
    parser.add_argument("--eager", action="store_true", help="do not try torch.compile")
    parser.add_argument("--small", action="store_true", help="a run of less than two minutes on a CPU")
    options = parser.parse_args()
    usual = SMALL if options.small else LARGE
    for name, value in usual.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    options.models = options.models or ([SMALL_MODEL] if options.small else recipes)
    return options


LARGE = {"batches": [8, 64], "largest_batch": 1024, "budget_seconds": 480.0, "seconds": 3.0}
SMALL = {
    "batches": [1, 2], "largest_batch": 2, "budget_seconds": 110.0, "seconds": 0.5, "image_size": 64
}  # fmt: skip


def positive(text: str) -> int:
    """Read a number above 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


# ---- Measurements ------------------------------------------------------------------------------------------------


class Session:
    """All checks and measurements of one run, the most important first."""

    def __init__(
        self, backend: "Backend", options: argparse.Namespace, report: "Report", budget: "Budget"
    ) -> None:
        self.backend, self.options, self.report, self.budget = backend, options, report, budget
        self.detectors: dict[tuple[str, str], models.Detector] = {}
        self.memory: dict[tuple[str, str], list[tuple[int, int]]] = {}
        """Batch sizes and bytes measured so far, of each model and precision."""
        self.ended: dict[tuple[str, str], str] = {}
        """Models and precisions that have ended, and why."""
        self.flops: dict[str, float] = {}
        """Of a forward pass of one image, by model."""

    def run(self) -> None:
        """Check and measure each model at the batches asked for, then all at larger and larger ones."""
        batches = sorted(set(self.options.batches))
        for model in self.options.models:
            self.check(model)
            for precision in self.options.precisions:
                for batch_size in batches:
                    self.measure(model, precision, batch_size)
        larger = 2 * batches[-1]
        while larger <= self.options.largest_batch:
            for model in self.options.models:
                for precision in self.options.precisions:
                    self.measure(model, precision, larger)
            larger *= 2

    def check(self, model: str) -> None:
        """Compare predictions in float32 with the CPU's."""
        with self._unit("check", model=model, precision="float32") as about:
            if about is None:
                return
            section = model_section(model, self.options.image_size)
            found, expected = predictions_here_and_on_cpu(
                self.backend, section, self._detector(model, "float32")
            )
            differences = {name: difference(found[name], expected[name]) for name in expected}
            ok = bool(differences) and all(value <= TOLERANCE for value in differences.values())  # NaN is not
            spread = {name: float(np.std(value)) for name, value in expected.items()}
            self.report.write("check", **about, differences=differences, spread=spread, tolerance=TOLERANCE,
                              reference="cpu", ok=ok)  # fmt: skip

    def measure(self, model: str, precision: str, batch_size: int) -> None:
        """Measure one model at one precision and batch, unless a smaller batch was too large already."""
        key = (model, precision)
        if key in self.ended:
            if batch_size in self.options.batches:
                self.report.write("skipped", model=model, precision=precision, batch_size=batch_size, of="speed",
                                  reason=self.ended[key])  # fmt: skip
            return
        about = {"model": model, "precision": precision, "batch_size": batch_size}
        expected, limit = expected_memory(self.memory.get(key, []), batch_size), self.backend.memory_limit
        if expected is not None and limit is not None and expected > limit:
            self.ended[key] = f"batch {batch_size} is too large"
            why = f"{gibibytes(expected)} expected from smaller batches, {gibibytes(limit)} there; not tried"
            self.report.write("out_of_memory", **about, reason=why)
            return
        with self._unit("speed", **about) as allowed:
            if allowed is None:
                self.ended[key] = "no time was left"
            else:
                self._measure(about, self._detector(model, precision))

    def _measure(self, about: dict[str, Any], detector: models.Detector) -> None:
        model, precision, batch_size = about.values()
        flops = 3 * self._forward_flops(model, detector)
        inputs = random_inputs(detector, batch_size, self._image_size(model))
        with self.backend.precision(tf32=precision == "tf32"):
            one_pass = self.backend.training_pass(detector, inputs, eager=self.options.eager)
            loss = float(keras.ops.convert_to_numpy(one_pass.run()))
            speeds = images_per_second(one_pass, batch_size, self.options.seconds)
        memory = one_pass.peak_memory()
        if memory is not None:
            self.memory.setdefault((model, precision), []).append((batch_size, memory))
        peak = peak_of(self.backend.device_name, precision)
        speed = statistics.median(speeds)
        self.report.write(
            "speed", **about, mode=one_pass.mode, images_per_second=round(speed, 2),
            lowest=round(min(speeds), 2), highest=round(max(speeds), 2), peak_memory_bytes=memory,
            flops_per_image=flops, tf32=precision == "tf32", peak_tflops=peak,
            fraction_of_peak=None if peak is None else round(speed * flops / (peak * 1e12), 5),
            compile_seconds=round(one_pass.compile_seconds, 2), loss=loss, note=one_pass.note,
        )  # fmt: skip
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss}")

    def _forward_flops(self, model: str, detector: models.Detector) -> float:
        if model not in self.flops:
            with counted_multiplications() as counts:
                self.backend.trace(detector, random_inputs(detector, 2, self._image_size(model)))
            self.flops[model] = 2 * sum(counts) / 2
        return self.flops[model]

    def _image_size(self, model: str) -> tuple[int, int]:
        return image_size(model_section(model, self.options.image_size))

    def _detector(self, model: str, precision: str) -> models.Detector:
        """Build a detector, or take the one that was built before: TF32 is a matter of how float32 is computed."""
        precision = "bfloat16" if precision == "bfloat16" else "float32"
        if (model, precision) not in self.detectors:
            section = model_section(model, self.options.image_size)
            self.detectors[model, precision] = built(section, use_bfloat16=precision == "bfloat16")
        return self.detectors[model, precision]

    @contextlib.contextmanager
    def _unit(self, kind: str, **about: Any) -> Iterator[dict[str, Any] | None]:
        """Do one thing within the budget: give what it is about, or None if no time is left; report its failure."""
        if not self.budget.allows(kind):
            reason = f"{self.budget.left():.0f} s left, {self.budget.longest.get(kind, 0):.0f} s expected"
            self.report.write("skipped", **about, of=kind, reason=reason)
            yield None
            return
        failed: tuple[str, str] | None = None
        with self.budget.spending(kind):
            try:
                yield about
            except Exception as error:  # reported, and the benchmark continues with the next
                failed = ("out_of_memory" if is_out_of_memory(error) else "failed", first_lines(error))
        if failed is not None:
            if kind == "speed":
                self.ended[about["model"], about["precision"]] = f"{failed[0]} at batch {about['batch_size']}"
            self.report.write(failed[0], **about, of=kind, reason=failed[1])
            gc.collect()
            self.backend.free_memory()


def predictions_here_and_on_cpu(
    backend: "Backend", section: config.pipeline_pb2.DetectionModel, detector: models.Detector
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the predictions of `detector` on two images in float32, and those with its weights on the CPU."""
    size = image_size(section)
    with backend.precision(tf32=False):
        found = backend.predict(detector, random_inputs(detector, 2, size))
        with keras.device("cpu"):
            on_cpu = built(section)
            return found, backend.predict(on_cpu, random_inputs(on_cpu, 2, size))


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference as a fraction of the largest expected value; infinite if shapes differ."""
    if found.shape != expected.shape:
        return math.inf
    return float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))


def images_per_second(one_pass: "Pass", batch_size: int, seconds: float) -> list[float]:
    """Return the speed of each of some rounds of passes, which take about this many seconds together."""
    one_pass.wait(one_pass.run())
    steps = max(1, round(seconds / ROUNDS / seconds_of(one_pass, 1)))
    return [batch_size * steps / seconds_of(one_pass, steps) for _ in range(ROUNDS)]


def seconds_of(one_pass: "Pass", times: int) -> float:
    """Return how long `times` passes take, of which only the last is waited for, as in training."""
    start = time.perf_counter()
    for _ in range(times):
        result = one_pass.run()
    one_pass.wait(result)
    return time.perf_counter() - start


def expected_memory(measured: Sequence[tuple[int, int]], batch_size: int) -> int | None:
    """Return the expected bytes of a batch, on the line through the last two measurements."""
    if len(measured) < 2:
        return None
    (few, less), (many, more) = measured[-2:]
    return int(more + (more - less) * (batch_size - many) / (many - few))


def peak_of(device_name: str, precision: str) -> float | None:
    """Return the device's peak in TFLOP/s, None where it is not known."""
    names = [name for name in PEAKS if device_name.startswith(name)]
    return PEAKS[max(names, key=len)].get(precision) if names else None


# ---- Detectors, their inputs, and their operations --------------------------------------------------------------


def model_section(recipe: str, side: int | None) -> config.pipeline_pb2.DetectionModel:
    """Return the `model` section of a stock recipe, for images of `side` by `side` pixels if that is given."""
    section = config.recipe(recipe).model
    config.family_of(section).set_num_classes(section, NUM_CLASSES)
    if side is not None:
        resizer = models.image_resizer(section)
        resizer.Clear()
        resizer.fixed_shape_resizer.height = resizer.fixed_shape_resizer.width = side
    return section


def image_size(section: config.pipeline_pb2.DetectionModel) -> tuple[int, int]:
    """Return the height and width of inputs; where they vary, those of the largest image in landscape."""
    resizer = models.image_resizer(section)
    aspect = resizer.keep_aspect_ratio_resizer
    return config.fixed_size(resizer) or (aspect.min_dimension, aspect.max_dimension)


def built(section: config.pipeline_pb2.DetectionModel, *, use_bfloat16: bool = False) -> models.Detector:
    """Build a detector with the weights of `random_weights`."""
    with zeros_for_random_starts():
        detector = models.build(section, models.Options(use_bfloat16=use_bfloat16))
    for key, variable in detector.checkpoint_variables().items():
        variable.assign(random_weights(key, tuple(variable.shape)))
    return detector


@contextlib.contextmanager
def zeros_for_random_starts() -> Iterator[None]:
    """Let random initializers give zeros: JAX compiles a program for each shape drawn, most of a build's time."""
    kinds = keras.initializers
    classes = (kinds.RandomNormal, kinds.RandomUniform, kinds.TruncatedNormal, kinds.VarianceScaling)
    originals = [initializer.__call__ for initializer in classes]

    def zeros(initializer: keras.Initializer, shape: tuple[int, ...], dtype: Any = None, **_: Any) -> Any:
        return keras.ops.convert_to_tensor(np.zeros(shape, np.float32), dtype=dtype)

    try:
        for initializer in classes:
            initializer.__call__ = zeros
        yield
    finally:
        for initializer, original in zip(classes, originals, strict=True):
            initializer.__call__ = original


def random_weights(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return float32 weights, the same under every backend, that keep activations of one size through a deep network.

    Those that training starts with would make nearly equal predictions everywhere, and a comparison of them easy.
    """
    noise = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32)
    name = key.rpartition("/")[2]
    if name == "gamma":
        return 1 + noise / 10
    if name == "moving_variance":
        return np.exp(noise / 10)
    if len(shape) < 2:
        return noise / 10
    fan_in = math.prod(shape[:2] if name == "depthwise_kernel" else shape[:-1])
    return noise * np.float32(math.sqrt(2 / fan_in))


def random_inputs(detector: models.Detector, batch_size: int, size: tuple[int, int]) -> dict[str, Any]:
    """Return Inputs with ground truth, tensors on the device, the same for each batch of one size."""
    rng = np.random.default_rng(0)
    height, width = size
    least = rng.uniform(0, 0.6, (batch_size, ROWS, 2))
    boxes = np.concatenate([least, least + rng.uniform(0.1, 0.4, least.shape)], axis=-1).astype(np.float32)
    groundtruth = {
        "boxes": boxes,
        "classes": rng.integers(0, NUM_CLASSES, (batch_size, ROWS)).astype(np.int32),
        "weights": np.ones((batch_size, ROWS), np.float32),
        "valid": np.broadcast_to(np.arange(ROWS) < OBJECTS, (batch_size, ROWS)),
    }
    if "masks" in detector.finds:
        groundtruth["masks"] = filled(boxes, size)
    if "keypoints" in detector.finds:
        raise NotImplementedError("ground truth with keypoints is not drawn yet")
    few = rng.uniform(0, 255, (min(batch_size, 8), height, width, 3)).astype(np.float32)
    inputs = {
        "images": np.resize(
            few, (batch_size, height, width, 3)
        ),  # the same few repeated: random numbers take time
        "sizes": np.tile(np.array(size, np.int32), (batch_size, 1)),
        "groundtruth": groundtruth,
    }
    return keras.tree.map_structure(keras.ops.convert_to_tensor, inputs)


def filled(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return masks [b, n, h, w] that are 1 within `boxes` [b, n, 4]."""
    rows, columns = ((np.arange(side) + 0.5) / side for side in size)
    ymin, xmin, ymax, xmax = (boxes[..., i, None] for i in range(4))
    inside_rows, inside_columns = (ymin <= rows) & (rows < ymax), (xmin <= columns) & (columns < xmax)
    return (inside_rows[..., :, None] & inside_columns[..., None, :]).astype(np.float32)


@contextlib.contextmanager
def counted_multiplications() -> Iterator[list[int]]:
    """Count the multiplications of each convolution and dense layer that is called within."""
    counts: list[int] = []
    original = keras.Layer.__call__

    def counting(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        result = original(layer, *args, **kwargs)
        counts.append(multiplications(layer, args, result))
        return result

    keras.Layer.__call__ = counting
    try:
        yield counts
    finally:
        keras.Layer.__call__ = original


def multiplications(layer: keras.Layer, args: Sequence[Any], output: Any) -> int:
    """Return how many multiplications a call of a layer is, without those of the layers that it calls."""
    layers = keras.layers
    if isinstance(layer, layers.SeparableConv2D):
        kernels = (layer.depthwise_kernel, layer.pointwise_kernel)
        return math.prod(output.shape[:-1]) * sum(math.prod(kernel.shape) for kernel in kernels)
    if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D | layers.Dense):
        return math.prod(output.shape[:-1]) * math.prod(layer.kernel.shape)
    if isinstance(layer, layers.Conv2DTranspose):
        return math.prod(args[0].shape[:-1]) * math.prod(layer.kernel.shape)
    if isinstance(layer, layers.EinsumDense):
        inputs, _, letters = layer.equation.partition("->")
        sizes = zip(inputs.split(",")[1], layer.kernel.shape, strict=True)
        return math.prod(output.shape) * math.prod(size for letter, size in sizes if letter not in letters)
    return 0


# ---- Backends ----------------------------------------------------------------------------------------------------


@dataclass
class Pass:
    """One forward and backward pass, ready to be run."""

    run: Callable[[], Any]
    """Starts it and returns its loss, which may not be there yet."""
    wait: Callable[[Any], object]
    """Waits for the pass of a loss."""
    peak_memory: Callable[[], int | None]
    """Returns its peak memory in bytes."""
    mode: str
    """"compiled" or "eager"."""
    compile_seconds: float = 0.0
    note: str | None = None


class Jax:
    """Passes as JAX computes them."""

    def __init__(self) -> None:
        import jax

        self.jax = jax
        device = jax.devices()[0]
        self.device_name = device.device_kind
        stats = (device.memory_stats() or {}) if device.platform != "cpu" else {}
        self.memory_limit: int | None = stats.get("bytes_limit") or physical_memory()
        self.versions = {"jax": jax.__version__, "platform": device.client.platform_version}

    def precision(self, *, tf32: bool) -> contextlib.AbstractContextManager[Any]:
        """Compute convolutions and products of float32 in TF32, or do not."""
        return self.jax.default_matmul_precision("tensorfloat32" if tf32 else "float32")

    def predict(self, detector: models.Detector, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
        """Return the predictions outside training, compiled."""
        variables = detector.variables

        @self.jax.jit
        def predict(values: list[Any], inputs: dict[str, Any]) -> Any:
            with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
                return detector(inputs, training=False)

        return flattened(predict([variable.value for variable in variables], inputs))

    def trace(self, detector: models.Detector, inputs: dict[str, Any]) -> None:
        """Call the network as in training, without computing anything."""

        def call(inputs: dict[str, Any]) -> Any:
            with keras.StatelessScope():
                return detector(inputs, training=True)

        self.jax.eval_shape(call, inputs)

    def training_pass(self, detector: models.Detector, inputs: dict[str, Any], *, eager: bool) -> Pass:
        """Return a pass, compiled."""
        trained, others = detector.trainable_variables, detector.non_trainable_variables

        def loss(trained_values: list[Any], other_values: list[Any], inputs: dict[str, Any]) -> Any:
            values = [*trained_values, *other_values]
            mapping = list(zip([*trained, *others], values, strict=True))
            with keras.StatelessScope(state_mapping=mapping) as scope:
                total = detector.compute_loss(x=inputs, y_pred=detector(inputs, training=True))
            return total, [scope.get_current_value(variable) for variable in others]

        arguments = (
            [variable.value for variable in trained], [variable.value for variable in others], inputs
        )  # fmt: skip
        start = time.perf_counter()
        # The gradients are results: otherwise they would not be computed.
        compiled = self.jax.jit(self.jax.value_and_grad(loss, has_aux=True)).lower(*arguments).compile()
        return Pass(
            run=lambda: compiled(*arguments)[0][0],
            wait=self.jax.block_until_ready,
            peak_memory=lambda: _bytes_of(compiled.memory_analysis()),
            mode="compiled",
            compile_seconds=time.perf_counter() - start,
        )

    def free_memory(self) -> None:
        """Do nothing: JAX frees by itself."""


def _bytes_of(analysis: Any) -> int | None:
    if analysis is None:
        return None
    parts = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    return sum(getattr(analysis, part) for part in parts) - analysis.alias_size_in_bytes


class Torch:
    """Passes as PyTorch computes them."""

    def __init__(self) -> None:
        import torch

        self.torch = torch
        self.on_gpu = torch.cuda.is_available()
        self.device_name = torch.cuda.get_device_name() if self.on_gpu else "cpu"
        self.memory_limit: int | None = torch.cuda.mem_get_info()[1] if self.on_gpu else physical_memory()
        self.versions = {"torch": torch.__version__, "cuda": torch.version.cuda}
        if self.on_gpu:
            self.versions["cudnn"] = str(torch.backends.cudnn.version())
        self.why_eager: dict[models.Detector, str] = {}

    @contextlib.contextmanager
    def precision(self, *, tf32: bool) -> Iterator[None]:
        """Compute convolutions and products of float32 in TF32, or do not."""
        before = self.torch.get_float32_matmul_precision(), self.torch.backends.cudnn.allow_tf32
        try:
            self._set_precision("high" if tf32 else "highest", tf32)
            yield
        finally:
            self._set_precision(*before)

    def _set_precision(self, of_products: str, of_convolutions: bool) -> None:
        self.torch.set_float32_matmul_precision(of_products)
        self.torch.backends.cudnn.allow_tf32 = of_convolutions

    def predict(self, detector: models.Detector, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
        """Return the predictions outside training, eagerly."""
        with self.torch.no_grad():
            return flattened(detector(inputs, training=False))

    def trace(self, detector: models.Detector, inputs: dict[str, Any]) -> None:
        """Call the network as in training."""
        with self.torch.no_grad():
            detector(inputs, training=True)

    def training_pass(self, detector: models.Detector, inputs: dict[str, Any], *, eager: bool) -> Pass:
        """Return a pass, compiled if `torch.compile` can compile it as a whole, otherwise eager."""
        values = [variable.value for variable in detector.trainable_variables]

        def loss(inputs: dict[str, Any]) -> Any:
            return detector.compute_loss(x=inputs, y_pred=detector(inputs, training=True))

        def passed(loss: Callable[[dict[str, Any]], Any]) -> Any:
            total = loss(inputs)
            self.torch.autograd.grad(total, values, allow_unused=True)
            return total.detach()

        if self.on_gpu:
            self.torch.cuda.reset_peak_memory_stats()
        else:
            reset_resident_peak()
        start = time.perf_counter()
        compiled = None if eager else self._compiled(detector, loss, passed)
        return Pass(
            run=lambda: passed(loss if compiled is None else compiled),
            wait=lambda total: total.item(),
            peak_memory=self.torch.cuda.max_memory_allocated if self.on_gpu else resident_peak,
            mode="eager" if compiled is None else "compiled",
            compile_seconds=time.perf_counter() - start if compiled is not None else 0.0,
            note=self.why_eager.get(detector),
        )

    def _compiled(
        self, detector: models.Detector, loss: Callable[..., Any], passed: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        """Compile a loss by passing once, or record why that fails; it would fail again."""
        if detector in self.why_eager:
            return None
        self.torch.compiler.reset()  # it would count this as one more variant of the last
        compiled = self.torch.compile(loss, fullgraph=True, dynamic=False)
        try:
            with warnings.catch_warnings(action="ignore"):
                passed(compiled)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            self.why_eager[detector] = f"torch.compile: {first_lines(error)}"
            return None
        return compiled

    def free_memory(self) -> None:
        """Return cached memory to the device."""
        if self.on_gpu:
            self.torch.cuda.empty_cache()


Backend = Jax | Torch
BACKENDS: dict[str, type[Jax] | type[Torch]] = {"jax": Jax, "torch": Torch}


def flattened(predictions: Any) -> dict[str, np.ndarray]:
    """Return the float predictions as arrays, by their paths in the structure."""
    leaves = keras.tree.map_structure(keras.ops.convert_to_numpy, predictions)
    named = leaves.items() if isinstance(leaves, dict) else [("", leaves)]
    arrays = {
        f"{name}/{number}" if number else str(name): np.asarray(leaf)
        for name, part in named
        for number, leaf in enumerate(keras.tree.flatten(part))
    }
    return {name: array for name, array in arrays.items() if array.dtype.kind == "f"}


def is_out_of_memory(error: Exception) -> bool:
    """Whether a backend's error is about memory."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(
            words in text
            for words in ("RESOURCE_EXHAUSTED", "ALLOC_FAILED", "out of memory", "allocate memory")
        )
    )


def first_lines(error: Exception) -> str:
    """Return the kind of an error and the first two lines of its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:2])[:300]}"


# ---- Memory, time, results -----------------------------------------------------------------------------------------


def physical_memory() -> int:
    """Return the bytes of the machine's own memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def reset_resident_peak() -> None:
    """Reset the peak of resident memory, where Linux allows it; see proc(5)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def resident_peak() -> int | None:
    """Return the peak of resident memory in bytes, None where it is unknown."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


def gibibytes(count: int) -> str:
    """Return bytes as text."""
    return f"{count / 2**30:.2f} GiB"


@dataclass
class Budget:
    """The seconds for the whole run, and the longest time of each kind of measurement so far."""

    seconds: float
    longest: dict[str, float] = field(default_factory=dict)

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.seconds - (time.perf_counter() - STARTED)

    def allows(self, kind: str) -> bool:
        """Whether time is left for one more; the time of a first one is unknown, so it is started if any is left."""
        return self.left() > self.longest.get(kind, 0)

    @contextlib.contextmanager
    def spending(self, kind: str) -> Iterator[None]:
        """Record the time of one."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.longest[kind] = max(self.longest.get(kind, 0), time.perf_counter() - start)


class Report:
    """Writes each result as it comes."""

    def __init__(self, file: IO[str] | None) -> None:
        self.file, self.problems = file, 0

    def write(self, kind: str, **result: Any) -> None:
        """Write one result to the file and, shorter, to the terminal."""
        self.problems += kind == "failed" or not result.get("ok", True)
        if self.file is not None:
            # JSON has no form for values that are not finite.
            told = keras.tree.map_structure(_finite, {"kind": kind} | result)
            print(json.dumps(told, allow_nan=False), file=self.file, flush=True)
        print(as_text(kind, result), flush=True)


def _finite(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def as_text(kind: str, result: dict[str, Any]) -> str:
    """Return a result as a line to read."""
    if kind == "machine":
        return f"{result['device']}, {result['backend']}, {result['versions']}"
    about = [str(result[name]) for name in ("model", "precision") if name in result]
    about += [f"batch {result['batch_size']}"] if "batch_size" in result else []
    if kind == "speed":
        memory, fraction = result["peak_memory_bytes"], result["fraction_of_peak"]
        said = [
            f"{result['images_per_second']:.1f} images/s {result['mode']}",
            "" if memory is None else gibibytes(memory),
            "" if fraction is None else f"{fraction:.2%} of {result['peak_tflops']:g} TFLOP/s",
        ]
    elif kind == "check":
        worst = max(result["differences"].values(), default=0.0)
        said = [f"{'as' if result['ok'] else 'NOT as'} on the CPU, largest difference {worst:.1e}"]
    else:
        said = [kind, *([result["of"]] if "of" in result else []), result["reason"]]
    return "  ".join([*about, *filter(None, said)])


def machine(backend: Backend, options: argparse.Namespace) -> dict[str, Any]:
    """Return the device and the versions of the measurement."""
    shown = {name: value for name, value in vars(options).items() if name != "output"}
    return {
        "date": datetime.date.today().isoformat(),
        "device": backend.device_name,
        "memory_limit_bytes": backend.memory_limit,
        "backend": BACKEND,
        "versions": {
            "boxtune": boxtune.__version__,
            "python": platform.python_version(),
            "keras": keras.__version__,
            "numpy": np.__version__,
            **backend.versions,
        },
        "driver": _first_line_of(Path("/proc/driver/nvidia/version")),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "options": shown,
        "groundtruth": {"rows": ROWS, "valid": OBJECTS},
    }


def _first_line_of(path: Path) -> str | None:
    with contextlib.suppress(OSError):
        return path.read_text().splitlines()[0]
    return None


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
