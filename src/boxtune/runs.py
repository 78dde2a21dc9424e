"""The verb `runs`: the runs of a project, what changed from one to the next, and which is the best."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from boxtune import config
from boxtune.config.pipeline_pb2 import InputReader
from boxtune.data.files import writable_folder
from boxtune.data.label_map import read_label_map
from boxtune.data.tfrecord import RecordIndex
from boxtune.errors import BoxtuneError, ConfigError
from boxtune.metrics.analysis import Analysis, results_of
from boxtune.metrics.bootstrap import Interval
from boxtune.metrics.comparison import Difference, compare
from boxtune.report import runs_page
from boxtune.report.evaluation import JSON_NAME, read_evaluation
from boxtune.run_history import RunHistory, read_history
from boxtune.training.early_stopping import SHORT_NAMES
from boxtune.training.project import BEST_BEFORE, RECORDS, best_run, runs_of, start_of
from boxtune.training.project import results_of as figures_of
from boxtune.training.run_state import COMPLETE_CONFIG, LABEL_MAP

_COLUMNS = ("RUN", "IMAGES", "CLASSES", "STEPS", "mAP", "95 %", "BEFORE")
_SAME = "SAME IMAGES"
_MAP = SHORT_NAMES["mAP"]

SAME_IMAGES = "same_images"
"""In the folder of the newest run: the evaluations of the others on its validation images, each in a folder."""


@dataclass(frozen=True)
class RunSummary:
    """A run in a row; None where something is not known (yet).

    Attributes:
        number: from 1 on.
        folder: of the run.
        start: the checkpoint that it began from.
        changes: what was different from the run before.
        images: for training and for validation, a question mark where the records are gone.
        num_classes: of its label map.
        step: of the checkpoint that is its best, if the run has ended.
        mean_average_precision, interval: on its validation images, with 95 % confidence.
        before: mAP of the best run before on the same images.
        same_images: mAP on the validation images of the newest run, over the classes that both know.
    """

    number: int
    folder: str
    start: str
    changes: list[str]
    images: list[str]
    num_classes: int | None
    step: int | None
    mean_average_precision: float | None
    interval: Interval | None
    before: float | None
    same_images: float | None = None


def runs(project: str | Path, page: str | Path | None = None, *, same_images: bool = False) -> str:
    """Return a table of the runs of a project, the folder that `retrain` wrote: a row for each, and what changed.

    Args:
        project: the folder.
        page: an HTML file to write, which shows them with their curves.
        same_images: whether to measure the runs before on the validation images of the newest, those that are not yet.

    Raises:
        BoxtuneError: if there is none, files of one are damaged, or the page cannot be written.
    """
    folders = runs_of(Path(project))
    if not (folders[0] / COMPLETE_CONFIG).is_file():
        raise ConfigError(
            f"{project} holds no run: give the --model_dir of `boxtune retrain` or `boxtune train`"
        )
    rows = [_summary(number, run) for number, run in enumerate(folders, start=1)]
    if same_images:
        rows = _on_same_images(rows, folders)
    best = folders.index(best_run(folders))
    lines = [*_table(rows), *_changes(rows), ""]
    lines.append(f"The best: run {best + 1}, {folders[best]}. `evaluate`, `export` and `predict` take it.")
    if page is not None:
        writable_folder(Path(page).parent)
        told = [
            runs_page.Run(row, _history(folder), _difference(folder))
            for row, folder in zip(rows, folders, strict=True)
        ]
        runs_page.write_page(Path(page), Path(project).resolve().name, told, best)
        lines.append(f"The page: {page}")
    return "\n".join(lines)


def _on_same_images(rows: Sequence[RunSummary], folders: Sequence[Path]) -> list[RunSummary]:
    """Return the rows with the mAP of all runs on the validation images of the newest, measured if it was not yet."""
    from boxtune.same_images import compare, measure  # with TensorFlow, which takes seconds to load

    newest = folders[-1]
    own = rows[-1].mean_average_precision
    measured = []
    for row, folder in zip(rows[:-1], folders, strict=False):
        output_dir = newest / SAME_IMAGES / str(row.number)
        known = (output_dir / JSON_NAME).is_file() or measure(folder, newest, newest / RECORDS, output_dir)
        value = compare(folder, newest, output_dir).before if known and own is not None else None
        measured.append(replace(row, same_images=value))
    return [*measured, replace(rows[-1], same_images=own)]


def _table(rows: Sequence[RunSummary]) -> list[str]:
    is_same = any(row.same_images is not None for row in rows)
    heads = (*_COLUMNS, _SAME) if is_same else _COLUMNS
    cells = [heads, *(_cells(row)[: len(heads)] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    about_same = (
        f"{_SAME}: the mAP on the validation images of run {len(rows)}, over the classes that both know."
    )
    return [
        *lines,
        "",
        "IMAGES: for training and for validation, on which the mAP is that of the run; 95 %: its confidence interval;",
        f"BEFORE: the mAP of the best run before, on the same images{';' if is_same else '.'}",
        *([about_same] if is_same else []),
    ]


def _cells(row: RunSummary) -> tuple[str, ...]:
    """Return the cells of a run; what is not known yet is a dash."""
    low_to_high = " to ".join(f"{bound:.3f}" for bound in row.interval or ())
    return (
        str(row.number),
        " + ".join(row.images),
        _shown(row.num_classes),
        "not ended" if row.step is None else str(row.step),
        _shown(row.mean_average_precision),
        low_to_high or "-",
        _shown(row.before),
        _shown(row.same_images),
    )


def _shown(value: float | int | None) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _changes(rows: Sequence[RunSummary]) -> list[str]:
    lines: list[str] = []
    for row in rows[1:]:
        lines += ["", f"Run {row.number} began from {row.start}:", *(f"  {change}" for change in row.changes)]
    return lines


def _summary(number: int, run: Path) -> RunSummary:
    pipeline, figures, start = config.load(run / COMPLETE_CONFIG), figures_of(run), start_of(run)
    measured = _evaluation(run)
    label_map = run / LABEL_MAP
    before = figures.get("mAP_of_best_before") if figures else None
    checkpoint = start.checkpoint if start else pipeline.train_config.fine_tune_checkpoint
    return RunSummary(
        number=number,
        folder=str(run),
        start=checkpoint or "random weights",
        changes=start.changes if start else [],
        images=[_num_records(one) for one in (pipeline.train_input_reader, *pipeline.eval_input_reader)],
        num_classes=len(read_label_map(label_map).labels) if label_map.is_file() else None,
        step=figures["step"] if figures else None,
        mean_average_precision=measured.metrics.get(_MAP) if measured else None,
        interval=measured.intervals.get(_MAP) if measured else None,
        before=None if before is None else float(before),
    )


def _evaluation(folder: Path) -> Analysis | None:
    return read_evaluation(folder / JSON_NAME) if (folder / JSON_NAME).is_file() else None


def _history(run: Path) -> RunHistory | None:
    """Return the history of a run; None if its files do not tell it."""
    try:
        return read_history(run)
    except BoxtuneError:
        return None


def _difference(run: Path) -> Difference | None:
    """Return by how much a run differs in mAP from the best before, on the same images, if that was measured."""
    now, before = _evaluation(run), _evaluation(run / BEST_BEFORE)
    if not (now and before) or now.class_names != before.class_names:
        return None
    found = compare(results_of(before), results_of(now), now.class_names)
    return next((one for one in found.differences if one.name == _MAP), None)


def _num_records(reader: InputReader) -> str:
    """Return how many records a reader reads; a question mark if they are gone."""
    try:
        with RecordIndex(config.input_files(reader)) as index:
            return str(len(index))
    except (ConfigError, OSError):
        return "?"
