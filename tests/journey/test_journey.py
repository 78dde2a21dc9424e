"""The whole way: photographs, records, warm start, training, a kill, going on, evaluation, export, same detections."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import patience
from boxtune import cli, config, models
from boxtune.data.resize import resizer
from boxtune.training import checkpoints
from boxtune.training.checkpoints import Reader, find

SMALL = [
    "--set", "model.ssd.image_resizer.fixed_shape_resizer={height: 96 width: 96}",
    "--set", "model.ssd.feature_extractor.depth_multiplier=0.35",
    "--set", "model.ssd.box_predictor.weight_shared_convolutional_box_predictor.num_layers_before_predictor=1",
]  # fmt: skip
STEPS, CHECKPOINT_EVERY = 24, 4


def boxtune(*arguments):
    """Run the command line in this process and return what it printed."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert cli.main(list(map(str, arguments))) == 0
    return output.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("journey")


@pytest.fixture(scope="module")
def photos(folder):
    boxtune("draw", folder / "photos", "--num_images", 30)
    return folder / "photos"


@pytest.fixture(scope="module")
def donor(folder, photos):
    """A detector to start from, laid out like a zoo download."""
    boxtune("retrain", photos, "--model_dir", folder / "donor", "--num_steps", 2, *SMALL)
    return folder / "donor" / "exported"


@pytest.fixture(scope="module")
def pipeline_config(folder, photos, donor):
    boxtune("convert", photos, "--output_dir", folder / "records")
    path = folder / "pipeline.config"
    boxtune("config", folder / "records", "--output", path, "--checkpoint", donor, "--num_steps", STEPS,
            "--batch_size", 4)  # fmt: skip
    return path


