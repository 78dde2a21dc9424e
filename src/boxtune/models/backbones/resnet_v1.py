"""ResNet (version 1) of bottlenecks as a function from images to named feature maps."""

from collections.abc import Sequence

import keras

from boxtune.models.backbones.common import NumberedLayers, pad
from boxtune.models.layers import ConvStyle, HalfSquares

STYLE = ConvStyle(
    initializer=keras.initializers.VarianceScaling,
    regularizer=HalfSquares(0.0002),
    activation="relu",
    batch_norm={"momentum": 0.997, "epsilon": 1e-5, "center": True, "scale": True},
)
"""Where a configuration does not override its hyperparameters."""

RESNET50, RESNET101, RESNET152 = (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)
"""The numbers of blocks in the four stages: He et al. 2015, table 1."""


def build(
    images,
    blocks: Sequence[int],
    key: str,
    style: ConvStyle,
    *,
    depth_multiplier=1.0,
    min_depth=16,
    frozen=False,
) -> dict[str, keras.KerasTensor]:
    """Build a ResNet over `images` [b, h, w, 3] less the means of ImageNet's channels.

    Source: He et al. 2015 (arXiv:1512.03385), table 1 and figure 5; the API's models.keras_models.resnet_v1, which has
    the stride of a stage in its first convolution of 1 x 1, and no biases.

    Args:
        blocks: how many each stage has, such as RESNET50.
        key: of the layers in the checkpoint.
        depth_multiplier: of the filters of every layer.
        frozen: do not update the statistics of batch normalizations in training.

    Returns:
        The outputs of the stages, `stage_2` to `stage_5`: of a 4th, 8th, 16th and 32nd of the sides of the images.
    """
    layers = NumberedLayers(key, style, frozen)

    def width(filters):
        return max(int(filters * depth_multiplier), min_depth)

    def bottleneck(x, filters, widen):
        shortcut = x
        for kernel_size in (1, 3):
            x = layers.conv(x, width(filters), kernel_size)
        if widen:
            # Keras numbers both convolutions before both normalizations.
            first, second = (
                style.conv(width(4 * filters), 1, layers.next_key(), use_bias=False) for _ in range(2)
            )
            shortcut = layers.normalized(first, shortcut, activate=False)
            x = layers.normalized(second, x, activate=False)
        else:
            x = layers.conv(x, width(4 * filters), activate=False)
        return style.activate(keras.layers.Add()([shortcut, x]))

    x, padding = pad(images, 7, explicit=True)
    first = style.conv(width(64), 7, layers.next_key(), strides=2, padding=padding, use_bias=False)
    x = keras.layers.MaxPooling2D(3, strides=2, padding="same")(layers.normalized(first, x))
    features = {}
    for stage, repeats in enumerate(blocks, start=2):
        if stage > 2:
            # Both convolutions of 1 x 1 and stride 2 see these pixels. Taken once, they also are one use of the map,
            # not two: its gradient remains a sum of two, even where a pyramid uses it.
            x = x[:, ::2, ::2]
        for repeat in range(repeats):
            x = bottleneck(x, 2 ** (stage + 4), widen=repeat == 0)
        features[f"stage_{stage}"] = x
    return features
