"""Trainings, evaluations and exports by the functions that copies of the API's scripts call."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import boxtune
from boxtune import config, models
from boxtune.config.pipeline_pb2 import CheckpointVersion
from boxtune.data.input import open_records
from boxtune.errors import ConfigError, DataError
from boxtune.evaluation.evaluator import Evaluator
from boxtune.training import checkpoints
from image_records import record_of_image, write_records
from object_detection import (
    eval_util,
    export_tflite_graph_lib_tf2,
    exporter_lib_v2,
    inputs,
    model_lib_v2,
)
from object_detection.builders import model_builder
from object_detection.core.model import DetectionModel
from object_detection.core.standard_fields import DetectionResultFields as Detected
from object_detection.core.standard_fields import InputDataFields as Fields
from object_detection.utils import config_util
from several_boxes import FIXED, Several
from tf1_checkpoint import write_tf1
from tiny_run import SIDE, TinyDetector

CHECKPOINT = "checkpoints/ssd_mobilenet_v2_fpnlite_224x224_a050_coco"
BOXES = ((0.1, 0.2, 0.6, 0.7), (0.3, 0.3, 0.5, 0.9))
STEPS = 2
V1, V2 = CheckpointVersion.V1, CheckpointVersion.V2

pytestmark = pytest.mark.usefixtures("graphs_as_traced")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records of five images, and a configuration for them."""
    folder = tmp_path_factory.mktemp("api")
    made = [
        record_of_image(f"{i}.png", f"{i}", objects=[(BOXES[i % 2], 1)], size=(40, 20), value=i)
        for i in range(5)
    ]
    write_records(folder / "a.record", made)
    (folder / "label_map.pbtxt").write_text('item { id: 1 name: "ball" }')
    pipeline = config.recipe("ssd_mobilenet_v2_keras")
    pipeline.model.ssd.num_classes = 1
    pipeline.model.ssd.feature_extractor.depth_multiplier = 0.35
    pipeline.train_config.batch_size = 2
    del pipeline.train_config.data_augmentation_options[:]
    pipeline.train_config.num_steps = STEPS
    for reader in (pipeline.train_input_reader, pipeline.eval_input_reader.add()):
        reader.tf_record_input_reader.input_path.append(str(folder / "a.record"))
        reader.label_map_path = str(folder / "label_map.pbtxt")
    config.apply_override(pipeline, FIXED.replace(f"{SIDE}", "64"))
    config.write(pipeline, folder / "large.config")
    config.apply_override(pipeline, FIXED)
    config.write(pipeline, folder / "pipeline.config")
    return folder


@pytest.fixture
def tiny(monkeypatch):
    """What is built is a detector of two layers."""
    monkeypatch.setattr(models, "build", lambda section, options=None: TinyDetector())


@pytest.mark.usefixtures("tiny")
def test_a_training_and_its_evaluation(folder, tmp_path):
    model_lib_v2.train_loop(
        pipeline_config_path=str(folder / "pipeline.config"),
        model_dir=str(tmp_path / "mine"),
        config_override="train_config { batch_size: 4 }",
        train_steps=STEPS,
        save_final_config=True,
        checkpoint_every_n=1,
        checkpoint_max_to_keep=1,
        learning_rate=0.5,
    )
    kept = [checkpoints.step_of(prefix) for prefix in checkpoints.all_in(tmp_path / "mine")]
    assert kept == [STEPS]
    trained = config_util.get_configs_from_pipeline_file(tmp_path / "mine" / "pipeline.config")
    assert trained["train_config"].batch_size == 4
    assert "0.5" in str(trained["train_config"].optimizer)
    journal = [json.loads(line) for line in (tmp_path / "mine" / "metrics.jsonl").read_text().splitlines()]
    assert {line["step"] for line in journal} >= {1, 2}
    model_lib_v2.eval_continuously(
        pipeline_config_path=str(folder / "pipeline.config"),
        model_dir=str(tmp_path / "seen"),
        checkpoint_dir=str(tmp_path / "mine"),
        sample_1_of_n_eval_examples=2,
        wait_interval=1,
        timeout=1,
    )
    evaluated = json.loads((tmp_path / "seen" / "evaluation.json").read_text())
    assert evaluated["step"] == STEPS
    assert len(list((tmp_path / "seen" / "eval").rglob("*tfevents*"))) == 1


