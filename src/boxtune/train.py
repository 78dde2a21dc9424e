"""The verb `train`: fine-tune the detector that a pipeline.config describes."""

import logging
import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from boxtune import config, models
from boxtune.backends import has_gpu, prepare_backend
from boxtune.config import pipeline_pb2
from boxtune.data.files import held, lent
from boxtune.data.input import doubt_about_both, doubts_about, open_records
from boxtune.data.label_map import LabelMap, read_label_map, write_label_map
from boxtune.errors import CheckpointError, ConfigError, many
from boxtune.evaluation.evaluator import Evaluator
from boxtune.models import Detector
from boxtune.training import batch_norm, devices, learning_rates, provenance
from boxtune.training.averages import averages
from boxtune.training.build import build_detector, load_initial_weights
from boxtune.training.checkpoint_manager import CheckpointOptions
from boxtune.training.checkpoints import STATE, find, step_of
from boxtune.training.early_stopping import EarlyStopping, EvaluationOptions, full_name
from boxtune.training.loggers import JOURNAL, read_journal
from boxtune.training.run import Data, Reporting, Run
from boxtune.training.run_state import (
    ANEW,
    BEST,
    COMPLETE_CONFIG,
    LABEL_MAP,
    RunState,
    holds_run,
    not_finite,
    refuse_to_remove,
    remove_run,
)
from boxtune.training.team import Team
from boxtune.training.validation import Best, read_best

EVALUATE_EVERY_N = 1000
"""Steps between evaluations, by default."""

_OWN_ARGUMENTS = ("num_devices", "reporting")
"""Arguments that are not passed to the processes of several devices: they have their own."""

_log = logging.getLogger("boxtune")


@dataclass(frozen=True)
class TrainResult:
    """The state of a run after training."""

    model_dir: Path
    step: int
    best: Best | None
    """The best checkpoint; None where nothing was evaluated."""


def train(
    pipeline_config_path: str | Path,
    model_dir: str | Path,
    *,
    overrides: Sequence[str] = (),
    num_train_steps: int | None = None,
    scale_lr: int | None = None,
    checkpoint_options: CheckpointOptions | None = None,
    evaluation_options: EvaluationOptions | None = None,
    seed: int = 0,
    num_devices: int | None = None,
    reporting: Reporting | None = None,
) -> TrainResult:
    """Train, or resume training, until the configured number of steps is reached.

    Args:
        pipeline_config_path: the configuration.
        model_dir: for checkpoints, summaries and metrics; if it holds a checkpoint, the run resumes from there. No
            other process may write there meanwhile.
        overrides: "path.to.field=value" changes of the configuration.
        num_train_steps: in place of `train_config.num_steps`.
        scale_lr: the batch size that the learning rates were made for; they are scaled to that of the configuration.
        checkpoint_options: which checkpoints are written, and which are kept; whether to begin anew.
        evaluation_options: when to evaluate (every EVALUATE_EVERY_N steps), by which metric, when to stop early, and
            whether the statistics of batch normalizations are estimated anew before.
        seed: of the first weights, the order of the examples and their augmentation.
        num_devices: how many GPUs of this machine share each batch; None for all, or for those of TF_CONFIG.
        reporting: how the run is shown while it trains.

    Raises:
        BoxtuneError: for anything the user can fix; nothing that was written before is lost.
    """
    arguments = {name: value for name, value in locals().items() if name not in _OWN_ARGUMENTS}
    saving, evaluating = checkpoint_options or CheckpointOptions(), evaluation_options or EvaluationOptions()
    if evaluating.every_n is None:
        evaluating = replace(evaluating, every_n=EVALUATE_EVERY_N)
    model_dir = Path(model_dir)
    prepare_backend()
    # The devices that share each batch: mostly one, that of this process.
    processes = devices.processes_to_start(num_devices)
    if processes > 1:
        with held(model_dir), lent(model_dir):  # to the chief
            devices.train_in_processes(arguments, processes)
        return TrainResult(model_dir, step_of(find(model_dir)), read_best(model_dir))
    pipeline = _configuration(
        pipeline_config_path, overrides, num_train_steps, scale_lr, recalibrate=evaluating.recalibrate
    )
    team = devices.join(num_devices, pipeline.train_config.batch_size)

    # The data first: its errors are reported before the model is built.
    showing = reporting or Reporting()
    data = _open_data(pipeline, pipeline_config_path, team, evaluating, seed, showing)
    facts = provenance.facts(pipeline, data.training.index)
    with team.telling_who_is_gone():
        team.require_same(facts | {"seed": str(seed), "evaluate_every_n": str(evaluating.every_n)})

    # The model, from random weights, from another detector's, or from this run's last checkpoint.
    if (model_dir / STATE).is_dir():
        raise CheckpointError(
            f"{model_dir} has a folder {STATE}, as a zoo download has. Give another --model_dir"
        )
    detector = build_detector(pipeline, data.label_map, seed)
    detector.batch_shares = team.shares
    team.add_gradients(detector.optimizer)
    evaluator = Evaluator.from_config(detector, data.evaluation, pipeline) if data.evaluation else None
    if evaluator:
        evaluating = replace(evaluating, metric=full_name(evaluating.metric, evaluator.metric_names))
    averaged = averages(pipeline.train_config.optimizer, detector)
    state = RunState(
        model_dir, detector, saving.max_to_keep, keep_every_n=saving.keep_every_n, averages=averaged
    )
    with held(model_dir) if team.is_chief else nullcontext():
        if team.is_chief:
            _load_weights(pipeline, data, detector, state, overwrite=saving.overwrite)
        with team.telling_who_is_gone():
            team.take_from_chief([*state.variables.values(), state.iterations])
        team.draw_apart(detector.random_states().values())

        # The remaining steps.
        run = Run(pipeline, data, detector, state, evaluator, saving, evaluating, showing, team)
        stopping = run.train()
        if team.is_chief:
            provenance.mark_as_ended(model_dir / provenance.RUN, state.step)
            print(_outcome(run, stopping), end="", flush=True)
    return TrainResult(model_dir, state.step, read_best(model_dir))


