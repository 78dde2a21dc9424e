"""How Sphinx makes a site of these pages: `make docs`."""

import re
import tomllib
from pathlib import Path
from typing import Any

_PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]

project = _PROJECT["name"]
version = release = _PROJECT["version"]
project_copyright = _PROJECT["authors"][0]["name"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["conf.py"]

# The pages are read on forges, too: headings have the anchors that these give them.
myst_heading_anchors = 4

# In docstrings `name` is code, as it is in the pages.
default_role = "code"
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
add_module_names = False

html_theme = "furo"
html_title = f"boxtune {release}"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["site.css"]
html_css_files = ["site.css"]


def setup(app: Any) -> None:
    """Have docstrings shown as they are meant where napoleon, at priority 500, takes them otherwise."""
    app.connect("autodoc-process-docstring", _keep_colons, priority=400)
    app.connect("autodoc-process-docstring", _join_names, priority=600)


def _keep_colons(app: Any, what: str, name: str, subject: object, options: object, lines: list[str]) -> None:
    """Add an empty line in front: in the first one of an attribute, what is before a colon is taken for a type."""
    if what in ("attribute", "property"):
        lines.insert(0, "")


def _join_names(app: Any, what: str, name: str, subject: object, options: object, lines: list[str]) -> None:
    """Write "height, width" as "height/width": of two words, the first is taken for a type."""
    for number, line in enumerate(lines):
        if names := re.match(r":(ivar|param) \w+(, \w+)+:", line):
            lines[number] = names[0].replace(", ", "/") + line[names.end() :]
