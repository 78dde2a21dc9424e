"""Configurations as scripts read, change and write them."""

import logging
import subprocess
import sys

import pytest
from google.protobuf import text_format

from boxtune.errors import ConfigError
from object_detection.protos import input_reader_pb2, model_pb2, pipeline_pb2, train_pb2
from object_detection.utils import config_util

PIPELINE = """
model { ssd { num_classes: 2 image_resizer { fixed_shape_resizer { height: 200 width: 300 } }
              loss { classification_loss { weighted_sigmoid_focal { gamma: 2 alpha: 0.25 } } } } }
train_config { batch_size: 8 fine_tune_checkpoint: "ckpt-0" num_steps: 10
  optimizer { momentum_optimizer { momentum_optimizer_value: 0.9 learning_rate {
    cosine_decay_learning_rate { learning_rate_base: 0.2 warmup_learning_rate: 0.1 total_steps: 10 } } } } }
train_input_reader { label_map_path: "map" tf_record_input_reader { input_path: "train" } }
eval_config { metrics_set: "coco_detection_metrics" }
eval_input_reader { name: "one" tf_record_input_reader { input_path: "a" } }
eval_input_reader { name: "two" tf_record_input_reader { input_path: "b" } }
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "pipeline.config"
    path.write_text(PIPELINE, encoding="utf-8")
    return path


@pytest.fixture
def configs(path):
    return config_util.get_configs_from_pipeline_file(str(path))


def merged(configs, **values):
    return config_util.merge_external_params_with_configs(configs, kwargs_dict=values)


def model(text):
    return text_format.Parse(text, model_pb2.DetectionModel())


def test_the_sections_of_a_file(configs):
    expected = text_format.Parse(PIPELINE, pipeline_pb2.TrainEvalPipelineConfig())
    assert configs["model"] == expected.model
    assert configs["train_config"] == expected.train_config
    assert configs["train_input_config"] == expected.train_input_reader
    assert configs["eval_config"] == expected.eval_config
    assert list(configs["eval_input_configs"]) == list(expected.eval_input_reader)
    assert configs["eval_input_config"] is configs["eval_input_configs"][0]
    assert "graph_rewriter_config" not in configs
    assert config_util.create_pipeline_proto_from_configs(configs) == expected


def test_a_file_is_overridden_by_text(path):
    override = "train_config { batch_size: 4 } graph_rewriter { quantization { delay: 7 } }"
    configs = config_util.get_configs_from_pipeline_file(path, config_override=override)
    assert (configs["train_config"].batch_size, configs["train_config"].num_steps) == (4, 10)
    assert configs["graph_rewriter_config"].quantization.delay == 7
    assert config_util.create_pipeline_proto_from_configs(configs).graph_rewriter.quantization.delay == 7
    with pytest.raises(ConfigError, match=r'config_override.*Did you mean "train_config"'):
        config_util.get_configs_from_pipeline_file(path, config_override="train_confg { }")


def test_sections_of_boxtune_are_kept(path):
    configs = config_util.get_configs_from_pipeline_file(path, "boxtune { class_balance: 1 }")
    assert config_util.create_pipeline_proto_from_configs(configs).boxtune.class_balance == 1


def test_changes_of_sections_reach_the_file(configs, tmp_path):
    configs["model"].ssd.num_classes = 7
    config_util.save_pipeline_config(
        config_util.create_pipeline_proto_from_configs(configs), str(tmp_path / "new" / "folder")
    )
    again = config_util.get_configs_from_pipeline_file(tmp_path / "new" / "folder" / "pipeline.config")
    assert again["model"].ssd.num_classes == 7
    assert again["train_config"] == configs["train_config"]


def test_sections_with_files_of_their_own(configs, tmp_path):
    paths = {}
    for name in ("model", "train_config", "train_input_config", "eval_config"):
        paths[f"{name}_path" if "config" in name else "model_config_path"] = path = tmp_path / name
        path.write_text(str(configs[name]), encoding="utf-8")
    (tmp_path / "eval_input").write_text(str(configs["eval_input_config"]), encoding="utf-8")
    (tmp_path / "rewriter").write_text("quantization { delay: 3 }", encoding="utf-8")
    read = config_util.get_configs_from_multiple_files(
        **paths, eval_input_config_path=tmp_path / "eval_input", graph_rewriter_config_path=tmp_path / "rewriter"
    )  # fmt: skip
    assert read["eval_input_configs"] == [configs["eval_input_config"]]
    for name in ("model", "train_config", "train_input_config", "eval_config"):
        assert read[name] == configs[name]
    rewriter = config_util.get_graph_rewriter_config_from_file(tmp_path / "rewriter")
    assert read["graph_rewriter_config"] == rewriter
    assert rewriter.quantization.delay == 3
    assert config_util.get_configs_from_multiple_files() == {}


def test_a_checkpoint_is_cleared(path, tmp_path):
    config_util.clear_fine_tune_checkpoint(str(path), str(tmp_path / "new.config"))
    configs = config_util.get_configs_from_pipeline_file(tmp_path / "new.config")
    assert not configs["train_config"].fine_tune_checkpoint
    assert configs["model"].ssd.num_classes == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "classification"),
        ("from_detection_checkpoint: true", "detection"),
        ("from_detection_checkpoint: true fine_tune_checkpoint_type: 'full'", "full"),
    ],
)
def test_the_older_type_of_a_checkpoint(text, expected):
    train_config = text_format.Parse(text, train_pb2.TrainConfig())
    config_util.update_fine_tune_checkpoint_type(train_config)
    assert train_config.fine_tune_checkpoint_type == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fixed_shape_resizer { height: 200 width: 300 }", [200, 300]),
        ("keep_aspect_ratio_resizer { max_dimension: 600 }", [-1, -1]),
        ("keep_aspect_ratio_resizer { max_dimension: 600 pad_to_max_dimension: true }", [600, 600]),
        ("identity_resizer { }", [-1, -1]),
        ("conditional_shape_resizer { size_threshold: 600 }", [-1, -1]),
        ("pad_to_multiple_resizer { multiple: 32 }", [-1, -1]),
    ],
)
def test_sizes_of_images(text, expected):
    config = model(f"ssd {{ image_resizer {{ {text} }} }}")
    assert config_util.get_spatial_image_size(config_util.get_image_resizer_config(config)) == expected


def test_what_a_model_says(configs):
    assert config_util.get_number_of_classes(configs["model"]) == 2
    assert config_util.get_number_of_classes(model("faster_rcnn { num_classes: 4 }")) == 4
    context = model(
        "faster_rcnn { context_config { max_num_context_features: 5 context_feature_length: 6 } }"
    )
    assert config_util.get_max_num_context_features(context) == 5
    assert config_util.get_context_feature_length(context) == 6
    assert config_util.get_max_num_context_features(configs["model"]) is None
    assert config_util.get_optimizer_type(configs["train_config"]) == "momentum_optimizer"
    optimizer = configs["train_config"].optimizer.momentum_optimizer
    assert config_util.get_learning_rate_type(optimizer) == "cosine_decay_learning_rate"


@pytest.mark.parametrize(
    "call",
    [
        lambda: config_util.get_number_of_classes(model("experimental_model { name: 'x' }")),
        lambda: config_util.get_image_resizer_config(model("experimental_model { name: 'x' }")),
        lambda: config_util.get_number_of_classes(model("")),
        lambda: config_util.get_spatial_image_size(model("ssd { }").ssd.image_resizer),
    ],
)
def test_what_a_model_does_not_say(call):
    with pytest.raises(ValueError, match=r"has no|is empty") as error:
        call()
    assert isinstance(error.value, ConfigError)


# Merging


def test_shorthands_change_the_sections_in_place(configs):
    result = merged(
        configs, batch_size=3.6, train_steps=99, momentum_optimizer_value=1.5, num_classes=5,
        label_map_path="new", mask_type=input_reader_pb2.PNG_MASKS, eval_num_epochs=1,
        sample_1_of_n_eval_examples=4, eval_with_moving_averages=True, use_bfloat16=True,
        sample_from_datasets_weights=[1.0, 2.0], focal_loss_gamma=1.5, focal_loss_alpha=0.5,
        classification_localization_weight_ratio=3.0, retain_original_images_in_eval=False,
        retain_original_image_additional_channels_in_eval=True,
    )  # fmt: skip
    assert result is configs
    train = configs["train_config"]
    assert (train.batch_size, train.num_steps, train.use_bfloat16) == (4, 99, True)
    assert train.optimizer.momentum_optimizer.momentum_optimizer_value == 1
    ssd = configs["model"].ssd
    assert ssd.num_classes == 5
    focal = ssd.loss.classification_loss.weighted_sigmoid_focal
    assert (focal.gamma, focal.alpha) == (1.5, 0.5)
    assert (ssd.loss.localization_weight, ssd.loss.classification_weight) == (1, 3)
    readers = [configs["train_input_config"], *configs["eval_input_configs"]]
    assert {(reader.label_map_path, reader.mask_type) for reader in readers} == {("new", 2)}
    assert [(reader.num_epochs, reader.sample_1_of_n_examples) for reader in readers] == [
        (0, 1),
        (1, 4),
        (1, 4),
    ]
    assert list(configs["train_input_config"].sample_from_datasets_weights) == [1, 2]
    assert configs["eval_config"].use_moving_averages
    assert not configs["eval_config"].retain_original_images
    assert configs["eval_config"].retain_original_image_additional_channels


SCHEDULES = {
    "constant_learning_rate { learning_rate: 0.2 }": "constant_learning_rate { learning_rate: 0.4 }",
    "exponential_decay_learning_rate { initial_learning_rate: 0.2 min_learning_rate: 0.1 }": (
        "exponential_decay_learning_rate { initial_learning_rate: 0.4 min_learning_rate: 0.1 }"
    ),
    "manual_step_learning_rate { initial_learning_rate: 0.5 schedule { step: 1 learning_rate: 0.25 } }": (
        "manual_step_learning_rate { initial_learning_rate: 0.4 schedule { step: 1 learning_rate: 0.2 } }"
    ),
    "cosine_decay_learning_rate { learning_rate_base: 0.5 warmup_learning_rate: 0.25 }": (
        "cosine_decay_learning_rate { learning_rate_base: 0.4 warmup_learning_rate: 0.2 }"
    ),
}


@pytest.mark.parametrize("before", SCHEDULES, ids=lambda text: text.split()[0])
def test_the_learning_rate_of_each_schedule(configs, before):
    section = configs["train_config"].optimizer.momentum_optimizer.learning_rate
    section.Clear()
    text_format.Parse(before, section)
    merged(configs, learning_rate=0.4)
    expected = text_format.Parse(SCHEDULES[before], type(section)())
    assert text_format.MessageToString(section) == text_format.MessageToString(expected)


def test_paths_and_readers_are_changed_by_name(configs):
    merged(configs, **{
        "model.ssd.image_resizer.fixed_shape_resizer.height": 400,
        "train_config.update_trainable_variables": ["a", "b"],
        "train_input_path": ["c", "d"],
        "train_shuffle": False,
        "eval_input_configs:two:input_path": "e",
        "eval_input_configs:one:shuffle": True,
    })  # fmt: skip
    assert configs["model"].ssd.image_resizer.fixed_shape_resizer.height == 400
    assert list(configs["train_config"].update_trainable_variables) == ["a", "b"]
    assert list(configs["train_input_config"].tf_record_input_reader.input_path) == ["c", "d"]
    assert not configs["train_input_config"].shuffle
    one, two = configs["eval_input_configs"]
    assert (list(one.tf_record_input_reader.input_path), one.shuffle) == (["a"], True)
    assert list(two.tf_record_input_reader.input_path) == ["e"]


def test_values_come_from_parameters_first_and_empty_ones_change_nothing(configs):
    class Parameters:
        def values(self):
            return {"batch_size": 2}

    config_util.merge_external_params_with_configs(
        configs, Parameters(), {"batch_size": 3, "train_steps": None}
    )
    assert (configs["train_config"].batch_size, configs["train_config"].num_steps) == (2, 10)


def test_a_name_that_means_nothing_is_told(configs, caplog):
    with caplog.at_level(logging.WARNING, "boxtune"):
        merged(configs, batch_sise=3)
    assert 'Did you mean "batch_size"' in caplog.text


@pytest.mark.parametrize(
    ("error", "values"),
    [
        (ValueError, {"eval_input_path": "a"}),  # of two
        (ValueError, {"eval_input_configs:three:input_path": "a"}),
        (ValueError, {"eval_input_configs:one:nothing": "a"}),
        (ValueError, {"readers:one:input_path": "a"}),
        (ValueError, {"one:input_path": "a"}),
        (ValueError, {"model.ssd.nothing": 1}),
        (ValueError, {"box_scale": 1.0}),
    ],
)
def test_names_that_lead_nowhere(configs, error, values):
    with pytest.raises(error) as raised:
        merged(configs, **values)
    assert isinstance(raised.value, ConfigError)


def test_sections_of_another_type(configs):
    configs["model"].ssd.loss.classification_loss.weighted_sigmoid.SetInParent()
    configs["train_input_config"].ClearField("tf_record_input_reader")
    configs["train_config"].optimizer.adam_optimizer.SetInParent()
    values = {
        "focal_loss_gamma": 1,
        "train_input_path": "a",
        "momentum_optimizer_value": 1,
        "learning_rate": 1,
    }
    for name, value in values.items():
        with pytest.raises(TypeError) as raised:
            merged(configs, **{name: value})
        assert isinstance(raised.value, ConfigError)


def test_the_parts_of_names(configs):
    parse = config_util.check_and_parse_input_config_key
    assert parse(configs, "train_input_path") == (True, "train_input_config", None, "input_path")
    assert parse(configs, "eval_input_configs:two:shuffle") == (True, "eval_input_configs", "two", "shuffle")
    assert parse(configs, "batch_size") == (False, None, None, "batch_size")


def test_paths_are_set_by_a_function_of_the_caller(configs):
    def append(input_config, input_path):
        input_config.tf_record_input_reader.input_path.append(input_path)

    config_util.update_input_reader_config(
        configs, "train_input_config", None, "input_path", "more", path_updater=append
    )
    assert list(configs["train_input_config"].tf_record_input_reader.input_path) == ["train", "more"]


def test_keypoints_of_a_centernet(configs):
    configs["model"].center_net.keypoint_estimation_task.add(task_name="x")
    merged(configs, box_scale=1.5, candidate_ranking_mode="score_distance_ratio")
    [task] = configs["model"].center_net.keypoint_estimation_task
    assert (task.box_scale, task.candidate_ranking_mode) == (1.5, "score_distance_ratio")


def test_names_of_moving_averages():
    variables = {"conv/ExponentialMovingAverage": 1, "b/ExponentialMovingAverage": 2, "c": 3}
    assert config_util.remove_unnecessary_ema(variables) == variables
    assert config_util.remove_unnecessary_ema(variables, ["conv"]) == {
        "conv": 1,
        "b/ExponentialMovingAverage": 2,
        "c": 3,
    }


def test_no_tensorflow_is_needed():
    code = "import sys, object_detection.utils.config_util; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
