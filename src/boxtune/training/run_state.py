"""The state of a run that is needed to resume it, and the checkpoints that store it."""

import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from boxtune.errors import CheckpointError, many
from boxtune.evaluation.thresholds import THRESHOLDS
from boxtune.models import Detector
from boxtune.training import checkpoints, provenance
from boxtune.training.averages import Averages
from boxtune.training.checkpoint_manager import CheckpointManager
from boxtune.training.loggers import JOURNAL
from boxtune.training.optimizer import batch_counter, optimizer_variables

BEST = "best"
"""In the model directory: the folder of the best checkpoint."""

BEST_JSON = "best.json"
"""Beside that checkpoint: its evaluation."""

PIPELINE_CONFIG = "pipeline.config"
"""In the folder of a training or an export: the configuration, as it was given."""

COMPLETE_CONFIG = "complete_pipeline.config"
"""In the model directory: the configuration with every section filled in, as it was trained."""

PIPELINE_CONFIG = "pipeline.config"
"""Beside a checkpoint that another program, or an export, has written."""

LABEL_MAP = "model_label_map.pbtxt"
"""In the model directory: the label map that the run was begun with, which export and evaluation use."""

EXPORTED = "exported"
"""In the model directory: what `retrain` exports."""

RUNS = "runs"
"""In the model directory: the runs that went on from the first, by their numbers."""

START = "start.json"
"""In the folder of such a run: from which weights it began, and what was different."""

ANEW = "Give another --model_dir, or --overwrite to remove that run and begin anew"

_CHECKPOINTS = ("checkpoint", "ckpt-*.index", "ckpt-*.data-*-of-*")
_FILES = {
    ".": (*_CHECKPOINTS, JOURNAL, provenance.RUN, COMPLETE_CONFIG, LABEL_MAP, THRESHOLDS, "evaluation.json",
          "evaluation.html", "results.json"),
    BEST: (*_CHECKPOINTS, BEST_JSON, THRESHOLDS),
    "train": ("events.out.tfevents.*",),
    "eval": ("events.out.tfevents.*",),
    EXPORTED: ("pipeline.config", "label_map.pbtxt", THRESHOLDS),
}  # fmt: skip
"""What a run leaves in its model directory, by folders."""
_FOLDERS = (f"{EXPORTED}/saved_model", f"{EXPORTED}/checkpoint")
"""And as whole folders."""
_TRACES = (JOURNAL, provenance.RUN)
"""Of these and BEST every run leaves at least one."""

_log = logging.getLogger("boxtune")


def trained_in(
    model_dir: str | Path | None, config_path: str | Path | None, checkpoint: str | Path | None
) -> tuple[Path, Path]:
    """Return configuration and checkpoint of a training, from its model directory where they are not given.

    Raises:
        CheckpointError: if neither they nor the directory are given.
    """
    if model_dir is None and (config_path is None or checkpoint is None):
        raise CheckpointError("give --model_dir, or both --pipeline_config_path and --checkpoint")
    folder = Path(model_dir or "")
    return Path(config_path or folder / COMPLETE_CONFIG), Path(checkpoint or folder)


def own_label_map(checkpoint: str | Path) -> Path | None:
    """Return the label map that is kept with a checkpoint, given by its prefix; None if there is none."""
    folder = Path(checkpoint).parent
    beside = {BEST: LABEL_MAP, "checkpoint": "label_map.pbtxt"}.get(folder.name)
    found = [folder / LABEL_MAP, *([folder.parent / beside] if beside else [])]
    return next((path for path in found if os.path.lexists(path)), None)


def config_beside(checkpoint: Path) -> Path | None:
    """Return the configuration of a checkpoint, given by its folder, prefix or file; None if there is none near it."""
    if checkpoint.is_dir():
        folders = [checkpoint, checkpoint.parent] if checkpoint.name in ("checkpoint", BEST) else [checkpoint]
    else:
        folders = list(checkpoint.parents)[:2]
    near = (folder / name for folder in folders for name in (COMPLETE_CONFIG, PIPELINE_CONFIG))
    return next((path for path in near if path.is_file()), None)