def test_what_is_refused(folder, tmp_path):
    path = folder / "pipeline.config"
    for options, message in (
        ({"use_tpu": True}, "use_tpu"),
        ({"performance_summary_exporter": print}, "performance_summary_exporter"),
        ({"config_override": "train_config { batch: 4 }"}, "config_override:1:16"),
    ):
        with pytest.raises(ConfigError, match=message):
            model_lib_v2.train_loop(path, tmp_path, **options)
    with pytest.raises(ConfigError, match=r"eval_index is 1, but .* has 1"):
        model_lib_v2.eval_continuously(path, model_dir=tmp_path, eval_index=1)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def configs(folder):
    """The sections of a small model."""
    return config_util.get_configs_from_pipeline_file(folder / "large.config")


@pytest.fixture(scope="module")
def model(configs):
    keras.utils.set_random_seed(0)
    return model_builder.build(configs["model"], is_training=True)


def test_a_step_on_a_batch_of_records(configs, model):
    dataset = inputs.train_input(
        configs["train_config"], configs["train_input_config"], configs["model"], model=model
    )
    features, labels = next(iter(dataset))
    before = [variable.numpy() for variable in model.trainable_variables]
    made = model_lib_v2.eager_train_step(
        model,
        features,
        labels,
        True,
        tf.keras.optimizers.SGD(0.5),
        clip_gradients_value=0.1,
        num_replicas=2.0,
    )
    losses = {name: float(value) for name, value in made.items()}
    parts = ("localization_loss", "classification_loss", "regularization_loss")
    assert set(losses) == {f"Loss/{part}" for part in (*parts, "total_loss")}
    total = sum(losses[f"Loss/{part}"] for part in parts)
    assert losses["Loss/total_loss"] == pytest.approx(total, rel=1e-5)
    changes = [
        variable.numpy() - value for variable, value in zip(model.trainable_variables, before, strict=True)
    ]
    assert np.sqrt(sum(np.sum(change**2) for change in changes)) == pytest.approx(0.5 * 0.1, rel=1e-3)


@pytest.mark.shared
@pytest.mark.thorough
def test_an_evaluation_of_ones_own_gives_the_numbers_of_boxtune(shared, tmp_path):
    folder = shared / CHECKPOINT
    photos = sorted((shared / "data" / "voc" / "raccoon").rglob("*.jpg"))[:3]
    made = []
    for path, found in zip(photos, boxtune.load(folder)(photos, min_score=0.3), strict=True):
        height, width = found.height, found.width
        shifted = found.boxes / [height, width, height, width] * 0.95
        objects = [(box, number + 1) for box, number in zip(shifted.tolist(), found.classes, strict=True)]
        made.append(_record_of(path, objects))
    pipeline = config.load(folder / "pipeline.config")
    (reader,) = pipeline.eval_input_reader
    reader.tf_record_input_reader.input_path[:] = [str(write_records(tmp_path / "a.record", made))]
    reader.label_map_path, reader.num_epochs, reader.shuffle = str(folder / "label_map.pbtxt"), 1, False
    model = model_builder.build(pipeline.model, is_training=True)
    tf.train.Checkpoint(model=model).restore(str(folder / "checkpoint" / "ckpt-0")).expect_partial()
    configs = config_util.create_configs_from_pipeline_proto(pipeline)
    dataset = inputs.eval_input(configs["eval_config"], reader, configs["model"], model, {"batch_size": 3})
    metrics = model_lib_v2.eager_eval_loop(model, configs, dataset)
    records = open_records(reader, model.num_classes)
    expected = Evaluator.from_config(model.detector, records, pipeline).evaluate(0)
    assert 0.2 < expected.metrics["DetectionBoxes_Precision/mAP"] < 0.95
    assert metrics == pytest.approx(expected.metrics | expected.losses, abs=1e-4)
    with pytest.raises(DataError, match="empty"):
        model_lib_v2.eager_eval_loop(model, configs, [])


def _record_of(path, objects):
    example = tf.train.Example.FromString(record_of_image(path.name, path.name, objects=objects))
    example.features.feature["image/encoded"].bytes_list.value[:] = [path.read_bytes()]
    return example.SerializeToString()


