"""The encoding of boxes that a configuration describes."""

from typing import Any

from boxtune.config import pipeline_pb2
from object_detection.box_coders.faster_rcnn_box_coder import FasterRcnnBoxCoder
from object_detection.box_coders.keypoint_box_coder import KeypointBoxCoder
from object_detection.box_coders.mean_stddev_box_coder import MeanStddevBoxCoder
from object_detection.box_coders.square_box_coder import SquareBoxCoder
from object_detection.builders.checked import SectionError, checked
from object_detection.core.box_coder import BoxCoder


def build(box_coder_config: pipeline_pb2.BoxCoder) -> BoxCoder:
    """Return the box coder; raise SectionError if none is set."""
    checked("box_coder_config", box_coder_config, pipeline_pb2.BoxCoder)
    one: Any
    match box_coder_config.WhichOneof("box_coder_oneof"):
        case "faster_rcnn_box_coder":
            one = box_coder_config.faster_rcnn_box_coder
            return FasterRcnnBoxCoder([one.y_scale, one.x_scale, one.height_scale, one.width_scale])
        case "keypoint_box_coder":
            one = box_coder_config.keypoint_box_coder
            scales = [one.y_scale, one.x_scale, one.height_scale, one.width_scale]
            return KeypointBoxCoder(one.num_keypoints, scales)
        case "mean_stddev_box_coder":
            return MeanStddevBoxCoder(box_coder_config.mean_stddev_box_coder.stddev)
        case "square_box_coder":
            one = box_coder_config.square_box_coder
            return SquareBoxCoder([one.y_scale, one.x_scale, one.length_scale])
    raise SectionError("Empty box coder.")
