"""Reading and writing of files, and the configurations that the API shipped."""

import os

import pytest

from boxtune import config
from boxtune.config import loading
from boxtune.config.loading import _clear_deprecated
from boxtune.config.pipeline_pb2 import StringIntLabelMap
from boxtune.config.text import from_text
from boxtune.errors import ConfigError, DataError

MINIMAL = 'model { ssd { num_classes: 2 feature_extractor { type: "ssd_mobilenet_v2_fpn_keras" } } }\n'


@pytest.fixture
def minimal(tmp_path):
    path = tmp_path / "pipeline.config"
    path.write_text(MINIMAL, encoding="utf-8")
    return path


def test_load_completes_and_overrides(minimal):
    loaded = config.load(minimal, ["train_config.batch_size=8"])
    expected = config.recipe("ssd_mobilenet_v2_fpn_keras")
    expected.model.ssd.num_classes = 2
    expected.train_config.batch_size = 8
    assert loaded == expected


def test_without_a_model_only_where_none_is_needed(tmp_path):
    path = tmp_path / "pipeline.config"
    path.write_text("eval_config { metrics_set: 'coco_mask_metrics' }")
    loaded = config.load(path, ["eval_config.include_metrics_per_category=true"], needs_model=False)
    assert [field.name for field, _ in loaded.ListFields()] == ["eval_config"]
    assert (loaded.eval_config.metrics_set, loaded.eval_config.include_metrics_per_category) == (
        ["coco_mask_metrics"],
        True,
    )
    with pytest.raises(ConfigError, match="feature_extractor"):
        config.load(path)


def test_an_override_of_the_type_chooses_the_recipe(minimal):
    loaded = config.load(str(minimal), ["model.ssd.feature_extractor.type=ssd_mobilenet_v2_keras"])
    assert loaded.model.ssd.image_resizer.fixed_shape_resizer.height == 300
    assert not loaded.model.ssd.feature_extractor.HasField("fpn")


def test_an_override_of_the_section_with_nothing_but_the_type_does_so_too(minimal):
    section = 'model.ssd.feature_extractor={ type: "ssd_mobilenet_v2_keras" }'
    by_section = config.load(minimal, ["model.ssd.num_classes=3", section])
    by_type = config.load(minimal, ["model.ssd.feature_extractor.type=ssd_mobilenet_v2_keras"])
    by_type.model.ssd.num_classes = 3
    assert by_section == by_type


def test_an_override_changes_one_value_of_a_stock_section(minimal):
    ratios = "model.ssd.anchor_generator.multiscale_anchor_generator.aspect_ratios"
    loaded = config.load(minimal, [f"{ratios}[1]=4", "train_config.optimizer.use_moving_average=true"])
    assert list(loaded.model.ssd.anchor_generator.multiscale_anchor_generator.aspect_ratios) == [1, 4, 0.5]
    assert loaded.train_config.optimizer.momentum_optimizer.HasField("learning_rate")


def test_of_two_overrides_the_later_wins(minimal):
    loaded = config.load(minimal, ["train_config.batch_size=2", "train_config.batch_size=4"])
    assert loaded.train_config.batch_size == 4


def test_load_takes_byte_order_mark_and_carriage_returns(tmp_path):
    path = tmp_path / "pipeline.config"
    path.write_bytes(b"\xef\xbb\xbf# written on Windows\r\n" + MINIMAL.replace(" ", "\r\n").encode())
    assert config.load(path).model.ssd.num_classes == 2


def test_load_takes_utf16_as_notepad_writes_it(tmp_path):
    path = tmp_path / "pipeline.config"
    path.write_bytes(MINIMAL.encode("utf-16"))
    assert config.load(path).model.ssd.num_classes == 2


