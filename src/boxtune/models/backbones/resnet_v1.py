"""ResNet (version 1) of bottlenecks as a function from images to named feature maps."""

from collections.abc import Sequence
from itertools import count

import keras

from boxtune.models.backbones.common import pad
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
        images: the input.
        blocks: how many each stage has, such as RESNET50.
        key: of the layers in the checkpoint.
        style: of all its convolutions.
        depth_multiplier: of the filters of every layer.
        min_depth: the smallest number of filters.
        frozen: do not update the statistics of batch normalizations in training.

    Returns:
        The outputs of the stages, `stage_2` to `stage_5`: of a 4th, 8th, 16th and 32nd of the sides of the images.
    """
    numbers = count()

    def next_key() -> str:
        return f"{key}/layer_with_weights-{next(numbers)}"

    def conv(filters, kernel_size, layer_key, **options):
        filters = max(int(filters * depth_multiplier), min_depth)
        return style.conv(filters, kernel_size, layer_key, use_bias=False, **options)

    def normalized(layer, layer_key):
        return style.normalized(layer, layer_key, frozen=frozen)

    def bottleneck(x, filters, widen):
        shortcut = x
        for kernel_size in (1, 3):
            x = style.activate(normalized(conv(filters, kernel_size, next_key()), next_key())(x))
        if widen:
            # Keras numbers both convolutions before both normalizations.
            conv_keys, norm_keys = [next_key(), next_key()], [next_key(), next_key()]
            shortcut = normalized(conv(4 * filters, 1, conv_keys[0]), norm_keys[0])(shortcut)
            x = normalized(conv(4 * filters, 1, conv_keys[1]), norm_keys[1])(x)
        else:
            x = normalized(conv(4 * filters, 1, next_key()), next_key())(x)
        return style.activate(keras.layers.Add()([shortcut, x]))

    x, padding = pad(images, 7, explicit=True)
    x = normalized(conv(64, 7, next_key(), strides=2, padding=padding), next_key())(x)
    x = keras.layers.MaxPooling2D(3, strides=2, padding="same")(style.activate(x))
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
