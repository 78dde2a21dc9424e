"""Where each variable of a detector stands in a checkpoint.

The name of a layer that belongs to a place in the API's checkpoints *is* its key, with "--" for "/" (which Keras does
not allow in names): the variables of the layer `at("_feature_extractor/conv")` are kept under
`model/_feature_extractor/conv/kernel` and so on. The parts of a composite layer, and layers named otherwise, stand
below what holds them: under their own names in a network of layers, under the names of the attributes elsewhere, as in
TensorFlow's object-based checkpoints. So keys do not depend on the names that Keras counts up by itself.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import keras

ROOT = "model"

# PyTorch knows no "." in names of parameters; TensorFlow's scopes of names know little else, and ">" not before "_".
_SEPARATOR = "--"


def at(key: str) -> str:
    """Return the layer name for a place in the checkpoint, relative to the model."""
    return f"{ROOT}/{key}".replace("/", _SEPARATOR)


def key_of(name: str) -> str:
    """Return the place in the checkpoint that a layer's name stands for."""
    return name.replace(_SEPARATOR, "/")


def variables_by_key(model: keras.Model) -> dict[str, keras.Variable]:
    """Return every weight and statistic of `model` by its checkpoint key (`model/.../kernel`).

    Raises:
        ValueError: if two of them have one key, or one cannot be reached.
    """
    found: dict[str, keras.Variable] = {}
    for key, variable in _walk(model, ROOT, set()):
        if key in found:
            raise ValueError(
                f"{type(model).__name__}: two variables have the checkpoint key {key}; give them, or the layers that "
                "hold them, names of their own"
            )
        found[key] = variable
    reached = {id(variable) for variable in found.values()}
    lost = [variable.path for variable in model.weights if id(variable) not in reached]
    if lost:
        raise ValueError(
            f"{type(model).__name__}: {', '.join(lost)} would not be kept in a checkpoint; hold the layers in "
            "attributes, lists or dicts"
        )
    return found


def _walk(layer: keras.Layer, key: str, seen: set[int]) -> Iterator[tuple[str, keras.Variable]]:
    """Yield the variables of a layer that stands at `key`, then those of its parts; what was `seen` is passed over."""
    for variable in [*layer._trainable_variables, *layer._non_trainable_variables]:
        if id(variable) not in seen:
            seen.add(id(variable))
            yield f"{key}/{_api_name(layer, variable)}", variable
    for part, child in _parts(layer):
        if id(child) not in seen:
            seen.add(id(child))
            own_place = child.name.startswith(f"{ROOT}{_SEPARATOR}")
            yield from _walk(child, key_of(child.name) if own_place else f"{key}/{part}", seen)


def _parts(layer: keras.Layer) -> Iterator[tuple[str, keras.Layer]]:
    """Yield the layers that make up a composite layer, by name or by attribute."""
    if isinstance(layer, keras.Sequential) or hasattr(layer, "operations"):
        yield from zip(_names_in_graph(layer.layers), layer.layers, strict=True)
    attributes = vars(layer)
    for name, value in (attributes | attributes.get("_modules", {})).items():  # PyTorch keeps layers there
        if name not in _OF_KERAS and not name.startswith("_self_"):
            yield from _layers_in(value, name)


_OF_KERAS = ("_layers", "_modules", "_functional", "_operations")
"""Attributes in which Keras and PyTorch gather what others hold, too."""


def _names_in_graph(layers: list[keras.Layer]) -> Iterator[str]:
    """Yield the name of each layer; those that Keras numbers through the whole process are numbered anew."""
    numbers: Counter[str] = Counter()
    for layer in layers:
        kind = layer.name.rstrip("0123456789").rstrip("_")
        if kind.replace("_", "") != type(layer).__name__.lower():
            yield layer.name
            continue
        yield f"{kind}_{numbers[kind]}" if numbers[kind] else kind
        numbers[kind] += 1


def _layers_in(value: Any, name: str) -> Iterator[tuple[str, keras.Layer]]:
    if isinstance(value, keras.Layer):
        yield name, value
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _layers_in(item, f"{name}/{number}")
    elif isinstance(value, dict):
        for part, item in value.items():
            yield from _layers_in(item, f"{name}/{part}")


def _api_name(layer: keras.Layer, variable: keras.Variable) -> str:
    """Return what Keras 2 called a variable: there, a depthwise convolution had a `depthwise_kernel`."""
    is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D) and variable.name == "kernel"
    return "depthwise_kernel" if is_depthwise else variable.name
