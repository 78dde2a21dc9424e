"""`import boxtune`: its verbs are functions, whatever was imported before, and cost nothing until they are called."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import boxtune
import patience
from boxtune import cli

IN_PYTHON = {"config": "configure", "lr-range": "lr_range", "models": "list_models"}
"""The verbs of the command line that are called otherwise there: two are packages, one has a hyphen."""


def runs(code):
    """Run Python code in a new process, where nothing is imported yet."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=patience.SECONDS
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("verb", boxtune.VERBS)
def test_a_verb_is_the_function_in_the_module_of_its_name(verb):
    module = importlib.import_module(f"boxtune.{verb}")
    assert isinstance(module, ModuleType)
    assert inspect.isfunction(getattr(boxtune, verb))
    assert getattr(boxtune, verb) is getattr(module, verb)
    assert verb in dir(boxtune)


def test_every_verb_of_the_command_line_is_there():
    (verbs,) = (
        action for action in cli.parser()._actions if action.dest == "==SUPPRESS==" and action.choices
    )
    in_python = {IN_PYTHON.get(name, name) for name in verbs.choices}
    assert {*boxtune.VERBS} - in_python == {"cross_validate", "load"}
    assert in_python <= {*boxtune.VERBS}


def test_type_checkers_know_every_verb():
    stub = ast.parse(Path(boxtune.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    known = [(node.module, alias.name, alias.asname) for node in imports for alias in node.names]
    assert known == [(f"boxtune.{verb}", verb, verb) for verb in boxtune.VERBS]


def test_the_order_of_imports_does_not_matter():
    # `check` and `convert` are those that load quickly.
    asked_first = (
        "import boxtune; a = boxtune.check; import boxtune.check; from boxtune.check import check as b"
    )
    imported_first = "from boxtune.check import check as b; import boxtune.check, boxtune; a = boxtune.check"
    from_package = (
        "from boxtune import check as a; import boxtune.check; from boxtune.check import check as b"
    )
    for imports in (asked_first, imported_first, from_package):
        assert runs(f"{imports}; print(a is b is boxtune.check, callable(a))") == "True True"


def test_importing_the_package_imports_no_verb():
    told = (
        "import sys, boxtune; dir(boxtune); print(*sorted(m for m in sys.modules if m.startswith('boxtune')), "
        "'tensorflow' in sys.modules)"
    )
    assert runs(told) == "boxtune boxtune.onednn False"


def test_the_configuration_loads_with_protobuf_alone():
    told = (
        "import sys, boxtune.structures, boxtune.config, boxtune.errors; "
        "print(*sorted({'keras', 'numpy', 'tensorflow', 'absl', 'PIL', 'yaml'} & {*sys.modules}))"
    )
    assert runs(told) == ""


def test_a_name_that_is_none():
    with pytest.raises(AttributeError, match="module 'boxtune' has no attribute 'evalaute'"):
        boxtune.evalaute  # noqa: B018
    assert not hasattr(boxtune, "__path_hooks__")
