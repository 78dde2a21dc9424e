"""The names that scripts import before they do anything."""

import importlib
import pickle
import subprocess
import sys

import pytest
from google.protobuf import text_format

from boxtune.config import pipeline_pb2 as schema
from object_detection import protos
from object_detection.core import standard_fields
from object_detection.protos import input_reader_pb2, pipeline_pb2, string_int_label_map_pb2


def test_every_message_is_in_one_module():
    modules = [module for name, module in vars(protos).items() if name.endswith("_pb2")]
    found = [
        name for module in modules for name in vars(module) if name in schema.DESCRIPTOR.message_types_by_name
    ]
    of_boxtune_alone = {"Boxtune", "ClassWeight"}
    assert sorted(found) == sorted(set(schema.DESCRIPTOR.message_types_by_name) - of_boxtune_alone)
    assert len(modules) == 34


def test_all_ways_to_import_a_message_lead_to_the_one_schema():
    assert pipeline_pb2.TrainEvalPipelineConfig is schema.TrainEvalPipelineConfig
    assert importlib.import_module("object_detection.protos.pipeline_pb2") is pipeline_pb2
    assert importlib.util.find_spec("object_detection.protos.model_pb2").name.endswith("model_pb2")
    with pytest.raises(ModuleNotFoundError, match="nothing_pb2"):
        importlib.import_module("object_detection.protos.nothing_pb2")


def test_the_values_of_enums_are_in_their_module():
    assert input_reader_pb2.PNG_MASKS == input_reader_pb2.InstanceMaskType.Value("PNG_MASKS") == 2
    assert string_int_label_map_pb2.RARE == 3


def test_messages_are_merged_from_text_and_pickled():
    config = pipeline_pb2.TrainEvalPipelineConfig()
    text_format.Merge("model { ssd { num_classes: 3 } }", config)
    assert pickle.loads(pickle.dumps(config)).model.ssd.num_classes == 3


def test_names_of_fields():
    assert standard_fields.InputDataFields.groundtruth_boxes == "groundtruth_boxes"
    assert standard_fields.DetectionResultFields.detection_offsets == "detection_temporal_offsets"
    assert standard_fields.TfExampleFields.instance_masks == "image/segmentation/object"


def test_label_maps_and_configurations_need_no_tensorflow():
    modules = ["core.standard_fields", "protos", "utils.label_map_util", "utils.dataset_util"]
    imports = "; ".join(f"import object_detection.{name}" for name in modules)
    code = f"import sys; {imports}; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
