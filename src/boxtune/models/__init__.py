"""Detectors: a backbone, a neck and heads make a network; a meta-architecture makes it a detector."""

import importlib
from types import ModuleType

import numpy as np

from boxtune import config
from boxtune.config import pipeline_pb2
from boxtune.models.detector import Detector, Options


def build(section: pipeline_pb2.DetectionModel, options: Options | None = None) -> Detector:
    """Build the detector that a `model` section describes; with random weights.

    Raises:
        ConfigError: for a family or a component that boxtune does not have.
        ValueError: if its variables cannot all be kept in a checkpoint.
    """
    detector = _builder(section).build(config.family_of(section).section(section), options or Options())
    detector.checkpoint_variables()
    return detector


def anchors(section: pipeline_pb2.DetectionModel) -> tuple[np.ndarray, float] | None:
    """Return the anchors [a, 4] of a `model` section and the IoU from which one is matched to an object, 0 for any.

    None if they depend on the image, or the family has no anchors.

    Raises:
        ConfigError: for a family or a component that boxtune does not have.
    """
    read = getattr(_builder(section), "anchors", None)
    return read(config.family_of(section).section(section)) if read else None


def _builder(section: pipeline_pb2.DetectionModel) -> ModuleType:
    return importlib.import_module(config.family_of(section).builder)


def image_resizer(section: pipeline_pb2.DetectionModel) -> pipeline_pb2.ImageResizer:
    """Return the `image_resizer` of a `model` section, whatever its family."""
    return config.family_of(section).image_resizer(section)


def num_classes(section: pipeline_pb2.DetectionModel) -> int:
    """Return the `num_classes` of a `model` section, whatever its family."""
    return config.family_of(section).num_classes(section)


__all__ = ["Detector", "Options", "anchors", "build", "image_resizer", "num_classes"]
