"""The feature extractors of the SSD family: a classification network, and the layers that make a pyramid of its maps.

Each is a function from images, its section of the configuration, and whether normalizations are frozen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import keras

from boxtune.config import pipeline_pb2
from boxtune.errors import ConfigError, did_you_mean
from boxtune.models import necks
from boxtune.models.backbones import efficientnet
from boxtune.models.backbones import mobilenet_v1 as mobilenet_v1_network
from boxtune.models.backbones import mobilenet_v2 as mobilenet_v2_network
from boxtune.models.backbones import resnet_v1 as resnet_v1_network
from boxtune.models.backbones.common import (
    BY_IMAGENET,
    MINUS_MEANS,
    TO_ONE,
    Normalization,
    Normalize,
)
from boxtune.models.bifpn import bidirectional_feature_pyramid
from boxtune.models.layers import Branches, ConvStyle, PadToMultiple, conv_style

Section = pipeline_pb2.SsdFeatureExtractor
Maps = list[keras.KerasTensor]

FEATURES = "_feature_extractor"
BACKBONE = f"{FEATURES}/classification_backbone"
EFFICIENTNET = f"{FEATURES}/_efficientnet"
"""Of the layers of an EfficientNet that are used; BACKBONE is that of the others."""


def mobilenet_v1_fpn(images, section: Section, frozen: bool) -> Maps:
    """MobileNetV1 with a feature pyramid; with `use_depthwise`, the last two layers are narrower, as in the API."""
    last_filters = (512, 256) if section.use_depthwise else (1024, 1024)
    features = _mobilenet(mobilenet_v1_network, images, section, frozen, last_filters=last_filters)
    by_level = {2: "block_3", 3: "block_5", 4: "block_11", 5: "block_13"}
    return _pyramid({level: features[name] for level, name in by_level.items()}, images, section, frozen)


def mobilenet_v2_fpn(images, section: Section, frozen: bool) -> Maps:
    """MobileNetV2 with a feature pyramid; with `use_depthwise`, the zoo's FPNLite."""
    features = _mobilenet(mobilenet_v2_network, images, section, frozen)
    by_level = {2: "block_2", 3: "block_5", 4: "block_12", 5: "out"}
    return _pyramid({level: features[name] for level, name in by_level.items()}, images, section, frozen)


def resnet_v1_fpn(images, section: Section, frozen: bool, *, blocks: Sequence[int]) -> Maps:
    """ResNet with a feature pyramid, as in RetinaNet; `blocks` are those of each stage.

    Source: Lin et al. 2017 (RetinaNet, arXiv:1708.02002), section 4; the API's
    models.ssd_resnet_v1_fpn_keras_feature_extractor, which passes over the section's `fpn`, `use_depthwise` and
    `use_explicit_padding`; here the pyramid honours them.
    """
    features = resnet_v1_network.build(
        PadToMultiple(max(section.pad_to_multiple, 1))(Normalize(MINUS_MEANS)(images)),
        blocks,
        BACKBONE,
        _backbone_style(section, resnet_v1_network.STYLE),
        depth_multiplier=section.depth_multiplier,
        min_depth=section.min_depth,
        frozen=frozen,
    )
    by_level = {level: features[f"stage_{level}"] for level in (2, 3, 4, 5)}
    return _pyramid(by_level, images, section, frozen)


def _pyramid(features: Mapping[int, keras.KerasTensor], images, section: Section, frozen: bool) -> Maps:
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


def _require_halves(size, section: Section, multiple: int) -> None:
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


def mobilenet_v1(images, section: Section, frozen: bool) -> Maps:
    """MobileNetV1 followed by smaller and smaller maps."""
    features = _mobilenet(mobilenet_v1_network, images, section, frozen)
    maps = [features["block_11"], features["block_13"]]
    return _smaller_and_smaller(maps, f"{FEATURES}/_feature_map_generator/convolutions", section, frozen)


def mobilenet_v2(images, section: Section, frozen: bool) -> Maps:
    """MobileNetV2 followed by smaller and smaller maps."""
    features = _mobilenet(mobilenet_v2_network, images, section, frozen)
    maps = [features["block_13_expand"], features["out"]]
    return _smaller_and_smaller(maps, f"{FEATURES}/feature_map_generator/convolutions", section, frozen)


def _smaller_and_smaller(maps, key: str, section: Section, frozen: bool) -> Maps:
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