def holds_run(model_dir: Path) -> bool:
    """Return whether a model directory holds a run that can be resumed.

    One that was interrupted before its first checkpoint is none: it is begun anew.

    Raises:
        CheckpointError: if there is a run, but its checkpoints are gone.
    """
    if checkpoints.latest(model_dir):
        return True
    traces = [name for name in _TRACES if (model_dir / name).exists()]
    traces += [BEST] if any(_matching(model_dir / BEST, _FILES[BEST])) else []
    if traces and not provenance.never_had_checkpoint(model_dir / provenance.RUN):
        raise CheckpointError(
            f"{model_dir} has {' and '.join(traces)} of a run, but no checkpoint of it (ckpt-N.index and "
            f"ckpt-N.data-*): put its checkpoints back to resume it. {ANEW}"
        )
    return False


def refuse_to_remove(model_dir: Path, start: str) -> None:
    """Raise CheckpointError if the checkpoint to start from is among the files that `remove_run` removes."""
    if start and checkpoints.exists(start):
        index = Path(f"{checkpoints.find(start)}.index").resolve()
        if any(path.resolve() in (index, *index.parents) for path in _left_in(model_dir)):
            raise CheckpointError(
                f"{start} is to be started from, and is of the run in {model_dir} that --overwrite would remove: "
                "give another --model_dir"
            )


def remove_run(model_dir: Path) -> None:
    """Remove all that runs have left in a model directory, and nothing else.

    Raises:
        CheckpointError: if the file system refuses.
    """
    try:
        for path in _left_in(model_dir):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for name in (*_FILES, RUNS):
            folder = model_dir / name
            if name != "." and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
    except OSError as error:
        raise CheckpointError(f"{error.filename} cannot be removed: {error.strerror}. {ANEW}") from error


def later_runs(model_dir: Path) -> list[Path]:
    """Return the folders of the runs that went on from the first, in their order."""
    found = [path.parent for path in (model_dir / RUNS).glob(f"*/{START}") if path.parent.name.isdecimal()]
    return sorted(found, key=lambda path: int(path.name))


def _left_in(model_dir: Path) -> Iterator[Path]:
    """Yield all that runs have left in a model directory, the traces of which runs are known last."""
    yield from (model_dir / name for name in _FOLDERS if (model_dir / name).is_dir())
    yield from later_runs(model_dir)
    files = [path for name, patterns in _FILES.items() for path in _matching(model_dir / name, patterns)]
    yield from sorted(files, key=lambda path: path.name in _TRACES)


def _matching(folder: Path, patterns: Iterable[str]) -> Iterator[Path]:
    """Yield the files in a folder that match any of the patterns."""
    return (path for pattern in patterns for path in folder.glob(pattern) if not path.is_dir())


