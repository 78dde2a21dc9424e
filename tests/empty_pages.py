"""Write all pages without data, for a linter: `python tests/empty_pages.py FOLDER`."""

import sys
from pathlib import Path

from boxtune.report import page
from object_detection.utils import colab_utils

PARTS = {
    "data_page": [page.GALLERY],
    "evaluation_page": [page.GALLERY, page.CHARTS],
    "runs_page": [page.CHARTS],
    "serve_page": [],
}

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    page._plotly = lambda: ""  # which is not ours
    for name, parts in PARTS.items():
        page.write(folder / f"{name}.html", name, title="A page", data={}, parts=parts)
    boxes = colab_utils.PAGE.read_text(encoding="utf-8").replace("{{content}}", "{}")
    (folder / colab_utils.PAGE.name).write_text(boxes, encoding="utf-8")
