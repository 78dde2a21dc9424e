"""The verb `train`: fine-tune the detector that a pipeline.config describes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from boxtune import config, models
from boxtune.config import pipeline_pb2
from boxtune.data.files import whole_file, writable_folder
from boxtune.data.input import Records, training_batches
from boxtune.data.label_map import LabelMap, read_label_map
from boxtune.errors import ConfigError
from boxtune.metrics.evaluation import Evaluation
from boxtune.models import Detector
from boxtune.report.evaluation import side_by_side_pictures, table
from boxtune.report.pictures import Box, draw_boxes
from boxtune.training import callbacks
from boxtune.training.evaluation import Evaluator
from boxtune.training.optimizer import optimizer
from boxtune.training.run_state import RunState
from boxtune.training.warm_start import warm_start

COMPLETE_CONFIG = "complete_pipeline.config"
"""In the model directory: the configuration with every section filled in, as it was trained."""

EVALUATION = "evaluation.json"
"""In the model directory: the numbers of the newest evaluation."""


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
    evaluate_every_n: int | None = None,
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
        evaluate_every_n: steps between evaluations, as between checkpoints by default; 0 evaluates at the end only.
        checkpoint_max_to_keep: older checkpoints are removed.
        seed: of the first weights, the order of the examples and their augmentation.

    Raises:
        BoxtuneError: for anything the user can mend; nothing that was written before is lost.
    """
    pipeline = config.load(pipeline_config_path, overrides)
    if num_train_steps is not None:
        pipeline.train_config.num_steps = num_train_steps
    config.check_for_training(pipeline)
    settings, num_steps = pipeline.train_config, pipeline.train_config.num_steps
    label_map = read_label_map(Path(pipeline.train_input_reader.label_map_path))

    # Everything that can be wrong with the data is found before the model is built.
    records = read_records(pipeline.train_input_reader, pipeline)
    evaluation_records = _evaluation_records(pipeline)

    keras.utils.set_random_seed(seed)
    detector = models.build(pipeline.model, add_regularization_loss=settings.add_regularization_loss)
    detector.compile(
        optimizer(settings.optimizer, gradient_clipping_by_norm=settings.gradient_clipping_by_norm),
        jit_compile=False,  # on the CPU XLA is many times slower than TensorFlow's own kernels
    )

    model_dir = writable_folder(Path(model_dir))
    state = RunState(model_dir, detector, detector.optimizer, checkpoint_max_to_keep)
    resumed = state.resume()
    if resumed:
        print(f"Going on from step {state.step} ({resumed}).", flush=True)
    elif settings.fine_tune_checkpoint:
        warm = warm_start(detector, settings.fine_tune_checkpoint, settings.fine_tune_checkpoint_type)
        print(warm, flush=True)
    else:
        print("Starting from random weights.", flush=True)
    config.write(pipeline, model_dir / COMPLETE_CONFIG)

    image_resizer = models.image_resizer(pipeline.model)
    batches = training_batches(
        records,
        batch_size=settings.batch_size,
        seed=seed,
        image_resizer=image_resizer,
        augmentation_options=settings.data_augmentation_options,
        shuffle=pipeline.train_input_reader.shuffle,
        start_step=state.step,
    )
    evaluator = None
    if evaluation_records is not None:
        evaluator = Evaluator(
            detector,
            evaluation_records,
            image_resizer=image_resizer,
            batch_size=max(pipeline.eval_config.batch_size, 8),
            num_examples=pipeline.eval_config.num_visualizations,
        )
    evaluations: list[Evaluation] = []

    def save(step: int) -> None:
        state.save()

    def evaluate(step: int) -> None:
        if evaluator is not None:
            evaluations.append(evaluator.evaluate(step))
            record_evaluation(evaluations[-1], pipeline, label_map, model_dir)

    start = state.step
    if start < num_steps:
        interval = checkpoint_every_n if evaluate_every_n is None else evaluate_every_n
        with tf.summary.create_file_writer(str(model_dir / "train")).as_default(start) as writer:
            _summarize_first_images(batches, label_map)
            steps = [
                callbacks.StopOnNonFinite(start),
                callbacks.Progress(start, num_steps, settings.batch_size),
                callbacks.Summaries(start, writer),
                callbacks.Every(start, num_steps, checkpoint_every_n, save),
                callbacks.Every(start, num_steps, interval, evaluate),
            ]
            _fit(detector, batches, num_steps - start, steps, records)
    else:
        print(f"{num_steps} steps have been made already; raise --num_train_steps to go on.")
        evaluate(start)
    return TrainResult(model_dir, state.step, evaluations[-1] if evaluations else None)


