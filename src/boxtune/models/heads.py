"""Box predictors: from a pyramid of feature maps to the box encodings and logits of every anchor.

Each takes the maps and the number of anchors per cell of each, and returns float box encodings [b, a, d] and logits
[b, a, c + 1], the first class being background; without `add_background_class` they are [b, a, c].
"""

from collections.abc import Sequence

import keras
from keras import ops

from boxtune.config import pipeline_pb2
from boxtune.errors import ConfigError
from boxtune.models.layers import Branches, ConvStyle, SharedByMaps, conv_style

KEY = "_box_predictor"
CLASS_HEADS = f"{KEY}/_prediction_heads/class_predictions_with_background"
"""Of the layers whose size is the number of classes."""


def weight_shared_convolutional(
    features: Sequence[keras.KerasTensor],
    per_location: Sequence[int],
    num_classes: int,
    section: pipeline_pb2.WeightSharedConvolutionalBoxPredictor,
    *,
    frozen: bool = False,
    add_background_class: bool = True,
):
    """Predict from every map with the same convolutions, but with a batch normalization of its own.

    Source: Lin et al. 2017 (arXiv:1708.02002), section 4; the API's WeightSharedConvolutionalBoxPredictor.
    """
    if len(set(per_location)) > 1:
        raise ConfigError(
            f"pipeline.config: the anchor generator has {', '.join(map(str, per_location))} anchors on a cell of its "
            "feature maps; weight_shared_convolutional_box_predictor needs as many on every one"
        )
    style = conv_style(section.conv_hyperparams)
    anchors, num_scores = per_location[0], num_classes + add_background_class
    towers = [_SharedTower(*keys, section, style, frozen) for keys in _tower_keys(section)]
    box_tower, class_tower = towers[0], towers[-1]
    box_head = _shared_head(
        anchors * section.box_code_size, f"{KEY}/_box_prediction_head/_box_encoder_layers/0", section, style
    )
    dropout = int(section.use_dropout)
    class_key = f"{CLASS_HEADS}/_class_predictor_layers/{dropout}"
    bias = section.class_prediction_bias_init
    class_head = _shared_head(anchors * num_scores, class_key, section, style, bias=bias)
    maps = _same_depth(features, style, frozen)
    if class_tower is box_tower:
        for_boxes = for_classes = box_tower(maps)
    else:
        pairs = [Branches(2)(x) for x in maps]
        for_boxes = box_tower([pair[0] for pair in pairs])
        for_classes = class_tower([pair[1] for pair in pairs])
    if dropout:
        for_classes = [keras.layers.Dropout(1 - section.dropout_keep_probability)(x) for x in for_classes]
    return _concatenate(box_head(for_boxes), class_head(for_classes), num_scores, section)


def aliases(section: pipeline_pb2.BoxPredictor, num_maps: int) -> dict[str, str]:
    """Return the keys of shared convolutions by those that they have among the layers of each map.

    In the API's object graph a tower of `weight_shared_convolutional_box_predictor` is a list of layers for each map,
    in which the convolutions, normalizations and activations alternate.
    """
    if not section.HasField("weight_shared_convolutional_box_predictor"):
        return {}
    shared = section.weight_shared_convolutional_box_predictor
    steps = _steps(conv_style(shared.conv_hyperparams))
    return {
        f"model/{norms}/{level}/{steps * index}": f"model/{convs}/{index}"
        for convs, norms in _tower_keys(shared)
        for level in range(num_maps)
        for index in range(shared.num_layers_before_predictor)
    }


def _tower_keys(section) -> list[tuple[str, str]]:
    """Return the keys of the convolutions, and of the layers of each map, of the towers for boxes and for classes.

    They may be one.
    """
    convs, norms = f"{KEY}/_head_scope_conv_layers", f"{KEY}/_base_tower_layers_for_heads"
    for_boxes = f"{norms}/box_encodings"
    if section.share_prediction_tower:
        return [(f"{convs}/PredictionTower", for_boxes)]
    for_classes = f"{norms}/class_predictions_with_background"
    return [(f"{convs}/BoxPredictionTower", for_boxes), (f"{convs}/ClassPredictionTower", for_classes)]


def _steps(style: ConvStyle) -> int:
    """Return how many layers there are for each convolution: itself, its normalization if any, and its activation."""
    return 2 if style.batch_norm is None else 3


class _SharedTower:
    """Convolutions before a head, shared by all maps; each map has its own normalizations between them."""

    def __init__(self, conv_key: str, norm_key: str, section, style: ConvStyle, frozen: bool):
        self.norm_key, self.style, self.frozen = norm_key, style, frozen
        make, options = style.conv, {}
        if section.use_depthwise:
            make = style.separable_conv
            options = {"style_pointwise": section.apply_conv_hyperparams_pointwise}
        use_bias = style.batch_norm is None or style.force_use_bias
        self.convolutions = [
            make(section.depth, section.kernel_size, f"{conv_key}/{index}", use_bias=use_bias, **options)
            for index in range(section.num_layers_before_predictor)
        ]

    def __call__(self, maps):
        steps = _steps(self.style)
        for index, convolution in enumerate(self.convolutions):
            keys = [f"{self.norm_key}/{level}/{steps * index + 1}" for level in range(len(maps))]
            normalizations = [self.style.normalization(key, frozen=self.frozen) for key in keys]
            shared = SharedByMaps(convolution, [each for each in normalizations if each is not None])
            maps = [self.style.activate(x) for x in shared(maps)]
        return maps


