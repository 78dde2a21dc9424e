"""Checks of a configuration before work starts, as far as possible without a model."""

import glob
import logging
import os
import re
from pathlib import Path

from boxtune.config.families import family_of
from boxtune.config.loading import read_label_map
from boxtune.config.pipeline_pb2 import (
    CheckpointVersion,
    DetectionModel,
    InputReader,
    InputType,
    TrainConfig,
    TrainEvalPipelineConfig,
)
from boxtune.config.refusals import EVALUATION, TRAINING, refuse
from boxtune.errors import ConfigError

_log = logging.getLogger("boxtune")

_PLACEHOLDER = "PATH_TO_BE_CONFIGURED"
_SHARDS = re.compile(r"-\?+-of-(\d{1,6})(?!\d)")
_FINE_TUNE_TYPES = {
    "detection": "all but the heads",
    "all_but_classes": "all but the last layers of the classes",
    "full": "everything",
    "classification": "the backbone",
}
_END_OF_TABLE = 0xDB4775248B80FB57.to_bytes(8, "little")
"""The last bytes of a checkpoint of one file, which is a table as LevelDB's."""


def check_for_training(config: TrainEvalPipelineConfig, source: str | os.PathLike[str] | None = None) -> None:
    """Check what training reads: the model's section, train_config and train_input_reader.

    `source` is the file that the configuration was read from, for errors.

    Raises:
        ConfigError: a value contradicts another or the files, naming the field and the way out.
        DataError: the label map cannot be read.
    """
    refuse(config, source, TRAINING)
    _check_model(config)
    _check_steps(config.train_config)
    _check_fine_tuning(config.train_config)
    _check_fine_tune_label_map(config)
    _check_averages(config)
    if config.boxtune.accumulate_batches < 1:
        raise ConfigError("boxtune.accumulate_batches is 0; write 1 for a step with every batch.")
    if not 0 <= (smoothing := config.boxtune.label_smoothing) < 1:
        raise ConfigError(
            f"boxtune.label_smoothing is {smoothing:g}; it must be at least 0 and below 1, such as 0.1."
        )
    if (factor := config.boxtune.learning_rate_factor_of_new_layers) <= 0:
        raise ConfigError(
            f"boxtune.learning_rate_factor_of_new_layers is {factor:g}; it must be above 0, such as 4."
        )
    _check_reader(config.train_input_reader, "train_input_reader", config.model)
    _check_class_scores(config.train_config, config.train_input_reader)
    if config.train_input_reader.num_epochs:
        raise ConfigError(
            f"train_input_reader.num_epochs is {config.train_input_reader.num_epochs}, but the length of a "
            "training is given in batches; remove it and set train_config.num_steps."
        )


def check_for_evaluation(
    config: TrainEvalPipelineConfig, source: str | os.PathLike[str] | None = None
) -> None:
    """Check what evaluation reads: the model's section, eval_config and every eval_input_reader.

    A model that boxtune does not have passes: it may be an exported one. `source` is as for `check_for_training`.

    Raises:
        ConfigError: a value contradicts another or the files, naming the field and the way out.
        DataError: a label map cannot be read.
    """
    refuse(config, source, EVALUATION)
    _check_model(config)
    _check_batch_size(config.eval_config.batch_size, "eval_config.batch_size")
    if not config.eval_input_reader:
        raise ConfigError(
            "there is no eval_input_reader; add one with label_map_path and tf_record_input_reader."
        )
    for i, reader in enumerate(config.eval_input_reader):
        _check_reader(reader, f"eval_input_reader[{i}]", config.model)
        if reader.frame_index != -1:
            _log.warning("eval_input_reader[%d].frame_index is ignored: an evaluation reads every frame.", i)


def input_files(reader: InputReader, *, name: str = "input_reader") -> list[Path]:
    """Return the TFRecord files of a reader, sorted, without those of weight 0; `name` is what errors call the reader.

    Raises:
        ConfigError: as `input_datasets` does.
    """
    return sorted({file for files, _ in input_datasets(reader, name=name) for file in files})