def read_records(reader: pipeline_pb2.InputReader, pipeline: pipeline_pb2.TrainEvalPipelineConfig) -> Records:
    """Open the records of an input reader."""
    return Records(
        config.input_files(reader),
        read_label_map(Path(reader.label_map_path)),
        models.num_classes(pipeline.model),
        one_of_n=reader.sample_1_of_n_examples,
    )


def _evaluation_records(pipeline: pipeline_pb2.TrainEvalPipelineConfig) -> Records | None:
    if not pipeline.eval_input_reader:
        print("No eval_input_reader: training without evaluation.")
        return None
    config.check_for_evaluation(pipeline)
    return read_records(pipeline.eval_input_reader[0], pipeline)


def record_evaluation(
    evaluation: Evaluation,
    pipeline: pipeline_pb2.TrainEvalPipelineConfig,
    label_map: LabelMap,
    model_dir: Path,
) -> None:
    """Print an evaluation, keep it as JSON, and show it in TensorBoard under the API's tags."""
    print(table(evaluation), flush=True)
    with whole_file(model_dir / EVALUATION) as temporary:
        temporary.write_text(evaluation.to_json(), encoding="utf-8")
    pictures = side_by_side_pictures(
        evaluation,
        names_by_class(label_map),
        min_score=pipeline.eval_config.min_score_threshold,
        max_boxes=pipeline.eval_config.max_num_boxes_to_visualize,
    )
    folder = model_dir / "eval" / pipeline.eval_input_reader[0].name
    with tf.summary.create_file_writer(str(folder)).as_default(evaluation.step):
        for name, value in evaluation.values.items():
            tf.summary.scalar(name, value)
        for number, picture in enumerate(pictures):
            tf.summary.image(f"eval_side_by_side_{number}_0", picture[None])


def names_by_class(label_map: LabelMap) -> dict[int, str]:
    """Return the name to show of each class, 0-based."""
    return {label.id - 1: label.display_name or label.name for label in label_map.labels}


def _summarize_first_images(batches: tf.data.Dataset, label_map: LabelMap, count: int = 4) -> None:
    """Show what the first batch looks like to the model, augmented and with its boxes."""
    from PIL import Image

    names = names_by_class(label_map)
    for images, groundtruth in batches.take(1):
        for i in range(min(count, len(images))):
            valid = groundtruth["valid"][i].numpy()
            boxes, classes = groundtruth["boxes"][i].numpy()[valid], groundtruth["classes"][i].numpy()[valid]
            picture = Image.fromarray(tf.cast(tf.clip_by_value(images[i], 0, 255), tf.uint8).numpy())
            drawn = [
                Box(box, names.get(int(cls), "?"), int(cls)) for box, cls in zip(boxes, classes, strict=True)
            ]
            tf.summary.image(f"train_input_images_{i}", tf.constant(draw_boxes(picture, drawn))[None])


def _fit(detector: Detector, batches: tf.data.Dataset, steps: int, actions: list, records: Records) -> None:
    """Make `steps` steps; a record that cannot be read ends the run with its name."""
    try:
        detector.fit(batches, steps_per_epoch=steps, epochs=1, shuffle=False, verbose=0, callbacks=actions)
    except tf.errors.OpError as error:
        raise records.find_fault() or error from error
