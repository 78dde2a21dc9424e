"""The verb `runs`: the runs of a project, what changed from one to the next, and which is the best."""

from pathlib import Path

from boxtune import config
from boxtune.config.pipeline_pb2 import InputReader
from boxtune.data.label_map import read_label_map
from boxtune.data.tfrecord import RecordIndex
from boxtune.errors import ConfigError
from boxtune.report.evaluation import JSON_NAME, read_evaluation
from boxtune.training.early_stopping import SHORT_NAMES
from boxtune.training.project import best_run, results_of, runs_of, start_of
from boxtune.training.run_state import COMPLETE_CONFIG, LABEL_MAP

_COLUMNS = ("RUN", "IMAGES", "CLASSES", "STEPS", "mAP", "95 %", "BEFORE")


def runs(project: str | Path) -> str:
    """Return a table of the runs of a project, the folder that `retrain` wrote: a row for each, and what changed.

    Raises:
        BoxtuneError: if there is none, or files of one are damaged.
    """
    folders = runs_of(Path(project))
    if not (folders[0] / COMPLETE_CONFIG).is_file():
        raise ConfigError(
            f"{project} holds no run: give the --model_dir of `boxtune retrain` or `boxtune train`"
        )
    rows = [_COLUMNS, *(_row(number, run) for number, run in enumerate(folders, start=1))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    lines += [
        "",
        "IMAGES: for training and for validation, on which the mAP is that of the run; 95 %: its confidence interval;",
        "BEFORE: the mAP of the best run before, on the same images.",
    ]
    for number, run in enumerate(folders[1:], start=2):
        start = start_of(run)
        changes = start.changes if start else []
        lines += ["", f"Run {number} began from {start.checkpoint if start else 'random weights'}:"]
        lines += [f"  {change}" for change in changes]
    best = best_run(folders)
    lines += [
        "",
        f"The best: run {folders.index(best) + 1}, {best}. `evaluate`, `export` and `predict` take it.",
    ]
    return "\n".join(lines)


def _row(number: int, run: Path) -> tuple[str, ...]:
    """Return the row of a run; what is not known yet is a dash."""
    pipeline, results = config.load(run / COMPLETE_CONFIG), results_of(run)
    readers = [pipeline.train_input_reader, *pipeline.eval_input_reader]
    counts = [_num_records(reader) for reader in readers]
    measured = read_evaluation(run / JSON_NAME) if (run / JSON_NAME).is_file() else None
    interval = measured.intervals.get(SHORT_NAMES["mAP"]) if measured else None
    label_map = run / LABEL_MAP
    return (
        str(number),
        " + ".join(counts),
        str(len(read_label_map(label_map).labels)) if label_map.is_file() else "-",
        f"{results['step']}" if results else "not ended",
        f"{measured.metrics[SHORT_NAMES['mAP']]:.3f}" if measured else "-",
        f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "-",
        f"{before:.3f}" if results and (before := results.get("mAP_of_best_before")) is not None else "-",
    )


def _num_records(reader: InputReader) -> str:
    """Return how many records a reader reads; a question mark if they are gone."""
    try:
        with RecordIndex(config.input_files(reader)) as index:
            return str(len(index))
    except (ConfigError, OSError):
        return "?"
