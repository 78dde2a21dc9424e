"""OpenVINO's IR: it finds what the checkpoint finds, in three precisions, says what it is, and fails in one line."""

import contextlib
import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from boxtune import models
from boxtune.benchmarking.networks import network_of
from boxtune.errors import BoxtuneError, CheckpointError, ConfigError
from boxtune.evaluation.thresholds import ClassThreshold, Thresholds
from boxtune.export import export
from boxtune.exporting import openvino
from boxtune.exporting.about import About
from boxtune.load import load
from boxtune.runtimes import openvino as runtime
from boxtune.runtimes.openvino import OpenVINOModel, quiet_openvino
from several_boxes import Several

pytestmark = [pytest.mark.thorough, pytest.mark.usefixtures("graphs_as_traced")]

PRECISIONS = ["float32", "float16", "int8"]
NAMES = ["model.xml", "model_float16.xml", "model_int8.xml"]


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """What an export to all precisions writes, of a detector with suppression."""
    folder = tmp_path_factory.mktemp("openvino")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(models, "build", lambda section, options=None: Several())
        export(
            *(run / "pipeline.config", run / "checkpoint", folder),
            formats=["saved_model", "openvino"],
            precisions=PRECISIONS,
            calibration_images=2,
        )
    return folder


def images():
    rng = np.random.default_rng(3)
    return [
        rng.integers(0, 256, [height, width, 3], np.uint8) for height, width in ((5, 9), (40, 20), (16, 16))
    ]


@pytest.mark.parametrize(("name", "within"), [*zip(NAMES, [1e-5, 2e-3, 0.1], strict=True)])
def test_it_finds_what_the_saved_model_finds(exported, name, within):
    for found, expected in zip(
        load(exported / name)(images(), min_score=0.02), load(exported)(images(), min_score=0.02), strict=True
    ):
        assert len(expected) > 0
        assert found.names == expected.names
        np.testing.assert_allclose(found.scores, expected.scores, atol=within)
        np.testing.assert_allclose(found.boxes / 40, expected.boxes / 40, atol=within)


def test_every_precision_is_compared(exported):
    compared = json.loads((exported / "parity.json").read_text())
    assert [(one["file"], one["precision"]) for one in compared] == [
        ("saved_model", "float32"),
        *zip(NAMES, PRECISIONS, strict=True),
    ]
    assert all(one["matched"] == one["detections"] > 0 for one in compared)


def test_several_images_at_once_are_as_one_by_one(exported):
    model = OpenVINOModel(exported / "model.xml")
    batch = np.stack([images()[1], images()[1][::-1]])
    together, apart = model(batch), [model(image[None]) for image in batch]
    for name, values in together.items():
        np.testing.assert_allclose(values, np.concatenate([one[name] for one in apart]), atol=1e-6)


def test_its_network_alone_is_what_it_chooses_among(exported):
    model, image = OpenVINOModel(exported / "model.xml"), images()[1][None]
    boxes, scores = network_of(model, None)(image).values()
    assert (boxes.shape, scores.shape) == ((1, 3, 4), (1, 4, 3))
    assert scores.max() == pytest.approx(model(image)["detection_scores"][0, 0], abs=1e-6)


