"""From Python, too, TensorFlow is loaded without complaints of a GPU that is not there."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import patience
from boxtune.backends import _NVIDIA_DEVICES
from boxtune.data.label_map import LabelMap, write_label_map

pytestmark = pytest.mark.skipif(
    any(map(os.path.exists, _NVIDIA_DEVICES)), reason="here is a GPU, about which TensorFlow says something"
)


class _Finder(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8)])
    def find(self, images):
        return {
            "num_detections": tf.constant([1.0]),
            "detection_boxes": tf.constant([[[0.0, 0.0, 0.5, 0.5]]]),
            "detection_classes": tf.constant([[1.0]]),
            "detection_scores": tf.constant([[0.9]]),
        }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An exported model, and an image."""
    folder = tmp_path_factory.mktemp("quiet")
    finder = _Finder()
    tf.saved_model.save(finder, str(folder / "model" / "saved_model"), {"serving_default": finder.find})
    write_label_map(LabelMap.from_names(["cat"]), folder / "model" / "label_map.pbtxt")
    Image.fromarray(np.zeros((20, 40, 3), np.uint8)).save(folder / "a.png")
    return folder


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("from boxtune import evaluate; boxtune.retrain", marks=pytest.mark.thorough),
        "print(boxtune.load('model')('a.png'))",
        pytest.param("boxtune.predict('model', 'a.png', 'drawn')", marks=pytest.mark.thorough),
    ],
)
def test_nothing_is_said_of_devices(folder, code):
    told_nothing = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-c", f"import boxtune; {code}"]
    done = subprocess.run(
        command, cwd=folder, env=told_nothing, capture_output=True, text=True, timeout=patience.SECONDS
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_program_says_itself_is_heard(folder):
    code = "import boxtune, sys; boxtune.check; print('heard', file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=patience.SECONDS
    )
    assert (done.returncode, done.stderr) == (0, "heard\n")


def test_a_program_without_standard_error_loads_as_any_other(folder):
    code = "import os, sys; os.close(2); sys.stderr = None; import boxtune; print(boxtune.check.__name__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=patience.SECONDS
    )
    assert (done.returncode, done.stdout) == (0, "check\n")