def test_fine_tuning_from_a_checkpoint(model, tmp_path):
    detector = model.detector
    variables = detector.checkpoint_variables()
    prefix = checkpoints.tree(variables).write(str(tmp_path / "ckpt-1"))
    kept = {key: variable.numpy() for key, variable in variables.items()}
    for variable in variables.values():
        variable.assign(variable + 1)
    assert model_lib_v2.is_object_based_checkpoint(prefix)
    arguments = {"run_model_on_dummy_input": True, "input_dataset": None, "unpad_groundtruth_tensors": True}
    model_lib_v2.load_fine_tune_checkpoint(model, prefix, "detection", V2, **arguments)
    same = {key for key, variable in variables.items() if np.array_equal(variable, kept[key])}
    assert same == {key for key in variables if key.startswith("model/_feature_extractor/")}
    model_lib_v2.load_fine_tune_checkpoint(model, prefix, "full", V2, **arguments)
    assert all(np.array_equal(variable, kept[key]) for key, variable in variables.items())
    with pytest.raises(ValueError, match="V1"):
        model_lib_v2.load_fine_tune_checkpoint(model, prefix, "full", V1, **arguments)
    older = write_tf1({"a": np.zeros(1)}, tmp_path / "model.ckpt")
    with pytest.raises(OSError, match="TensorFlow 1"):
        model_lib_v2.load_fine_tune_checkpoint(model, older, "full", V2, **arguments)


class Own(DetectionModel):
    """A model of someone else."""

    def __init__(self):
        super().__init__(2)
        self.scale = tf.Variable(2.0)

    def preprocess(self, inputs):
        return inputs / 255.0, exporter_lib_v2.get_true_shapes(inputs)

    def predict(self, preprocessed_inputs, true_image_shapes):
        return {"mean": tf.reduce_mean(preprocessed_inputs, axis=[1, 2, 3]) * self.scale}

    def postprocess(self, prediction_dict, true_image_shapes):
        scores = prediction_dict["mean"][:, None]
        count = tf.shape(scores)[0]
        return {
            "detection_boxes": tf.tile([[[0.0, 0.0, 0.5, 0.5]]], [count, 1, 1]),
            "detection_scores": scores,
            "detection_classes": tf.zeros([count, 1], tf.int32),
            "num_detections": tf.ones([count]),
        }

    def loss(self, prediction_dict, true_image_shapes):
        return {"Loss/mean": tf.reduce_mean(prediction_dict["mean"] ** 2)}

    def restore_from_objects(self, fine_tune_checkpoint_type="detection"):
        return {"model": tf.train.Checkpoint(scale=self.scale)}

    restore_map, updates = restore_from_objects, lambda self: []

    def regularization_losses(self):
        return []