def input_datasets(reader: InputReader, *, name: str = "input_reader") -> list[tuple[list[Path], float]]:
    """Return the TFRecord files of each path of a reader, with their weights: 1 by default.

    As in the API, paths of weight 0 are left out. `name` is what errors call the reader.

    Raises:
        ConfigError: there are none, a file or pattern matches nothing, shards are missing, or weights are invalid.
    """
    patterns = reader.tf_record_input_reader.input_path
    field = f"{name}.tf_record_input_reader.input_path"
    if not patterns:
        raise ConfigError(f"{field} is not set; name the TFRecord files.")
    weights = list(reader.sample_from_datasets_weights)
    weights_field = f"{name}.sample_from_datasets_weights"
    if weights and len(weights) != len(patterns):
        raise ConfigError(
            f"{weights_field} has {len(weights)} weights, but there are {len(patterns)} input_path; give one weight "
            "for each path."
        )
    for weight in weights:
        if not 0 <= weight < float("inf"):
            raise ConfigError(
                f"{weights_field} has a weight of {weight:g}; weights must be 0 or more, and finite."
            )
    if weights and not any(weights):
        raise ConfigError(
            f"{weights_field} has no weight above 0, so nothing would be read; give one at least."
        )
    pairs = zip(patterns, weights or [1.0] * len(patterns), strict=True)
    return [(_expand(pattern, field), weight) for pattern, weight in pairs if weight]


def _expand(pattern: str, field: str) -> list[Path]:
    _check_configured(pattern, field)
    if Path(pattern).is_file():
        return [Path(pattern)]
    files = [Path(match) for match in glob.glob(pattern) if Path(match).is_file()]
    if not files:
        raise ConfigError(f'{field}: no file matches "{pattern}" (looked from {Path.cwd()}).')
    shards = _SHARDS.search(pattern)
    if shards and len(files) != int(shards[1]):
        raise ConfigError(f'{field}: {len(files)} of the {int(shards[1])} shards of "{pattern}" are there.')
    return files


def _check_configured(path: str, field: str) -> None:
    if any(character < " " for character in path):
        raise ConfigError(
            f'{field} is {path!a}, with characters that no path has; write "/" for "\\", which begins an escape.'
        )
    if _PLACEHOLDER in path:
        raise ConfigError(f'{field} is still "{path}"; put the path of your own file there.')


def _check_reader(reader: InputReader, name: str, model: DetectionModel) -> None:
    _check_label_map(reader.label_map_path, f"{name}.label_map_path", model)
    input_files(reader, name=name)
    if reader.sample_1_of_n_examples < 1:
        raise ConfigError(f"{name}.sample_1_of_n_examples is 0; write 1 to read every example.")
    _check_input_type(reader, name)


def _check_input_type(reader: InputReader, name: str) -> None:
    """Raise ConfigError if a field about sequences of images contradicts another."""
    if reader.input_type not in (InputType.TF_EXAMPLE, InputType.TF_SEQUENCE_EXAMPLE):
        raise ConfigError(
            f"{name}.input_type is {InputType.Name(reader.input_type)}; write TF_EXAMPLE, or TF_SEQUENCE_EXAMPLE for "
            "records that are sequences of images."
        )
    are_sequences = reader.input_type == InputType.TF_SEQUENCE_EXAMPLE
    if are_sequences and reader.load_multiclass_scores:
        raise ConfigError(
            f"{name}.load_multiclass_scores is true, but sequences of images have no scores; make it false."
        )
    if reader.frame_index < -1:
        raise ConfigError(
            f"{name}.frame_index is {reader.frame_index}; write the number of a frame, or -1 for any of them."
        )
    if reader.frame_index != -1 and not are_sequences:
        raise ConfigError(
            f"{name}.frame_index is {reader.frame_index}, but the records are single images by {name}.input_type; "
            "remove it, or set input_type: TF_SEQUENCE_EXAMPLE."
        )


