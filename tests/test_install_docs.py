"""The tables of docs/install.md say what pyproject.toml says."""

import re
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGE = (REPOSITORY / "docs" / "install.md").read_text(encoding="utf-8")


def table_under(heading):
    """Return the first two cells of each row below a heading, without their backquotes."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [
        [cell.strip().strip("`") for cell in line.split("|")[1:3]]
        for line in section.splitlines()
        if "|" in line
    ]
    return dict(rows[2:])  # below the head and its rule


def test_the_versions_are_those_of_the_project():
    split = [re.fullmatch(r"([a-z0-9-]+)(.+)", one).groups() for one in PROJECT["dependencies"]]
    assert table_under("What it needs") == {"Python": PROJECT["requires-python"], **dict(split)}


def test_the_extras_are_those_of_the_project():
    extras = {name: ", ".join(brought) for name, brought in PROJECT["optional-dependencies"].items()}
    assert table_under("Extras") == extras


def test_the_gpu_brings_the_same_tensorflow():
    (gpu,) = PROJECT["optional-dependencies"]["gpu"]
    assert gpu.replace("[and-cuda]", "") in PROJECT["dependencies"]
