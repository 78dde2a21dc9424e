"""Builds the detector that a configuration trains: class weights, frozen variables, first weights, optimizer."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import keras

from boxtune import config, models
from boxtune.config import pipeline_pb2
from boxtune.data.label_map import LabelMap, read_label_map
from boxtune.errors import BoxtuneError, ConfigError, DataError, did_you_mean, many
from boxtune.models import Detector
from boxtune.training.optimizer import optimizer
from boxtune.training.provenance import config_differences
from boxtune.training.run_state import config_beside
from boxtune.training.warm_start import MisfitError, known_classes, warm_start

_MOST_FIELDS = 12


def build_detector(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig, label_map: LabelMap, seed: int
) -> Detector:
    """Return the detector of a configuration, compiled with its optimizer; the weights are drawn from `seed`.

    Raises:
        ConfigError: for a component that boxtune does not have, or values that contradict one another.
    """
    settings, own = pipeline.train_config, pipeline.boxtune
    keras.utils.set_random_seed(seed)
    options = models.Options(
        add_regularization_loss=settings.add_regularization_loss,
        label_smoothing=own.label_smoothing,
        class_weights=class_weights(own.class_weights, label_map, models.num_classes(pipeline.model)),
        merge_multiple_label_boxes=settings.merge_multiple_label_boxes,
        use_bfloat16=settings.use_bfloat16,
    )
    detector = models.build(pipeline.model, options)
    freeze(detector, settings.freeze_variables, settings.update_trainable_variables)
    made = optimizer(
        settings.optimizer,
        gradient_clipping_by_norm=settings.gradient_clipping_by_norm,
        accumulate_batches=own.accumulate_batches,
    )
    if settings.fine_tune_checkpoint and own.learning_rate_factor_of_new_layers != 1:
        loaded = detector.restore_map(settings.fine_tune_checkpoint_type)
        made.factors = factors(detector, loaded, own.learning_rate_factor_of_new_layers)
    detector.compile(
        made,
        # JAX needs XLA; for TensorFlow on the CPU, XLA is many times slower than its own kernels.
        jit_compile=keras.backend.backend() == "jax",
    )
    return detector


def factors(
    detector: Detector, loaded: Mapping[str, Mapping[str, keras.Variable]], factor: float
) -> tuple[float, ...]:
    """Return by what the learning rate of each trained variable is multiplied: `factor`, but 1 for those loaded."""
    known = {id(variable) for part in loaded.values() for variable in part.values()}
    return tuple(1.0 if id(variable) in known else factor for variable in detector.trainable_variables)


def load_initial_weights(
    detector: Detector, pipeline: pipeline_pb2.TrainEvalPipelineConfig, label_map: LabelMap
) -> str:
    """Load the checkpoint that a configuration names, if any; return what was loaded, as a sentence.

    Raises:
        CheckpointError: if it does not fit.
    """
    settings, path = pipeline.train_config, pipeline.boxtune.fine_tune_label_map_path
    if not settings.fine_tune_checkpoint:
        return "Starting from random weights."
    known = known_classes(read_label_map(Path(path)), label_map) if path else None
    try:
        return str(
            warm_start(detector, settings.fine_tune_checkpoint, settings.fine_tune_checkpoint_type, known)
        )
    except MisfitError as error:
        raise MisfitError(f"{error}{_other_fields(pipeline, Path(settings.fine_tune_checkpoint))}") from None


def _other_fields(pipeline: pipeline_pb2.TrainEvalPipelineConfig, checkpoint: Path) -> str:
    """Return as lines in what a model differs from that of the checkpoint's own configuration, if there is one."""
    path = config_beside(checkpoint)
    try:
        own = config.complete(config.load(path)) if path else None
    except BoxtuneError:  # it may be of a model that boxtune does not have
        return ""
    changes = config_differences(own.model, pipeline.model) if own else []
    lines = [f"model.{change}" for change in changes if "num_classes:" not in change]
    if not lines:
        return ""
    more = len(lines) - _MOST_FIELDS
    lines[_MOST_FIELDS:] = [f"and {many(more, 'more field', 'more fields')}"] if more > 0 else []
    return "\n  ".join([f" The model of {path} → the one to train:", *lines])


def class_weights(
    weights: Iterable[pipeline_pb2.ClassWeight], label_map: LabelMap, num_classes: int
) -> list[float] | None:
    """Read `boxtune.class_weights`: the weight of each class in the order of their ids, 1 for those not named.

    None if there are no weights.

    Raises:
        ConfigError: for a class that the label map does not have or that is named twice, and a weight below 0.
    """
    named: dict[int, float] = {}
    for item in weights:
        try:
            index = label_map.label(item.name).id - 1
        except DataError as error:
            raise ConfigError(f"boxtune.class_weights: {error}") from None
        if index in named:
            raise ConfigError(f'boxtune.class_weights: "{item.name}" is given twice; one weight is enough')
        if not 0 <= item.weight < float("inf"):
            raise ConfigError(
                f'boxtune.class_weights: "{item.name}" weighs {item.weight:g}; it must be 0 or more, and finite'
            )
        named[index] = item.weight
    return [named.get(index, 1.0) for index in range(num_classes)] if named else None


def freeze(
    detector: Detector, freeze_variables: Sequence[str], update_trainable_variables: Sequence[str]
) -> list[str]:
    """Train only the variables that match `update_trainable_variables`, all if empty, less `freeze_variables`.

    Patterns are regular expressions, searched for in the keys of the checkpoint, such as
    `model/_feature_extractor/.../kernel`. They do not apply to the statistics of batch normalizations, which are not
    trained: `freeze_batchnorm` freezes those. Frozen variables do not change, bit for bit; their penalty is still part
    of the reported loss, and their gradient is not computed. Source: the API's model_lib, with slim's
    filter_variables; its TensorFlow 2 loop ignores both fields.

    Returns:
        The keys of the frozen variables.

    Raises:
        ConfigError: if a pattern is not an expression or matches nothing that is trained, or nothing is left to train.
    """
    variables = detector.checkpoint_variables()
    trainable = [key for key, variable in variables.items() if variable.trainable]
    updated = _matched(update_trainable_variables, "update_trainable_variables", trainable, variables)
    frozen = _matched(freeze_variables, "freeze_variables", trainable, variables)
    if update_trainable_variables:
        frozen |= set(trainable) - updated
    if len(frozen) == len(trainable):
        raise ConfigError(
            "train_config.freeze_variables and update_trainable_variables leave nothing to train; leave something out"
        )
    for key in frozen:
        variables[key].trainable = False
    return [key for key in trainable if key in frozen]


def _matched(patterns: Sequence[str], field: str, trainable: Iterable[str], keys: Iterable[str]) -> set[str]:
    """Return the trainable keys that match any of the patterns; each must match at least one."""
    matched = set()
    for pattern in patterns:
        matching = _matching(pattern, field, trainable)
        if not matching:
            parts = {part for key in keys for part in key.split("/")}
            prefixes = sorted({"/".join(key.split("/")[:3]) for key in keys})
            hint = f"{did_you_mean(pattern, parts)} Keys start with {', '.join(prefixes)}"
            if _matching(pattern, field, keys):
                hint = (
                    " It matches only statistics, which are not trained; freeze_batchnorm: true freezes those"
                )
            raise ConfigError(f'train_config.{field}: "{pattern}" matches no trained variable.{hint}')
        matched |= matching
    return matched


def _matching(pattern: str, field: str, keys: Iterable[str]) -> set[str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f'train_config.{field}: "{pattern}" is not a regular expression: {error}') from None
    return {key for key in keys if expression.search(key)}