def _mobilenet(
    network: ModuleType, images, section: Section, frozen: bool, **options: Any
) -> dict[str, keras.KerasTensor]:
    """Return the maps of a MobileNet, `network` being its module."""
    return network.build(
        PadToMultiple(max(section.pad_to_multiple, 1))(Normalize(TO_ONE)(images)),
        BACKBONE,
        _backbone_style(section, network.STYLE),
        depth_multiplier=section.depth_multiplier,
        min_depth=section.min_depth,
        explicit_padding=section.use_explicit_padding,
        frozen=frozen,
        **options,
    )


def _backbone_style(section: Section, default: ConvStyle) -> ConvStyle:
    overridden = section.override_base_feature_extractor_hyperparams
    return conv_style(section.conv_hyperparams) if overridden else default


def _depth(section: Section, filters: int) -> int:
    """Return the number of filters of a layer on top of the backbone."""
    return max(int(filters * section.depth_multiplier), section.min_depth)


def efficientnet_bifpn(images, section: Section, frozen: bool, *, size: str) -> Maps:
    """EfficientNet with a bidirectional feature pyramid: EfficientDet.

    Source: Tan et al. 2019 (arXiv:1911.09070); the API's models.ssd_efficientnet_bifpn_feature_extractor.
    """
    _refuse_without_effect(section)
    pyramid = section.bifpn if section.HasField("bifpn") else BIFPN_OF_SIZE[size]
    if not 1 <= pyramid.min_level <= efficientnet.HIGHEST_LEVEL:
        raise ConfigError(
            f"pipeline.config: bifpn.min_level is {pyramid.min_level}; {section.type} has maps of the levels 1 to "
            f"{efficientnet.HIGHEST_LEVEL}"
        )
    _require_halves(images.shape[1:3], section, 2**pyramid.max_level)
    highest = max(pyramid.min_level, min(pyramid.max_level, efficientnet.HIGHEST_LEVEL))
    features = efficientnet.build(
        PadToMultiple(max(section.pad_to_multiple, 1))(Normalize(BY_IMAGENET)(images)),
        EFFICIENTNET,
        BACKBONE,
        size,
        levels=range(pyramid.min_level, highest + 1),
        frozen=frozen,
    )
    return bidirectional_feature_pyramid(
        list(features.values()),
        f"{FEATURES}/_bifpn_stage",
        conv_style(section.conv_hyperparams),
        min_level=pyramid.min_level,
        max_level=pyramid.max_level,
        num_iterations=pyramid.num_iterations,
        num_filters=max(pyramid.num_filters, section.min_depth) if pyramid.num_filters > 0 else 0,
        combine_method=pyramid.combine_method,
        frozen=frozen,
    )


def _refuse_without_effect(section: Section) -> None:
    """Refuse fields that would change nothing, as the API does."""
    if section.HasField("fpn"):
        raise ConfigError(f"pipeline.config: {section.type} has a bidirectional pyramid; use bifpn, not fpn")
    for field in (
        "depth_multiplier",
        "use_depthwise",
        "use_explicit_padding",
        "override_base_feature_extractor_hyperparams",
    ):
        value, default = getattr(section, field), section.DESCRIPTOR.fields_by_name[field].default_value
        if value != default:
            raise ConfigError(
                f"pipeline.config: feature_extractor.{field} has no effect on {section.type}; remove it"
            )


def _bifpn(num_iterations: int, num_filters: int, combine_method="fast_attention"):
    return pipeline_pb2.BidirectionalFeaturePyramidNetworks(
        num_iterations=num_iterations, num_filters=num_filters, combine_method=combine_method
    )


BIFPN_OF_SIZE = {
    "b0": _bifpn(3, 64),
    "b1": _bifpn(4, 88),
    "b2": _bifpn(5, 112),
    "b3": _bifpn(6, 160),
    "b4": _bifpn(7, 224),
    "b5": _bifpn(7, 288),
    "b6": _bifpn(8, 384, "sum"),
    "b7": _bifpn(8, 384, "sum"),
}
"""The pyramid of each EfficientNet where a configuration has none."""


@dataclass(frozen=True)
class FeatureExtractor:
    """A backbone and the layers that make a pyramid of its feature maps."""

    build: Callable[..., Maps]
    """From images, the `feature_extractor` section, and whether normalizations are frozen."""
    normalization: Normalization
    """Of pixel values, the first operation of `build`."""
    bidirectional: bool = False
    """Whether its pyramid is the one that `bifpn` describes."""


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
} | {
    f"ssd_efficientnet-{size}_bifpn_keras": FeatureExtractor(
        partial(efficientnet_bifpn, size=size), BY_IMAGENET, bidirectional=True
    )
    for size in efficientnet.SIZES
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
