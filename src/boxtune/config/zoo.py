"""The models of the API's zoo that boxtune can train: the recipe of each, and what is known about it (zoo.toml)."""

import functools
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from boxtune.config.families import family_of, recipe, recipe_names
from boxtune.config.pipeline_pb2 import TrainEvalPipelineConfig
from boxtune.errors import ConfigError, did_you_mean

DEFAULT = "ssd_mobilenet_v2_fpnlite_320x320_coco17_tpu-8"
_SIDES = ("height", "width", "min_dimension", "max_dimension")


@dataclass(frozen=True)
class ZooModel:
    """A model whose weights were published."""

    name: str
    """Of its download, without `.tar.gz`."""
    feature_extractor: str
    """Its type, by which its stock recipe is known."""
    size: int
    """Height and width of the input, in pixels."""
    coco_map: float
    """COCO mAP in percent, as the zoo's page states it."""
    parameters: float
    """Millions, with 90 classes."""
    multiply_adds: float
    """Billions of multiplications with additions for one image, forward, with 90 classes."""
    seconds: float | None = None
    """Of a training step for each image of its batch; None if it was not measured."""
    suits: str = ""
    """What it is a good choice for."""

    @property
    def memory(self) -> float | None:
        """GiB that each image of a batch takes in a training step; None if it was not measured."""
        of_a_pixel = memory_per_pixel(self.feature_extractor)
        return of_a_pixel and of_a_pixel * self.size**2

    @property
    def address(self) -> str:
        """Where its weights are."""
        return f"{_table()['address']}{self.name}.tar.gz"


def zoo_models() -> Sequence[ZooModel]:
    """Return all, from small to large within each kind."""
    return [ZooModel(**row) for row in _table()["models"]]


def memory_per_pixel(feature_extractor: str) -> float | None:
    """Return the GiB that a pixel of each image of a batch takes in a training step; None if it was not measured."""
    of_a_megapixel = _table()["memory"].get(feature_extractor)
    return of_a_megapixel and of_a_megapixel / 1e6


def sources() -> dict[str, str]:
    """Return where each column of the table comes from, by its title."""
    return dict(_table()["sources"])


def unpublished() -> Sequence[str]:
    """Return the feature extractors with a recipe but without published weights."""
    published = {model.feature_extractor for model in zoo_models()}
    return [name for name in recipe_names() if name not in published]


def recipe_of(name: str) -> TrainEvalPipelineConfig:
    """Return the stock recipe of a model: model, train_config, eval_config; no num_classes, no readers.

    Args:
        name: of a model in the zoo, or the beginning of it that no other has; or a type of feature extractor.

    Raises:
        ConfigError: there is no such model, or there are several.
    """
    if name in recipe_names():
        return recipe(name)
    model = find(name)
    pipeline = recipe(model.feature_extractor)
    # The size of a square input, and of the crops that training images are scaled to.
    for _, resizer in family_of(pipeline.model).image_resizer(pipeline.model).ListFields():
        for field, _ in resizer.ListFields():
            if field.name in _SIDES:
                setattr(resizer, field.name, model.size)
    for step in pipeline.train_config.data_augmentation_options:
        if step.HasField("random_scale_crop_and_pad_to_square"):
            step.random_scale_crop_and_pad_to_square.output_size = model.size
    return pipeline


def find(name: str) -> ZooModel:
    """Return the model of the zoo with this name, or the only one whose name begins so.

    Raises:
        ConfigError: there is none, or there are several.
    """
    found = [model for model in zoo_models() if name and model.name.startswith(name)]
    exact = [model for model in found if model.name == name]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        raise ConfigError(
            f'"{name}" may be {" or ".join(model.name for model in found)}: write more of the name.'
        )
    names = [model.name for model in zoo_models()]
    short = [known.partition("_coco17")[0] for known in names]
    hint = did_you_mean(name, [*names, *short, *recipe_names()])
    raise ConfigError(f'there is no model "{name}"; `boxtune models` lists them.{hint}')


@functools.cache
def _table() -> dict:
    return tomllib.loads((resources.files("boxtune.config") / "zoo.toml").read_text(encoding="utf-8"))
