"""The verb `train`: fine-tune the detector that a pipeline.config describes."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from boxtune import config, models
from boxtune.config import pipeline_pb2
from boxtune.data.files import writable_folder
from boxtune.data.input import Records, naming_faults, open_records, training_batches
from boxtune.data.label_map import LabelMap, read_label_map
from boxtune.errors import ConfigError
from boxtune.metrics.evaluation import Evaluation
from boxtune.models import Detector
from boxtune.report.evaluation import publish
from boxtune.report.pictures import Box, draw_boxes
from boxtune.training import callbacks
from boxtune.training.evaluation import Evaluator
from boxtune.training.optimizer import optimizer
from boxtune.training.run_state import RunState
from boxtune.training.warm_start import warm_start

COMPLETE_CONFIG = "complete_pipeline.config"
"""In the model directory: the configuration with every section filled in, as it was trained."""


@dataclass(frozen=True)
class TrainResult:
    """Where a run stands."""

    model_dir: Path
    step: int
    evaluation: Evaluation | None


def train(
    pipeline_config_path: str | Path,
    model_dir: str | Path,
    *,
    overrides: Sequence[str] = (),
    num_train_steps: int | None = None,
    checkpoint_every_n: int = 1000,
    evaluate_every_n: int = 1000,
    checkpoint_max_to_keep: int = 7,
    seed: int = 0,
) -> TrainResult:
    """Train, or go on training, until exactly the configured number of steps has been made.

    Args:
        pipeline_config_path: the configuration.
        model_dir: takes checkpoints, summaries and numbers; if it holds a checkpoint, the run goes on from there.
        overrides: "path.to.field=value" changes of the configuration.
        num_train_steps: in place of `train_config.num_steps`.
        checkpoint_every_n: steps between checkpoints; one is always written at the end.
        evaluate_every_n: steps between evaluations; one is always made at the end, and no other if this is 0.
        checkpoint_max_to_keep: older checkpoints are removed.
        seed: of the first weights, the order of the examples and their augmentation.

    Raises:
        BoxtuneError: for anything the user can mend; nothing that was written before is lost.
    """
    pipeline = config.load(pipeline_config_path, overrides)
    if num_train_steps is not None:
        if num_train_steps < 1:
            raise ConfigError(f"num_train_steps is {num_train_steps}; at least 1 is needed")
        pipeline.train_config.num_steps = num_train_steps
    config.check_for_training(pipeline)
    settings, num_steps = pipeline.train_config, pipeline.train_config.num_steps
    label_map = read_label_map(Path(pipeline.train_input_reader.label_map_path))

    # The data first: what is wrong with it is known before the model is built.
    records = open_records(pipeline.train_input_reader, models.num_classes(pipeline.model))
    evaluation_records = _evaluation_records(pipeline)

    # The model, from random weights, another detector's, or where this run stopped.
    keras.utils.set_random_seed(seed)
    detector = models.build(pipeline.model, add_regularization_loss=settings.add_regularization_loss)
    detector.compile(
        optimizer(settings.optimizer, gradient_clipping_by_norm=settings.gradient_clipping_by_norm),
        jit_compile=False,  # on the CPU XLA is many times slower than TensorFlow's own kernels
    )
    model_dir = writable_folder(Path(model_dir))
    state = RunState(model_dir, detector, checkpoint_max_to_keep)
    print(_begin(state, detector, settings), flush=True)
    config.write(pipeline, model_dir / COMPLETE_CONFIG)

    # What happens between the steps.
    evaluations: list[Evaluation] = []
    evaluator = Evaluator.from_config(detector, evaluation_records, pipeline) if evaluation_records else None

    def evaluate(step: int) -> None:
        if evaluator is not None:
            evaluations.append(evaluator.evaluate(step))
            publish(evaluations[-1], pipeline, label_map, model_dir)

    # The steps that are left.
    start = state.step
    batches = training_batches(
        records,
        batch_size=settings.batch_size,
        seed=seed,
        image_resizer=models.image_resizer(pipeline.model),
        augmentation_options=settings.data_augmentation_options,
        shuffle=pipeline.train_input_reader.shuffle,
        start_step=start,
    )
    if start < num_steps:
        writer = tf.summary.create_file_writer(str(model_dir / "train"))
        between = [
            callbacks.StopOnNonFinite(start),
            callbacks.Progress(start, num_steps, settings.batch_size),
            callbacks.Summaries(start, writer),
            callbacks.Every(start, num_steps, checkpoint_every_n, lambda step: state.save()),
            callbacks.Every(start, num_steps, evaluate_every_n, evaluate),
        ]
        with (
            naming_faults(records),
            closing(writer),
            writer.as_default(start),
            _saving_when_interrupted(state),
        ):
            _summarize_first_images(batches, label_map)
            detector.fit(
                batches, steps_per_epoch=num_steps - start, shuffle=False, verbose=0, callbacks=between
            )
    else:
        print(f"{start} of {num_steps} steps have been made already; raise --num_train_steps to go on.")
        evaluate(start)
    return TrainResult(model_dir, state.step, evaluations[-1] if evaluations else None)


def _begin(state: RunState, detector: Detector, settings: pipeline_pb2.TrainConfig) -> str:
    """Give the detector its first weights and say where they come from."""
    resumed = state.resume()
    if resumed:
        return f"Going on from step {state.step} ({resumed})."
    if settings.fine_tune_checkpoint:
        return str(warm_start(detector, settings.fine_tune_checkpoint, settings.fine_tune_checkpoint_type))
    return "Starting from random weights."


@contextmanager
def _saving_when_interrupted(state: RunState) -> Iterator[None]:
    """Keep what was learned so far when the user stops the run."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nStopped after step {state.step}, kept in {state.save()}.", flush=True)
        raise


def _evaluation_records(pipeline: pipeline_pb2.TrainEvalPipelineConfig) -> Records | None:
    if not pipeline.eval_input_reader:
        print("No eval_input_reader: training without evaluation.")
        return None
    config.check_for_evaluation(pipeline)
    return open_records(pipeline.eval_input_reader[0], models.num_classes(pipeline.model))


def _summarize_first_images(batches: tf.data.Dataset, label_map: LabelMap, count: int = 4) -> None:
    """Show what the first batch looks like to the model, augmented and with its boxes."""
    names = label_map.shown_names
    for images, groundtruth in batches.take(1):
        pixels = tf.cast(tf.clip_by_value(images[:count], 0, 255), tf.uint8).numpy()
        drawn = []
        for i, picture in enumerate(pixels):
            valid = groundtruth["valid"][i].numpy()
            boxes, classes = groundtruth["boxes"][i].numpy()[valid], groundtruth["classes"][i].numpy()[valid]
            marked = [
                Box(box, names.get(cls, "?"), int(cls)) for box, cls in zip(boxes, classes, strict=True)
            ]
            drawn.append(np.asarray(draw_boxes(Image.fromarray(picture), marked)))
        tf.summary.image("train_input_images", np.stack(drawn), max_outputs=count)
