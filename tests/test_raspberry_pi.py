"""The example that watches a camera: one that is played here, and a video."""

import re
import sys
from types import ModuleType

import av
import numpy as np
import pytest

import bright_model
import raspberry_pi


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Finds a box in every image, scored by how bright it is."""
    return bright_model.write(tmp_path_factory.mktemp("model") / "model.onnx")


class Camera:
    """What picamera2 has of a camera, as far as the example uses it: frames of which each is brighter, then Ctrl-C."""

    def __init__(self):
        self.frames = iter([51, 153, 204])
        self.size = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        Camera.closed = True

    def create_video_configuration(self, main):
        assert main["format"] == "BGR888"
        return main

    def configure(self, configuration):
        self.size = configuration["size"]

    def start(self):
        assert self.size == (64, 48)

    def capture_array(self):
        for level in self.frames:
            return np.full([48, 64, 3], level, np.uint8)
        raise KeyboardInterrupt


def said(output):
    """Return the lines without their speeds."""
    return [re.sub(r"^\d+\.\d images/s: ", "", line) for line in output.splitlines()]


def test_the_own_camera(model, monkeypatch, capsys):
    module = ModuleType("picamera2")
    module.Picamera2 = Camera
    monkeypatch.setitem(sys.modules, "picamera2", module)
    raspberry_pi.main([str(model), "--size", "64", "48"])
    assert said(capsys.readouterr().out) == [
        "nothing", "class 1 0.60 at 0, 0", "class 1 0.80 at 0, 0", "stopped",
    ]  # fmt: skip
    assert Camera.closed


def test_a_video(model, tmp_path, capsys):
    path = tmp_path / "video.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for level in (0, 204):
            frame = av.VideoFrame.from_ndarray(np.full([48, 64, 3], level, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    raspberry_pi.main([str(model), "--camera", str(path)])
    dark, bright = said(capsys.readouterr().out)
    assert dark == "nothing"
    assert re.fullmatch(r"class 1 0\.[78]\d at 0, 0", bright)
