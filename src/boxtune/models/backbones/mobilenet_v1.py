"""MobileNetV1 as a function from images to named feature maps."""

from collections.abc import Sequence
from itertools import count

import keras

from boxtune.models.backbones.common import pad
from boxtune.models.layers import ConvStyle, HalfSquares

STYLE = ConvStyle(
    initializer=lambda: keras.initializers.TruncatedNormal(stddev=0.09),
    regularizer=HalfSquares(0.00004),
    activation="relu6",
    batch_norm={"momentum": 0.9997, "epsilon": 1e-3, "center": True, "scale": True},
)
"""Where a configuration does not override its hyperparameters."""

# Output filters and stride of blocks 1 to 11: Howard et al. 2017, table 1.
_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5)


def build(
    images,
    key: str,
    style: ConvStyle,
    *,
    depth_multiplier=1.0,
    min_depth=16,
    last_filters: Sequence[int] = (1024, 1024),
    explicit_padding=False,
    frozen=False,
) -> dict[str, keras.KerasTensor]:
    """Build MobileNetV1 over `images` [b, h, w, 3] in [-1, 1].

    Source: Howard et al. 2017 (arXiv:1704.04861), table 1; the API's models.keras_models.mobilenet_v1, which multiplies
    the filters by the depth multiplier twice: so do its checkpoints.

    Args:
        images: the input.
        key: of the layers in the checkpoint.
        style: of all its convolutions.
        depth_multiplier: of the filters of every layer, twice.
        min_depth: the smallest number of filters.
        last_filters: of the blocks 12 and 13, before the depth multiplier.
        explicit_padding: pad by zeros on both sides instead of TensorFlow's "same".
        frozen: do not update the statistics of batch normalizations in training.

    Returns:
        The outputs of `block_1` to `block_13`.
    """
    numbers = count()

    def next_key() -> str:
        return f"{key}/layer_with_weights-{next(numbers)}"

    def normalized(x, layer):
        return style.activate(style.normalized(layer, next_key(), frozen=frozen)(x))

    def conv(x, filters, kernel_size=1, strides=1):
        x, padding = pad(x, kernel_size, explicit_padding)
        filters = max(int(int(filters * depth_multiplier) * depth_multiplier), min_depth)
        options = {"strides": strides, "padding": padding, "use_bias": False}
        return normalized(x, style.conv(filters, kernel_size, next_key(), **options))

    def depthwise(x, strides):
        x, padding = pad(x, 3, explicit_padding)
        options = {"strides": strides, "padding": padding, "use_bias": False}
        return normalized(x, style.depthwise_conv(3, next_key(), **options))

    features = {}
    x = conv(images, 32, kernel_size=3, strides=2)
    last = zip(last_filters, (2, 1), strict=True)
    for block, (filters, strides) in enumerate([*_BLOCKS, *last], start=1):
        x = features[f"block_{block}"] = conv(depthwise(x, strides), filters)
    return features
