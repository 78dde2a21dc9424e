"""What every detector must do, whatever it is made of."""

import keras
import numpy as np
import pytest
from keras import ops

from boxtune import config, models
from boxtune.backends import compiled
from boxtune.models.layers import BatchNormalization
from boxtune.models.ssd import FEATURE_EXTRACTORS
from boxtune.training import checkpoints
from differentiation import differentiated

SIDE = 96
NUM_CLASSES = 3


def pipeline(feature_extractor):
    """Return the stock recipe for small pictures and three classes."""
    recipe = config.recipe(feature_extractor)
    recipe.model.ssd.num_classes = NUM_CLASSES
    resizer = recipe.model.ssd.image_resizer.fixed_shape_resizer
    resizer.height = resizer.width = SIDE
    return recipe


def build(feature_extractor, *, seed=0, freeze_batchnorm=False, **options):
    section = pipeline(feature_extractor).model
    section.ssd.freeze_batchnorm = freeze_batchnorm
    keras.utils.set_random_seed(seed)
    return models.build(section, **options)


@pytest.fixture(scope="module", params=sorted(FEATURE_EXTRACTORS))
def feature_extractor(request):
    return request.param


def call(detector, images=None, *, training=False):
    """Return the predictions for images, IMAGES by default; compiled for JAX, whose every operation would be."""
    predict = lambda given: detector(given, training=training)  # noqa: E731
    if keras.backend.backend() == "jax":
        predict = compiled(predict, detector.variables)
    return predict(IMAGES if images is None else images)


def tensors(groundtruth):
    return {name: ops.convert_to_tensor(part) for name, part in groundtruth.items()}


def arrays(structure):
    return keras.tree.map_structure(ops.convert_to_numpy, structure)


def settle(detector):
    """Take over the statistics of IMAGES: through those that a network starts with, nothing reaches its end."""
    normalizations = [layer for layer in detector.network.layers if isinstance(layer, BatchNormalization)]
    momentums = [layer.momentum for layer in normalizations]
    for layer in normalizations:
        layer.momentum = 0.0
    call(detector, training=True)
    for layer, momentum in zip(normalizations, momentums, strict=True):
        layer.momentum = momentum
    return detector


@pytest.fixture(scope="module")
def detector(feature_extractor):
    """A detector that no test changes."""
    return settle(build(feature_extractor))


@pytest.fixture(scope="module")
def predictions(detector):
    """Of that detector for IMAGES."""
    return keras.tree.map_structure(ops.stop_gradient, call(detector))


IMAGES = np.random.default_rng(0).uniform(0, 255, [2, SIDE, SIDE, 3]).astype(np.float32)
# Two objects in the first picture, none in the second.
GROUND_TRUTH = {
    "boxes": np.float32([[[0.1, 0.1, 0.6, 0.7], [0.3, 0.5, 0.9, 0.9]], np.zeros([2, 4])]),
    "classes": np.int32([[1, 2], [0, 0]]),
    "weights": np.float32([[1, 1], [0, 0]]),
    "valid": np.array([[True, True], [False, False]]),
}


def values(detector):
    return {key: np.array(variable) for key, variable in detector.checkpoint_variables().items()}


def test_predictions_are_one_for_each_anchor(detector, predictions):
    anchors = len(detector.loss.anchors)
    assert {name: part.shape for name, part in predictions.items()} == {
        "box_encodings": (2, anchors, 4),
        "class_predictions_with_background": (2, anchors, NUM_CLASSES + 1),
    }


def test_pictures_of_a_batch_do_not_mix(detector, predictions):
    for name, part in arrays(call(detector, IMAGES[1:])).items():
        assert part.std() > 1e-3
        # Another size of a batch may be computed in another order.
        np.testing.assert_allclose(predictions[name][1:], part, atol=1e-3 * part.std(), err_msg=name)