def _configuration(
    path: str | Path,
    overrides: Sequence[str],
    num_train_steps: int | None,
    scale_lr: int | None,
    *,
    recalibrate: bool,
) -> pipeline_pb2.TrainEvalPipelineConfig:
    """Read a configuration as it is to be trained, and log warnings about it."""
    pipeline = config.load(path, overrides)
    if num_train_steps is not None:
        if num_train_steps < 1:
            raise ConfigError(f"num_train_steps is {num_train_steps}; at least 1 is needed")
        pipeline.train_config.num_steps = num_train_steps
    config.check_for_training(pipeline, path)
    if scale_lr is not None:
        factor = learning_rates.scale(pipeline.train_config, scale_lr)
        print(
            f"Learning rates times {factor:g}: batches of {pipeline.train_config.batch_size}, not {scale_lr}."
        )
    of_batch_norm = [] if recalibrate else batch_norm.warnings(pipeline)
    for warning in (*learning_rates.warnings(pipeline.train_config), *of_batch_norm):
        _log.warning(warning)
    return pipeline


def _open_data(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig,
    source: str | Path,
    team: Team,
    evaluation_options: EvaluationOptions,
    seed: int,
    reporting: Reporting,
) -> Data:
    """Open the records of a configuration; only the chief evaluates."""
    num_classes = models.num_classes(pipeline.model)
    if evaluation_options.patience is not None and not (
        pipeline.eval_input_reader and evaluation_options.every_n
    ):
        raise ConfigError(
            "patience counts evaluations: it needs an eval_input_reader and evaluate_every_n above 0"
        )
    if evaluation_options.recalibrate and not pipeline.eval_input_reader:
        raise ConfigError(
            "--recalibrate is for what is evaluated and kept as the best: it needs an eval_input_reader"
        )
    training, evaluation = open_records(pipeline.train_input_reader, num_classes, for_training=True), None
    if team.is_chief and pipeline.eval_input_reader:
        config.check_for_evaluation(pipeline, source)
        evaluation = open_records(pipeline.eval_input_reader[0], num_classes)
    elif team.is_chief:
        print("No eval_input_reader: training without evaluation.")
    doubts = doubts_about(training, "train_input_reader") if team.is_chief else []
    if evaluation:
        doubts += doubts_about(evaluation, "eval_input_reader", evaluation=True)
        doubts += filter(None, [doubt_about_both(training, evaluation)])
    if team.is_chief and reporting.doubt:
        gpus = team.count if has_gpu() else 0
        doubts += filter(None, [reporting.doubt(pipeline, len(training), gpus)])
    for doubt in doubts:
        _log.warning("%s.", doubt)
    return Data(training.label_map, training, evaluation, seed)


