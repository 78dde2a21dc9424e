"""What `make release` refuses and tells; the whole of it is built and tried by the command itself."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import release

FILES = {"boxtune/page.css": b"a", "boxtune/zoo.toml": b"b"}


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"boxtune/page.css": b"a"}, "not of the wheel: boxtune/zoo.toml"),
        (FILES | {"boxtune/left_over.py": b""}, "not of src: boxtune/left_over.py"),
        (FILES | {"boxtune/page.css": b"old"}, "differing: boxtune/page.css"),
    ],
)
def test_a_wheel_of_other_files_is_none(files, told):
    with pytest.raises(SystemExit, match=f"the wheel and src do not give the same files: {told}$"):
        release.require_same("the wheel", files, "src", FILES)


def test_a_wheel_of_the_same_files(tmp_path):
    path = tmp_path / "a.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in (FILES | {"boxtune-0.1.0.dist-info/METADATA": b""}).items():
            wheel.writestr(name, content)
    release.require_same("the wheel", release.without_metadata(release.contents(path)), "src", FILES)


def test_every_file_of_a_package_counts_but_for_what_python_compiles(tmp_path):
    for name in ("boxtune/page.css", "boxtune/__pycache__/a.pyc", "boxtune/config/pipeline.proto"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"a")
    assert release.packages(tmp_path) == {"boxtune/config/pipeline.proto": b"a", "boxtune/page.css": b"a"}


def test_what_the_packages_hold():
    kinds = {Path(name).suffix for name in release.packages(release.ROOT / "src")}
    assert {".py", ".pyi", ".proto", ".config", ".toml", ".html", ".css", ".js"} <= kinds


def test_only_the_new_archives_are_kept(tmp_path):
    output = tmp_path / "dist"
    output.mkdir()
    (output / "boxtune-0.0.9.tar.gz").write_bytes(b"old")
    (output / "notes.txt").write_bytes(b"mine")
    made = tmp_path / "boxtune-0.1.0.tar.gz"
    made.write_bytes(b"new")
    (kept,) = release.keep((made,), output)
    assert sorted(path.name for path in output.iterdir()) == ["boxtune-0.1.0.tar.gz", "notes.txt"]
    digest = hashlib.sha256(b"new").hexdigest()
    assert release.description(kept) == f"  boxtune-0.1.0.tar.gz  3 bytes  sha256 {digest}"


def test_a_command_that_fails_ends_it(tmp_path, capfd):
    with pytest.raises(SystemExit, match="failed with status 3: there is no release"):
        release.run(tmp_path, sys.executable, "-c", "raise SystemExit(3)")


def test_the_environment_of_the_caller_is_kept_out(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    release.run(tmp_path, sys.executable, "-c", "import os; print(os.getcwd(), 'PYTHONPATH' in os.environ)")
    assert capfd.readouterr().out.splitlines()[-1] == f"{tmp_path} False"


@pytest.mark.parametrize(
    ("heading", "told"),
    [
        ("## 0.1.0 (unreleased)", ['CHANGELOG.md begins with "## 0.1.0 (unreleased)": give 0.1.0 its date']),
        ("## 0.0.9 (2026-01-01)", ['CHANGELOG.md begins with "## 0.0.9 (2026-01-01)": give 0.1.0 its date']),
        ("## 0.1.0 (2026-02-01)", []),
    ],
)
def test_what_is_settled_before_uploading(tmp_path, heading, told):
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.1.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "a"]):
        subprocess.run([*git, *arguments], check=True)
    assert release.doubts(tmp_path) == told
    (tmp_path / "new.py").write_text("")
    assert release.doubts(tmp_path) == ["commit or remove new.py", *told]
