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
    "anchor_generators.flexible_grid_anchor_generator",
    "anchor_generators.grid_anchor_generator",
    "anchor_generators.multiple_grid_anchor_generator",
    "anchor_generators.multiscale_grid_anchor_generator",
    "box_coders.faster_rcnn_box_coder",
    "box_coders.keypoint_box_coder",
    "box_coders.mean_stddev_box_coder",
    "box_coders.square_box_coder",
    "builders.anchor_generator_builder",
    "builders.box_coder_builder",
    "builders.calibration_builder",
    "builders.dataset_builder",
    "builders.decoder_builder",
    "builders.hyperparams_builder",
    "builders.image_resizer_builder",
    "builders.losses_builder",
    "builders.matcher_builder",
    "builders.model_builder",
    "builders.optimizer_builder",
    "builders.post_processing_builder",
    "builders.preprocessor_builder",
    "builders.region_similarity_calculator_builder",
    "builders.target_assigner_builder",
    "core.anchor_generator",
    "core.balanced_positive_negative_sampler",
    "core.box_coder",
    "core.box_list",
    "core.box_list_ops",
    "core.box_predictor",
    "core.data_decoder",
    "core.data_parser",
    "core.freezable_batch_norm",
    "core.freezable_sync_batch_norm",
    "core.keypoint_ops",
    "core.losses",
    "core.matcher",
    "core.minibatch_sampler",
    "core.model",
    "core.post_processing",
    "core.preprocessor",
    "core.preprocessor_cache",
    "core.region_similarity_calculator",
    "core.standard_fields",
    "core.target_assigner",
    "data_decoders.tf_example_decoder",
    "dataset_tools.create_coco_tf_record",
    "dataset_tools.create_kitti_tf_record",
    "dataset_tools.create_pascal_tf_record",
    "dataset_tools.create_pet_tf_record",
    "dataset_tools.oid_hierarchical_labels_expansion",
    "dataset_tools.oid_tfrecord_creation",
    "dataset_tools.seq_example_util",
    "dataset_tools.tf_record_creation_util",
    "eval_util",
    "export_tflite_graph_lib_tf2",
    "exporter_lib_v2",
    "inputs",
    "matchers.argmax_matcher",
    "metrics.calibration_evaluation",
    "metrics.calibration_metrics",
    "metrics.coco_evaluation",
    "metrics.coco_tools",
    "metrics.io_utils",
    "metrics.lvis_evaluation",
    "metrics.lvis_tools",
    "metrics.offline_eval_map_corloc",
    "metrics.oid_challenge_evaluation",
    "metrics.oid_challenge_evaluation_utils",
    "metrics.oid_vrd_challenge_evaluation",
    "metrics.oid_vrd_challenge_evaluation_utils",
    "metrics.tf_example_parser",
    "model_lib",
    "model_lib_v2",
    "utils.category_util",
    "utils.colab_utils",
    "utils.config_util",
    "utils.dataset_util",
    "utils.json_utils",
    "utils.label_map_util",
    "utils.learning_schedules",
    "utils.metrics",
    "utils.np_box_list",
    "utils.np_box_list_ops",
    "utils.np_box_mask_list",
    "utils.np_box_mask_list_ops",
    "utils.np_box_ops",
    "utils.np_mask_ops",
    "utils.object_detection_evaluation",
    "utils.ops",
    "utils.per_image_evaluation",
    "utils.per_image_vrd_evaluation",
    "utils.shape_utils",
    "utils.spatial_transform_ops",
    "utils.static_shape",
    "utils.test_case",
    "utils.test_utils",
    "utils.tf_version",
    "utils.variables_helper",
    "utils.visualization_utils",
    "utils.vrd_evaluation",
)
ABSENT = {
    # layers of TensorFlow 1, and pooling of several maps
    "normalize_to_target", "multilevel_roi_align", "box_grid_coordinate_vectors", "feature_grid_coordinate_vectors",
    "ravel_indices",
    # Estimators and sessions of TensorFlow 1
    "create_model_fn", "create_estimator_and_inputs", "create_train_and_eval_specs", "continuous_eval_generator",
    "continuous_eval", "populate_experiment", "repeated_checkpoint_run",
    # targets of CenterNet and DETR
    "max_distance_for_overlap", "get_batch_predictions_from_indices", "filter_mask_overlap",
    "filter_mask_overlap_min_area",
    # CenterNet
    "SSDModule.inference_fn",  # a tf.function, which has the argument of its signature
    "CenterNetModule.get_model", "CenterNetModule.input_shape", "CenterNetModule.inference_fn",
    "keypoint_proto_to_params", "object_detection_proto_to_params", "object_center_proto_to_params",
    "mask_proto_to_params", "densepose_proto_to_params", "tracking_proto_to_params", "temporal_offset_proto_to_params",
    "KEYPOINT_STD_DEV_DEFAULT",
    # what scripts have for themselves
    "main", "flags", "logger",
}  # fmt: skip
ABSENT_CLASSES = ("CenterNet", "DETRTargetAssigner")

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
        if name in ABSENT or name.startswith(ABSENT_CLASSES):
            continue
        found = imported
        for part in name.split("."):
            found = getattr(found, part)
        if row["kind"] in ("function", "method", "abstract"):
            assert_same_arguments(found, signature)
