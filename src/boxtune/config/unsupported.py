"""The features of the API that boxtune does not have: read in a configuration, and refused where they would be used."""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.message import Message

from boxtune.config.families import FAMILIES
from boxtune.config.locations import line_of
from boxtune.config.pipeline_pb2 import TrainEvalPipelineConfig
from boxtune.config.text import TextError, fill, is_map, readable
from boxtune.errors import ConfigError

MODEL = ("model",)
"""The sections that a detector is built from."""

TRAINING = (*MODEL, "train_config", "train_input_reader")
"""The sections that training reads."""

EVALUATION = ("eval_config", "eval_input_reader")
"""The sections that evaluation reads besides the detector's own."""

Function = Callable[..., Any]

_PACKAGE = "boxtune.config."
_MOST_PATHS = 5


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
    "SsdFeatureExtractor.bifpn": Missing(
        "a bidirectional pyramid on the backbones that are built", "use fpn"
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


Steps = tuple[tuple[str, int | None], ...]
"""The names of fields from the top, each with its index in a list, or None."""


class _Unsupported(NamedTuple):
    """A field that is set and that boxtune does not have."""

    path: Steps
    missing: Missing
    value: Any

    def __str__(self) -> str:
        return ".".join(name if index is None else f"{name}[{index}]" for name, index in self.path)


def refuse(
    config: TrainEvalPipelineConfig,
    source: str | os.PathLike[str] | None = None,
    sections: Collection[str] = (*TRAINING, *EVALUATION),
) -> None:
    """Raise ConfigError if one of the `sections` sets a field that boxtune does not have.

    `source` is the file that the configuration was read from: the error names it, and the line, if the
    field is set there.
    """
    _raise_for([one for one in _unsupported_in(config) if one.path[0][0] in sections], source)


def refuse_family(config: TrainEvalPipelineConfig, source: str | os.PathLike[str]) -> None:
    """Raise ConfigError, as `refuse` does, if boxtune does not have this family of detectors."""
    family = config.model.WhichOneof("model")
    _raise_for(
        [one for one in _unsupported_in(config) if one.path == (("model", None), (family, None))], source
    )


def missing(full_name: str, path: str = "") -> Missing | None:
    """Return what is missing for a field, given by its full name and, if known, its path; None if nothing is."""
    name = full_name.removeprefix(_PACKAGE)
    message, _, field = name.rpartition(".")
    if message == "DetectionModel" and field in FAMILIES:
        return None
    return UNSUPPORTED.get(path) or UNSUPPORTED.get(name)


def reason(missing: Missing) -> str:
    """Return the sentence about a missing feature."""
    return f"boxtune does not have {missing.what} yet; {missing.way_out}."


def _unsupported_in(message: Message, parents: Steps = ()) -> Iterator[_Unsupported]:
    for field, value in message.ListFields():
        path: Steps = (*parents, (field.name, None))
        unsupported = missing(field.full_name, ".".join(name for name, _ in path))
        is_scalar = not field.is_repeated and field.message_type is None
        if unsupported and not (is_scalar and value == field.default_value):
            yield _Unsupported(path, unsupported, value)
        elif field.message_type is not None and not unsupported and not is_map(field):
            for index, item in enumerate(value) if field.is_repeated else [(None, value)]:
                yield from _unsupported_in(item, (*parents, (field.name, index)))


def _raise_for(found: Sequence[_Unsupported], source: str | os.PathLike[str] | None) -> None:
    """Raise ConfigError for the first field found, naming the others, too."""
    if not found:
        return
    first, *others = found
    more = ", ".join(map(str, others[:_MOST_PATHS])) + (", ..." if len(others) > _MOST_PATHS else "")
    rest = f" Also missing: {more}." if others else ""
    location = "" if source is None else f"{_location(first, Path(source))}: "
    raise ConfigError(f"{location}{first}: {reason(first.missing)}{rest}")


def _location(found: _Unsupported, file: Path) -> str:
    """Return ``FILE:LINE``, or only the file if it does not set the field to this value."""
    try:
        text = readable(file.read_text(encoding="utf-8")) if file.is_file() else ""
        given = TrainEvalPipelineConfig()
        fill(given, text)
    except (OSError, UnicodeDecodeError, TextError):
        return str(file)
    # Of a message it counts that it is set.
    same = any(
        one.path == found.path and (isinstance(one.value, Message) or one.value == found.value)
        for one in _unsupported_in(given)
    )
    line = line_of(text, found.path) if same else None
    return str(file) if line is None else f"{file}:{line}"


def oneof(section: Message, readers: Mapping[str, Callable[[Any], Any]]) -> Any:
    """Return the member that is set in `section`, as read by the function in `readers` under its name.

    `section` is a message with one oneof, such as an AnchorGenerator.

    Raises:
        ConfigError: if no member is set, or one that is not in `readers`.
    """
    name = section.WhichOneof(section.DESCRIPTOR.oneofs[0].name)
    if name is None:
        raise ConfigError(
            f"pipeline.config: {section.DESCRIPTOR.name} is empty; choose one of: {', '.join(readers)}."
        )
    if name not in readers:
        field = section.DESCRIPTOR.fields_by_name[name]
        known = missing(field.full_name) or Missing(f'"{name}"', f"choose one of: {', '.join(readers)}")
        raise ConfigError(f"pipeline.config: {section.DESCRIPTOR.name}: {reason(known)}")
    return readers[name](getattr(section, name))