@pytest.mark.parametrize("valid", [True, False], ids=["with objects", "without any object"])
def test_losses_are_numbers(detector, predictions, valid):
    groundtruth = GROUND_TRUTH | {"valid": GROUND_TRUTH["valid"] & valid}
    terms = arrays(detector.loss_terms(predictions, tensors(groundtruth)))
    assert set(terms) == set(detector.loss_names)
    for name, value in terms.items():
        assert value.shape == ()
        assert np.isfinite(value), name
    assert terms["classification_loss"] > 0
    assert (terms["localization_loss"] > 0) == valid
    assert np.isfinite(arrays(detector.regularization_loss()))
    assert detector.regularization_loss() > 0


def one_object_of_each_size(anchors):
    """Return ground truth that every feature map has a part in: of each size of anchors the middle one."""
    sizes = np.round(anchors[:, 2:] - anchors[:, :2], 3)
    boxes = []
    for size in np.unique(sizes, axis=0):
        alike = anchors[(sizes == size).all(axis=1)]
        boxes.append(alike[len(alike) // 2])
    count = len(boxes)
    return {
        "boxes": np.stack([boxes] * 2),
        "classes": np.tile(np.arange(count, dtype=np.int32) % NUM_CLASSES, (2, 1)),
        "weights": np.ones([2, count], np.float32),
        "valid": np.ones([2, count], bool),
    }


def test_gradients_reach_every_variable(feature_extractor):
    detector = build(feature_extractor)
    groundtruth = tensors(one_object_of_each_size(arrays(detector.loss.anchors)))

    def loss():
        return sum(detector.loss_terms(detector(IMAGES, training=True), groundtruth).values()), ()

    _, gradients = differentiated(loss, detector.trainable_variables)
    assert any("_box_predictor" in variable.path for variable in detector.trainable_variables)
    for variable, gradient in zip(detector.trainable_variables, gradients, strict=True):
        assert np.isfinite(gradient).all(), variable.path
        assert np.any(gradient), variable.path


@pytest.mark.parametrize("window", [None, [[0.0, 0, 0.5, 1], [0.0, 0, 1, 0.75]]])
def test_detections(detector, predictions, window):
    window = None if window is None else ops.convert_to_tensor(window)
    found = detector.detect(predictions, window)
    boxes, scores, classes, anchors, count = (arrays(part) for part in vars(found).values())
    assert boxes.shape == (2, 100, 4)
    assert np.all((boxes >= 0) & (boxes <= 1))
    assert np.all(boxes[..., :2] <= boxes[..., 2:])
    assert np.all((classes >= 0) & (classes < NUM_CLASSES))
    assert np.all((anchors >= 0) & (anchors < len(detector.loss.anchors)))
    assert count.min() > 0
    for i in range(2):
        assert np.all(np.diff(scores[i]) <= 0)
        assert np.all(scores[i, : count[i]] > 0)
        assert not scores[i, count[i] :].any()
        assert not boxes[i, count[i] :].any()


def test_raw_detections_are_one_for_each_anchor(detector, predictions):
    boxes, scores = arrays(detector.raw_detections(predictions))
    anchors = len(detector.loss.anchors)
    assert boxes.shape == (2, anchors, 4)
    assert scores.shape == (2, anchors, NUM_CLASSES + 1)
    assert np.all((scores >= 0) & (scores <= 1))


def test_a_checkpoint_keeps_everything(detector, predictions, feature_extractor, tmp_path):
    prefix = checkpoints.write(detector.checkpoint_variables(), str(tmp_path / "ckpt-1"))
    other = build(feature_extractor, seed=1)
    assert not np.array_equal(arrays(call(other))["box_encodings"], predictions["box_encodings"])
    checkpoints.load(other.checkpoint_variables(), prefix)
    for name, part in arrays(call(other)).items():
        np.testing.assert_array_equal(part, predictions[name], err_msg=name)


def test_every_variable_has_a_key(detector):
    assert len(detector.checkpoint_variables()) == len(detector.network.variables)
    assert all(key.startswith("model/") for key in detector.checkpoint_variables())


@pytest.mark.parametrize("frozen", [False, True])
def test_batch_statistics_move_unless_frozen(feature_extractor, frozen):
    detector = build(feature_extractor, freeze_batchnorm=frozen)
    before = values(detector)
    call(detector, training=True)
    moved = {key for key, value in values(detector).items() if not np.array_equal(value, before[key])}
    statistics = {key for key in before if key.endswith(("moving_mean", "moving_variance"))}
    assert statistics
    assert moved == (set() if frozen else statistics)


def test_training_steps(feature_extractor):
    detector = build(feature_extractor)
    before = values(detector)
    detector.compile(keras.optimizers.SGD(0.01), jit_compile=keras.backend.backend() == "jax")
    logs = detector.train_on_batch(IMAGES, GROUND_TRUTH, return_dict=True)
    terms = {*detector.loss_names, "regularization_loss"}
    assert {"loss", *terms} <= set(logs)
    assert logs["loss"] == pytest.approx(sum(logs[name] for name in terms), rel=1e-5)
    trained = {variable.path for variable in detector.trainable_variables}
    after = values(detector)
    assert any(
        variable.path in trained and not np.array_equal(after[key], before[key])
        for key, variable in detector.checkpoint_variables().items()
    )
    # What is shown is the last batch's, not a mean since the run began as Keras' metrics are.
    assert logs["localization_loss"] > 0
    empty = GROUND_TRUTH | {"valid": np.zeros([2, 2], bool)}
    assert detector.train_on_batch(IMAGES, empty, return_dict=True)["localization_loss"] == 0


@pytest.mark.parametrize("share_prediction_tower", [True, False])
def test_gradients_repeat_to_the_last_bit(feature_extractor, share_prediction_tower):
    section = pipeline(feature_extractor).model
    predictor = section.ssd.box_predictor
    if predictor.HasField("weight_shared_convolutional_box_predictor"):
        predictor.weight_shared_convolutional_box_predictor.share_prediction_tower = share_prediction_tower
    elif not share_prediction_tower:
        pytest.skip("has no towers")
    detector = models.build(section)
    if keras.backend.backend() != "tensorflow":
        pytest.skip("is about the order in which TensorFlow adds")
    import tensorflow as tf

    @tf.function(jit_compile=False)
    def gradients():
        with tf.GradientTape() as tape:
            total = detector.compute_loss(IMAGES, GROUND_TRUTH, detector(IMAGES, training=True))
        return [total, *tape.gradient(total, [one.value for one in detector.trainable_variables])]

    # TensorFlow adds two in any order to the same, but not three: it starts with any that it may overwrite.
    operations = gradients.get_concrete_function().graph.get_operations()
    assert [op.name for op in operations if op.type == "AddN"]
    assert not [op.name for op in operations if op.type == "AddN" and len(op.inputs) > 2]
    first = [part.numpy() for part in gradients()]
    for _ in range(3):
        for one, other in zip(gradients(), first, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_network_may_compute_in_bfloat16(feature_extractor, detector, predictions):
    coarse = build(feature_extractor, use_bfloat16=True)
    for key, variable in detector.checkpoint_variables().items():
        coarse.checkpoint_variables()[key].assign(variable)
    inside = {
        layer.compute_dtype for layer in coarse.network.layers if isinstance(layer, keras.layers.Conv2D)
    }
    assert inside == {"bfloat16"}
    assert {variable.dtype for variable in coarse.variables} == {"float32"}
    rounded, exact = (arrays(one["box_encodings"]) for one in (call(coarse), predictions))
    assert rounded.dtype == "float32"
    # Eight binary digits, and drawn weights, which make more of each layer's rounding in the next.
    assert 0 < np.abs(rounded - exact).mean() < 0.6 * exact.std()
    coarse.compile(keras.optimizers.SGD(0.01), jit_compile=keras.backend.backend() == "jax")
    assert np.isfinite(coarse.train_on_batch(IMAGES, GROUND_TRUTH, return_dict=True)["loss"])
    assert keras.config.dtype_policy().name == "float32"  # of whatever else is made


def test_regularization_can_be_left_out(feature_extractor):
    detector = build(feature_extractor, add_regularization_loss=False)
    predictions = keras.tree.map_structure(ops.stop_gradient, call(detector))
    total = detector.compute_loss(IMAGES, tensors(GROUND_TRUTH), predictions)
    terms = arrays(detector.loss_terms(predictions, tensors(GROUND_TRUTH)))
    assert float(total) == pytest.approx(sum(terms.values()), rel=1e-6)
