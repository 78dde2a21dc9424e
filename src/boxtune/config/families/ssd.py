"""The SSD family: how a `model.ssd` section is read."""

from collections.abc import Iterator, Sequence
from importlib import resources
from importlib.resources.abc import Traversable

from boxtune.config.families.family import Family, no_recipe
from boxtune.config.pipeline_pb2 import DetectionModel, TrainEvalPipelineConfig
from boxtune.config.pipeline_pb2 import Ssd as Section
from boxtune.config.text import from_text
from boxtune.errors import ConfigError

# Flags about the loss.
_LOSS_FLAGS = (
    "encode_background_as_zeros",
    "add_background_class",
    "negative_class_weight",
    "normalize_loss_by_num_matches",
    "normalize_loc_loss_by_codesize",
)

# Of TensorFlow 1; other feature extractors are not quite the network of the same name with "_keras".
_OLDER_TYPES = ("ssd_mobilenet_v1", "ssd_mobilenet_v1_fpn", "ssd_mobilenet_v2", "ssd_mobilenet_v2_fpn")


class Ssd(Family):
    """Single-shot detectors: SSD, RetinaNet, EfficientDet."""

    name = "ssd"
    builder = "boxtune.models.ssd"
    recipe_field = "feature_extractor.type"
    api_types = (
        "ssd_mobilenet_v1_keras",
        "ssd_mobilenet_v1_fpn_keras",
        "ssd_mobilenet_v2_keras",
        "ssd_mobilenet_v2_fpn_keras",
        "ssd_resnet50_v1_fpn_keras",
        "ssd_resnet101_v1_fpn_keras",
        "ssd_resnet152_v1_fpn_keras",
        *(f"ssd_efficientnet-b{size}_bifpn_keras" for size in range(8)),
    )

    def recipe_names(self) -> Sequence[str]:
        """Return the types of feature extractors that have a recipe."""
        return sorted(_recipe_files())

    def recipe(self, name: str) -> TrainEvalPipelineConfig:
        """Return the settings with which the published model with this type of feature extractor was trained."""
        file = _recipe_files()[name]
        return from_text(
            file.read_text(encoding="utf-8"), TrainEvalPipelineConfig(), file.name, error=ConfigError
        )

    def complete(self, model: DetectionModel) -> TrainEvalPipelineConfig:
        """Fill in every message field that is left out entirely; given ones are kept as they are.

        A `feature_extractor` of nothing but its `type` counts as left out. With `loss`, the flags of the
        section about it (background, weight of negatives, normalizations) are filled in, too, unless they are given.
        `num_classes` is never completed.
        """
        name = model.ssd.feature_extractor.type
        if not name:
            known = ", ".join(self.recipe_names())
            raise ConfigError(f"model.ssd.feature_extractor.type is not set; it is one of {known}.")
        if name not in self.recipe_names():
            raise no_recipe(name, self.recipe_names(), self.api_types)
        recipe = self.recipe(name)
        _complete(model.ssd, recipe.model.ssd)
        return recipe

    def take_older_names(self, model: DetectionModel) -> Iterator[str]:
        """Replace the type of a feature extractor of TensorFlow 1 by that of the same network.

        Those of another width are not all the same: under TensorFlow 2 the API widens their layers otherwise.
        """
        extractor = model.ssd.feature_extractor
        if extractor.type in _OLDER_TYPES and extractor.depth_multiplier == 1:
            older, extractor.type = extractor.type, f"{extractor.type}_keras"
            yield f'model.ssd.feature_extractor.type: "{older}" is read as "{extractor.type}"'

    def problems(self, model: DetectionModel) -> Iterator[str]:
        """Yield the contradictions: so far, between thresholds of the matcher."""
        matcher = model.ssd.matcher.argmax_matcher
        if not matcher.ignore_thresholds and matcher.unmatched_threshold > matcher.matched_threshold:
            yield (
                f"model.ssd.matcher.argmax_matcher: unmatched_threshold {matcher.unmatched_threshold:g} is above "
                f"matched_threshold {matcher.matched_threshold:g}; an anchor would be both positive and negative."
            )

    def warnings(self, model: DetectionModel) -> Iterator[str]:
        """Yield what can be built but is probably a mistake: so far, a background without a loss."""
        if model.ssd.encode_background_as_zeros and model.ssd.loss.classification_loss.HasField(
            "weighted_softmax"
        ):
            yield (
                "model.ssd: with weighted_softmax and encode_background_as_zeros: true the background is not "
                "learned: every anchor will be some object. Set encode_background_as_zeros to false."
            )


def _complete(section: Section, stock: Section) -> None:
    if [field.name for field, _ in section.feature_extractor.ListFields()] == ["type"]:
        section.ClearField("feature_extractor")
    if not section.HasField("loss"):
        for flag in _LOSS_FLAGS:
            if stock.HasField(flag) and not section.HasField(flag):
                setattr(section, flag, getattr(stock, flag))
    for field, message in stock.ListFields():
        if field.message_type is not None and not section.HasField(field.name):
            getattr(section, field.name).CopyFrom(message)


def _recipe_files() -> dict[str, Traversable]:
    files = (resources.files("boxtune.config") / "recipes").iterdir()
    names = {file.name.removesuffix(".config"): file for file in files if file.name.endswith(".config")}
    return {name: file for name, file in names.items() if name.startswith("ssd_")}
