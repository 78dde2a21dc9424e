"""Reading, changing and writing configurations as scripts do: as a dict of sections.

Its keys are `model`, `train_config`, `train_input_config`, `eval_config`, `eval_input_configs` (a list),
`eval_input_config` (the first of them), and where there is one, `graph_rewriter_config` and `boxtune`. Files are taken
as they are: sections that they leave out are completed when a detector is trained, not here.
"""

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from boxtune import config
from boxtune.config.pipeline_pb2 import (
    DetectionModel,
    EvalConfig,
    GraphRewriter,
    ImageResizer,
    InputReader,
    Optimizer,
    TrainConfig,
    TrainEvalPipelineConfig,
)
from boxtune.data.files import writable_folder
from boxtune.errors import ConfigError, did_you_mean

Configs = dict[str, Any]
"""The sections of a configuration by the keys above."""
FilePath = str | os.PathLike[str]

_FILE_NAME = "pipeline.config"
_LISTS_OF_READERS = ("eval_input_configs", "train_input_config")
_READER_FIELDS = ("input_path", "label_map_path", "shuffle", "mask_type", "sample_1_of_n_examples")
_READER_KEYS = {
    "train_shuffle": ("train_input_config", "shuffle"),
    "eval_shuffle": ("eval_input_configs", "shuffle"),
    "train_input_path": ("train_input_config", "input_path"),
    "eval_input_path": ("eval_input_configs", "input_path"),
}
"""Keys of `merge_external_params_with_configs`: the section and the field that each stands for."""
_SECTIONS_OF_KEYS = ("graph_rewriter_config", "model", "train_input_config", "train_config", "eval_config")

_log = logging.getLogger("boxtune")


class ConfigValueError(ConfigError, ValueError):
    """A section or a key that cannot be used; a ValueError too, which is what the API raises."""


class ConfigTypeError(ConfigError, TypeError):
    """A section of another type than is needed; a TypeError too, which is what the API raises."""


# Reading and writing


def get_configs_from_pipeline_file(
    pipeline_config_path: FilePath, config_override: str | None = None
) -> Configs:
    """Return the sections of a file; `config_override` is text of another configuration, merged into it.

    Raises ConfigError if either is not understood.
    """
    pipeline = config.read(pipeline_config_path, TrainEvalPipelineConfig())
    if config_override:
        pipeline.MergeFrom(config.parse(config_override, "config_override"))
    return create_configs_from_pipeline_proto(pipeline)


def get_configs_from_multiple_files(
    model_config_path: FilePath = "",
    train_config_path: FilePath = "",
    train_input_config_path: FilePath = "",
    eval_config_path: FilePath = "",
    eval_input_config_path: FilePath = "",
    graph_rewriter_config_path: FilePath = "",
) -> Configs:
    """Return the sections that have files of their own; raise ConfigError if one is not understood."""
    sections: dict[str, tuple[FilePath, Message]] = {
        "model": (model_config_path, DetectionModel()),
        "train_config": (train_config_path, TrainConfig()),
        "train_input_config": (train_input_config_path, InputReader()),
        "eval_config": (eval_config_path, EvalConfig()),
        "eval_input_configs": (eval_input_config_path, InputReader()),
        "graph_rewriter_config": (graph_rewriter_config_path, GraphRewriter()),
    }
    configs: Configs = {key: config.read(path, section) for key, (path, section) in sections.items() if path}
    if "eval_input_configs" in configs:
        configs["eval_input_configs"] = [configs["eval_input_configs"]]
    return configs


def get_graph_rewriter_config_from_file(graph_rewriter_config_file: FilePath) -> GraphRewriter:
    """Return a section `graph_rewriter` that has a file of its own; raise ConfigError if it is not understood."""
    return config.read(graph_rewriter_config_file, GraphRewriter())


def create_configs_from_pipeline_proto(pipeline_config: TrainEvalPipelineConfig) -> Configs:
    """Return the sections of a configuration themselves: changes of them change it."""
    configs: Configs = {
        "model": pipeline_config.model,
        "train_config": pipeline_config.train_config,
        "train_input_config": pipeline_config.train_input_reader,
        "eval_config": pipeline_config.eval_config,
        "eval_input_configs": pipeline_config.eval_input_reader,
    }
    if pipeline_config.eval_input_reader:
        configs["eval_input_config"] = pipeline_config.eval_input_reader[0]
    if pipeline_config.HasField("graph_rewriter"):
        configs["graph_rewriter_config"] = pipeline_config.graph_rewriter
    if pipeline_config.HasField("boxtune"):
        configs["boxtune"] = pipeline_config.boxtune
    return configs


