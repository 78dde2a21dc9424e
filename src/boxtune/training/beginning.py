"""A detector as a configuration trains it, before its first step: what it weighs, what is frozen, where it starts."""

import re
from collections.abc import Iterable, Sequence

import keras

from boxtune import models
from boxtune.config import pipeline_pb2
from boxtune.data.label_map import LabelMap
from boxtune.errors import ConfigError, DataError, did_you_mean
from boxtune.models import Detector
from boxtune.training.optimizer import optimizer
from boxtune.training.warm_start import warm_start


def detector_to_train(
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
    freeze(
        detector,
        freeze_variables=settings.freeze_variables,
        update_trainable_variables=settings.update_trainable_variables,
    )
    detector.compile(
        optimizer(
            settings.optimizer,
            gradient_clipping_by_norm=settings.gradient_clipping_by_norm,
            accumulate_batches=own.accumulate_batches,
        ),
        # JAX knows nothing else; of TensorFlow, on the CPU, XLA is many times slower than its own kernels.
        jit_compile=keras.backend.backend() == "jax",
    )
    return detector


def take_first_weights(detector: Detector, settings: pipeline_pb2.TrainConfig) -> str:
    """Load the checkpoint that `train_config` names, if it does; return what became of it, as a sentence.

    Raises:
        CheckpointError: if it does not fit.
    """
    if settings.fine_tune_checkpoint:
        return str(warm_start(detector, settings.fine_tune_checkpoint, settings.fine_tune_checkpoint_type))
    return "Starting from random weights."


def class_weights(
    weights: Iterable[pipeline_pb2.ClassWeight], label_map: LabelMap, num_classes: int
) -> list[float] | None:
    """Read `boxtune.class_weights`: the weight of each class in the order of their numbers, 1 for those not named.

    None if there are no weights.

    Raises:
        ConfigError: for a class that the label map does not have or that is named twice, and a weight below 0.
    """
    named: dict[int, float] = {}
    for item in weights:
        number = _number(item.name, label_map) - 1
        if number in named:
            raise ConfigError(f'boxtune.class_weights: "{item.name}" is given twice; one weight is enough')
        if not 0 <= item.weight < float("inf"):
            raise ConfigError(
                f'boxtune.class_weights: "{item.name}" weighs {item.weight:g}; it must be 0 or more, 1 as the others do'
            )
        named[number] = item.weight
    return [named.get(number, 1.0) for number in range(num_classes)] if named else None


def _number(name: str, label_map: LabelMap) -> int:
    try:
        return label_map.label(name).id
    except DataError as error:
        raise ConfigError(f"boxtune.class_weights: {error}") from None


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
