"""The runs of a project as one page: what changed, how each has learned, and whether it is better."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from boxtune.metrics.comparison import Difference
from boxtune.report import page
from boxtune.report.evaluation_json import plain


class Run(NamedTuple):
    """What a page shows of a run: its row, its history and the difference from the best before, if known."""

    summary: Any
    history: Any
    difference: Difference | None


def write_page(path: Path, title: str, runs: Sequence[Run], best: int) -> None:
    """Write a page that shows runs, the oldest first.

    Args:
        path: of the page.
        title: of the project.
        runs: with a `RunSummary` and a `RunHistory` each.
        best: which of them is the best, from 0 on.

    Raises:
        DataError: the file cannot be written.
    """
    rows = [
        plain(run.summary) | {"history": plain(run.history), "difference": plain(run.difference)}
        for run in runs
    ]
    page.write(
        path, "runs_page", title=f"Runs of {title}", data={"runs": rows, "best": best}, parts=[page.CHARTS]
    )
