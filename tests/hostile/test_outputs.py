"""Every verb where its output cannot be written: one line or none, no traceback, and what was there stays whole."""

import contextlib
import io
import os
import resource
import subprocess
import sys

import pytest

import patience
from boxtune import cli
from hostile import project

pytestmark = [pytest.mark.hostile, pytest.mark.usefixtures("graphs_as_traced", "tiny")]

VERBS = sorted(project.verbs(project.Path()))


def broken_pipe():
    reading, writing = os.pipe()
    os.close(reading)
    return writing


STREAMS = {"full": lambda: os.open("/dev/full", os.O_WRONLY), "a broken pipe": broken_pipe}


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("verb", VERBS)
def test_standard_output(made, tmp_path, verb, stream):
    folder = project.copy(made, tmp_path / "project")
    errors = io.StringIO()
    output = open(STREAMS[stream](), "w", encoding="utf-8")  # noqa: SIM115 - closing it may fail, too
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = cli.main(list(map(str, project.verbs(folder)[verb])))
    output.close()  # writes nothing any more
    assert status == (2 if stream == "full" else 141)
    lines = [line for line in errors.getvalue().splitlines() if line.startswith("boxtune: ")]
    assert lines == (["boxtune: No space left on device"] if stream == "full" else [])


def test_no_standard_output(made, tmp_path):
    folder = project.copy(made, tmp_path / "project")
    command = [sys.executable, "-m", "boxtune", *map(str, project.verbs(folder)["check"])]
    done = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", *command], stderr=subprocess.PIPE, text=True, timeout=patience.SECONDS
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_goes_away(made, tmp_path):
    folder = project.copy(made, tmp_path / "project")
    command = [sys.executable, "-m", "boxtune", *map(str, project.verbs(folder)["check"])]
    done = subprocess.run(
        ["sh", "-c", '"$@" | true', "sh", *command],
        stderr=subprocess.PIPE,
        text=True,
        timeout=patience.SECONDS,
    )
    assert done.stderr == ""


@contextlib.contextmanager
def largest_file(num_bytes):
    """Let no file grow beyond a size, as a disk does that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("num_bytes", [0, 300, 5_000])
@pytest.mark.parametrize("verb", VERBS)
def test_a_full_disk(made, tmp_path, verb, num_bytes):
    folder = project.copy(made, tmp_path / "project")
    before = project.contents(folder)
    with largest_file(num_bytes):
        status, output = project.run(project.verbs(folder)[verb])
    if status == 0 and (num_bytes or verb == "check records"):
        return  # it wrote nothing that is larger
    assert status == 2, output
    (line,) = [line for line in output.splitlines() if line.startswith("boxtune: ")]
    assert "File too large" in line, line
    after = project.contents(folder)
    grown = {
        "model/metrics.jsonl",
        "model/run.json",
        "model/complete_pipeline.config",
    }  # of a run that went on
    assert {name: after.get(name) for name in before if name not in grown} == {
        name: digest for name, digest in before.items() if name not in grown
    }
    assert not list(folder.rglob("*.partial"))
    assert not list(folder.rglob(".partial-*"))
    assert not list(folder.rglob(".lock"))


def test_what_was_printed_before_an_error_is_not_lost(tmp_path):
    # A pipe is written in blocks: an error of the file system that is not about it must not discard what waits there.
    code = "import sys; from boxtune import cli; sys.exit(cli.run(lambda: (print('done'), open('/nowhere/x')), {}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=patience.SECONDS
    )
    assert (done.returncode, done.stdout) == (2, "done\n")
    assert done.stderr == "boxtune: /nowhere/x: No such file or directory\n"
