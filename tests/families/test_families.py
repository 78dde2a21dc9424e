"""Two families that live here alone go through every verb: each is its own files, and a line of the registry."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import patience
from boxtune import cli, config, models
from boxtune.config import families
from boxtune.convert import convert
from boxtune.draw import draw
from boxtune.errors import ConfigError
from boxtune.exporting import formats
from boxtune.training import checkpoints
from families import run
from families.center_points import CenterPoints
from families.object_queries import ObjectQueries

pytestmark = pytest.mark.thorough

NUM_STEPS = 60

CANNOT_EXPRESS = {
    ("object_queries", "openvino"): "Loop",
    ("object_queries", "tflite"): "the input of such a file has a fixed size",
}
"""Why there is no file of a family in a format: what its runtime does not have. Nothing else may be refused."""


def boxtune(*arguments):
    assert cli.main([str(argument) for argument in arguments]) == 0


@pytest.fixture(scope="module", autouse=True)
def registered():
    """The families, for the tests of this module alone."""
    ours = [CenterPoints(), ObjectQueries()]
    for family in ours:
        families.register(family)
    yield
    for family in ours:
        del families.FAMILIES[family.name]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Drawn images, of three sizes."""
    folder = tmp_path_factory.mktemp("families") / "photos"
    draw(folder, num_images=12)
    for number, path in enumerate(sorted((folder / "images").glob("*.jpg"))):
        image = Image.open(path)
        divisor = 2 + number % 3
        size = image.width // divisor, image.height // divisor
        image.resize(size).save(path)
        annotation = folder / "annotations" / f"{path.stem}.xml"
        annotation.write_text(_smaller(annotation.read_text(), divisor))
    return folder


def _smaller(text, divisor):
    lines = []
    for line in text.splitlines():
        for tag in ("xmin", "ymin", "xmax", "ymax", "width", "height"):
            if f"<{tag}>" in line:
                number = int(float(line.partition(f"<{tag}>")[2].partition("<")[0]))
                line = f"<{tag}>{number // divisor}</{tag}>"
        lines.append(line)
    return "\n".join(lines)


@pytest.fixture(scope="module", params=["center_points", "object_queries"])
def trained(request, photos, tmp_path_factory):
    """The folder of a training without interruption, with its configuration beside it."""
    folder = tmp_path_factory.mktemp(request.param)
    convert(photos, folder / "records")
    boxtune(
        *("config", folder / "records", "--output", folder / "pipeline.config"),
        *("--model", request.param, "--num_steps", NUM_STEPS, "--batch_size", 2),
    )
    train(folder, "whole")
    return folder


def arguments(folder, name):
    common = ("--pipeline_config_path", folder / "pipeline.config", "--model_dir", folder / name)
    return ("train", *common, "--checkpoint_every_n", 10, "--evaluate_every_n", 40)


def train(folder, name):
    boxtune(*arguments(folder, name))


def journal(model_dir):
    lines = (json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines())
    return [
        {
            key: value
            for key, value in line.items()
            if key.startswith(("step", "Loss", "Detection", "learning"))
        }
        | {"steps_per_sec": None}
        for line in lines
    ]


def test_killed_and_resumed_it_is_the_same_to_the_bit(trained):
    command = [sys.executable, str(Path(run.__file__)), *map(str, arguments(trained, "killed"))]
    paths = os.pathsep.join([str(Path(__file__).parent.parent), str(Path(cli.__file__).parent.parent)])
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths}, stdout=subprocess.DEVNULL)
    written = trained / "killed" / "metrics.jsonl"

    def are_made():
        assert process.poll() is None
        return written.exists() and written.read_bytes().count(b"\n") >= 25

    patience.wait_until(are_made)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed_at = checkpoints.step_of(checkpoints.find(trained / "killed"))
    assert 10 <= killed_at < NUM_STEPS

    train(trained, "killed")
    assert journal(trained / "killed") == journal(trained / "whole")
    whole, resumed = (checkpoints.Reader(checkpoints.find(trained / name)) for name in ("whole", "killed"))
    assert whole.shapes == resumed.shapes
    for key in whole.shapes.keys() - {"save_counter"}:
        np.testing.assert_array_equal(whole[key], resumed[key], err_msg=key)


def test_no_gradient_is_a_sum_of_more_than_two(trained):
    # TensorFlow adds two in any order to the same, but not three: it starts with any that it may overwrite.
    detector = models.build(config.load(trained / "pipeline.config").model)
    inputs = {
        "images": tf.random.uniform([2, 64, 64, 3], 0, 255),
        "sizes": tf.constant([[64, 64], [40, 64]]),
        "groundtruth": {
            "boxes": tf.constant([[[0.1, 0.1, 0.5, 0.5]] * 3] * 2),
            "classes": tf.constant([[1, 2, 0]] * 2),
            "weights": tf.ones([2, 3]),
            "valid": tf.constant([[True, True, False]] * 2),
        },
    }

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            total = detector.compute_loss(inputs, y_pred=detector(inputs, training=True))
        return tape.gradient(total, [one.value for one in detector.trainable_variables])

    operations = gradients.get_concrete_function().graph.get_operations()
    assert not [op.name for op in operations if op.type == "AddN" and len(op.inputs) > 2]


