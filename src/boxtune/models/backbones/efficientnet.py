"""EfficientNet as a function from images to named feature maps."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import keras

from boxtune.models.backbones.common import NumberedLayers, divisible
from boxtune.models.keys import at
from boxtune.models.layers import (
    Branches,
    Conv2D,
    ConvStyle,
    GlobalAveragePooling2D,
    HalfSquares,
    Unused,
)

STYLE = ConvStyle(
    initializer=lambda: keras.initializers.VarianceScaling(2.0, "fan_out", "truncated_normal"),
    regularizer=HalfSquares(1e-5),
    activation="silu",
    batch_norm={"momentum": 0.99, "epsilon": 1e-3, "center": True, "scale": True},
)

# Multipliers of the filters and of the blocks of a stage.
SIZES = {
    "b0": (1.0, 1.0),
    "b1": (1.0, 1.1),
    "b2": (1.1, 1.2),
    "b3": (1.2, 1.4),
    "b4": (1.4, 1.8),
    "b5": (1.6, 2.2),
    "b6": (1.8, 2.6),
    "b7": (2.0, 3.1),
}

# Expansion, output filters, blocks, kernel size and first stride of each stage: Tan and Le 2019, table 1.
_STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)

# The API takes the map of a level after this block, whatever the depth: a deeper network has more blocks of that stage.
_ENDS = {(0, 0): 1, (1, 1): 2, (2, 1): 3, (4, 2): 4, (6, 0): 5}
HIGHEST_LEVEL = 5

_LAST_DROP_RATE = 0.2  # of whole blocks, reached linearly
_NUM_LABELS = 1000  # of ImageNet


class Block(NamedTuple):
    """An inverted residual block with squeeze and excitation."""

    expansion: int
    filters: int
    kernel_size: int
    strides: int
    drop_rate: float
    """How often training leaves out what the block adds to its input."""
    level: int | None
    """The level of its output, if that is the map of a level."""


def blocks(size: str) -> list[Block]:
    """Return the blocks of a size, such as "b0".

    The rates of dropping rise by the number of blocks of b0, as in the API: the last blocks of larger sizes are dropped
    more often than the paper says.
    """
    width, depth = SIZES[size]
    blocks_of_b0 = sum(repeats for _, _, repeats, _, _ in _STAGES)
    found: list[Block] = []
    for stage, (expansion, filters, repeats, kernel_size, first_stride) in enumerate(_STAGES):
        for repeat in range(math.ceil(depth * repeats)):
            found.append(
                Block(
                    expansion,
                    divisible(filters * width),
                    kernel_size,
                    strides=first_stride if repeat == 0 else 1,
                    drop_rate=_LAST_DROP_RATE * len(found) / blocks_of_b0,
                    level=_ENDS.get((stage, repeat)),
                )
            )
    return found


def build(
    images, key: str, key_of_rest: str, size: str, *, levels: Sequence[int], frozen=False
) -> dict[int, keras.KerasTensor]:
    """Build EfficientNet over `images` [b, h, w, 3], normalized by the mean and deviation of ImageNet.

    Source: Tan and Le 2019 (arXiv:1905.11946), table 1; the API's official.vision.image_classification.efficientnet.

    Args:
        key: of the layers in the checkpoint.
        key_of_rest: of the layers after the highest of `levels`, up to the classes of ImageNet: checkpoints of the API
            have their variables, but nothing is computed by them.
        size: one of SIZES.
        levels: from 1 to 5, ascending: which maps to return; the sides of level l are 1/2^l of the images'.
        frozen: do not update the statistics of batch normalizations in training.

    Returns:
        The map of each level.
    """
    all_blocks = blocks(size)
    ends = [block.level for block in all_blocks].index(levels[-1]) + 1
    width, _ = SIZES[size]
    layers = _Layers(key, STYLE, frozen)
    x = layers.conv(images, divisible(32 * width), kernel_size=3, strides=2)
    features = {}
    for block in all_blocks[: ends - 1]:
        x = layers.block(x, block)
        if block.level is not None and block.level in levels:
            features[block.level], x = Branches(2)(x)
    x = layers.block(x, all_blocks[ends - 1])

    layers.key = key_of_rest
    inputs = keras.Input(x.shape[1:])
    rest = inputs
    for block in all_blocks[ends:]:
        rest = layers.block(rest, block._replace(drop_rate=0.0))
    classes = layers.classify(rest, divisible(1280 * width))
    features[levels[-1]] = Unused(keras.Model(inputs, classes))(x)
    return features


class _Layers(NumberedLayers):
    def block(self, x, block: Block):
        """Return the output of `block` for `x` [b, h, w, d]."""
        inputs, depth = x, x.shape[-1]
        if block.expansion > 1:
            x = self.conv(x, block.expansion * depth)
        # The API means to regularize these kernels, too, but Keras 2 ignored it.
        style = replace(STYLE, regularizer=None)
        layer = style.depthwise_conv(
            block.kernel_size, self.next_key(), strides=block.strides, use_bias=False
        )
        x = self._excited(self.normalized(layer, x), depth // 4)
        x = self.conv(x, block.filters, activate=False)
        if block.strides > 1 or depth != block.filters:
            return x
        if block.drop_rate:
            x = keras.layers.Dropout(block.drop_rate, noise_shape=(None, 1, 1, 1))(x)
        return keras.layers.Add()([x, inputs])

    def classify(self, x, filters: int):
        """Return the logits of ImageNet's classes."""
        x = keras.layers.GlobalAveragePooling2D()(self.conv(x, filters))
        logits = keras.layers.Dense(
            _NUM_LABELS,
            kernel_initializer=keras.initializers.VarianceScaling(1 / 3, "fan_out", "uniform"),
            kernel_regularizer=STYLE.regularizer,
            bias_regularizer=STYLE.regularizer,
            name=at(self.next_key()),
        )
        return logits(x)

    def _excited(self, x, reduced: int):
        """Return `x` [b, h, w, d] with each channel weighed by what the others are in the mean."""
        weights = GlobalAveragePooling2D()(x)
        weights = STYLE.activate(self._conv_with_bias(reduced)(weights))
        weights = keras.layers.Activation("sigmoid")(self._conv_with_bias(x.shape[-1])(weights))
        return keras.layers.Multiply()([x, weights])

    def _conv_with_bias(self, filters: int):
        return Conv2D(
            filters,
            1,
            kernel_initializer=STYLE.initializer(),
            kernel_regularizer=STYLE.regularizer,
            bias_regularizer=STYLE.regularizer,
            name=at(self.next_key()),
        )
