"""The assigner of targets that a configuration describes."""

from boxtune.config import pipeline_pb2
from object_detection.builders import (
    box_coder_builder,
    matcher_builder,
    region_similarity_calculator_builder,
)
from object_detection.builders.checked import checked
from object_detection.core.target_assigner import TargetAssigner


def build(target_assigner_config: pipeline_pb2.TargetAssigner) -> TargetAssigner:
    """Return the assigner of targets."""
    checked("target_assigner_config", target_assigner_config, pipeline_pb2.TargetAssigner)
    return TargetAssigner(
        region_similarity_calculator_builder.build(target_assigner_config.similarity_calculator),
        matcher_builder.build(target_assigner_config.matcher),
        box_coder_builder.build(target_assigner_config.box_coder),
    )
