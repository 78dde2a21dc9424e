"""Choosing variables by their names and by what a checkpoint has."""

import logging
import re
from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

from boxtune.errors import CheckpointError
from object_detection.utils.ops import TensorError

DETECTION_FEATURE_EXTRACTOR_MSG = (
    "The checkpoint type 'detection' of this detector is an alias of older times; set 'classification' for the "
    "backbone."
)
DEPRECATED_CHECKPOINT_MAP = {"detection": ("feature_extractor", DETECTION_FEATURE_EXTRACTOR_MSG)}

_log = logging.getLogger("boxtune")


def _name(variable: Any) -> str:
    return str(variable.name).partition(":")[0]


def _matches(variable: Any, regex_list: Iterable[str]) -> bool:
    return any(re.match(regex, _name(variable)) for regex in regex_list)


def filter_variables(
    variables: Iterable[Any], filter_regex_list: Iterable[str], invert: bool = False
) -> list[Any]:
    """Return the variables whose names begin like none of some regular expressions; with `invert`, like one."""
    patterns = [pattern for pattern in filter_regex_list if pattern]
    return [variable for variable in variables if _matches(variable, patterns) == invert]


def multiply_gradients_matching_regex(
    grads_and_vars: Iterable[tuple[Any, Any]], regex_list: Sequence[str], multiplier: float
) -> list[tuple[Any, Any]]:
    """Return pairs of gradients and variables, with the gradients of variables that match multiplied."""
    return [
        (gradient * multiplier if _matches(variable, regex_list) else gradient, variable)
        for gradient, variable in grads_and_vars
    ]


def freeze_gradients_matching_regex(
    grads_and_vars: Iterable[tuple[Any, Any]], regex_list: Sequence[str]
) -> list[tuple[Any, Any]]:
    """Return pairs of gradients and variables without those of variables that match."""
    return [pair for pair in grads_and_vars if not _matches(pair[1], regex_list)]


def get_variables_available_in_checkpoint(
    variables: Any, checkpoint_path: str, include_global_step: bool = True
) -> Any:
    """Return the variables, a list or a dict by names, that a checkpoint has in the same shape; the rest is reported.

    Raises:
        TensorError: for anything but a list and a dict.
        CheckpointError: if the checkpoint cannot be read.
    """
    if not isinstance(variables, list | dict):
        raise TensorError("`variables` is expected to be a list or dict.")
    by_name = variables if isinstance(variables, dict) else {_name(one): one for one in variables}
    try:
        shapes = tf.train.load_checkpoint(checkpoint_path).get_variable_to_shape_map()
    except (ValueError, tf.errors.OpError) as error:
        raise CheckpointError(f"{checkpoint_path} cannot be read as a checkpoint: {error}") from error
    if not include_global_step:
        shapes.pop("global_step", None)
    found = {}
    for name, variable in by_name.items():
        if name not in shapes:
            _log.warning("Variable [%s] is not available in checkpoint", name)
        elif shapes[name] != list(variable.shape):
            _log.warning(
                "Variable [%s] has the shape %s, but %s in the checkpoint",
                name,
                list(variable.shape),
                shapes[name],
            )
        else:
            found[name] = variable
    return found if isinstance(variables, dict) else list(found.values())


def get_global_variables_safely() -> list[Any]:
    """Return the global variables of TensorFlow 1's graph; raise TensorError where TensorFlow is eager."""
    if tf.executing_eagerly():
        raise TensorError(
            "Global variables are not available when executing eagerly; take those of the model."
        )
    return list(tf.compat.v1.global_variables())


def ensure_checkpoint_supported(checkpoint_path: str, checkpoint_type: str, model_dir: str) -> None:
    """Raise TensorError for a checkpoint with the weights of a feature extractor under a name of older times."""
    variables = [name for name, _ in tf.train.list_variables(checkpoint_path)]
    parts = DEPRECATED_CHECKPOINT_MAP.get(checkpoint_type)
    if parts and any(parts[0] in name.split("/") for name in variables):
        raise TensorError(f"{checkpoint_path}: {parts[1]} The folder of the run is {model_dir}.")
