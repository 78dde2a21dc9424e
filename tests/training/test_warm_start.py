import shutil
from functools import cache

import numpy as np
import pytest

from boxtune import config, models
from boxtune.data.label_map import LabelMap
from boxtune.errors import CheckpointError, ConfigError
from boxtune.models.tf1_names import keys_by_name
from boxtune.training import checkpoints
from boxtune.training.build import factors, load_initial_weights
from boxtune.training.warm_start import known_classes, warm_start
from tf1_checkpoint import NAMES, write_tf1

BACKBONE = "model/_feature_extractor/classification_backbone/"
FEATURES = "model/_feature_extractor/"


def build_anew(num_classes=2, feature_extractor="ssd_mobilenet_v2_fpn_keras", width=0.35):
    model = config.recipe(feature_extractor).model
    model.ssd.num_classes = num_classes
    model.ssd.feature_extractor.depth_multiplier = width
    resizer = model.ssd.image_resizer.fixed_shape_resizer
    resizer.height = resizer.width = 96
    return models.build(model)


once = cache(build_anew)


def randomized(detector, seed):
    """Statistics and biases start alike in every model; here every value is random."""
    rng = np.random.default_rng(seed)
    for variable in detector.network.variables:
        variable.assign(rng.normal(size=variable.shape).astype(np.float32))
    return detector


def build(**options):
    """Return such a detector with random values. There is one for all tests, which takes on other values sooner."""
    return randomized(once(**options), seed=0)


def values(detector):
    return {key: variable.numpy() for key, variable in detector.checkpoint_variables().items()}


@pytest.fixture(scope="module")
def source():
    return randomized(build_anew(), seed=1)


@pytest.fixture(scope="module")
def checkpoint(source, tmp_path_factory):
    """The folder of a checkpoint of `source`."""
    folder = tmp_path_factory.mktemp("source")
    checkpoints.tree(source.checkpoint_variables()).write(str(folder / "checkpoint" / "ckpt-0"))
    return folder


def check_loaded(detector, before, source, prefix):
    """Check that just the variables whose keys begin with `prefix` are those of `source`."""
    for key, value in values(detector).items():
        expected = source[key] if key.startswith(prefix) else before[key]
        np.testing.assert_array_equal(value, expected, err_msg=key)


@pytest.mark.parametrize(
    ("fine_tune_type", "prefix"), [("full", "model/"), ("detection", FEATURES), ("classification", BACKBONE)]
)
def test_types(checkpoint, source, fine_tune_type, prefix):
    detector = build()
    before = values(detector)
    warm = warm_start(detector, checkpoint, fine_tune_type)
    check_loaded(detector, before, values(source), prefix)
    assert warm.prefix == str(checkpoint / "checkpoint" / "ckpt-0")
    assert warm.loaded == sorted(key for key in before if key.startswith(prefix))
    assert warm.kept == sorted(key for key in before if not key.startswith(prefix))
    summary = f"Warm start: {len(warm.loaded)} variables from {warm.prefix}"
    assert str(warm) == (f"{summary}; {len(warm.kept)} start anew." if warm.kept else f"{summary}.")
    assert bool(warm.kept) == (fine_tune_type != "full")


def test_other_classes_need_another_type(checkpoint, source):
    detector = build(num_classes=5)
    before = values(detector)
    with pytest.raises(CheckpointError) as caught:
        warm_start(detector, checkpoint, "full")
    assert 'Use fine_tune_checkpoint_type: "all_but_classes" where the classes differ.' in str(caught.value)
    assert "of another shape" in str(caught.value)
    check_loaded(detector, before, values(source), "nothing")
    warm_start(detector, checkpoint, "detection")
    check_loaded(detector, before, values(source), FEATURES)


def test_other_anchors_need_the_type_detection(checkpoint):
    model = config.recipe("ssd_mobilenet_v2_fpn_keras").model
    model.ssd.num_classes = 5
    model.ssd.feature_extractor.depth_multiplier = 0.35
    model.ssd.anchor_generator.multiscale_anchor_generator.scales_per_octave = 3
    detector = models.build(model)
    advice = r'_box_encoder_layers.* Use fine_tune_checkpoint_type: "detection" where the box predictors or anchors'
    with pytest.raises(CheckpointError, match=advice):
        warm_start(detector, checkpoint, "all_but_classes")
    warm_start(detector, checkpoint, "detection")


