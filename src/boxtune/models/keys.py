"""The key of each variable of a detector in a checkpoint.

The name of a layer that the API's checkpoints have *is* its key, with "--" for "/" (which Keras does not allow in
names): the variables of the layer `at("_feature_extractor/conv")` are stored under
`model/_feature_extractor/conv/kernel` and so on. The parts of a composite layer, and layers with other names, are
stored under the key of the layer that holds them: by their own names in a network of layers, by the names of the
attributes elsewhere, as in TensorFlow's object-based checkpoints. So keys do not depend on the names that Keras
numbers.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import keras

ROOT = "model"

# PyTorch allows no "." in names of parameters; TensorFlow's name scopes allow little else, and no ">" before "_".
_SEPARATOR = "--"


def at(key: str) -> str:
    """Return the name of the layer with a key in the checkpoint, relative to the model."""
    return f"{ROOT}/{key}".replace("/", _SEPARATOR)


def variables_by_key(model: keras.Model) -> dict[str, keras.Variable]:
    """Return every weight and statistic of `model` by its checkpoint key (`model/.../kernel`).

    Raises:
        ValueError: if two of them have the same key, or one cannot be reached.
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
    """Yield the variables of the layer with `key`, then those of its parts; skip what was `seen`."""
    for variable in [*layer._trainable_variables, *layer._non_trainable_variables]:
        if id(variable) not in seen:
            seen.add(id(variable))
            # Keras 2 had a `depthwise_kernel` in a depthwise convolution.
            is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D) and variable.name == "kernel"
            yield f"{key}/{'depthwise_kernel' if is_depthwise else variable.name}", variable
    for part, child in _parts(layer):
        if id(child) not in seen:
            seen.add(id(child))
            has_key = child.name.startswith(f"{ROOT}{_SEPARATOR}")
            own_key = child.name.replace(_SEPARATOR, "/") if has_key else f"{key}/{part}"
            yield from _walk(child, own_key, seen)


def _parts(layer: keras.Layer) -> Iterator[tuple[str, keras.Layer]]:
    """Yield the layers that make up a composite layer, by name or by attribute."""
    if isinstance(layer, keras.Sequential) or hasattr(layer, "operations"):
        yield from zip(_names_in_graph(layer.layers), layer.layers, strict=True)
    attributes = vars(layer)
    for name, value in (attributes | attributes.get("_modules", {})).items():  # PyTorch keeps layers there
        if name not in _OF_KERAS and not name.startswith("_self_"):
            yield from _layers_in(value, name)


_OF_KERAS = ("_layers", "_modules", "_functional", "_operations")
"""Attributes in which Keras and PyTorch collect layers that other attributes hold, too."""


def _names_in_graph(layers: list[keras.Layer]) -> Iterator[str]:
    """Yield the name of each layer; names that Keras numbers through the whole process are renumbered."""
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
