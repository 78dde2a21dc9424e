"""EfficientDet's bidirectional feature pyramid."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
from keras import ops

from boxtune.errors import ConfigError, did_you_mean
from boxtune.models.keys import at
from boxtune.models.layers import Branches, ConvStyle, UpSampling2D


class WeightedSum(keras.layers.Layer):
    """Adds maps of one shape, each multiplied by a learned weight.

    `fast_attention` divides the weights, clipped at 0, by their sum; `weighted_sum` uses them as they are; `sum` has
    none. `attention` has weights that change nothing: the API takes the softmax of each weight alone, which is 1.
    Source: Tan et al. 2019 (EfficientDet, arXiv:1911.09070), section 3.3; the API's
    BiFPNCombineLayer.
    """

    METHODS = ("fast_attention", "attention", "weighted_sum", "sum")

    def __init__(self, method: str = "fast_attention", **kwargs):
        super().__init__(**kwargs)
        self.method = method

    def build(self, shapes):
        """Create a weight for each map."""
        if self.method != "sum":
            self.map_weights = self.add_weight(
                name="bifpn_combine_weights", shape=(len(shapes), 1), initializer="ones"
            )

    def call(self, maps):
        """Return the sum of `maps`, each [b, h, w, d]."""
        if self.method == "sum":
            return sum(maps[1:], start=maps[0])
        weights = ops.convert_to_tensor(self.map_weights)[:, 0]
        if self.method == "attention":
            weights = ops.ones_like(weights) + 0 * weights
        elif self.method == "fast_attention":
            positive = ops.relu(weights)
            weights = positive / (ops.sum(positive) + 1e-4)
        terms = [x * weight for x, weight in zip(maps, ops.unstack(weights, len(maps)), strict=True)]
        return sum(terms[1:], start=terms[0])

    def compute_output_shape(self, shapes):
        """Return the shape that all maps have."""
        return shapes[0]


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
    """Add maps of all levels to one another, top-down and bottom-up, several times.

    Source: Tan et al. 2019 (EfficientDet, arXiv:1911.09070), section 3; the API's KerasBiFpnFeatureMaps.

    Args:
        features: maps of the levels from `min_level` on, finest first, each half as large as the one before.
        key: of the layers in the checkpoint.
        min_level: of the finest output.
        max_level: of the coarsest output; levels beyond the last feature are pooled from it.
        num_iterations: of going down and up.
        combine_method: how maps are added: one of WeightedSum's.
        frozen: keep the batch normalizations' statistics in training.

    Returns:
        The maps of `min_level` to `max_level`, finest first.

    Raises:
        ConfigError: for an invalid number or method, and for maps that do not halve evenly.
    """
    _check_bifpn(min_level, max_level, num_iterations, num_filters, combine_method)
    nodes = _plan(min_level, max_level, len(features), num_iterations)
    num_outputs = max_level - min_level + 1
    numbers_of_uses = _count_uses(nodes, len(features), num_outputs)
    uses = [_branches(x, count) for x, count in zip(features, numbers_of_uses, strict=False)]
    for number, node in enumerate(nodes):
        inputs = []
        for position, (index, step) in enumerate(zip(node.inputs, node.steps, strict=True)):
            x = uses[index].pop(0)
            if x.shape[-1] != num_filters:
                block = f"{key}/node_input_blocks/{number}/{position}/1"
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
    """A map of the pyramid: its level, the maps that it adds, and how many levels coarser it is than each.

    Maps are numbered: the features first, then the nodes.
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
    """Return how often each map is used, counting the outputs."""
    num_maps = num_features + len(nodes)
    used = [*(index for node in nodes for index in node.inputs), *range(num_maps - num_outputs, num_maps)]
    return [used.count(index) for index in range(num_maps)]


def _branches(x, count: int) -> list:
    return list(Branches(count)(x)) if count > 1 else [x]


def _resample(x, step: int):
    """Return `x` [b, h, w, d] `step` levels coarser: pooled for 1, repeated for -1."""
    if step == 0:
        return x
    if step > 0:
        return keras.layers.MaxPooling2D(3, strides=2, padding="same")(x)
    return UpSampling2D()(x)


def _check_sizes(maps, level: int, max_level: int) -> None:
    """Refuse to add maps of several sizes, where they are known."""
    sizes = {x.shape[1:3] for x in maps}
    if len(sizes) > 1:
        both = " and ".join(sorted(f"{height} x {width}" for height, width in sizes))
        raise ConfigError(
            f"pipeline.config: bifpn would add maps of {both} at level {level}; every level must be half as large as "
            f"the one before it: give image_resizer sides that are multiples of {2**max_level}"
        )
