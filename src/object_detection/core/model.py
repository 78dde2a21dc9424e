"""The interface of a detector: what notebooks and training loops of the API call."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from object_detection.core.standard_fields import BoxListFields, InputDataFields

_FIELDS = {
    "groundtruth_boxes_list": BoxListFields.boxes,
    "groundtruth_classes_list": BoxListFields.classes,
    "groundtruth_masks_list": BoxListFields.masks,
    "groundtruth_mask_weights_list": BoxListFields.mask_weights,
    "groundtruth_keypoints_list": BoxListFields.keypoints,
    "groundtruth_keypoint_visibilities_list": BoxListFields.keypoint_visibilities,
    "groundtruth_dp_num_points_list": BoxListFields.densepose_num_points,
    "groundtruth_dp_part_ids_list": BoxListFields.densepose_part_ids,
    "groundtruth_dp_surface_coords_list": BoxListFields.densepose_surface_coords,
    "groundtruth_track_ids_list": BoxListFields.track_ids,
    "groundtruth_temporal_offsets_list": BoxListFields.temporal_offsets,
    "groundtruth_track_match_flags_list": BoxListFields.track_match_flags,
    "groundtruth_weights_list": BoxListFields.weights,
    "groundtruth_confidences_list": BoxListFields.confidences,
    "groundtruth_is_crowd_list": BoxListFields.is_crowd,
    "groundtruth_group_of_list": BoxListFields.group_of,
    "groundtruth_area_list": InputDataFields.groundtruth_area,
    "is_annotated_list": InputDataFields.is_annotated,
    "groundtruth_labeled_classes": InputDataFields.groundtruth_labeled_classes,
    "groundtruth_verified_neg_classes": InputDataFields.groundtruth_verified_neg_classes,
    "groundtruth_not_exhaustive_classes": InputDataFields.groundtruth_not_exhaustive_classes,
    "groundtruth_keypoint_depths_list": BoxListFields.keypoint_depths,
    "groundtruth_keypoint_depth_weights_list": BoxListFields.keypoint_depth_weights,
}
"""The names of ground truth by the arguments of `provide_groundtruth`."""


class DetectionModel(tf.Module, abc.ABC):
    """A detector that goes from images to detections in three steps: `preprocess`, `predict`, `postprocess`.

    Classes are numbered from 0 in everything it takes and returns.
    """

    def __init__(self, num_classes: int):
        super().__init__()
        self._num_classes = num_classes
        # Not tracked: ground truth is no part of a checkpoint.
        self.__dict__["_groundtruth_lists"] = {}
        self._is_training = False

    @property
    def num_classes(self) -> int:
        """The number of classes, without background."""
        return self._num_classes

    def groundtruth_lists(self, field: str) -> list[Any]:
        """Return the ground truth of a name, a tensor for each image of the batch.

        Raises:
            RuntimeError: if `provide_groundtruth` was not given it.
        """
        if field not in self._groundtruth_lists:
            raise RuntimeError(f"There is no ground truth {field}: give it to provide_groundtruth")
        return self._groundtruth_lists[field]

    def groundtruth_has_field(self, field: str) -> bool:
        """Return whether `provide_groundtruth` was given the ground truth of a name."""
        return field in self._groundtruth_lists

    @staticmethod
    def get_side_inputs(features: Mapping[str, Any]) -> dict[str, Any]:
        """Return what `predict` takes besides images: nothing."""
        return {}

    @abc.abstractmethod
    def preprocess(self, inputs: Any) -> tuple[Any, Any]:
        """Return images [b, h, w, 3] as the network takes them, and int32 [b, 3]: their sizes without padding."""

    @abc.abstractmethod
    def predict(self, preprocessed_inputs: Any, true_image_shapes: Any, **side_inputs: Any) -> dict[str, Any]:
        """Return the raw predictions of preprocessed images."""

    @abc.abstractmethod
    def postprocess(
        self, prediction_dict: Mapping[str, Any], true_image_shapes: Any, **params: Any
    ) -> dict[str, Any]:
        """Return the detections that raw predictions make."""

    @abc.abstractmethod
    def loss(self, prediction_dict: Mapping[str, Any], true_image_shapes: Any) -> dict[str, Any]:
        """Return the scalar losses of raw predictions against the ground truth."""

    def provide_groundtruth(
        self,
        groundtruth_boxes_list: Sequence[Any],
        groundtruth_classes_list: Sequence[Any],
        groundtruth_masks_list: Sequence[Any] | None = None,
        groundtruth_mask_weights_list: Sequence[Any] | None = None,
        groundtruth_keypoints_list: Sequence[Any] | None = None,
        groundtruth_keypoint_visibilities_list: Sequence[Any] | None = None,
        groundtruth_dp_num_points_list: Sequence[Any] | None = None,
        groundtruth_dp_part_ids_list: Sequence[Any] | None = None,
        groundtruth_dp_surface_coords_list: Sequence[Any] | None = None,
        groundtruth_track_ids_list: Sequence[Any] | None = None,
        groundtruth_temporal_offsets_list: Sequence[Any] | None = None,
        groundtruth_track_match_flags_list: Sequence[Any] | None = None,
        groundtruth_weights_list: Sequence[Any] | None = None,
        groundtruth_confidences_list: Sequence[Any] | None = None,
        groundtruth_is_crowd_list: Sequence[Any] | None = None,
        groundtruth_group_of_list: Sequence[Any] | None = None,
        groundtruth_area_list: Sequence[Any] | None = None,
        is_annotated_list: Sequence[Any] | None = None,
        groundtruth_labeled_classes: Sequence[Any] | None = None,
        groundtruth_verified_neg_classes: Sequence[Any] | None = None,
        groundtruth_not_exhaustive_classes: Sequence[Any] | None = None,
        groundtruth_keypoint_depths_list: Sequence[Any] | None = None,
        groundtruth_keypoint_depth_weights_list: Sequence[Any] | None = None,
    ) -> None:
        """Keep the ground truth of the next batch for `loss`: of each image a tensor in each list.

        Args:
            groundtruth_boxes_list: float32 [n, 4], `[ymin, xmin, ymax, xmax]` as fractions of the padded image.
            groundtruth_classes_list: float32 [n, c], one-hot or k-hot, without background.
            groundtruth_weights_list: float32 [n], of the objects in the loss; 1 by default.
            groundtruth_confidences_list: float32 [n, c], how certain each class is.

        The others are kept under their names in `core.standard_fields` and used by detectors that need
        them.
        """
        given = {name: value for name, value in locals().items() if name in _FIELDS and value is not None}
        self.__dict__["_groundtruth_lists"] = {_FIELDS[name]: value for name, value in given.items()}

    @abc.abstractmethod
    def regularization_losses(self) -> list[Any]:
        """Return the penalties of the weights, scalars."""

    @abc.abstractmethod
    def restore_map(
        self, fine_tune_checkpoint_type: str = "detection", load_all_detection_checkpoint_vars: bool = False
    ) -> dict[str, Any]:
        """Return the variables that a fine-tune type restores, by their keys in a checkpoint."""

    @abc.abstractmethod
    def restore_from_objects(self, fine_tune_checkpoint_type: str = "detection") -> dict[str, Any]:
        """Return what to call `tf.train.Checkpoint` with to restore a fine-tune type."""

    @abc.abstractmethod
    def updates(self) -> list[Any]:
        """Return the operations that a graph has to run after a training step."""

    def call(self, images: Any) -> dict[str, Any]:
        """Return the detections in images float32 [b, h, w, 3] with values from 0 to 255."""
        preprocessed, shapes = self.preprocess(images)
        return self.postprocess(self.predict(preprocessed, shapes), shapes)

    def __call__(self, images: Any) -> dict[str, Any]:
        """Do the same as `call`."""
        return self.call(images)
