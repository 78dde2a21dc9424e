"""The names of variables, by which scripts choose what they train."""

import re
from collections.abc import Iterable

_SHARED = "WeightSharedConvolutionalBoxPredictor"
_OWN = "BoxPredictor"
_BOXES, _CLASSES = "box_encodings", "class_predictions_with_background"
_NAMES = {
    r"_head_scope_conv_layers/(\w+)/(\d+)/(\w+)": rf"{_SHARED}/\1/conv2d_\2/\3",
    r"_box_prediction_head/_box_encoder_layers/\d+/(\w+)": (
        rf"{_SHARED}/WeightSharedConvolutionalBoxHead/BoxPredictor/\1"
    ),
    rf"_prediction_heads/{_CLASSES}/_class_predictor_layers/\d+/(\w+)": (
        rf"{_SHARED}/WeightSharedConvolutionalClassHead/ClassPredictor/\1"
    ),
    rf"_prediction_heads/{_BOXES}/(\d+)/_box_encoder_layers/[01]/(kernel|bias)": (
        rf"{_OWN}/ConvolutionalBoxHead_\1/BoxEncodingPredictor/\2"
    ),
    rf"_prediction_heads/{_CLASSES}/(\d+)/_class_predictor_layers/[01]/(kernel|bias)": (
        rf"{_OWN}/ConvolutionalClassHead_\1/ClassPredictor/\2"
    ),
}
"""The API's names of the variables of box predictors, by expressions for the rest of their keys."""

_NORM = re.compile(rf"_base_tower_layers_for_heads/({_BOXES}|{_CLASSES})/(\d+)/(\d+)/(\w+)")
_STEPS = 3  # a convolution, its normalization and its activation


def names_of(keys: Iterable[str]) -> dict[str, str]:
    """Return the names of a model's variables by their keys in a checkpoint, such as `model/_box_predictor/.../kernel`.

    Those of the layers of box predictors are the API's, such as
    `WeightSharedConvolutionalBoxPredictor/BoxPredictionTower/conv2d_0/kernel`; others are named by their keys, such
    as `feature_extractor/classification_backbone/layer_with_weights-0/kernel`.
    """
    keys = list(keys)
    towers = {part for key in keys for part in key.split("/") if part.endswith("PredictionTower")}
    return {key: _name_of(key.removeprefix("model/"), towers) for key in keys}


def _name_of(key: str, towers: set[str]) -> str:
    part, _, rest = key.partition("/")
    if part != "_box_predictor":
        return key.removeprefix("_")  # which is no first letter of a name in a graph
    if found := _NORM.fullmatch(rest):
        head, level, layer, leaf = found.groups()
        tower = "ClassPredictionTower" if head == _CLASSES else "BoxPredictionTower"
        tower = tower if tower in towers else "PredictionTower"
        return f"{_SHARED}/{tower}/conv2d_{int(layer) // _STEPS}/BatchNorm/feature_{level}/{leaf}"
    for pattern, name in _NAMES.items():
        if found := re.fullmatch(pattern, rest):
            return found.expand(name)
    return f"{_SHARED if towers else _OWN}/{rest}"
