"""Frames of videos, real ones that are encoded here, and of a camera that FFmpeg makes up."""

import struct
import sys
from fractions import Fraction

import numpy as np
import pytest

from boxtune.data import video
from boxtune.data.video import opened_video, written_video
from boxtune.errors import ConfigError, DataError

HEIGHT, WIDTH = 48, 64
GREYS = (0, 60, 120, 180, 240)
IDENTITY = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
QUARTER_TURN = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Five frames, ten in a second, of growing brightness; their left half is black."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with written_video(path, Fraction(10), (HEIGHT, WIDTH)) as writer:
        for number, grey in enumerate(GREYS):
            frame = np.full((HEIGHT, WIDTH, 3), grey, np.uint8)
            frame[:, : WIDTH // 2] = 0
            writer.write(frame, number / 10)
    return path


def frames(content, step=1):
    with opened_video("it", content) as opened:
        return list(opened.frames(step))


def test_frames_come_back_with_their_times(film):
    found = frames(film)
    assert [frame.number for frame in found] == [0, 1, 2, 3, 4]
    assert [frame.seconds for frame in found] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    for frame, grey in zip(found, GREYS, strict=True):
        assert frame.pixels.shape == (HEIGHT, WIDTH, 3)
        assert frame.pixels[:, 40:].mean() == pytest.approx(grey, abs=6)  # H.264 keeps about that
        assert frame.pixels[:, :24].mean() == pytest.approx(0, abs=6)


def test_every_second_frame(film):
    assert [(frame.number, round(frame.seconds, 3)) for frame in frames(film, 2)] == [
        (0, 0),
        (2, 0.2),
        (4, 0.4),
    ]


def test_a_film_of_a_phone_is_turned_upright(film, tmp_path):
    data = film.read_bytes()
    assert data.count(IDENTITY) == 2  # of the film and of its track, which counts
    place = data.rindex(IDENTITY)
    (tmp_path / "turned.mp4").write_bytes(data[:place] + QUARTER_TURN + data[place + len(IDENTITY) :])
    last = frames(tmp_path / "turned.mp4")[-1].pixels
    # Turned clockwise by a quarter: what was left is above.
    assert last.shape == (WIDTH, HEIGHT, 3)
    assert last[:24].mean() < 10 < 200 < last[40:].mean()


def test_an_odd_row_and_column_are_left_out(tmp_path):
    with written_video(tmp_path / "odd.mp4", Fraction(5), (49, 65)) as writer:
        writer.write(np.zeros((49, 65, 3), np.uint8), 0)
        writer.write(np.zeros((20, 20, 3), np.uint8), 0)  # of another size, at the same time
    assert [frame.pixels.shape for frame in frames(tmp_path / "odd.mp4")] == [(48, 64, 3)] * 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be opened as a video"),
        (b"not a video at all" * 100, "cannot be opened as a video"),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n", "cannot be opened as a video"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "cannot be opened as a video"),
    ],
)
def test_what_is_no_video_is_refused(tmp_path, content, message):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"it: {message}"):
        frames(path)


def test_where_a_video_is_damaged_frames_end(film, tmp_path):
    path = tmp_path / "cut.mp4"
    data = film.read_bytes()
    start = data.index(b"mdat")
    path.write_bytes(data[: start + 4] + b"\0" * (len(data) - start - 4))
    with pytest.raises(DataError, match=r"it: (cannot be decoded at its start|has no frames)"):
        frames(path)


def test_frames_that_are_too_large_are_refused(film, monkeypatch):
    monkeypatch.setattr(video, "MAX_PIXELS", HEIGHT * WIDTH - 1)
    with pytest.raises(DataError, match="it: its frames have 64 x 48 pixels"):
        frames(film)


def test_a_camera_is_read_frame_by_frame(monkeypatch):
    monkeypatch.setitem(video.CAMERAS, sys.platform, ("lavfi", "testsrc=size=64x48:rate=10:duration={}"))
    found = frames("camera:1")  # which the made up camera takes for its seconds
    assert len(found) == 10
    assert {frame.pixels.shape for frame in found} == {(48, 64, 3)}


def test_a_camera_that_is_not_there(monkeypatch):
    monkeypatch.setitem(video.CAMERAS, sys.platform, ("v4l2", "/dev/lost{}"))
    with pytest.raises(DataError, match="it: cannot be opened as a video"):
        frames("camera:0")


def test_without_the_extra_it_is_named(film, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match=r'pip install "boxtune\[video\]"'):
        frames(film)


def test_nothing_half_written_keeps_its_name(tmp_path):
    def interrupted():
        with written_video(tmp_path / "a.mp4", Fraction(5), (48, 64)) as writer:
            writer.write(np.zeros((48, 64, 3), np.uint8), 0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
