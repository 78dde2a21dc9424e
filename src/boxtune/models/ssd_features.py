"""The feature extractors of the SSD family: a classification network, and the layers that make a pyramid of its maps.

Each is a function from images, its section of the configuration, and whether normalizations are frozen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import keras

from boxtune.config import pipeline_pb2
from boxtune.errors import ConfigError, did_you_mean
from boxtune.models import necks
from boxtune.models.backbones import mobilenet_v1 as mobilenet_v1_network
from boxtune.models.backbones import mobilenet_v2 as mobilenet_v2_network
from boxtune.models.backbones import resnet_v1 as resnet_v1_network
from boxtune.models.backbones.common import MINUS_MEANS, TO_ONE, Normalization
from boxtune.models.layers import Branches, ConvStyle, PadToMultiple, conv_style

FEATURES = "_feature_extractor"
BACKBONE = f"{FEATURES}/classification_backbone"


def mobilenet_v1_fpn(
    images, section: pipeline_pb2.SsdFeatureExtractor, frozen: bool
) -> list[keras.KerasTensor]:
    """MobileNetV1 with a feature pyramid; with `use_depthwise`, the last two layers are narrower, as in the API."""
    features = _mobilenet_v1(images, section, frozen, (512, 256) if section.use_depthwise else (1024, 1024))
    by_level = {2: "block_3", 3: "block_5", 4: "block_11", 5: "block_13"}
    return _pyramid({level: features[name] for level, name in by_level.items()}, images, section, frozen)


def mobilenet_v2_fpn(
    images, section: pipeline_pb2.SsdFeatureExtractor, frozen: bool
) -> list[keras.KerasTensor]:
    """MobileNetV2 with a feature pyramid; with `use_depthwise`, the zoo's FPNLite."""
    features = _mobilenet_v2(images, section, frozen)
    by_level = {2: "block_2", 3: "block_5", 4: "block_12", 5: "out"}
    return _pyramid({level: features[name] for level, name in by_level.items()}, images, section, frozen)


def resnet_v1_fpn(
    images, section: pipeline_pb2.SsdFeatureExtractor, frozen: bool, *, blocks: Sequence[int]
) -> list[keras.KerasTensor]:
    """ResNet with a feature pyramid, as in RetinaNet; `blocks` are those of each stage.

    Source: Lin et al. 2017 (RetinaNet, arXiv:1708.02002), section 4; the API's
    models.ssd_resnet_v1_fpn_keras_feature_extractor, which passes over the section's `fpn`, `use_depthwise` and
    `use_explicit_padding`; here the pyramid honours them.
    """
    features = resnet_v1_network.build(
        PadToMultiple(max(section.pad_to_multiple, 1))(MINUS_MEANS(images)),
        blocks,
        BACKBONE,
        _backbone_style(section, resnet_v1_network.STYLE),
        depth_multiplier=section.depth_multiplier,
        min_depth=section.min_depth,
        frozen=frozen,
    )
    by_level = {level: features[f"stage_{level}"] for level in (2, 3, 4, 5)}
    return _pyramid(by_level, images, section, frozen)