def create_pipeline_proto_from_configs(configs: Configs) -> TrainEvalPipelineConfig:
    """Return a new configuration of these sections."""
    pipeline = TrainEvalPipelineConfig()
    pipeline.model.CopyFrom(configs["model"])
    pipeline.train_config.CopyFrom(configs["train_config"])
    pipeline.train_input_reader.CopyFrom(configs["train_input_config"])
    pipeline.eval_config.CopyFrom(configs["eval_config"])
    pipeline.eval_input_reader.extend(configs["eval_input_configs"])
    if "graph_rewriter_config" in configs:
        pipeline.graph_rewriter.CopyFrom(configs["graph_rewriter_config"])
    if "boxtune" in configs:
        pipeline.boxtune.CopyFrom(configs["boxtune"])
    return pipeline


def save_pipeline_config(pipeline_config: TrainEvalPipelineConfig, directory: FilePath) -> None:
    """Write a configuration to `pipeline.config` in a folder, which is made.

    Raises DataError or ConfigError if that fails.
    """
    config.write(pipeline_config, writable_folder(Path(directory)) / _FILE_NAME)


def clear_fine_tune_checkpoint(pipeline_config_path: FilePath, new_pipeline_config_path: FilePath) -> None:
    """Write a copy of a configuration's file that starts from no checkpoint; raise ConfigError if that fails."""
    configs = get_configs_from_pipeline_file(pipeline_config_path)
    configs["train_config"].fine_tune_checkpoint = ""
    configs["train_config"].load_all_detection_checkpoint_vars = False
    config.write(create_pipeline_proto_from_configs(configs), new_pipeline_config_path)


# What a section says


def get_image_resizer_config(model_config: DetectionModel) -> ImageResizer:
    """Return a model's `image_resizer`; raise ConfigValueError if it has none."""
    family = _family(model_config)
    if not hasattr(family, "image_resizer"):
        raise ConfigValueError(f"{family.DESCRIPTOR.name} has no image_resizer.")
    return family.image_resizer


def get_spatial_image_size(image_resizer_config: ImageResizer) -> list[int]:
    """Return height and width of resized images, -1 for both where they depend on the image.

    Raises ConfigValueError if there is no resizer.
    """
    match image_resizer_config.WhichOneof("image_resizer_oneof"):
        case None:
            raise ConfigValueError("image_resizer is empty; give one, such as fixed_shape_resizer.")
        case "fixed_shape_resizer":
            fixed = image_resizer_config.fixed_shape_resizer
            return [fixed.height, fixed.width]
        case "keep_aspect_ratio_resizer" if (
            image_resizer_config.keep_aspect_ratio_resizer.pad_to_max_dimension
        ):
            return [image_resizer_config.keep_aspect_ratio_resizer.max_dimension] * 2
    return [-1, -1]


def get_max_num_context_features(model_config: DetectionModel) -> int | None:
    """Return how many features of other images a model takes; None if its family has no such features."""
    context = getattr(_family(model_config), "context_config", None)
    return None if context is None else context.max_num_context_features


def get_context_feature_length(model_config: DetectionModel) -> int | None:
    """Return the length of a feature of another image; None if the model's family has no such features."""
    context = getattr(_family(model_config), "context_config", None)
    return None if context is None else context.context_feature_length


def get_number_of_classes(model_config: DetectionModel) -> int:
    """Return a model's `num_classes`; raise ConfigValueError if it has none."""
    family = _family(model_config)
    if not hasattr(family, "num_classes"):
        raise ConfigValueError(f"{family.DESCRIPTOR.name} has no num_classes.")
    return family.num_classes


def get_optimizer_type(train_config: TrainConfig) -> str | None:
    """Return which optimizer is set, such as "momentum_optimizer"; None if none is."""
    return train_config.optimizer.WhichOneof("optimizer")


def get_learning_rate_type(optimizer_config: Message) -> str | None:
    """Return which schedule an optimizer such as `momentum_optimizer` has; None if none is set."""
    return optimizer_config.learning_rate.WhichOneof("learning_rate")  # type: ignore[attr-defined]