def test_a_checkpoint_keeps_every_variable_of_model_and_optimizer(trained):
    detector = models.build(config.load(trained / "pipeline.config").model)
    reader = checkpoints.Reader(checkpoints.find(trained / "whole"))
    stored = {key for key in reader.shapes if key.startswith("model/")}
    assert stored == set(detector.checkpoint_variables())
    assert len(stored) == len(detector.weights)
    momenta = {key for key in reader.shapes if key.startswith("optimizer/sgd/model/")}
    assert len(momenta) == len(detector.trainable_variables)


@pytest.fixture(scope="module")
def exported(trained):
    boxtune("export", "--model_dir", trained / "whole", "--output_dir", trained / "exported")
    return trained / "exported"


@pytest.mark.parametrize("form", formats.FORMATS)
def test_it_is_exported_to_every_format(trained, tmp_path, capsys, form):
    name = config.family_of(config.load(trained / "pipeline.config").model).name
    arguments = ["export", "--model_dir", trained / "whole", "--output_dir", tmp_path, "--format", form]
    status = cli.main([str(argument) for argument in arguments])
    if (name, form) in CANNOT_EXPRESS:
        assert status == cli.USER_ERROR
        assert CANNOT_EXPRESS[name, form] in capsys.readouterr().err
        return
    assert status == 0
    (compared,) = json.loads((tmp_path / "parity.json").read_text())
    assert compared["matched"] == compared["detections"] > 0 or compared["by_ties"]


def test_the_other_verbs(trained, exported, photos, capsys):
    boxtune("evaluate", "--model_dir", trained / "whole", "--output_dir", trained / "measured")
    boxtune(
        *("predict", exported, photos / "images", "--output_dir", trained / "drawn"),
        *("--min_score", 0.01),
    )
    assert len(json.loads((trained / "drawn" / "detections.json").read_text())) == 12
    pipeline = ("--pipeline_config_path", trained / "pipeline.config")
    boxtune("lr-range", *pipeline, "--output_dir", trained / "range", "--num_steps", 30)
    boxtune("check", photos, "--page", trained / "check.html", *pipeline)
    assert "no anchors" in capsys.readouterr().out

    # The exported model finds what the checkpoint finds, which evaluation measures.
    boxtune(
        *("evaluate", "--saved_model", exported, "--data", trained / "records"),
        *("--output_dir", trained / "again"),
    )
    measured, again = (
        json.loads((trained / name / "evaluation.json").read_text())["metrics"]
        for name in ("measured", "again")
    )
    assert again == pytest.approx(measured, abs=1e-5)


def test_detections_besides_boxes_are_exported(trained, exported, photos):
    image = np.asarray(Image.open(next((photos / "images").glob("*.jpg"))))
    found = tf.saved_model.load(str(exported / "saved_model"))(tf.constant(image[None]))
    shapes = {name: list(part.shape) for name, part in found.items()}
    expected = {
        "center_points": {
            "num_detections": [1],
            "detection_boxes": [1, 10, 4],
            "detection_classes": [1, 10],
            "detection_scores": [1, 10],
        },
        "object_queries": {
            "num_detections": [1],
            "detection_boxes": [1, 6, 4],
            "detection_classes": [1, 6],
            "detection_scores": [1, 6],
            "detection_masks": [1, 6, 4, 4],
            "detection_keypoints": [1, 6, 2, 2],
            "detection_keypoint_scores": [1, 6, 2],
        },
    }
    family = config.family_of(config.load(trained / "pipeline.config").model)
    assert shapes == expected[family.name]


def test_what_it_does_not_detect_cannot_be_measured(trained, capsys):
    family = config.family_of(config.load(trained / "pipeline.config").model)
    arguments = ["evaluate", "--model_dir", str(trained / "whole"), "--metrics_set", "coco_mask_metrics"]
    assert cli.main(arguments) == cli.USER_ERROR
    message = capsys.readouterr().err
    if family.name == "object_queries":
        assert "none of 7 objects has a mask" in message  # of the records: it would be measured
    else:
        assert "this model finds boxes" in message


def test_an_unknown_experimental_model_is_told_from_a_known_one():
    model = config.recipe("center_points").model
    model.experimental_model.name = "center_point"
    with pytest.raises(ConfigError, match=r'the family "center_point" yet.*Did you mean "center_points"'):
        models.build(model)
