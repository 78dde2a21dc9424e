"""The verb `retrain`: photographs in, a retrained, measured, exported detector out."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from boxtune import config
from boxtune.backends import require_tensorflow
from boxtune.config.pipeline_pb2 import TrainEvalPipelineConfig
from boxtune.configure import BATCH_SIZE, configure, find_start
from boxtune.convert import convert, move
from boxtune.data.files import PARTIAL, held, whole_file
from boxtune.data.preparation import Options
from boxtune.errors import BoxtuneError, ConfigError
from boxtune.evaluate import evaluate
from boxtune.export import export
from boxtune.report.box_drawing import training_images
from boxtune.report.evaluation import publish
from boxtune.report.evaluation_page import PAGE_NAME
from boxtune.train import Reporting, train
from boxtune.training.changes import reading_from, require_same_run
from boxtune.training.checkpoint_manager import CheckpointOptions
from boxtune.training.cluster import cluster_from_environment
from boxtune.training.early_stopping import SHORT_NAMES, EvaluationOptions
from boxtune.training.run_state import BEST, EXPORTED, holds_run, refuse_to_remove, remove_run
from boxtune.training.validation import Best

EVALUATIONS = 5
"""During the training, including the one at the end."""

RECORDS, CONFIG, RESULTS = "records", "pipeline.config", "results.json"


@dataclass(frozen=True)
class RetrainResult:
    """The results and where they are; printed, a summary for people."""

    model_dir: Path
    best: Best

    @property
    def mean_average_precision(self) -> float:
        """COCO's AP, averaged over IoU 0.50 to 0.95."""
        return self.best.values[SHORT_NAMES["mAP"]]

    @property
    def ap50(self) -> float:
        """AP at IoU 0.50."""
        return self.best.values[SHORT_NAMES["AP50"]]

    def to_json(self) -> str:
        """Return the figures and where the exported model is, for programs."""
        content = {
            "mAP": self.mean_average_precision,
            "AP50": self.ap50,
            "step": self.best.step,
            "num_validation_images": self.best.num_images,
            "metrics": self.best.values,
            "exported": str(self.model_dir / EXPORTED),
        }
        return json.dumps(content, indent=2) + "\n"

    def __str__(self) -> str:
        folder = self.model_dir
        rows = [
            (f"{folder / EXPORTED}", "the detector: saved_model, checkpoint, pipeline.config, label map"),
            (f"{folder / PAGE_NAME}", "its detections, and every mistake: open it in a browser"),
            (f"{folder / RESULTS}", "these figures and all the others"),
            (f"{folder / CONFIG}", "the configuration, to change for the next run"),
            (f"{folder / RECORDS}", "the records, and the report of what was read"),
        ]
        width = max(len(path) for path, _ in rows)
        return "\n".join(
            [
                "",
                f"mAP {_shown(self.mean_average_precision)}   AP50 {_shown(self.ap50)}   "
                f"on {self.best.num_images} validation images, after {self.best.step} steps",
                "",
                *(f"{path:{width}}   {what}" for path, what in rows),
                "",
                f"See it work:     boxtune predict {folder / EXPORTED} IMAGES --output_dir drawn",
                f"See it learn:    tensorboard --logdir {folder}",
            ]
        )


def _shown(value: float) -> str:
    return f"{value:.3f}" if value >= 0 else "not measured"