def _family(model_config: DetectionModel) -> Any:
    """Return what `model` holds, such as `ssd`."""
    name = model_config.WhichOneof("model")
    if name is None:
        raise ConfigValueError("model is empty; give one, such as ssd.")
    return getattr(model_config, name)


# Changing


def update_fine_tune_checkpoint_type(train_config: TrainConfig) -> None:
    """Set `fine_tune_checkpoint_type` from the older `from_detection_checkpoint`, unless it is set."""
    if not train_config.fine_tune_checkpoint_type:
        older = train_config.from_detection_checkpoint
        train_config.fine_tune_checkpoint_type = "detection" if older else "classification"


def merge_external_params_with_configs(
    configs: Configs, hparams: Any = None, kwargs_dict: Mapping[str, Any] | None = None
) -> Configs:
    """Change sections in place by names and values, and return them.

    A name is a shorthand (`learning_rate`, `batch_size`, `train_steps`, `train_input_path`, ...), a path such as
    `model.ssd.num_classes`, or `eval_input_configs:NAME:input_path` for the reader of that name. Values that are None
    or "" change nothing. A warning of the logger "boxtune" tells of names that mean nothing.

    Args:
        configs: the sections.
        hparams: has names and values in its method `values`, or is a mapping; they take precedence.
        kwargs_dict: names and values.

    Raises:
        ConfigValueError, ConfigTypeError: for a name or a value that does not fit the sections.
    """
    given = hparams if isinstance(hparams, Mapping) or hparams is None else hparams.values()
    for key, value in {**(kwargs_dict or {}), **(given or {})}.items():
        if value is None or (isinstance(value, str) and not value):
            continue
        is_of_reader, key_name, input_name, field_name = check_and_parse_input_config_key(configs, key)
        if is_of_reader:
            update_input_reader_config(configs, key_name, input_name, field_name, value)
        elif key in _SHORTHANDS:
            _SHORTHANDS[key](configs, value)
        elif key.split(".")[0] in _SECTIONS_OF_KEYS and "." in key:
            _set_at(configs, key, value)
        else:
            known = [*_SHORTHANDS, *_READER_KEYS]
            _log.warning('"%s" changes nothing: there is no such name.%s', key, did_you_mean(key, known))
    return configs


def check_and_parse_input_config_key(
    configs: Configs, key: str
) -> tuple[bool, str | None, str | None, str | None]:
    """Return whether a name of `merge_external_params_with_configs` is of a reader, and its section, reader and field.

    Raises ConfigValueError for one of the form SECTION:NAME:FIELD of which any part is unknown.
    """
    parts = key.split(":")
    if len(parts) == 1:
        section, field = _READER_KEYS.get(key, (None, key))
        return key in _READER_KEYS, section, None, field
    if len(parts) != 3:
        raise ConfigValueError(f'"{key}" is not of the form SECTION:NAME:FIELD.')
    section, name, field = parts
    if section not in _LISTS_OF_READERS:
        raise ConfigValueError(_unknown(section, "section", _LISTS_OF_READERS))
    readers = configs[section]
    names = [reader.name for reader in ([readers] if isinstance(readers, InputReader) else readers)]
    if name not in names:
        raise ConfigValueError(_unknown(name, f"reader of {section}", names))
    if field not in _READER_FIELDS:
        raise ConfigValueError(_unknown(field, "field of a reader", _READER_FIELDS))
    return True, section, name, field


def _unknown(word: str, what: str, known: Sequence[str]) -> str:
    return f'There is no {what} "{word}".{did_you_mean(word, known)} Known: {", ".join(known)}.'


def _update_tf_record_input_path(input_config: InputReader, input_path: str | Sequence[str]) -> None:
    if input_config.WhichOneof("input_reader") != "tf_record_input_reader":
        raise ConfigTypeError("The reader has no tf_record_input_reader, whose input_path could be set.")
    paths = [input_path] if isinstance(input_path, str) else list(input_path)
    input_config.tf_record_input_reader.input_path[:] = paths


