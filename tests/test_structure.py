"""Who imports whom: few files are behind `train`, none of them about something else, and no two go in a circle.

Imports are read, not made: also those within functions, and of every package its `__init__`. What is loaded by name,
from a registry, is not seen: families of detectors, and metrics that a configuration has to name.
"""

import ast
import importlib
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import boxtune

PACKAGE = Path(boxtune.__file__).parent
MOST_FILES_BEHIND_TRAIN = 85
NOT_BEHIND_TRAIN = (
    "boxtune.report",
    "boxtune.export",
    "boxtune.evaluate",
    "boxtune.data.formats",
    "boxtune.data.findings",
    "boxtune.data.duplicates",
    "boxtune.data.record_writer",
    "boxtune.data.splits",
    "boxtune.metrics.analysis",
    "boxtune.metrics.lvis",
    "boxtune.metrics.open_images",
    "boxtune.metrics.pascal_voc",
)


def _name(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(file): file for file in PACKAGE.rglob("*.py")}


@cache
def imported(name: str) -> frozenset[str]:
    """Return the modules of the package that a module names in its imports."""
    named = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} imports relatively"
            within = {f"{node.module}.{alias.name}" for alias in node.names}
            named |= within & MODULES.keys() or {node.module}
    return frozenset(named & MODULES.keys()) - {name}


def packages_of(name: str) -> set[str]:
    parts = name.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts))}


def behind(name: str) -> set[str]:
    """Return a module, all that it imports, and all that these import."""
    found: set[str] = set()
    pending = {name}
    while pending:
        found |= pending
        pending = {
            other for one in pending for module in imported(one) for other in (module, *packages_of(module))
        } - found
    return found


def test_few_files_are_behind_train():
    found = behind("boxtune.train")
    assert {"boxtune", "boxtune.training.run", "boxtune.config.pipeline_pb2"} <= found
    assert len(found) <= MOST_FILES_BEHIND_TRAIN, sorted(found)


@pytest.mark.parametrize("other", NOT_BEHIND_TRAIN)
def test_train_has_nothing_to_do_with(other):
    assert other in MODULES
    assert not [name for name in behind("boxtune.train") if f"{name}.".startswith(f"{other}.")]


def test_no_imports_go_in_a_circle():
    order = TopologicalSorter({name: imported(name) for name in MODULES}).static_order()
    assert set(order) == set(MODULES)  # CycleError says who imports whom


def loaded_late() -> set[tuple[str, str]]:
    """Return what the commands load when they run: pairs of a module of boxtune and a name in it."""
    found = re.findall(
        r'load\(\s*"([\w.]+)"[^()]*\)\.(\w+)',
        "".join(path.read_text() for path in PACKAGE.parent.rglob("*.py")),
    )
    return {(f"boxtune.{module}", name) for module, name in found}


def test_what_is_loaded_late_is_there():
    assert ("boxtune.report.evaluation", "publish") in loaded_late()
    for module, name in loaded_late():
        assert hasattr(importlib.import_module(module), name), f"{module}.{name}"
