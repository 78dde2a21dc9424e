"""Training and evaluation by a configuration, and their steps for loops of one's own."""

import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from boxtune import config
from boxtune.config.pipeline_pb2 import CheckpointVersion
from boxtune.data.label_map import class_names, read_label_map
from boxtune.errors import CheckpointError, ConfigError, DataError
from boxtune.evaluate import evaluate_checkpoints
from boxtune.evaluation.evaluator import metric_options
from boxtune.metrics import metric_sets
from boxtune.metrics.results import ImageResult
from boxtune.report.box_drawing import training_images
from boxtune.report.evaluation import publish
from boxtune.train import CheckpointOptions, EvaluationOptions, Reporting, train
from boxtune.training import checkpoints
from boxtune.training.memory import doubt
from boxtune.training.warm_start import warm_start
from object_detection import eval_util, inputs, model_lib
from object_detection.builders import model_builder
from object_detection.core.model import DetectionModel
from object_detection.core.standard_fields import DetectionResultFields
from object_detection.core.standard_fields import InputDataFields as Fields
from object_detection.edited_config import edited_config
from object_detection.meta_architectures.ssd_meta_arch import SSDMetaArch
from object_detection.utils import config_util

MODEL_BUILD_UTIL_MAP = model_lib.MODEL_BUILD_UTIL_MAP
NUM_STEPS_PER_ITERATION = 100
RESTORE_MAP_ERROR_TEMPLATE = (
    "What a model restores from a checkpoint has to be a dict of modules by their names, but it has {} for {}"
)

_log = logging.getLogger("boxtune")


class CheckpointIOError(CheckpointError, IOError):
    """A checkpoint that cannot be used; an IOError too, which is what the API raises."""


# Whole trainings and evaluations


def train_loop(
    pipeline_config_path: config_util.FilePath,
    model_dir: config_util.FilePath,
    config_override: str | None = None,
    train_steps: int | None = None,
    use_tpu: bool = False,
    save_final_config: bool = False,
    checkpoint_every_n: int = 1000,
    checkpoint_max_to_keep: int = 7,
    record_summaries: bool = True,
    performance_summary_exporter: Any = None,
    num_steps_per_iteration: int = NUM_STEPS_PER_ITERATION,
    **kwargs: Any,
) -> None:
    """Train, or resume training, as `boxtune train` does: with an evaluation at each checkpoint.

    Args:
        pipeline_config_path: the configuration.
        model_dir: takes checkpoints and summaries.
        config_override: text of another configuration, merged into it.
        train_steps: in place of `train_config.num_steps`.
        use_tpu: not supported.
        save_final_config: write the changed configuration to `pipeline.config` in `model_dir`.
        checkpoint_every_n: steps between checkpoints; one is written at the end, too.
        checkpoint_max_to_keep: older ones are removed.
        record_summaries: summaries are always written.
        performance_summary_exporter: not supported.
        num_steps_per_iteration: without effect: every step is made by itself.
        kwargs: changes, as of `config_util.merge_external_params_with_configs`.

    Raises:
        BoxtuneError: for anything the user can fix.
    """
    _refuse_tpu(use_tpu)
    if performance_summary_exporter is not None:
        raise ConfigError(
            "performance_summary_exporter is not supported: leave it out; steps_per_sec is in metrics.jsonl"
        )
    if not record_summaries:
        _log.warning("record_summaries=False has no effect: summaries are always written.")
    with edited_config(pipeline_config_path, config_override, kwargs) as path:
        _save_config(path, model_dir if save_final_config else None)
        train(
            path,
            Path(model_dir),
            num_train_steps=train_steps,
            checkpoint_options=CheckpointOptions(
                every_n=checkpoint_every_n, max_to_keep=checkpoint_max_to_keep
            ),
            evaluation_options=EvaluationOptions(every_n=checkpoint_every_n),
            reporting=Reporting(publish, training_images, doubt),
        )