def test_the_fields_in_which_the_own_configuration_of_a_checkpoint_differs(checkpoint, tmp_path):
    """It lies above the folder of the checkpoint, as in a zoo download, and leaves most sections out."""
    folder = tmp_path / "source"
    shutil.copytree(checkpoint, folder)
    extractor = "type: 'ssd_mobilenet_v2_fpn_keras' depth_multiplier: 0.5"
    text = f"model {{ ssd {{ num_classes: 9 feature_extractor {{ {extractor} }} }} }}"
    (folder / "pipeline.config").write_text(text)
    pipeline = config.recipe("ssd_mobilenet_v2_fpn_keras")
    pipeline.model.ssd.num_classes = 2
    pipeline.train_config.fine_tune_checkpoint = str(folder / "checkpoint" / "ckpt-0")
    pipeline.train_config.fine_tune_checkpoint_type = "detection"
    detector = build_anew(width=0.5)
    with pytest.raises(CheckpointError) as caught:
        load_initial_weights(detector, pipeline, LabelMap.from_names(["a", "b"]))
    first, *lines = str(caught.value).split("\n  ")
    assert first.endswith(f" The model of {folder / 'pipeline.config'} → the one to train:")
    # 1.0 is the value of the stock recipe; another number of classes is no fault. What the section leaves out has
    # the defaults of the schema.
    assert lines[0] == "model.ssd.feature_extractor.depth_multiplier: 0.5 → 1.0"
    assert "model.ssd.feature_extractor.use_depthwise: absent → True" in lines
    assert not [line for line in lines if "min_depth" in line or "num_classes" in line]
    (folder / "pipeline.config").write_text("model { faster_rcnn { } }")
    with pytest.raises(CheckpointError, match=r"as the configuration\.$"):
        load_initial_weights(detector, pipeline, LabelMap.from_names(["a", "b"]))


def logits(detector, images):
    return np.asarray(detector({"images": images}, training=False)["class_predictions_with_background"])


@pytest.mark.parametrize("feature_extractor", ["ssd_mobilenet_v2_fpn_keras", "ssd_mobilenet_v2_keras"])
def test_known_classes_keep_what_they_have_learned(feature_extractor, tmp_path):
    """Before: cat 0, dog 1. Now: ant 0, dog 1, bee 2, cat 3. Column 0 is the background."""
    before = randomized(build_anew(feature_extractor=feature_extractor), 1)
    checkpoints.tree(before.checkpoint_variables()).write(str(tmp_path / "ckpt-0"))
    now = randomized(build_anew(4, feature_extractor), 2)
    untouched = {key: value.numpy() for key, value in now.class_layers().items()}
    warm = warm_start(now, tmp_path, "all_but_classes", {1: 1, 3: 0})
    images = np.random.default_rng(0).normal(size=(1, 96, 96, 3)).astype(np.float32)
    expected, found = logits(before, images), logits(now, images)
    np.testing.assert_allclose(found[..., [0, 2, 4]], expected[..., [0, 2, 1]], rtol=1e-5, atol=1e-5)
    assert warm.kept == []
    assert "with what was learned of 2 known classes." in str(warm)
    for key, value in now.class_layers().items():
        if key.endswith("bias"):
            columns = np.arange(value.shape[0]) % 5 % 2 == 1  # of the ant and the bee
            np.testing.assert_array_equal(value.numpy()[columns], untouched[key][columns])


def test_which_classes_are_known():
    before, now = LabelMap.from_names(["cat", "dog"]), LabelMap.from_names(["ant", "bee", "cat", "dog"])
    assert known_classes(before, now) == {2: 0, 3: 1}
    assert known_classes(now, before) == {0: 2, 1: 3}


def test_layers_of_other_classes_than_the_label_map_says(checkpoint):
    with pytest.raises(CheckpointError, match=r"has 2 classes, fewer than its label map\. Leave out"):
        warm_start(build(num_classes=5), checkpoint, "all_but_classes", {0: 2})


def test_what_the_checkpoint_does_not_bring_may_learn_faster():
    detector = build(num_classes=5)
    new = {key for key in detector.trained_variables() if "class_predictions_with_background/_class" in key}
    found = factors(detector, detector.restore_map("all_but_classes"), 4.0)
    assert {
        key for key, factor in zip(detector.trained_variables(), found, strict=True) if factor == 4
    } == new
    assert set(found) == {1.0, 4.0}


