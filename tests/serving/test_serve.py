"""The verb: its arguments, and what it refuses before it starts."""

import importlib
import socket
import subprocess
import sys

import pytest

import boxtune
import boxtune.serving
import patience
from boxtune import cli
from boxtune.errors import ConfigError
from boxtune.serve import serve
from boxtune.serving.limits import Limits
from boxtune.serving.server import address_of, bound, is_loopback


def test_without_its_packages_the_extra_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("boxtune.serving.")]:
        if name != "boxtune.serving.limits":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(boxtune.serving, "server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ConfigError, match=r'serve needs the package uvicorn: pip install "boxtune\[serve\]"'):
        serve("a model that is not looked for")


def test_its_packages_are_loaded_by_nothing_else():
    code = "import sys, boxtune.cli as cli; cli.parser().format_help(); import boxtune.check; "
    named = "{'fastapi', 'starlette', 'uvicorn', 'prometheus_client', 'python_multipart'}"
    command = [sys.executable, "-c", f"{code} print({named} & {{*sys.modules}})"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patience.SECONDS)
    assert (done.returncode, done.stdout) == (0, "set()\n")


def test_the_command_line_says_all_of_it(monkeypatch):
    given = {}
    monkeypatch.setattr(
        importlib.import_module("boxtune.serve"), "serve", lambda **options: given.update(options)
    )
    monkeypatch.setenv("BOXTUNE_TOKEN", "of-the-environment")
    sizes = "--max_request_mb 2 --max_image_mb 1 --max_megapixels 0.5 --max_images 3 --max_waiting 4"
    flags = f"serve mine --port 0 {sizes} --receive_seconds 5.5 --answer_seconds 6"
    assert cli.main(flags.split()) == 0
    assert given.pop("limits") == Limits(2**21, 2**20, 500_000, 3, 4, 5.5, 6)
    assert [str(given[name]) for name in ("model", "host", "port")] == ["mine", "127.0.0.1", "0"]
    assert given["token"] == "of-the-environment"
    assert cli.main([*flags.split(), "--token", "given-before-all"]) == 0
    assert given["token"] == "given-before-all"
    monkeypatch.delenv("BOXTUNE_TOKEN")
    assert cli.main(["serve", "mine"]) == 0
    assert (given["token"], given["limits"]) == (None, Limits())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--token", "short"], "the token is unfit: give 8 to 200 letters"),
        (["--token", "with a space"], "the token is unfit"),
        (["--max_request_mb", "0"], "the limit request_bytes is 0; give a number above 0"),
        (["--max_megapixels", "101"], "no image of more than 100 megapixels is read"),
        (["--max_images", "100"], "the limit waiting is 64; a request may have 100 images: give no less"),
        (
            ["--host", "192.0.2.1", "--port", "0"],
            "192.0.2.1, port 0: Cannot assign requested address. Give another",
        ),
        (["--host", "no.such.host.invalid"], "no.such.host.invalid, port 8000: "),
        (["--port", "0"], "lost: no such model"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_line(capsys, monkeypatch, tmp_path, flags, message):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["serve", "lost", *flags]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(
            ConfigError, match=rf"^127\.0\.0\.1, port {port}: Address already in use\. Give another"
        ):
            bound("127.0.0.1", port)


def test_addresses():
    assert [is_loopback(host) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.5", "owls")] == [False] * 4
    with bound("localhost", 0) as listener:
        assert address_of(listener).startswith("http://127.0.0.1:")


def test_addresses_of_ipv6():
    try:
        listener = bound("::1", 0)
    except ConfigError:
        pytest.skip("needs IPv6, which this machine does not have")
    with listener:
        assert address_of(listener).startswith("http://[::1]:")
