"""The verb `train`: fine-tune the detector that a pipeline.config describes."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boxtune import config, models
from boxtune.backends import prepare_backend
from boxtune.config import pipeline_pb2
from boxtune.data.files import writable_folder
from boxtune.data.input import Records, doubt_about_both, doubts_about, open_records
from boxtune.errors import CheckpointError, ConfigError
from boxtune.evaluation.evaluator import Evaluator
from boxtune.metrics.evaluation import Evaluation
from boxtune.models import Detector
from boxtune.structures import Inputs
from boxtune.training import devices, learning_rates, provenance
from boxtune.training.averages import averages
from boxtune.training.beginning import detector_to_train, take_first_weights
from boxtune.training.checkpoints import find, step_of
from boxtune.training.keeping import Checkpointing
from boxtune.training.run import Data, Run
from boxtune.training.run_state import RunState, not_finite
from boxtune.training.selection import Evaluating, Selection, full_name
from boxtune.training.team import Team
from boxtune.training.validation import Best, read_best

COMPLETE_CONFIG = "complete_pipeline.config"
"""In the model directory: the configuration with every section filled in, as it was trained."""

EVALUATE_EVERY_N = 1000
"""Steps between evaluations, unless it is said otherwise."""

Publish = Callable[[Evaluation, pipeline_pb2.TrainEvalPipelineConfig, Path], object]
"""Shows an evaluation of a training by a configuration in a model directory."""

Draw = Callable[[Inputs, Mapping[int, str]], Sequence[npt.NDArray[np.uint8]]]
"""Draws boxes on some images of a batch, with the names of the 0-based classes."""

MOST_CHANGES = 8
"""That are listed when a run goes on otherwise than before."""

_NOT_HANDED_ON = ("num_devices", "reporting")
"""Arguments that the processes of several devices are not given: they have their own."""

_log = logging.getLogger("boxtune")


@dataclass(frozen=True)
class Reporting:
    """What shows a run while it is made. Without it, its numbers stand in `metrics.jsonl` alone."""

    publish: Publish | None = None
    """Shows each evaluation, such as `report.evaluation.publish`, which prints it and writes JSON and summaries."""
    draw: Draw | None = None
    """Draws training images for TensorBoard, such as `report.pictures.training_pictures`."""


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
    checkpointing: Checkpointing | None = None,
    evaluating: Evaluating | None = None,
    seed: int = 0,
    num_devices: int | None = None,
    reporting: Reporting | None = None,
) -> TrainResult:
    """Train, or go on training, until exactly the configured number of steps has been made.

    Args:
        pipeline_config_path: the configuration.
        model_dir: takes checkpoints, summaries and numbers; if it holds a checkpoint, the run goes on from there.
        overrides: "path.to.field=value" changes of the configuration.
        num_train_steps: in place of `train_config.num_steps`.
        scale_lr: the batch size that the learning rates were made for; they are scaled to that of the configuration.
        checkpointing: which checkpoints are written, and which stay.
        evaluating: when the run is evaluated (every EVALUATE_EVERY_N steps), what is best, and what ends it early.
        seed: of the first weights, the order of the examples and their augmentation.
        num_devices: how many GPUs of this machine share each batch; None for all, or for those of TF_CONFIG.
        reporting: what shows the run while it is made.

    Raises:
        BoxtuneError: for anything the user can mend; nothing that was written before is lost.
    """
    arguments = {name: value for name, value in locals().items() if name not in _NOT_HANDED_ON}
    checkpointing, evaluating = checkpointing or Checkpointing(), evaluating or Evaluating()
    publish, draw = (reporting.publish, reporting.draw) if reporting else (None, None)
    if evaluating.every_n is None:
        evaluating = replace(evaluating, every_n=EVALUATE_EVERY_N)
    prepare_backend()
    # The devices that share each batch: mostly it is one, and this process has it.
    processes = devices.processes_to_start(num_devices)
    if processes > 1:
        devices.train_in_processes(arguments, processes)
        return TrainResult(Path(model_dir), step_of(find(model_dir)), read_best(Path(model_dir)))
    pipeline = _configuration(pipeline_config_path, overrides, num_train_steps, scale_lr)
    team = devices.join(num_devices, pipeline.train_config.batch_size)

    # The data first: what is wrong with it is known before the model is built.
    data = _open_data(pipeline, pipeline_config_path, team, evaluating, seed)
    with team.telling_who_is_gone():
        team.require_same(
            provenance.facts(pipeline, data.training.index)
            | {"seed": str(seed), "evaluate_every_n": str(evaluating.every_n)}
        )

    # The model, from random weights, another detector's, or where this run stopped.
    model_dir = Path(model_dir)
    detector = detector_to_train(pipeline, data.label_map, seed)
    detector.batch_shares = team.shares
    team.add_gradients(detector.optimizer)
    evaluator = Evaluator.from_config(detector, data.evaluation, pipeline) if data.evaluation else None
    if evaluator:
        evaluating = replace(evaluating, metric=full_name(evaluating.metric, evaluator.metric_names))
    state = RunState(
        model_dir,
        detector,
        checkpointing.max_to_keep,
        keep_every_n=checkpointing.keep_every_n,
        averages=averages(pipeline.train_config.optimizer, detector),
    )
    if team.is_chief:
        _begin(pipeline, data, detector, state)
    with team.telling_who_is_gone():
        team.take_from_chief([*state.variables.values(), state.iterations])
    team.draw_apart(detector.random_states().values())

    # The steps that are left.
    run = Run(
        pipeline, data, detector, state,
        evaluator=evaluator,
        checkpointing=checkpointing,
        evaluating=evaluating,
        publish=(lambda evaluation: publish(evaluation, pipeline, model_dir)) if publish else None,
        draw=(lambda inputs: draw(inputs, data.label_map.shown_names)) if draw else None,
        team=team,
    )  # fmt: skip
    selection = run.make_steps()
    if team.is_chief:
        provenance.mark_as_ended(model_dir / provenance.RUN, state.step)
        print(_outcome(run, selection), end="", flush=True)
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
    config.check_for_training(pipeline, path)
    if scale_lr is not None:
        factor = learning_rates.scale(pipeline.train_config, scale_lr)
        print(
            f"Learning rates times {factor:g}: batches of {pipeline.train_config.batch_size}, not {scale_lr}."
        )
    for doubt in learning_rates.doubts(pipeline.train_config):
        _log.warning(doubt)
    return pipeline


def _open_data(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig,
    source: str | Path,
    team: Team,
    evaluating: Evaluating,
    seed: int,
) -> Data:
    """Open the records of a configuration; those of the evaluation are the chief's alone."""
    num_classes = models.num_classes(pipeline.model)
    if evaluating.patience is not None and not (pipeline.eval_input_reader and evaluating.every_n):
        raise ConfigError(
            "patience counts evaluations: it needs an eval_input_reader and evaluate_every_n above 0"
        )
    training, evaluation = open_records(pipeline.train_input_reader, num_classes, for_training=True), None
    if team.is_chief and pipeline.eval_input_reader:
        config.check_for_evaluation(pipeline, source)
        evaluation = open_records(pipeline.eval_input_reader[0], num_classes)
    elif team.is_chief:
        print("No eval_input_reader: training without evaluation.")
    if team.is_chief:
        _warn(training, evaluation)
    return Data(training.label_map, training, evaluation, seed)


