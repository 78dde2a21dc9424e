"""The feature extractors of the SSD family: a classification network, and the layers that make a pyramid of its maps.

Each is a function from images, its section of the configuration, and whether normalizations are frozen.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras

from boxtune.config import pipeline_pb2
from boxtune.errors import ConfigError, did_you_mean
from boxtune.models import necks
from boxtune.models.backbones import mobilenet_v2 as mobilenet_v2_network
from boxtune.models.backbones.common import TO_ONE, Normalization
from boxtune.models.layers import Branches, PadToMultiple, conv_style

FEATURES = "_feature_extractor"
BACKBONE = f"{FEATURES}/classification_backbone"


def mobilenet_v2_fpn(
    images, section: pipeline_pb2.SsdFeatureExtractor, frozen: bool
) -> list[keras.KerasTensor]:
    """MobileNetV2 with a feature pyramid; with `use_depthwise`, the zoo's FPNLite."""
    style = conv_style(section.conv_hyperparams)
    features = _mobilenet_v2(images, section, frozen)
    by_level = {2: "block_2", 3: "block_5", 4: "block_12", 5: "out"}
    highest = min(section.fpn.max_level, 5)
    _require_halves(images.shape[1:3], section, 2**highest)
    depth = max(int(section.fpn.additional_layer_depth * section.depth_multiplier), section.min_depth)
    options = {
        "use_depthwise": section.use_depthwise,
        "explicit_padding": section.use_explicit_padding,
        "frozen": frozen,
    }
    pyramid = necks.feature_pyramid(
        [features[by_level[level]] for level in range(section.fpn.min_level, highest + 1)],
        depth,
        f"{FEATURES}/_fpn_features_generator",
        style,
        **options,
    )
    top, last = Branches(2)(pyramid[-1])
    coarser = necks.coarser_levels(
        last,
        section.fpn.max_level - highest,
        depth,
        f"{FEATURES}/_coarse_feature_layers",
        style,
        **options,
    )
    return [*pyramid[:-1], top, *coarser]


def _require_halves(size, section: pipeline_pb2.SsdFeatureExtractor, multiple: int) -> None:
    """Refuse an input whose maps are not each half as large as the one before, which a pyramid needs."""
    padded = max(section.pad_to_multiple, 1) % multiple == 0
    if (
        not padded
        and not section.use_explicit_padding
        and any(side is None or side % multiple for side in size)
    ):
        gives = "images of several sizes" if None in size else f"{size[0]} x {size[1]}"
        raise ConfigError(
            f"pipeline.config: image_resizer gives {gives}; {section.type} needs sides that are "
            f"multiples of {multiple}, or feature_extractor.pad_to_multiple: {multiple}"
        )


def mobilenet_v2(images, section: pipeline_pb2.SsdFeatureExtractor, frozen: bool) -> list[keras.KerasTensor]:
    """MobileNetV2 followed by smaller and smaller maps."""
    features = _mobilenet_v2(images, section, frozen)

    def depth(filters: int) -> int:
        return max(int(filters * section.depth_multiplier), section.min_depth)

    maps = necks.multi_resolution(
        [features["block_13_expand"], features["out"]],
        [(depth(filters // 2), depth(filters)) for filters in (512, 256, 256, 128)],
        f"{FEATURES}/feature_map_generator/convolutions",
        conv_style(section.conv_hyperparams),
        use_depthwise=section.use_depthwise,
        explicit_padding=section.use_explicit_padding,
        frozen=frozen,
    )
    return maps[: section.num_layers]


def _mobilenet_v2(images, section: pipeline_pb2.SsdFeatureExtractor, frozen: bool):
    overridden = section.override_base_feature_extractor_hyperparams
    return mobilenet_v2_network.build(
        PadToMultiple(max(section.pad_to_multiple, 1))(TO_ONE(images)),
        BACKBONE,
        conv_style(section.conv_hyperparams) if overridden else mobilenet_v2_network.STYLE,
        depth_multiplier=section.depth_multiplier,
        min_depth=section.min_depth,
        explicit_padding=section.use_explicit_padding,
        frozen=frozen,
    )


@dataclass(frozen=True)
class FeatureExtractor:
    """A backbone and the layers that make a pyramid of its feature maps."""

    build: Callable[..., list[keras.KerasTensor]]
    """From images, the `feature_extractor` section, and whether normalizations are frozen."""
    normalization: Normalization
    """Of pixel values, the first operation of `build`."""


FEATURE_EXTRACTORS = {
    "ssd_mobilenet_v2_fpn_keras": FeatureExtractor(mobilenet_v2_fpn, TO_ONE),
    "ssd_mobilenet_v2_keras": FeatureExtractor(mobilenet_v2, TO_ONE),
}
"""By `feature_extractor.type`."""


def feature_extractor(name: str) -> FeatureExtractor:
    """Return the feature extractor of a type; raise ConfigError if there is none."""
    if name not in FEATURE_EXTRACTORS:
        raise ConfigError(
            f'pipeline.config: feature_extractor.type "{name}" is not supported.'
            f"{did_you_mean(name, FEATURE_EXTRACTORS)}"
        )
    return FEATURE_EXTRACTORS[name]
