"""What a user can name as images, and what cannot be one."""

import io
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest

from boxtune.data import images
from boxtune.data.image_sources import find_given, read_given
from boxtune.errors import DataError
from voc_folder import image_file


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Three images, a video and what lies beside images; the working directory is where they lie."""
    for name in ("photos/a.jpg", "photos/b/c.png", "photos/b/d.JPG"):
        image_file(tmp_path / name)
    for name in ("photos/a.xml", "photos/classes.csv", "photos/b/film.mp4"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def names(*named, **options):
    return [one.name for one in find_given(named, **options)]


@pytest.fixture
def stdin(monkeypatch):
    def give(data):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))

    return give


@pytest.mark.parametrize(
    ("named", "paths"),
    [
        (["photos"], ["a.jpg", "b/c.png", "b/d.JPG", "b/film.mp4"]),
        (["photos/b", "photos/a.jpg"], ["c.png", "d.JPG", "film.mp4", "a.jpg"]),
        (["photos/*"], ["a.jpg"]),
        (["photos/**/*.[pJ]*"], ["c.png", "d.JPG"]),
        (["photos/a.jpg", "photos/a.jpg", "photos/*.jpg"], ["a.jpg"]),
    ],
)
def test_files_folders_and_patterns(photos, named, paths):
    assert [one.path for one in find_given(named)] == paths


def test_a_name_that_is_a_pattern_too_is_a_file(photos):
    image_file(photos / "[a].jpg")
    assert names("photos/[a].jpg") == ["photos/[a].jpg"]


class TestLists:
    def test_paths_count_from_the_list_or_from_here(self, photos):
        (photos / "list.txt").write_text("b/c.png\n\nphotos/a.jpg\nlost.jpg\r\n")
        given = find_given(["photos/list.txt"])
        assert [(one.name, one.path) for one in given] == [
            ("photos/b/c.png", "b/c.png"),
            ("photos/a.jpg", "photos/a.jpg"),
            ("lost.jpg", "lost.jpg"),
        ]
        with pytest.raises(DataError, match=r"lost\.jpg: it cannot be read \(No such file"):
            read_given(given[2])

    @pytest.mark.parametrize("line", ["../../../etc/a.jpg", "/etc/a.jpg", "b/../../a.jpg"])
    def test_no_path_leads_out_of_what_is_written(self, photos, line):
        (photos / "list.txt").write_text(line)
        assert [one.path for one in find_given(["photos/list.txt"])] == ["a.jpg"]

    def test_labels_are_no_list(self, photos):
        (photos / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
        with pytest.raises(
            DataError, match=r'a\.txt: its line 1, "0 0\.5 .*", does not name an image.*\*\.jpg'
        ):
            find_given(["photos/a.txt"])

    @pytest.mark.parametrize("separator", ["\n", "\0"])
    def test_on_standard_input(self, photos, stdin, separator):
        stdin(separator.join(("photos/a.jpg", "photos/b/c.png", "")).encode())
        assert names("-") == ["photos/a.jpg", "photos/b/c.png"]


def test_an_image_on_standard_input(photos, stdin):
    stdin((photos / "b/c.png").read_bytes())
    (given,) = find_given(["-"])
    (file,) = find_given(["photos/b/c.png"])
    assert (given.name, given.path, given.file) == ("standard input", "stdin", None)
    assert np.array_equal(read_given(given), read_given(file))


def test_standard_input_has_an_end(stdin, monkeypatch):
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 2**20)
    stdin(b"\xff" * (2**20 + 1))
    with pytest.raises(DataError, match="standard input has more than 1 MiB"):
        find_given(["-"])


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("lost.jpg", r"lost\.jpg: no such image or folder"),
        ("photos/*.gif", r"photos/\*\.gif: no image has such a name"),
        ("empty", "empty: no images here"),
        ("gs://bucket/a.jpg", "is not on this machine"),
    ],
)
def test_what_is_not_there_is_named(photos, named, message):
    (photos.parent / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        find_given([named])


def test_what_is_written_is_not_read_again(photos, caplog):
    image_file(photos / "drawn" / "a.png")
    assert "photos/drawn/a.png" not in names("photos", without=photos / "drawn")
    assert f"1 image of {photos / 'drawn'} passed over: it is written to." in caplog.text
    for folder in (photos, photos.parent):
        with pytest.raises(DataError, match=r"would mix with the images\. Choose another folder"):
            find_given(["photos"], without=folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    png = image_file(tmp_path_factory.mktemp("served") / "a.png").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if "lost" in self.path:
                self.send_error(404)
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(png if "cut" not in self.path else png[:40])

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


class TestUrls:
    def test_an_image_without_the_secrets_of_its_url(self, server):
        (given,) = find_given([f"http://user:secret@{server}/in/a%20b.png?token=secret"])
        assert (given.name, given.path) == (f"http://{server}/in/a%20b.png", "a b.png")
        assert read_given(given).shape == (20, 40, 3)

    def test_two_of_one_path_are_two(self, server):
        assert len(find_given([f"http://{server}/a.png?id=1", f"http://{server}/a.png?id=2"])) == 2

    @pytest.mark.parametrize(
        ("path", "message"), [("lost.png", "the server answers 404"), ("cut.png", "it cannot be decoded")]
    )
    def test_what_cannot_be_had_is_named(self, server, path, message):
        (given,) = find_given([f"http://{server}/{path}?token=secret"])
        with pytest.raises(DataError, match=rf"http://{server}/{path}: {message}") as error:
            read_given(given)
        assert "secret" not in str(error.value)

    def test_more_than_an_image_may_have_is_not_kept(self, server, monkeypatch):
        monkeypatch.setattr(images, "MAX_FILE_BYTES", 100)
        (given,) = find_given([f"http://{server}/a.png"])
        with pytest.raises(DataError, match="it has more than 0 MiB"):
            read_given(given)

    def test_where_nobody_answers(self):
        (given,) = find_given(["http://127.0.0.1:9/a.png"])
        with pytest.raises(DataError, match="it cannot be downloaded: there is no connection"):
            read_given(given)


def test_cameras_have_names_without_secrets():
    given = find_given(["camera:0", "camera:rtsp://user:secret@host/stream"])
    assert [one.name for one in given] == ["camera:0", "camera:rtsp://host/stream"]
    assert all(one.is_video for one in given)
    assert not any("secret" in one.path or "/" in one.path for one in given)