def _pyramid(
    features: Mapping[int, keras.KerasTensor],
    images,
    section: pipeline_pb2.SsdFeatureExtractor,
    frozen: bool,
) -> list[keras.KerasTensor]:
    """Return the levels of `section.fpn`, made of a backbone's `features` by their level, up to 5."""
    style = conv_style(section.conv_hyperparams)
    highest = min(section.fpn.max_level, 5)
    _require_halves(images.shape[1:3], section, 2**highest)
    depth = _depth(section, section.fpn.additional_layer_depth)
    options = {
        "use_depthwise": section.use_depthwise,
        "explicit_padding": section.use_explicit_padding,
        "frozen": frozen,
    }
    pyramid = necks.feature_pyramid(
        [features[level] for level in range(section.fpn.min_level, highest + 1)],
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


def mobilenet_v1(images, section: pipeline_pb2.SsdFeatureExtractor, frozen: bool) -> list[keras.KerasTensor]:
    """MobileNetV1 followed by smaller and smaller maps."""
    features = _mobilenet_v1(images, section, frozen)
    maps = [features["block_11"], features["block_13"]]
    return _smaller_and_smaller(maps, f"{FEATURES}/_feature_map_generator/convolutions", section, frozen)


def mobilenet_v2(images, section: pipeline_pb2.SsdFeatureExtractor, frozen: bool) -> list[keras.KerasTensor]:
    """MobileNetV2 followed by smaller and smaller maps."""
    features = _mobilenet_v2(images, section, frozen)
    maps = [features["block_13_expand"], features["out"]]
    return _smaller_and_smaller(maps, f"{FEATURES}/feature_map_generator/convolutions", section, frozen)


def _smaller_and_smaller(
    maps, key: str, section: pipeline_pb2.SsdFeatureExtractor, frozen: bool
) -> list[keras.KerasTensor]:
    """Return two `maps` of a backbone and four more, or the first of them where `num_layers` are fewer."""
    maps = necks.multi_resolution(
        maps,
        [(_depth(section, filters // 2), _depth(section, filters)) for filters in (512, 256, 256, 128)],
        key,
        conv_style(section.conv_hyperparams),
        use_depthwise=section.use_depthwise,
        explicit_padding=section.use_explicit_padding,
        frozen=frozen,
    )
    return maps[: section.num_layers]


def _mobilenet_v1(
    images,
    section: pipeline_pb2.SsdFeatureExtractor,
    frozen: bool,
    last_filters: Sequence[int] = (1024, 1024),
) -> dict[str, keras.KerasTensor]:
    return mobilenet_v1_network.build(
        PadToMultiple(max(section.pad_to_multiple, 1))(TO_ONE(images)),
        BACKBONE,
        _backbone_style(section, mobilenet_v1_network.STYLE),
        depth_multiplier=section.depth_multiplier,
        min_depth=section.min_depth,
        last_filters=last_filters,
        explicit_padding=section.use_explicit_padding,
        frozen=frozen,
    )


def _mobilenet_v2(
    images, section: pipeline_pb2.SsdFeatureExtractor, frozen: bool
) -> dict[str, keras.KerasTensor]:
    return mobilenet_v2_network.build(
        PadToMultiple(max(section.pad_to_multiple, 1))(TO_ONE(images)),
        BACKBONE,
        _backbone_style(section, mobilenet_v2_network.STYLE),
        depth_multiplier=section.depth_multiplier,
        min_depth=section.min_depth,
        explicit_padding=section.use_explicit_padding,
        frozen=frozen,
    )


def _backbone_style(section: pipeline_pb2.SsdFeatureExtractor, default: ConvStyle) -> ConvStyle:
    overridden = section.override_base_feature_extractor_hyperparams
    return conv_style(section.conv_hyperparams) if overridden else default


def _depth(section: pipeline_pb2.SsdFeatureExtractor, filters: int) -> int:
    """Return the number of filters of a layer on top of the backbone."""
    return max(int(filters * section.depth_multiplier), section.min_depth)


@dataclass(frozen=True)
class FeatureExtractor:
    """A backbone and the layers that make a pyramid of its feature maps."""

    build: Callable[..., list[keras.KerasTensor]]
    """From images, the `feature_extractor` section, and whether normalizations are frozen."""
    normalization: Normalization
    """Of pixel values, the first operation of `build`."""


def _resnet(blocks: Sequence[int]) -> FeatureExtractor:
    return FeatureExtractor(partial(resnet_v1_fpn, blocks=blocks), MINUS_MEANS)


FEATURE_EXTRACTORS = {
    "ssd_mobilenet_v1_fpn_keras": FeatureExtractor(mobilenet_v1_fpn, TO_ONE),
    "ssd_mobilenet_v1_keras": FeatureExtractor(mobilenet_v1, TO_ONE),
    "ssd_mobilenet_v2_fpn_keras": FeatureExtractor(mobilenet_v2_fpn, TO_ONE),
    "ssd_mobilenet_v2_keras": FeatureExtractor(mobilenet_v2, TO_ONE),
    "ssd_resnet50_v1_fpn_keras": _resnet(resnet_v1_network.RESNET50),
    "ssd_resnet101_v1_fpn_keras": _resnet(resnet_v1_network.RESNET101),
    "ssd_resnet152_v1_fpn_keras": _resnet(resnet_v1_network.RESNET152),
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
