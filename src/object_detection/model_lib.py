"""What training loops do with batches: the ground truth of each image, and handing it to a model."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from object_detection import inputs
from object_detection.builders import model_builder
from object_detection.core.model import DetectionModel
from object_detection.core.standard_fields import InputDataFields as Fields
from object_detection.utils import config_util

MODEL_BUILD_UTIL_MAP: dict[str, Callable[..., Any]] = {
    "get_configs_from_pipeline_file": config_util.get_configs_from_pipeline_file,
    "create_pipeline_proto_from_configs": config_util.create_pipeline_proto_from_configs,
    "merge_external_params_with_configs": config_util.merge_external_params_with_configs,
    "create_train_input_fn": inputs.create_train_input_fn,
    "create_eval_input_fn": inputs.create_eval_input_fn,
    "create_predict_input_fn": inputs.create_predict_input_fn,
    "detection_model_fn_base": model_builder.build,
}
"""The functions that a training is made of, by the API's names."""

_OF_OBJECTS = (
    Fields.groundtruth_boxes,
    Fields.groundtruth_classes,
    Fields.groundtruth_confidences,
    Fields.groundtruth_weights,
    Fields.groundtruth_is_crowd,
    Fields.groundtruth_difficult,
    Fields.groundtruth_group_of,
    Fields.groundtruth_area,
    Fields.groundtruth_instance_masks,
    Fields.groundtruth_instance_mask_weights,
    Fields.groundtruth_keypoints,
    Fields.groundtruth_keypoint_visibilities,
    Fields.groundtruth_keypoint_depths,
    Fields.groundtruth_keypoint_depth_weights,
    Fields.groundtruth_dp_num_points,
    Fields.groundtruth_dp_part_ids,
    Fields.groundtruth_dp_surface_coords,
    Fields.groundtruth_track_ids,
    Fields.groundtruth_temporal_offset,
    Fields.groundtruth_track_match_flags,
)
"""What has a row for each object."""

_ARGUMENTS = {
    "groundtruth_boxes_list": Fields.groundtruth_boxes,
    "groundtruth_classes_list": Fields.groundtruth_classes,
    "groundtruth_confidences_list": Fields.groundtruth_confidences,
    "groundtruth_labeled_classes": Fields.groundtruth_labeled_classes,
    "groundtruth_masks_list": Fields.groundtruth_instance_masks,
    "groundtruth_mask_weights_list": Fields.groundtruth_instance_mask_weights,
    "groundtruth_keypoints_list": Fields.groundtruth_keypoints,
    "groundtruth_keypoint_visibilities_list": Fields.groundtruth_keypoint_visibilities,
    "groundtruth_keypoint_depths_list": Fields.groundtruth_keypoint_depths,
    "groundtruth_keypoint_depth_weights_list": Fields.groundtruth_keypoint_depth_weights,
    "groundtruth_dp_num_points_list": Fields.groundtruth_dp_num_points,
    "groundtruth_dp_part_ids_list": Fields.groundtruth_dp_part_ids,
    "groundtruth_dp_surface_coords_list": Fields.groundtruth_dp_surface_coords,
    "groundtruth_track_ids_list": Fields.groundtruth_track_ids,
    "groundtruth_temporal_offsets_list": Fields.groundtruth_temporal_offset,
    "groundtruth_track_match_flags_list": Fields.groundtruth_track_match_flags,
    "groundtruth_weights_list": Fields.groundtruth_weights,
    "groundtruth_is_crowd_list": Fields.groundtruth_is_crowd,
    "groundtruth_group_of_list": Fields.groundtruth_group_of,
    "groundtruth_area_list": Fields.groundtruth_area,
    "is_annotated_list": Fields.is_annotated,
    "groundtruth_verified_neg_classes": Fields.groundtruth_verified_neg_classes,
    "groundtruth_not_exhaustive_classes": Fields.groundtruth_not_exhaustive_classes,
}
"""The names of labels by the arguments of `DetectionModel.provide_groundtruth`."""


def unstack_batch(
    tensor_dict: Mapping[str, Any], unpad_groundtruth_tensors: bool = True
) -> dict[str, list[Any]]:
    """Return of each tensor [b, ...] those of the images, and of ground truth without padding the objects alone.

    Raises:
        ConfigValueError: if ground truth is to lose its padding, and its `num_groundtruth_boxes` is not there.
    """
    unstacked = {name: tf.unstack(tensor) for name, tensor in tensor_dict.items()}
    if not unpad_groundtruth_tensors:
        return unstacked
    if Fields.num_groundtruth_boxes not in unstacked:
        raise config_util.ConfigValueError(
            f"{Fields.num_groundtruth_boxes} is not among {', '.join(sorted(tensor_dict))}: without it padding cannot "
            "be told from objects"
        )
    counts = unstacked[Fields.num_groundtruth_boxes]
    return unstacked | {
        name: [tensor[:count] for tensor, count in zip(unstacked[name], counts, strict=True)]
        for name in _OF_OBJECTS
        if name in unstacked
    }


def provide_groundtruth(model: DetectionModel, labels: Mapping[str, Any]) -> None:
    """Give a model the ground truth of a batch: lists by the names of `InputDataFields`, as of `unstack_batch`."""
    given = {argument: labels[name] for argument, name in _ARGUMENTS.items() if name in labels}
    model.provide_groundtruth(**given)
