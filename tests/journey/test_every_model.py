"""Every type of model lives a whole life: trained, killed, resumed, measured, exported, used, and started from."""

import json
import re

import keras
import numpy as np
import pytest

from boxtune import cli, config, models
from boxtune.config.families import recipe_names
from boxtune.exporting import formats
from boxtune.training import checkpoints
from boxtune.training.checkpoint_manager import CheckpointManager
from boxtune.training.warm_start import warm_start

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

STEPS, EVERY = 4, 2
SIDE = 128
TIMES = {"time", "images_per_sec", "seconds"}
SHARED_HEADS, OWN_HEADS = "ssd_efficientnet-b0_bifpn_keras", "ssd_mobilenet_v2_keras"
"""Of a pyramid, or for each map; the journey takes ssd_mobilenet_v2_fpn_keras through all its steps."""


def each_model(*often: str):
    """Run a test of every model: of those `often` with `make test-thorough`, of the others with `make test-golden`."""
    names = [
        pytest.param(name, marks=pytest.mark.thorough if name in often else pytest.mark.large)
        for name in recipe_names()
    ]
    return pytest.mark.parametrize("project", names, indirect=True, scope="module")


def boxtune(*arguments):
    assert cli.main([str(argument) for argument in arguments]) == 0


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "photos"
    boxtune("draw", folder, "--num_images", 8)
    boxtune("convert", folder, "--output_dir", folder.parent / "records")
    return folder


@pytest.fixture(scope="module")
def project(request, photos, tmp_path_factory):
    """A folder with the configuration of a small detector that averages its weights and freezes some."""
    folder = tmp_path_factory.mktemp(request.param)
    pipeline = folder / "pipeline.config"
    boxtune(
        *("config", photos.parent / "records", "--output", pipeline, "--model", request.param),
        *("--num_steps", STEPS, "--batch_size", 2),
        *("--set", f"model.image_resizer={{ fixed_shape_resizer {{ height: {SIDE} width: {SIDE} }} }}"),
        *("--set", "train_config.optimizer.use_moving_average=true"),
        *("--set", "eval_config.use_moving_averages=true"),
        *("--set", f"train_config.freeze_variables={re.escape(backbone_key(request.param))}$"),
    )
    return folder


def backbone_key(name):
    """Return the key of the first variable of a backbone."""
    return next(iter(built(config.recipe(name)).trained_variables()))


def built(pipeline, num_classes=4, seed=0):
    keras.utils.set_random_seed(seed)
    section = pipeline.model
    config.family_of(section).set_num_classes(section, num_classes)
    config.apply_override(
        pipeline, f"model.image_resizer={{ fixed_shape_resizer {{ height: {SIDE} width: {SIDE} }} }}"
    )
    return models.build(section)


def training(folder, name):
    return [
        *(
            "train",
            "--pipeline_config_path",
            str(folder / "pipeline.config"),
            "--model_dir",
            str(folder / name),
        ),
        *("--checkpoint_every_n", str(EVERY), "--evaluate_every_n", str(STEPS)),
    ]


@pytest.fixture(scope="module")
def whole(project):
    boxtune(*training(project, "whole"))
    return project / "whole"


class Killed(BaseException):
    """Ends a run at once."""


def save_and_die(manager, save=CheckpointManager.save):
    save(manager)
    raise Killed


def journal(model_dir):
    lines = map(json.loads, (model_dir / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]


def stored(model_dir, step=STEPS):
    number = step // EVERY
    reader = checkpoints.Reader(str(model_dir / f"ckpt-{number}"))
    return {key: reader[key] for key in reader.shapes}


@each_model(SHARED_HEADS)
def test_killed_and_resumed_it_is_the_same_to_the_bit(project, whole, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointManager, "save", save_and_die)
        with pytest.raises(Killed):
            cli.main(training(project, "killed"))
    assert checkpoints.step_of(checkpoints.find(project / "killed")) == EVERY
    boxtune(*training(project, "killed"))
    assert journal(project / "killed") == journal(whole)
    kept, again = stored(whole), stored(project / "killed")
    assert kept.keys() == again.keys()
    for key, value in kept.items():
        np.testing.assert_array_equal(value, again[key], err_msg=key)


@each_model(SHARED_HEADS)
def test_what_is_frozen_does_not_change_and_the_rest_does(project, whole):
    name = config.load(project / "pipeline.config").model.ssd.feature_extractor.type
    key = backbone_key(name)
    before, after = stored(whole, EVERY), stored(whole)
    np.testing.assert_array_equal(before[key], after[key])
    changed = [
        key for key in after if key.startswith("model/") and not np.array_equal(before[key], after[key])
    ]
    assert len(changed) > len([key for key in after if key.startswith("model/")]) / 2


@each_model(SHARED_HEADS, OWN_HEADS)
def test_it_is_measured_exported_and_used(project, whole, photos):
    boxtune("evaluate", "--model_dir", whole, "--output_dir", project / "measured")
    boxtune(
        *("export", "--model_dir", whole, "--output_dir", project / "exported"),
        *("--format", ",".join(formats.FORMATS)),
    )
    compared = json.loads((project / "exported" / "parity.json").read_text())
    assert len(compared) == len(formats.FORMATS)
    assert all(one["matched"] == one["detections"] or one["by_ties"] for one in compared)
    boxtune("evaluate", "--saved_model", project / "exported", "--data", photos.parent / "records",
            "--output_dir", project / "again")  # fmt: skip
    figures = [
        json.loads((folder / "evaluation.json").read_text())["metrics"]
        for folder in (whole, project / "measured", project / "again")
    ]
    assert figures[1] == pytest.approx(figures[0], abs=1e-5)
    assert figures[2] == pytest.approx(figures[0], abs=1e-5)
    boxtune("predict", project / "exported", photos / "images", "--output_dir", project / "drawn",
            "--min_score", 0)  # fmt: skip
    assert len(json.loads((project / "drawn" / "detections.json").read_text())) == 8
    page = project / "check.html"
    boxtune("check", photos, "--pipeline_config_path", project / "pipeline.config", "--page", page)
    assert "anchors" in page.read_text()


@each_model(SHARED_HEADS)
def test_another_starts_from_it(project, whole):
    values = stored(whole)
    for fine_tune_type in ("classification", "detection", "all_but_classes", "full"):
        other = built(config.load(project / "pipeline.config"), seed=1)
        loaded = warm_start(other, str(whole), fine_tune_type).loaded
        parts = other.restore_map(fine_tune_type)
        covered = {prefix + key for prefix, part in parts.items() for key in part}
        assert set(loaded) == covered
        for key, variable in other.checkpoint_variables().items():
            same = np.array_equal(variable, values[key])
            assert same or key not in covered


@each_model(SHARED_HEADS)
def test_it_starts_from_a_classification_network(project, tmp_path):
    source, other = (built(config.load(project / "pipeline.config"), seed=seed) for seed in (0, 1))
    backbone = {
        key: value for part in source.restore_map("classification").values() for key, value in part.items()
    }
    bare = {f"feature_extractor/{key}": value for key, value in backbone.items()}
    checkpoints.tree(bare).write(str(tmp_path / "ckpt-1"))
    assert len(warm_start(other, str(tmp_path / "ckpt-1"), "classification").loaded) == len(backbone)
    for part in other.restore_map("classification").values():
        for key, variable in part.items():
            np.testing.assert_array_equal(variable, backbone[key])
