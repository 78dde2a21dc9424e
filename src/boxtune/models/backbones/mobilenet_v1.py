"""MobileNetV1 as a function from images to named feature maps."""

from collections.abc import Sequence

import keras

from boxtune.models.backbones.common import NumberedLayers
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
        key: of the layers in the checkpoint.
        depth_multiplier: of the filters of every layer, twice.
        last_filters: of the blocks 12 and 13, before the depth multiplier.
        explicit_padding: pad by zeros on both sides instead of TensorFlow's "same".
        frozen: do not update the statistics of batch normalizations in training.

    Returns:
        The outputs of `block_1` to `block_13`.
    """
    layers = NumberedLayers(key, style, frozen, explicit_padding)

    def conv(x, filters, **options):
        filters = max(int(int(filters * depth_multiplier) * depth_multiplier), min_depth)
        return layers.conv(x, filters, **options)

    features = {}
    x = conv(images, 32, kernel_size=3, strides=2)
    last = zip(last_filters, (2, 1), strict=True)
    for block, (filters, strides) in enumerate([*_BLOCKS, *last], start=1):
        x = features[f"block_{block}"] = conv(layers.depthwise(x, strides=strides), filters)
    return features
