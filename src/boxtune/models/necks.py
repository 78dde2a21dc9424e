"""From the feature maps of a backbone to the pyramid that boxes are predicted from."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from boxtune.errors import ConfigError, did_you_mean
from boxtune.models.backbones import pad
from boxtune.models.keys import at
from boxtune.models.layers import Branches, ConvStyle, CropTo, WeightedSum


def conv_block(
    x,
    filters,
    key: str,
    style: ConvStyle,
    *,
    strides=1,
    use_depthwise=False,
    explicit_padding=False,
    frozen=False,
):
    """Apply a 3 x 3 convolution, plain or separable, with normalization and activation.

    The three stand at `key`/0, /1 and /2 in the checkpoint, one further where the padding is a layer of its own.
    """
    x, padding = pad(x, 3, explicit_padding)
    first = int(explicit_padding)
    make = style.separable_conv if use_depthwise else style.conv
    layer = make(filters, 3, f"{key}/{first}", strides=strides, padding=padding)
    return style.activate(style.normalized(layer, f"{key}/{first + 1}", frozen=frozen)(x))


def feature_pyramid(
    features,
    depth: int,
    key: str,
    style: ConvStyle,
    *,
    use_depthwise=False,
    explicit_padding=False,
    frozen=False,
):
    """Carry what coarse maps know down to the finer ones.

    Source: Lin et al. 2016 (FPN, arXiv:1612.03144), section 3; the API's KerasFpnTopDownFeatureMaps.

    Args:
        features: maps, finest first, each half as large as the one before.
        depth: filters of every output.
        key: where the layers stand in the checkpoint.
        style: of the convolutions.
        use_depthwise: separable convolutions.
        explicit_padding: pad by zeros instead of TensorFlow's "same".
        frozen: keep the batch normalizations' statistics in training.

    Returns:
        As many maps, finest first.
    """
    top_down = style.conv(depth, 1, f"{key}/top_layers/0", use_bias=True)(features[-1])
    pyramid = [top_down]
    for index, feature in enumerate(reversed(features[:-1])):
        lateral = style.conv(depth, 1, f"{key}/residual_blocks/{index}/0", use_bias=True)(feature)
        upsampled = keras.layers.UpSampling2D(2, interpolation="nearest")(top_down)
        if explicit_padding:
            upsampled = CropTo()(upsampled, lateral)
        top_down = conv_block(
            keras.layers.Add()([upsampled, lateral]),
            depth,
            f"{key}/conv_layers/{index}",
            style,
            use_depthwise=use_depthwise,
            explicit_padding=explicit_padding,
            frozen=frozen,
        )
        pyramid.append(top_down)
    return pyramid[::-1]


def coarser_levels(
    x,
    count: int,
    depth: int,
    key: str,
    style: ConvStyle,
    *,
    use_depthwise=False,
    explicit_padding=False,
    frozen=False,
):
    """Return `count` further maps, each half as large as the one before, starting from `x`."""
    levels = []
    for index in range(count):
        x = conv_block(
            x, depth, f"{key}/{index}", style,
            strides=2, use_depthwise=use_depthwise, explicit_padding=explicit_padding, frozen=frozen,
        )  # fmt: skip
        levels.append(x)
    return levels


def multi_resolution(
    features, depths, key: str, style: ConvStyle, *, use_depthwise=False, explicit_padding=False, frozen=False
):
    """Return `features` and behind them ever smaller maps of `depths` filters, as SSD has them.

    Each new map is the one before it, squeezed to half the depth and convolved at stride 2.
    Source: Liu et al. 2016 (SSD, arXiv:1512.02325), section 2.1; the API's KerasMultiResolutionFeatureMaps.

    Args:
        features: the backbone's maps, finest first.
        depths: pairs of the filters in the squeezing and in the output layer of each new map.
        key: where the layers stand in the checkpoint; new maps count on from the given ones.
        style: of the convolutions.
        use_depthwise: a depthwise and a pointwise convolution in place of each plain one of 3 x 3.
        explicit_padding: pad by zeros instead of TensorFlow's "same".
        frozen: keep the batch normalizations' statistics in training.
    """
    maps = list(features)
    for index, (squeezed, depth) in enumerate(depths, start=len(maps)):
        place = f"{key}/{index}"

        def block(x, layer, number, place=place):
            return style.activate(style.normalized(layer, f"{place}/{number}", frozen=frozen)(x))

        x = block(maps[-1], style.conv(squeezed, 1, f"{place}/0"), 1)
        x, padding = pad(x, 3, explicit_padding)
        first = 3 + int(explicit_padding)
        if use_depthwise:
            x = block(x, style.depthwise_conv(3, f"{place}/{first}", strides=2, padding=padding, styled=False),
                      first + 1)  # fmt: skip
            x = block(x, style.conv(depth, 1, f"{place}/{first + 3}"), first + 4)
        else:
            x = block(x, style.conv(depth, 3, f"{place}/{first}", strides=2, padding=padding), first + 1)
        maps.append(x)
    return maps


def bidirectional_feature_pyramid(
    features,
    key: str,
    style: ConvStyle,
    *,
    min_level: int,
    max_level: int,
    num_iterations: int,
    num_filters: int,
    combine_method: str = "fast_attention",
    frozen=False,
):
    """Carry what each map knows to the others, down and up again, several times.

    Source: Tan et al. 2019 (EfficientDet, arXiv:1911.09070), section 3; the API's KerasBiFpnFeatureMaps.

    Args:
        features: maps of the levels from `min_level` on, finest first, each half as large as the one before.
        key: where the layers stand in the checkpoint.
        style: of the convolutions.
        min_level: of the finest output.
        max_level: of the coarsest output; levels beyond the last feature are pooled from it.
        num_iterations: how often it goes down and up.
        num_filters: of every output.
        combine_method: how maps are added: one of WeightedSum's.
        frozen: keep the batch normalizations' statistics in training.

    Returns:
        The maps of `min_level` to `max_level`, finest first.

    Raises:
        ConfigError: for a number or a method that is none of a pyramid, or maps that do not halve evenly.
    """
    _check_bifpn(min_level, max_level, num_iterations, num_filters, combine_method)
    nodes = _plan(min_level, max_level, len(features), num_iterations)
    num_outputs = max_level - min_level + 1
    numbers_of_uses = _count_uses(nodes, len(features), num_outputs)
    uses = [_branches(x, count) for x, count in zip(features, numbers_of_uses, strict=False)]
    for number, node in enumerate(nodes):
        inputs = []
        for place, (index, step) in enumerate(zip(node.inputs, node.steps, strict=True)):
            x = uses[index].pop(0)
            if x.shape[-1] != num_filters:
                block = f"{key}/node_input_blocks/{number}/{place}/1"
                layer = style.conv(num_filters, 1, f"{block}/0")
                x = style.normalized(layer, f"{block}/1", frozen=frozen)(x)
            inputs.append(_resample(x, step))
        _check_sizes(inputs, node.level, max_level)
        x = inputs[0]
        if len(inputs) > 1:
            x = WeightedSum(combine_method, name=at(f"{key}/node_combine_op/{number}"))(inputs)
            block = f"{key}/node_post_combine_block/{number}"
            layer = style.separable_conv(num_filters, 3, f"{block}/1", style_pointwise=True)
            x = style.normalized(layer, f"{block}/2", frozen=frozen)(style.activate(x))
        uses.append(_branches(x, numbers_of_uses[len(features) + number]))
    return [branches.pop(0) for branches in uses[-num_outputs:]]


def _check_bifpn(min_level, max_level, num_iterations, num_filters, combine_method) -> None:
    if combine_method not in WeightedSum.METHODS:
        raise ConfigError(
            f'pipeline.config: bifpn.combine_method is "{combine_method}"; choose one of: '
            f"{', '.join(WeightedSum.METHODS)}.{did_you_mean(combine_method, WeightedSum.METHODS)}"
        )
    for name, value in (("num_iterations", num_iterations), ("num_filters", num_filters)):
        if value < 1:
            raise ConfigError(
                f"pipeline.config: bifpn.{name} is {value}; it must be at least 1 "
                "(EfficientDet-D0 has num_iterations: 3 and num_filters: 64)"
            )
    if not 0 < min_level < max_level:
        raise ConfigError(
            f"pipeline.config: bifpn goes from min_level {min_level} to max_level {max_level}; "
            "it must go from a finer level to a coarser one, such as from 3 to 7"
        )


@dataclass(frozen=True)
class _Node:
    """One map of the pyramid: its level, which maps before it are added, and how many levels below each of them it is.

    Maps are numbered: first the features, then the nodes.
    """

    level: int
    inputs: tuple[int, ...]
    steps: tuple[int, ...]


def _plan(min_level: int, max_level: int, num_features: int, num_iterations: int) -> list[_Node]:
    """Return the nodes in the order in which they are numbered in the checkpoint."""
    nodes: list[_Node] = []

    def add(level: int, *inputs: tuple[int, int]) -> int:
        """Add a node whose inputs are pairs of a map's number and its level."""
        numbers, levels = zip(*inputs, strict=True)
        nodes.append(_Node(level, numbers, tuple(level - other for other in levels)))
        return num_features + len(nodes) - 1

    newest = {min_level + index: index for index in range(num_features)}
    for level in range(min_level + num_features, max_level + 1):
        newest[level] = add(level, (newest[level - 1], level - 1))
    for _ in range(num_iterations):
        down = {max_level: newest[max_level]}
        for level in reversed(range(min_level, max_level)):
            down[level] = add(level, (newest[level], level), (down[level + 1], level + 1))
        up = {min_level: down[min_level]}
        for level in range(min_level + 1, max_level + 1):
            passed = [(down[level], level)] if level < max_level else []
            up[level] = add(level, (newest[level], level), *passed, (up[level - 1], level - 1))
        newest = up
    return nodes