def test_load_names_the_file_line_and_column(tmp_path):
    path = tmp_path / "pipeline.config"
    path.write_text("model {\n  ssd {\n    numclasses: 3\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert str(caught.value) == f'{path}:3:5: Ssd has no field "numclasses". Did you mean "num_classes"?'


@pytest.fixture
def nothing_warned(monkeypatch):
    """As at the beginning of a process."""
    monkeypatch.setattr(loading, "_warned", set())


@pytest.mark.usefixtures("nothing_warned")
def test_load_warns_once_of_fields_without_effect(tmp_path, caplog):
    path = tmp_path / "pipeline.config"
    path.write_text(MINIMAL + "eval_input_reader { num_readers: 1 }", encoding="utf-8")
    for _ in range(2):
        loaded = config.load(path, ["train_config.sync_replicas=true"])
        assert not loaded.train_config.HasField("sync_replicas")
        assert not loaded.eval_input_reader[0].HasField("num_readers")
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("boxtune", "WARNING")
    assert record.getMessage() == f"{path}: without effect: num_readers, sync_replicas."


@pytest.mark.usefixtures("nothing_warned")
def test_another_file_is_warned_of_its_own_fields_without_effect(tmp_path, minimal, caplog):
    path = tmp_path / "other.config"
    path.write_text(MINIMAL + "eval_config { eval_instance_masks: true }", encoding="utf-8")
    relics = ("startup_delay_steps", "bias_grad_multiplier", "replicas_to_aggregate", "max_number_of_boxes")
    config.load(minimal, [f"train_config.{name}=1" for name in relics])
    config.load(path, ["train_config.startup_delay_steps=1"])
    assert [record.getMessage() for record in caplog.records] == [
        f"{minimal}: without effect: bias_grad_multiplier, max_number_of_boxes, replicas_to_aggregate "
        "and 1 more.",
        f"{path}: without effect: eval_instance_masks.",
    ]


@pytest.mark.parametrize(
    "override",
    [
        "graph_rewriter={ quantization { delay: 1 } }",
        "model.ssd.mask_head_config={ mask_height: 9 }",
        "model.ssd.loss.equalization_loss={ weight: 0.1 }",
        "model.ssd.loss.min_num_negative_samples=9",
        "eval_config.force_no_resize=true",
    ],
)
@pytest.mark.usefixtures("nothing_warned")
def test_what_the_api_ignores_is_reported_and_dropped(minimal, override, caplog):
    loaded = config.load(minimal, [override])
    name = override.partition("=")[0].rpartition(".")[2]
    assert [record.getMessage() for record in caplog.records] == [f"{minimal}: without effect: {name}."]
    assert loaded == config.load(minimal)
    config.refuse(loaded)


@pytest.mark.shared
@pytest.mark.usefixtures("nothing_warned")
def test_the_warning_of_a_zoo_configuration_is_one_short_line(shared, caplog):
    config.load(shared / "zoo/ssd_mobilenet_v2_fpnlite_320x320_coco17_tpu-8/pipeline.config")
    (message,) = (record.getMessage() for record in caplog.records)
    assert message.endswith(" more.")
    assert len(message.partition("pipeline.config")[2]) < 110


def test_load_is_silent_where_every_field_counts(minimal, caplog):
    config.load(minimal)
    assert not caplog.records


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no file .*pipeline.config"):
        config.load(tmp_path / "pipeline.config")


def test_a_folder_gets_its_file_as_a_hint(minimal):
    with pytest.raises(ConfigError) as caught:
        config.load(minimal.parent)
    assert str(caught.value) == f"{minimal.parent} is a folder; give the file, such as {minimal}."


def test_a_folder_without_configuration_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"is a folder, not a file"):
        config.load(tmp_path)


def test_bytes_that_are_not_text_are_refused(tmp_path):
    path = tmp_path / "saved_model.pb"
    path.write_bytes(b"\x08\x01\xff\xfe")
    with pytest.raises(ConfigError, match=r"saved_model.pb is not text in UTF-8 \(byte 3\)"):
        config.load(path)


def test_an_endless_file_is_refused():
    with pytest.raises(ConfigError, match=r"is not a file but a device"):
        config.load("/dev/zero")


def test_unknown_feature_extractor_names_the_file(tmp_path):
    path = tmp_path / "pipeline.config"
    path.write_text(MINIMAL.replace("_fpn_keras", "_lite"), encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r'pipeline.config: there is no feature extractor "ssd_mobilenet_v2_lite"'
    ):
        config.load(path)


