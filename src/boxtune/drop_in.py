"""Whether `object_detection` is boxtune's, and whole: about ten packages of that name are about.

pip installs one over the other without a word, and removing the first deletes what is left of the second.
"""

import csv
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path

from boxtune.errors import did_you_mean, many

NAME = "object_detection"

PACKAGE = Path(__file__).resolve().parent.parent / NAME
"""Where boxtune's package of that name lies: beside its own."""

_REINSTALL = "pip install --force-reinstall --no-deps boxtune"

_INSTEAD = {
    "legacy": "boxtune trains, evaluates and exports with the verbs train, evaluate and export",
    "trainer": "`boxtune train` trains, and model_lib_v2.train_loop",
    "evaluator": "`boxtune evaluate` measures, and model_lib_v2.eval_continuously",
    "exporter": "`boxtune export` exports, and exporter_lib_v2.export_inference_graph",
    "model_lib": "`boxtune train` trains, and model_lib_v2.train_loop",
    "export_tflite_ssd_graph_lib": "`boxtune export --format tflite` writes such a file",
    "graph_rewriter_builder": "`boxtune export --precision int8` writes models of 8 bits",
    "model_builder_test": "`python -m object_detection.builders.model_builder_tf2_test` checks an installation",
    "inference": "`boxtune predict` finds objects in images, `boxtune.load(...)` from Python",
    "models": "builders.model_builder.build builds a model from its configuration",
    "meta_architectures": "builders.model_builder.build builds a model from its configuration",
    "predictors": "builders.model_builder.build builds a model from its configuration",
    "tpu_exporters": "`boxtune export --format` names what can be written",
    "dataset_tools": "`boxtune convert` reads VOC, COCO, YOLO, CSV and more, and writes TFRecords",
    "metrics": "`boxtune evaluate` measures",
}
"""What does the job of modules of the API that boxtune does not have, by the first part of their names."""


def lost_files(package: Path = PACKAGE) -> list[str]:
    """Return the files of boxtune's package that are missing or replaced, by the list that pip keeps.

    Where there is no list, as in a checkout, only `__init__.py` is looked at.
    """
    lost = [name for name, size in _listed(package) if _size(package.parent / name) != size]
    return lost or ([] if is_own(package) else [f"{NAME}/__init__.py"])


def is_own(package: Path = PACKAGE) -> bool:
    """Say whether the package begins as boxtune's does."""
    return "boxtune" in _text(package / "__init__.py")


def _listed(package: Path) -> Iterator[tuple[str, int]]:
    """Yield the files of the package that were installed, and their sizes in bytes."""
    for record in package.parent.glob("boxtune-*.dist-info/RECORD"):
        with (
            suppress(OSError, UnicodeDecodeError, csv.Error),
            record.open(encoding="utf-8", newline="") as lines,
        ):
            for row in csv.reader(lines):
                if len(row) == 3 and row[0].startswith(f"{NAME}/") and row[2].isdecimal():
                    yield row[0], int(row[2])


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def others_at_a_glance() -> list[str]:
    """Return other distributions that bring a package of this name, as far as their `top_level.txt` tells it."""
    lists = [told for folder in {*sys.path} for told in Path(folder or ".").glob("*-info/top_level.txt")]
    names = {_normalized(told.parent.stem.partition("-")[0]) for told in lists if NAME in _text(told).split()}
    return sorted(names - {"boxtune"})


def _normalized(name: str) -> str:
    """Return the name of a distribution as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def others() -> list[str]:
    """Return other distributions that bring a package of this name. Every list of files is read for that."""
    from importlib import metadata  # slow to load

    found = set(others_at_a_glance())
    for one in metadata.distributions():
        name = one.metadata["Name"]
        if name and name != "boxtune" and any(file.parts[0] == NAME for file in one.files or ()):
            found.add(_normalized(name))
    return sorted(found)


def elsewhere(package: Path = PACKAGE) -> Path | None:
    """Return the folder that `import object_detection` finds instead, None if it is boxtune's or there is none."""
    spec = PathFinder.find_spec(NAME)
    for place in (spec and spec.submodule_search_locations) or ():
        if Path(place).resolve() != package:
            return Path(place)
    return None


def faults(
    lost: list[str], others: list[str], elsewhere: Path | None = None, package: Path = PACKAGE
) -> list[str]:
    """Return what is wrong with the package and the way out, each in a line."""
    told = []
    if others:
        bring = "bring" if len(others) > 1 else "brings"
        told.append(
            f"{' and '.join(others)} {bring} a package {NAME}, too: pip installs one over the other, and removing one "
            f"deletes files of the other. Run: pip uninstall -y {' '.join(others)} && {_REINSTALL}"
        )
    if lost:
        what = f"{many(len(lost), 'file')} of boxtune's {NAME} {'is' if len(lost) == 1 else 'are'} missing or replaced"
        way_out = "" if others else f" Run: {_REINSTALL}"
        told.append(f"{what} in {package}, such as {lost[0]}.{way_out}")
    if elsewhere:
        told.append(
            f"`import {NAME}` finds {elsewhere}, not boxtune's in {package}: take the folder above it off PYTHONPATH, "
            "or start in another folder."
        )
    return told


def warn() -> None:
    """Warn if another package has been installed over this one, or was and is removed."""
    for fault in faults(lost_files(), others_at_a_glance()):
        warnings.warn(f"{fault} `boxtune doctor` says more.", stacklevel=3)


class ExplainMissing:
    """Of the finders of modules the last: says what to do instead of importing what is not there."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Raise ModuleNotFoundError if a module of this package is looked for."""
        if fullname.startswith(f"{NAME}."):
            # Without its name: `from package import module` would leave this message out.
            raise ModuleNotFoundError(explain_missing(fullname))


def explain_missing(name: str, package: Path = PACKAGE) -> str:
    """Return why there is no module `name`, what there is beside it, and what does its job."""
    relative = name.removeprefix(f"{NAME}.")
    file = f"{name.replace('.', '/')}"
    lost = {f"{file}.py", f"{file}/__init__.py"}.intersection(lost_files(package))
    if lost:
        return (
            f"{name}: {lost.pop()} was deleted or replaced by another package of this name. Run: {_REINSTALL}"
        )
    above, _, last = relative.rpartition(".")
    known = _modules(package.joinpath(*above.split(".")))
    first = relative.partition(".")[0]
    instead = _INSTEAD.get(last) or _INSTEAD.get(first, "`boxtune --help` lists what boxtune does")
    return (
        f"No module named '{name}': this is boxtune's {NAME}, which has no {relative}.{did_you_mean(last, known)} "
        f"{instead}. In {NAME}{'.' if above else ''}{above} there are: {', '.join(known)}."
    )


def _modules(folder: Path) -> list[str]:
    """Return the modules and packages in a folder."""
    if not folder.is_dir():
        return []
    names = {
        entry.stem for entry in folder.iterdir() if entry.suffix == ".py" or (entry / "__init__.py").exists()
    }
    return sorted(name for name in names if not name.startswith("_"))