def update_input_reader_config(
    configs: Configs,
    key_name: str | None = None,
    input_name: str | None = None,
    field_name: str | None = None,
    value: Any = None,
    path_updater: Callable[..., None] = _update_tf_record_input_path,
) -> None:
    """Set a field of a reader, or have `path_updater` set its paths.

    Args:
        configs: the sections.
        key_name: "train_input_config" or "eval_input_configs".
        input_name: the reader's name, needed where there are several.
        field_name: such as "shuffle"; "input_path" is left to `path_updater`.
        value: what to set.
        path_updater: a function of `input_config` and `input_path`.

    Raises:
        ConfigValueError: if there is no such reader, or more than one.
        ConfigTypeError: for paths of a reader that has none.
    """
    readers = configs.get(key_name or "", [])
    if isinstance(readers, InputReader):
        found = [readers]
    else:
        found = [reader for reader in readers if input_name in (None, reader.name)]
    if len(found) != 1 or field_name is None:
        raise ConfigValueError(
            f"{len(found)} readers of {key_name} have the name {input_name}, and the field {field_name} is to be set; "
            "it takes the name of one, and a field."
        )
    if field_name == "input_path":
        path_updater(input_config=found[0], input_path=value)
    else:
        setattr(found[0], field_name, value)


def _set_at(configs: Configs, path: str, value: Any) -> None:
    """Set the field at a path such as `model.ssd.num_classes`."""
    section, *parents, last = path.split(".")
    message = configs[section]
    try:
        for parent in parents:
            message = getattr(message, parent)
        _set(message, last, value)
    except AttributeError as error:
        raise ConfigValueError(f"{path}: {error}") from error


def _set(message: Any, name: str, value: Any) -> None:
    """Set a field, whether it is a value, a list or a message."""
    there = getattr(message, name)
    if isinstance(there, Message):
        there.CopyFrom(value)
    elif isinstance(there, str | bytes | bool | int | float):
        setattr(message, name, value)
    else:
        del there[:]
        there.extend(value if isinstance(value, list | tuple) else [value])


def _optimizer(configs: Configs) -> Any:
    optimizer: Optimizer = configs["train_config"].optimizer
    name = optimizer.WhichOneof("optimizer")
    if name is None:
        raise ConfigTypeError("train_config has no optimizer.")
    return getattr(optimizer, name)


def _set_learning_rate(configs: Configs, value: float) -> None:
    """Set the rate that a schedule starts from or warms up to; the rates of a warm-up and of later steps keep their
    ratio to it."""
    section = _optimizer(configs).learning_rate
    name = section.WhichOneof("learning_rate")
    if name is None:
        raise ConfigTypeError("The optimizer has no learning_rate.")
    schedule = getattr(section, name)
    base = {
        "constant_learning_rate": "learning_rate",
        "exponential_decay_learning_rate": "initial_learning_rate",
        "manual_step_learning_rate": "initial_learning_rate",
        "cosine_decay_learning_rate": "learning_rate_base",
    }[name]
    factor = float(value) / getattr(schedule, base)
    setattr(schedule, base, value)
    if name == "manual_step_learning_rate":
        for change in schedule.schedule:
            change.learning_rate *= factor
    if name == "cosine_decay_learning_rate":
        schedule.warmup_learning_rate *= factor


def _set_momentum(configs: Configs, value: float) -> None:
    optimizer = _optimizer(configs)
    if not hasattr(optimizer, "momentum_optimizer_value"):
        raise ConfigTypeError(f"{optimizer.DESCRIPTOR.name} has no momentum_optimizer_value.")
    optimizer.momentum_optimizer_value = min(max(value, 0.0), 1.0)


def _set_weight_ratio(configs: Configs, value: float) -> None:
    """Set the weights of the losses of classes to `value`, and those of boxes to 1."""
    family = _family(configs["model"])
    if configs["model"].HasField("ssd"):
        family.loss.localization_weight, family.loss.classification_weight = 1.0, value
    elif configs["model"].HasField("faster_rcnn"):
        family.first_stage_localization_loss_weight = family.second_stage_localization_loss_weight = 1.0
        family.first_stage_objectness_loss_weight = value
        family.second_stage_classification_loss_weight = value
    else:
        raise ConfigTypeError(f"{family.DESCRIPTOR.name} has no weights of classes and boxes.")