@pytest.mark.parametrize(
    "older", ["ssd_mobilenet_v1", "ssd_mobilenet_v1_fpn", "ssd_mobilenet_v2", "ssd_mobilenet_v2_fpn"]
)
def test_feature_extractors_of_tensorflow_1_are_those_of_the_same_network(older, tmp_path, caplog):
    path = tmp_path / "pipeline.config"
    path.write_text(MINIMAL.replace("ssd_mobilenet_v2_fpn_keras", older), encoding="utf-8")
    loaded = config.load(path)
    assert loaded.model.ssd.feature_extractor == config.recipe(f"{older}_keras").model.ssd.feature_extractor
    assert caplog.messages == [
        f'{path}: model.ssd.feature_extractor.type: "{older}" is read as "{older}_keras".'
    ]


@pytest.mark.parametrize(
    "extractor",
    [
        'type: "ssd_mobilenet_v1" depth_multiplier: 0.75',
        'type: "ssd_resnet50_v1_fpn"',
        'type: "ssd_inception_v2"',
    ],
)
def test_networks_that_only_tensorflow_1_had_are_refused(extractor, tmp_path):
    path = tmp_path / "pipeline.config"
    path.write_text(f"model {{ ssd {{ feature_extractor {{ {extractor} }} }} }}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r'there is no feature extractor "ssd_'):
        config.load(path)


@pytest.mark.shared
def test_a_published_configuration_of_tensorflow_1(shared):
    loaded = config.load(shared / "zoo/ssdlite_mobilenet_v2_coco_2018_05_09/pipeline.config")
    assert loaded.model.ssd.feature_extractor.type == "ssd_mobilenet_v2_keras"
    assert loaded.model.ssd.feature_extractor.use_depthwise
    assert loaded.train_config.fine_tune_checkpoint_type == "detection"


def test_write_and_load(tmp_path):
    path = tmp_path / "pipeline.config"
    written = config.recipe("ssd_mobilenet_v2_keras")
    config.write(written, path)
    config.write(written, path)
    assert config.load(path) == written
    assert "learning_rate_base: 0.8\n" in path.read_text(encoding="utf-8")
    assert os.listdir(tmp_path) == ["pipeline.config"]


def test_write_into_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot write .*pipeline.config: No such file or directory"):
        config.write(config.parse("", "a.config"), tmp_path / "absent" / "pipeline.config")


def test_read_label_map(tmp_path):
    path = tmp_path / "label_map.pbtxt"
    path.write_bytes(
        b"\xef\xbb\xbfitem { id: 1 name: 'cat' }\r\n"
        b"item {\r\n  id: 2, display_name: 'dog'\r\n  keypoints { id: 0 label: 'nose' }\r\n}\r\n"
    )
    cat, dog = config.read_label_map(path).item
    assert (cat.id, cat.name, cat.HasField("display_name")) == (1, "cat", False)
    assert (dog.id, dog.display_name, dog.keypoints[0].label) == (2, "dog", "nose")


def test_mistakes_of_a_label_map_have_a_location(tmp_path):
    path = tmp_path / "label_map.pbtxt"
    path.write_text("item {\n  id: one\n}\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        config.read_label_map(path)
    expected = 'id has to be a whole number from -2147483648 to 2147483647, not "one".'
    assert str(caught.value) == f"{path}:2:7: {expected}"


def test_a_missing_label_map_is_an_error_of_data(tmp_path):
    with pytest.raises(DataError, match=r"there is no file"):
        config.read_label_map(tmp_path / "label_map.pbtxt")


# Every configuration that the API shipped can be read, of TensorFlow 1 as well.
SHIPPED = [
    "stock_configs/*.config",
    "golden/*/pipeline.config",
    "checkpoints/*/pipeline.config",
    "zoo/*/pipeline.config",
]


@pytest.mark.shared
@pytest.mark.parametrize("pattern", SHIPPED)
def test_shipped_configurations_are_read_and_written(pattern, shared):
    paths = sorted(shared.glob(pattern))
    assert paths
    for path in paths:
        read = config.parse(path.read_text(encoding="utf-8"), str(path))
        assert read.model.WhichOneof("model"), path
        assert config.parse(config.to_text(read), "written") == read


@pytest.mark.shared
def test_a_damaged_configuration_is_refused_with_its_location(shared):
    path = (
        shared / "zoo/mask_rcnn_inception_resnet_v2_1024x1024_coco17_gpu-8/pipeline.corrupt_user_copy.config"
    )
    with pytest.raises(
        ConfigError, match=r'corrupt_user_copy.config:153:40: TFRecordInputReader has no field "s"'
    ):
        config.parse(path.read_text(encoding="utf-8"), str(path))


@pytest.mark.shared
@pytest.mark.parametrize(
    "pattern", ["stock_configs/[cfm]*.config", "zoo/[cfm]*/pipeline.config", "golden/[cf]*/pipeline.config"]
)
def test_other_families_are_refused_by_name_and_line(pattern, shared):
    paths = sorted(shared.glob(pattern))
    assert paths
    for path in paths:
        with pytest.raises(ConfigError) as caught:
            config.load(path)
        location, _, reason = str(caught.value).partition(": ")
        assert "does not have" in reason
        line = path.read_text(encoding="utf-8").splitlines()[int(location.removeprefix(f"{path}:")) - 1]
        assert reason.split(":")[0].removeprefix("model.") in line


@pytest.mark.shared
def test_shipped_label_maps_are_read(shared):
    paths = sorted(shared.glob("stock_label_maps/*.pbtxt"))
    assert paths
    for path in paths:
        read = config.read_label_map(path)
        assert read.item
        again = from_text(config.to_text(read), StringIntLabelMap(), "written", error=DataError)
        assert again == read


@pytest.mark.shared
@pytest.mark.parametrize(
    "folder",
    ["zoo/ssd_mobilenet_v2_fpnlite_320x320_coco17_tpu-8", "golden/ssd_mobilenet_v2_320x320_coco17_tpu-8"],
)
def test_a_full_configuration_is_loaded_as_it_is_but_for_relics(folder, shared):
    path = shared / folder / "pipeline.config"
    parsed = config.parse(path.read_text(encoding="utf-8"), str(path))
    loaded = config.load(path)
    assert loaded.model.ssd.anchor_generator == parsed.model.ssd.anchor_generator
    assert parsed.train_config.HasField("sync_replicas")
    assert not loaded.train_config.HasField("sync_replicas")
    _clear_deprecated(parsed)
    assert loaded == parsed


@pytest.fixture
def windows(tmp_path, monkeypatch):
    """Return the path of a configuration with backslashes, in a folder that has the files under slashes."""
    monkeypatch.chdir(tmp_path)
    for name in ("data/train.record", "data/map.pbtxt", "models/ckpt-0.index"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    path = tmp_path / "pipeline.config"
    path.write_text(
        r"""train_config { fine_tune_checkpoint: "models\\ckpt-0" }
        train_input_reader {
          label_map_path: "data\\map.pbtxt"
          tf_record_input_reader { input_path: ["data\\*.record", "other\\*.record"] }
        }"""
    )
    return path


def test_paths_with_backslashes_are_taken_where_slashes_lead_to_a_file(windows, caplog):
    loaded = config.load(windows, needs_model=False)
    assert loaded.train_config.fine_tune_checkpoint == "models/ckpt-0"
    assert loaded.train_input_reader.label_map_path == "data/map.pbtxt"
    paths = loaded.train_input_reader.tf_record_input_reader.input_path
    assert paths == ["data/*.record", r"other\*.record"]
    assert r"data\*.record is read as data/*.record." in caplog.text
    assert len(caplog.records) == 3


def test_the_older_field_for_the_type_of_a_checkpoint_is_taken(tmp_path, caplog):
    path = tmp_path / "pipeline.config"
    path.write_text('train_config { fine_tune_checkpoint: "ckpt-0" from_detection_checkpoint: true }')
    assert config.load(path, needs_model=False).train_config.fine_tune_checkpoint_type == "detection"
    assert "from_detection_checkpoint: true is read as fine_tune_checkpoint_type" in caplog.text
    assert "without effect" not in caplog.text
