"""An evaluation as one page to look at: its numbers, its mistakes, its pictures; or two runs side by side.

The page is made from the JSON of an evaluation alone. Its charts are drawn by plotly.js, which travels in the page,
compressed, and is started when the first chart comes into view.
"""

import base64
import gzip
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from plotly.offline import get_plotlyjs

from boxtune.errors import DataError, printable
from boxtune.report import page
from boxtune.report.evaluation_json import Floats, Ints, Json, check, column, indices, num_objects, title
from boxtune.report.page import Columns, floats, integers, starts

_PREVIEW_START = "data:image/jpeg;base64,"
_PREVIEW = re.compile(re.escape(_PREVIEW_START) + "[A-Za-z0-9+/]+={0,2}")
_OF_RUN = (
    *("title", "step", "metrics", "losses", "intervals", "per_class", "curves"),
    *("error_kinds", "groups", "calibration"),
)

_UNTITLED = "Evaluation"
_TOLERANCE = 0.1  # pixels, between the boxes of two runs


@dataclass(frozen=True)
class _Truth:
    """The objects that are there, picture after picture."""

    counts: Ints  # of each picture
    boxes: Floats  # [n, 4] pixels
    classes: Ints
    crowd: Ints  # 0 or 1, as `difficult`
    difficult: Ints

    def integers(self) -> tuple[Ints, ...]:
        """Return all that is not a box."""
        return self.counts, self.classes, self.crowd, self.difficult


def write_page(evaluation: Json, path: Path, other: Json | None = None) -> None:
    """Write a page that shows an evaluation.

    Args:
        evaluation: the JSON of an evaluation.
        path: the HTML file to write.
        other: that of an earlier run on the same pictures, to be held against it.

    Raises:
        DataError: an evaluation is not what this page reads, the two are of other pictures or classes, or the file
            cannot be written.
    """
    check(evaluation)
    runs, truth = [evaluation], _truth(evaluation)
    if other is not None:
        check(other)
        runs.append(_in_order_of(evaluation, other))
        _check_same_truth(runs, truth)
    previews = _previews(runs)
    data = {
        "classes": [printable(name) for name in evaluation["classes"]],
        "kinds": evaluation["kinds"],
        "pictures": _pictures(evaluation["images"], previews),
        "truth": _truth_columns(truth),
        "runs": [_run(run, truth) for run in runs],
        "comparison": _comparison(evaluation) if other is not None else None,
        "previews": {"block": page.PREVIEWS_IN_BLOCK},
    }
    page.write(
        path,
        "evaluation_page.html",
        title=" against ".join(run["title"] or _UNTITLED for run in runs),
        data=data,
        previews=(preview.removeprefix(_PREVIEW_START) for preview in previews if preview),
        charts=[_charts()],
    )


def _comparison(evaluation: Json) -> Columns | None:
    """Return what redraws say of the differences; objects that are fixed or broken are counted in the page."""
    comparison = evaluation.get("comparison")
    keys = ("name", "difference", "interval", "p_value")
    return comparison and {
        "differences": [{key: row[key] for key in keys} for row in comparison["differences"]]
    }