def _check_label_map(path: str, field: str, model: DetectionModel) -> None:
    family = family_of(model)
    num_classes, classes_field = family.num_classes(model), f"{family.path}.num_classes"
    _check_configured(path, field)
    if not path:
        raise ConfigError(f"{field} is not set; name the label map of the records.")
    if num_classes < 1:
        raise ConfigError(f"{classes_field} is {num_classes}; write the number of classes of {path}.")
    items = {item.id: item for item in read_label_map(path).item if item.id > 0}
    highest = max(items, default=0)
    if highest == 0:
        raise ConfigError(
            f"{field}: {path} has no class; a class is an item with a name and an id from 1 on."
        )
    if highest > num_classes:
        raise ConfigError(
            f"{classes_field} is {num_classes}, but {path} has the id {highest} "
            f'("{items[highest].display_name or items[highest].name}"); set num_classes to {highest}, or name the '
            "label map that the model was trained with."
        )
    if highest < num_classes:
        _log.warning(
            "%s is %d, but the highest id of %s is %d: the classes beyond it cost time and "
            "learn nothing; set num_classes to %d, or name the label map that the model was trained with.",
            classes_field, num_classes, path, highest, highest,
        )  # fmt: skip


def _check_model(config: TrainEvalPipelineConfig) -> None:
    family = family_of(config.model)
    for problem in family.problems(config.model):
        raise ConfigError(problem)
    for warning in family.warnings(config.model):
        _log.warning(warning)


def _check_batch_size(batch_size: int, field: str) -> None:
    if batch_size < 1:
        raise ConfigError(f"{field} is 0; write the number of images in a batch.")


def _check_steps(train: TrainConfig) -> None:
    _check_batch_size(train.batch_size, "train_config.batch_size")
    if train.num_steps < 1:
        raise ConfigError(
            "train_config.num_steps is 0, which would train for ever; write how many batches to train on."
        )
    optimizer = train.optimizer.WhichOneof("optimizer")
    if optimizer is None:
        raise ConfigError("train_config.optimizer is empty; choose one, such as momentum_optimizer.")
    rate = getattr(train.optimizer, optimizer).learning_rate
    cosine = rate.cosine_decay_learning_rate
    if rate.HasField("cosine_decay_learning_rate") and cosine.warmup_steps > cosine.total_steps:
        raise ConfigError(
            f"train_config.optimizer.{optimizer}.learning_rate.cosine_decay_learning_rate: warmup_steps "
            f"{cosine.warmup_steps} exceeds total_steps {cosine.total_steps}, so the rate would never decay; "
            "lower warmup_steps, or raise total_steps (usually to num_steps)."
        )


def _check_class_scores(train: TrainConfig, reader: InputReader) -> None:
    """Raise ConfigError if the classes of objects are scores, and another option needs them not to be."""
    steps = [step.WhichOneof("preprocessing_step") for step in train.data_augmentation_options]
    if not train.use_multiclass_scores:
        if "convert_class_logits_to_softmax" in steps:
            raise ConfigError(
                "data_augmentation_options: convert_class_logits_to_softmax is for scores, and none are used; "
                "remove it, or set train_config.use_multiclass_scores and train_input_reader.load_multiclass_scores."
            )
        return
    if not reader.load_multiclass_scores:
        raise ConfigError(
            "train_config.use_multiclass_scores is true, but train_input_reader.load_multiclass_scores is false, so "
            "there are none to use. Make both true or both false."
        )
    others = {
        "train_config.merge_multiple_label_boxes": train.merge_multiple_label_boxes,
        "train_input_reader.expand_labels_hierarchy": reader.expand_labels_hierarchy,
        "data_augmentation_options: remap_labels": "remap_labels" in steps,
    }
    for field in (field for field, is_set in others.items() if is_set):
        raise ConfigError(
            f"train_config.use_multiclass_scores and {field} both say what the classes of an object are; remove one "
            "of them."
        )