def _focal_loss(configs: Configs) -> Any:
    family = _family(configs["model"])
    if configs["model"].HasField("ssd"):
        loss = family.loss.classification_loss
    elif configs["model"].HasField("faster_rcnn"):
        loss = family.second_stage_classification_loss
    else:
        raise ConfigTypeError(f"{family.DESCRIPTOR.name} has no classification_loss.")
    if not loss.HasField("weighted_sigmoid_focal"):
        raise ConfigTypeError("The classification_loss is not weighted_sigmoid_focal.")
    return loss.weighted_sigmoid_focal


def _in_section(section: str, field: str) -> Callable[[Configs, Any], None]:
    return lambda configs, value: _set(configs[section], field, value)


def _in_all_readers(*sections: str, field: str) -> Callable[[Configs, Any], None]:
    def change(configs: Configs, value: Any) -> None:
        for section in sections:
            readers = configs[section]
            for reader in [readers] if isinstance(readers, InputReader) else readers:
                setattr(reader, field, value)

    return change


def _in_keypoint_task(field: str) -> Callable[[Configs, Any], None]:
    def change(configs: Configs, value: Any) -> None:
        tasks = configs["model"].center_net.keypoint_estimation_task
        if len(tasks) != 1:
            raise ConfigValueError(f"{field}: the model has {len(tasks)} tasks of keypoints, not one.")
        setattr(tasks[0], field, value)

    return change


def _update_num_classes(model_config: DetectionModel, num_classes: int) -> None:
    _set(_family(model_config), "num_classes", num_classes)


_EVALS, _ALL_READERS = ("eval_input_configs",), ("train_input_config", "eval_input_configs")
_OF_KEYPOINTS = (
    "peak_max_pool_kernel_size", "candidate_search_scale", "candidate_ranking_mode", "score_distance_offset",
    "box_scale", "keypoint_candidate_score_threshold", "rescore_instances", "unmatched_keypoint_score",
    "score_distance_multiplier", "std_dev_multiplier", "rescoring_threshold",
)  # fmt: skip
_SHORTHANDS: dict[str, Callable[[Configs, Any], None]] = {
    "learning_rate": _set_learning_rate,
    "momentum_optimizer_value": _set_momentum,
    "classification_localization_weight_ratio": _set_weight_ratio,
    "focal_loss_gamma": lambda configs, value: _set(_focal_loss(configs), "gamma", value),
    "focal_loss_alpha": lambda configs, value: _set(_focal_loss(configs), "alpha", value),
    "batch_size": lambda configs, value: _set(configs["train_config"], "batch_size", max(1, round(value))),
    "train_steps": lambda configs, value: _set(configs["train_config"], "num_steps", int(value)),
    "use_bfloat16": _in_section("train_config", "use_bfloat16"),
    "num_classes": lambda configs, value: _update_num_classes(configs["model"], value),
    "sample_from_datasets_weights": _in_section("train_input_config", "sample_from_datasets_weights"),
    "label_map_path": _in_all_readers(*_ALL_READERS, field="label_map_path"),
    "mask_type": _in_all_readers(*_ALL_READERS, field="mask_type"),
    "sample_1_of_n_eval_examples": _in_all_readers(*_EVALS, field="sample_1_of_n_examples"),
    "eval_num_epochs": _in_all_readers(*_EVALS, field="num_epochs"),
    "eval_with_moving_averages": _in_section("eval_config", "use_moving_averages"),
    "retain_original_images_in_eval": _in_section("eval_config", "retain_original_images"),
    "retain_original_image_additional_channels_in_eval": _in_section(
        "eval_config", "retain_original_image_additional_channels"
    ),
    **{field: _in_keypoint_task(field) for field in _OF_KEYPOINTS},
}
"""Names of `merge_external_params_with_configs`, and how each changes the sections."""

# Private in the API as well, but scripts edit configurations with these, and with the functions of such names above.
_update_label_map_path = _SHORTHANDS["label_map_path"]
_update_batch_size = _SHORTHANDS["batch_size"]
_update_train_steps = _SHORTHANDS["train_steps"]


def remove_unnecessary_ema(
    variables_to_restore: Mapping[str, Any], no_ema_collection: Iterable[str] | None = None
) -> dict[str, Any]:
    """Return variables by the names under which they are restored: without the suffix of a moving average where a name
    holds one of the words of `no_ema_collection`."""
    words, suffix = list(no_ema_collection or ()), "/ExponentialMovingAverage"
    return {
        name.replace(suffix, "") if any(word in name for word in words) else name: variable
        for name, variable in variables_to_restore.items()
    }
