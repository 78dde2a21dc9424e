"""What every family of detectors says of its section of the configuration, without Keras."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from boxtune.config.pipeline_pb2 import DetectionModel, ImageResizer, TrainEvalPipelineConfig
from boxtune.errors import ConfigError, did_you_mean


class Family(ABC):
    """A kind of detector: what its section says, and which module builds it."""

    name: str
    """The member of `model` that is its section, or the `name` of an `experimental_model`."""
    builder: str
    """The module that has `build(section, options)`, imported when a detector is made."""
    recipe_field: str = ""
    """The field of the section that names the stock recipe, such as `feature_extractor.type`; "" if none does."""
    api_types: Sequence[str] = ()
    """What the API has for `recipe_field`, whether boxtune has it or not: a missing one is told from a mistyped one."""

    @property
    def path(self) -> str:
        """Where its section stands in a configuration."""
        return f"model.{self.name}"

    def section(self, model: DetectionModel) -> Any:
        """Return its section of `model`."""
        return getattr(model, self.name)

    def image_resizer(self, model: DetectionModel) -> ImageResizer:
        """Return what brings images to their size."""
        return self.section(model).image_resizer

    def num_classes(self, model: DetectionModel) -> int:
        """Return how many classes it tells apart."""
        return self.section(model).num_classes

    def set_num_classes(self, model: DetectionModel, num_classes: int) -> None:
        """Set how many classes it tells apart.

        Raises:
            ConfigError: for a number that it cannot have.
        """
        self.section(model).num_classes = num_classes

    @abstractmethod
    def recipe_names(self) -> Sequence[str]:
        """Return the names of its stock recipes."""

    @abstractmethod
    def recipe(self, name: str) -> TrainEvalPipelineConfig:
        """Return a stock recipe: model, train_config, eval_config; no num_classes, no readers, no checkpoint."""

    @abstractmethod
    def complete(self, model: DetectionModel) -> TrainEvalPipelineConfig:
        """Fill in what `model` leaves out, from the stock recipe that it names; return that recipe.

        Raises:
            ConfigError: if it names none, or one that boxtune does not have.
        """

    def problems(self, model: DetectionModel) -> Iterator[str]:
        """Yield what contradicts itself in the section: each field, its value and the way out."""
        yield from ()

    def doubts(self, model: DetectionModel) -> Iterator[str]:
        """Yield what can be built and is probably not meant."""
        yield from ()


def no_recipe(name: str, known: Sequence[str], of_the_api: Sequence[str]) -> ConfigError:
    """Return the error about a feature extractor without a stock recipe: unknown, or one that the API alone has."""
    listed = ", ".join(known)
    if name in of_the_api:
        return ConfigError(f'boxtune does not have the feature extractor "{name}" yet; it has {listed}.')
    hint = did_you_mean(name, of_the_api)
    return ConfigError(f'there is no feature extractor "{name}"; boxtune has {listed}.{hint}')
