"""Build the archives of a release, look into them, and try the wheel away from the checkout: `make release`.

They are the source archive and the wheel. Only what has passed everything is put into `dist`; nothing is uploaded.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_INT8 = ("--precision", "float32,int8", "--calibration_images", "20")
EXTRAS = {"tflite": _INT8, "onnx": (), "openvino": _INT8}
"""Of formats, each of the same name, and how the demo's model is exported to it."""

_LOOK = """
import importlib.metadata, pathlib, sysconfig
import boxtune, object_detection

here = pathlib.Path(sysconfig.get_path("purelib")).resolve()
for package in (boxtune, object_detection):
    assert here in pathlib.Path(package.__file__).resolve().parents, f"{package.__file__} is not in {here}"
assert importlib.metadata.version("boxtune") == boxtune.__version__, boxtune.__version__
print(f"boxtune {boxtune.__version__} in {here}:", ", ".join(getattr(boxtune, verb).__name__ for verb in boxtune.VERBS))
"""
"""Run by the installed Python: which files are imported, and whether every verb can be."""


def main(arguments: list[str] | None = None) -> None:
    """Build and check the archives of a release, and leave them in the output directory."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output_dir", type=Path, default=ROOT / "dist")
    parser.add_argument("--num_steps", type=int, default=1300, help="of the demo's training")
    flags = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="boxtune-release-") as made:
        archives = build(Path(made))
        run(Path(made), sys.executable, "-m", "twine", "check", "--strict", *archives)
        try_out(archives[-1], Path(made), flags.num_steps)
        try_formats(archives[-1], Path(made))
        kept = keep(archives, flags.output_dir)
    print("\nThese would be uploaded; nothing was:")
    for path in kept:
        print(description(path))
    for doubt in doubts():
        print(f"Before that: {doubt}")


def run(folder: Path, *command: str | Path) -> None:
    """Run a command in a folder, without what the environment tells Python and make; stop if it fails."""
    print("+", *command, flush=True)
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MAKEFLAGS")}
    status = subprocess.run(list(map(str, command)), cwd=folder, env=kept, check=False).returncode
    if status:
        raise SystemExit(f"{command[0]} failed with status {status}: there is no release")


def build(folder: Path) -> tuple[Path, Path]:
    """Return the source archive and the wheel that is built from it, which is the one that the checkout gives, too."""
    run(folder, sys.executable, "-m", "build", "--outdir", folder / "archives", ROOT)
    run(folder, sys.executable, "-m", "build", "--wheel", "--outdir", folder / "straight", ROOT)
    (source,), (wheel,) = (sorted((folder / "archives").glob(one)) for one in ("*.tar.gz", "*.whl"))
    files = contents(wheel)
    require_same("the source archive", files, "the checkout", contents(folder / "straight" / wheel.name))
    require_same("the wheel", without_metadata(files), "src", packages(ROOT / "src"))
    return source, wheel


def contents(wheel: Path) -> dict[str, bytes]:
    """Return the files in a wheel by their names."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def without_metadata(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files of a wheel that are a package's own."""
    return {name: content for name, content in files.items() if ".dist-info/" not in name}


def packages(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder by their names there, code or not, but for what Python compiles."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def require_same(one: str, files: Mapping[str, bytes], other: str, expected: Mapping[str, bytes]) -> None:
    """Stop, with the names of the files, unless both have the same ones with the same content."""
    differing = {
        f"not of {one}": expected.keys() - files.keys(),
        f"not of {other}": files.keys() - expected.keys(),
        "differing": {name for name in files.keys() & expected.keys() if files[name] != expected[name]},
    }
    told = "; ".join(f"{what}: {', '.join(sorted(names))}" for what, names in differing.items() if names)
    if told:
        raise SystemExit(f"{one} and {other} do not give the same files: {told}")


def try_out(wheel: Path, folder: Path, num_steps: int) -> None:
    """Install a wheel into an environment of its own, far from the checkout, and run the demo there."""
    python = folder / "installed" / "bin" / "python"
    run(folder, sys.executable, "-m", "venv", "installed")
    run(folder, python, "-m", "pip", "install", "--quiet", wheel)
    run(folder, python, "-m", "pip", "check")
    run(folder, python, "-I", "-c", _LOOK)
    run(folder, python.with_name("boxtune"), "doctor")
    run(
        folder, "make", "--no-print-directory", f"--file={ROOT / 'Makefile'}", "run-demo",
        f"VENV={folder / 'installed'}", f"DEMO_STEPS={num_steps}",
    )  # fmt: skip


def try_formats(wheel: Path, folder: Path) -> None:
    """Install the extra of each format in turn beside the wheel, and export the demo's model to it."""
    boxtune, python = (folder / "installed" / "bin" / name for name in ("boxtune", "python"))
    for extra, flags in EXTRAS.items():
        run(folder, python, "-m", "pip", "install", "--quiet", f"{wheel}[{extra}]")
        run(folder, python, "-m", "pip", "check")
        run(
            folder, boxtune, "export", "--model_dir", "demo/model", "--output_dir", "demo/model/exported",
            "--format", extra, *flags,
        )  # fmt: skip


def keep(archives: tuple[Path, ...], output_dir: Path) -> list[Path]:
    """Move archives to the output directory, where no older ones stay beside them."""
    output_dir.mkdir(parents=True, exist_ok=True)
    for old in output_dir.glob("boxtune-*"):
        old.unlink()
    return [Path(shutil.move(path, output_dir / path.name)) for path in archives]


def description(path: Path) -> str:
    """Return name, size and digest of a file."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"  {path.name}  {path.stat().st_size:,} bytes  sha256 {digest}"


def doubts(root: Path = ROOT) -> list[str]:
    """Return what a person settles before uploading: what is not committed, and a changelog without a date."""
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    status = ["git", "-C", str(root), "status", "--porcelain"]
    changed = subprocess.run(status, capture_output=True, text=True, check=False).stdout.splitlines()
    found = [f"commit or remove {', '.join(line[3:] for line in changed)}"] if changed else []
    lines = (root / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    heading = next((line for line in lines if line.startswith("## ")), "")
    if not heading.startswith(f"## {version} ") or "unreleased" in heading:
        found.append(f'CHANGELOG.md begins with "{heading}": give {version} its date')
    return found


if __name__ == "__main__":
    main()