def _check_averages(config: TrainEvalPipelineConfig) -> None:
    optimizer = config.train_config.optimizer
    if config.eval_config.use_moving_averages and not optimizer.use_moving_average:
        raise ConfigError(
            "eval_config.use_moving_averages is true, but train_config.optimizer.use_moving_average is false: there "
            "would be no averages to evaluate. Make both true or both false."
        )
    if optimizer.use_moving_average and not 0 <= optimizer.moving_average_decay < 1:
        raise ConfigError(
            f"train_config.optimizer.moving_average_decay is {optimizer.moving_average_decay:g}; it is the fraction "
            "that an average keeps at every step, at least 0 and below 1, such as 0.9999."
        )


def _check_fine_tuning(train: TrainConfig) -> None:
    checkpoint, kind = train.fine_tune_checkpoint, train.fine_tune_checkpoint_type
    if not checkpoint:
        return
    _check_configured(checkpoint, "train_config.fine_tune_checkpoint")
    field = "train_config.fine_tune_checkpoint_type"
    choices = "choose " + ", ".join(f'"{name}" ({loaded})' for name, loaded in _FINE_TUNE_TYPES.items())
    if not kind:
        raise ConfigError(f"{field} is not set: {choices}.")
    if kind == "fine_tune":
        raise ConfigError(f'{field} is "fine_tune", which is no longer a choice; use "detection".')
    if kind not in _FINE_TUNE_TYPES:
        raise ConfigError(f'{field} is "{kind}": {choices}.')
    # Which of the two versions a checkpoint has is seen from its file.
    if train.fine_tune_checkpoint_version == CheckpointVersion.UNKNOWN:
        raise ConfigError(
            "train_config.fine_tune_checkpoint_version is UNKNOWN: write V2, or V1 for a checkpoint of TensorFlow 1."
        )
    if checkpoint.endswith(".pb"):
        raise ConfigError(
            f"train_config.fine_tune_checkpoint is {checkpoint}, a frozen graph, which cannot be trained; take the "
            "checkpoint model.ckpt beside it, or the folder checkpoint/ of the model of the same name in the TF2 zoo."
        )
    prefix = checkpoint.removesuffix(".index")
    if not (Path(checkpoint).is_dir() or Path(f"{prefix}.index").is_file()):
        hint = one_file_hint(Path(checkpoint)) or _prefix_hint(Path(checkpoint))
        raise ConfigError(f'train_config.fine_tune_checkpoint: there is no file "{prefix}.index".{hint}')


def _check_fine_tune_label_map(pipeline: TrainEvalPipelineConfig) -> None:
    """Refuse a label map of the fine-tune checkpoint that is not there or has no meaning."""
    field, path = "boxtune.fine_tune_label_map_path", pipeline.boxtune.fine_tune_label_map_path
    kind = pipeline.train_config.fine_tune_checkpoint_type
    if path and kind != "all_but_classes":
        raise ConfigError(
            f'{field} goes with train_config.fine_tune_checkpoint_type "all_but_classes", not "{kind}"; leave it out.'
        )
    if path and not Path(path).is_file():
        raise ConfigError(f"{field}: there is no file {path}.")


def one_file_hint(path: Path) -> str:
    """Return what to do about a checkpoint of one file, the format before the present one; "" for any other path."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(_END_OF_TABLE)))
        if file.read() != _END_OF_TABLE:
            return ""
    return (
        f" {path.name} is a checkpoint of one file, as TensorFlow wrote them before 2017: load it with "
        f"tf.compat.v1.train.Saver and save it again, which makes {path.name}.index and {path.name}.data-*."
    )


def _prefix_hint(checkpoint: Path) -> str:
    """Return the prefix that was probably meant: one beside the given path, or in a folder beside it."""
    parts = (".", "checkpoint")
    prefixes = [file.with_suffix("") for one in parts for file in checkpoint.parent.glob(f"{one}/*.index")]
    newest = max(prefixes, key=lambda prefix: (len(prefix.name), prefix), default=None)
    return f' Did you mean "{newest}"?' if newest else ""
