"""A run that is killed at any moment and started again makes the steps of one that was not, to the bit."""

import contextlib
import json
import os
import random
import signal
import time

import numpy as np
import pytest

import patience
from boxtune import config
from boxtune.configure import configure
from boxtune.convert import convert
from boxtune.draw import draw
from boxtune.training.checkpoints import Reader, find
from tiny_run import SIDE, Runner

pytestmark = pytest.mark.thorough

STEPS, KILLS = 40, 5
OPTIONS = {
    "checkpoint_every_n": 3,
    "checkpoint_max_to_keep": 2,
    "evaluate_every_n": 5,
    "best_metric": "loss",
    "recalibrate": True,
}
TIMES = {"time", "images_per_sec", "seconds"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records of a few images, and a configuration with all that a run has to remember."""
    folder = tmp_path_factory.mktemp("killed")
    draw(folder / "photos", num_images=10)
    convert(folder / "photos", folder / "records")
    pipeline = configure(folder / "records", batch_size=2, num_steps=STEPS, learning_rate=0.01)
    for override in (
        "train_config.data_augmentation_options=[{random_horizontal_flip {}}, {random_adjust_brightness {}}]",
        f"model.ssd.image_resizer.fixed_shape_resizer={{height: {SIDE} width: {SIDE}}}",
        "train_config.optimizer.use_moving_average=true",
        "eval_config.use_moving_averages=true",
        "boxtune.accumulate_batches=2",
    ):
        config.apply_override(pipeline, override)
    config.write(pipeline, folder / "pipeline.config")
    return folder


@pytest.fixture(scope="module")
def runner():
    runner = Runner()
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def whole(folder, runner):
    runner.start(folder / "pipeline.config", folder / "whole", **OPTIONS)
    assert runner.status() == 0
    return folder / "whole"


def journal(model_dir):
    """Return what a journal says, without how long it took."""
    lines = (model_dir / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name not in TIMES} for line in lines]


def wait_for(number_of_lines, model_dir, process):
    """Wait until the journal is that long, or the process is gone."""
    path = model_dir / "metrics.jsonl"

    def is_there():
        return path.exists() and path.read_bytes().count(b"\n") >= number_of_lines

    patience.wait_until(lambda: is_there() or not os.path.exists(f"/proc/{process}"), pause=0.001)


def kill(process):
    with contextlib.suppress(ProcessLookupError):  # it was through
        os.kill(process, signal.SIGKILL)


def test_a_run_that_is_killed_again_and_again(folder, runner, whole):
    model_dir, rng = folder / "killed", random.Random(0)
    statuses = []
    for number in range(1, KILLS + 1):
        process = runner.start(folder / "pipeline.config", model_dir, **OPTIONS)
        wait_for(number * STEPS // KILLS * 0.9, model_dir, process)
        time.sleep(rng.uniform(0, 0.1))
        kill(process)
        statuses.append(runner.status())
    assert statuses.count(signal.SIGKILL) > KILLS // 2
    runner.start(folder / "pipeline.config", model_dir, **OPTIONS)
    assert runner.status() == 0
    assert journal(model_dir) == journal(whole)
    assert_same_checkpoints(model_dir, whole)
    assert len(json.loads((model_dir / "run.json").read_text())) > KILLS // 2


def best(model_dir):
    """Return what the best checkpoint reached, without its name.

    A kill between the checkpoint and the line of the journal has the step evaluated, and kept, once more.
    """
    found = json.loads((model_dir / "best" / "best.json").read_text())
    assert (model_dir / "best" / f"{found.pop('checkpoint')}.index").exists()
    return found


def assert_same_checkpoints(one, other):
    assert best(one) == best(other)
    for part in (".", "best"):
        mine, theirs = Reader(find(one / part)), Reader(find(other / part))
        assert mine.shapes == theirs.shapes
        for key in mine.shapes.keys() - ({"save_counter"} if part == "best" else set()):
            np.testing.assert_array_equal(mine[key], theirs[key], err_msg=key)
