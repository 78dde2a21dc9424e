"""Completing a configuration from a stock recipe: the settings that a published model was trained with."""

import copy

from boxtune.config.families import family_of
from boxtune.config.pipeline_pb2 import TrainEvalPipelineConfig


def complete(config: TrainEvalPipelineConfig) -> TrainEvalPipelineConfig:
    """Return a copy in which sections that are left out entirely come from the stock recipe that `model` names.

    A section that is given is taken as it is: values left out within it are the defaults of pipeline.proto. The
    sections are those of `model`, as its family says; `train_config` as a whole, or if it is given, its `optimizer`
    only; and `eval_config`. Never completed: `num_classes`, the readers, the checkpoint, and steps of augmentation in a
    given `train_config`.

    Raises:
        ConfigError: the family or its recipe is not named or not known.
    """
    result = copy.deepcopy(config)
    stock = family_of(config.model).complete(result.model)
    for section in ("train_config", "eval_config"):
        if not result.HasField(section):
            getattr(result, section).CopyFrom(getattr(stock, section))
    if not result.train_config.HasField("optimizer"):
        result.train_config.optimizer.CopyFrom(stock.train_config.optimizer)
    return result
