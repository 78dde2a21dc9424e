"""A data set as one page to look at: its counts, its findings, its pictures with their boxes.

The page is a single file that needs no network and opens from the disk. Into the template `data_page.html` go the
data as one JSON object of columns (numbers as base64 of little-endian arrays, so that a hundred thousand objects
open at once) and previews of the pictures in blocks of base64, which the page takes apart as they come into view.
Names come from files of unknown origin: they reach the page in JSON only, and the page treats them as text.
"""

import base64
import html
import io
import json
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib import resources
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from boxtune.data import images
from boxtune.data.files import whole_file
from boxtune.data.findings import KINDS, Finding, Kind, printable
from boxtune.data.label_map import LabelMap
from boxtune.data.records import ImageRecord, ObjectRecord, Picture, class_names
from boxtune.data.workers import map_in_processes
from boxtune.errors import DataError
from boxtune.report.anchor_fit import AnchorFit

MAX_PREVIEWS = 10_000
MAX_PREVIEW_SIDE = 800
MAX_PREVIEW_CHARACTERS = 60_000_000  # of base64, all previews together
# Bytes that a small JPEG of quality 80 takes, divided by the square of its longer side: measured on photographs.
_BYTES_PER_SQUARE = 0.17
_PREVIEWS_IN_BLOCK = 250

Columns = dict[str, Any]


def write_page(
    path: Path,
    *,
    title: str,
    parts: Mapping[str, Sequence[ImageRecord]],
    findings: Sequence[Finding],
    label_map: LabelMap,
    fit: AnchorFit | None = None,
) -> None:
    """Write a page that shows a data set.

    Args:
        path: the HTML file to write.
        title: what the page is called, such as the folder's name.
        parts: the pictures, by what they are for ("train", "validation").
        findings: what was not as it should be.
        label_map: the classes; those of objects that it lacks are shown as such.
        fit: of the objects of all parts, in their order, if they are to be held against a detector's anchors.

    Raises:
        DataError: the file cannot be written.
    """
    records = [image for part in parts.values() for image in part]
    links = _links(records, findings)
    previewed = choose_previews(len(records), {picture for pictures in links for picture in pictures})
    side, max_bytes = preview_limits(len(previewed))
    class_numbers, classes = _classes(records, label_map)
    data = {
        "parts": [printable(name) for name in parts],
        "classes": classes,
        "kinds": [_kind(kind) for kind in KINDS],
        "pictures": _pictures(parts, previewed),
        "objects": _objects([item for image in records for item in image.objects], class_numbers),
        "findings": _findings(findings, links),
        "fit": _fit(fit, sum(len(image.objects) for image in records)) if fit else None,
        "previews": {"side": side, "block": _PREVIEWS_IN_BLOCK},
    }
    sources = [(records[picture].picture, records[picture].orientation) for picture in previewed]
    previews = map_in_processes(partial(_preview, side=side, max_bytes=max_bytes), sources)
    before_data, before_previews, rest = _template(title)
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as page:
        page.write(before_data + escaped_json(data) + before_previews)
        page.writelines(_blocks(previews))
        page.write(rest)


def choose_previews(num_pictures: int, with_findings: set[int]) -> list[int]:
    """Return which pictures get a preview, in order: all, or MAX_PREVIEWS with those that have findings first."""
    if num_pictures <= MAX_PREVIEWS:
        return list(range(num_pictures))
    rng = random.Random(0)
    drawn = sorted(range(num_pictures), key=lambda picture: (picture not in with_findings, rng.random()))
    return sorted(drawn[:MAX_PREVIEWS])


def preview_limits(number: int) -> tuple[int, int]:
    """Return the longer side in pixels and the most bytes of each of `number` previews."""
    max_bytes = MAX_PREVIEW_CHARACTERS * 3 // 4 // max(number, 1)
    return min(MAX_PREVIEW_SIDE, int(math.sqrt(max_bytes / _BYTES_PER_SQUARE))), max_bytes


def encode_preview(picture: Image.Image, max_bytes: int) -> bytes:
    """Return a JPEG of at most `max_bytes` (a thousand at least), coarser or smaller where it must be."""
    while True:
        for quality in (80, 65, 50):
            file = io.BytesIO()
            picture.save(file, "JPEG", quality=quality)
            if file.tell() <= max_bytes:
                return file.getvalue()
        picture = picture.reduce(2)


