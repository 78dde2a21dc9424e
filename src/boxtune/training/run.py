"""A training under way: what happens before, between and after its steps."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from boxtune.config import pipeline_pb2
from boxtune.data.input import Records, naming_faults
from boxtune.data.label_map import LabelMap
from boxtune.evaluation.evaluator import Evaluator
from boxtune.metrics.results import Evaluation
from boxtune.models import Detector
from boxtune.structures import Inputs
from boxtune.training import devices
from boxtune.training.batches import batches, images_of_step, images_per_step
from boxtune.training.keeping import Checkpointing
from boxtune.training.loggers import JOURNAL, Journal, Progress, Summaries
from boxtune.training.run_state import RunState
from boxtune.training.selection import Evaluating, Selection
from boxtune.training.steps import Action, BetweenSteps, every, is_due
from boxtune.training.stopping import Interruption, StopOnNonFinite
from boxtune.training.team import Team
from boxtune.training.validation import Validation, values_so_far


@dataclass(frozen=True)
class Data:
    """What a run learns from, and is measured on if there is something."""

    label_map: LabelMap
    training: Records
    evaluation: Records | None
    seed: int
    """Of the order of the examples and their augmentation."""


PICTURES_EVERY_N = 1000
"""Steps between the training images that TensorBoard shows."""


class Run:
    """A detector on its way from the step where it stands to the last one."""

    def __init__(
        self,
        pipeline: pipeline_pb2.TrainEvalPipelineConfig,
        data: Data,
        detector: Detector,
        state: RunState,
        *,
        evaluator: Evaluator | None,
        checkpointing: Checkpointing,
        evaluating: Evaluating,
        publish: Callable[[Evaluation], object] | None,
        draw: Callable[[Inputs], Sequence[npt.NDArray[np.uint8]]] | None,
        team: Team,
    ):
        """Prepare to go on from `state`.

        Args:
            pipeline: the configuration.
            data: what is learned from.
            detector: compiled, with its weights.
            state: of the run, with the same detector.
            evaluator: measures it; None for no evaluations.
            checkpointing: which checkpoints are written.
            evaluating: when, what is best by the API's name of a metric, and what ends the run early.
            publish: shows an evaluation, if anything does.
            draw: draws boxes on some images of a batch, if anything does.
            team: those that share each batch.
        """
        self.pipeline, self.data, self.detector, self.state = pipeline, data, detector, state
        self.evaluator, self.checkpointing, self.evaluating = evaluator, checkpointing, evaluating
        self.publish, self.draw, self.team = publish, draw, team
        self.start, self.last = state.step, pipeline.train_config.num_steps

    def make_steps(self) -> Selection:
        """Make the steps that are left; return what was chosen, and whether patience ended the run."""
        with (
            devices.folder_of(self.team, self.state.model_dir) as folder,
            Journal(folder / JOURNAL, self.start) as journal,
            Summaries(folder, self.start) as summaries,
            Interruption(None if self.team.is_alone else self.team.any) as interruption,
            naming_faults(self.data.training),
            self._saving_when_interrupted(),
            self.team.telling_who_is_gone(),
        ):
            progress = Progress(self.start, self.last)
            selection = self._selection(journal, folder)
            validate = self._validation(selection, journal, progress)
            show_pictures = partial(self._show_pictures, summaries)
            if is_due(self.start, self.evaluating.every_n or 0):
                validate(self.start)  # the run was stopped before it could
            if self.start < self.last and not self.team.as_chief_says(selection.exhausted):
                show_pictures(self.start)
                self._fit(
                    interruption,
                    [
                        StopOnNonFinite(self.state, self._images_of_step, self.pipeline.train_config),
                        lambda step: self.state.averages.update(step.number),
                        *self._tellers(journal, progress, summaries),
                        interruption.give_way,
                        every(self.checkpointing.every_n, self._save),
                        every(self.checkpointing.keep_every_n, self._save),
                        every(self.evaluating.every_n or 0, validate),
                        every(PICTURES_EVERY_N, show_pictures),
                    ],
                )
                self._save(self.state.step)
            validate(self.state.step)
        return selection

    def _fit(self, interruption: Interruption, after_each_step: list[Action]) -> None:
        batches_per_step = self.pipeline.boxtune.accumulate_batches
        between = BetweenSteps(
            self.start,
            images_per_step(self.pipeline),
            after_each_step,
            batches_per_step=batches_per_step,
        )
        self.detector.fit(
            self._first_batches,
            steps_per_epoch=(self.last - self.start) * batches_per_step,
            shuffle=False,
            verbose=0,
            callbacks=[interruption, between],
        )

    @cached_property
    def _first_batches(self) -> tf.data.Dataset:
        return self._batches_from(self.start)

    def _batches_from(self, step: int) -> tf.data.Dataset:
        return batches(
            self.pipeline, self.data.training, seed=self.data.seed, start_step=step, shares=self.team.shares
        )

    def _images_of_step(self, step: int) -> str:
        return images_of_step(self.pipeline, self.data.training, self.data.seed, step)

    def _selection(self, journal: Journal, folder: Path) -> Selection:
        settings = self.evaluating
        values = values_so_far(journal.evaluations, settings.metric, folder)
        return Selection(settings.metric, values, settings.patience, settings.min_delta)

    def _validation(
        self, selection: Selection, journal: Journal, progress: Progress
    ) -> Callable[[int], None]:
        validation = Validation(
            self.evaluator, selection, self.state, journal, progress, self.publish,
            averaged=self.pipeline.eval_config.use_moving_averages,
        )  # fmt: skip

        def validate(step: int) -> None:
            validation(step)
            self.detector.stop_training = self.team.as_chief_says(self.detector.stop_training)

        return validate

    def _tellers(self, journal: Journal, progress: Progress, summaries: Summaries) -> list[Action]:
        return [journal.add_step, progress.tell, summaries.add_step] if self.team.is_chief else []

    def _save(self, step: int) -> None:
        if self.team.is_chief:
            self.state.save()

    def _show_pictures(self, summaries: Summaries, step: int) -> None:
        if self.draw is not None and self.team.is_chief:
            batches = self._first_batches if step == self.start else self._batches_from(step)
            summaries.add_pictures(step, self.draw(next(iter(batches))))

    @contextmanager
    def _saving_when_interrupted(self) -> Iterator[None]:
        """Keep what was learned so far when the user stops the run."""
        try:
            yield
        except KeyboardInterrupt:
            if self.state.step and self.team.is_chief:
                print(f"\nStopped after step {self.state.step}, kept in {self.state.save()}.", flush=True)
            raise
