"""pipeline.proto: numbers and defaults of the API, and generated code that is not stale."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from boxtune import config
from boxtune.config import pipeline_pb2
from boxtune.config.text import is_map

PROTO = Path(config.__file__).with_name("pipeline.proto")

# Message, field, number on the wire, default: written by hand from the API.
FACTS = [
    ("TrainEvalPipelineConfig", "model", 1, None),
    ("TrainEvalPipelineConfig", "train_config", 2, None),
    ("TrainEvalPipelineConfig", "train_input_reader", 3, None),
    ("TrainEvalPipelineConfig", "eval_config", 4, None),
    ("TrainEvalPipelineConfig", "eval_input_reader", 5, None),
    ("DetectionModel", "ssd", 2, None),
    ("Ssd", "num_classes", 1, 0),
    ("Ssd", "loss", 11, None),
    ("Ssd", "encode_background_as_zeros", 12, False),
    ("Ssd", "negative_class_weight", 13, 1.0),
    ("Ssd", "normalize_loss_by_num_matches", 10, True),
    ("Ssd", "normalize_loc_loss_by_codesize", 14, False),
    ("Ssd", "freeze_batchnorm", 16, False),
    ("Ssd", "add_background_class", 21, True),
    ("SsdFeatureExtractor", "type", 1, ""),
    ("SsdFeatureExtractor", "depth_multiplier", 2, 1.0),
    ("SsdFeatureExtractor", "min_depth", 3, 16),
    ("SsdFeatureExtractor", "pad_to_multiple", 5, 1),
    ("SsdFeatureExtractor", "override_base_feature_extractor_hyperparams", 9, False),
    ("SsdFeatureExtractor", "fpn", 10, None),
    ("SsdFeatureExtractor", "num_layers", 12, 6),
    ("SsdFeatureExtractor", "bifpn", 19, None),
    ("FeaturePyramidNetworks", "additional_layer_depth", 3, 256),
    ("BidirectionalFeaturePyramidNetworks", "combine_method", 5, "fast_attention"),
    ("FixedShapeResizer", "height", 1, 300),
    ("KeepAspectRatioResizer", "min_dimension", 1, 600),
    ("KeepAspectRatioResizer", "max_dimension", 2, 1024),
    ("KeepAspectRatioResizer", "pad_to_max_dimension", 4, False),
    ("Hyperparams", "activation", 4, pipeline_pb2.Hyperparams.RELU),
    ("Hyperparams", "batch_norm", 5, None),
    ("Hyperparams", "sync_batch_norm", 9, None),
    ("L2Regularizer", "weight", 1, 1.0),
    ("RandomNormalInitializer", "stddev", 2, 1.0),
    ("VarianceScalingInitializer", "factor", 1, 2.0),
    ("BatchNorm", "decay", 1, 0.999),
    ("BatchNorm", "center", 2, True),
    ("BatchNorm", "scale", 3, False),
    ("BatchNorm", "epsilon", 4, 0.001),
    ("ConvolutionalBoxPredictor", "use_dropout", 5, True),
    ("ConvolutionalBoxPredictor", "dropout_keep_probability", 6, 0.8),
    ("ConvolutionalBoxPredictor", "kernel_size", 7, 1),
    ("WeightSharedConvolutionalBoxPredictor", "kernel_size", 7, 3),
    ("WeightSharedConvolutionalBoxPredictor", "use_dropout", 11, False),
    ("WeightSharedConvolutionalBoxPredictor", "share_prediction_tower", 13, False),
    ("BoxPredictor", "weight_shared_convolutional_box_predictor", 4, None),
    ("SsdAnchorGenerator", "min_scale", 2, 0.2),
    ("SsdAnchorGenerator", "max_scale", 3, 0.95),
    ("SsdAnchorGenerator", "reduce_boxes_in_lowest_layer", 5, True),
    ("SsdAnchorGenerator", "interpolated_scale_aspect_ratio", 13, 1.0),
    ("MultiscaleAnchorGenerator", "anchor_scale", 3, 4.0),
    ("MultiscaleAnchorGenerator", "scales_per_octave", 5, 2),
    ("FasterRcnnBoxCoder", "y_scale", 1, 10.0),
    ("FasterRcnnBoxCoder", "height_scale", 3, 5.0),
    ("ArgMaxMatcher", "matched_threshold", 1, 0.5),
    ("ArgMaxMatcher", "negatives_lower_than_unmatched", 4, True),
    ("ArgMaxMatcher", "force_match_for_each_row", 5, False),
    ("SigmoidFocalClassificationLoss", "gamma", 2, 2.0),
    ("WeightedSmoothL1LocalizationLoss", "delta", 2, 1.0),
    ("HardExampleMiner", "num_hard_examples", 1, 64),
    ("HardExampleMiner", "iou_threshold", 2, 0.7),
    ("BatchNonMaxSuppression", "score_threshold", 1, 0.0),
    ("BatchNonMaxSuppression", "iou_threshold", 2, 0.6),
    ("BatchNonMaxSuppression", "max_total_detections", 5, 100),
    ("PostProcessing", "score_converter", 2, pipeline_pb2.PostProcessing.IDENTITY),
    ("TrainConfig", "batch_size", 1, 32),
    ("TrainConfig", "gradient_clipping_by_norm", 6, 0.0),
    ("TrainConfig", "fine_tune_checkpoint", 7, ""),
    ("TrainConfig", "num_steps", 9, 0),
    ("TrainConfig", "add_regularization_loss", 18, True),
    ("TrainConfig", "fine_tune_checkpoint_type", 22, ""),
    ("TrainConfig", "use_bfloat16", 26, False),
    ("TrainConfig", "fine_tune_checkpoint_version", 28, pipeline_pb2.V1),
    ("Optimizer", "use_moving_average", 4, True),
    ("Optimizer", "moving_average_decay", 5, 0.9999),
    ("MomentumOptimizer", "momentum_optimizer_value", 2, 0.9),
    ("RMSPropOptimizer", "epsilon", 4, 1.0),
    ("AdamOptimizer", "epsilon", 2, 1e-8),
    ("ConstantLearningRate", "learning_rate", 1, 0.002),
    ("ExponentialDecayLearningRate", "decay_steps", 2, 4000000),
    ("ExponentialDecayLearningRate", "staircase", 4, True),
    ("CosineDecayLearningRate", "warmup_learning_rate", 3, 0.0002),
    ("CosineDecayLearningRate", "warmup_steps", 4, 10000),
    ("EvalConfig", "batch_size", 25, 1),
    ("EvalConfig", "num_visualizations", 1, 10),
    ("EvalConfig", "metrics_set", 8, None),
    ("EvalConfig", "use_moving_averages", 11, False),
    ("EvalConfig", "min_score_threshold", 13, 0.5),
    ("EvalConfig", "max_num_boxes_to_visualize", 14, 20),
    ("EvalConfig", "include_metrics_per_category", 24, False),
    ("EvalConfig", "recall_lower_bound", 26, 0.0),
    ("EvalConfig", "recall_upper_bound", 27, 1.0),
    ("EvalConfig", "super_categories", 34, None),
    ("EvalConfig", "parameterized_metric", 31, None),
    ("ParameterizedMetric", "coco_keypoint_metrics", 1, None),
    ("CocoKeypointMetrics", "class_label", 1, ""),
    ("CocoKeypointMetrics", "keypoint_label_to_sigmas", 2, None),
    ("InputReader", "label_map_path", 1, ""),
    ("InputReader", "shuffle", 2, True),
    ("InputReader", "tf_record_input_reader", 8, None),
    ("InputReader", "shuffle_buffer_size", 11, 2048),
    ("InputReader", "num_readers", 6, 64),
    ("InputReader", "sample_1_of_n_examples", 22, 1),
    ("InputReader", "max_number_of_boxes", 21, 100),
    ("InputReader", "use_display_name", 17, False),
    ("TFRecordInputReader", "input_path", 1, None),
    ("PreprocessingStep", "random_horizontal_flip", 2, None),
    ("PreprocessingStep", "random_crop_image", 12, None),
    ("PreprocessingStep", "ssd_random_crop", 21, None),
    ("PreprocessingStep", "random_scale_crop_and_pad_to_square", 38, None),
    ("RandomCropImage", "max_aspect_ratio", 3, 1.33),
    ("RandomCropImage", "random_coef", 7, 0.0),
    ("RandomAdjustHue", "max_delta", 1, 0.02),
    ("RandomScaleCropAndPadToSquare", "scale_min", 2, 0.1),
    ("SSDRandomCropPadOperation", "clip_boxes", 13, True),
    ("StringIntLabelMap", "item", 1, None),
    ("StringIntLabelMapItem", "name", 1, ""),
    ("StringIntLabelMapItem", "id", 2, 0),
    ("StringIntLabelMapItem", "display_name", 3, ""),
    ("StringIntLabelMapItem", "keypoints", 4, None),
]


@pytest.mark.parametrize(("message", "name", "number", "default"), FACTS)
def test_field_is_that_of_the_api(message, name, number, default):
    field = pipeline_pb2.DESCRIPTOR.message_types_by_name[message].fields_by_name[name]
    assert field.number == number
    if isinstance(default, float):
        default = pytest.approx(default, rel=1e-7)
    if default is not None:
        assert field.default_value == default


def test_wire_form_is_that_of_the_api():
    config = pipeline_pb2.TrainEvalPipelineConfig()
    config.model.ssd.num_classes = 3
    config.train_config.num_steps = 300
    # Tags are number * 8 + wire type: 1 * 8 + 2 model, 2 * 8 + 2 ssd, 1 * 8 + 0 num_classes;
    # 2 * 8 + 2 train_config, 9 * 8 + 0 num_steps, 300 = 0b10_0101100.
    assert config.SerializeToString() == bytes([0x0A, 4, 0x12, 2, 0x08, 3, 0x12, 3, 0x48, 0xAC, 0x02])


@pytest.mark.parametrize("name", ["sync_replicas", "unpad_groundtruth_tensors", "max_number_of_boxes"])
def test_relics_are_deprecated(name):
    field = pipeline_pb2.TrainConfig.DESCRIPTOR.fields_by_name[name]
    assert field.GetOptions().deprecated


# What boxtune has besides, and what versions of the API have that are not those of the tables.
OWN = {"Boxtune", "ClassWeight"}
OWN_FIELDS = {
    ("TrainEvalPipelineConfig", "boxtune"),
    ("EvalConfig", "image_classes_field_map_empty_to_ones"),
    ("BidirectionalFeaturePyramidNetworks", "use_native_resize_op"),
}


@pytest.mark.shared
def test_messages_and_fields_are_those_of_the_api(shared):
    table = _table(shared / "api/messages.tsv")
    described = {
        (_short(message.full_name), name): facts
        for message in _messages()
        for name, facts in _facts(message).items()
        if message.name not in OWN and (_short(message.full_name), name) not in OWN_FIELDS
    }
    assert len(described) > 800
    assert described == {
        (_short(row["message"]), row["field"]): _facts_of_row(row) if row["field"] else None for row in table
    }


@pytest.mark.shared
def test_what_the_api_calls_deprecated_is_without_effect(shared):
    table = _table(shared / "api/messages.tsv")
    api = {(_short(row["message"]), row["field"]) for row in table if row["note"] == "deprecated"}
    ours = {
        (_short(f.containing_type.full_name), f.name)
        for f in _descriptor_fields()
        if f.GetOptions().deprecated
    }
    assert len(api) == 11
    assert api <= ours


@pytest.mark.shared
def test_enums_are_those_of_the_api(shared):
    enums = list(pipeline_pb2.DESCRIPTOR.enum_types_by_name.values())
    enums += [enum for message in _messages() for enum in message.enum_types]
    described = {
        (_short(enum.full_name), value.name): value.number for enum in enums for value in enum.values
    }
    assert described == {
        (_short(row["enum"]), row["value"]): int(row["number"]) for row in _table(shared / "api/enums.tsv")
    }


@pytest.mark.parametrize(
    ("message", "first", "last"), [("GraphRewriter", 1000, 2**29 - 1), ("ExternalInputReader", 1, 999)]
)
def test_extensions_of_other_programs_have_the_numbers_of_the_api(message, first, last):
    described = descriptor_pb2.DescriptorProto()
    pipeline_pb2.DESCRIPTOR.message_types_by_name[message].CopyToProto(described)
    assert [(one.start, one.end - 1) for one in described.extension_range] == [(first, last)]


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _short(name: str) -> str:
    return name.removeprefix("object_detection.protos.").removeprefix("boxtune.config.")


def _facts_of_row(row: dict[str, str]) -> tuple[int, str, str, str, str]:
    """Return number, label, type, default and oneof of a field."""
    oneof = row["note"].partition("oneof ")[2]
    kind = row["type"].replace("object_detection.protos.", "")
    return int(row["number"]), row["label"], kind, row["default"], oneof


def _facts(message: Descriptor) -> dict[str, tuple[int, str, str, str, str] | None]:
    """Return the same by the names of a message's fields; of one without fields nothing by no name."""
    return {
        field.name: (
            field.number,
            "repeated" if field.is_repeated else "optional",
            _kind(field),
            _default(field),
            field.containing_oneof.name if field.containing_oneof else "",
        )
        for field in message.fields
    } or {"": None}


