"""The benchmark for GPUs, on a CPU: what it finds without TensorFlow, and what it makes of what goes wrong."""

import importlib.util
import io
import json
import math
import os
import subprocess
import sys
import tomllib
from argparse import Namespace
from contextlib import nullcontext
from importlib.metadata import packages_distributions, requires
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from packaging.requirements import Requirement

from boxtune.config import pipeline_pb2
from conftest import REPOSITORY

BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")
ON_TENSORFLOW = BACKEND == "tensorflow"
SCRIPT = REPOSITORY / "benchmarks" / "gpu.py"

# Python looks for modules as if those that are forbidden were not installed; at the end it tells what it loaded.
WITHOUT = """
import atexit, importlib.machinery, runpy, sys
forbidden = set({forbidden!r})
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in forbidden:
            return importlib.machinery.PathFinder.find_spec(name, path, target)
sys.meta_path = [Finder() if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
loaded = lambda: {{name.partition(".")[0] for name in sys.modules}}
atexit.register(lambda: print("LOADED", *sorted(loaded()), file=sys.stderr))
sys.argv = {argv!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def forbidden_modules():
    """Return the modules of all that boxtune depends on and the benchmark must not.

    Those are neither Keras and the packages that it needs, nor `filelock`, which PyTorch needs.
    """
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    needed = {
        "keras",
        "numpy",
        "protobuf",
        "filelock",
        *(Requirement(text).name for text in requires("keras")),
    }
    unwanted = {Requirement(text).name for text in project["dependencies"]} - needed
    assert {"tensorflow", "tensorboard", "pillow", "pyyaml", "plotly"} <= unwanted
    owners = packages_distributions()
    return sorted(module for module, names in owners.items() if unwanted & {name.lower() for name in names})


def run(*arguments, without=(), script=SCRIPT):
    code = WITHOUT.format(forbidden=without, argv=[str(script), *map(str, arguments)])
    # Tests share few cores: more threads than one would wait for each other, and a compiler need not do its best.
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY / "src"),
        "OMP_NUM_THREADS": "1",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)


def loaded(done):
    """Return the modules that a run has loaded."""
    return set(done.stderr[done.stderr.rindex("LOADED") :].split()[1:])


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.skipif(not ON_TENSORFLOW, reason="of TensorFlow alone")
def test_tensorflow_is_refused_with_a_way_out():
    done = run("--small")
    assert done.returncode == 1
    assert "Keras runs on tensorflow; set KERAS_BACKEND to jax or torch" in done.stderr


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The results of a small run without anything but Keras, protobuf and the backend."""
    if ON_TENSORFLOW:
        pytest.skip("the benchmark runs on JAX and PyTorch")
    output = tmp_path_factory.mktemp("benchmark") / "results.jsonl"
    forbidden = forbidden_modules()
    done = run("--small", "--budget_seconds", 3600, "--output", output, without=forbidden)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not loaded(done) & set(forbidden)
    return lines(output)


def test_the_first_line_says_on_what_it_was_measured(small):
    assert small[0]["kind"] == "machine"
    assert small[0]["backend"] == BACKEND
    assert small[0]["versions"]["keras"] == keras.__version__
    assert small[0]["options"]["image_size"] == 64


def test_the_predictions_are_compared(small):
    (check,) = [line for line in small if line["kind"] == "check"]
    assert check["ok"]
    assert {"box_encodings", "class_predictions_with_background"} <= check["differences"].keys()
    assert (
        min(check["spread"].values()) > 0.1
    )  # of predictions that are all alike, the comparison would be worthless


def test_everything_is_measured_once(small):
    reported = [(line["kind"], line["precision"], line["batch_size"]) for line in small[2:]]
    assert reported == [
        ("speed", precision, batch) for precision in ("float32", "bfloat16") for batch in (1, 2)
    ]


def test_a_speed_is_measured(small):
    for line in small[2:]:
        assert 0 < line["lowest"] <= line["images_per_second"] <= line["highest"]
        assert line["peak_memory_bytes"] > 2**22
        assert math.isfinite(line["loss"])
        assert line["loss"] > 0
        assert line["flops_per_image"] == 203512320  # 24.5 million multiplications in the backbone
        assert line["fraction_of_peak"] is None  # of a CPU, no peak is known
        assert line["mode"] == ("compiled" if BACKEND == "jax" else "eager")


@pytest.mark.skipif(ON_TENSORFLOW, reason="the benchmark runs on JAX and PyTorch")
def test_without_time_everything_is_skipped_and_without_need_tensorflow_is_not_loaded(tmp_path):
    done = run("--small", "--budget_seconds", "0", "--output", tmp_path / "results.jsonl")
    assert done.returncode == 0, done.stderr
    assert "tensorflow" not in loaded(done)
    assert "keras" in loaded(done)
    skipped = lines(tmp_path / "results.jsonl")[1:]
    assert [line["kind"] for line in skipped] == ["skipped"] * 5
    assert all(line["reason"] for line in skipped)


