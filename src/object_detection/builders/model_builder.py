"""From the `model` section of a configuration to a detector that notebooks and training loops call."""

from collections.abc import Callable
from typing import Any

from boxtune import config, models
from boxtune.backends import prepare_backend, require_tensorflow
from boxtune.config import pipeline_pb2
from boxtune.data import resize
from boxtune.errors import ConfigError
from boxtune.models.ssd import SSD
from object_detection.core.model import DetectionModel
from object_detection.meta_architectures.ssd_meta_arch import SSDMetaArch
from object_detection.utils.config_util import ConfigValueError

CLASS_ID_OFFSET = 1
"""What is added to the number of a class to make its id in a label map."""

EXPERIMENTAL_META_ARCH_BUILDER_MAP: dict[str, Callable[..., Any]] = {}


def _build_ssd(
    model_config: pipeline_pb2.DetectionModel, is_training: bool, add_summaries: bool
) -> SSDMetaArch:
    detector = models.build(model_config)
    assert isinstance(detector, SSD)
    return SSDMetaArch(is_training, detector, resize.resizer(models.image_resizer(model_config)))


META_ARCH_BUILDER_MAP: dict[str, Callable[..., DetectionModel]] = {"ssd": _build_ssd}
"""The functions that build the families of detectors, by the field of the `model` section that each is for."""


def build(
    model_config: pipeline_pb2.DetectionModel, is_training: bool, add_summaries: bool = True
) -> DetectionModel:
    """Build the detector that a `model` section describes; with random weights.

    Args:
        model_config: parts that are left out entirely are taken from the stock configuration of the model.
        is_training: whether batches are normalized by their own statistics, unless `freeze_batchnorm` is set. Unlike
            under Keras 2 there is no learning phase besides.
        add_summaries: without effect.

    Raises:
        ConfigValueError: if it is no `model` section, or is of a family or has a component that boxtune does not have.
    """
    if not isinstance(model_config, pipeline_pb2.DetectionModel):
        raise ConfigValueError(f"model_config is {type(model_config).__name__}, not DetectionModel")
    require_tensorflow("object_detection")
    prepare_backend()
    pipeline = pipeline_pb2.TrainEvalPipelineConfig(model=model_config)
    family = model_config.WhichOneof("model")
    try:
        config.refuse(pipeline, None, config.MODEL)
        if family not in META_ARCH_BUILDER_MAP:
            known = ", ".join(META_ARCH_BUILDER_MAP)
            raise ConfigError(f"Unknown meta architecture: {family}; model has to be one of {known}")
        complete = config.complete(pipeline).model
        return META_ARCH_BUILDER_MAP[family](complete, is_training, add_summaries)
    except ConfigError as error:
        raise ConfigValueError(str(error)) from error