def _kind(field: FieldDescriptor) -> str:
    if is_map(field):
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        return f"map<{_kind(key)},{_kind(value)}>"
    if kind := field.message_type or field.enum_type:
        return _short(kind.full_name)
    names = {number: name for name, number in vars(FieldDescriptor).items() if name.startswith("TYPE_")}
    return names[field.type].removeprefix("TYPE_").lower()


def _default(field: FieldDescriptor) -> str:
    if not field.has_default_value:
        return ""
    if field.enum_type:
        return field.enum_type.values_by_number[field.default_value].name
    return repr(field.default_value)


def test_generated_code_is_of_this_proto():
    text = set(_text_fields())
    generated = {
        (field.full_name, field.number, field.has_default_value, field.GetOptions().deprecated)
        for field in _descriptor_fields()
    }
    assert text == generated, (
        "generate pipeline_pb2.py again: the command stands at the top of pipeline.proto"
    )


def _text_fields() -> Iterator[tuple[str, int, bool, bool]]:
    """Yield full name, number, whether there is a default, and whether it is deprecated, from the text."""
    scopes = ["boxtune.config"]
    for line in re.sub(r"//.*", "", PROTO.read_text(encoding="utf-8")).splitlines():
        if opened := re.match(r"\s*(?:message|(oneof|enum)) (\w+) \{(\})?", line):
            scope = scopes[-1] if opened[1] == "oneof" else f"{scopes[-1]}.{opened[2]}"
            scopes += [] if opened[3] else [scope]
        elif line.strip() == "}":
            scopes.pop()
        elif field := re.match(r"\s*(?:optional |repeated )?(?:[\w.]+|map<.+>) (\w+) = (\d+)(.*);", line):
            yield (
                f"{scopes[-1]}.{field[1]}",
                int(field[2]),
                "default =" in field[3],
                "deprecated = true" in field[3],
            )


def _descriptor_fields() -> Iterator[FieldDescriptor]:
    for message in _messages():
        yield from message.fields


def _messages() -> Iterator[Descriptor]:
    """Yield every message, nested ones too, but for those that maps consist of."""
    pending = list(pipeline_pb2.DESCRIPTOR.message_types_by_name.values())
    while pending:
        message = pending.pop()
        pending += [nested for nested in message.nested_types if not nested.GetOptions().map_entry]
        yield message
