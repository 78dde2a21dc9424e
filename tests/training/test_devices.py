"""Several processes that share each batch make the steps of one that has it whole."""

import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import patience
from boxtune import config, models
from boxtune.config.families import recipe_names
from boxtune.configure import configure
from boxtune.convert import convert
from boxtune.draw import draw
from boxtune.errors import BoxtuneError, ConfigError
from boxtune.retrain import retrain
from boxtune.training import devices
from boxtune.training.checkpoints import Reader, find
from boxtune.training.cluster import TF_CONFIG
from boxtune.training.team import share_of
from flags import train_by_flags
from kinds import smallest_of_each_kind
from tiny_run import SIDE, TinyDetector

pytestmark = pytest.mark.thorough

WORKER = Path(__file__).parent.parent / "tiny_worker.py"
STEPS = 30
OPTIONS = {
    "checkpoint_every_n": 5,
    "evaluate_every_n": 10,
    "best_metric": "loss",
    "patience": 2,
    "min_delta": 9.0,
    "recalibrate": True,
}
"""With a progress that nobody makes, the third evaluation, by the chief alone, ends the run of all after STEPS."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records of a few images, and a configuration with all that has to be of the whole batch."""
    folder = tmp_path_factory.mktemp("devices")
    draw(folder / "photos", num_images=10)
    convert(folder / "photos", folder / "records")
    pipeline = configure(folder / "records", batch_size=4, num_steps=2 * STEPS, learning_rate=0.01)
    for override in (
        "train_config.data_augmentation_options=[{random_horizontal_flip {}}, {random_adjust_brightness {}}]",
        f"model.ssd.image_resizer.fixed_shape_resizer={{height: {SIDE} width: {SIDE}}}",
        "train_config.optimizer.use_moving_average=true",
        "train_config.gradient_clipping_by_norm=0.5",
        "boxtune.accumulate_batches=2",
    ):
        config.apply_override(pipeline, override)
    config.write(pipeline, folder / "pipeline.config")
    return folder