def test_models_that_are_gone_leave_signals_alone(exported):
    code = """
import os, signal, sys
from pathlib import Path
from boxtune.runtimes.openvino import OpenVINOModel
first, second = OpenVINOModel(Path(sys.argv[1])), OpenVINOModel(Path(sys.argv[1]))
del first
del second
signal.signal(signal.SIGTERM, lambda *_: print("noted"))
os.kill(os.getpid(), signal.SIGTERM)
"""
    # With a stack for signals, as anyone may have set one: here Python's own.
    command = [sys.executable, "-X", "faulthandler", "-c", code, str(exported / "model.xml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "noted\n"), done.stderr


def test_nothing_is_sent_over_the_network():
    """What OpenVINO does when it is imported, and nncf when it is called, unless it is kept from it."""
    code = "from boxtune.exporting.openvino import require_openvino; require_openvino(); import openvino_telemetry"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "import of openvino_telemetry halted" in done.stderr


def test_it_says_what_it_is(exported, run, tmp_path, several):
    model = OpenVINOModel(exported / "model_int8.xml")
    assert [label.name for label in model.label_map.labels] == ["ball"]
    assert model.score_floor == pytest.approx(1e-8)
    assert model.thresholds is None
    kept = About(None, Thresholds(7, 2, 0.0, (ClassThreshold(3, "ball", 0.25, 1.0, 1.0),))).metadata()
    kept["boxtune.classes"] = '[{"id": 3, "name": "a <b> & \\"c\\" \\u00e9", "display_name": ""}]'
    from boxtune.exporting import onnx

    onnx.write(tmp_path / "a.onnx", Several(), _section(run), About(None, None))
    openvino.write(tmp_path / "a.xml", tmp_path / "a.onnx", kept, "float32")
    again = OpenVINOModel(tmp_path / "a.xml")
    assert [(label.id, label.name) for label in again.label_map.labels] == [(3, 'a <b> & "c" é')]
    assert json.loads(again.thresholds)["classes"][0]["min_score"] == 0.25


def _section(run):
    from boxtune import config

    return config.load(run / "pipeline.config").model


class TestRefusals:
    @pytest.mark.parametrize(
        ("suffix", "content"),
        [
            (".xml", b""),
            (".xml", b"<net"),
            (".xml", b'<?xml version="1.0"?><net name="a" version="11"><layers/><edges/></net>'),
            (".bin", b""),
            (".bin", b"\x00" * 100),
        ],
    )
    def test_damaged_files(self, exported, tmp_path, suffix, content):
        for one in (".xml", ".bin"):
            shutil.copyfile(exported / f"model{one}", tmp_path / f"m{one}")
        (tmp_path / f"m{suffix}").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"m\.xml: ") as caught:
            load(tmp_path / "m.xml")
        assert "Exception from" not in str(caught.value)

    def test_without_its_weights(self, exported, tmp_path):
        shutil.copyfile(exported / "model.xml", tmp_path / "m.xml")
        with pytest.raises(CheckpointError, match=r"m\.xml: its weights, m\.bin, are not beside it"):
            load(tmp_path / "m.xml")

    def test_another_model(self, exported, tmp_path):
        import openvino as ov
        from openvino import opset13

        given = opset13.parameter([1, 3, 4, 4], np.float32, name="image")
        ov.save_model(ov.Model([opset13.relu(given)], [given]), str(tmp_path / "m.xml"))
        with pytest.raises(CheckpointError, match=r"takes f32 of 4 dimensions, not images uint8"):
            load(tmp_path / "m.xml")

    @pytest.mark.parametrize("name", ["openvino", "nncf", "tf2onnx"])
    def test_without_the_extra(self, run, tmp_path, monkeypatch, name):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ConfigError, match=rf"^the format openvino needs {name}, .*\[openvino\]"):
            export(run / "pipeline.config", run / "checkpoint", tmp_path, formats=["openvino"])

    def test_running_without_openvino(self, exported, monkeypatch):
        monkeypatch.setitem(sys.modules, "openvino", None)
        monkeypatch.setattr(runtime, "openvino_core", quiet_openvino)  # which is kept
        with pytest.raises(ConfigError, match=r"model\.xml: OpenVINO's IR needs openvino"):
            load(exported / "model.xml")

    def test_int8_without_images(self, run, several, tmp_path):
        gone = ['train_input_reader.tf_record_input_reader={input_path: "gone"}']
        with pytest.raises(
            BoxtuneError, match=r"int8 is calibrated on the records for training: .*no file matches"
        ):
            export(
                *(run / "pipeline.config", run / "checkpoint", tmp_path),
                formats=["openvino"], precisions=["int8"], overrides=gone,
            )  # fmt: skip
        assert not any(tmp_path.iterdir())

    def test_a_precision_that_no_format_has(self, run, tmp_path):
        with pytest.raises(
            ConfigError, match="--precision int8: none of saved_model, onnx has it, but tflite, openvino"
        ):
            export(
                *(run / "pipeline.config", run / "checkpoint", tmp_path),
                formats=["saved_model", "onnx"],
                precisions=["int8"],
            )
