"""Models as notebooks use them: restored, called, and trained on a few images in a loop of one's own."""

import json
import math
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import boxtune
from boxtune import config
from boxtune.config import pipeline_pb2
from boxtune.data import resize
from boxtune.errors import ConfigError
from boxtune.exporting.saved_model import detections_by_name
from boxtune.models import heads
from boxtune.training import checkpoints, warm_start
from golden.recordings import FOLDER, recorded_batch, recorded_weights
from object_detection.builders import model_builder
from object_detection.core.model import DetectionModel
from object_detection.meta_architectures.ssd_meta_arch import SSDMetaArch
from object_detection.meta_architectures.variable_names import names_of
from object_detection.utils import config_util

CHECKPOINT = "checkpoints/ssd_mobilenet_v2_fpnlite_224x224_a050_coco"
SIDE = 64
HEADS = "WeightSharedConvolutionalBoxPredictor/WeightSharedConvolutional"
TOWER = "WeightSharedConvolutionalBoxPredictor/BoxPredictionTower/"
TRAINED = (f"{HEADS}BoxHead", f"{HEADS}ClassHead")
BOX, CLASS = tf.constant([[0.1, 0.2, 0.6, 0.7]]), tf.constant([[1.0]])


@pytest.fixture(scope="module")
def real(shared):
    """The folder of a real checkpoint."""
    return shared / CHECKPOINT


def section(folder, **changes):
    """Return its `model` section, with other values of `ssd`."""
    found = config_util.get_configs_from_pipeline_file(folder / "pipeline.config")["model"]
    for name, value in changes.items():
        setattr(found.ssd, name, value)
    return found


def small(folder, **changes):
    """Return the section for smaller images and one class."""
    found = section(folder, num_classes=1, **changes)
    found.ssd.image_resizer.fixed_shape_resizer.height = found.ssd.image_resizer.fixed_shape_resizer.width = (
        SIDE
    )
    return found


@pytest.fixture(scope="module")
def restored(real):
    """A model with the weights of the checkpoint."""
    model = model_builder.build(section(real), is_training=False)
    before = values(model)
    status = tf.train.Checkpoint(model=model).restore(str(real / "checkpoint" / "ckpt-0"))
    status.assert_existing_objects_matched()
    status.expect_partial()
    assert not equal(before, values(model))
    return model


@pytest.fixture(scope="module")
def few_shot(real):
    """A model of one class with all but its layer of classes restored, as the notebook about few images does it."""
    tf.keras.utils.set_random_seed(0)
    model = model_builder.build(small(real, freeze_batchnorm=True), is_training=True)
    before = values(model)
    predictor = tf.compat.v2.train.Checkpoint(
        _base_tower_layers_for_heads=model._box_predictor._base_tower_layers_for_heads,
        _box_prediction_head=model._box_predictor._box_prediction_head,
    )
    part = tf.compat.v2.train.Checkpoint(
        _feature_extractor=model._feature_extractor, _box_predictor=predictor
    )
    checkpoint = tf.compat.v2.train.Checkpoint(model=part)
    checkpoint.restore(str(real / "checkpoint" / "ckpt-0")).expect_partial()
    return model, before


def values(model):
    return {variable.name: variable.numpy() for variable in model.variables}


def equal(one, other):
    """Return the names of the arrays that are the same."""
    return {name for name, value in one.items() if np.array_equal(value, other[name])}


def photograph(shared):
    return sorted((shared / "data" / "voc" / "raccoon").rglob("*.jpg"))[0]


