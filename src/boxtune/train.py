"""The verb `train`: fine-tune the detector that a pipeline.config describes."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import tensorflow as tf

from boxtune import config, models
from boxtune.config import pipeline_pb2
from boxtune.data.files import writable_folder
from boxtune.data.input import Records, naming_faults, open_records
from boxtune.data.label_map import read_label_map
from boxtune.data.tfrecord import RecordIndex
from boxtune.errors import CheckpointError, ConfigError
from boxtune.models import Detector
from boxtune.report.evaluation import publish
from boxtune.report.pictures import training_pictures
from boxtune.training import devices, learning_rates, provenance
from boxtune.training.averages import averages
from boxtune.training.backends import prepare_backend
from boxtune.training.batches import batches, images_of_step, images_per_step
from boxtune.training.beginning import detector_to_train, take_first_weights
from boxtune.training.best import Best, read_best, values_so_far
from boxtune.training.checkpoints import find, step_of
from boxtune.training.evaluation import Evaluator
from boxtune.training.health import StopOnNonFinite
from boxtune.training.interruption import Interruption
from boxtune.training.journal import JOURNAL, Journal
from boxtune.training.progress import Progress
from boxtune.training.run_state import RunState, not_finite
from boxtune.training.selection import Selection, full_name
from boxtune.training.steps import Action, BetweenSteps, every, is_due
from boxtune.training.summaries import Summaries
from boxtune.training.team import Team
from boxtune.training.validation import Validation

COMPLETE_CONFIG = "complete_pipeline.config"
"""In the model directory: the configuration with every section filled in, as it was trained."""

PICTURES_EVERY_N = 1000
"""Steps between the training images that TensorBoard shows."""

MOST_CHANGES = 8
"""That are listed when a run goes on otherwise than before."""

_log = logging.getLogger("boxtune")


@dataclass(frozen=True)
class TrainResult:
    """Where a run stands."""

    model_dir: Path
    step: int
    best: Best | None
    """What the best checkpoint reached; None where nothing was evaluated."""


def train(
    pipeline_config_path: str | Path,
    model_dir: str | Path,
    *,
    overrides: Sequence[str] = (),
    num_train_steps: int | None = None,
    scale_lr: int | None = None,
    checkpoint_every_n: int = 1000,
    checkpoint_max_to_keep: int = 7,
    checkpoint_keep_every_n: int = 0,
    evaluate_every_n: int = 1000,
    best_metric: str = "mAP",
    patience: int | None = None,
    min_delta: float = 0.0,
    seed: int = 0,
    num_devices: int | None = None,
) -> TrainResult:
    """Train, or go on training, until exactly the configured number of steps has been made.

    Args:
        pipeline_config_path: the configuration.
        model_dir: takes checkpoints, summaries and numbers; if it holds a checkpoint, the run goes on from there.
        overrides: "path.to.field=value" changes of the configuration.
        num_train_steps: in place of `train_config.num_steps`.
        scale_lr: the batch size that the learning rates were made for; they are scaled to that of the configuration.
        checkpoint_every_n: steps between checkpoints; one is always written at the end.
        checkpoint_max_to_keep: older checkpoints are removed.
        checkpoint_keep_every_n: steps between checkpoints that are never removed; 0 for none.
        evaluate_every_n: steps between evaluations; one is always made at the end, and no other if this is 0.
        best_metric: what the best checkpoint is chosen by: a metric of the API, or a short name (SHORT_NAMES).
        patience: how many evaluations without progress end the run; None for no such end.
        min_delta: how much better than the best before it an evaluation has to be to count as progress.
        seed: of the first weights, the order of the examples and their augmentation.
        num_devices: how many GPUs of this machine share each batch; None for all, or for those of TF_CONFIG.

    Raises:
        BoxtuneError: for anything the user can mend; nothing that was written before is lost.
    """
    arguments = {name: value for name, value in locals().items() if name != "num_devices"}
    prepare_backend()
    # The devices that share each batch: mostly it is one, and this process has it.
    processes = devices.processes_to_start(num_devices)
    if processes > 1:
        devices.train_in_processes(arguments, processes)
        return TrainResult(Path(model_dir), step_of(find(model_dir)), read_best(Path(model_dir)))
    pipeline = _configuration(pipeline_config_path, overrides, num_train_steps, scale_lr)
    settings, num_steps = pipeline.train_config, pipeline.train_config.num_steps
    label_map = read_label_map(Path(pipeline.train_input_reader.label_map_path))

    team = devices.join(num_devices, settings.batch_size)

    # The data first: what is wrong with it is known before the model is built.
    records = open_records(pipeline.train_input_reader, models.num_classes(pipeline.model))
    evaluation_records = _evaluation_records(pipeline, patience, evaluate_every_n) if team.is_chief else None
    with team.telling_who_is_gone():
        team.require_same(
            provenance.facts(pipeline, records.index)
            | {"seed": str(seed), "evaluate_every_n": str(evaluate_every_n)}
        )

    # The model, from random weights, another detector's, or where this run stopped.
    detector = detector_to_train(pipeline, label_map, seed)
    detector.batch_shares = team.shares
    team.add_gradients(detector.optimizer)
    evaluator = Evaluator.from_config(detector, evaluation_records, pipeline) if evaluation_records else None
    metric = full_name(best_metric, evaluator.metric_names) if evaluator else best_metric
    model_dir = Path(model_dir)
    state = RunState(
        model_dir,
        detector,
        checkpoint_max_to_keep,
        keep_every_n=checkpoint_keep_every_n,
        averages=averages(settings.optimizer, detector),
    )
    if team.is_chief:
        writable_folder(model_dir)
        print(_begin(state, detector, settings), flush=True)
        _write_down(
            pipeline, model_dir, provenance.entry(seed, state.step, _data(records, evaluation_records))
        )
    with team.telling_who_is_gone():
        team.take_from_chief([*state.variables.values(), state.iterations])
    team.draw_apart(detector.random_states().values())
    start = state.step

    with (
        devices.folder_of(team, model_dir) as folder,
        Journal(folder / JOURNAL, start) as journal,
        Summaries(folder, start) as summaries,
        Interruption(None if team.is_alone else team.any) as interruption,
        naming_faults(records),
        _saving_when_interrupted(state, team),
        team.telling_who_is_gone(),
    ):
        # What happens between the steps.
        progress = Progress(start, num_steps)
        selection = Selection(metric, values_so_far(journal.evaluations, metric, folder), patience, min_delta)
        validation = Validation(
            evaluator, selection, state, journal, progress,
            publish=partial(publish, pipeline=pipeline, model_dir=model_dir),
            averaged=pipeline.eval_config.use_moving_averages,
        )  # fmt: skip

        @lru_cache(maxsize=1)
        def batches_from(step: int) -> tf.data.Dataset:
            return batches(pipeline, records, seed=seed, start_step=step, shares=team.shares)

        def validate(step: int) -> None:
            validation(step)
            detector.stop_training = team.as_chief_says(detector.stop_training)

        def save(step: int) -> None:
            if team.is_chief:
                state.save()

        def show_pictures(step: int) -> None:
            if not team.is_chief:
                return
            images, groundtruth = next(iter(batches_from(step)))
            summaries.add_pictures(step, training_pictures(images, groundtruth, label_map.shown_names))

        after_each_step: list[Action] = [
            StopOnNonFinite(state, partial(images_of_step, pipeline, records, seed), settings),
            lambda step: state.averages.update(step.number),
            *([journal.add_step, progress.tell, summaries.add_step] if team.is_chief else []),
            interruption.give_way,
            every(checkpoint_every_n, save),
            every(checkpoint_keep_every_n, save),
            every(evaluate_every_n, validate),
            every(PICTURES_EVERY_N, show_pictures),
        ]

        # The steps that are left.
        if is_due(start, evaluate_every_n):
            validate(start)  # the run was stopped before it could
        if start < num_steps and not team.as_chief_says(selection.exhausted):
            show_pictures(start)
            batches_per_step = pipeline.boxtune.accumulate_batches
            between = BetweenSteps(
                start, images_per_step(pipeline), after_each_step, batches_per_step=batches_per_step
            )
            detector.fit(
                batches_from(start),
                steps_per_epoch=(num_steps - start) * batches_per_step,
                shuffle=False,
                verbose=0,
                callbacks=[interruption, between],
            )
            save(state.step)
        validate(state.step)
    if team.is_chief:
        provenance.mark_as_ended(model_dir / provenance.RUN, state.step)
        print(_outcome(start, state.step, num_steps, selection), end="", flush=True)
    return TrainResult(model_dir, state.step, read_best(model_dir))


def _configuration(
    path: str | Path, overrides: Sequence[str], num_train_steps: int | None, scale_lr: int | None
) -> pipeline_pb2.TrainEvalPipelineConfig:
    """Read a configuration as it is to be trained, and tell what is doubtful about it."""
    pipeline = config.load(path, overrides)
    if num_train_steps is not None:
        if num_train_steps < 1:
            raise ConfigError(f"num_train_steps is {num_train_steps}; at least 1 is needed")
        pipeline.train_config.num_steps = num_train_steps
    config.check_for_training(pipeline)
    if scale_lr is not None:
        factor = learning_rates.scale(pipeline.train_config, scale_lr)
        print(
            f"Learning rates times {factor:g}: batches of {pipeline.train_config.batch_size}, not {scale_lr}."
        )
    for doubt in learning_rates.doubts(pipeline.train_config):
        _log.warning(doubt)
    return pipeline


def _evaluation_records(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig, patience: int | None, evaluate_every_n: int
) -> Records | None:
    if patience is not None and not (pipeline.eval_input_reader and evaluate_every_n):
        raise ConfigError(
            "patience counts evaluations: it needs an eval_input_reader and evaluate_every_n above 0"
        )
    if not pipeline.eval_input_reader:
        print("No eval_input_reader: training without evaluation.")
        return None
    config.check_for_evaluation(pipeline)
    return open_records(pipeline.eval_input_reader[0], models.num_classes(pipeline.model))


def _begin(state: RunState, detector: Detector, settings: pipeline_pb2.TrainConfig) -> str:
    """Give the detector its first weights and say where they come from."""
    resumed = state.resume()
    going_on = f"Going on from step {state.step} ({resumed})." if resumed else ""
    told = going_on or take_first_weights(detector, settings)
    broken = not_finite(state.model_variables)
    if broken:
        raise CheckpointError(
            f"{told} But there {broken[0]} is infinite or not a number: take another checkpoint"
        )
    return told


def _data(records: Records, evaluation_records: Records | None) -> dict[str, RecordIndex]:
    return {"training": records.index} | (
        {"evaluation": evaluation_records.index} if evaluation_records else {}
    )


def _write_down(pipeline: pipeline_pb2.TrainEvalPipelineConfig, model_dir: Path, now: dict[str, Any]) -> None:
    """Keep what the run is made from; tell in what one that goes on differs from what it was before."""
    before = provenance.read(model_dir / provenance.RUN) if now["step"] else []
    changes = provenance.differences(before[-1], now) if before else []
    if now["step"] and (model_dir / COMPLETE_CONFIG).exists():
        changes += provenance.config_differences(config.load(model_dir / COMPLETE_CONFIG), pipeline)
    if changes:
        more = f"; and {len(changes) - MOST_CHANGES} more" if len(changes) > MOST_CHANGES else ""
        _log.warning("This run goes on with changes: %s%s", "; ".join(changes[:MOST_CHANGES]), more)
    config.write(pipeline, model_dir / COMPLETE_CONFIG)
    provenance.write(model_dir / provenance.RUN, [*before, now])


@contextmanager
def _saving_when_interrupted(state: RunState, team: Team) -> Iterator[None]:
    """Keep what was learned so far when the user stops the run."""
    try:
        yield
    except KeyboardInterrupt:
        if state.step and team.is_chief:
            print(f"\nStopped after step {state.step}, kept in {state.save()}.", flush=True)
        raise


def _outcome(start: int, step: int, num_steps: int, selection: Selection) -> str:
    """Return a line about a run that did not make the steps it was asked for, or nothing."""
    if step < num_steps:
        return (
            f"{selection.waited} evaluations in a row were no better than the best: the run ends after step {step}. "
            "Raise --patience to go on.\n"
        )
    if start >= num_steps:
        return f"{start} of {num_steps} steps have been made already; raise --num_train_steps to go on.\n"
    return ""