def eval_continuously(
    pipeline_config_path: config_util.FilePath,
    config_override: str | None = None,
    train_steps: int | None = None,
    sample_1_of_n_eval_examples: int | None = 1,
    sample_1_of_n_eval_on_train_examples: int = 1,
    use_tpu: bool = False,
    override_eval_num_epochs: bool = True,
    postprocess_on_cpu: bool = False,
    model_dir: config_util.FilePath | None = None,
    checkpoint_dir: config_util.FilePath | None = None,
    wait_interval: float = 180,
    timeout: float = 3600,
    eval_index: int = 0,
    save_final_config: bool = False,
    **kwargs: Any,
) -> None:
    """Evaluate every checkpoint of a training until it has ended, as `boxtune evaluate --all_checkpoints` does.

    Args:
        pipeline_config_path: the configuration.
        config_override: text of another configuration, merged into it.
        train_steps: in place of `train_config.num_steps`; a training of another program ends there.
        sample_1_of_n_eval_examples: evaluate on every n-th record only.
        sample_1_of_n_eval_on_train_examples: without effect.
        use_tpu: not supported.
        override_eval_num_epochs: without effect: every record is read once.
        postprocess_on_cpu: without effect.
        model_dir: takes the summaries; by default the folder of the checkpoints.
        checkpoint_dir: of the training; by default `model_dir`.
        wait_interval: without effect: a new checkpoint is seen within seconds.
        timeout: seconds without a new checkpoint that end the evaluation.
        eval_index: which `eval_input_reader`.
        save_final_config: write the changed configuration to `pipeline.config` in `model_dir`.
        kwargs: changes, as of `config_util.merge_external_params_with_configs`.

    Raises:
        BoxtuneError: for anything the user can fix.
    """
    _refuse_tpu(use_tpu)
    overrides = {
        "eval_input_reader[0].sample_1_of_n_examples": sample_1_of_n_eval_examples,
        "train_config.num_steps": train_steps,
    }
    with edited_config(pipeline_config_path, config_override, kwargs, eval_index) as path:
        _save_config(path, model_dir if save_final_config else None)
        evaluate_checkpoints(
            path,
            _path(checkpoint_dir or model_dir),
            output_dir=_path(model_dir),
            overrides=[f"{field}={value}" for field, value in overrides.items() if value],
            wait=True,
            timeout=timeout,
        )


def _path(given: config_util.FilePath | None) -> Path | None:
    return None if given is None else Path(given)


def _refuse_tpu(use_tpu: bool) -> None:
    if use_tpu:
        raise ConfigError("use_tpu is not supported; leave it out")


def _save_config(path: Path, folder: config_util.FilePath | None) -> None:
    """Write the configuration of a file to a folder, if one is given."""
    if folder is not None:
        pipeline = config.read(path, config_util.TrainEvalPipelineConfig())
        config_util.save_pipeline_config(pipeline, folder)


# Steps


def normalize_dict(values_dict: dict[str, Any], num_replicas: float) -> dict[str, Any]:
    """Divide values in place by the number of replicas, and return them."""
    for name, value in values_dict.items():
        values_dict[name] = value / tf.constant(num_replicas, tf.float32)
    return values_dict


def reduce_dict(strategy: Any, reduction_dict: dict[str, Any], reduction_op: Any) -> dict[str, Any]:
    """Reduce the values of all replicas in place, and return them."""
    for name, value in reduction_dict.items():
        reduction_dict[name] = strategy.reduce(reduction_op, value, axis=None)
    return reduction_dict


