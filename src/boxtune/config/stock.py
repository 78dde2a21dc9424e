"""The stock recipes: for each feature extractor, the settings that its published model was trained with."""

import copy
from importlib import resources
from importlib.resources.abc import Traversable

from boxtune.config.pipeline_pb2 import Ssd, TrainEvalPipelineConfig
from boxtune.config.text import from_text
from boxtune.errors import ConfigError, did_you_mean

# Feature extractors of the API under TensorFlow 2.
_API_TYPES = (
    "ssd_mobilenet_v1_keras",
    "ssd_mobilenet_v1_fpn_keras",
    "ssd_mobilenet_v2_keras",
    "ssd_mobilenet_v2_fpn_keras",
    "ssd_resnet50_v1_fpn_keras",
    "ssd_resnet101_v1_fpn_keras",
    "ssd_resnet152_v1_fpn_keras",
    *(f"ssd_efficientnet-b{size}_bifpn_keras" for size in range(8)),
)

# Flags of Ssd that say how its loss is meant.
_LOSS_FLAGS = (
    "encode_background_as_zeros",
    "add_background_class",
    "negative_class_weight",
    "normalize_loss_by_num_matches",
    "normalize_loc_loss_by_codesize",
)


def recipe(feature_extractor_type: str) -> TrainEvalPipelineConfig:
    """Return the stock recipe: model, train_config, eval_config; no num_classes, no readers, no checkpoint.

    Raises:
        ConfigError: there is no such feature extractor, or boxtune does not have it yet.
    """
    recipes = _recipe_files()
    if feature_extractor_type not in recipes:
        raise ConfigError(_no_such_type(feature_extractor_type, recipes))
    file = recipes[feature_extractor_type]
    text = file.read_text(encoding="utf-8")
    return from_text(text, TrainEvalPipelineConfig(), file.name, error=ConfigError)


def complete(config: TrainEvalPipelineConfig) -> TrainEvalPipelineConfig:
    """Return a copy in which sections that are left out entirely come from the stock recipe.

    The recipe is that of ``model.ssd.feature_extractor.type``. A section that is given is taken as it is:
    values left out within it are the defaults of pipeline.proto. The sections are

    - every message field of ``model.ssd``. A ``feature_extractor`` of nothing but its ``type`` counts as left
      out. With ``loss`` come the flags of ``model.ssd`` that say how the loss is meant (background, weight of
      negatives, normalisations), each unless it is given;
    - ``train_config`` as a whole; if it is given, its ``optimizer`` only;
    - ``eval_config``.

    Never completed: ``num_classes``, the readers, the checkpoint, and steps of augmentation in a given
    ``train_config``.

    Raises:
        ConfigError: the feature extractor is not named or not known.
    """
    stock = recipe(config.model.ssd.feature_extractor.type)
    result = copy.deepcopy(config)
    _complete_ssd(result.model.ssd, stock.model.ssd)
    for section in ("train_config", "eval_config"):
        if not result.HasField(section):
            getattr(result, section).CopyFrom(getattr(stock, section))
    if not result.train_config.HasField("optimizer"):
        result.train_config.optimizer.CopyFrom(stock.train_config.optimizer)
    return result


def _complete_ssd(ssd: Ssd, stock: Ssd) -> None:
    if [field.name for field, _ in ssd.feature_extractor.ListFields()] == ["type"]:
        ssd.ClearField("feature_extractor")
    if not ssd.HasField("loss"):
        for flag in _LOSS_FLAGS:
            if stock.HasField(flag) and not ssd.HasField(flag):
                setattr(ssd, flag, getattr(stock, flag))
    for field, section in stock.ListFields():
        if field.message_type is not None and not ssd.HasField(field.name):
            getattr(ssd, field.name).CopyFrom(section)


def _recipe_files() -> dict[str, Traversable]:
    files = (resources.files("boxtune.config") / "recipes").iterdir()
    return {file.name.removesuffix(".config"): file for file in files if file.name.endswith(".config")}


def _no_such_type(name: str, recipes: dict[str, Traversable]) -> str:
    known = ", ".join(sorted(recipes))
    if not name:
        return f"model.ssd.feature_extractor.type is not set; it is one of {known}."
    if name in _API_TYPES:
        return f'boxtune does not have the feature extractor "{name}" yet; it has {known}.'
    return f'there is no feature extractor "{name}"; boxtune has {known}.{did_you_mean(name, _API_TYPES)}'
