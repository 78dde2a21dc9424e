"""Weights by name or URL, from a server that may break off, lie or be gone."""

import gzip
import hashlib
import io
import json
import random
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from boxtune import cli, weights
from boxtune.config import zoo
from boxtune.errors import CheckpointError, ConfigError

NAME = "ssd_mobilenet_v2_320x320_coco17_tpu-8"
FILES = {
    f"{NAME}/pipeline.config": b"model { }",
    f"{NAME}/checkpoint/ckpt-0.index": random.Random(0).randbytes(300_000),
}

PART = 2**17
"""Bytes that come before a connection breaks off."""


def archive(files, *members):
    """Return a .tar.gz of files by their paths, and of further members that hold nothing."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in members:
            tar.addfile(member)
    return packed.getvalue()


class Server(ThreadingHTTPServer):
    """Serves `content`; each request as `behaviour` says, the last one again and again."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag, self.behaviour, self.requests = archive(FILES), '"one"', [], []

    def url(self, name=f"{NAME}.tar.gz"):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.requests.append((self.path, wanted))
        todo = server.behaviour.pop(0) if len(server.behaviour) > 1 else (server.behaviour or [""])[0]
        if isinstance(todo, int):
            self.send_error(todo)
            return
        content, start = server.content, 0
        fresh = self.headers.get("If-Range", server.etag) == server.etag
        if wanted and fresh and todo != "no ranges":
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        length = len(content) - start + {"says more": 10, "says less": -10}.get(todo, 0)
        if todo == "says huge":
            length = 2**60
        if todo != "no length":
            self.send_header("Content-Length", str(length))
        self.send_header("ETag", server.etag)
        self.end_headers()
        self.wfile.write(content[start : start + PART] if todo == "breaks off" else content[start:])


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv(weights.CACHE, str(tmp_path / "cache"))
    monkeypatch.setattr(weights.time, "sleep", lambda seconds: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    monkeypatch.setenv(weights.MIRROR, server.url(""))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def stored(folder):
    return {
        f"{folder.name}/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_name_is_downloaded_once(server, tmp_path, capsys):
    folder = weights.locate("ssd_mobilenet_v2_320")
    assert folder == tmp_path / "cache" / NAME / "files" / NAME
    assert stored(folder) == FILES
    assert weights.locate(NAME) == folder
    assert server.requests == [(f"/{NAME}.tar.gz", None)]
    assert cli.main(["models", "--where"]) == 0
    where, listed = capsys.readouterr().out.splitlines()[-2:]
    assert where == str(tmp_path / "cache")
    assert NAME in listed
    assert hashlib.sha256(server.content).hexdigest() in listed


def test_without_a_mirror_a_name_is_the_zoos_address(server, monkeypatch, tmp_path):
    monkeypatch.delenv(weights.MIRROR)
    asked = []
    monkeypatch.setattr(
        weights, "_download", lambda url, target: (asked.append(url), target.write_bytes(server.content))
    )
    weights.locate(NAME)
    assert asked == [zoo.find(NAME).address]


@pytest.mark.parametrize(
    "behaviour",
    [
        ["breaks off"],
        ["breaks off", "no ranges"],
        ["no length"],
        ["says more", ""],
        [503, 500, 429, ""],
        ["breaks off", 503, ""],
    ],
)
def test_a_download_that_breaks_off_goes_on(server, behaviour):
    server.behaviour = behaviour
    assert stored(weights.locate(NAME)) == FILES


def test_what_is_there_is_not_asked_for_again(server):
    server.behaviour = ["breaks off", ""]
    weights.locate(server.url())
    assert [wanted for _, wanted in server.requests] == [None, f"bytes={PART}-"]


def test_another_version_is_not_mixed_with_what_is_there(server):
    """The part that is there stays behind when the server gives up; then the file changes."""
    server.behaviour = ["breaks off", 503]
    with pytest.raises(
        CheckpointError,
        match=r"503 Service Unavailable after 131,072 bytes, which are kept: the same command goes on",
    ):
        weights.locate(NAME)
    server.behaviour, server.etag = [""], '"two"'
    server.content = archive(FILES | {f"{NAME}/new": b"new"})
    assert stored(weights.locate(NAME))[f"{NAME}/new"] == b"new"
    assert server.requests[-1][1] == f"bytes={PART}-"


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (
            404,
            r"answers 404 Not Found\..*BOXTUNE_WEIGHTS_URL.*--checkpoint ssd_mobilenet_v2_320x320_coco17_tpu-8.tar.gz",
        ),
        (503, "answers 503"),
        ("says less", "no whole tar archive"),
        ("says more", "cannot be downloaded: the connection broke off"),
        ("says huge", "more than 4 GiB"),
    ],
)
def test_a_server_that_fails_or_lies(server, tmp_path, behaviour, message):
    server.behaviour = [behaviour]
    with pytest.raises(CheckpointError, match=message):
        weights.locate(NAME)
    assert not (tmp_path / "cache" / NAME / "files").exists()
    server.behaviour = [""]
    assert stored(weights.locate(NAME)) == FILES


def test_no_server(server, monkeypatch):
    with Server() as gone:
        url = gone.url()
    with pytest.raises(CheckpointError, match=r"there is no connection.*HTTPS_PROXY.*without a network"):
        weights.locate(url)
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("http_proxy", url)
    with pytest.raises(CheckpointError, match="the proxy does not answer"):
        weights.locate("http://zoo.example/x.tar.gz")