class RunState:
    """The weights, the optimizer and the step of a run, stored as `ckpt-N` in its model directory.

    The weights have the API's keys, so the API restores them; so do `step` and `save_counter`.
    """

    def __init__(
        self,
        model_dir: Path,
        detector: Detector,
        max_to_keep: int,
        *,
        keep_every_n: int = 0,
        averages: Averages | None = None,
    ):
        """Prepare for a compiled `detector` and the averages of its weights, if there are any.

        Of its checkpoints, the newest `max_to_keep` are kept, and those whose step is a multiple of `keep_every_n`.
        """
        optimizer = detector.optimizer
        self.model_dir = model_dir
        self.averages = averages or Averages({}, 0.0)
        self.model_variables = detector.checkpoint_variables()
        self.optimizer_variables = optimizer_variables(optimizer, detector.trained_variables())
        self.optimizer_variables |= detector.random_states()
        self.iterations = batch_counter(optimizer)
        """The number of batches so far: `accumulate_batches` for each step."""
        self._batches_per_step = optimizer.gradient_accumulation_steps or 1
        self._step = tf.Variable(0, dtype=tf.int64)  # not Keras': JAX would make 32 bits of the API's 64
        self.variables = self.model_variables | self.optimizer_variables | self.averages.variables
        self.variables |= {"step": self._step}
        """All that a checkpoint stores, by its keys."""
        aliases = detector.checkpoint_aliases
        self._manager = CheckpointManager(
            self.variables, model_dir, max_to_keep=max_to_keep, keep_every_n=keep_every_n, aliases=aliases
        )
        self._best_manager = CheckpointManager(
            self.variables, model_dir / BEST, max_to_keep=1, aliases=aliases
        )
        self._saved: tuple[int, str] | None = None

    @property
    def step(self) -> int:
        """The number of steps so far."""
        return int(self.iterations.numpy()) // self._batches_per_step

    def save(self) -> str:
        """Write the next checkpoint, whole or not at all, and return its prefix; only once after each step.

        Raises:
            CheckpointError: if a weight is not finite, or the file system refuses.
        """
        if self._saved is None or self._saved[0] != self.step:
            self._prepare_to_save()
            self._saved = (self.step, self._manager.save())
        return self._saved[1]

    def save_as_best(self) -> str:
        """Write a checkpoint into the folder BEST in place of the one there, and return its prefix.

        Raises:
            CheckpointError: if a weight is not finite, or the file system refuses.
        """
        self._prepare_to_save()
        return self._best_manager.save()

    def _prepare_to_save(self) -> None:
        self._step.assign(self.step)
        broken = not_finite(self.model_variables | self.optimizer_variables)
        if broken:
            raise CheckpointError(
                f"Step {self.step}: {broken[0]} is infinite or NaN ({many(len(broken), 'variable')} in all): no "
                f"checkpoint is written. The last one is {checkpoints.latest(self.model_dir)}"
            )

    def resume(self) -> str | None:
        """Resume from the newest checkpoint in the model directory; return its prefix, or None if there is none.

        A checkpoint of the API stores its optimizer under other names: then the weights, their averages and the step
        are loaded. Variables of the optimizer and averages that it lacks start anew, and a warning says so.

        Raises:
            CheckpointError: if that checkpoint is of another model.
        """
        prefix = checkpoints.latest(self.model_dir)
        if prefix is None:
            return None
        reader = checkpoints.Reader(prefix)
        checkpoints.require_tensorflow_2(reader)
        model = {key.removeprefix("model/"): variable for key, variable in self.model_variables.items()}
        difference = checkpoints.misfit(model, reader, "model/")
        if difference:
            raise CheckpointError(
                f"{self.model_dir} holds another model: {prefix} does not fit this configuration: {difference}. "
                f"Give the pipeline.config that it was trained with. {ANEW}"
            )
        known = {key: variable for key, variable in self.optimizer_variables.items() if key in reader}
        missing = len(self.optimizer_variables) - len(known)
        if missing:
            _log.warning(
                "%s lacks %d of the %d variables of this optimizer: they start anew.",
                prefix, missing, len(self.optimizer_variables),
            )  # fmt: skip
        checkpoints.load(self.model_variables | known | {"step": self._step}, prefix)
        self.iterations.assign(int(self._step.numpy()) * self._batches_per_step)
        if not self.averages.resume(reader):
            _log.warning("%s lacks averages of the weights: they start anew from the weights.", prefix)
        self._manager.tidy()
        self._best_manager.tidy()
        self._saved = (self.step, prefix)
        return prefix


def not_finite(variables: checkpoints.Variables) -> list[str]:
    """Return the keys of those `variables` that are not finite everywhere."""
    return [key for key, variable in variables.items() if not np.all(np.isfinite(variable.numpy()))]
