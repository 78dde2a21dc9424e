"""Loads the weights of another detector to start from."""

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np

from boxtune.data.label_map import LabelMap
from boxtune.errors import CheckpointError, many
from boxtune.models import Detector
from boxtune.training import checkpoints

_CLASSIFICATION_PREFIX = "feature_extractor/"
"""Of the backbone's keys in the API's checkpoints of classification networks."""


class MisfitError(CheckpointError):
    """A checkpoint of another model than the one to train."""


@dataclass(frozen=True)
class WarmStart:
    """Which variables of a model were loaded from a checkpoint."""

    prefix: str
    loaded: list[str]
    kept: list[str]
    """Left at their initial values, since the fine-tune type does not cover them."""
    num_known_classes: int | None = None
    """How many classes keep what their layers have learned, where layers of classes were loaded by their names."""

    def __str__(self) -> str:
        kept = f"; {len(self.kept)} start anew" if self.kept else ""
        count = self.num_known_classes
        known = (
            ""
            if count is None
            else f", with what was learned of {many(count, 'known class', 'known classes')}"
        )
        return f"Warm start: {many(len(self.loaded), 'variable')} from {self.prefix}{known}{kept}."


def known_classes(before: LabelMap, now: LabelMap) -> dict[int, int]:
    """Return the 0-based numbers that classes had before, by those that classes of the same name have now."""
    numbers = {label.name: label.id - 1 for label in before.labels}
    return {label.id - 1: numbers[label.name] for label in now.labels if label.name in numbers}


def warm_start(
    detector: Detector, path: str, fine_tune_type: str, known: Mapping[int, int] | None = None
) -> WarmStart:
    """Load into `detector` the part of a checkpoint that `fine_tune_type` names.

    Args:
        detector: to load into.
        path: a folder, a prefix or an `.index` file.
        fine_tune_type: "classification" (the backbone), "detection" (all but the box predictor), "all_but_classes"
            (all but the layers whose size is the number of classes) or "full".
        known: the 0-based numbers of classes in the checkpoint by those that they have in `detector`: in layers that
            "all_but_classes" leaves out, they keep what they have learned.

    Raises:
        MisfitError: if any variable of that part is missing, left over or of another shape; then nothing is loaded.
        CheckpointError: if the checkpoint cannot be read.
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
            raise MisfitError(
                f'{reader.prefix}: does not fit this model for a warm start of type "{fine_tune_type}": {difference}.'
                f"{_advice(difference, fine_tune_type)}"
            )
        values |= {
            keys[id(variable)]: (variable, reader[stored + key]) for key, variable in variables.items()
        }
    if known and fine_tune_type == "all_but_classes":
        values |= _class_layers(detector, reader, known)
    for variable, value in values.values():
        variable.assign(value)
    kept = sorted(set(keys.values()) - values.keys())
    return WarmStart(reader.prefix, sorted(values), kept, len(known) if known else None)


def _class_layers(
    detector: Detector, reader: checkpoints.Reader, known: Mapping[int, int]
) -> dict[str, tuple[keras.Variable, np.ndarray]]:
    """Return the variables of the layers of classes, and their values with what known classes have learned."""
    values = {}
    for key, variable in detector.class_layers().items():
        if key not in reader.shapes:
            raise CheckpointError(f"{reader.prefix}: has no {key}.{_advice_about_classes()}")
        try:
            value = with_known_classes(
                keras.ops.convert_to_numpy(variable),
                reader[key],
                known,
                detector.num_classes,
                detector.scores_before_classes,
            )
        except ValueError as error:
            raise CheckpointError(f"{reader.prefix}: {key} {error}.{_advice_about_classes()}") from None
        values[key] = variable, value
    return values


def with_known_classes(
    initial: np.ndarray, stored: np.ndarray, known: Mapping[int, int], num_classes: int, before: int
) -> np.ndarray:
    """Return the values of a layer of classes: as stored for known classes and what is before them, else initial.

    Args:
        initial: float [..., a * (k + c)], for each of a anchors k scores before those of its c classes; an array of
            another size does not depend on the classes and is taken as it is stored.
        stored: float [..., a * (k + d)].
        known: numbers in [0, d) of classes by their numbers in [0, c).
        num_classes: c.
        before: k.

    Raises:
        ValueError: if `stored` has another shape than that.
    """
    scores = before + num_classes
    per_class = initial.shape[-1] % scores == 0
    anchors = initial.shape[-1] // scores
    fits = stored.shape[-1] % anchors == 0 if per_class else stored.shape[-1] == initial.shape[-1]
    if not fits or stored.shape[:-1] != initial.shape[:-1]:
        raise ValueError(f"has the shape {list(stored.shape)}, which does not go with {list(initial.shape)}")
    if not per_class:
        return stored
    value = initial.reshape(*initial.shape[:-1], anchors, scores).copy()
    old = stored.reshape(*stored.shape[:-1], anchors, -1)
    if max(known.values()) + before >= old.shape[-1]:
        raise ValueError(f"has {many(old.shape[-1] - before, 'class', 'classes')}, fewer than its label map")
    value[..., :before] = old[..., :before]
    value[..., [before + new for new in known]] = old[..., [before + number for number in known.values()]]
    return value.reshape(initial.shape)


def _advice_about_classes() -> str:
    return " Leave out boxtune.fine_tune_label_map_path to begin with new layers for the classes."


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