def escaped_json(data: Any) -> str:
    """Return JSON that ends no script element, whatever strings are in it: of ASCII, without <, > and &."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _preview(source: tuple[Picture, int], *, side: int, max_bytes: int) -> str:
    """Return a preview in base64, nothing if the picture cannot be read (any more)."""
    try:
        picture = images.read_rgb(*source, max_side=side)
    except DataError:
        return ""
    return base64.b64encode(encode_preview(picture, max_bytes)).decode("ascii")


def _blocks(previews: Iterator[str]) -> Iterator[str]:
    """Return the elements that hold the previews, one a line, in blocks."""
    number = 0
    while block := list(islice(previews, _PREVIEWS_IN_BLOCK)):
        yield f'<script type="text/plain" id="previews-{number}">' + "\n".join(block) + "</script>\n"
        number += 1


def _template(title: str) -> tuple[str, str, str]:
    """Return what stands before the data, before the previews and behind them."""
    text = resources.files("boxtune.report").joinpath("data_page.html").read_text(encoding="utf-8")
    head, _, body = text.partition("<!-- data -->")
    before_previews, _, rest = body.partition("<!-- previews -->")
    return head.replace("<!-- title -->", html.escape(printable(title))), before_previews, rest


def _classes(records: Iterable[ImageRecord], label_map: LabelMap) -> tuple[dict[str, int], Columns]:
    """Return the number of every class by its name, and the columns: the label map's, then those that it lacks."""
    names = label_map.names
    numbers = {
        label.display_name: number for number, label in enumerate(label_map.labels) if label.display_name
    }
    numbers |= {name: number for number, name in enumerate(names)}
    unknown = [name for name in class_names(records) if name not in numbers]
    numbers |= {name: number for number, name in enumerate(unknown, start=len(names))}
    return numbers, {"name": [printable(name) for name in names + unknown], "known": len(names)}


def _kind(kind: Kind) -> dict[str, str]:
    return {"name": kind.name, "severity": kind.severity, "action": kind.action, "advice": kind.advice}


def _pictures(parts: Mapping[str, Sequence[ImageRecord]], previewed: Iterable[int]) -> Columns:
    """Return the columns of the pictures; `preview` is 0 without one, else its number from 1 on."""
    records = [image for part in parts.values() for image in part]
    preview = np.zeros(len(records), np.int64)
    for number, picture in enumerate(previewed, start=1):
        preview[picture] = number
    return {
        "name": [printable(image.name) for image in records],
        "part": _integers(np.repeat(np.arange(len(parts)), [len(part) for part in parts.values()])),
        "width": _integers([image.width for image in records]),
        "height": _integers([image.height for image in records]),
        "preview": _integers(preview),
        "objects": _starts(len(image.objects) for image in records),
    }


def _objects(objects: Sequence[ObjectRecord], class_numbers: Mapping[str, int]) -> Columns:
    """Return the columns of the objects, picture after picture."""
    return {
        "class": _integers([class_numbers[item.class_name] for item in objects]),
        "box": _floats([item.box for item in objects]),
        "flags": _integers([_flags(item) for item in objects]),
    }


def _flags(item: ObjectRecord) -> int:
    return item.difficult | item.truncated << 1 | item.is_crowd << 2 | item.group_of << 3


def _findings(findings: Sequence[Finding], links: Sequence[Sequence[int]]) -> Columns:
    """Return the columns of the findings; those of `pictures` are laid end to end."""
    kinds = {kind: number for number, kind in enumerate(KINDS)}
    return {
        "kind": _integers([kinds[finding.kind] for finding in findings]),
        "file": [finding.file for finding in findings],
        "place": [finding.place for finding in findings],
        "message": [finding.message for finding in findings],
        "pictures": _integers([picture for pictures in links for picture in pictures]),
        "links": _starts(map(len, links)),
    }


def _fit(fit: AnchorFit, num_objects: int) -> Columns:
    """Return the columns of the anchors' shapes, and of the objects as the detector's input shows them."""
    if len(fit.best_iou) != num_objects:
        raise ValueError(
            f"The anchors were held against {len(fit.best_iou)} objects, the page has {num_objects}."
        )
    return {
        "anchors": len(fit.anchors),
        "threshold": fit.matched_threshold,
        "shape": _floats(fit.shapes),
        "size": _floats(fit.boxes[:, 2:] - fit.boxes[:, :2]),
        "iou": _floats(fit.best_iou),
    }


def _links(records: Sequence[ImageRecord], findings: Iterable[Finding]) -> list[list[int]]:
    """Return for each finding the pictures that it is about: of the name it gives, else of its file's name."""
    pictures: dict[str, list[int]] = {}
    for number, image in enumerate(records):
        pictures.setdefault(printable(image.name), []).append(number)
    return [pictures.get(finding.image or finding.file, []) for finding in findings]


def _starts(counts: Iterable[int]) -> str:
    """Return where each of several lists laid end to end begins, and where the last one ends."""
    return _integers(list(accumulate(counts, initial=0)))


def _integers(values: ArrayLike) -> str:
    return base64.b64encode(np.asarray(values, "<u4").tobytes()).decode("ascii")


def _floats(values: ArrayLike) -> str:
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode("ascii")
