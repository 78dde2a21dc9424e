"""Write the pages of `boxtune.report` without data, for a linter: `python tests/empty_pages.py FOLDER`."""

import sys
from pathlib import Path

from boxtune.report import page

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("data_page", "evaluation_page"):
        page.write(folder / f"{name}.html", name, title="A page", data={}, previews=[], charts=[])
