"""Starting from the weights of another detector."""

from dataclasses import dataclass

from boxtune.errors import CheckpointError, ConfigError, did_you_mean
from boxtune.models import Detector
from boxtune.training import checkpoints

_CLASSIFICATION_PREFIX = "feature_extractor/"
"""Where the API's checkpoints of classification networks keep the backbone."""


@dataclass(frozen=True)
class WarmStart:
    """What became of every variable of a model when it took over a checkpoint."""

    prefix: str
    loaded: list[str]
    kept: list[str]
    """Left as they were drawn, since the type of the warm start does not cover them."""

    def __str__(self) -> str:
        kept = f"; {len(self.kept)} start anew" if self.kept else ""
        return f"Warm start: {len(self.loaded)} variables from {self.prefix}{kept}."


def warm_start(detector: Detector, path: str, fine_tune_type: str) -> WarmStart:
    """Load into `detector` the part of a checkpoint that `fine_tune_type` names.

    Args:
        detector: what to load into.
        path: a folder, a prefix or an `.index` file.
        fine_tune_type: "classification" (the backbone), "detection" (all but the box predictor) or "full".

    Raises:
        CheckpointError: if any variable of that part is missing, left over or of another shape; then nothing is
            loaded.
        ConfigError: for an unknown type.
    """
    prefixes = detector.fine_tune_prefixes
    if fine_tune_type not in prefixes:
        raise ConfigError(
            f'fine_tune_checkpoint_type "{fine_tune_type}" is not one of {", ".join(prefixes)}.'
            f"{did_you_mean(fine_tune_type, prefixes)}"
        )
    prefix = prefixes[fine_tune_type]
    reader = checkpoints.Reader(checkpoints.find(path))
    variables = detector.checkpoint_variables()
    covered = {key: variable for key, variable in variables.items() if key.startswith(prefix)}
    stored_prefix = prefix
    if fine_tune_type == "classification" and any(
        key.startswith(_CLASSIFICATION_PREFIX) for key in reader.shapes
    ):
        stored_prefix = _CLASSIFICATION_PREFIX
    difference = checkpoints.misfit(covered, reader, prefix, stored_prefix)
    if difference:
        raise CheckpointError(
            f'{reader.prefix}: does not fit this model for a warm start of type "{fine_tune_type}": {difference}.'
            f"{_advice(difference, fine_tune_type)}"
        )
    values = {key: reader[stored_prefix + key.removeprefix(prefix)] for key in covered}
    for key, variable in covered.items():
        variable.assign(values[key])
    return WarmStart(reader.prefix, loaded=sorted(covered), kept=sorted(variables.keys() - covered.keys()))


def _advice(difference: checkpoints.Misfit, fine_tune_type: str) -> str:
    only_reshaped = not (difference.missing or difference.unexpected)
    in_heads = all("_box_predictor" in key for key in difference.reshaped)
    if fine_tune_type == "full" and only_reshaped and in_heads:
        return ' Use fine_tune_checkpoint_type: "detection" where the classes differ.'
    return (
        " Use the checkpoint of the same feature extractor, depth_multiplier and heads as the configuration."
    )