def _warn(training: Records, evaluation: Records | None) -> None:
    """Log what is doubtful about the records."""
    doubts = doubts_about(training, "train_input_reader")
    if evaluation:
        doubts += doubts_about(evaluation, "eval_input_reader", evaluation=True)
        doubts += filter(None, [doubt_about_both(training, evaluation)])
    for doubt in doubts:
        _log.warning("%s.", doubt)


def _begin(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig,
    data: Data,
    detector: Detector,
    state: RunState,
) -> None:
    """Give the detector its first weights, say where they come from, and write down what the run is made from."""
    writable_folder(state.model_dir)
    print(_first_weights(state, detector, pipeline.train_config), flush=True)
    indices = {"training": data.training.index}
    if data.evaluation:
        indices["evaluation"] = data.evaluation.index
    _write_down(pipeline, state.model_dir, provenance.entry(data.seed, state.step, indices))


def _first_weights(state: RunState, detector: Detector, settings: pipeline_pb2.TrainConfig) -> str:
    """Load the weights of this run or of another detector; return what was done as a sentence."""
    resumed = state.resume()
    going_on = f"Going on from step {state.step} ({resumed})." if resumed else ""
    told = going_on or take_first_weights(detector, settings)
    broken = not_finite(state.model_variables)
    if broken:
        raise CheckpointError(
            f"{told} But there {broken[0]} is infinite or not a number: take another checkpoint"
        )
    return told


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


def _outcome(run: Run, selection: Selection) -> str:
    """Return a line about a run that did not make the steps it was asked for, or nothing."""
    step = run.state.step
    if step < run.last:
        return (
            f"{selection.waited} evaluations in a row were no better than the best: the run ends after step {step}. "
            "Raise --patience to go on.\n"
        )
    if run.start >= run.last:
        return f"{run.start} of {run.last} steps have been made already; raise --num_train_steps to go on.\n"
    return ""
