"""From the feature maps of a backbone to the pyramid from which boxes are predicted."""

import keras

from boxtune.models.backbones.common import pad
from boxtune.models.layers import ConvStyle, CropTo, UpSampling2D


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

    Their keys end in /0, /1 and /2, one higher with explicit padding, which is a layer of its own.
    """
    x, padding = pad(x, 3, explicit_padding)
    first = int(explicit_padding)
    make = style.separable_conv if use_depthwise else style.conv
    layer = make(filters, 3, f"{key}/{first}", strides=strides, padding=padding)
    return style.activate(style.normalized(layer, f"{key}/{first + 1}", frozen=frozen)(x))


def feature_pyramid(features, depth: int, key: str, style: ConvStyle, *, explicit_padding=False, **options):
    """Add coarse maps to the finer ones, from the top down.

    Source: Lin et al. 2016 (FPN, arXiv:1612.03144), section 3; the API's KerasFpnTopDownFeatureMaps.

    Args:
        features: maps, finest first, each half as large as the one before.
        key: of the layers in the checkpoint.
        style: of the convolutions.
        explicit_padding: pad by zeros instead of TensorFlow's "same".
        options: of conv_block.

    Returns:
        As many maps, finest first.
    """
    top_down = style.conv(depth, 1, f"{key}/top_layers/0", use_bias=True)(features[-1])
    pyramid = [top_down]
    for index, feature in enumerate(reversed(features[:-1])):
        lateral = style.conv(depth, 1, f"{key}/residual_blocks/{index}/0", use_bias=True)(feature)
        upsampled = UpSampling2D()(top_down)
        if explicit_padding:
            upsampled = CropTo()(upsampled, lateral)
        added = keras.layers.Add()([upsampled, lateral])
        block = f"{key}/conv_layers/{index}"
        top_down = conv_block(added, depth, block, style, explicit_padding=explicit_padding, **options)
        pyramid.append(top_down)
    return pyramid[::-1]


def coarser_levels(x, count: int, depth: int, key: str, style: ConvStyle, **options):
    """Return `count` further maps, each half as large as the one before, starting from `x`; `options` of conv_block."""
    levels = []
    for index in range(count):
        x = conv_block(x, depth, f"{key}/{index}", style, strides=2, **options)
        levels.append(x)
    return levels


def multi_resolution(
    features, depths, key: str, style: ConvStyle, *, use_depthwise=False, explicit_padding=False, frozen=False
):
    """Return `features` followed by smaller and smaller maps of `depths` filters, as in SSD.

    Each new map is the one before it, reduced to half the depth and convolved with stride 2.
    Source: Liu et al. 2016 (SSD, arXiv:1512.02325), section 2.1; the API's KerasMultiResolutionFeatureMaps.

    Args:
        features: the backbone's maps, finest first.
        depths: pairs of the filters in the reducing and in the output layer of each new map.
        key: of the layers in the checkpoint; the numbers of new maps continue those of the given ones.
        style: of the convolutions.
        use_depthwise: a depthwise and a pointwise convolution in place of each plain one of 3 x 3.
        explicit_padding: pad by zeros instead of TensorFlow's "same".
        frozen: keep the batch normalizations' statistics in training.
    """
    maps = list(features)
    for index, (reduced, depth) in enumerate(depths, start=len(maps)):
        level = f"{key}/{index}"

        def block(x, layer, number, level=level):
            return style.activate(style.normalized(layer, f"{level}/{number}", frozen=frozen)(x))

        x = block(maps[-1], style.conv(reduced, 1, f"{level}/0"), 1)
        x, padding = pad(x, 3, explicit_padding)
        first = 3 + int(explicit_padding)
        if use_depthwise:
            x = block(x, style.depthwise_conv(3, f"{level}/{first}", strides=2, padding=padding, styled=False),
                      first + 1)  # fmt: skip
            x = block(x, style.conv(depth, 1, f"{level}/{first + 3}"), first + 4)
        else:
            x = block(x, style.conv(depth, 3, f"{level}/{first}", strides=2, padding=padding), first + 1)
        maps.append(x)
    return maps
