"""Loads the weights of another detector to start from."""

from dataclasses import dataclass

import keras
import numpy as np

from boxtune.errors import CheckpointError
from boxtune.models import Detector
from boxtune.training import checkpoints

_CLASSIFICATION_PREFIX = "feature_extractor/"
"""Of the backbone's keys in the API's checkpoints of classification networks."""


@dataclass(frozen=True)
class WarmStart:
    """Which variables of a model were loaded from a checkpoint."""

    prefix: str
    loaded: list[str]
    kept: list[str]
    """Left at their initial values, since the fine-tune type does not cover them."""

    def __str__(self) -> str:
        kept = f"; {len(self.kept)} start anew" if self.kept else ""
        return f"Warm start: {len(self.loaded)} variables from {self.prefix}{kept}."


def warm_start(detector: Detector, path: str, fine_tune_type: str) -> WarmStart:
    """Load into `detector` the part of a checkpoint that `fine_tune_type` names.

    Args:
        detector: to load into.
        path: a folder, a prefix or an `.index` file.
        fine_tune_type: "classification" (the backbone), "detection" (all but the box predictor), "all_but_classes"
            (all but the layers whose size is the number of classes) or "full".

    Raises:
        CheckpointError: if any variable of that part is missing, left over or of another shape; then nothing is
            loaded.
        ConfigError: for an unknown type.
    """
    parts = detector.restore_map(fine_tune_type)
    reader = checkpoints.Reader(checkpoints.find(path))
    if reader.of_tensorflow_1:
        reader.rename(detector.keys_in_tensorflow_1(reader.shapes))
    stored_as = {prefix: prefix for prefix in parts}
    # A checkpoint of a classification network keeps its backbone under another prefix, in one piece.
    of_classifier = any(key.startswith(_CLASSIFICATION_PREFIX) for key in reader.shapes)
    if fine_tune_type == "classification" and of_classifier:
        prefix, *_ = parts
        parts = {prefix: {key: value for part in parts.values() for key, value in part.items()}}
        stored_as = {prefix: _CLASSIFICATION_PREFIX}
    keys = {id(variable): key for key, variable in detector.checkpoint_variables().items()}
    values: dict[str, tuple[keras.Variable, np.ndarray]] = {}
    for prefix, variables in parts.items():
        stored = stored_as[prefix]
        difference = checkpoints.misfit(variables, reader, prefix, stored)
        if difference:
            raise CheckpointError(
                f'{reader.prefix}: does not fit this model for a warm start of type "{fine_tune_type}": {difference}.'
                f"{_advice(difference, fine_tune_type)}"
            )
        values |= {
            keys[id(variable)]: (variable, reader[stored + key]) for key, variable in variables.items()
        }
    for variable, value in values.values():
        variable.assign(value)
    return WarmStart(reader.prefix, loaded=sorted(values), kept=sorted(set(keys.values()) - values.keys()))


def _advice(difference: checkpoints.Misfit, fine_tune_type: str) -> str:
    only_reshaped = not (difference.missing or difference.unexpected)
    differing = (*difference.missing, *difference.unexpected, *difference.reshaped)
    in_heads = all("_box_predictor" in key for key in differing)
    if fine_tune_type == "full" and only_reshaped and in_heads:
        return ' Use fine_tune_checkpoint_type: "all_but_classes" where the classes differ.'
    if fine_tune_type == "all_but_classes" and in_heads:
        return ' Use fine_tune_checkpoint_type: "detection" where the box predictors or anchors differ.'
    return (
        " Use the checkpoint of the same feature extractor, depth_multiplier and heads as the configuration."
    )