def _load_weights(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig,
    data: Data,
    detector: Detector,
    state: RunState,
    *,
    overwrite: bool,
) -> None:
    """Load the weights of this run or of another detector, say which, and record how the run is made.

    Nothing is written, or with `overwrite` removed, before it is known that the run can go on.
    """
    if overwrite:
        refuse_to_remove(state.model_dir, pipeline.train_config.fine_tune_checkpoint)
    resumed = None
    if not overwrite and holds_run(state.model_dir):
        _check_classes(state.model_dir / LABEL_MAP, data.label_map)
        resumed = state.resume()
        read_best(state.model_dir)
        read_journal(state.model_dir / JOURNAL, state.step)
    if resumed:
        source = f"Resuming from step {state.step} ({resumed})."
    else:
        source = load_initial_weights(detector, pipeline, data.label_map)
    broken = not_finite(state.model_variables)
    if broken:
        raise CheckpointError(f"{source} But there {broken[0]} is infinite or NaN: use another checkpoint")
    if overwrite or ((state.model_dir / provenance.RUN).exists() and not resumed):
        remove_run(state.model_dir)
    print(source, flush=True)
    indices = {"training": data.training.index}
    if data.evaluation:
        indices["evaluation"] = data.evaluation.index
    _record(pipeline, state.model_dir, provenance.entry(data.seed, state.step, indices))
    write_label_map(data.label_map, state.model_dir / LABEL_MAP)


def _check_classes(kept: Path, label_map: LabelMap) -> None:
    """Refuse to resume a run if its classes have other names now, by the label map that it keeps, if it does.

    Raises:
        ConfigError: naming them.
    """
    before = read_label_map(kept) if os.path.lexists(kept) else label_map
    changes = provenance.class_differences(before, label_map)
    if changes:
        raise ConfigError(
            f"{kept.parent} holds a run of other classes: {provenance.first_of(changes)}. Train it with its own label "
            f"map, {kept}. {ANEW}"
        )


def _record(pipeline: pipeline_pb2.TrainEvalPipelineConfig, model_dir: Path, now: dict[str, Any]) -> None:
    """Record how the run is made; warn of changes when it is resumed."""
    before = provenance.read(model_dir / provenance.RUN) if now["step"] else []
    changes = provenance.differences(before[-1], now) if before else []
    if now["step"] and (model_dir / COMPLETE_CONFIG).exists():
        changes += provenance.config_differences(config.load(model_dir / COMPLETE_CONFIG), pipeline)
    if changes:
        _log.warning("This run is resumed with changes: %s", provenance.first_of(changes))
    config.write(pipeline, model_dir / COMPLETE_CONFIG)
    provenance.write(model_dir / provenance.RUN, [*before, now])


def _outcome(run: Run, stopping: EarlyStopping) -> str:
    """Return lines about a run that did not make the requested steps, or has no best checkpoint; or nothing."""
    step, lines = run.state.step, []
    if step < run.last:
        lines.append(
            f"{many(stopping.waited, 'evaluation')} in a row no better than the best: the run ends after step {step}. "
            "Raise --patience to continue."
        )
    elif run.start >= run.last:
        lines.append(
            f"{run.start} of {run.last} steps have been made already; raise --num_train_steps to continue."
        )
    if stopping.history and stopping.measured_nothing:
        lines.append(
            f"No evaluation could measure {stopping.metric}: its images have no objects to be found. {BEST}/ is the "
            "last checkpoint that was evaluated."
        )
    return "".join(f"{line}\n" for line in lines)
