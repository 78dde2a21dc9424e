"""A training run: what happens before, between and after its steps."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from boxtune.backends import is_out_of_memory
from boxtune.config import pipeline_pb2
from boxtune.data.input import Records, naming_faults
from boxtune.data.label_map import LabelMap
from boxtune.errors import ConfigError
from boxtune.evaluation.evaluator import Evaluator
from boxtune.metrics.results import Evaluation
from boxtune.models import Detector
from boxtune.structures import Inputs
from boxtune.training import devices, provenance
from boxtune.training.batch_norm import Recalibration
from boxtune.training.batches import batches, images_of_step, images_per_step
from boxtune.training.callbacks import Callback, StepCallbacks, StopSignals, every, is_due
from boxtune.training.checkpoint_manager import CheckpointOptions
from boxtune.training.early_stopping import EarlyStopping, EvaluationOptions
from boxtune.training.loggers import JOURNAL, Journal, Progress, Summaries
from boxtune.training.nan_guard import NanGuard
from boxtune.training.run_state import RunState
from boxtune.training.team import Team
from boxtune.training.validation import Validation, values_so_far

_log = logging.getLogger("boxtune")


@dataclass(frozen=True)
class Data:
    """The records to train and to evaluate on, if there are any for that."""

    label_map: LabelMap
    training: Records
    evaluation: Records | None
    seed: int
    """Of the order of the examples and their augmentation."""


IMAGES_EVERY_N = 1000
"""Steps between the training images that TensorBoard shows."""

Publish = Callable[[Evaluation, pipeline_pb2.TrainEvalPipelineConfig, Path], object]
"""Shows an evaluation of a training by a configuration in a model directory."""

Draw = Callable[[Inputs, Mapping[int, str]], Sequence[npt.NDArray[np.uint8]]]
"""Draws boxes on some images of a batch, with the names of the 0-based classes."""

Doubt = Callable[[pipeline_pb2.TrainEvalPipelineConfig, int, int], str]
"""Says why a batch is too large for so many images and GPUs, "" if it is not."""


@dataclass(frozen=True)
class Reporting:
    """How a run is shown while it trains. Without it, its metrics are in `metrics.jsonl` only."""

    publish: Publish | None = None
    """Shows each evaluation, such as `report.evaluation.publish`, which prints it and writes JSON and summaries."""
    draw: Draw | None = None
    """Draws training images for TensorBoard, such as `report.box_drawing.training_images`."""
    doubt: Doubt | None = None
    """Warns of too large a batch before the first step, such as `training.memory.doubt`."""


@dataclass(eq=False)
class Run:
    """The training of a detector from the step that it has reached to the last one."""

    pipeline: pipeline_pb2.TrainEvalPipelineConfig
    data: Data
    detector: Detector
    """Compiled, with its weights."""
    state: RunState
    """Of the same detector."""
    evaluator: Evaluator | None
    """Of the detector; None for no evaluations."""
    checkpoint_options: CheckpointOptions
    evaluation_options: EvaluationOptions
    """With the API's name of the metric."""
    reporting: Reporting
    team: Team
    """Those that share each batch."""

    def __post_init__(self) -> None:
        self.start, self.last = self.state.step, self.pipeline.train_config.num_steps

    def train(self) -> EarlyStopping:
        """Make the remaining steps; return the history of the metric, which tells whether the run stopped early."""
        with (
            devices.folder_of(self.team, self.state.model_dir) as folder,
            Journal(folder / JOURNAL, self.start) as journal,
            Summaries(folder, self.start) as summaries,
            StopSignals(None if self.team.is_alone else self.team.any) as signals,
            naming_faults(self.data.training),
            self._saving_when_interrupted(),
            self.team.telling_who_is_gone(),
        ):
            progress = Progress(self.start, self.last)
            stopping, validate = self._validation(journal, progress, folder)
            if is_due(self.start, self.evaluation_options.every_n or 0):
                validate(self.start)  # the run was stopped before it could
            if self.start < self.last and not self.team.as_chief_says(stopping.exhausted):
                self._show_images(summaries, self.start)
                self._fit(signals, self._callbacks(journal, progress, summaries, signals, validate))
                self._save(self.state.step)
            validate(self.state.step)
        return stopping

    def _validation(
        self, journal: Journal, progress: Progress, folder: Path
    ) -> tuple[EarlyStopping, Callable[[int], None]]:
        """Return the early stopping of the run, and the function that evaluates after a step."""
        options = self.evaluation_options
        history = values_so_far(journal.evaluations, options.metric, folder)
        stopping = EarlyStopping(options.metric, history, options.patience, options.min_delta)
        averaged = self.pipeline.eval_config.use_moving_averages
        recalibration = self._recalibration() if options.recalibrate and self.evaluator else None
        validation = Validation(
            self.evaluator, stopping, self.state, journal, progress, self._publish, averaged, recalibration
        )

        def validate(step: int) -> None:
            validation(step)
            self.detector.stop_training = self.team.as_chief_says(self.detector.stop_training)

        return stopping, validate

    def _recalibration(self) -> Recalibration | None:
        """Return what estimates the statistics of batch normalizations anew; None if none of them is trained."""
        # By whole batches, the first of the training: the chief evaluates alone, and always by the same images.
        whole = batches(self.pipeline, self.data.training, seed=self.data.seed, start_step=0)
        recalibration = Recalibration(self.detector, whole)
        if recalibration.statistics:
            return recalibration
        _log.warning("--recalibrate changes nothing: no batch normalization has statistics that are trained.")
        return None

    def _publish(self, evaluation: Evaluation) -> None:
        if self.reporting.publish:
            self.reporting.publish(evaluation, self.pipeline, self.state.model_dir)

    def _callbacks(
        self,
        journal: Journal,
        progress: Progress,
        summaries: Summaries,
        signals: StopSignals,
        validate: Callable[[int], None],
    ) -> list[Callback]:
        images_of = partial(images_of_step, self.pipeline, self.data.training, self.data.seed)
        loggers = [journal.add_step, progress.add_step, summaries.add_step] if self.team.is_chief else []
        return [
            NanGuard(self.state, images_of, self.pipeline.train_config),
            lambda step: self.state.averages.update(step.number),
            *loggers,
            signals.raise_if_received,
            every(self.checkpoint_options.every_n, self._save),
            every(self.checkpoint_options.keep_every_n, self._save),
            every(self.evaluation_options.every_n or 0, validate),
            every(IMAGES_EVERY_N, lambda step: self._show_images(summaries, step)),
        ]

    def _fit(self, signals: StopSignals, callbacks: list[Callback]) -> None:
        num_batches = self.pipeline.boxtune.accumulate_batches
        images = images_per_step(self.pipeline)
        with _telling_of_memory(self.pipeline.train_config.batch_size):
            self.detector.fit(
                self._first_batches,
                steps_per_epoch=(self.last - self.start) * num_batches,
                shuffle=False,
                verbose=0,
                callbacks=[
                    signals,
                    StepCallbacks(self.start, images, callbacks, batches_per_step=num_batches),
                ],
            )

    @cached_property
    def _first_batches(self) -> tf.data.Dataset:
        return self._batches_from(self.start)

    def _batches_from(self, step: int) -> tf.data.Dataset:
        return batches(
            self.pipeline, self.data.training, seed=self.data.seed, start_step=step, shares=self.team.shares
        )

    def _save(self, step: int) -> str:
        """Write a checkpoint, unless another process does, note in `run.json` that there is one, return its prefix."""
        if not self.team.is_chief:
            return ""
        prefix = self.state.save()
        provenance.mark_checkpoint(self.state.model_dir / provenance.RUN)
        return prefix

    def _show_images(self, summaries: Summaries, step: int) -> None:
        if self.reporting.draw and self.team.is_chief:
            batches = self._first_batches if step == self.start else self._batches_from(step)
            drawn = self.reporting.draw(next(iter(batches)), self.data.label_map.shown_names)
            summaries.add_images(step, drawn)

    @contextmanager
    def _saving_when_interrupted(self) -> Iterator[None]:
        """Save a checkpoint when the user stops the run."""
        try:
            yield
        except KeyboardInterrupt:
            step = self.state.step
            if step and self.team.is_chief:
                print(f"\nStopped after step {step}, saved as {self._save(step)}.", flush=True)
            raise


@contextmanager
def _telling_of_memory(batch_size: int) -> Iterator[None]:
    """Raise ConfigError, with what to try, where the memory runs out within the block."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        smaller = f" {batch_size // 2}" if batch_size > 1 else ""
        raise ConfigError(
            f"a step with a batch of {batch_size} images did not fit into the memory: try a smaller "
            f"train_config.batch_size{smaller}, or a smaller image_resizer"
        ) from error