IMPORT_ALL = """
import importlib, pkgutil
for name in ("boxtune.structures", "boxtune.config", "boxtune.detection", "boxtune.models"):
    module = importlib.import_module(name)
    for part in pkgutil.walk_packages(getattr(module, "__path__", []), f"{name}."):
        importlib.import_module(part.name)
"""


def test_every_module_of_detectors_loads_without_tensorflow_and_all_else(tmp_path):
    (tmp_path / "import_all.py").write_text(IMPORT_ALL)
    of_the_backend = {"tensorflow", "tensorboard", "requests"} if ON_TENSORFLOW else set()
    forbidden = [name for name in forbidden_modules() if name not in of_the_backend]
    done = run(script=tmp_path / "import_all.py", without=forbidden)
    assert done.returncode == 0, done.stderr
    assert not loaded(done) & set(forbidden)


# ---- Its parts ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location("gpu_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def report(gpu):
    return gpu.Report(io.StringIO())


def results(report):
    return [json.loads(line) for line in report.file.getvalue().splitlines()]


def test_differences(gpu):
    expected = np.array([0.0, -4.0, 2.0])
    assert gpu.difference(expected, expected) == 0
    np.testing.assert_allclose(gpu.difference(np.array([0, -4, 2.02]), expected), 0.005)
    assert gpu.difference(expected[:2], expected) == math.inf
    assert math.isnan(gpu.difference(np.array([0, np.nan, 2]), expected))


@pytest.mark.parametrize(("error", "problems"), [(0.0, 0), (0.01, 1), (np.nan, 1)])
def test_a_difference_is_a_problem(gpu, error, problems, monkeypatch, report):
    expected = np.array([0.0, -4.0, 2.0])
    monkeypatch.setattr(
        gpu, "predictions_here_and_on_cpu", lambda *_: ({"a": expected + error}, {"a": expected})
    )
    session = fake_session(gpu, monkeypatch, report)
    session.check("ssd_mobilenet_v2_keras")
    assert results(report)[0]["ok"] == (not problems)
    assert session.report.problems == problems


class FakeBackend:
    """A device on which a pass takes no time and each image a GiB."""

    device_name, memory_limit = "NVIDIA H100 80GB HBM3", 30 * 2**30

    def __init__(self, gpu, fail=None):
        self.gpu, self.fail = gpu, fail

    def precision(self, tf32):
        return nullcontext()

    def trace(self, detector, inputs):
        keras.layers.Dense(5)(np.zeros((2, 10), np.float32))

    def training_pass(self, detector, inputs, eager):
        if self.fail:
            raise self.fail
        return self.gpu.Pass(lambda: np.float32(2), lambda _: None, lambda: inputs * 2**30, "compiled")

    def free_memory(self):
        pass


def fake_session(gpu, monkeypatch, report, *, fail=None, largest_batch=8):
    monkeypatch.setattr(gpu, "built", lambda *_, **__: None)
    monkeypatch.setattr(gpu, "random_inputs", lambda detector, batch_size, size: batch_size)
    options = Namespace(models=["ssd_mobilenet_v2_keras"], precisions=["float32"], batches=[4, 8], image_size=64,
                        largest_batch=largest_batch, seconds=0.001, eager=False)  # fmt: skip
    return gpu.Session(FakeBackend(gpu, fail), options, report, gpu.Budget(1e9))


def test_batches_are_doubled_while_memory_is_expected_to_last(gpu, monkeypatch, report):
    monkeypatch.setattr(gpu.Session, "check", lambda *_: None)
    session = fake_session(gpu, monkeypatch, report, largest_batch=1000)
    session.run()
    reported = [(line["kind"], line["batch_size"]) for line in results(report)]
    assert reported == [("speed", 4), ("speed", 8), ("speed", 16), ("out_of_memory", 32)]
    assert results(report)[0]["flops_per_image"] == 3 * 2 * 5 * 10
    assert results(report)[0]["peak_tflops"] == 67
    assert not session.report.problems


