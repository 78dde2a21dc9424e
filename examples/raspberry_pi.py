"""Watch a camera on a Raspberry Pi, and print what is in front of it.

    sudo apt install python3-picamera2
    python3 -m venv --system-site-packages .venv
    .venv/bin/pip install numpy pillow protobuf google-crc32c ai-edge-litert
    .venv/bin/pip install --no-deps boxtune-0.1.0-py3-none-any.whl    # of `make release`: no TensorFlow is needed here
    .venv/bin/python raspberry_pi.py model.tflite

The model is a file that `boxtune export` wrote, of TensorFlow Lite or, with onnxruntime in place of ai-edge-litert, of
ONNX. The camera is the Raspberry Pi's own, by picamera2, or with `--camera /dev/video0` one at USB, by PyAV (`pip
install av`).

Tried with a camera that a test plays, and with a video in place of /dev/video0; not on a Raspberry Pi.
"""

import argparse
import time
from collections.abc import Iterator

import numpy as np

import boxtune
from boxtune.load import Model


def main(arguments: list[str] | None = None) -> None:
    """Watch until this is interrupted, or the video ends."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument(
        "--camera", help="a device such as /dev/video0, or a video (the Raspberry Pi's own camera)"
    )
    parser.add_argument("--size", type=int, nargs=2, default=(640, 480), metavar=("WIDTH", "HEIGHT"))
    flags = parser.parse_args(arguments)
    model = boxtune.load(flags.model)
    frames = usb_camera(flags.camera) if flags.camera else own_camera(*flags.size)
    try:
        watch(model, frames)
    except KeyboardInterrupt:
        print("stopped")


def own_camera(width: int, height: int) -> Iterator[np.ndarray]:
    """Yield the frames of the Raspberry Pi's own camera, RGB uint8 [height, width, 3]."""
    from picamera2 import Picamera2

    with Picamera2() as camera:
        # The format is named after the order of bytes in a word: this one is RGB in an array.
        camera.configure(camera.create_video_configuration({"size": (width, height), "format": "BGR888"}))
        camera.start()
        while True:
            yield camera.capture_array()


def usb_camera(name: str) -> Iterator[np.ndarray]:
    """Yield the frames of a camera at USB, or of a video, RGB uint8 [height, width, 3]."""
    import av

    with av.open(name, format="v4l2" if name.startswith("/dev/") else None) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def watch(model: Model, frames: Iterator[np.ndarray]) -> None:
    """Print a line for each frame: how fast it was, and what is in it, by the thresholds of the model."""
    began = time.perf_counter()
    for frame in frames:  # not model.stream, which reads some ahead: they would be shown late
        found = model(frame)
        now = time.perf_counter()
        objects = ", ".join(f"{one.name} {one.score:.2f} at {one.xmin:.0f}, {one.ymin:.0f}" for one in found)
        print(f"{1 / (now - began):.1f} images/s: {objects or 'nothing'}", flush=True)
        began = now


if __name__ == "__main__":
    main()
