"""Which variables a training changes, by regular expressions over their keys in the checkpoint."""

import re
from collections.abc import Iterable, Sequence

from boxtune.errors import ConfigError, did_you_mean
from boxtune.models import Detector


def freeze(
    detector: Detector, *, freeze_variables: Sequence[str], update_trainable_variables: Sequence[str]
) -> list[str]:
    """Have only the variables trained that `update_trainable_variables` finds, all if empty, less `freeze_variables`.

    Keys are those of the checkpoint, such as `model/_feature_extractor/.../kernel`; an expression may be found anywhere
    in them. The statistics of batch normalizations are not trained, and so not meant: `freeze_batchnorm` keeps them.
    What is frozen stays as it is, bit for bit; its penalty is still part of the loss that is reported, and its
    gradient is not computed. Source: the API's model_lib, with slim's filter_variables; its TensorFlow 2 loop passes
    over both fields.

    Returns:
        The keys of what is frozen.

    Raises:
        ConfigError: if an expression is none, finds nothing that is trained, or nothing is left to train.
    """
    variables = detector.checkpoint_variables()
    trainable = [key for key, variable in variables.items() if variable.trainable]
    updated = _found(update_trainable_variables, "update_trainable_variables", trainable, variables)
    trained = (updated if update_trainable_variables else set(trainable)) - _found(
        freeze_variables, "freeze_variables", trainable, variables
    )
    if not trained:
        raise ConfigError(
            "train_config.freeze_variables and update_trainable_variables leave nothing to train; leave something out"
        )
    frozen = [key for key in trainable if key not in trained]
    for key in frozen:
        variables[key].trainable = False
    return frozen


def _found(patterns: Sequence[str], field: str, trainable: Iterable[str], keys: Iterable[str]) -> set[str]:
    """Return the trainable keys in which any of the patterns is found; each must be found in one at least."""
    found = {pattern: _matching(pattern, field, trainable) for pattern in patterns}
    for pattern, matching in found.items():
        if not matching:
            raise ConfigError(
                f'train_config.{field}: "{pattern}" is found in no trained variable.{_hint(pattern, field, keys)}'
            )
    return set().union(*found.values())


def _matching(pattern: str, field: str, keys: Iterable[str]) -> set[str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f'train_config.{field}: "{pattern}" is no regular expression: {error}') from None
    return {key for key in keys if expression.search(key)}


def _hint(pattern: str, field: str, keys: Iterable[str]) -> str:
    if _matching(pattern, field, keys):
        return " It finds statistics of batch normalizations, which are not trained; freeze_batchnorm: true keeps them"
    parts = {part for key in keys for part in key.split("/")}
    beginnings = sorted({"/".join(key.split("/")[:3]) for key in keys})
    return f"{did_you_mean(pattern, parts)} Keys begin with {', '.join(beginnings)}"