@cache
def _charts() -> str:
    """Return plotly.js (under the MIT licence), compressed, in base64."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode("ascii")


def _in_order_of(evaluation: Json, other: Json) -> Json:
    """Return `other` with its pictures in the order of `evaluation`, which are the same."""
    if other["classes"] != evaluation["classes"] or other["kinds"] != evaluation["kinds"]:
        raise DataError(
            f"{title(evaluation)} and {title(other)} are not of the same classes: evaluate both with one label map."
        )
    names, others = ([image["name"] for image in run["images"]] for run in (evaluation, other))
    order, other_order = (sorted(range(len(run)), key=run.__getitem__) for run in (names, others))
    if [names[n] for n in order] != [others[n] for n in other_order]:
        example = printable(min(set(names) ^ set(others), default="one of several of one name"))
        raise DataError(
            f'{title(evaluation)} and {title(other)} are not of the same pictures: "{example}" is only in one'
            " of them. Evaluate both on the same data."
        )
    images = dict(zip(order, (other["images"][n] for n in other_order), strict=True))
    return {**other, "images": [images[number] for number in range(len(names))]}


def _truth(evaluation: Json) -> _Truth:
    """Return the columns of the objects that are there, picture after picture."""
    return _Truth(
        num_objects(evaluation, "truth"),
        column(evaluation, "truth", "box"),
        indices(evaluation, "truth", "class", len(evaluation["classes"])),
        indices(evaluation, "truth", "crowd", 2),
        indices(evaluation, "truth", "difficult", 2),
    )


def _check_same_truth(runs: Sequence[Json], truth: _Truth) -> None:
    boxes, other = truth.boxes, _truth(runs[1])
    same = all(np.array_equal(a, b) for a, b in zip(truth.integers(), other.integers(), strict=True))
    if not same or not np.allclose(boxes, other.boxes, rtol=0, atol=_TOLERANCE):
        raise DataError(
            f"The objects of the pictures are not the same in {title(runs[0])} and {title(runs[1])}."
            " Evaluate both on the same data."
        )


def _truth_columns(truth: _Truth) -> Columns:
    return {
        "start": starts(truth.counts),
        "box": floats(truth.boxes),
        "class": integers(truth.classes),
        "flags": integers(truth.crowd | truth.difficult << 1),
    }


def _run(run: Json, truth: _Truth) -> Columns:
    """Return what is shown of a run. Objects count from 1 on within their picture, 0 is none."""
    counts = num_objects(run, "found")
    there = np.repeat(truth.counts, counts)
    return {
        **{key: run[key] for key in _OF_RUN},
        "title": printable(run["title"] or _UNTITLED),
        "AP50": floats([np.nan if image["AP50"] is None else image["AP50"] for image in run["images"]]),
        "start": starts(counts),
        "box": floats(column(run, "found", "box")),
        "class": integers(indices(run, "found", "class", len(run["classes"]))),
        # As thresholds are read, so that one that is a score keeps its detection.
        "score": floats(np.round(_falling_scores(run, counts), 6)),
        "match": integers(indices(run, "found", "match", there, start=-1) + 1),
        "confusion": integers(indices(run, "found", "confusion", there, start=-1) + 1),
        "kind": integers(indices(run, "found", "kind", len(run["kinds"]))),
        "iou": floats(column(run, "found", "iou")),
    }


def _falling_scores(run: Json, counts: Ints) -> Floats:
    scores, image = column(run, "found", "score"), np.repeat(np.arange(len(counts)), counts)
    for row in np.flatnonzero((np.diff(scores) > 0) & (np.diff(image) == 0))[:1]:
        name = printable(run["images"][image[row]]["name"])
        raise DataError(
            f'{title(run)}: found.score of picture "{name}" is not in the order of falling scores.'
        )
    return scores


def _previews(runs: Sequence[Json]) -> list[str | None]:
    """Return the preview of every picture, of whichever run has one."""
    found = []
    for images in zip(*(run["images"] for run in runs), strict=True):
        preview = next((image["preview"] for image in images if image["preview"]), None)
        if preview and not _PREVIEW.fullmatch(preview):
            name = printable(images[0]["name"])
            raise DataError(
                f'The preview of picture "{name}" is no JPEG in base64: {printable(preview[:40])}'
            )
        found.append(preview)
    return found


def _pictures(images: Sequence[Json], previews: Sequence[str | None]) -> Columns:
    """Return the columns of the pictures; `preview` is 0 without one, else its number from 1 on."""
    has_preview = np.array([preview is not None for preview in previews], int)
    return {
        "name": [printable(image["name"]) for image in images],
        "width": integers([image["width"] for image in images]),
        "height": integers([image["height"] for image in images]),
        "preview": integers(np.cumsum(has_preview) * has_preview),
    }
