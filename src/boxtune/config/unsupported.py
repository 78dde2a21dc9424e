"""The features of the API that boxtune does not have."""

from typing import NamedTuple

_PACKAGE = "boxtune.config."


class Missing(NamedTuple):
    """A feature that boxtune does not have, and the way out."""

    what: str
    way_out: str


_GRAY = Missing(
    "networks for images of one channel", "leave it false: gray images are read as three channels"
)
_SIGMOID_CALIBRATION = Missing(
    "calibration by a sigmoid",
    "use function_approximation; the API under TensorFlow 2 does not have it, either",
)
_NORMALIZATION = Missing(
    "augmentation that normalizes images",
    "remove it: detectors take images in [0, 255] and normalize them themselves",
)
_SSD_HEADS = "use convolutional_box_predictor or weight_shared_convolutional_box_predictor"
_KEYPOINTS = Missing("models that learn keypoints", "remove it")
_CONTEXT = Missing("features of other images", "leave it false")
_CHANNELS = Missing("images of more than three channels", "remove it")

UNSUPPORTED = {
    "DetectionModel.faster_rcnn": Missing("Faster R-CNN and Mask R-CNN", "use model.ssd"),
    "DetectionModel.center_net": Missing("CenterNet", "use model.ssd"),
    "Ssd.explicit_background_class": Missing(
        "a background among num_classes",
        "leave it false; the API under TensorFlow 2 takes each class for the one before it then, "
        "unless scores are labels",
    ),
    "SsdFeatureExtractor.replace_preprocessor_with_placeholder": Missing(
        "networks that take prepared images", "leave it false"
    ),
    "Hyperparams.group_norm": Missing(
        "group normalization", "use batch_norm; the API under TensorFlow 2 normalizes nothing in its place"
    ),
    "model.ssd.box_predictor.mask_rcnn_box_predictor": Missing("an SSD with these heads", _SSD_HEADS),
    "BoxPredictor.rfcn_box_predictor": Missing("R-FCN", _SSD_HEADS),
    "Matcher.bipartite_matcher": Missing(
        "the bipartite matcher", "use argmax_matcher, the only one of the API under TensorFlow 2"
    ),
    "Loss.expected_loss_weights": Missing(
        "expected weights of anchors",
        "remove it, or use random_example_sampler; the API under TensorFlow 2 does not have them, either",
    ),
    "CalibrationConfig.sigmoid_calibration": _SIGMOID_CALIBRATION,
    "CalibrationConfig.class_id_sigmoid_calibrations": _SIGMOID_CALIBRATION,
    "PreprocessingStep.normalize_image": _NORMALIZATION,
    "PreprocessingStep.subtract_channel_mean": _NORMALIZATION,
    "PreprocessingStep.rgb_to_gray": Missing(
        "augmentation to images of one channel", "use random_rgb_to_gray { probability: 1 }"
    ),
    "PreprocessingStep.scale_boxes_to_pixel_coordinates": Missing(
        "boxes in pixels before the detector", "remove it: detectors scale boxes in [0, 1] themselves"
    ),
    "KeepAspectRatioResizer.convert_to_grayscale": _GRAY,
    "FixedShapeResizer.convert_to_grayscale": _GRAY,
    "ConditionalShapeResizer.convert_to_grayscale": _GRAY,
    "PadToMultipleResizer.convert_to_grayscale": _GRAY,
    "InputReader.external_input_reader": Missing(
        "readers of other formats", "name TFRecords in tf_record_input_reader"
    ),
    "train_input_reader.load_instance_masks": Missing("models that learn masks", "leave it false"),
    "train_input_reader.num_keypoints": _KEYPOINTS,
    "InputReader.keypoint_type_weight": _KEYPOINTS,
    "InputReader.load_keypoint_depth_features": Missing("depths of keypoints", "leave it false"),
    "InputReader.load_dense_pose": Missing("DensePose", "leave it false"),
    "InputReader.load_track_id": Missing("tracking", "leave it false"),
    "InputReader.load_context_features": _CONTEXT,
    "InputReader.load_context_image_ids": _CONTEXT,
    "InputReader.num_additional_channels": _CHANNELS,
    "EvalConfig.retain_original_image_additional_channels": _CHANNELS,
    "EvalConfig.keypoint_edge": Missing("lines between keypoints in images", "remove it"),
}
"""By ``Message.field``, or by the path from the top where only that field is meant.

A scalar with its default value has no effect, and is accepted.
"""


def missing(full_name: str, path: str = "") -> Missing | None:
    """Return what is missing for a field, given by its full name and, if known, its path; None if nothing is."""
    return UNSUPPORTED.get(path) or UNSUPPORTED.get(full_name.removeprefix(_PACKAGE))


def reason(missing: Missing) -> str:
    """Return the sentence about a missing feature."""
    return f"boxtune does not have {missing.what} yet; {missing.way_out}."