def test_all_but_the_layers_of_the_classes(checkpoint, source):
    detector = build(num_classes=5)
    warm = warm_start(detector, checkpoint, "all_but_classes")
    # One separable convolution: two kernels and a bias.
    head = (
        "model/_box_predictor/_prediction_heads/class_predictions_with_background/_class_predictor_layers/0"
    )
    assert warm.kept == [f"{head}/{name}" for name in ("bias", "depthwise_kernel", "pointwise_kernel")]
    loaded = values(source)
    for key, value in values(detector).items():
        if key not in warm.kept:
            np.testing.assert_array_equal(value, loaded[key], err_msg=key)


@pytest.mark.parametrize(
    "other", [{"feature_extractor": "ssd_mobilenet_v2_keras"}, {"width": 0.5}], ids=["another", "wider"]
)
@pytest.mark.parametrize("fine_tune_type", ["full", "detection"])
def test_another_architecture_loads_nothing(checkpoint, other, fine_tune_type):
    detector = build(**other)
    before = values(detector)
    with pytest.raises(CheckpointError) as caught:
        warm_start(detector, checkpoint, fine_tune_type)
    assert f'does not fit this model for a warm start of type "{fine_tune_type}"' in str(caught.value)
    assert "the same feature extractor, depth_multiplier and heads" in str(caught.value)
    if "feature_extractor" in other:
        assert "the model has, the checkpoint lacks" in str(caught.value)
        assert "the checkpoint has, the model lacks" in str(caught.value)
    else:
        assert "of another shape (model, checkpoint)" in str(caught.value)
    check_loaded(detector, before, before, "")


def test_another_detector_over_the_same_backbone(checkpoint, source):
    detector = build(feature_extractor="ssd_mobilenet_v2_keras")
    before = values(detector)
    warm_start(detector, checkpoint, "classification")
    check_loaded(detector, before, values(source), BACKBONE)


def test_a_checkpoint_of_a_classification_network(source, tmp_path):
    # The API keeps the backbone of those under `feature_extractor/`.
    backbone = {
        f"feature_extractor/{key.removeprefix(BACKBONE)}": variable
        for key, variable in source.checkpoint_variables().items()
        if key.startswith(BACKBONE)
    }
    prefix = checkpoints.tree(backbone).write(str(tmp_path / "ckpt-1"))
    detector = build()
    before = values(detector)
    warm = warm_start(detector, prefix, "classification")
    check_loaded(detector, before, values(source), BACKBONE)
    assert len(warm.loaded) == len(backbone)


def test_a_checkpoint_of_the_backbone_is_not_a_detector(source, tmp_path):
    prefix = checkpoints.tree(
        {key: variable for key, variable in source.checkpoint_variables().items() if key.startswith(BACKBONE)}
    ).write(str(tmp_path / "ckpt-1"))
    with pytest.raises(CheckpointError, match="the model has, the checkpoint lacks"):
        warm_start(build(), prefix, "detection")


def build_tf1(num_classes=2, width=0.75):
    return build(feature_extractor="ssd_mobilenet_v2_keras", num_classes=num_classes, width=width)


@cache
def tf1_shapes():
    return {key: tuple(variable.shape) for key, variable in build_tf1().checkpoint_variables().items()}


@pytest.fixture(scope="module")
def of_tf1():
    """Random values for the variables of such a network, and its optimizer's, by the names in TensorFlow 1."""
    rng, shapes = np.random.default_rng(2), tf1_shapes()
    keys = keys_by_name(NAMES["ssd_mobilenet_v2_keras"], shapes)
    result = {name: rng.normal(size=shapes[key]).astype(np.float32) for name, key in keys.items()}
    first, *_ = result
    for slot in ("RMSProp", "RMSProp_1", "ExponentialMovingAverage"):
        result[f"{first}/{slot}"] = result[first] + 1
    return result | {"global_step": np.int64(200000)}


@pytest.fixture(scope="module")
def saved(of_tf1, tmp_path_factory):
    return write_tf1(of_tf1, tmp_path_factory.mktemp("tf1") / "model.ckpt")


