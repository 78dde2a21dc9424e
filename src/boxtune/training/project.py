"""A project: a model directory with its first run, and in `runs/2`, `runs/3`, ... those that went on from it.

Each run is a model directory of its own, whole. The best is what is evaluated, exported and used.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from boxtune.data.files import read_text, whole_file
from boxtune.errors import BoxtuneError, DataError
from boxtune.evaluation.exported import is_exported
from boxtune.training import checkpoints
from boxtune.training.run_state import BEST, EXPORTED, RUNS, START, later_runs

RESULTS = "results.json"
"""In the folder of a run that has ended: its figures."""

RECORDS = "records"
"""In the folder of a run: what it is trained and measured on."""

BEST_BEFORE = "best_before"
"""In the folder of a later run: the evaluation of the best run before, on the images of this one."""


@dataclass(frozen=True)
class Start:
    """How a later run began: from a checkpoint, and what had changed since the run before it."""

    checkpoint: str
    changes: list[str]


def runs_of(project: Path) -> list[Path]:
    """Return the folders of the runs of a project, the first of which is its own."""
    return [project, *later_runs(project)]


def begin_next(project: Path, start: Start) -> Path:
    """Make the folder of the next run, with how it begins, and return it."""
    last = runs_of(project)[-1]
    folder = project / RUNS / str(2 if last == project else int(last.name) + 1)
    folder.mkdir(parents=True, exist_ok=True)  # a kill may have left it
    with whole_file(folder / START) as temporary:
        temporary.write_text(json.dumps(asdict(start), indent=2) + "\n", encoding="utf-8")
    return folder


def start_of(run: Path) -> Start | None:
    """Return how a run began; None for the first.

    Raises DataError if the file that says it is damaged.
    """
    path = run / START
    if not path.exists():
        return None
    content = _read(path)
    try:
        return Start(str(content["checkpoint"]), list(map(str, content["changes"])))
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged. Remove {run} to begin that run anew.") from error


def results_of(run: Path) -> dict | None:
    """Return the figures of a run, as `retrain` writes them; None if it has not ended.

    Raises DataError if the file that says it is damaged.
    """
    path = run / RESULTS
    if not path.exists():
        return None
    results = _read(path)
    numbers = [results.get("mAP"), results.get("step"), results.get("mAP_of_best_before") or 0.0]
    if not all(isinstance(number, int | float) for number in numbers):
        raise DataError(f"{path} is damaged. Run the same `retrain` again to write it anew.")
    return results


def best_run(runs: Sequence[Path]) -> Path:
    """Return the best of the runs of a project, or of the first of them.

    A later run is better than the best before it if that has no higher mAP on the same images, those of the later run,
    or knows other classes. Runs that have not ended do not count, but for the first.
    """
    best, *later = runs
    for run in later:
        if results := results_of(run):
            before = results.get("mAP_of_best_before")
            best = best if before is not None and before > results["mAP"] else run
    return best


def best_checkpoint(run: Path) -> Path:
    """Return the folder of a run's best checkpoint; that of all if it has none."""
    return run / BEST if checkpoints.exists(run / BEST) else run


def _read(path: Path) -> dict:
    try:
        content = json.loads(read_text(path))
        if not isinstance(content, dict):
            raise TypeError
        return content
    except (ValueError, TypeError, RecursionError, BoxtuneError) as error:
        raise DataError(f"{path} is damaged: {error or 'it holds no object'}.") from error


def exported_of(model: Path) -> Path:
    """Return the exported model of a project's best run, which starts sooner than its checkpoint; else the model."""
    best = best_run(runs_of(model)) / EXPORTED
    return best if is_exported(best) else model  # an export that failed may have left the folder
