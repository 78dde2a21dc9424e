"""The names that TensorFlow 1 gave to the variables of the API's SSDs.

Its checkpoints name a variable by scopes: `FeatureExtractor/MobilenetV2/expanded_conv_3/expand/weights`, for which
later ones have the key `model/_feature_extractor/classification_backbone/layer_with_weights-18/kernel`. The values are
laid out alike. Checkpoints of slim's classification networks have the names of a backbone without `FeatureExtractor`.

A scope holds a convolution and, under `BatchNorm`, its normalization. Both versions have the same lists of layers in
the same order, but the numbers in names begin anywhere, and those in keys have gaps, since activations, padding and
dropout count, too. So the n-th layer of a list in the checkpoint is the n-th of that list in the model.

Source: the API's models.ssd_*_feature_extractor, models.feature_map_generators and predictors; slim's nets.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from boxtune.errors import CheckpointError
from boxtune.models.heads import CLASS_HEADS
from boxtune.models.heads import KEY as HEADS
from boxtune.models.keys import ROOT
from boxtune.models.ssd_features import BACKBONE, FEATURES

Order = tuple[float, ...]
"""Numbers by which the layers of a list are sorted."""

_LAYERS = f"{BACKBONE}/layer_with_weights-{{}}"
_FPN = f"{FEATURES}/_fpn_features_generator"
_HEADS = f"{HEADS}/_prediction_heads"
_BOXES, _CLASSES = "box_encodings", "class_predictions_with_background"
_TOWERS, _NORMS = f"{HEADS}/_head_scope_conv_layers", f"{HEADS}/_base_tower_layers_for_heads"
_SHARED = "WeightSharedConvolutionalBoxPredictor"
_NUMBER = r"(\d{1,3})"
_MAP = rf"_([12])_Conv2d_{_NUMBER}_(?:1x1|3x3_s2)_\d+(_depthwise)?"
_OF_BLOCK = ("expand", "depthwise", "project")


def _of_map(step: str, level: str, depthwise: str | None) -> Order:
    """Return the order of a convolution that makes a smaller map: a reduced one (1), then one with a stride (2)."""
    return int(level), int(step), not depthwise


def _of_prediction(level: str, depthwise: str | None) -> Order:
    return int(level), not depthwise


def _numbers(*groups: str) -> Order:
    return tuple(map(int, groups))


def _downwards(level: str) -> Order:
    return (-int(level),)


SCOPES: tuple[tuple[str, str, Callable[..., Order]], ...] = (
    (_LAYERS, r"MobilenetV1/Conv2d_0", lambda: (0,)),
    (
        _LAYERS,
        rf"MobilenetV1/Conv2d_{_NUMBER}_(depthwise|pointwise)",
        lambda n, part: (int(n), part == "pointwise"),
    ),
    (_LAYERS, r"MobilenetV2/Conv", lambda: (-1,)),
    (
        _LAYERS,
        rf"MobilenetV2/expanded_conv(?:_{_NUMBER})?/(expand|depthwise|project)",
        lambda n, part: (int(n or 0), _OF_BLOCK.index(part)),
    ),
    (_LAYERS, r"MobilenetV2/Conv_1", lambda: (1000,)),
    (
        f"{FEATURES}/_feature_map_generator/convolutions/{{}}/{{}}",
        rf"MobilenetV1/Conv2d_13_pointwise{_MAP}",
        _of_map,
    ),
    (f"{FEATURES}/feature_map_generator/convolutions/{{}}/{{}}", rf"MobilenetV2/layer_19{_MAP}", _of_map),
    (f"{_FPN}/top_layers/{{}}", r"\w+/fpn/projection_top", lambda: (0,)),
    (f"{_FPN}/residual_blocks/{{}}/{{}}", rf"\w+/fpn/projection_{_NUMBER}", _downwards),
    (f"{_FPN}/conv_layers/{{}}/{{}}", rf"\w+/fpn/smoothing_{_NUMBER}", _downwards),
    (f"{FEATURES}/_coarse_feature_layers/{{}}/{{}}", rf"\w+/fpn/bottom_up_Conv2d_{_NUMBER}", _numbers),
    (f"{HEADS}/_shared_nets/{{}}/{{}}", rf"BoxPredictor_{_NUMBER}/Conv2d_{_NUMBER}_1x1_\d+", _numbers),
    (
        f"{_HEADS}/{_BOXES}/{{}}/_box_encoder_layers/{{}}",
        rf"BoxPredictor_{_NUMBER}/BoxEncodingPredictor(_depthwise)?",
        _of_prediction,
    ),
    (
        f"{CLASS_HEADS}/{{}}/_class_predictor_layers/{{}}",
        rf"BoxPredictor_{_NUMBER}/ClassPredictor(_depthwise)?",
        _of_prediction,
    ),
    (
        f"{HEADS}/_additional_projection_layers/{{}}/{{}}",
        rf"{_SHARED}/ProjectionLayer/conv2d_{_NUMBER}",
        _numbers,
    ),
    (f"{_TOWERS}/PredictionTower/{{}}", rf"{_SHARED}/PredictionTower/conv2d_{_NUMBER}", _numbers),
    (f"{_TOWERS}/BoxPredictionTower/{{}}", rf"{_SHARED}/BoxPredictionTower/conv2d_{_NUMBER}", _numbers),
    (f"{_TOWERS}/ClassPredictionTower/{{}}", rf"{_SHARED}/ClassPredictionTower/conv2d_{_NUMBER}", _numbers),
    (
        f"{_NORMS}/{_BOXES}/{{}}/{{}}",
        rf"{_SHARED}/(?:Box)?PredictionTower/conv2d_{_NUMBER}/BatchNorm/feature_{_NUMBER}",
        lambda index, level: (int(level), int(index)),
    ),
    (
        f"{_NORMS}/{_CLASSES}/{{}}/{{}}",
        rf"{_SHARED}/ClassPredictionTower/conv2d_{_NUMBER}/BatchNorm/feature_{_NUMBER}",
        lambda index, level: (int(level), int(index)),
    ),
    (f"{HEADS}/_box_prediction_head/_box_encoder_layers/{{}}", rf"{_SHARED}/BoxPredictor", lambda: (0,)),
    (f"{CLASS_HEADS}/_class_predictor_layers/{{}}", rf"{_SHARED}/ClassPredictor", lambda: (0,)),
)
"""A list of layers, as a key with "{}" for numbers; what matches its scopes, without FeatureExtractor; their order."""

_VARIABLES = {
    "weights": "kernel",
    "biases": "bias",
    "depthwise_weights": "depthwise_kernel",
    "pointwise_weights": "pointwise_kernel",
} | {name: name for name in ("gamma", "beta", "moving_mean", "moving_variance")}

WITHOUT_USE = (
    r"global_step",
    r"beta[12]_power",  # of the optimizer Adam
    r".+/(Adadelta|Adagrad|Adam|Momentum|RMSProp)(_\d+)?",  # of the optimizer, beside each variable
    r".+/ExponentialMovingAverage",  # the API, too, starts from the variables themselves
    r"(.+/)?\w*_quant/.+",  # the ranges of a training for 8 bits
    r"\w+/Logits/.+",  # the classes of a classification network
)
"""What matches the names of variables from which no detector starts."""


def keys_by_name(names: Iterable[str], shapes: Mapping[str, Sequence[int]]) -> dict[str, str | None]:
    """Return the key of each variable of a checkpoint of TensorFlow 1, None for those of `WITHOUT_USE`.

    Variables that no SSD has are left out. Those that the model lacks keep their names, below its part of the model.

    Args:
        names: of all variables of the checkpoint.
        shapes: of all variables of the model, by their keys.

    Raises:
        CheckpointError: for a model that was another network under TensorFlow 1.
    """
    _require_same_network(shapes)
    names = list(names)
    without_use = {name for name in names if any(re.fullmatch(pattern, name) for pattern in WITHOUT_USE)}
    # The highest number of the projections of a pyramid is that of its top.
    projections = (re.search(rf"/fpn/projection_{_NUMBER}/", name) for name in names)
    top = max((match[1] for match in projections if match), key=int, default="")
    places = {name: _place(name, top) for name in names if name not in without_use}
    known = {name: place for name, place in places.items() if place is not None}
    numbers = _numbers_in_model(known.values(), shapes)
    result: dict[str, str | None] = dict.fromkeys(without_use)
    for name, place in known.items():
        if (place.layers, place.order) in numbers:
            layer = place.layers.format(*numbers[place.layers, place.order])
            result[name] = f"{ROOT}/{layer}/{place.variable}"
        else:
            part = place.layers.partition("{")[0].rpartition("/")[0]
            result[name] = f"{ROOT}/{part}/{name}"
    return result


def _require_same_network(shapes: Mapping[str, Sequence[int]]) -> None:
    """Refuse a MobileNetV2 whose first block has as many outputs as inputs: TensorFlow 1 had a shortcut there."""
    first, depthwise, last = (f"{ROOT}/{_LAYERS.format(number)}" for number in (0, 2, 4))
    if f"{depthwise}/depthwise_kernel" not in shapes:
        return
    if shapes[f"{first}/kernel"][-1] == shapes[f"{last}/kernel"][-1]:
        filters = shapes[f"{first}/kernel"][-1]
        raise CheckpointError(
            f"model.ssd.feature_extractor.depth_multiplier makes {filters} filters in the first layer; so narrow a "
            "MobileNet was another network under TensorFlow 1: use a checkpoint of TensorFlow 2, or depth_multiplier: 1"
        )


class _Place(NamedTuple):
    """Where a variable is: the list of its layer, the layer's order there, and the variable's name in keys."""

    layers: str
    order: Order
    variable: str


def _place(name: str, top: str) -> _Place | None:
    """Return the place of a variable, `top` being the number of a pyramid's top; None if no SSD has it."""
    scope, _, variable = name.removeprefix("FeatureExtractor/").rpartition("/")
    convolution = scope.removesuffix("/BatchNorm")
    if variable not in _VARIABLES:
        return None
    of_norm = 0.5 if convolution != scope else 0
    convolution = re.sub(rf"/fpn/projection_{top}$", "/fpn/projection_top", convolution)
    for layers, pattern, order_of in SCOPES:
        if match := re.fullmatch(pattern, convolution):
            *first, last = order_of(*match.groups())
            return _Place(layers, (*first, last + of_norm), _VARIABLES[variable])
    return None


def _numbers_in_model(
    places: Iterable[_Place], keys: Iterable[str]
) -> dict[tuple[str, Order], tuple[float, ...]]:
    """Return the numbers in the model's keys, by the list and the order of a layer that the model has."""
    of_checkpoint = _sorted((place.layers, place.order) for place in places)
    numbered = r"(?<=[/-])\d+(?=/|$)"
    layers_of_model = (key.removeprefix(f"{ROOT}/").rpartition("/")[0] for key in keys)
    of_model = _sorted(
        (re.sub(numbered, "{}", layer), tuple(map(int, re.findall(numbered, layer))))
        for layer in layers_of_model
    )
    return {
        (layers, order): numbers
        for layers, orders in of_checkpoint.items()
        for order, numbers in zip(orders, of_model.get(layers, ()), strict=False)
    }


def _sorted(layers: Iterable[tuple[str, Order]]) -> dict[str, list[Order]]:
    """Return the orders of the layers of each list, sorted, each once."""
    lists: dict[str, set[Order]] = defaultdict(set)
    for name, order in layers:
        lists[name].add(order)
    return {name: sorted(orders) for name, orders in lists.items()}
