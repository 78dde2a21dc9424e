"""The registry of the families of detectors."""

from boxtune.config.families.family import Family, no_recipe
from boxtune.config.families.ssd import Ssd
from boxtune.config.pipeline_pb2 import DetectionModel, TrainEvalPipelineConfig
from boxtune.errors import ConfigError, did_you_mean

FAMILIES: dict[str, Family] = {}
"""By their names."""


def register(family: Family) -> None:
    """Add a family, in place of one of the same name."""
    FAMILIES[family.name] = family


register(Ssd())


def family_of(model: DetectionModel) -> Family:
    """Return the family of a `model` section.

    Raises:
        ConfigError: if it is empty, or of a family that boxtune does not have.
    """
    name = model.WhichOneof("model")
    if name is None:
        raise ConfigError(
            "model is empty; choose a feature extractor, as in model { ssd { feature_extractor { type: "
            f'"ssd_mobilenet_v2_fpn_keras" }} }} }}. There are {", ".join(recipe_names())}.'
        )
    field = f"model.{name}"
    if name == "experimental_model":
        name, field = model.experimental_model.name, "model.experimental_model.name"
    if name not in FAMILIES:
        raise ConfigError(
            f'{field}: boxtune does not have the family "{name}" yet; it has {", ".join(FAMILIES)}.'
            f"{did_you_mean(name, FAMILIES)}"
        )
    return FAMILIES[name]


def recipe_names() -> list[str]:
    """Return the names of all stock recipes, sorted."""
    return sorted(name for family in FAMILIES.values() for name in family.recipe_names())


def recipe(name: str) -> TrainEvalPipelineConfig:
    """Return the stock recipe of a feature extractor: model, train_config, eval_config; no num_classes, no readers.

    Raises:
        ConfigError: there is no such feature extractor, or boxtune does not have it yet.
    """
    for family in FAMILIES.values():
        if name in family.recipe_names():
            return family.recipe(name)
    of_the_api = [api_type for family in FAMILIES.values() for api_type in family.api_types]
    raise no_recipe(name, recipe_names(), of_the_api)


__all__ = ["FAMILIES", "Family", "family_of", "recipe", "recipe_names", "register"]
