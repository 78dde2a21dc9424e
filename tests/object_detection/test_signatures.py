"""Names, arguments and defaults of the modules that scripts import, against those of the API."""

import ast
import csv
import importlib
import inspect
import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent.parent
FILE = Path(os.environ.get("BOXTUNE_SHARED", REPOSITORY.parent / "shared")) / "api" / "signatures.tsv"
MODULES = (
    "builders.dataset_builder",
    "builders.decoder_builder",
    "builders.model_builder",
    "builders.optimizer_builder",
    "core.data_decoder",
    "core.data_parser",
    "core.model",
    "core.standard_fields",
    "data_decoders.tf_example_decoder",
    "dataset_tools.create_coco_tf_record",
    "dataset_tools.create_kitti_tf_record",
    "dataset_tools.create_pascal_tf_record",
    "dataset_tools.create_pet_tf_record",
    "dataset_tools.tf_record_creation_util",
    "eval_util",
    "export_tflite_graph_lib_tf2",
    "exporter_lib_v2",
    "inputs",
    "metrics.tf_example_parser",
    "model_lib",
    "model_lib_v2",
    "utils.colab_utils",
    "utils.config_util",
    "utils.dataset_util",
    "utils.label_map_util",
    "utils.ops",
    "utils.visualization_utils",
)
ABSENT = {
    # R-FCN, layers of TensorFlow 1, and pooling of several maps
    "batch_position_sensitive_crop_regions", "position_sensitive_crop_regions", "normalize_to_target",
    "multilevel_roi_align",
    # Estimators and sessions of TensorFlow 1
    "create_model_fn", "create_estimator_and_inputs", "create_train_and_eval_specs", "continuous_eval_generator",
    "continuous_eval", "populate_experiment", "repeated_checkpoint_run", "visualize_detection_results",
    # evaluators
    "get_evaluators", "get_eval_metric_ops_for_evaluators", "evaluator_options_from_eval_config",
    "EVAL_METRICS_CLASS_DICT",
    # CenterNet
    "SSDModule.inference_fn",  # a tf.function, which has the argument of its signature
    "CenterNetModule.get_model", "CenterNetModule.input_shape", "CenterNetModule.inference_fn",
    "keypoint_proto_to_params", "object_detection_proto_to_params", "object_center_proto_to_params",
    "mask_proto_to_params", "densepose_proto_to_params", "tracking_proto_to_params", "temporal_offset_proto_to_params",
    "KEYPOINT_STD_DEV_DEFAULT",
    # what scripts have for themselves
    "main", "flags", "logger",
}  # fmt: skip

NO_DEFAULT, NOT_COMPARED = inspect.Parameter.empty, object()

pytestmark = pytest.mark.shared


def rows():
    if not FILE.exists():
        return {}
    found = {}
    with FILE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            found.setdefault(row["module"].removeprefix("object_detection."), []).append(row)
    return found


ROWS = rows()


def arguments(signature):
    """Return each name with its default: `NO_DEFAULT`, or `NOT_COMPARED` where that is no literal."""
    parsed = ast.parse(f"def f{signature}: pass").body[0].args
    names = [argument.arg for argument in parsed.args]
    defaults = [NO_DEFAULT] * (len(names) - len(parsed.defaults)) + list(map(literal, parsed.defaults))
    return list(zip(names, defaults, strict=True))


def literal(node):
    try:
        return ast.literal_eval(node)
    except ValueError:
        return NOT_COMPARED


def assert_same_arguments(ours, signature):
    """Arguments of ours may follow behind those of the API, if they have defaults."""
    parameters = [
        parameter
        for parameter in inspect.signature(ours).parameters.values()
        if parameter.kind is not parameter.VAR_KEYWORD
    ]
    expected = arguments(signature)
    assert len(parameters) >= len(expected)
    for parameter, (name, default) in zip(parameters, expected, strict=False):
        assert parameter.name == name
        assert (parameter.default is NO_DEFAULT) == (default is NO_DEFAULT), name
        assert default is NOT_COMPARED or parameter.default == default, name
    assert all(parameter.default is not NO_DEFAULT for parameter in parameters[len(expected) :])


@pytest.mark.parametrize("module", MODULES)
def test_names_arguments_and_defaults(module):
    if not ROWS:
        pytest.skip(f"needs {FILE}")
    imported = importlib.import_module(f"object_detection.{module}")
    for row in ROWS[module]:
        name, signature = row["name"], row["signature or value"]
        if name in ABSENT:
            continue
        found = imported
        for part in name.split("."):
            found = getattr(found, part)
        if row["kind"] in ("function", "method", "abstract"):
            assert_same_arguments(found, signature)