def training(pipeline_config, model_dir):
    return [
        "train", "--pipeline_config_path", str(pipeline_config), "--model_dir", str(model_dir),
        "--checkpoint_every_n", str(CHECKPOINT_EVERY), "--evaluate_every_n", "0",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(folder, pipeline_config):
    model_dir = folder / "whole"
    return model_dir, boxtune(*training(pipeline_config, model_dir))


@pytest.fixture(scope="module")
def resumed(folder, pipeline_config):
    """A run that is killed after its second checkpoint and started again with the same command."""
    model_dir = folder / "killed"
    command = [sys.executable, "-m", "boxtune", *training(pipeline_config, model_dir)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    patience.wait_until(lambda: (model_dir / "ckpt-2.index").exists() or process.poll() is not None)
    assert process.poll() is None, process.stderr.read().decode()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (model_dir / "evaluation.json").exists()
    return model_dir, boxtune(*training(pipeline_config, model_dir))


def test_the_warm_start_is_reported(uninterrupted):
    _, output = uninterrupted
    assert "Warm start: 318 variables" in output  # the layers of the classes, too: they are the same
    assert "start anew" not in output


def journal(model_dir):
    """Return what a journal says, without how long it took."""
    times = {"time", "images_per_sec", "seconds"}
    lines = map(json.loads, (model_dir / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name not in times} for line in lines]


@pytest.mark.thorough
def test_a_killed_run_resumes_and_makes_the_steps_of_an_uninterrupted_one(uninterrupted, resumed):
    assert "Resuming from step" in resumed[1]
    assert journal(uninterrupted[0]) == journal(resumed[0])
    assert [line["step"] for line in journal(resumed[0])] == [*range(1, STEPS + 1), STEPS]
    whole, killed = (Reader(find(model_dir)) for model_dir, _ in (uninterrupted, resumed))
    assert whole.shapes == killed.shapes
    for key in whole.shapes:
        np.testing.assert_array_equal(whole[key], killed[key], err_msg=key)


def test_the_same_command_again_says_that_it_is_done(uninterrupted, pipeline_config):
    output = boxtune(*training(pipeline_config, uninterrupted[0]))
    assert f"{STEPS} of {STEPS} steps have been made already" in output


def test_evaluation_by_command_gives_the_numbers_of_the_training(uninterrupted, folder):
    model_dir, _ = uninterrupted
    trained = json.loads((model_dir / "evaluation.json").read_text())
    boxtune("evaluate", "--model_dir", model_dir, "--output_dir", folder / "measured")
    measured = json.loads((folder / "measured" / "evaluation.json").read_text())
    assert measured["num_images"] == 6  # a fifth of thirty
    for part in ("metrics", "losses"):
        assert measured[part] == pytest.approx(trained[part], abs=2e-6)


def test_the_exported_model_has_the_detections_of_the_checkpoint(uninterrupted, folder, photos):
    model_dir, _ = uninterrupted
    exported = folder / "exported"
    boxtune("export", "--model_dir", model_dir, "--output_dir", exported)
    image = np.asarray(Image.open(sorted((photos / "images").glob("*.jpg"))[0]))

    pipeline = config.load(exported / "pipeline.config")
    detector = models.build(pipeline.model)
    checkpoints.load(detector.checkpoint_variables(), checkpoints.find(exported))
    resized = resizer(models.image_resizer(pipeline.model))(image.astype(np.float32))
    inputs = {"images": resized.image[None], "sizes": resized.size[None]}
    expected = detector.detect(inputs, detector(inputs, training=False))

    detect = tf.saved_model.load(str(exported / "saved_model"))
    found = detect(tf.convert_to_tensor(image)[tf.newaxis, ...])
    assert {name: list(part.shape) for name, part in found.items() if "raw" not in name} == {
        "num_detections": [1],
        "detection_boxes": [1, 100, 4],
        "detection_scores": [1, 100],
        "detection_classes": [1, 100],
        "detection_anchor_indices": [1, 100],
        "detection_multiclass_scores": [1, 100, 5],
    }
    np.testing.assert_allclose(found["detection_scores"], expected.scores, atol=1e-6)
    np.testing.assert_allclose(found["detection_boxes"], expected.boxes, atol=1e-5)
    np.testing.assert_array_equal(found["detection_classes"], np.asarray(expected.classes) + 1)
    np.testing.assert_array_equal(found["num_detections"], expected.count)


def test_images_are_drawn(uninterrupted, folder, photos, donor):
    output = boxtune("predict", donor, photos / "images", "--output_dir", folder / "drawn", "--min_score", 0)
    assert "in 30 images" in output
    found = json.loads((folder / "drawn" / "detections.json").read_text())
    assert len({one["drawn"] for one in found}) == 30
    assert all((folder / "drawn" / one["drawn"]).is_file() for one in found)


def test_retrain_leaves_figures_and_an_export(donor):
    model_dir = donor.parent
    figures = json.loads((model_dir / "results.json").read_text())
    assert -1 <= figures["mAP"] <= figures["AP50"] <= 1
    best = json.loads((model_dir / "best" / "best.json").read_text())
    assert (figures["step"], figures["metrics"]) == (best["step"], best["values"])
    exported, kept = (Reader(find(path)) for path in (donor, model_dir / "best"))
    for key in exported.shapes:
        if key.startswith("model/"):
            np.testing.assert_array_equal(exported[key], kept[key], err_msg=key)
    assert {path.name for path in donor.iterdir()} == {
        "saved_model", "checkpoint", "pipeline.config", "label_map.pbtxt", "thresholds.json",
        "parity.json",
    }  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize("verb", ["model_main_tf2", "exporter_main_v2"])
def test_the_api_command_lines(verb, uninterrupted, folder, pipeline_config):
    model_dir, _ = uninterrupted
    config_flag = f"--pipeline_config_path={pipeline_config}"
    if verb == "model_main_tf2":
        flags = [
            config_flag,
            f"--model_dir={folder / 'api'}",
            f"--checkpoint_dir={model_dir}",
            "--alsologtostderr",
        ]
        expected = folder / "api" / "evaluation.json"
    else:
        flags = [
            config_flag,
            f"--trained_checkpoint_dir={model_dir}",
            f"--output_directory={folder / 'api-export'}",
        ]
        expected = folder / "api-export" / "saved_model" / "saved_model.pb"
    done = subprocess.run(
        [sys.executable, "-m", f"object_detection.{verb}", *flags],
        capture_output=True,
        text=True,
        timeout=patience.SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert expected.is_file()
