"""Detectors: a backbone, a neck and heads make a network; a meta-architecture makes it a detector."""

from collections.abc import Sequence

import numpy as np

from boxtune import config
from boxtune.config import pipeline_pb2
from boxtune.models import ssd
from boxtune.models.detector import Detector


def build(
    section: pipeline_pb2.DetectionModel,
    *,
    add_regularization_loss: bool = True,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
    use_bfloat16: bool = False,
) -> Detector:
    """Build the detector that a `model` section describes; its weights are drawn anew.

    Args:
        section: the configuration.
        add_regularization_loss: whether the weights' penalties are part of the total loss.
        label_smoothing: how much certainty the targets of classes lose, in [0, 1).
        class_weights: what objects of each of the c classes weigh in the classification loss; None for all alike.
        use_bfloat16: let the network compute in bfloat16; its weights and all that follows it are float32.

    Raises:
        ConfigError: for an architecture or a component that boxtune does not have.
    """
    make, chosen = config.chosen(section, {"ssd": ssd.build})
    return make(
        chosen,
        add_regularization_loss=add_regularization_loss,
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        use_bfloat16=use_bfloat16,
    )


def anchors(section: pipeline_pb2.DetectionModel) -> tuple[np.ndarray, float]:
    """Return the anchors [a, 4] of a `model` section and the IoU from which one is matched to an object, 0 for any.

    Raises:
        ConfigError: for an architecture or a component that boxtune does not have.
    """
    read, chosen = config.chosen(section, {"ssd": ssd.anchors})
    return read(chosen)


def image_resizer(section: pipeline_pb2.DetectionModel) -> pipeline_pb2.ImageResizer:
    """Return the `image_resizer` of a `model` section, whatever its architecture."""
    return getattr(section, section.WhichOneof("model")).image_resizer


def num_classes(section: pipeline_pb2.DetectionModel) -> int:
    """Return the `num_classes` of a `model` section, whatever its architecture."""
    return getattr(section, section.WhichOneof("model")).num_classes


__all__ = ["Detector", "anchors", "build", "image_resizer", "num_classes"]
