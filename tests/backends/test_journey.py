"""A training under whatever backend Keras runs on: the numbers of TensorFlow's, stopped, gone on with, measured."""

import json
import os

import keras
import numpy as np
import pytest

from boxtune import config, models
from boxtune.backends import prepare_backend
from boxtune.configure import configure
from boxtune.convert import convert
from boxtune.draw import draw
from boxtune.errors import CheckpointError, ConfigError
from boxtune.evaluate import evaluate
from boxtune.export import export
from boxtune.training import checkpoints
from flags import train_by_flags
from tiny_run import SIDE, TinyDetector

BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")
STEPS = 6
OPTIONS = {"checkpoint_every_n": 3, "evaluate_every_n": 3, "best_metric": "loss"}

TOTAL_LOSSES = [1.553678, 1.214260, 1.115722, 1.269492, 1.084861, 1.055185]
"""Of the steps, as TensorFlow computed them."""

ALIVE = [0, 1, 3, 7]
RECALIBRATED = {
    "moving_mean": [0.0217623, 0.0323154, 0.306982, 0.0702861],
    "moving_variance": [0.00125358, 0.00351061, 0.0183993, 0.00672046],
}
"""Statistics of the best checkpoint, of the channels that are not always 0, as TensorFlow computed them."""


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(models, "build", lambda section, options=None: TinyDetector())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records of a few images, weights to start from, and a configuration with all that a run has to remember."""
    folder = tmp_path_factory.mktemp("backends")
    draw(folder / "photos", num_images=10)
    convert(folder / "photos", folder / "records")
    checkpoints.tree(random_weights()).write(str(folder / "ckpt-0"))
    pipeline = configure(folder / "records", batch_size=2, num_steps=STEPS, learning_rate=0.01)
    for override in (
        f"model.ssd.image_resizer.fixed_shape_resizer={{height: {SIDE} width: {SIDE}}}",
        f'train_config.fine_tune_checkpoint="{folder / "ckpt-0"}"',
        'train_config.fine_tune_checkpoint_type="full"',
        "train_config.optimizer.use_moving_average=true",
        "boxtune.accumulate_batches=2",
    ):
        config.apply_override(pipeline, override)
    config.write(pipeline, folder / "pipeline.config")
    return folder


def random_weights():
    """Return weights that are the same under every backend, unlike those that a backend draws."""
    rng = np.random.default_rng(0)
    variables = TinyDetector().checkpoint_variables()
    for key, variable in variables.items():
        if key.endswith("kernel"):
            variable.assign(rng.normal(0, 0.1, variable.shape))
    return variables


@pytest.fixture(scope="module")
def whole(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "build", lambda section, options=None: TinyDetector())
        train_by_flags(folder / "pipeline.config", folder / "whole", **OPTIONS)
    return folder / "whole"


def journal(model_dir):
    return [json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines()]


def losses(model_dir):
    return [line["Loss/total_loss"] for line in journal(model_dir) if "learning_rate" in line]


def values(model_dir):
    reader = checkpoints.Reader(checkpoints.find(model_dir))
    return {key: reader[key] for key in reader.shapes if key != "save_counter"}


def test_this_is_the_backend():
    assert keras.backend.backend() == BACKEND


def test_the_losses_are_those_of_tensorflow(whole):
    np.testing.assert_allclose(losses(whole), TOTAL_LOSSES, rtol=1e-5)


def test_a_resumed_run_makes_the_same_steps(folder, whole, tiny):
    for steps in (3, STEPS):
        result = train_by_flags(
            folder / "pipeline.config", folder / "resumed", num_train_steps=steps, **OPTIONS
        )
        assert result.step == steps
    np.testing.assert_allclose(losses(folder / "resumed"), losses(whole), rtol=1e-5)
    before, after = values(whole), values(folder / "resumed")
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert value.dtype == after[key].dtype
        np.testing.assert_allclose(after[key], value, rtol=1e-4, atol=1e-6, err_msg=key)
    assert any(np.abs(value).max() > 0 for key, value in before.items() if key.startswith("optimizer/"))


def test_recalibrated_statistics_are_those_of_tensorflow(folder, whole, tiny):
    train_by_flags(folder / "pipeline.config", folder / "recalibrated", recalibrate=True, **OPTIONS)
    np.testing.assert_allclose(losses(folder / "recalibrated"), TOTAL_LOSSES, rtol=1e-5)
    best = checkpoints.Reader(checkpoints.find(folder / "recalibrated" / "best"))
    assert int(best["step"]) == STEPS
    for name, expected in RECALIBRATED.items():
        np.testing.assert_allclose(best[f"model/norm/{name}"][ALIVE], expected, rtol=1e-4, err_msg=name)


def test_a_checkpoint_has_the_keys_and_types_of_tensorflow(whole):
    written = {key: value.dtype for key, value in values(whole).items()}
    assert written.pop("step") == np.int64
    assert set(written.values()) == {np.dtype("float32")}
    model = {key for key in written if key.startswith("model/")}
    assert model == {
        *(f"model/{layer}/{part}" for layer in ("conv", "dense") for part in ("kernel", "bias")),
        *(f"model/norm/{part}" for part in ("gamma", "beta", "moving_mean", "moving_variance")),
    }
    trained = {key.removeprefix("model/") for key in model if "moving" not in key}
    assert {key for key in written if key.startswith("moving_averages/")} == {
        f"moving_averages/{key}" for key in trained
    }
    assert len([key for key in written if key.startswith("optimizer/")]) == len(trained)


def test_a_checkpoint_is_measured_as_it_was_on_the_way(folder, whole, tiny, capsys):
    found = evaluate(folder / "pipeline.config", whole, output_dir=folder / "measured")
    assert found.step == STEPS
    (on_the_way,) = [
        line["evaluation"] for line in journal(whole) if "evaluation" in line and line["step"] == STEPS
    ]
    values = found.metrics | found.losses
    assert values.keys() == on_the_way.keys()
    for name, value in values.items():
        expected = np.nan if on_the_way[name] is None else on_the_way[name]
        np.testing.assert_allclose(value, expected, rtol=1e-4, err_msg=name)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="SavedModels are TensorFlow's alone")
def test_exporting_averages_that_are_not_there(folder, tiny):
    overrides = ["eval_config.use_moving_averages=true"]
    with pytest.raises(CheckpointError, match="holds no averages of its weights"):
        export(folder / "pipeline.config", folder / "ckpt-0", folder / "exported", overrides=overrides)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_exporting_says_the_way_out(backend, folder, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    with pytest.raises(ConfigError, match=rf"runs on {backend}: .* KERAS_BACKEND=tensorflow"):
        export(folder / "pipeline.config", folder / "ckpt-0", folder / "exported")


def test_a_backend_that_cannot_train_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "numpy")
    with pytest.raises(ConfigError, match=r"KERAS_BACKEND=numpy cannot train .* tensorflow, jax, torch"):
        prepare_backend()
