"""From the feature maps of a backbone to the pyramid that boxes are predicted from."""

import keras

from boxtune.models.backbones import pad
from boxtune.models.layers import ConvStyle, CropTo


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
    x = make(filters, 3, f"{key}/{first}", strides=strides, padding=padding)(x)
    return style.activate(style.normalize(x, f"{key}/{first + 1}", frozen=frozen))


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
            return style.activate(style.normalize(layer(x), f"{place}/{number}", frozen=frozen))

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
