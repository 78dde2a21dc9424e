"""What tutorials do and other tests do not: check the installation, pass a model to a function, exchange TensorFlow."""

import csv
import unittest

import numpy as np
import pytest
import tensorflow as tf
from object_detection.protos.string_int_label_map_pb2 import StringIntLabelMap

from boxtune.config.families import recipe_names
from object_detection.builders import model_builder, model_builder_tf2_test
from object_detection.utils import category_util, config_util, label_map_util, ops, visualization_utils

CHECKPOINT = "checkpoints/ssd_mobilenet_v2_fpnlite_224x224_a050_coco"


def check(name):
    """Return the result of a test of the installation. (Its class, named in this module, would be collected whole.)"""
    result = unittest.TestResult()
    model_builder_tf2_test.ModelBuilderTF2Test(name).run(result)
    return result


class TestInstallation:
    def test_the_check_succeeds(self):
        result = check("test_detect")
        assert (result.testsRun, result.failures, result.errors) == (1, [], [])

    def test_every_model_is_in_it(self):
        cases = unittest.defaultTestLoader.loadTestsFromModule(model_builder_tf2_test)
        assert cases.countTestCases() == 1 + len(recipe_names())

    def test_a_model_that_cannot_be_built_fails_it(self, monkeypatch):
        monkeypatch.setattr(model_builder, "build", lambda *_, **__: None)
        assert len(check("test_build0").failures) == 1


def test_one_function_of_tensorflow_for_any_model(shared):
    folder = shared / CHECKPOINT
    configs = config_util.get_configs_from_pipeline_file(str(folder / "pipeline.config"))
    model = model_builder.build(model_config=configs["model"], is_training=False)
    tf.compat.v2.train.Checkpoint(model=model).restore(
        tf.train.latest_checkpoint(str(folder / "checkpoint"))
    ).expect_partial()

    @tf.function
    def detect(image, detector):
        image, shapes = detector.preprocess(image)
        return detector.postprocess(detector.predict(image, shapes), shapes)

    image = np.array(
        tf.io.decode_jpeg(tf.io.read_file(str(shared / "data/voc/raccoon/images/raccoon-2.jpg")))
    )
    found = detect(tf.convert_to_tensor(image[None], dtype=tf.float32), model)
    count = int(found.pop("num_detections")[0])
    found = {key: value[0, :count].numpy() for key, value in found.items()}
    drawn = image.copy()
    visualization_utils.visualize_boxes_and_labels_on_image_array(
        drawn,
        found["detection_boxes"],
        found["detection_classes"].astype(np.int64) + 1,
        found["detection_scores"],
        label_map_util.create_category_index_from_labelmap(str(folder / "label_map.pbtxt")),
        use_normalized_coordinates=True,
        min_score_thresh=0.3,
    )
    assert (drawn != image).any(axis=-1).sum() > 1000


def test_the_tensorflow_of_a_module_is_exchanged(monkeypatch):
    monkeypatch.setattr(ops, "tf", tf.compat.v1)  # as notebooks from the time between both versions do
    masks = np.ones([1, 15, 15], np.float32)
    boxes = np.array([[0.25, 0.5, 0.75, 1]], np.float32)
    reframed = ops.reframe_box_masks_to_image_masks(masks, boxes, 8, 4)
    inside = np.zeros([8, 4])
    inside[2:6, 2:] = 1
    np.testing.assert_array_equal(np.array(reframed[0] > 0.5), inside)


def test_private_functions_that_scripts_edit_with(shared):
    configs = config_util.get_configs_from_pipeline_file(str(shared / CHECKPOINT / "pipeline.config"))
    config_util._update_batch_size(configs, 4)
    config_util._update_num_classes(configs["model"], 3)
    config_util._update_train_steps(configs, 500)
    config_util._update_label_map_path(configs, "map.pbtxt")
    config_util._update_tf_record_input_path(configs["train_input_config"], "train.record")
    config_util._update_tf_record_input_path(configs["eval_input_config"], ["a.record", "b.record"])
    edited = config_util.create_pipeline_proto_from_configs(configs)
    assert (edited.train_config.batch_size, edited.train_config.num_steps) == (4, 500)
    assert edited.model.ssd.num_classes == 3
    assert (
        edited.train_input_reader.label_map_path == edited.eval_input_reader[0].label_map_path == "map.pbtxt"
    )
    assert edited.train_input_reader.tf_record_input_reader.input_path == ["train.record"]
    assert edited.eval_input_reader[0].tf_record_input_reader.input_path == ["a.record", "b.record"]
    with pytest.raises(ValueError, match="has the id -1"):
        label_map_util._validate_label_map(StringIntLabelMap(item=[{"name": "cat", "id": -1}]))


class TestCategories:
    def test_there_and_back(self, tmp_path):
        path = tmp_path / "categories.csv"
        categories = [{"id": 2, "name": 'a "second", one'}, {"id": 1, "name": "chat"}]
        category_util.save_categories_to_csv_file(categories, str(path))
        assert [category["id"] for category in categories] == [1, 2]
        with path.open(newline="") as file:
            assert list(csv.reader(file)) == [["1", "chat"], ["2", 'a "second", one']]
        assert category_util.load_categories_from_csv_file(str(path)) == categories

    @pytest.mark.parametrize("row", ["2", "2,b,c", "two,b"])
    def test_a_row_of_another_kind(self, tmp_path, row):
        path = tmp_path / "categories.csv"
        path.write_text(f"1,a\n\n{row}\n")
        with pytest.raises(ValueError, match=r"categories\.csv: row 2 is not a number and a name"):
            category_util.load_categories_from_csv_file(path)

    def test_no_file(self, tmp_path):
        with pytest.raises(category_util.CategoryError, match="cannot be read: No such file"):
            category_util.load_categories_from_csv_file(tmp_path / "absent.csv")
