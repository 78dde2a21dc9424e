"""How a run was made and how it has learned, by the files in its model directory: what pages tell of it."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxtune import config
from boxtune.config.pipeline_pb2 import TrainEvalPipelineConfig
from boxtune.data.files import read_text
from boxtune.errors import BoxtuneError, DataError, printable, to_copy
from boxtune.metrics.metric_sets import NOT_MEASURED
from boxtune.report import data_set
from boxtune.training import provenance
from boxtune.training.early_stopping import SHORT_NAMES
from boxtune.training.loggers import JOURNAL, journal_lines
from boxtune.training.run_state import BEST, COMPLETE_CONFIG

MAX_POINTS = 200
"""Of the curve of losses: each is the mean over as many steps."""

_OWN_NAMES = ("boxtune", "__main__.py")


@dataclass(frozen=True)
class Size:
    """How many images a part of the data has, and how many objects these have; None where nothing says it."""

    images: int
    objects: int | None


@dataclass(frozen=True)
class RunHistory:
    """How a run was made and how it has learned.

    Attributes:
        model: the kind of its network, and the size of the images that this takes.
        start: the checkpoint that it began from, or "random weights".
        time: when it was started.
        command: by which.
        batch_size: images in a step.
        parts: sizes of the data by their use, "training" and "evaluation".
        steps, losses: the total loss in training, up to each of these steps the mean since the one before.
        evaluated: the steps after which it was evaluated; with mAP, AP50 and total loss of each, None where there is
            none.
    """

    model: str
    start: str
    time: str
    command: str
    batch_size: int
    parts: dict[str, Size]
    steps: list[int]
    losses: list[float]
    evaluated: list[int]
    mean_average_precision: list[float | None]
    ap50: list[float | None]
    evaluation_losses: list[float | None]


def run_of(checkpoint: str | Path) -> Path | None:
    """Return the model directory of the run that has written a checkpoint, given by its prefix; None without one."""
    folder = Path(checkpoint).parent
    folders = [folder, *([folder.parent] if folder.name == BEST else [])]
    return next((one for one in folders if (one / provenance.RUN).is_file()), None)


def read_history(run: Path) -> RunHistory:
    """Return the history of the run in a model directory.

    Raises:
        BoxtuneError: if a file that says it is missing or damaged.
    """
    entries = provenance.read(run / provenance.RUN)
    if not entries:
        raise DataError(f"{run} holds no run: there is no {provenance.RUN}")
    pipeline = config.load(run / COMPLETE_CONFIG)
    training = [content for content, _ in journal_lines(run / JOURNAL)]
    evaluations = [content for content in training if "evaluation" in content]
    steps, losses = _thinned([content for content in training if "Loss/total_loss" in content])
    last = entries[-1]
    return RunHistory(
        model=_model(pipeline),
        start=printable(pipeline.train_config.fine_tune_checkpoint) or "random weights",
        time=printable(str(entries[0].get("time", ""))),
        command=_command(last.get("command")),
        batch_size=pipeline.train_config.batch_size,
        parts=_parts(last.get("data")),
        steps=steps,
        losses=losses,
        evaluated=[content["step"] for content in evaluations],
        mean_average_precision=_values(evaluations, SHORT_NAMES["mAP"]),
        ap50=_values(evaluations, SHORT_NAMES["AP50"]),
        evaluation_losses=_values(evaluations, SHORT_NAMES["loss"]),
    )


def _model(pipeline: TrainEvalPipelineConfig) -> str:
    family = config.family_of(pipeline.model)
    resizer, size = family.image_resizer(pipeline.model), ""
    if resizer.HasField("fixed_shape_resizer"):
        size = f", {resizer.fixed_shape_resizer.width} x {resizer.fixed_shape_resizer.height} pixels"
    elif resizer.HasField("keep_aspect_ratio_resizer"):
        sides = resizer.keep_aspect_ratio_resizer
        size = f", {sides.min_dimension} to {sides.max_dimension} pixels"
    return printable(f"{family.kind(pipeline.model)}{size}")


def _command(words: Any) -> str:
    """Return the command line of an entry of `run.json`, by the program's own name."""
    if not isinstance(words, list) or not words:
        return ""
    program, *arguments = map(str, words)
    name = "boxtune" if Path(program).name in _OWN_NAMES else program
    return printable(to_copy(name, *arguments))


def _parts(data: Any) -> dict[str, Size]:
    """Return the sizes of the parts that an entry of `run.json` has under "data"."""
    if not isinstance(data, Mapping):
        return {}
    return {
        str(use): Size(sum(int(one.get("records", 0)) for one in files.values()), _num_objects(list(files)))
        for use, files in data.items()
    }


def _num_objects(files: Sequence[str]) -> int | None:
    """Return how many objects records have, by the report of the conversion that has written them, if it is there."""
    folders = {Path(file).parent for file in files}
    if len(folders) != 1:
        return None
    try:
        report = json.loads(read_text(folders.pop() / data_set.JSON_NAME))
        names = {Path(file).name for file in files}
        sizes = [one["objects"] for one in report["parts"].values() if set(one["files"]) == names]
    except (BoxtuneError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return int(sizes[0]) if len(sizes) == 1 else None


def _thinned(contents: Sequence[Mapping[str, Any]]) -> tuple[list[int], list[float]]:
    """Return at most MAX_POINTS steps, and the mean loss of those up to each."""
    count = -(-len(contents) // MAX_POINTS) or 1
    groups = [contents[start : start + count] for start in range(0, len(contents), count)]
    means = [statistics.fmean(one["Loss/total_loss"] for one in group) for group in groups]
    return [group[-1]["step"] for group in groups], means


def _values(evaluations: Iterable[Mapping[str, Any]], tag: str) -> list[float | None]:
    found = (one["evaluation"].get(tag) for one in evaluations)
    return [None if value is None or value == NOT_MEASURED else value for value in found]