def special(name, kind, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def long_header():
    """Return an archive whose first header says that 64 MiB of names follow."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("x")
        member.pax_headers = {"comment": "x" * 2**26}
        tar.addfile(member)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive({"../out": b"x"}), "a path that may lead out"),
        (archive({"/tmp/out": b"x"}), "a path that may lead out"),
        (archive({"a\\..\\out": b"x"}), "a path that may lead out"),
        (archive({"C:out": b"x"}), "a path that may lead out"),
        (archive({}, special("a", tarfile.SYMTYPE, "/etc")), "a link or a device"),
        (archive({}, special("a", tarfile.LNKTYPE, "/etc/passwd")), "a link or a device"),
        (archive({}, special("a", tarfile.FIFOTYPE)), "a link or a device"),
        (archive({"zeros": bytes(2**27)}), "far more than weights do"),
        (archive({f"{n}": b"" for n in range(10_001)}), "far more than weights do"),
        (archive({}), "holds no files"),
        (archive(FILES)[:-50], "no whole tar archive"),
        (b"<!doctype html>", "no whole tar archive"),
        (gzip.compress(b"hello"), "no whole tar archive"),
        (b"", "no whole tar archive"),
        (long_header(), "no whole tar archive: a header of"),
    ],
    ids=range(15),
)
def test_a_bad_archive_leaves_nothing(server, tmp_path, content, message):
    server.content = content
    with pytest.raises(CheckpointError, match=message) as error:
        weights.locate(NAME)
    assert server.url() in str(error.value)
    assert [path.name for path in (tmp_path / "cache" / NAME).iterdir()] in ([], ["archive.etag"])
    assert not (tmp_path / "out").exists()


def test_a_known_hash_is_required(server):
    digest = hashlib.sha256(server.content).hexdigest()
    with pytest.raises(
        CheckpointError, match=f"has the SHA-256 {digest}, and that of --sha256 is {'0' * 64}"
    ):
        weights.locate(NAME, "0" * 64)
    assert weights.locate(NAME, digest.upper()) == weights.locate(NAME)
    with pytest.raises(CheckpointError, match="it is another file"):
        weights.locate(NAME, "0" * 64)
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        weights.locate(NAME, "abc")


def test_what_was_kept_is_checked_at_every_use(server, tmp_path):
    folder = weights.locate(NAME)
    config = folder / "pipeline.config"
    config.write_text("model {  }")
    with pytest.raises(
        CheckpointError,
        match=rf"{config} has changed since it was unpacked from http.*Remove the folder {NAME}",
    ):
        weights.locate(NAME)
    config.unlink()
    with pytest.raises(CheckpointError, match="is gone since"):
        weights.locate(NAME)
    config.write_bytes(FILES[f"{NAME}/pipeline.config"])
    (folder / "checkpoint" / "checkpoint").write_text("other")
    with pytest.raises(CheckpointError, match="was added since"):
        weights.locate(NAME)


def test_a_second_download_is_the_same_file(server, tmp_path):
    first = server.content
    folder = weights.locate(NAME)
    folder.parent.rename(tmp_path / "moved")
    server.content = archive(FILES | {f"{NAME}/new": b"new"})
    with pytest.raises(CheckpointError, match=r"that of the first download of \d{4}-\d\d-\d\d"):
        weights.locate(NAME)
    server.content = first
    assert weights.locate(NAME) == folder


@pytest.mark.parametrize(
    "damage", ["{", "[]", '{"source": 1}', json.dumps({"source": "", "sha256": "", "date": "", "files": 3})]
)
def test_a_damaged_record_is_named(server, tmp_path, damage):
    weights.locate(NAME)
    record = tmp_path / "cache" / NAME / "download.json"
    record.write_text(damage)
    with pytest.raises(CheckpointError, match=r"download.json is damaged. Remove the folder"):
        weights.locate(NAME)


def test_an_archive_on_this_machine(server, tmp_path):
    path = tmp_path / "my weights.tar.gz"
    path.write_bytes(server.content)
    folder = weights.locate(path)
    assert stored(folder) == FILES
    assert weights.locate(str(path)) == folder
    with pytest.raises(CheckpointError, match="it is another file"):
        weights.locate(path, "0" * 64)
    assert server.requests == []


def test_what_is_here_goes_before_a_name(server, tmp_path, monkeypatch):
    (tmp_path / NAME).mkdir()
    monkeypatch.chdir(tmp_path)
    assert str(weights.locate(NAME)) == NAME
    with pytest.raises(ConfigError, match="that of an archive or a download"):
        weights.locate(NAME, "0" * 64)
    (tmp_path / "ckpt-3.index").touch()
    assert str(weights.locate("ckpt-3")) == "ckpt-3"
    assert str(weights.locate("no/such")) == "no/such"
    assert server.requests == []


def test_no_such_name(server):
    with pytest.raises(
        ConfigError, match=r'efficientdet: no such folder or archive; and as a name, "efficientdet" may be'
    ):
        weights.locate("efficientdet")
    with pytest.raises(ConfigError, match="there is no model"):
        weights.locate("yolov8n")


def test_passwords_and_tokens_are_not_shown(server, tmp_path, capsys):
    url = server.url().replace("http://", "http://me:secret@") + "?token=secret"
    weights.locate(url)
    (record,) = (tmp_path / "cache").glob("*/download.json")
    assert "secret" not in capsys.readouterr().out + record.read_text()
    server.behaviour = [404]
    with pytest.raises(CheckpointError) as error:
        weights.locate(url.replace("token", "other"))
    assert "secret" not in str(error.value)
