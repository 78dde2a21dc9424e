"""The configuration that `boxtune config` writes."""

import shutil

import keras
import pytest

from boxtune import config
from boxtune.configure import configure, find_start
from boxtune.convert import convert
from boxtune.data.label_map import LabelMap, read_label_map, write_label_map
from boxtune.draw import draw
from boxtune.errors import CheckpointError, ConfigError, DataError
from boxtune.training import checkpoints


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Eight images for training and two for validation."""
    folder = tmp_path_factory.mktemp("configure")
    draw(folder / "photos", num_images=10)
    convert(folder / "photos", folder / "records")
    return folder / "records"


@pytest.fixture
def zoo(tmp_path):
    """A folder like a zoo download, but for its configuration."""
    checkpoints.tree({"model/x": keras.Variable([0.0])}).write(
        str(tmp_path / "zoo" / "checkpoint" / "ckpt-0")
    )
    return tmp_path / "zoo"


def cosine(pipeline):
    return pipeline.train_config.optimizer.momentum_optimizer.learning_rate.cosine_decay_learning_rate


def decays(pipeline):
    model = pipeline.model.ssd
    head = model.box_predictor.weight_shared_convolutional_box_predictor
    return [
        model.feature_extractor.conv_hyperparams.batch_norm.decay,
        head.conv_hyperparams.batch_norm.decay,
    ]


def test_it_is_complete_and_can_be_trained(records, tmp_path):
    config.write(configure(records), tmp_path / "pipeline.config")
    pipeline = config.load(tmp_path / "pipeline.config")
    config.check_for_training(pipeline)
    config.check_for_evaluation(pipeline)
    assert pipeline.model.ssd.num_classes == 4
    assert pipeline.train_config.batch_size == 8
    assert not pipeline.train_config.fine_tune_checkpoint


def test_the_length_is_600_steps_or_thirty_times_through_the_images(records):
    assert configure(records).train_config.num_steps == 600
    # Batches of one image: 8 x 30 steps are fewer than 600. Of a hundredth: more.
    assert configure(records, batch_size=1).train_config.num_steps == 600
    assert configure(records, num_steps=50).train_config.num_steps == 50


def test_the_learning_rate_ends_with_the_training(records):
    rate = cosine(configure(records, num_steps=900, learning_rate=0.03))
    assert rate.learning_rate_base == pytest.approx(0.03)
    assert (rate.total_steps, rate.warmup_steps) == (900, 150)
    assert rate.warmup_learning_rate == pytest.approx(0.01)


def test_it_is_in_float32(records, zoo):
    text = 'model { ssd { feature_extractor { type: "ssd_mobilenet_v2_keras" } } } train_config { use_bfloat16: true }'
    (zoo / "pipeline.config").write_text(text)
    assert config.load(zoo / "pipeline.config").train_config.use_bfloat16
    assert not configure(records, checkpoint=zoo).train_config.use_bfloat16


@pytest.mark.parametrize(
    ("steps", "decay"),
    [
        (600, 1 - 20 / 600),
        (100, 0.9),  # 0.8, but never below 0.9
        (50_000, 0.997),  # 0.9996, but never above the stock value
    ],
)
def test_batch_normalization_settles_within_the_training(records, steps, decay):
    assert decays(configure(records, num_steps=steps)) == pytest.approx([decay, decay], abs=1e-4)


def test_a_checkpoint_brings_its_own_model(records, zoo):
    (zoo / "pipeline.config").write_text(
        'model { ssd { feature_extractor { type: "ssd_mobilenet_v2_keras" depth_multiplier: 0.5 } } }'
    )
    pipeline = configure(records, checkpoint=zoo)
    assert pipeline.model.ssd.feature_extractor.type == "ssd_mobilenet_v2_keras"
    assert pipeline.model.ssd.feature_extractor.depth_multiplier == 0.5
    assert pipeline.train_config.fine_tune_checkpoint == str(zoo)
    assert pipeline.train_config.fine_tune_checkpoint_type == "all_but_classes"
    assert pipeline.boxtune.learning_rate_factor_of_new_layers == 4
    assert cosine(pipeline).learning_rate_base == pytest.approx(0.06)  # a batch of 8


@pytest.mark.parametrize("given", [".", "checkpoint", "checkpoint/ckpt-0", "checkpoint/ckpt-0.index"])
def test_the_configuration_beside_a_checkpoint_is_found(records, zoo, given):
    (zoo / "pipeline.config").write_text(
        'model { ssd { feature_extractor { type: "ssd_mobilenet_v2_keras" } } }'
    )
    pipeline = configure(records, checkpoint=zoo / given)
    assert pipeline.model.ssd.feature_extractor.type == "ssd_mobilenet_v2_keras"
    assert checkpoints.exists(pipeline.train_config.fine_tune_checkpoint)
    with pytest.raises(ConfigError, match="give one of them; the checkpoint has a model of its own, by "):
        configure(records, checkpoint=zoo / given, model="efficientdet_d1")


@pytest.mark.parametrize(
    ("classes", "fine_tune_type", "factor"),
    [
        ("all", "full", 1),
        ("others", "all_but_classes", 4),
        ("some", "all_but_classes", 1),
        ("moved", "all_but_classes", 1),
    ],
)
def test_going_on_from_a_model_of_ones_own(records, zoo, classes, fine_tune_type, factor):
    """With the same classes all is loaded; with some of them, what these have learned."""
    (zoo / "pipeline.config").write_text(
        'model { ssd { feature_extractor { type: "ssd_mobilenet_v2_keras" } } }'
    )
    names = read_label_map(records / "label_map.pbtxt").names
    before = {"all": names, "others": ["x", "y"], "some": names[:2], "moved": ["a", *names]}[classes]
    write_label_map(LabelMap.from_names(before), zoo / "label_map.pbtxt")
    pipeline = configure(records, checkpoint=zoo)
    assert pipeline.train_config.fine_tune_checkpoint_type == fine_tune_type
    assert pipeline.boxtune.learning_rate_factor_of_new_layers == factor
    assert cosine(pipeline).learning_rate_base == pytest.approx(0.02 if classes == "all" else 0.06)
    known = classes in ("some", "moved")
    assert pipeline.boxtune.fine_tune_label_map_path == (str(zoo / "label_map.pbtxt") if known else "")


def test_of_a_training_the_best_checkpoint_is_taken(records, zoo):
    (zoo / "complete_pipeline.config").write_text(
        'model { ssd { feature_extractor { type: "ssd_mobilenet_v2_keras" } } }'
    )
    (zoo / "checkpoint").rename(zoo / "best")
    assert configure(records, checkpoint=zoo).train_config.fine_tune_checkpoint == str(zoo / "best")


def test_of_several_runs_the_best_is_taken(records, zoo):
    """The second is the better one: its mAP is 0.3, that of the first on the same images 0.2."""
    text = 'model { ssd { feature_extractor { type: "ssd_mobilenet_v2_keras" } } }'
    second = zoo / "runs" / "2"
    shutil.copytree(zoo / "checkpoint", second / "best")
    for run in (zoo, second):
        (run / "complete_pipeline.config").write_text(text)
    (second / "start.json").write_text('{"checkpoint": "best", "changes": []}')
    (second / "results.json").write_text('{"mAP": 0.3, "step": 2, "mAP_of_best_before": 0.2}')
    assert configure(records, checkpoint=zoo).train_config.fine_tune_checkpoint == str(second / "best")


def test_a_checkpoint_without_a_configuration_needs_a_model(records, zoo):
    with pytest.raises(ConfigError, match=r"pipeline.config beside checkpoint/, .* or give the model, too"):
        configure(records, checkpoint=zoo)
    pipeline = configure(records, checkpoint=zoo, model="efficientdet_d1")
    assert pipeline.model.ssd.feature_extractor.type == "ssd_efficientnet-b1_bifpn_keras"
    assert pipeline.train_config.fine_tune_checkpoint == str(zoo)


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"label_map.pbtxt"):
        configure(tmp_path)


@pytest.mark.parametrize("name", ["frozen_inference_graph.pb", "saved_model/saved_model.pb"])
def test_what_cannot_be_trained_is_said_first(tmp_path, name):
    graph = tmp_path / "ssd_2018" / name
    graph.parent.mkdir(parents=True)
    graph.write_bytes(b"\x08")
    (tmp_path / "ssd_2018" / "pipeline.config").write_text("model { ssd { } }")
    for given in (graph, tmp_path / "ssd_2018"):
        with pytest.raises(
            CheckpointError, match="frozen graph or a SavedModel cannot be trained: take the folder"
        ):
            find_start(given)


def test_a_folder_without_records_is_named(records, tmp_path):
    (tmp_path / "label_map.pbtxt").write_text((records / "label_map.pbtxt").read_text())
    with pytest.raises(
        ConfigError, match=r"has no train-\*\.tfrecord: give the folder that `boxtune convert` wrote"
    ):
        configure(tmp_path)


def test_a_model_by_name(records):
    pipeline = configure(records, model="efficientdet_d1")
    assert pipeline.model.ssd.feature_extractor.type == "ssd_efficientnet-b1_bifpn_keras"
    assert config.fixed_size(pipeline.model.ssd.image_resizer) == (640, 640)
    with pytest.raises(ConfigError, match='there is no model "yolov8n"'):
        configure(records, model="yolov8n")