@pytest.mark.shared
def test_inference_finds_what_boxtune_finds(restored, real, shared):
    pixels = np.asarray(Image.open(photograph(shared)).convert("RGB"))
    preprocessed, shapes = restored.preprocess(tf.cast(pixels[None], tf.float32))
    assert shapes.numpy().tolist() == [[224, 224, 3]]
    predictions = restored.predict(preprocessed, shapes)
    assert set(predictions) == {
        "preprocessed_inputs", "feature_maps", "anchors", "final_anchors", "box_encodings",
        "class_predictions_with_background",
    }  # fmt: skip
    count = len(predictions["anchors"])
    assert predictions["box_encodings"].shape == predictions["final_anchors"].shape == (1, count, 4)
    assert [one.shape[1] for one in predictions["feature_maps"]] == [28, 14, 7, 4, 2]
    assert set(restored.batched_prediction_tensor_names) == set(predictions) - {"anchors"}
    found = {name: value[0].numpy() for name, value in restored.postprocess(predictions, shapes).items()}
    expected = boxtune.load(real)(pixels, min_score=0.0)
    assert found["num_detections"] == len(expected.scores)
    np.testing.assert_allclose(found["detection_scores"], expected.scores, atol=1e-5)
    np.testing.assert_array_equal(found["detection_classes"][:3], expected.classes[:3])
    height, width = pixels.shape[:2]
    boxes = found["detection_boxes"][:3] * [height, width, height, width]
    np.testing.assert_allclose(boxes, expected.boxes[:3], atol=0.05)
    assert found["raw_detection_boxes"].shape == (count, 4)
    assert found["raw_detection_scores"].shape == (count, 81)
    best = found["detection_anchor_indices"][0].astype(int)
    np.testing.assert_array_equal(
        found["detection_multiclass_scores"][0], found["raw_detection_scores"][best]
    )
    called = restored(tf.cast(pixels[None], tf.float32))
    np.testing.assert_allclose(called["detection_scores"][0], found["detection_scores"], atol=1e-6)


@pytest.mark.shared
def test_what_boxtune_writes_can_be_restored_by_parts(restored, tmp_path):
    detector = restored.detector
    tree = checkpoints.tree(detector.checkpoint_variables(), detector.checkpoint_aliases)
    prefix = tree.write(str(tmp_path / "ckpt-1"))
    kept = values(restored)
    for variable in restored.variables:
        variable.assign(tf.zeros_like(variable))
    tower = restored._box_predictor._base_tower_layers_for_heads
    part = tf.train.Checkpoint(
        _box_predictor=tf.train.Checkpoint(_base_tower_layers_for_heads=tower),
        _feature_extractor=restored._feature_extractor,
    )
    status = tf.train.Checkpoint(model=part).read(prefix)
    status.assert_existing_objects_matched()
    status.expect_partial()
    shared_tower = {name for name in kept if "/PredictionTower/" in name}
    assert any("/conv2d_3/depthwise_kernel" in name for name in shared_tower)
    nothing_left = {name for name in kept if name.startswith((f"{HEADS}BoxHead", f"{HEADS}ClassHead"))}
    assert set(kept) - equal(kept, values(restored)) == nothing_left
    tf.train.Checkpoint(model=restored).read(prefix).assert_consumed()
    assert equal(kept, values(restored)) == set(kept)
    # And what the model writes is what boxtune reads: the same keys.
    written = checkpoints.Reader(tf.train.Checkpoint(model=restored).write(str(tmp_path / "ckpt-2")))
    assert set(written.shapes) - {"save_counter"} == set(detector.checkpoint_variables())
    # Also beside an optimizer, which holds the variables, too.
    optimizer = tf.keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build(restored.trainable_variables)
    both = tf.train.Checkpoint(model=restored, optimizer=optimizer).write(str(tmp_path / "ckpt-3"))
    checkpoints.load(detector.checkpoint_variables(), both)
    assert equal(kept, values(restored)) == set(kept)
    read = checkpoints.Reader(both)
    assert {key for key in read.shapes if key.startswith("model/")} == set(detector.checkpoint_variables())


