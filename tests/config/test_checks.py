"""Checks before training and evaluation."""

import re
from pathlib import Path

import pytest
from google.protobuf import text_format

from boxtune import config
from boxtune.config import pipeline_pb2
from boxtune.errors import ConfigError


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a label map, two shards, a validation set and a checkpoint, and its configuration."""
    monkeypatch.chdir(tmp_path)
    Path("label_map.pbtxt").write_text(
        "item { id: 1 name: 'cat' } item { id: 2 name: 'dog' }", encoding="utf-8"
    )
    for name in ("train-00000-of-00002", "train-00001-of-00002", "val.record", "ckpt-0.index"):
        Path(name).touch()
    text = """
        model { ssd { num_classes: 2 feature_extractor { type: "ssd_mobilenet_v2_fpn_keras" } } }
        train_input_reader {
          label_map_path: "label_map.pbtxt"
          tf_record_input_reader { input_path: "train-?????-of-00002" }
        }
        eval_input_reader {
          label_map_path: "label_map.pbtxt"
          tf_record_input_reader { input_path: "val.record" }
        }
    """
    project = config.complete(config.parse(text, "pipeline.config"))
    project.train_config.fine_tune_checkpoint = "ckpt-0"
    project.train_config.fine_tune_checkpoint_type = "detection"
    return project


def test_a_valid_configuration_passes(project):
    config.check_for_training(project)
    config.check_for_evaluation(project)


def test_training_without_checkpoint_passes(project):
    config.apply_override(project, "train_config.fine_tune_checkpoint=")
    config.apply_override(project, "train_config.fine_tune_checkpoint_type=")
    config.check_for_training(project)


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_versions_may_be_given(project, version):
    config.apply_override(project, f"train_config.fine_tune_checkpoint_version={version}")
    config.check_for_training(project)


COSINE = "train_config.optimizer.momentum_optimizer.learning_rate.cosine_decay_learning_rate"
MATCHER = "model.ssd.matcher.argmax_matcher"
TRAINING = [
    ("train_config.num_steps=0", "train_config.num_steps is 0, which would train for ever"),
    ("train_config.batch_size=0", "train_config.batch_size is 0; write the number of images in a batch"),
    ("train_config.optimizer={}", "train_config.optimizer is empty; choose one"),
    (
        f"{COSINE}.warmup_steps=50001",
        "warmup_steps 50001 exceeds total_steps 50000, so the rate would never decay",
    ),
    (f"{MATCHER}.unmatched_threshold=0.6", "unmatched_threshold 0.6 is above matched_threshold 0.5"),
    ("model.ssd.num_classes=0", "model.ssd.num_classes is 0; write the number of classes of label_map.pbtxt"),
    (
        "model.ssd.num_classes=1",
        r'num_classes is 1, but label_map.pbtxt has the id 2 \("dog"\); set num_classes to 2',
    ),
    ("train_config.fine_tune_checkpoint_type=", 'type is not set: choose "detection"'),
    (
        "train_config.fine_tune_checkpoint_type=fine_tune",
        '"fine_tune", which is no longer a choice; use "detection"',
    ),
    ("boxtune.fine_tune_label_map_path=x.pbtxt", 'goes with .*_type "all_but_classes", not "detection"'),
    ("train_config.fine_tune_checkpoint_type=all", 'type is "all": choose "detection"'),
    ("train_config.fine_tune_checkpoint_version=UNKNOWN", "version is UNKNOWN: write V2, or V1 for"),
    ("train_config.fine_tune_checkpoint=ckpt-1", 'there is no file "ckpt-1.index". Did you mean "ckpt-0"?'),
    (
        "train_config.fine_tune_checkpoint=PATH_TO_BE_CONFIGURED/ckpt-0",
        'train_config.fine_tune_checkpoint is still "PATH_TO_BE_CONFIGURED/ckpt-0"; put the path of your own',
    ),
    ("train_input_reader.label_map_path=", "train_input_reader.label_map_path is not set"),
    (
        "train_input_reader.label_map_path=PATH_TO_BE_CONFIGURED",
        'label_map_path is still "PATH_TO_BE_CONFIGURED"',
    ),
    ("train_input_reader.num_epochs=3", "train_input_reader.num_epochs is 3, .* set train_config.num_steps"),
    (
        "train_input_reader.sample_1_of_n_examples=0",
        "train_input_reader.sample_1_of_n_examples is 0; write 1",
    ),
    ("train_input_reader.tf_record_input_reader={}", r"train_input_reader.*input_path is not set"),
    (
        "train_input_reader.tf_record_input_reader.input_path=x-*",
        r'train_input_reader.*no file matches "x-\*"',
    ),
    (
        "train_input_reader.tf_record_input_reader.input_path=PATH_TO_BE_CONFIGURED/train.record",
        'input_path is still "PATH_TO_BE_CONFIGURED/train.record"',
    ),
    (
        "train_input_reader.tf_record_input_reader.input_path=C:\new",
        r"input_path is 'C:\\new', with characters that no path has; write \"/\"",
    ),
]


TRAINING += [
    (
        "eval_config.use_moving_averages=true",
        "there would be no averages to evaluate. Make both true or both",
    ),
    ("boxtune.learning_rate_factor_of_new_layers=0", "is 0; it must be above 0, such as 4"),
    ("boxtune.accumulate_batches=0", "accumulate_batches is 0; write 1 for a step with every batch"),
    ("boxtune.label_smoothing=1", "label_smoothing is 1; it must be at least 0 and below 1, such as 0.1"),
    ("boxtune.label_smoothing=-0.1", "label_smoothing is -0.1"),
]


@pytest.mark.parametrize(("override", "reason"), TRAINING)
def test_training_is_refused(project, override, reason):
    config.apply_override(project, override)
    with pytest.raises(ConfigError, match=reason):
        config.check_for_training(project)


@pytest.mark.parametrize("decay", ["1", "-0.5"])
def test_a_decay_is_a_fraction(project, decay):
    config.apply_override(project, "train_config.optimizer.use_moving_average=true")
    config.check_for_training(project)
    config.apply_override(project, f"train_config.optimizer.moving_average_decay={decay}")
    with pytest.raises(
        ConfigError, match=f"moving_average_decay is {decay}; it is the fraction that an average keeps"
    ):
        config.check_for_training(project)


EVALUATION = [
    ("eval_config.batch_size=0", "eval_config.batch_size is 0"),
    ("eval_input_reader=[]", "there is no eval_input_reader; add one"),
    (f"{MATCHER}.unmatched_threshold=0.6", "unmatched_threshold 0.6 is above matched_threshold 0.5"),
    (
        "eval_input_reader[0].label_map_path=PATH_TO_BE_CONFIGURED",
        r"eval_input_reader\[0\].label_map_path is still",
    ),
    (
        "eval_input_reader[0].tf_record_input_reader.input_path=[val.record, x]",
        r'eval_input_reader\[0\].*matches "x"',
    ),
]


@pytest.mark.parametrize(("override", "reason"), EVALUATION)
def test_evaluation_is_refused(project, override, reason):
    config.apply_override(project, override)
    with pytest.raises(ConfigError, match=reason):
        config.check_for_evaluation(project)


def test_evaluation_does_not_look_at_training(project):
    project.ClearField("train_input_reader")
    project.train_config.num_steps = 0
    config.check_for_evaluation(project)


def test_thresholds_that_are_ignored_may_have_any_order(project):
    config.apply_override(project, f"{MATCHER}={{ ignore_thresholds: true unmatched_threshold: 0.9 }}")
    config.check_for_training(project)


def test_a_missing_prefix_gets_the_newest_of_its_folder_as_a_hint(project):
    Path("exported/checkpoint").mkdir(parents=True)
    for step in (9, 10):
        Path(f"exported/checkpoint/ckpt-{step}.index").touch()
    config.apply_override(project, "train_config.fine_tune_checkpoint=exported/model")
    with pytest.raises(ConfigError, match=r'Did you mean "exported/checkpoint/ckpt-10"\?'):
        config.check_for_training(project)


@pytest.mark.parametrize(
    "path", ["exported", "exported/checkpoint/ckpt-9", "exported/checkpoint/ckpt-9.index"]
)
def test_a_checkpoint_is_given_as_folder_prefix_or_index(project, path):
    Path("exported/checkpoint").mkdir(parents=True)
    Path("exported/checkpoint/ckpt-9.index").touch()
    config.apply_override(project, f"train_config.fine_tune_checkpoint={path}")
    config.check_for_training(project)


def test_a_checkpoint_of_one_file_is_refused(project):
    Path("old.ckpt").write_bytes(bytes(40) + 0xDB4775248B80FB57.to_bytes(8, "little"))
    config.apply_override(project, "train_config.fine_tune_checkpoint=old.ckpt")
    with pytest.raises(
        ConfigError, match=r'no file "old\.ckpt\.index"\. old\.ckpt is a checkpoint of one file'
    ):
        config.check_for_training(project)


def test_a_background_without_loss_is_reported(project, caplog):
    config.apply_override(project, "model.ssd.loss.classification_loss={weighted_softmax {}}")
    config.apply_override(project, "model.ssd.encode_background_as_zeros=false")
    config.check_for_training(project)
    assert "background" not in caplog.text
    config.apply_override(project, "model.ssd.encode_background_as_zeros=true")
    config.check_for_training(project)
    assert "the background is not learned" in caplog.text


def test_class_scores_are_loaded_to_be_used(project):
    config.apply_override(project, "train_config.use_multiclass_scores=true")
    with pytest.raises(ConfigError, match="load_multiclass_scores is false, so there are none to use"):
        config.check_for_training(project)
    config.apply_override(project, "train_input_reader.load_multiclass_scores=true")
    config.check_for_training(project)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("train_config.merge_multiple_label_boxes=true", "train_config.merge_multiple_label_boxes"),
        ("train_input_reader.expand_labels_hierarchy=true", "train_input_reader.expand_labels_hierarchy"),
        (
            "train_config.data_augmentation_options=[{ remap_labels { original_labels: 1 new_label: 1 } }]",
            "data_augmentation_options: remap_labels",
        ),
    ],
)
def test_class_scores_are_the_only_classes(project, override, named):
    config.apply_override(project, override)
    config.check_for_training(project)
    config.apply_override(project, "train_config.use_multiclass_scores=true")
    config.apply_override(project, "train_input_reader.load_multiclass_scores=true")
    with pytest.raises(ConfigError, match=f"use_multiclass_scores and {named} both say what the classes"):
        config.check_for_training(project)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "input_type: INPUT_DEFAULT",
            "input_type is INPUT_DEFAULT; write TF_EXAMPLE, or TF_SEQUENCE_EXAMPLE",
        ),
        (
            "input_type: TF_SEQUENCE_EXAMPLE load_multiclass_scores: true",
            "load_multiclass_scores is true, but sequences of images have no scores",
        ),
        ("input_type: TF_SEQUENCE_EXAMPLE frame_index: -2", "frame_index is -2; write the number of a frame"),
        ("frame_index: 0", "frame_index is 0, but the records are single images"),
    ],
)
def test_fields_of_sequences(project, text, error):
    for check, name in (
        (config.check_for_training, "train_input_reader"),
        (config.check_for_evaluation, "eval_input_reader[0]"),
    ):
        given = pipeline_pb2.TrainEvalPipelineConfig()
        given.CopyFrom(project)
        text_format.Merge(text, given.train_input_reader if "train" in name else given.eval_input_reader[0])
        with pytest.raises(ConfigError, match=re.escape(f"{name}.{error}")):
            check(given)


def test_an_evaluation_ignores_frame_index(project, caplog):
    text = "input_type: TF_SEQUENCE_EXAMPLE frame_index: 1"
    text_format.Merge(text, project.train_input_reader)
    config.check_for_training(project)
    assert not caplog.text
    text_format.Merge(text, project.eval_input_reader[0])
    config.check_for_evaluation(project)
    assert "eval_input_reader[0].frame_index is ignored: an evaluation reads every frame" in caplog.text


def test_logits_are_converted_where_there_are_some(project):
    project.train_config.data_augmentation_options.add().convert_class_logits_to_softmax.SetInParent()
    with pytest.raises(ConfigError, match="convert_class_logits_to_softmax is for scores, and none are used"):
        config.check_for_training(project)
    config.apply_override(project, "train_config.use_multiclass_scores=true")
    config.apply_override(project, "train_input_reader.load_multiclass_scores=true")
    config.check_for_training(project)


def test_classes_beyond_the_label_map_are_reported(project, caplog):
    config.apply_override(project, "model.ssd.num_classes=90")
    config.check_for_training(project)
    assert "num_classes is 90, but the highest id of label_map.pbtxt is 2" in caplog.text


@pytest.mark.parametrize(
    "override",
    [
        "model.ssd.explicit_background_class=true",
        "train_input_reader.load_track_id=true",
        "train_input_reader.num_keypoints=17",
    ],
)
def test_training_refuses_unsupported_fields(project, override):
    config.apply_override(project, override)
    path = override.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"^a.config: {path}: boxtune does not have .* yet; "):
        config.check_for_training(project, "a.config")
    config.check_for_evaluation(project)  # which reads none of them


@pytest.mark.parametrize(
    "override",
    ["eval_config.keypoint_edge={ start: 0 end: 1 }", "eval_input_reader[0].num_additional_channels=1"],
)
def test_evaluation_refuses_unsupported_fields(project, override):
    config.apply_override(project, override)
    path = re.escape(override.partition("=")[0])
    with pytest.raises(ConfigError, match=rf"^a.config: {path}: boxtune does not have .* yet; "):
        config.check_for_evaluation(project, "a.config")
    config.check_for_training(project)


def test_evaluation_reads_masks_and_keypoints_where_a_metric_needs_them(project):
    config.apply_override(project, "eval_input_reader[0].load_instance_masks=true")
    config.apply_override(project, "eval_input_reader[0].num_keypoints=17")
    config.check_for_evaluation(project)


@pytest.mark.parametrize("text", ["", "item { id: 0 name: 'background' }"])
def test_a_label_map_without_classes_is_refused(project, text):
    Path("label_map.pbtxt").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"train_input_reader.label_map_path: label_map.pbtxt has no class"):
        config.check_for_training(project)


def test_gaps_between_ids_are_allowed(project):
    Path("label_map.pbtxt").write_text(
        "item { id: 5 name: 'cat' } item { id: 0 name: 'background' }", encoding="utf-8"
    )
    config.apply_override(project, "model.ssd.num_classes=5")
    config.check_for_training(project)


def _reader(*paths):
    reader = config.pipeline_pb2.InputReader()
    reader.tf_record_input_reader.input_path.extend(paths)
    return reader


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["b.record"], ["b.record"]),
        (["b.record", "a.record"], ["a.record", "b.record"]),
        (["*.record"], ["a.record", "b.record"]),
        (["?.record", "b.record"], ["a.record", "b.record"]),  # each file once
        (["s-?????-of-00002"], ["s-00000-of-00002", "s-00001-of-00002"]),
        (["s-00000-of-00002"], ["s-00000-of-00002"]),  # one shard, named as such
        (["with [brackets]"], ["with [brackets]"]),
        (["s-*"], ["s-00000-of-00002", "s-00001-of-00002"]),
    ],
)
def test_input_files(tmp_path, monkeypatch, paths, names):
    monkeypatch.chdir(tmp_path)
    Path("folder.record").mkdir()
    for name in ("b.record", "a.record", "s-00001-of-00002", "s-00000-of-00002", "with [brackets]"):
        Path(name).touch()
    assert config.input_files(_reader(*paths)) == [Path(name) for name in names]


def test_missing_shards_are_refused(tmp_path):
    (tmp_path / "s-00000-of-00010").touch()
    with pytest.raises(ConfigError, match=r'1 of the 10 shards of ".*s-[?]{5}-of-00010" are there'):
        config.input_files(_reader(f"{tmp_path}/s-?????-of-00010"))


def test_errors_of_input_files_name_the_reader():
    with pytest.raises(
        ConfigError, match=r"^eval_input_reader\[0\].tf_record_input_reader.input_path is not set"
    ):
        config.input_files(_reader(), name="eval_input_reader[0]")


class TestDatasets:
    PATHS = ("a.record", "b-*", "c.record")

    @pytest.fixture(autouse=True)
    def files(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for name in ("a.record", "b-0", "b-1", "c.record"):
            Path(name).touch()

    def weighted(self, *weights):
        reader = _reader(*self.PATHS)
        reader.sample_from_datasets_weights.extend(weights)
        return reader

    def test_without_weights_all_have_1(self):
        datasets = config.input_datasets(self.weighted())
        assert [sorted(map(str, files)) for files, _ in datasets] == [
            ["a.record"],
            ["b-0", "b-1"],
            ["c.record"],
        ]
        assert [weight for _, weight in datasets] == [1, 1, 1]

    def test_paths_of_weight_0_are_not_read(self):
        Path("a.record").unlink()  # nor need they be there
        reader = self.weighted(0, 3, 0.5)
        assert [weight for _, weight in config.input_datasets(reader)] == [3, 0.5]
        assert config.input_files(reader) == [Path("b-0"), Path("b-1"), Path("c.record")]

    @pytest.mark.parametrize(
        ("weights", "error"),
        [
            ([1, 2], "has 2 weights, but there are 3 input_path; give one weight for each path"),
            ([1, 2, -3], "has a weight of -3; weights must be 0 or more"),
            ([1, 2, float("nan")], "has a weight of nan"),
            ([1, 2, float("inf")], "has a weight of inf"),
            ([0, 0, 0], "has no weight above 0"),
        ],
    )
    def test_invalid_weights(self, weights, error):
        with pytest.raises(ConfigError, match=rf"^train_input_reader.sample_from_datasets_weights {error}"):
            config.input_datasets(self.weighted(*weights), name="train_input_reader")
