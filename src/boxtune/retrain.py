"""The verb `retrain`: photographs in, a retrained, measured, exported detector out."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from boxtune import config, models
from boxtune.backends import require_tensorflow
from boxtune.config.pipeline_pb2 import TrainEvalPipelineConfig
from boxtune.configure import BATCH_SIZE, configure, find_start
from boxtune.convert import ConvertResult, convert, move
from boxtune.data.files import PARTIAL, Paths, held, whole_file
from boxtune.data.preparation import Options, too_few_to_validate
from boxtune.data.tiling import Tiling
from boxtune.errors import BoxtuneError, ConfigError, many, some, to_copy
from boxtune.evaluate import evaluate
from boxtune.evaluation.exported import SAVED_MODEL
from boxtune.export import export
from boxtune.exporting import formats as exporting
from boxtune.report.box_drawing import training_images
from boxtune.report.evaluation import JSON_NAME as EVALUATION_JSON
from boxtune.report.evaluation import publish
from boxtune.report.evaluation_page import PAGE_NAME
from boxtune.same_images import Comparison, compare, knows_all, measure
from boxtune.train import Reporting, train
from boxtune.training.changes import changes_since, reading_from
from boxtune.training.checkpoint_manager import CheckpointOptions
from boxtune.training.cluster import cluster_from_environment
from boxtune.training.early_stopping import SHORT_NAMES, EvaluationOptions
from boxtune.training.memory import doubt
from boxtune.training.project import (
    BEST_BEFORE,
    RECORDS,
    RESULTS,
    Start,
    begin_next,
    best_checkpoint,
    best_run,
    runs_of,
    start_of,
)
from boxtune.training.run_state import (
    ANEW,
    BEST,
    EXPORTED,
    holds_run,
    refuse_to_remove,
    remove_run,
)
from boxtune.training.validation import Best

EVALUATIONS = 5
"""During the training, including the one at the end."""

MOST_NAMED = 5

WITHOUT_WEIGHTS = (
    "without --checkpoint the training starts from random weights, which takes many times the steps and images: see "
    "docs/recipes.md. `boxtune models` lists the weights that there are."
)
"""Measured: docs/recipes.md."""

CLIPPED_NORM = 10.0
"""Of the gradients on tiles, of which few anchors match an object: by the number of these the loss is divided."""

CONFIG = "pipeline.config"


@dataclass(frozen=True)
class RetrainResult:
    """The results and where they are; printed, a summary for people."""

    model_dir: Path
    best: Best
    comparison: Comparison | None = None
    """With the best run before, if there was one that knows some of the classes."""
    tiling: Tiling | None = None
    """How the validation images were looked at for these figures, if not each as a whole."""

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
        compared = self.comparison
        content: dict[str, object] = {
            "mAP": self.mean_average_precision,
            "AP50": self.ap50,
            "step": self.best.step,
            "mAP_of_best_before": compared.before if compared and compared.is_of_all else None,
            "known_classes": compared and asdict(compared),
            "num_validation_images": self.best.num_images,
            "metrics": self.best.values,
            "exported": str(self.model_dir / EXPORTED),
        }
        return json.dumps(content, indent=2) + "\n"

    def __str__(self) -> str:
        folder = self.model_dir
        rows = [
            (
                f"{folder / EXPORTED}",
                "the detector: saved_model, checkpoint, pipeline.config, label map, thresholds",
            ),
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
                f"on {many(self.best.num_images, 'validation image')}, after {many(self.best.step, 'step')}",
                *self._against_best_before(),
                "",
                *(f"{path:{width}}   {what}" for path, what in rows),
                "",
                f"See it work:     {to_copy('boxtune', 'predict', folder / EXPORTED)} IMAGES --output_dir drawn"
                f"{self._tile_flags()}",
                f"See it learn:    {to_copy('tensorboard', '--logdir', folder)}",
            ]
        )

    def _tile_flags(self) -> str:
        """Return the flags by which `predict` looks at images as they were looked at for the figures."""
        return f" --tile {self.tiling.side} --overlap {self.tiling.overlap:g}" if self.tiling else ""

    def _against_best_before(self) -> list[str]:
        """Return how the best run before does on the same images, as a line, if it is known."""
        compared = self.comparison
        if compared is None:
            return []
        if not compared.is_of_all:
            names = some(compared.classes, MOST_NAMED)
            return [
                f"mAP {_shown(compared.now)}   of the classes that the best run before knows, too ({names}); that run: "
                f"{_shown(compared.before)} on the same images"
            ]
        better = compared.before > self.mean_average_precision
        return [
            f"mAP {_shown(compared.before)}   of the best run before, on the same images: `evaluate`, `export` and "
            f"`predict` {'go on with that one' if better else 'take the new one'}"
        ]


def _shown(value: float) -> str:
    return f"{value:.3f}" if value >= 0 else "not measured"


def retrain(
    photos: Paths,
    model_dir: str | Path,
    *,
    checkpoint: str | Path | None = None,
    model: str | None = None,
    options: Options | None = None,
    batch_size: int | str = BATCH_SIZE,
    num_steps: int | None = None,
    learning_rate: float | None = None,
    evaluation_options: EvaluationOptions | None = None,
    num_devices: int | None = None,
    overrides: Sequence[str] = (),
    formats: Sequence[str] = (),
    precisions: Sequence[str] = (),
    overwrite: bool = False,
    next_run: bool = False,
) -> RetrainResult:
    """Convert, configure, train, evaluate and export the best, with defaults for a few hundred photographs.

    Run again with the same arguments, it resumes where it stopped. With other images, classes or settings it is
    refused, and what the model directory holds stays as it is; `next_run` and `overwrite` are the ways on.

    Args:
        photos: a folder of annotated photographs, or several, which are merged.
        model_dir: for everything that is written.
        checkpoint: to start from, as `configure` takes it; without it from random weights.
        model: one of `boxtune models`, where no checkpoint brings its own configuration.
        options: how the photographs are to be read and split; its seed is that of the first weights, the order and
            the augmentation, too.
        batch_size: images in a step; "auto" for the largest that surely fits into memory.
        num_steps: how long to train.
        learning_rate: the highest.
        evaluation_options: when to evaluate (EVALUATIONS times), by which metric the exported checkpoint is chosen,
            when to stop early, and whether the statistics of batch normalizations are estimated anew before.
        num_devices: how many GPUs of this machine share each batch; None for all.
        overrides: "path.to.field=value" changes of the configuration.
        formats, precisions: of the export, as `export` takes them, besides the SavedModel.
        overwrite: remove the runs that the model directory holds, and begin anew.
        next_run: where something has changed, train on from the best weights, in a folder of its own below `model_dir`.

    Raises:
        BoxtuneError: for anything the user can fix.
    """
    require_tensorflow("The exported model that retrain ends with")
    if cluster_from_environment():
        raise ConfigError(
            "TF_CONFIG names several machines, retrain runs on one: unset it, or prepare with `boxtune convert` and "
            "`boxtune config`, and give `boxtune train` to each"
        )
    exporting.check([SAVED_MODEL, *formats], precisions, flag="export")
    options, project = options or Options(), Path(model_dir)
    command = _Command(
        find_start(checkpoint, model),
        model,
        batch_size,
        num_steps,
        learning_rate,
        tuple(overrides),
        on_tiles=options.cutting is not None,
    )
    with held(project):
        runs = [project] if overwrite else runs_of(project)
        if options.kept_split is None and not overwrite:
            options = replace(options, kept_split=_last_split(runs))
        with tempfile.TemporaryDirectory(dir=project, prefix=PARTIAL) as made:
            converted = convert(photos, Path(made) / RECORDS, options)
            if overwrite:
                folder, pipeline = project, command.configured(converted, project)
                refuse_to_remove(project, pipeline.train_config.fine_tune_checkpoint)
                remove_run(project)
            else:
                folder, pipeline = _run_to_make(command, converted, runs, options.seed, next_run)
            move(converted, folder / RECORDS)
            print(replace(converted, output_dir=folder / RECORDS), flush=True)
            for warning in _warnings(converted, options, pipeline):
                print(f"warning: {warning}", flush=True)
            config.write(pipeline, folder / CONFIG)
        if formats:
            exporting.refuse(models.build(pipeline.model), pipeline.model, formats)
        best = _train(folder, pipeline, evaluation_options or EvaluationOptions(), options.seed, num_devices)
        export(folder / CONFIG, folder / BEST, folder / EXPORTED)
        tiling = options.cutting.tiling if options.cutting else None
        before = None if folder == project else _measure_best_before(project, folder, tiling)
        print("\nThe best:")
        analysis = evaluate(
            folder / CONFIG,
            folder / BEST,
            output_dir=folder,
            tiling=tiling,
            min_precision=0.0 if tiling else None,  # its thresholds are of tiles alone
            compare_with=folder / BEST_BEFORE / EVALUATION_JSON
            if before and knows_all(before, folder)
            else None,
        )
        if tiling:
            best = replace(best, values=analysis.metrics, num_images=len(analysis.images))
        comparison = compare(before, folder, folder / BEST_BEFORE) if before else None
        result = RetrainResult(folder, best, comparison, tiling)
        with whole_file(folder / RESULTS) as temporary:
            temporary.write_text(result.to_json(), encoding="utf-8")
        if formats:  # last, with the thresholds that were found; what falls short costs nothing else
            where = (folder / CONFIG, folder / BEST, folder / EXPORTED)
            export(*where, formats=formats, precisions=precisions)
    return result


@dataclass(frozen=True)
class _Command:
    """What a command says of the training itself."""

    checkpoint: Path | None
    model: str | None
    batch_size: int | str
    num_steps: int | None
    learning_rate: float | None
    overrides: tuple[str, ...]
    on_tiles: bool

    def configured(
        self, converted: ConvertResult, folder: Path, checkpoint: Path | None = None
    ) -> TrainEvalPipelineConfig:
        """Return the configuration, complete and checked, of a run in a folder to which the records will be moved.

        Args:
            converted: the records, where they were made.
            folder: of the run.
            checkpoint: to start from, in place of that of the command.

        Raises:
            ConfigError: if it contradicts itself or the records.
        """
        made, records = converted.output_dir, folder / RECORDS
        pipeline = configure(
            made,
            checkpoint=checkpoint or self.checkpoint,
            model=None if checkpoint else self.model,
            batch_size=self.batch_size,
            num_steps=self.num_steps,
            learning_rate=self.learning_rate,
        )
        pipeline = reading_from(records, pipeline, made)
        if self.on_tiles and not pipeline.train_config.gradient_clipping_by_norm:
            pipeline.train_config.gradient_clipping_by_norm = CLIPPED_NORM
        for override in self.overrides:
            config.apply_override(pipeline, override)
        config.write(pipeline, made.parent / CONFIG)
        pipeline = config.load(made.parent / CONFIG)
        readable = reading_from(made, pipeline, records)
        try:
            config.check_for_training(readable)
            config.check_for_evaluation(readable)
        except BoxtuneError as error:
            raise type(error)(str(error).replace(str(made.parent), str(folder))) from None
        return pipeline


def _run_to_make(
    command: _Command, converted: ConvertResult, runs: Sequence[Path], seed: int, next_run: bool
) -> tuple[Path, TrainEvalPipelineConfig]:
    """Return the folder and the configuration of the run to make: the last one, or the next if something has changed.

    Raises:
        ConfigError: if something has changed and no next run is wanted, or one of another kind of model.
    """
    folder, start = runs[-1], start_of(runs[-1])
    pipeline = command.configured(converted, folder, Path(start.checkpoint) if start else None)
    if not holds_run(folder):
        return folder, pipeline
    changes = changes_since(folder, pipeline, seed, records=folder / RECORDS, made=converted.output_dir)
    if not changes:
        return folder, pipeline
    if not next_run:
        raise ConfigError(
            f"{folder} holds a run that differs from this command. To train on from its best weights, as the next run, "
            + "\n  ".join([f"add --next_run. {ANEW}. The differences:", *changes])
        )
    best = best_run(runs)
    checkpoint = best_checkpoint(best)
    kinds = [
        config.family_of(one.model).kind(one.model)
        for one in (command.configured(converted, folder), command.configured(converted, folder, checkpoint))
    ]
    if kinds[0] != kinds[1]:
        raise ConfigError(
            f"--next_run goes on from the best weights of {best}, a {kinds[1]}, and this asks for a {kinds[0]}: "
            "give that another --model_dir"
        )
    folder = begin_next(runs[0], Start(str(checkpoint), changes))
    return folder, command.configured(converted, folder, checkpoint)


def _warnings(converted: ConvertResult, options: Options, pipeline: TrainEvalPipelineConfig) -> Iterator[str]:
    """Yield what makes the result worse or less sure than it could be, with the way out."""
    if not pipeline.train_config.fine_tune_checkpoint:
        yield WITHOUT_WEIGHTS
    if options.folds is None and (few := too_few_to_validate(converted.prepared)):
        yield f"{few}. Their mAP is mostly chance: annotate more, or add --folds 5."


def _last_split(runs: Sequence[Path]) -> Path:
    """Return the records of the last run that has any."""
    return next((run / RECORDS for run in reversed(runs) if (run / RECORDS).is_dir()), runs[0] / RECORDS)


def _measure_best_before(project: Path, folder: Path, tiling: Tiling | None) -> Path | None:
    """Measure the best run before the one in `folder` on its images; return which, None if it knows no class of it."""
    runs = runs_of(project)
    before = best_run(runs[: runs.index(folder)])
    print(f"\nThe best run before, {before}, on the same images:")
    if measure(before, folder, folder / RECORDS, folder / BEST_BEFORE, tiling):
        return before
    print("It knows none of these classes: it is not compared.")
    return None


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
        reporting=Reporting(publish, training_images, doubt),
    )
    if trained.best is None:
        raise BoxtuneError(f"{model_dir}: nothing was evaluated")
    return trained.best
