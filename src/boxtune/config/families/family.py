"""The base class of the families of detectors: how to read their sections of the configuration, without Keras."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from boxtune.config.pipeline_pb2 import DetectionModel, ImageResizer, PostProcessing, TrainEvalPipelineConfig
from boxtune.errors import ConfigError, did_you_mean

NEGLIGIBLE_FLOOR = 1e-6
"""A floor of scores up to here, such as the zoo's 1e-8, leaves out nothing that any metric could show."""

_POST_PROCESSING = ("post_processing", "second_stage_post_processing")


class Family(ABC):
    """A kind of detector: how its section is read, and which module builds it."""

    name: str
    """The member of `model` that is its section, or the `name` of an `experimental_model`."""
    builder: str
    """The module that has `build(section, options)`, imported when a detector is made."""
    recipe_field: str = ""
    """The field of the section that names the stock recipe, such as `feature_extractor.type`; "" if none does."""
    api_types: Sequence[str] = ()
    """The API's values of `recipe_field`, supported or not, to distinguish a missing one from a mistyped one."""

    @property
    def path(self) -> str:
        """The path of its section in a configuration."""
        return f"model.{self.name}"

    def section(self, model: DetectionModel) -> Any:
        """Return its section of `model`."""
        return getattr(model, self.name)

    def image_resizer(self, model: DetectionModel) -> ImageResizer:
        """Return its image resizer."""
        return self.section(model).image_resizer

    def kind(self, model: DetectionModel) -> str:
        """Return the value of `recipe_field`, by which the networks of a family differ; its name if it has none."""
        value = self.section(model)
        for name in filter(None, self.recipe_field.split(".")):
            value = getattr(value, name)
        return value if isinstance(value, str) else self.name

    def num_classes(self, model: DetectionModel) -> int:
        """Return its number of classes."""
        return self.section(model).num_classes

    def set_num_classes(self, model: DetectionModel, num_classes: int) -> None:
        """Set its number of classes.

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
            ConfigError: if it names no recipe, or one that boxtune does not have.
        """

    def take_older_names(self, model: DetectionModel) -> Iterator[str]:
        """Replace what TensorFlow 1 named otherwise; yield what for what."""
        yield from ()

    def problems(self, model: DetectionModel) -> Iterator[str]:
        """Yield the contradictions in the section: each field, its value and the way out."""
        yield from ()

    def warnings(self, model: DetectionModel) -> Iterator[str]:
        """Yield what can be built but is probably a mistake."""
        yield from ()


def no_recipe(name: str, known: Sequence[str], of_the_api: Sequence[str]) -> ConfigError:
    """Return the error about a feature extractor without a stock recipe: unknown, or one that the API alone has."""
    listed = ", ".join(known)
    if name in of_the_api:
        return ConfigError(f'boxtune does not have the feature extractor "{name}" yet; it has {listed}.')
    hint = did_you_mean(name, known)
    return ConfigError(f'there is no feature extractor "{name}"; boxtune has {listed}.{hint}')


def fixed_size(section: ImageResizer) -> tuple[int, int] | None:
    """Return the (height, width) in pixels that `image_resizer` gives every image, None where it varies."""
    fixed, aspect = section.fixed_shape_resizer, section.keep_aspect_ratio_resizer
    if section.HasField("fixed_shape_resizer"):
        return fixed.height, fixed.width
    if section.HasField("keep_aspect_ratio_resizer") and aspect.pad_to_max_dimension:
        return aspect.max_dimension, aspect.max_dimension
    return None


def score_floor(model: DetectionModel) -> float:
    """Return the score that detections have to exceed to be any: the threshold of a model's suppression.

    It is 0 where a `model` section says nothing of it, which may be of a family that boxtune does not have.
    """
    post_processing = _post_processing(model)
    return post_processing.batch_non_max_suppression.score_threshold if post_processing else 0.0


def set_score_floor(model: DetectionModel, floor: float) -> None:
    """Write that score into a `model` section.

    Raises:
        ConfigError: unless it is in [0, 1), or if the family of the model has no suppression.
    """
    if not (math.isfinite(floor) and 0 <= floor < 1):
        raise ConfigError(f"--score_threshold is {floor:g}; it must be at least 0 and below 1, such as 0.05")
    post_processing = _post_processing(model)
    if post_processing is None:
        raise ConfigError(
            "--score_threshold is of the suppression, which this model does not have; leave it out"
        )
    post_processing.batch_non_max_suppression.score_threshold = floor


def words_of_floor(floor: float) -> str:
    """Say that detections are missing, as part of how images were looked at; "" where none can be missed."""
    return f"only detections above a score of {floor:g}" if floor > NEGLIGIBLE_FLOOR else ""


def _post_processing(model: DetectionModel) -> PostProcessing | None:
    family = model.WhichOneof("model")
    section = getattr(model, family) if family else None
    return next((getattr(section, name) for name in _POST_PROCESSING if hasattr(section, name)), None)