class TestOfTensorFlow1:
    """Checkpoints as TensorFlow 1 writes them, of the networks that the API had then."""

    def expected(self, of_tf1):
        keys = keys_by_name(of_tf1, tf1_shapes())
        return {key: of_tf1[name] for name, key in keys.items() if key}

    @pytest.mark.parametrize(
        ("fine_tune_type", "prefix"),
        [("full", "model/"), ("detection", FEATURES), ("classification", BACKBONE)],
    )
    def test_types(self, saved, of_tf1, fine_tune_type, prefix):
        detector = build_tf1(num_classes=2 if fine_tune_type == "full" else 5)
        before = values(detector)
        warm = warm_start(detector, saved, fine_tune_type)
        check_loaded(detector, before, self.expected(of_tf1), prefix)
        assert warm.loaded == sorted(key for key in before if key.startswith(prefix))

    def test_all_but_the_layers_of_the_classes(self, saved, of_tf1):
        detector = build_tf1(num_classes=5)
        warm = warm_start(detector, saved, "all_but_classes")
        found = values(detector)
        assert warm.kept
        assert all("_prediction_heads/class_predictions_with_background" in key for key in warm.kept)
        for key, value in self.expected(of_tf1).items():
            if key not in warm.kept:
                np.testing.assert_array_equal(found[key], value, err_msg=key)

    def test_a_convolution_has_its_own_numbers(self, saved, of_tf1):
        detector = build_tf1()
        warm_start(detector, saved, "full")
        loaded = values(detector)[f"{BACKBONE}layer_with_weights-98/depthwise_kernel"]
        name = "FeatureExtractor/MobilenetV2/expanded_conv_16/depthwise/depthwise_weights"
        np.testing.assert_array_equal(loaded, of_tf1[name])

    def test_other_classes_need_another_type(self, saved):
        with pytest.raises(
            CheckpointError, match=r'of another shape.* Use fine_tune_checkpoint_type: "all_but_classes"'
        ):
            warm_start(build_tf1(num_classes=5), saved, "full")

    def test_slim(self, of_tf1, tmp_path):
        root = "FeatureExtractor/MobilenetV2/"
        backbone = {
            name.removeprefix("FeatureExtractor/"): value
            for name, value in of_tf1.items()
            if name.startswith((f"{root}Conv", f"{root}expanded"))
        }
        logits = {"MobilenetV2/Logits/Conv2d_1c_1x1/weights": np.zeros((1, 1, 1280, 3), np.float32)}
        prefix = write_tf1(backbone | logits, tmp_path / "mobilenet_v2.ckpt")
        detector = build_tf1()
        before = values(detector)
        warm_start(detector, prefix, "classification")
        check_loaded(detector, before, self.expected(of_tf1), BACKBONE)
        with pytest.raises(CheckpointError, match="the model has, the checkpoint lacks"):
            warm_start(detector, prefix, "detection")

    @pytest.mark.parametrize(
        ("name", "shape"),
        [
            ("FeatureExtractor/MobilenetV2/expanded_conv_17/expand/weights", (1, 1, 8, 8)),
            ("BoxPredictor_0/ClassPredictor/biases", (1,)),
        ],
        ids=["a layer more", "another shape"],
    )
    def test_what_does_not_fit(self, of_tf1, tmp_path, name, shape):
        prefix = write_tf1(of_tf1 | {name: np.zeros(shape, np.float32)}, tmp_path / "model.ckpt")
        detector = build_tf1()
        before = values(detector)
        with pytest.raises(CheckpointError, match='does not fit this model for a warm start of type "full"'):
            warm_start(detector, prefix, "full")
        check_loaded(detector, before, before, "")

    def test_a_narrow_network_was_another(self, saved):
        with pytest.raises(
            CheckpointError,
            match=r"depth_multiplier makes 16 filters .* another network under TensorFlow 1: use",
        ):
            warm_start(build_tf1(width=0.5), saved, "detection")

    def test_a_variable_that_nothing_has(self, of_tf1, tmp_path):
        prefix = write_tf1(of_tf1 | {"Attention/weights": np.zeros(1, np.float32)}, tmp_path / "model.ckpt")
        with pytest.raises(
            CheckpointError, match=r"of TensorFlow 1 with variables that .* not have: Attention/weights"
        ):
            warm_start(build_tf1(), prefix, "detection")

    @pytest.mark.shared
    @pytest.mark.parametrize(
        ("folder", "named"),
        [
            ("ssd_mobilenet_v3_large_coco_2019_08_14", "FeatureExtractor/MobilenetV3/Conv/BatchNorm/beta, "),
            ("faster_rcnn_inception_v2_coco_2018_01_28", "Conv/biases, Conv/weights, FirstStage"),
        ],
    )
    def test_other_networks_are_refused_by_name(self, folder, named, shared):
        with pytest.raises(
            CheckpointError, match=f"this kind of detector does not have: {named}.* the TF2 zoo"
        ):
            warm_start(build_tf1(), shared / "zoo" / folder / "model.ckpt", "detection")


def test_an_unknown_type(checkpoint):
    with pytest.raises(ConfigError, match=r'"detections" is not one of .*Did you mean "detection"\?'):
        warm_start(build(), checkpoint, "detections")


def test_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint here"):
        warm_start(build(), tmp_path, "detection")