def _shared_head(filters: int, key: str, section, style: ConvStyle, bias: float = 0.0):
    if not section.use_depthwise:
        return SharedByMaps(style.conv(filters, section.kernel_size, key, use_bias=True, bias=bias))
    styled = section.apply_conv_hyperparams_to_heads
    separable = style.separable_conv(
        filters, section.kernel_size, key,
        use_bias=True, bias=bias, style_depthwise=styled, style_pointwise=styled,
    )  # fmt: skip
    return SharedByMaps(separable)


def _same_depth(features, style: ConvStyle, frozen: bool):
    """Project maps of different depths to the most frequent one, since shared convolutions need one depth."""
    depths = [feature.shape[-1] for feature in features]
    if len(set(depths)) == 1:
        return features
    depth = max(set(depths), key=depths.count)
    use_bias = style.batch_norm is None or style.force_use_bias
    maps = []
    for level, feature in enumerate(features):
        key = f"{KEY}/_additional_projection_layers/{level}"
        layer = style.conv(depth, 1, f"{key}/0", use_bias=use_bias)
        maps.append(style.normalized(layer, f"{key}/1", frozen=frozen)(feature))
    return maps


def convolutional(
    features: Sequence[keras.KerasTensor],
    per_location: Sequence[int],
    num_classes: int,
    section: pipeline_pb2.ConvolutionalBoxPredictor,
    *,
    frozen: bool = False,
    add_background_class: bool = True,
):
    """Predict from every map with convolutions of its own.

    Source: Liu et al. 2016 (SSD, arXiv:1512.02325), section 2.1; the API's ConvolutionalBoxPredictor.
    """
    style = conv_style(section.conv_hyperparams)
    heads = f"{KEY}/_prediction_heads"
    encodings, logits = [], []
    num_scores = num_classes + add_background_class
    for level, (feature, anchors) in enumerate(zip(features, per_location, strict=True)):
        for_boxes, for_classes = Branches(2)(_extra_layers(feature, level, section, style, frozen))
        box_key = f"{heads}/box_encodings/{level}/_box_encoder_layers"
        class_key = f"{CLASS_HEADS}/{level}/_class_predictor_layers"
        encodings.append(
            _own_head(for_boxes, anchors * section.box_code_size, box_key, section, style, frozen)
        )
        bias = section.class_prediction_bias_init
        logits.append(_own_head(for_classes, anchors * num_scores, class_key, section, style, frozen, bias))
    return _concatenate(encodings, logits, num_scores, section)


def _extra_layers(x, level: int, section, style: ConvStyle, frozen: bool):
    depth = max(min(x.shape[-1], section.max_depth), section.min_depth)
    if depth <= 0:
        return x
    for index in range(section.num_layers_before_predictor):
        key = f"{KEY}/_shared_nets/{level}"
        layer = style.conv(depth, 1, f"{key}/{3 * index}")
        x = style.activate(style.normalized(layer, f"{key}/{3 * index + 1}", frozen=frozen)(x))
    return x


def _own_head(x, filters: int, key: str, section, style: ConvStyle, frozen: bool, bias: float = 0.0):
    index = int(section.use_dropout)
    if section.use_dropout:
        x = keras.layers.Dropout(1 - section.dropout_keep_probability)(x)
    if not section.use_depthwise:
        return style.conv(filters, section.kernel_size, f"{key}/{index}", use_bias=True, bias=bias)(x)
    layer = style.depthwise_conv(section.kernel_size, f"{key}/{index}", styled=False)
    x = style.activate(style.normalized(layer, f"{key}/{index + 1}", frozen=frozen)(x))
    return style.conv(filters, 1, f"{key}/{index + 3}", use_bias=True)(x)


def _concatenate(encodings, logits, num_scores: int, section):
    """Concatenate the maps' predictions [b, h, w, ...] to [b, a, d] and [b, a, c + 1]."""

    def concatenate(maps, depth: int):
        rows = [keras.layers.Reshape((-1, depth))(x) for x in maps]
        return keras.layers.Concatenate(axis=1)(rows) if len(rows) > 1 else rows[0]

    encodings = concatenate(encodings, section.box_code_size)
    if section.HasField("box_encodings_clip_range"):
        limits = section.box_encodings_clip_range
        encodings = ops.clip(encodings, limits.min, limits.max)
    return encodings, concatenate(logits, num_scores)
