"""Pages: each a single file that needs no network and opens from the disk.

A template `NAME.html` names in `<!-- ... -->` what is put in: the look and the script, shared (`page.css`, `page.js`,
and of GALLERY and CHARTS where the page has them) and its own (`NAME.css`, `NAME.js`), the data as one JSON object of
columns (numbers as base64 of little-endian arrays, so that a hundred thousand objects open at once) and previews of
images in blocks of base64, which the page decodes as they come into view. Names come from files of unknown origin: they
reach a page in JSON only, and the page treats them as text.
"""

import base64
import gzip
import html
import json
import re
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from importlib import resources
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from boxtune.data.files import whole_file
from boxtune.errors import printable
from boxtune.report.previews import MAX_PREVIEW_CHARACTERS, MAX_PREVIEW_SIDE, preview_limits

PREVIEWS_IN_BLOCK = 250

GALLERY, CHARTS = "gallery", "charts"
"""Parts that pages may share: images to choose from and look at, charts drawn by plotly.js."""

Columns = dict[str, Any]


def write(
    path: Path,
    name: str,
    *,
    title: str,
    data: Columns,
    parts: Collection[str] = (),
    previews: Iterable[str] = (),
) -> None:
    """Write a page, of what `text_of` takes.

    Raises:
        DataError: the file cannot be written.
    """
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as page:
        page.writelines(text_of(name, title=title, data=data, parts=parts, previews=previews))


def text_of(
    name: str,
    *,
    title: str,
    data: Columns,
    parts: Collection[str] = (),
    previews: Iterable[str] = (),
) -> Iterator[str]:
    """Yield the text of a page, piece by piece.

    Args:
        name: of the template, its style and its script: `NAME.html`, `NAME.css` and `NAME.js`.
        title: what it is called.
        data: of JSON values.
        parts: which of GALLERY and CHARTS it has.
        previews: JPEGs in base64, one for each image that has a number of a preview; may be empty strings.
    """
    texts: dict[str, Iterable[str]] = {
        "title": [html.escape(printable(title))],
        "style": map(_resource, ["page.css", *(["charts.css"] if CHARTS in parts else []), f"{name}.css"]),
        "script": map(_resource, ["page.js", *(f"{part}.js" for part in parts), f"{name}.js"]),
        "data": [escaped_json(data)],
        "charts": [_plotly()] if CHARTS in parts else [],
        "previews": _blocks(previews),
    }
    # What is put in is not looked through for names of the template's: one of them may be the name of an image.
    pieces = re.split(r"<!-- (\w+) -->", _resource(f"{name}.html"))
    for number, piece in enumerate(pieces):
        yield from texts[piece] if number % 2 else [piece]


@cache
def _plotly() -> str:
    """Return plotly.js (under the MIT licence), compressed, in base64: a page starts it when it shows a chart."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode("ascii")


def escaped_json(data: Any) -> str:
    """Return JSON that ends no script element, whatever strings are in it: of ASCII, without <, > and &."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def about_previews(count: int) -> Columns:
    """Return what a page says of its `count` previews: how large they are, and could be if they were fewer."""
    side, _ = preview_limits(count)
    room = MAX_PREVIEW_CHARACTERS // 10**6
    return {"block": PREVIEWS_IN_BLOCK, "side": side, "most": MAX_PREVIEW_SIDE, "megabytes": room}


def integers(values: ArrayLike) -> str:
    """Return a column of integers in [0, 2^32)."""
    return base64.b64encode(np.asarray(values, "<u4").tobytes()).decode("ascii")


def floats(values: ArrayLike) -> str:
    """Return a column of numbers in single precision."""
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode("ascii")


def starts(counts: Iterable[int]) -> str:
    """Return where each of several lists laid end to end starts, and where the last one ends."""
    return integers(list(accumulate(counts, initial=0)))


def _blocks(previews: Iterable[str]) -> Iterator[str]:
    """Return the elements that hold the previews, one a line, in blocks."""
    remaining = iter(previews)
    number = 0
    while block := list(islice(remaining, PREVIEWS_IN_BLOCK)):
        yield f'<script type="text/plain" id="previews-{number}">' + "\n".join(block) + "</script>\n"
        number += 1


def _resource(name: str) -> str:
    return resources.files("boxtune.report").joinpath(name).read_text(encoding="utf-8")