def test_a_model_of_someone_else(tmp_path):
    source, own = Own(), Own()
    source.scale.assign(3.0)
    prefix = tf.train.Checkpoint(model=source).save(str(tmp_path / "ckpt"))
    batch = {Fields.image: tf.ones([1, 2, 2, 3]), Fields.true_image_shape: tf.constant([[2, 2, 3]])}
    labels = {
        Fields.groundtruth_boxes: tf.ones([1, 1, 4]),
        Fields.groundtruth_classes: tf.ones([1, 1, 2]),
        Fields.num_groundtruth_boxes: tf.constant([1]),
    }
    dataset = tf.data.Dataset.from_tensors((batch, labels))
    model_lib_v2.load_fine_tune_checkpoint(own, prefix, "full", V2, True, dataset, True)
    assert own.scale.numpy() == 3
    losses = model_lib_v2.eager_train_step(own, batch, labels, True, tf.keras.optimizers.SGD(0.1))
    assert float(losses["Loss/total_loss"]) == 9
    assert own.scale.numpy() == pytest.approx(3 - 0.6)
    module = exporter_lib_v2.DetectionFromImageModule(own)
    signature = module.__call__.get_concrete_function()
    tf.saved_model.save(module, str(tmp_path / "saved_model"), signatures=signature)
    loaded = tf.saved_model.load(str(tmp_path / "saved_model"))
    found = loaded(tf.constant(np.full([2, 4, 6, 3], 51, np.uint8)))
    np.testing.assert_allclose(found["detection_scores"], [[0.2 * 2.4]] * 2, rtol=1e-5)
    np.testing.assert_array_equal(found["detection_classes"], [[1]] * 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            exporter_lib_v2.INPUT_BUILDER_UTIL_MAP, "model_build", lambda section, is_training: Own()
        )
        pipeline = config_util.TrainEvalPipelineConfig()
        arguments = (pipeline, str(tmp_path), str(tmp_path / "exported"))
        exporter_lib_v2.export_inference_graph("float_image_tensor", *arguments)
        with pytest.raises(ValueError, match="input_type"):
            exporter_lib_v2.export_inference_graph("image", *arguments)
    found = tf.saved_model.load(str(tmp_path / "exported" / "saved_model"))(tf.fill([1, 2, 2, 3], 51.0))
    np.testing.assert_allclose(found["detection_scores"], [[0.2 * 3]], rtol=1e-5)
    assert {path.name for path in (tmp_path / "exported").iterdir()} == {
        "checkpoint", "pipeline.config", "saved_model",
    }  # fmt: skip
    model_lib_v2.validate_tf_v2_checkpoint_restore_map({"model": own, "parts": {"one": own}})
    for wrong in ({"model": own.scale}, {1: own}, {"parts": {"one": 1}}):
        with pytest.raises(TypeError, match="dict of modules"):
            model_lib_v2.validate_tf_v2_checkpoint_restore_map(wrong)


def test_an_evaluation_of_a_model_of_someone_else(folder, tmp_path):
    # The brighter, the better it scores: 4, 3, 2, 1, 0. What it finds is there in every other image.
    boxes = [(0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0)]
    made = [record_of_image(objects=[(boxes[i % 2], 1)], size=(40, 20), value=9 * i) for i in range(5)]
    configs = config_util.get_configs_from_pipeline_file(folder / "pipeline.config")
    reader = configs["eval_input_config"]
    reader.tf_record_input_reader.input_path[:] = [str(write_records(tmp_path / "a.record", made))]
    reader.num_epochs, configs["model"].ssd.num_classes = 1, 2
    configs["model"].ssd.image_resizer.identity_resizer.SetInParent()
    own = Own()
    dataset = inputs.eval_input(configs["eval_config"], reader, configs["model"], own, {"batch_size": 2})
    with tf.summary.create_file_writer(str(tmp_path / "eval")).as_default():
        metrics = model_lib_v2.eager_eval_loop(own, configs, dataset, global_step=7)
    # Of five objects, one is found at a precision of 1, two at 2/3, three at 3/5.
    assert metrics["DetectionBoxes_Precision/mAP"] == pytest.approx((21 + 20 * 2 / 3 + 20 * 3 / 5) / 101)
    means = [2 * 9 * i / 255 / 3 for i in range(5)]
    assert metrics["Loss/mean"] == pytest.approx(sum(mean**2 for mean in means) / 5)
    assert len(list((tmp_path / "eval").iterdir())) == 1


def test_the_modules_of_an_export_find_what_their_model_finds(model):
    image = np.random.default_rng(0).integers(0, 256, [48, 80, 3], np.uint8)
    model._is_training = False
    found = exporter_lib_v2.DetectionFromImageModule(model)(image[None])
    expected = model(tf.cast(image[None], tf.float32))
    expected["detection_classes"] += 1
    assert set(found) == set(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4, err_msg=name)
    assert set(exporter_lib_v2.DETECTION_MODULE_MAP) == {
        "image_tensor", "float_image_tensor", "encoded_image_string_tensor", "tf_example", "image_and_boxes_tensor",
    }  # fmt: skip
    for input_type in ("float_image_tensor", "encoded_image_string_tensor", "tf_example"):
        other = exporter_lib_v2.DETECTION_MODULE_MAP[input_type](model)
        assert other.__call__.input_signature[0].dtype == (tf.float32 if "float" in input_type else tf.string)
    with pytest.raises(ConfigError, match="image_and_boxes_tensor"):
        exporter_lib_v2.DetectionFromImageAndBoxModule(model)
    with pytest.raises(ConfigError, match="side_inputs"):
        exporter_lib_v2.DetectionFromImageModule(model, use_side_inputs=True)