def eager_train_step(
    detection_model: DetectionModel,
    features: Mapping[str, Any],
    labels: Mapping[str, Any],
    unpad_groundtruth_tensors: bool,
    optimizer: tf.keras.optimizers.Optimizer,
    add_regularization_loss: bool = True,
    clip_gradients_value: float | None = None,
    num_replicas: float = 1.0,
) -> dict[str, Any]:
    """Train a model on a batch; return its losses by name, with `Loss/total_loss`.

    Args:
        detection_model: to train.
        features: `image` float32 [b, h, w, 3], preprocessed, and `true_image_shape` int32 [b, 3].
        labels: ground truth [b, n, ...] by the names of `InputDataFields`.
        unpad_groundtruth_tensors: whether only `num_groundtruth_boxes` [b] of the n objects are some.
        optimizer: of Keras.
        add_regularization_loss: whether the penalties of the weights are part of the total.
        clip_gradients_value: the norm of all gradients that is not exceeded; None for any.
        num_replicas: by which the losses are divided.
    """
    detection_model._is_training = True
    unstacked = model_lib.unstack_batch(labels, unpad_groundtruth_tensors)
    with tf.GradientTape() as tape:
        losses, _ = _compute_losses_and_predictions_dicts(
            detection_model, features, unstacked, add_regularization_loss=add_regularization_loss
        )
        losses = normalize_dict(losses, num_replicas)
    variables = detection_model.trainable_variables
    gradients = tape.gradient(losses["Loss/total_loss"], variables)
    if clip_gradients_value:
        gradients, _ = tf.clip_by_global_norm(gradients, clip_gradients_value)
    optimizer.apply_gradients(zip(gradients, variables, strict=True))
    return losses


