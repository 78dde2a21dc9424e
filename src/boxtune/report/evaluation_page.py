"""An evaluation as one page: its numbers, its mistakes, its images; or two runs side by side."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from boxtune.errors import DataError, printable
from boxtune.metrics.analysis import Analysis, DetectionTable, GroundtruthTable, ImageRow
from boxtune.metrics.comparison import Comparison
from boxtune.metrics.error_kinds import KINDS
from boxtune.report import page
from boxtune.report.evaluation_json import plain
from boxtune.report.page import Columns, floats, integers

PAGE_NAME = "evaluation.html"
"""Beside the JSON of the evaluation."""

_PREVIEW_START = "data:image/jpeg;base64,"
_PREVIEW = re.compile(re.escape(_PREVIEW_START) + "[A-Za-z0-9+/]+={0,2}")
_OF_RUN = (
    *("title", "step", "metrics", "losses", "intervals", "per_class", "curves"),
    *("error_kinds", "groups", "calibration", "how"),
)

_UNTITLED = "Evaluation"
_TOLERANCE = 0.1  # pixels, between the boxes of two runs


def write_page(
    path: Path,
    analysis: Analysis,
    earlier: Analysis | None = None,
    comparison: Comparison | None = None,
    history: Any = None,
) -> None:
    """Write a page that shows an evaluation.

    Args:
        path: of the page.
        analysis: what it shows.
        earlier: that of an earlier run on the same images, shown beside it.
        comparison: of the two, which says that the images are the same.
        history: of the run that was evaluated, a `RunHistory`, if it is known.

    Raises:
        DataError: a preview is not a JPEG, or the file cannot be written.
    """
    runs = [analysis, earlier] if earlier else [analysis]
    previews = _previews(runs)
    data: Columns = {
        "classes": [printable(name) for name in analysis.class_names],
        "kinds": list(KINDS),
        "images": _images(analysis.images, previews),
        "groundtruth": _groundtruth(analysis.groundtruth, len(analysis.images)),
        "runs": [_run(run) for run in runs],
        "comparison": None,
        "history": plain(history),
        "previews": page.about_previews(sum(preview is not None for preview in previews)),
    }
    if comparison:  # objects that are fixed or broken are counted in the page
        keys = ("name", "difference", "interval", "p_value")
        rows = [{key: getattr(one, key) for key in keys} for one in comparison.differences]
        data["comparison"] = {"differences": rows}
    page.write(
        path,
        "evaluation_page",
        title=" against ".join(run.title or _UNTITLED for run in runs),
        data=data,
        parts=(page.GALLERY, page.CHARTS),
        previews=(preview.removeprefix(_PREVIEW_START) for preview in previews if preview),
    )


def _groundtruth(table: GroundtruthTable, num_images: int) -> Columns:
    return {
        "start": _starts(table, num_images),
        "box": floats(np.round(table.box, 4)),
        "class": integers(table.cls),
        "flags": integers(table.crowd | table.difficult.astype(int) << 1),
    }


def _run(run: Analysis) -> Columns:
    """Return what is shown of a run. Objects count from 1 on within their image, 0 is none."""
    found = run.detections
    return {
        **{key: plain(getattr(run, key)) for key in _OF_RUN},
        "title": printable(run.title or _UNTITLED),
        "how": printable(run.how),
        "AP50": floats(np.round([np.nan if image.AP50 is None else image.AP50 for image in run.images], 6)),
        "start": _starts(found, len(run.images)),
        "box": floats(np.round(found.box, 4)),
        "class": integers(found.cls),
        # As thresholds are read, so that one that is a score keeps its detection.
        "score": floats(np.round(found.score, 6)),
        "match": integers(found.match + 1),
        "confusion": integers(found.confusion + 1),
        "kind": integers(found.kind),
        "iou": floats(np.round(found.iou, 6)),
    }


def _starts(table: GroundtruthTable | DetectionTable, num_images: int) -> str:
    return integers(np.searchsorted(table.image, np.arange(num_images + 1)))


def _previews(runs: Sequence[Analysis]) -> list[str | None]:
    """Return the preview of every image, of whichever run has one."""
    found = []
    for images in zip(*(run.images for run in runs), strict=True):
        preview = next((image.preview for image in images if image.preview), None)
        if preview and not _PREVIEW.fullmatch(preview):
            name = printable(images[0].name)
            raise DataError(
                f'The preview of image "{name}" is not a JPEG in base64: {printable(preview[:40])}'
            )
        found.append(preview)
    return found


def _images(images: Sequence[ImageRow], previews: Sequence[str | None]) -> Columns:
    """Return the columns of the images; `preview` is 0 without one, else its number from 1 on."""
    has_preview = np.array([preview is not None for preview in previews], int)
    return {
        "name": [printable(image.name) for image in images],
        "width": integers([image.width for image in images]),
        "height": integers([image.height for image in images]),
        "preview": integers(np.cumsum(has_preview) * has_preview),
    }
