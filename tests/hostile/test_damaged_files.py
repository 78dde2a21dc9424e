"""Every file that boxtune reads, damaged in every way: one line that names it, and nothing else is lost."""

import json
import os
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

import patience
from hostile import denied, project

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
    for name in sorted(path.relative_to(made) for path in made.glob(pattern)):
        folder = project.copy(made, tmp_path / "project")
        path = folder / name
        DAMAGES[damage](path)
        before = project.contents(folder)
        status, output = project.run(project.verbs(folder)[verb])
        assert status in (0, 1, 2), output
        _assert_said(path, status, output, certainly=not _may_be_passed_over(path, verb, damage))
        if status == 2:
            after = project.contents(folder)
            assert {name: after.get(name) for name in before} == before
        shutil.rmtree(folder)


def test_files_without_permission_are_named(made, tmp_path):
    done = subprocess.run(
        [sys.executable, denied.__file__, made, tmp_path],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=patience.SECONDS,
    )  # fmt: skip
    cases = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert done.returncode == 0, done.stderr
    assert len(cases) >= sum(map(len, project.READ_BY.values()))
    for file, verb, status, output in cases:
        assert status in (0, 1, 2), (file, verb, output)
        _assert_said(Path(file), status, output, certainly=True)


def _may_be_passed_over(path, verb, damage):
    """Say whether nothing need be said: something else may be read, or nothing says that a file should be there."""
    is_found_by_listing = verb in ("predict", "check records") and path.suffix != ".pbtxt"
    is_one_of_several = (
        path.name == "checkpoint" or path.suffix == ".pbtxt" or path.suffix.startswith(".data")
    )
    return (
        damage in ("cut", "flip", "fill_with_zeros", "put_text")
        or (is_found_by_listing and damage in ("remove", "put_folder"))
        or (is_one_of_several and damage in ("remove", "empty"))
        or (path.name == "checkpoint" and damage == "put_folder")  # as in a zoo download
        or (path.name == "split.json" and damage == "remove")  # then there was no split before
        or (path.name == "thresholds.json" and damage == "remove")
    )


def _assert_said(path, status, output, *, certainly):
    if status == 2:
        (line,) = [line for line in output.splitlines() if line.startswith("boxtune: ")]
        assert any(
            name in line for name in (path.stem.partition(".")[0], path.parent.name, path.parent.parent.name)
        )
    elif certainly:
        assert path.stem.partition(".")[0] in output, output