@pytest.mark.shared
def test_the_objects_of_fine_tune_types(restored):
    classification = restored.restore_from_objects("classification")
    assert classification == {"feature_extractor": restored._feature_extractor.classification_backbone}
    detection = restored.restore_from_objects()
    assert detection["model"]._feature_extractor is restored._feature_extractor
    assert restored.restore_from_objects("full") == {"model": restored}
    keys = restored.restore_map(fine_tune_checkpoint_type="detection")
    assert keys
    assert all(key.startswith("model/_feature_extractor/") for key in keys)
    everything = restored.restore_map("detection", load_all_detection_checkpoint_vars=True)
    assert set(everything) == set(restored.detector.checkpoint_variables())
    for call in (restored.restore_map, restored.restore_from_objects):
        with pytest.raises(ValueError, match="fine_tune_checkpoint_type"):
            call("fine_tune")


@pytest.mark.shared
@pytest.mark.usefixtures("graphs_as_traced")
def test_few_images_train_the_heads_alone(few_shot):
    model, before = few_shot
    trained = [one for one in model.trainable_variables if one.name.startswith(TRAINED)]
    assert len(trained) == 6
    assert equal(before, values(model)) == {one for one in before if one.startswith(f"{HEADS}ClassHead")}
    start = values(model)
    images = np.random.default_rng(0).uniform(0, 255, [2, 1, 48, 80, 3]).astype(np.float32)
    shapes = tf.constant([[SIDE, SIDE, 3]] * 2, tf.int32)
    optimizer = tf.keras.optimizers.SGD(learning_rate=0.2, momentum=0.9)
    optimizer.build(trained)  # else the step is traced twice

    @tf.function
    def train_step(image_tensors, boxes, classes):
        model.provide_groundtruth(groundtruth_boxes_list=boxes, groundtruth_classes_list=classes)
        with tf.GradientTape() as tape:
            preprocessed = tf.concat([model.preprocess(image)[0] for image in image_tensors], axis=0)
            losses = model.loss(model.predict(preprocessed, shapes), shapes)
            total = losses["Loss/localization_loss"] + losses["Loss/classification_loss"]
        optimizer.apply_gradients(zip(tape.gradient(total, trained), trained, strict=True))
        return total

    totals = [float(train_step(list(images), [BOX] * 2, [CLASS] * 2)) for _ in range(6)]
    assert totals[-1] < 0.6 * totals[0]
    unchanged = equal(start, values(model))
    assert unchanged == set(start) - {one.name for one in trained}


@pytest.mark.shared
def test_losses_and_gradients_are_those_of_boxtune(few_shot):
    model, _ = few_shot
    images = np.random.default_rng(1).uniform(0, 255, [2, SIDE, SIDE, 3]).astype(np.float32)
    variables = model.trainable_variables[-8:]
    boxes = [tf.concat([BOX, BOX / 2], axis=0), BOX]
    model.provide_groundtruth(boxes, [tf.ones([2, 1]), CLASS], groundtruth_weights_list=[[1.0, 0.5], [1.0]])
    assert model.groundtruth_has_field("boxes")
    assert not model.groundtruth_has_field("masks")
    assert model.groundtruth_lists("boxes") is boxes
    with tf.GradientTape() as tape:
        preprocessed, shapes = model.preprocess(images)
        losses = model.loss(model.predict(preprocessed, shapes), shapes)
        total = sum(losses.values()) + tf.add_n(model.regularization_losses())
    gradients = tape.gradient(total, variables)
    groundtruth = {
        "boxes": tf.stack([boxes[0], tf.concat([BOX, tf.zeros([1, 4])], axis=0)]),
        "classes": tf.zeros([2, 2], tf.int32),
        "weights": tf.constant([[1.0, 0.5], [1.0, 0.0]]),
        "valid": tf.constant([[True, True], [True, False]]),
    }
    inputs = {"images": tf.constant(images), "sizes": shapes[:, :2], "groundtruth": groundtruth}
    detector = model.detector
    with tf.GradientTape() as tape:
        expected_total = detector.compute_loss(inputs, y_pred=detector(inputs, training=True))
    expected = {f"Loss/{name}": float(detector.last_losses[name].result()) for name in detector.loss_names}
    assert {name: float(value) for name, value in losses.items()} == pytest.approx(expected, rel=1e-5)
    assert float(total) == pytest.approx(float(expected_total), rel=1e-5)
    for one, other in zip(gradients, tape.gradient(expected_total, variables), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(other).max())
    model.provide_groundtruth([tf.zeros([0, 4])] * 2, [tf.zeros([0, 1])] * 2)
    assert math.isfinite(
        float(model.loss(model.predict(preprocessed, shapes), shapes)["Loss/classification_loss"])
    )