def retrain(
    photos: str | Path,
    model_dir: str | Path,
    *,
    checkpoint: str | Path | None = None,
    model: str | None = None,
    options: Options | None = None,
    batch_size: int = BATCH_SIZE,
    num_steps: int | None = None,
    learning_rate: float | None = None,
    evaluation_options: EvaluationOptions | None = None,
    num_devices: int | None = None,
    overrides: Sequence[str] = (),
    overwrite: bool = False,
) -> RetrainResult:
    """Convert, configure, train, evaluate and export the best, with defaults for a few hundred photographs.

    Run again with the same arguments, it resumes where it stopped. With other images, classes or settings it is
    refused, and what the model directory holds stays as it is.

    Args:
        photos: a folder of annotated photographs.
        model_dir: for everything that is written.
        checkpoint: to start from, as `configure` takes it; without it from random weights.
        model: one of `boxtune models`, where no checkpoint brings its own configuration.
        options: how the photographs are to be read and split; its seed is that of the first weights, the order and
            the augmentation, too.
        batch_size: images in a step.
        num_steps: how long to train.
        learning_rate: the highest.
        evaluation_options: when to evaluate (EVALUATIONS times), by which metric the exported checkpoint is chosen, and
            when to stop early.
        num_devices: how many GPUs of this machine share each batch; None for all.
        overrides: "path.to.field=value" changes of the configuration.
        overwrite: remove the run that the model directory holds, and begin anew.

    Raises:
        BoxtuneError: for anything the user can fix.
    """
    require_tensorflow("The exported model that retrain ends with")
    if cluster_from_environment():
        raise ConfigError(
            "TF_CONFIG names several machines, retrain runs on one: unset it, or prepare with `boxtune convert` and "
            "`boxtune config`, and give `boxtune train` to each"
        )
    checkpoint = find_start(checkpoint, model)
    options, model_dir = options or Options(), Path(model_dir)
    with held(model_dir):
        with tempfile.TemporaryDirectory(dir=model_dir, prefix=PARTIAL) as made:
            if options.kept_split is None and not overwrite:
                options = replace(options, kept_split=model_dir / RECORDS)
            converted = convert(Path(photos), Path(made) / RECORDS, options)
            pipeline = configure(
                converted.output_dir,
                checkpoint=checkpoint,
                model=model,
                batch_size=batch_size,
                num_steps=num_steps,
                learning_rate=learning_rate,
            )
            pipeline = _checked(pipeline, model_dir, Path(made), overrides)
            if overwrite:
                refuse_to_remove(model_dir, pipeline.train_config.fine_tune_checkpoint)
                remove_run(model_dir)
            elif holds_run(model_dir):
                require_same_run(
                    model_dir, pipeline, options.seed, records=model_dir / RECORDS, made=converted.output_dir
                )
            move(converted, model_dir / RECORDS)
            print(replace(converted, output_dir=model_dir / RECORDS), flush=True)
            config.write(pipeline, model_dir / CONFIG)
        best = _train(
            model_dir, pipeline, evaluation_options or EvaluationOptions(), options.seed, num_devices
        )
        export(model_dir / CONFIG, model_dir / BEST, model_dir / EXPORTED)
        print("\nThe best:")
        evaluate(model_dir / CONFIG, model_dir / BEST, output_dir=model_dir)
        result = RetrainResult(model_dir, best)
        with whole_file(model_dir / RESULTS) as temporary:
            temporary.write_text(result.to_json(), encoding="utf-8")
    return result


def _checked(
    pipeline: TrainEvalPipelineConfig, model_dir: Path, made: Path, overrides: Sequence[str]
) -> TrainEvalPipelineConfig:
    """Return a configuration as it is to be trained: changed, complete, and of records in the model directory.

    Raises:
        ConfigError: if it contradicts itself or the records, which still are where they were made.
    """
    records = model_dir / RECORDS
    pipeline = reading_from(records, pipeline, made / RECORDS)
    for override in overrides:
        config.apply_override(pipeline, override)
    config.write(pipeline, made / CONFIG)
    pipeline = config.load(made / CONFIG)
    readable = reading_from(made / RECORDS, pipeline, records)
    try:
        config.check_for_training(readable)
        config.check_for_evaluation(readable)
    except BoxtuneError as error:
        raise type(error)(str(error).replace(str(made), str(model_dir))) from None
    return pipeline


def _train(
    model_dir: Path,
    pipeline: TrainEvalPipelineConfig,
    evaluation_options: EvaluationOptions,
    seed: int,
    num_devices: int | None,
) -> Best:
    """Train by the configuration in a model directory, and return its best checkpoint."""
    if evaluation_options.every_n is None:
        evaluation_options = replace(
            evaluation_options, every_n=-(-pipeline.train_config.num_steps // EVALUATIONS)
        )
    trained = train(
        model_dir / CONFIG,
        model_dir,
        checkpoint_options=CheckpointOptions(every_n=min(evaluation_options.every_n or 1000, 1000)),
        evaluation_options=evaluation_options,
        seed=seed,
        num_devices=num_devices,
        reporting=Reporting(publish, training_images),
    )
    if trained.best is None:
        raise BoxtuneError(f"{model_dir}: nothing was evaluated")
    return trained.best