@pytest.mark.parametrize(
    ("fail", "kind"),
    [
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes"), "out_of_memory"),
        (RuntimeError("CUDA error: out of memory"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (ValueError("shapes\nare wrong"), "failed"),
    ],
)
def test_errors_are_reported_and_the_rest_left_out(gpu, fail, kind, monkeypatch, report):
    monkeypatch.setattr(gpu.Session, "check", lambda *_: None)
    session = fake_session(gpu, monkeypatch, report, fail=fail, largest_batch=32)
    session.run()
    first, second = results(report)
    assert (first["kind"], first["batch_size"]) == (kind, 4)
    assert type(fail).__name__ in first["reason"]
    assert (second["kind"], second["batch_size"]) == ("skipped", 8)
    assert second["reason"] == f"{kind} at batch 4"
    assert session.report.problems == (kind == "failed")


def test_a_loss_that_is_not_finite_is_a_failure(gpu, monkeypatch, report):
    session = fake_session(gpu, monkeypatch, report)
    session.backend.training_pass = lambda *_, **__: gpu.Pass(
        lambda: np.float32(np.nan), lambda _: None, lambda: 1, "compiled"
    )
    session.measure("ssd_mobilenet_v2_keras", "float32", 4)
    speed, failed = results(report)
    assert speed["loss"] == "nan"
    assert failed["kind"] == "failed"
    assert session.report.problems == 1


def test_peaks(gpu):
    assert gpu.peak_of("NVIDIA A100-SXM4-80GB", "bfloat16") == 312
    assert gpu.peak_of("NVIDIA L40S", "float32") == 91.6
    assert gpu.peak_of("NVIDIA L4", "float32") == 30.3
    assert gpu.peak_of("Tesla T4", "bfloat16") is None
    assert gpu.peak_of("cpu", "float32") is None


@pytest.mark.parametrize(
    ("layer", "shape", "count"),
    [
        (keras.layers.Conv2D(5, 3, padding="same"), (2, 8, 6, 4), 2 * 8 * 6 * 5 * 9 * 4),
        (keras.layers.Conv2D(6, 3, strides=2, groups=2, padding="same"), (1, 8, 6, 4), 4 * 3 * 6 * 9 * 2),
        (keras.layers.DepthwiseConv2D(3, padding="same"), (2, 8, 6, 4), 2 * 8 * 6 * 4 * 9),
        (keras.layers.SeparableConv2D(5, 3, padding="same"), (1, 8, 6, 4), 8 * 6 * (4 * 9 + 4 * 5)),
        (keras.layers.Conv2DTranspose(5, 2, strides=2), (1, 8, 6, 4), 8 * 6 * 4 * 5 * 4),
        (keras.layers.Dense(7), (2, 3, 4), 2 * 3 * 4 * 7),
        (keras.layers.EinsumDense("abc,cde->abde", (None, 2, 3)), (2, 5, 4), 2 * 5 * 4 * 2 * 3),
        (keras.layers.ReLU(), (2, 5, 4), 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, keras.Layer) else None,
)
def test_multiplications(gpu, layer, shape, count):
    with gpu.counted_multiplications() as counts:
        layer(np.zeros(shape, np.float32))
    assert sum(counts) == count


def test_images_that_vary_are_taken_in_landscape(gpu):
    section = pipeline_pb2.DetectionModel()
    resizer = section.ssd.image_resizer.keep_aspect_ratio_resizer
    resizer.min_dimension, resizer.max_dimension = 600, 1024
    assert gpu.image_size(section) == (600, 1024)
    resizer.pad_to_max_dimension = True
    assert gpu.image_size(section) == (1024, 1024)


def test_masks_fill_their_boxes(gpu):
    masks = gpu.filled(np.array([[[0.0, 0.25, 0.5, 1.0]]]), (4, 8))
    assert masks.shape == (1, 1, 4, 8)
    assert masks[0, 0].sum() == 2 * 6
    assert masks[0, 0, :2, 2:].all()


@pytest.mark.skipif(BACKEND != "torch", reason="torch.compile is PyTorch's")
@pytest.mark.parametrize("can_be_compiled", [True, False])
def test_pytorch_compiles_what_it_can(gpu, can_be_compiled):
    import torch

    class Detector:
        """Its loss is 3 x squared, whose gradient nobody sees."""

        trainable_variables = (SimpleNamespace(value=torch.nn.Parameter(torch.tensor(2.0))),)

        def __call__(self, inputs, training):
            x = self.trainable_variables[0].value
            return x if can_be_compiled or x.item() else None

        def compute_loss(self, x, y_pred):
            return 3 * y_pred**2

    backend, detector = gpu.Torch(), Detector()
    for _ in range(2):
        one_pass = backend.training_pass(detector, {}, eager=False)
        assert one_pass.mode == ("compiled" if can_be_compiled else "eager")
        assert (one_pass.note is None) == can_be_compiled
        assert float(one_pass.run()) == 12


@pytest.mark.skipif(ON_TENSORFLOW, reason="the benchmark runs on JAX and PyTorch")
def test_tf32_is_on_where_it_is_asked_for_and_nowhere_else(gpu):
    def state():
        if BACKEND == "jax":
            import jax

            return jax.config.jax_default_matmul_precision
        import torch

        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    off, on = {
        "jax": ("float32", "tensorfloat32"),
        "torch": (("highest", False), ("high", True)),
    }[BACKEND]
    backend, before = gpu.BACKENDS[BACKEND](), state()
    with backend.precision(tf32=True):
        assert state() == on
        with backend.precision(tf32=False):
            assert state() == off
        assert state() == on
    assert state() == before
