"""MobileNetV2 as a function from images to named feature maps."""

import keras

from boxtune.models.backbones.common import NumberedLayers, divisible
from boxtune.models.layers import ConvStyle, HalfSquares

STYLE = ConvStyle(
    initializer=lambda: keras.initializers.TruncatedNormal(stddev=0.09),
    regularizer=HalfSquares(0.00004),
    activation="relu6",
    batch_norm={"momentum": 0.9997, "epsilon": 1e-3, "center": True, "scale": True},
)
"""Where a configuration does not override its hyperparameters."""

# Expansion, output filters, blocks and first stride of each stage: Sandler et al. 2018, table 2.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def build(
    images,
    key: str,
    style: ConvStyle,
    *,
    depth_multiplier=1.0,
    min_depth=16,
    explicit_padding=False,
    frozen=False,
) -> dict[str, keras.KerasTensor]:
    """Build MobileNetV2 over `images` [b, h, w, 3] in [-1, 1].

    Source: Sandler et al. 2018 (arXiv:1801.04381), table 2; the API's models.keras_models.mobilenet_v2, whose widths
    differ from Keras' own in the last layer and by `min_depth`.

    Args:
        key: of the layers in the checkpoint.
        depth_multiplier: of the filters of every layer.
        min_depth: the smallest number of filters of layers that do not expand.
        explicit_padding: pad by zeros on both sides instead of TensorFlow's "same".
        frozen: do not update the statistics of batch normalizations in training.

    Returns:
        The outputs of `block_1` to `block_16`, of the first layer of `block_13` (`block_13_expand`), and of the last
        layer (`out`).
    """
    layers = NumberedLayers(key, style, frozen, explicit_padding)
    features = {}
    x = layers.conv(images, max(divisible(32 * depth_multiplier), min_depth), kernel_size=3, strides=2)
    block = 0
    for expansion, filters, repeats, first_stride in _STAGES:
        width = divisible(int(filters * depth_multiplier))
        for repeat in range(repeats):
            strides = first_stride if repeat == 0 else 1
            inputs, depth = x, x.shape[-1]
            if block:
                x = features[f"block_{block}_expand"] = layers.conv(x, expansion * depth)
            x = layers.depthwise(x, strides=strides)
            x = layers.conv(x, max(width, min_depth), activate=False)
            # Where min_depth widens a block the API has no shortcut: it compares the width before that.
            if strides == 1 and depth == width:
                x = keras.layers.Add()([inputs, x])
            features[f"block_{block}"] = x
            block += 1
    last = 1280 if depth_multiplier >= 1 else divisible(1280 * depth_multiplier)
    features["out"] = layers.conv(x, max(last, min_depth))
    return features