def test_an_export(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "build", lambda section, options=None: Several())
    (tmp_path / "trained").mkdir()
    tree = checkpoints.tree(Several().checkpoint_variables())
    tf.train.CheckpointManager(tree, str(tmp_path / "trained"), 1).save()
    pipeline = config.load(folder / "pipeline.config")
    pipeline.train_config.num_steps = 77
    arguments = (pipeline, str(tmp_path / "trained"), str(tmp_path / "exported"))
    exporter_lib_v2.export_inference_graph("image_tensor", *arguments)
    written = config_util.get_configs_from_pipeline_file(tmp_path / "exported" / "pipeline.config")
    assert written["train_config"].num_steps == 77
    assert checkpoints.exists(tmp_path / "exported" / "checkpoint")
    detect = tf.saved_model.load(str(tmp_path / "exported" / "saved_model"))
    found = detect(tf.zeros([1, 30, 40, 3], tf.uint8))
    assert found["detection_boxes"].shape == (1, 5, 4)
    with pytest.raises(ConfigError, match="side_inputs"):
        exporter_lib_v2.export_inference_graph("image_tensor", *arguments, use_side_inputs=True)


def test_what_tensorflow_lite_is_given(folder, model):
    pipeline = config.load(folder / "large.config")
    module = export_tflite_graph_lib_tf2.SSDModule(pipeline, model, 10, False)
    assert module.input_shape() == [1, 64, 64, 3]
    signature = module.postprocess_implements_signature()
    for part in (
        '"TFLite_Detection_PostProcess"',
        '"max_detections" value { i: 10 }',
        '"h_scale" value { f: 5.0 }',
    ):
        assert part in signature
    centers = export_tflite_graph_lib_tf2.get_const_center_size_encoded_anchors([[0.0, 0.2, 0.5, 0.6]])
    np.testing.assert_allclose(centers, [[0.25, 0.4, 0.5, 0.4]], rtol=1e-6)
    with pytest.raises(ConfigError, match="CenterNet"):
        export_tflite_graph_lib_tf2.CenterNetModule(pipeline, 10, False)


# eval_util


def batch_of_detections():
    return {
        Detected.detection_boxes: tf.constant([[[0.0, 0.0, 0.5, 1.0], [0, 0, 0, 0]]]),
        Detected.detection_scores: tf.constant([[0.5, 0.0]]),
        Detected.detection_classes: tf.constant([[1.0, 0.0]]),
        Detected.num_detections: tf.constant([1.0]),
    }


def test_metrics_for_tensorboard(tmp_path):
    eval_util.write_metrics({"mAP": 0.5}, 3, str(tmp_path))
    (file,) = tmp_path.iterdir()
    events = [
        tf.compat.v1.Event.FromString(one) for one in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    ]
    assert [(event.step, event.summary.value[0].tag) for event in events if event.summary.value] == [
        (3, "mAP")
    ]


# model_lib_v2, small parts


def test_dicts_of_values():
    values = {"a": tf.constant(4.0)}
    assert model_lib_v2.normalize_dict(values, 2.0) is values
    assert values["a"] == 2
    strategy = tf.distribute.get_strategy()
    assert model_lib_v2.reduce_dict(strategy, values, tf.distribute.ReduceOp.SUM)["a"] == 2
    together = model_lib_v2.concat_replica_results({"a": [tf.ones([1]), tf.zeros([2])]})
    assert together["a"].numpy().tolist() == [1, 0, 0]


def test_folders_of_workers(tmp_path):
    class Extended:
        should_save_checkpoint, _task_id = False, 2

    class Strategy:
        extended = Extended

    own = model_lib_v2.get_filepath(Strategy, str(tmp_path))
    assert own == str(tmp_path / "temp_worker_002")
    (tmp_path / "temp_worker_002").mkdir()
    model_lib_v2.clean_temporary_directories(Strategy, own)
    assert not list(tmp_path.iterdir())
    Extended.should_save_checkpoint = True
    assert model_lib_v2.get_filepath(Strategy, str(tmp_path)) == str(tmp_path)
    model_lib_v2.clean_temporary_directories(Strategy, str(tmp_path))
    assert tmp_path.is_dir()