def _count_uses(nodes: Sequence[_Node], num_features: int, num_outputs: int) -> list[int]:
    """Return how often each map is used; the last ones once more, as outputs."""
    uses = [0] * (num_features + len(nodes))
    for node in nodes:
        for index in node.inputs:
            uses[index] += 1
    for index in range(len(uses) - num_outputs, len(uses)):
        uses[index] += 1
    return uses


def _branches(x, count: int) -> list:
    return list(Branches(count)(x)) if count > 1 else [x]


def _resample(x, step: int):
    """Return `x` [b, h, w, d] `step` levels coarser: pooled for 1, repeated for -1."""
    if step == 0:
        return x
    if step > 0:
        return keras.layers.MaxPooling2D(3, strides=2, padding="same")(x)
    return keras.layers.UpSampling2D(2, interpolation="nearest")(x)


def _check_sizes(maps, level: int, max_level: int) -> None:
    """Refuse maps to be added that are not of one size, where it is known."""
    sizes = {x.shape[1:3] for x in maps}
    if len(sizes) > 1:
        both = " and ".join(sorted(f"{height} x {width}" for height, width in sizes))
        raise ConfigError(
            f"pipeline.config: bifpn would add maps of {both} at level {level}; every level must be half as large as "
            f"the one before it: give image_resizer sides that are multiples of {2**max_level}"
        )