@pytest.mark.shared
@pytest.mark.thorough
def test_losses_and_gradients_are_those_of_the_api(tmp_path):
    folder = FOLDER / "ssd_mobilenet_v2_fpnlite_320x320_coco17_tpu-8"
    pipeline = config.load(folder / "pipeline.config")
    pipeline.model.ssd.freeze_batchnorm = True
    model = model_builder.build(pipeline.model, is_training=True)
    tree = {key: tf.Variable(value) for key, value in recorded_weights(folder).items()}
    warm_start.warm_start(model.detector, checkpoints.tree(tree).write(str(tmp_path / "ckpt-0")), "full")
    batch = recorded_batch(folder, resize.resizer(pipeline.model.ssd.image_resizer))
    valid = batch["groundtruth"]["valid"]
    boxes = [part[is_there] for part, is_there in zip(batch["groundtruth"]["boxes"], valid, strict=True)]
    numbers = [part[is_there] for part, is_there in zip(batch["groundtruth"]["classes"], valid, strict=True)]
    model.provide_groundtruth(boxes, [tf.one_hot(one, model.num_classes) for one in numbers])
    with tf.GradientTape() as tape:
        preprocessed, shapes = model.preprocess(tf.constant(batch["images"]))
        losses = model.loss(model.predict(preprocessed, shapes), shapes)
        losses["Loss/regularization_loss"] = tf.add_n(model.regularization_losses())
        losses["Loss/total_loss"] = tf.add_n(list(losses.values()))
    about = json.loads((folder / "golden.json").read_text())
    assert {name: float(value) for name, value in losses.items()} == pytest.approx(
        about["losses_frozen_bn"], rel=1e-5
    )
    gradients = tape.gradient(losses["Loss/total_loss"], model.trainable_variables)
    recorded = json.loads((folder / "gradients_frozen_bn.json").read_text())
    assert float(tf.linalg.global_norm(gradients)) == pytest.approx(recorded["global_norm"], rel=1e-4)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("model", "num_aliases", "name"),
    [
        (
            "ssd_mobilenet_v2_320x320_coco17_tpu-8",
            0,
            "BoxPredictor/ConvolutionalClassHead_5/ClassPredictor/bias",
        ),
        (
            "ssd_mobilenet_v2_fpnlite_320x320_coco17_tpu-8",
            20,
            f"{HEADS}ClassHead/ClassPredictor/pointwise_kernel",
        ),
        (
            "ssd_resnet50_v1_fpn_640x640_coco17_tpu-8",
            40,
            f"{TOWER}conv2d_3/BatchNorm/feature_4/moving_variance",
        ),
        ("ssd_efficientdet_d0_512x512_coco17_tpu-8", 30, f"{TOWER}conv2d_0/BatchNorm/feature_0/gamma"),
    ],
)
def test_names_and_further_keys_of_variables(model, num_aliases, name):
    recorded = json.loads((FOLDER / model / "variables.json").read_text())["variables"]
    keys = [key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE") for key in recorded]
    names = names_of(keys)
    assert len(set(names.values())) == len(keys)
    assert name in names.values()
    assert all(re.match("[A-Za-z0-9.]", one) for one in names.values())  # else no graph takes them
    section = config.load(FOLDER / model / "pipeline.config").model.ssd
    aliases = heads.aliases(section.box_predictor, 5)
    assert len(aliases) == num_aliases
    layers = {key.rpartition("/")[0] for key in keys}
    assert set(aliases.values()) <= layers
    assert not set(aliases) & layers
    towers = {alias.rpartition("/")[0] for alias in aliases}
    assert towers == {
        layer.rpartition("/")[0] for layer in layers if "_base_tower_layers_for_heads/" in layer
    }


@pytest.mark.shared
@pytest.mark.thorough
@pytest.mark.parametrize(
    "name",
    [
        "ssd_mobilenet_v1_300x300",
        "ssd_mobilenet_v2_320x320_coco17_tpu-8",
        "ssd_mobilenet_v1_fpn_640x640_coco17_tpu-8",
        "ssd_resnet50_v1_fpn_640x640_coco17_tpu-8",
        "ssd_efficientdet_d0_512x512_coco17_tpu-8",
    ],
)
def test_every_family_is_trained_and_saved_under_the_apis_keys(name, tmp_path):
    section = config.load(FOLDER / name / "pipeline.config").model
    resizer = getattr(section.ssd.image_resizer, section.ssd.image_resizer.WhichOneof("image_resizer_oneof"))
    for field in ("height", "width", "min_dimension", "max_dimension"):
        if field in resizer.DESCRIPTOR.fields_by_name:
            setattr(resizer, field, 128)
    model = model_builder.build(section, is_training=True)
    optimizer = tf.keras.optimizers.SGD(0.001)
    images = tf.constant(np.random.default_rng(0).uniform(0, 255, [2, 90, 120, 3]).astype(np.float32))
    model.provide_groundtruth([BOX] * 2, [tf.one_hot([3], model.num_classes)] * 2)
    with tf.GradientTape() as tape:
        preprocessed, shapes = model.preprocess(images)
        total = tf.add_n(list(model.loss(model.predict(preprocessed, shapes), shapes).values()))
    optimizer.apply_gradients(
        zip(tape.gradient(total, model.trainable_variables), model.trainable_variables, strict=True)
    )
    written = tf.train.Checkpoint(model=model, optimizer=optimizer).write(str(tmp_path / "ckpt-1"))
    recorded = json.loads((FOLDER / name / "variables.json").read_text())["variables"]
    keys = {key for key in checkpoints.Reader(written).shapes if key.startswith("model/")}
    assert keys == {key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE") for key in recorded}
    model._is_training = False
    found, resized = model(images), resize.resizer(section.ssd.image_resizer)(images)
    inputs = {"images": resized.image, "sizes": tf.tile(resized.size[None], [2, 1])}
    expected = detections_by_name(model.detector, inputs)
    for part in ("raw_detection_scores", "raw_detection_boxes", "detection_scores"):
        np.testing.assert_allclose(found[part], expected[part], atol=1e-4, err_msg=part)


def test_families_that_are_not_there_and_what_is_no_section():
    with pytest.raises(ValueError, match="Unknown meta architecture"):
        model_builder.build(pipeline_pb2.DetectionModel(), False)
    unknown = pipeline_pb2.DetectionModel()
    unknown.ssd.feature_extractor.type = "unknown"
    with pytest.raises(ValueError, match="unknown"):
        model_builder.build(unknown, False)
    with pytest.raises(ConfigError, match="faster_rcnn"):
        model_builder.build(pipeline_pb2.DetectionModel(faster_rcnn=pipeline_pb2.FasterRcnn()), False)
    with pytest.raises(ValueError, match="DetectionModel"):
        model_builder.build(pipeline_pb2.Ssd(), False)


@pytest.mark.shared
def test_what_comes_too_early_or_in_another_type(real):
    model = model_builder.build(small(real), is_training=False)
    assert isinstance(model, SSDMetaArch)
    assert isinstance(model, DetectionModel)
    assert (model.num_classes, model.updates(), DetectionModel.get_side_inputs({})) == (1, [], {})
    for early in (lambda: model.anchors, lambda: model.batched_prediction_tensor_names):
        with pytest.raises(RuntimeError, match="before predict"):
            early()
    with pytest.raises(RuntimeError, match="provide_groundtruth"):
        model.groundtruth_lists("boxes")
    with pytest.raises(ValueError, match="float32, not uint8"):
        model.preprocess(np.zeros([1, 8, 8, 3], np.uint8))
