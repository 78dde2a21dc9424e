"""Every file that boxtune reads, damaged in every way: one line that names it, and nothing else is lost."""

import os
import shutil
from fnmatch import fnmatch

import pytest

from boxtune import models
from hostile import project
from tiny_run import TinyDetector

pytestmark = [pytest.mark.hostile, pytest.mark.usefixtures("graphs_as_traced", "tiny")]


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)


def fill_with_zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def empty(path):
    path.write_bytes(b"")


def put_text(path):
    path.write_text("[" * 5000)  # too deep for a parser of JSON


def put_folder(path):
    path.unlink()
    path.mkdir()


def put_loop(path):
    path.unlink()
    path.symlink_to(path.name)


def put_pipe(path):
    path.unlink()
    os.mkfifo(path)


def put_zeros(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def remove(path):
    path.unlink()


DAMAGES = {
    one.__name__: one
    for one in (
        cut,
        flip,
        fill_with_zeros,
        empty,
        put_text,
        put_folder,
        put_loop,
        put_pipe,
        put_zeros,
        remove,
    )
}
NOT_TO_BE_NOTICED = ("cut", "flip", "fill_with_zeros", "put_text")
"""Damages that leave something that may be read, to another result."""


@pytest.fixture(scope="module")
def tiny():
    """A detector of two layers in place of the configured one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "build", lambda section, options=None: TinyDetector())
        yield


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile") / "project"
    project.make(folder)
    return folder


def test_every_file_is_damaged_or_listed(made):
    patterns = (*project.READ_BY, *project.NOT_READ)
    assert [name for name in project.contents(made) if not any(fnmatch(name, one) for one in patterns)] == []
    for pattern in patterns:
        assert list(made.glob(pattern)), pattern


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    ("pattern", "verb"), [(pattern, verb) for pattern, verbs in project.READ_BY.items() for verb in verbs]
)
def test_damaged(made, tmp_path, pattern, verb, damage):
    folder = _copied(made, tmp_path / "project")
    arguments = project.verbs(folder)[verb]
    for path in sorted(folder.glob(pattern)):
        whole = path.read_bytes()
        DAMAGES[damage](path)
        before = project.contents(folder)
        status, output = project.run(arguments)
        assert status in (0, 1, 2), output
        is_missed = verb not in ("predict", "check records") or damage not in ("remove", "put_folder")
        _assert_said(path, status, output, certainly=damage not in NOT_TO_BE_NOTICED and is_missed)
        if status == 2:
            after = project.contents(folder)
            assert {name: after.get(name) for name in before} == before
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
        path.write_bytes(whole)


def _copied(made, folder):
    """Return a copy of the project, whose paths are its own."""
    shutil.copytree(made, folder)
    for path in (*folder.rglob("*.config"), *folder.rglob("checkpoint")):
        if path.is_file():
            path.write_text(path.read_text().replace(str(made), str(folder)))
    return folder


def _assert_said(path, status, output, *, certainly):
    if status == 2:
        (line,) = [line for line in output.splitlines() if line.startswith("boxtune: ")]
        assert any(
            name in line for name in (path.stem.partition(".")[0], path.parent.name, path.parent.parent.name)
        )
    elif certainly:
        assert path.stem.partition(".")[0] in output, output