def _compute_losses_and_predictions_dicts(
    model: DetectionModel,
    features: Mapping[str, Any],
    labels: Mapping[str, Any],
    training_step: int | None = None,
    add_regularization_loss: bool = True,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the losses of a batch by name, with `Loss/total_loss`, and the predictions. No step changes them."""
    model_lib.provide_groundtruth(model, labels)
    shapes = features[Fields.true_image_shape]
    predictions = model.predict(features[Fields.image], shapes, **model.get_side_inputs(features))
    losses = dict(model.loss(predictions, shapes))
    if add_regularization_loss and (penalties := model.regularization_losses()):
        losses["Loss/regularization_loss"] = tf.add_n(penalties)
    losses["Loss/total_loss"] = tf.reduce_sum(tf.stack(list(losses.values())))
    return losses, predictions


def _ensure_model_is_built(
    model: DetectionModel, input_dataset: Any, unpad_groundtruth_tensors: bool
) -> None:
    """Call a model with a batch, so that it has its variables; those of `model_builder` have them before."""
    features, labels = next(iter(input_dataset))
    unstacked = model_lib.unstack_batch(labels, unpad_groundtruth_tensors)
    _compute_losses_and_predictions_dicts(model, features, unstacked)


def prepare_eval_dict(
    detections: Mapping[str, Any], groundtruth: dict[str, Any], features: Mapping[str, Any]
) -> tuple[dict[str, Any], bool]:
    """Return detections and ground truth in pixels of the original images, and whether no classes were detected.

    Args:
        detections: of `postprocess`.
        groundtruth: labels of `inputs.eval_input`. Their one-hot classes become ids, in place.
        features: of `inputs.eval_input`.
    """
    class_agnostic = DetectionResultFields.detection_classes not in detections
    one_hot = groundtruth[Fields.groundtruth_classes]
    groundtruth[Fields.groundtruth_classes] = tf.argmax(one_hot, axis=2) + model_builder.CLASS_ID_OFFSET
    for name in (Fields.groundtruth_verified_neg_classes, Fields.groundtruth_not_exhaustive_classes):
        if name in groundtruth:  # from 0 on: that of the background
            groundtruth[name] = tf.pad(groundtruth[name], [[0, 0], [model_builder.CLASS_ID_OFFSET, 0]])
    eval_dict = eval_util.result_dict_for_batched_example(
        features.get(Fields.original_image, features[Fields.image]),
        features[inputs.HASH_KEY],
        detections,
        groundtruth,
        class_agnostic=class_agnostic,
        scale_to_absolute=True,
        original_image_spatial_shapes=features.get(Fields.original_image_spatial_shape),
        true_image_shapes=features.get(Fields.true_image_shape),
    )
    return eval_dict, class_agnostic


def eager_eval_loop(
    detection_model: DetectionModel,
    configs: config_util.Configs,
    eval_dataset: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]],
    use_tpu: bool = False,
    postprocess_on_cpu: bool = False,
    global_step: int | None = None,
) -> dict[str, float]:
    """Return the metrics and the mean losses of a model over a data set, by the API's names.

    Args:
        detection_model: with its weights.
        configs: of `config_util`: the `eval_config` says which metrics, the reader's label map names the classes.
        eval_dataset: of (features, labels) with an end, as of `inputs.eval_input` of a reader with `num_epochs: 1`.
        use_tpu: not supported.
        postprocess_on_cpu: without effect.
        global_step: if given, they are also written as summaries of that step by the default writer.

    Raises:
        DataError: if the data set is empty.
        BoxtuneError: for metrics of what the model does not find, or that there are not.
    """
    _refuse_tpu(use_tpu)
    detection_model._is_training = False
    unpad = configs["train_config"].unpad_groundtruth_tensors

    @tf.function(autograph=False)
    def detect(features: Mapping[str, Any], labels: Mapping[str, Any]) -> tuple[Any, Any]:
        losses, predictions = _compute_losses_and_predictions_dicts(
            detection_model, features, model_lib.unstack_batch(labels, unpad)
        )
        return losses, detection_model.postprocess(predictions, features[Fields.true_image_shape])

    results: list[ImageResult] = []
    losses: list[dict[str, float]] = []
    for features, labels in eval_dataset:
        of_batch, detections = detect(features, labels)
        before = len(results)
        eval_dict, _ = prepare_eval_dict(detections, dict(labels), features)
        results += _image_results(eval_dict, before)
        # An incomplete last batch counts by its size.
        losses.append({name: float(value) * (len(results) - before) for name, value in of_batch.items()})
    if not results:
        raise DataError("there is nothing to evaluate on: the data set is empty")
    section, label_map = (
        configs["eval_config"],
        read_label_map(Path(configs["eval_input_config"].label_map_path)),
    )
    names = class_names(label_map, detection_model.num_classes)
    options = metric_options(section, label_map, detection_model.num_classes)
    metrics = dict(metric_sets.measure(section.metrics_set, results, names, options))
    metrics |= {name: sum(batch[name] for batch in losses) / len(results) for name in losses[0]}
    if global_step is not None:
        for name, value in metrics.items():
            tf.summary.scalar(name, value, step=global_step)
    return metrics


def _image_results(eval_dict: Mapping[str, Any], first: int) -> list[ImageResult]:
    """Return the images of a batch, which are numbered from `first` on, as metrics take them."""
    arrays = {name: np.asarray(part) for name, part in eval_dict.items() if name != Fields.original_image}

    def objects(name: str, i: int) -> Any:
        return arrays[name][i, : arrays[Fields.num_groundtruth_boxes][i]]

    def flags(name: str, i: int) -> Any:
        count = arrays[Fields.num_groundtruth_boxes][i]
        return objects(name, i).astype(bool) if name in arrays else np.zeros(count, bool)

    def found(name: str, i: int) -> Any:
        return arrays[name][i, : arrays[DetectionResultFields.num_detections][i]]

    return [
        ImageResult(
            name=f"image {first + i}",
            height=int(height),
            width=int(width),
            groundtruth_boxes=objects(Fields.groundtruth_boxes, i),
            groundtruth_classes=objects(Fields.groundtruth_classes, i) - model_builder.CLASS_ID_OFFSET,
            is_crowd=flags(Fields.groundtruth_is_crowd, i),
            difficult=flags(Fields.groundtruth_difficult, i),
            group_of=flags(Fields.groundtruth_group_of, i),
            groundtruth_areas=objects(Fields.groundtruth_area, i)
            if Fields.groundtruth_area in arrays
            else np.zeros(0),
            boxes=found(DetectionResultFields.detection_boxes, i),
            classes=found(DetectionResultFields.detection_classes, i) - model_builder.CLASS_ID_OFFSET,
            scores=found(DetectionResultFields.detection_scores, i),
        )
        for i, (height, width) in enumerate(arrays[Fields.original_image_spatial_shape])
    ]


# Checkpoints to start from


def validate_tf_v2_checkpoint_restore_map(checkpoint_restore_map: Mapping[Any, Any]) -> None:
    """Check that what a model restores is a dict of modules by their names, or of such dicts.

    Raises:
        ConfigTypeError: if it is not.
    """
    for name, part in checkpoint_restore_map.items():
        if isinstance(name, str) and isinstance(part, Mapping):
            validate_tf_v2_checkpoint_restore_map(part)
        elif not (isinstance(name, str) and isinstance(part, tf.Module | tf.train.Checkpoint)):
            raise config_util.ConfigTypeError(
                RESTORE_MAP_ERROR_TEMPLATE.format(type(part).__name__, repr(name))
            )


def is_object_based_checkpoint(checkpoint_path: config_util.FilePath) -> bool:
    """Return whether a checkpoint is one of TensorFlow 2.

    Raises:
        CheckpointError: if it cannot be read.
    """
    return not checkpoints.Reader(os.fspath(checkpoint_path)).of_tensorflow_1


def load_fine_tune_checkpoint(
    model: DetectionModel,
    checkpoint_path: config_util.FilePath,
    checkpoint_type: str,
    checkpoint_version: int,
    run_model_on_dummy_input: bool,
    input_dataset: Any,
    unpad_groundtruth_tensors: bool,
) -> None:
    """Load the part of a checkpoint that a fine-tune type names.

    Args:
        model: to load into.
        checkpoint_path: of TensorFlow 2.
        checkpoint_type: "classification", "detection" or "full".
        checkpoint_version: `CheckpointVersion.V2`.
        run_model_on_dummy_input: whether a model that is not of boxtune is called before, to have its variables.
        input_dataset: of (features, labels), for that.
        unpad_groundtruth_tensors: as of `eager_train_step`.

    Raises:
        CheckpointIOError: for a checkpoint of TensorFlow 1.
        ConfigValueError: for another version.
        BoxtuneError: if the checkpoint does not fit.
    """
    if not is_object_based_checkpoint(checkpoint_path):
        raise CheckpointIOError(
            f"{checkpoint_path}: a checkpoint of TensorFlow 1; one of TensorFlow 2 is needed"
        )
    if checkpoint_version == CheckpointVersion.V1:
        raise config_util.ConfigValueError("fine_tune_checkpoint_version is V1; it has to be V2")
    if isinstance(model, SSDMetaArch):
        print(warm_start(model.detector, os.fspath(checkpoint_path), checkpoint_type), flush=True)
        return
    if run_model_on_dummy_input:
        _ensure_model_is_built(model, input_dataset, unpad_groundtruth_tensors)
    parts = model.restore_from_objects(fine_tune_checkpoint_type=checkpoint_type)
    validate_tf_v2_checkpoint_restore_map(parts)
    tf.train.Checkpoint(**parts).restore(os.fspath(checkpoint_path)).assert_existing_objects_matched()


# Several workers


def get_filepath(strategy: Any, filepath: str) -> str:
    """Return the folder that a worker writes to: that of the run for the chief, one of its own for another."""
    if strategy.extended.should_save_checkpoint:
        return filepath
    return os.path.join(filepath, f"temp_worker_{strategy.extended._task_id:03d}")


def clean_temporary_directories(strategy: Any, filepath: str) -> None:
    """Remove the folder that `get_filepath` gave, unless it is the chief's."""
    if not strategy.extended.should_save_checkpoint and os.path.isdir(filepath):
        shutil.rmtree(filepath)


def concat_replica_results(tensor_dict: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Return for each name the tensors of all replicas, one after the other."""
    return {name: tf.concat(tensors, axis=0) for name, tensors in tensor_dict.items()}