@pytest.fixture(scope="module")
def whole(folder):
    """The model directory of a run on one device."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "build", lambda section, options=None: TinyDetector())
        train_by_flags(folder / "pipeline.config", folder / "whole", **OPTIONS)
    return folder / "whole"


def losses(model_dir):
    """Return what a journal says of losses, as numbers [lines, terms], and the steps of its lines."""
    lines = [json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines()]
    terms = [line.get("evaluation", line) for line in lines]
    values = [[value for name, value in sorted(line.items()) if name.startswith("Loss/")] for line in terms]
    return np.array(values), [line["step"] for line in lines]


def assert_same_run(one, other):
    (mine, my_steps), (theirs, their_steps) = losses(one), losses(other)
    assert my_steps == their_steps
    np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    mine, theirs = Reader(find(one)), Reader(find(other))
    assert mine.shapes == theirs.shapes
    for key in mine.shapes.keys() - {"save_counter"}:
        np.testing.assert_allclose(mine[key], theirs[key], rtol=1e-3, atol=1e-5, err_msg=key)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def worker(folder, tmp_path):
    """Start worker number `rank` of two, each with a model directory of its own; in the end all are gone."""
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    started = []

    def start(rank):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
        options = [f"--{name}" if value is True else f"--{name}={value}" for name, value in OPTIONS.items()]
        paths = [
            f"--pipeline_config_path={folder / 'pipeline.config'}",
            f"--model_dir={tmp_path / str(rank)}",
        ]
        with (tmp_path / f"{rank}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, str(WORKER), "train", *paths, *options],
                env=os.environ | {TF_CONFIG: json.dumps(task)},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_for_steps(number, model_dir, process):
    path = model_dir / "metrics.jsonl"

    def are_made():
        assert process.poll() is None
        return path.exists() and path.read_bytes().count(b"\n") >= number

    patience.wait_until(are_made)


def test_two_workers_of_which_one_is_killed_and_started_again(worker, tmp_path, whole):
    chief, other = worker(0), worker(1)
    wait_for_steps(8, tmp_path / "0", chief)
    other.kill()
    assert other.wait(patience.SECONDS) == -signal.SIGKILL
    other = worker(1)
    # Whoever is left begins again by itself.
    assert (chief.wait(patience.SECONDS), other.wait(patience.SECONDS)) == (0, 0), (
        tmp_path / "0.log"
    ).read_text()
    assert "another worker is gone" in (tmp_path / "0.log").read_text()
    begun = [entry["step"] for entry in json.loads((tmp_path / "0" / "run.json").read_text())]
    assert len(begun) == 2
    assert begun[1] in range(5, STEPS, 5)  # later than 5, if the kill came late
    assert_same_run(tmp_path / "0", whole)
    assert not (tmp_path / "1").exists()


def test_devices_of_one_machine_are_interrupted_and_resumed_by_one(folder, tmp_path, whole, monkeypatch):
    members = []

    class Member(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            members.append(self)

    def terminate_one():
        patience.wait_until(lambda: len(members) == 2)
        wait_for_steps(8, tmp_path, members[0])
        members[1].terminate()

    monkeypatch.setattr(devices, "MEMBER", (sys.executable, str(WORKER), "member"))
    monkeypatch.setattr(subprocess, "Popen", Member)
    with ThreadPoolExecutor() as pool:
        terminated = pool.submit(terminate_one)
        with pytest.raises(KeyboardInterrupt):
            train_by_flags(folder / "pipeline.config", tmp_path, num_devices=2, **OPTIONS)
        terminated.result(patience.SECONDS)
    saved = int(Reader(find(tmp_path))["step"])
    assert 8 <= saved == losses(tmp_path)[1][-1] < STEPS
    monkeypatch.setattr(models, "build", lambda section, options=None: TinyDetector())
    assert train_by_flags(folder / "pipeline.config", tmp_path, **OPTIONS).step == STEPS
    assert_same_run(tmp_path, whole)


@pytest.mark.large
@pytest.mark.parametrize("name", smallest_of_each_kind(recipe_names()))
def test_each_kind_trains_on_two_devices_as_on_one(name, folder, tmp_path):
    side = 128  # halves down to the coarsest level of any pyramid
    pipeline = configure(folder / "records", model=name, batch_size=4, num_steps=3, learning_rate=0.001)
    for override in (
        "train_config.data_augmentation_options=[]",
        f"model.ssd.image_resizer={{ fixed_shape_resizer {{ height: {side} width: {side} }} }}",
    ):
        config.apply_override(pipeline, override)
    config.write(pipeline, tmp_path / "pipeline.config")
    for number, model_dir in enumerate(("one", "two"), start=1):
        train_by_flags(
            tmp_path / "pipeline.config", tmp_path / model_dir, num_devices=number, evaluate_every_n=0
        )
    (mine, my_steps), (theirs, their_steps) = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert my_steps == their_steps
    assert max(my_steps) > 1  # the later losses show that the gradients were shared, too
    np.testing.assert_allclose(mine[0], theirs[0], rtol=1e-4)
    # Two of them multiply rounding from step to step: one device without oneDNN differs as much from one with it.
    multiplies = name in ("ssd_mobilenet_v2_keras", "ssd_resnet50_v1_fpn_keras")
    np.testing.assert_allclose(mine, theirs, rtol=0.1 if multiplies else 1e-3)


def test_an_error_of_the_processes_is_reported(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "MEMBER", (sys.executable, str(WORKER), "member"))
    with pytest.raises(
        BoxtuneError, match=r"batch_size is 4, of the whole batch: 3 devices .* 3 and 6 can be"
    ):
        train_by_flags(folder / "pipeline.config", tmp_path, num_devices=3)


@pytest.mark.parametrize(
    ("batch_size", "count", "near"), [(10, 4, "8 and 12 can"), (3, 4, "4 can"), (9, 8, "8 and 16 can")]
)
def test_batches_that_cannot_be_shared_out(batch_size, count, near):
    with pytest.raises(
        ConfigError, match=f"is {batch_size}, .* {count} devices cannot share it out evenly; {near}"
    ):
        share_of(batch_size, count)
    assert share_of(count * 3, count) == 3


def gpus(monkeypatch, count):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind] * count)


@pytest.mark.parametrize(
    ("there", "requested", "count"), [(0, None, 1), (0, 2, 2), (4, None, 4), (4, 3, 3), (1, None, 1)]
)
def test_all_gpus_are_used_or_as_many_as_requested(monkeypatch, there, requested, count):
    monkeypatch.delenv(TF_CONFIG, raising=False)
    gpus(monkeypatch, there)
    assert devices.processes_to_start(requested) == count


def test_more_gpus_than_there_are(monkeypatch):
    gpus(monkeypatch, 2)
    with pytest.raises(ConfigError, match="--num_devices 3: this machine has 2 GPUs"):
        devices.processes_to_start(3)


def test_tf_config_says_how_many(monkeypatch):
    task = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv(TF_CONFIG, json.dumps(task))
    gpus(monkeypatch, 4)
    assert devices.processes_to_start(None) == 1
    with pytest.raises(ConfigError, match="leave --num_devices out"):
        devices.processes_to_start(2)
    with pytest.raises(ConfigError, match="retrain runs on one"):
        retrain("photos", "mine")


@pytest.mark.parametrize(("there", "number", "used"), [(0, 1, []), (1, 0, []), (3, 0, [0]), (3, 2, [2])])
def test_each_process_has_a_gpu_of_its_own(monkeypatch, there, number, used):
    chosen = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(range(there)))
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda gpu, kind: chosen.append(gpu))
    devices.use_gpu(number, "worker 1")
    assert chosen == used


def test_more_processes_than_gpus(monkeypatch):
    gpus(monkeypatch, 1)
    with pytest.raises(ConfigError, match=r"than it has GPUs \(1\): worker 1 on b:2 finds none left"):
        devices.use_gpu(1, "worker 1 on b:2")
