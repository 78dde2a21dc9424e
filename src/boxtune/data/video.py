"""Videos and cameras: their frames, upright, and videos made of images. FFmpeg reads them, by the package PyAV.

Only containers of videos are opened: a playlist, which FFmpeg would follow wherever it leads, is none.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from boxtune.data.files import require_files, whole_file
from boxtune.data.http import without_secrets
from boxtune.data.pixels import MAX_PIXELS
from boxtune.errors import ConfigError, DataError, printable

CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}"), "win32": ("dshow", "{}")}
"""By the platform: FFmpeg's format of cameras, and what it calls the camera of a number."""

_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpeg,mpegts,mpegvideo,asf,flv,ogg"
_STREAMS = "rtsp"
_CODECS = ("libx264", "libopenh264", "mpeg4")  # the first that is there
_TICKS = 90_000  # in a second, as usual in MPEG
_DEFAULT_RATE = 25


class Frame(NamedTuple):
    """A frame of a video."""

    number: int
    """From 0 on, of all frames of the video."""
    seconds: float
    """From the first frame on."""
    pixels: npt.NDArray[np.uint8]
    """[h, w, 3], upright."""


class Video:
    """A video that is open.

    Attributes:
        name: of it, for messages.
        num_frames: as far as it says it; None where it does not, as a camera.
        rate: frames in a second.
    """

    def __init__(self, name: str, container: Any) -> None:
        self.name, self._container = name, container
        self._stream = container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self.num_frames: int | None = self._stream.frames or None
        self.rate = Fraction(self._stream.average_rate or _DEFAULT_RATE).limit_denominator(1000)

    def frames(self, step: int = 1) -> Iterator[Frame]:
        """Yield every frame, or every `step`th.

        Raises:
            DataError: if one cannot be decoded or is too large.
        """
        import av

        size = self._stream.codec_context
        self._check_size(size.width, size.height)
        start = None
        number = -1
        try:
            for number, frame in enumerate(self._container.decode(self._stream)):
                self._check_size(frame.width, frame.height)
                seconds = float(frame.time if frame.time is not None else number / self.rate)
                start = seconds if start is None else start
                if number % step == 0:
                    pixels = frame.to_ndarray(format="rgb24")
                    upright = np.rot90(pixels, frame.rotation // 90)
                    yield Frame(number, seconds - start, np.ascontiguousarray(upright))
        except av.FFmpegError as error:
            where = f"behind frame {number}" if number >= 0 else "at its start"
            raise DataError(f"{self.name}: cannot be decoded {where}: {_reason(error)}.") from error
        if start is None:
            raise DataError(f"{self.name}: has no frames.")

    def _check_size(self, width: int, height: int) -> None:
        if width * height > MAX_PIXELS:
            raise DataError(
                f"{self.name}: its frames have {width} x {height} pixels; at most {MAX_PIXELS // 10**6} million are "
                "read."
            )


@contextmanager
def opened_video(name: str, content: Path | str) -> Iterator[Video]:
    """Open a video.

    Args:
        name: for messages.
        content: its file; its URL; or a camera: "camera:0", "camera:/dev/video1" or "camera:rtsp://...".

    Raises:
        ConfigError: if the package PyAV is not installed.
        DataError: if it cannot be opened, or is none.
    """
    av = _av()
    if isinstance(content, Path):
        require_files([content])
    source, options = _how_to_open(content)
    with ExitStack() as stack:
        try:
            container = stack.enter_context(av.open(source, **options))
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DataError(f"{name}: cannot be opened as a video: {_reason(error)}.") from error
        if not container.streams.video:
            raise DataError(f"{name}: has no images, only sound.")
        yield Video(name, container)


def _how_to_open(content: Path | str) -> tuple[str, dict[str, Any]]:
    """Return what FFmpeg opens, and its options."""
    if isinstance(content, Path):
        return f"file:{content}", {"options": {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}}
    timeouts = {"timeout": (20.0, 60.0)}
    if content.startswith("http"):
        protocols = "http,https,tcp,tls"
        limits = {"format_whitelist": _CONTAINERS, "protocol_whitelist": protocols}
        return content, timeouts | {"options": limits}
    device = content.partition(":")[2]
    if device.startswith(f"{_STREAMS}://"):
        limits = {"format_whitelist": _STREAMS, "protocol_whitelist": "rtsp,rtp,udp,tcp"}
        return device, timeouts | {"options": limits}
    name, pattern = CAMERAS.get(sys.platform, CAMERAS["linux"])
    return device if device and not device.isdecimal() else pattern.format(device or 0), {"format": name}


@contextmanager
def written_video(path: Path, rate: Fraction, size: tuple[int, int]) -> Iterator["VideoWriter"]:
    """Give a video to write frames to; it gets its name once it is whole.

    Args:
        path: of an MP4 file.
        rate: frames in a second, about; each frame has a time of its own.
        size: height and width of the frames in pixels; an odd last row or column is left out, as H.264 demands.

    Raises:
        ConfigError: if the package PyAV is not installed.
        DataError: if it cannot be written.
    """
    av = _av()
    with whole_file(path) as temporary:
        try:
            with av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}) as container:
                codec = next(name for name in _CODECS if name in av.codecs_available)
                stream = container.add_stream(codec, rate=rate)
                stream.height, stream.width = (max(side // 2 * 2, 2) for side in size)
                stream.pix_fmt = "yuv420p"
                stream.codec_context.time_base = Fraction(1, _TICKS)
                yield VideoWriter(container, stream)
                container.mux(stream.encode(None))
        except av.FFmpegError as error:
            raise DataError(f"{path} cannot be written: {_reason(error)}.") from error


class VideoWriter:
    """A video that is being written."""

    def __init__(self, container: Any, stream: Any) -> None:
        self._container, self._stream = container, stream
        self._last = -1

    def write(self, pixels: npt.NDArray[np.uint8], seconds: float) -> None:
        """Add a frame [h, w, 3], to be shown from so many seconds on, which is later than that before."""
        import av

        height, width = self._stream.height, self._stream.width
        padded = np.pad(
            pixels, ((0, max(height - len(pixels), 0)), (0, max(width - pixels.shape[1], 0)), (0, 0))
        )
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(padded[:height, :width]), format="rgb24")
        self._last = frame.pts = max(round(seconds * _TICKS), self._last + 1)
        frame.time_base = Fraction(1, _TICKS)
        self._container.mux(self._stream.encode(frame))


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise ConfigError('videos and cameras need the package PyAV: pip install "boxtune[video]"') from error
    av.logging.set_level(None)  # its errors say it
    return av


def _reason(error: Exception) -> str:
    """Say what FFmpeg says, without the name of the file, which may be a URL with secrets."""
    text = getattr(error, "strerror", None) or str(error)
    return printable(re.sub(r"\w+://\S+", lambda url: without_secrets(url.group()), text))
