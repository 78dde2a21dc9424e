"""What every detector must do, whatever it is made of."""

import keras
import numpy as np
import pytest
from keras import ops

from boxtune import config, models
from boxtune.backends import compiled
from boxtune.config.families import recipe_names
from boxtune.errors import ConfigError
from boxtune.models import Detector
from boxtune.models.layers import BatchNormalization, Normalized, Unused
from boxtune.training import checkpoints
from differentiation import differentiated
from kinds import ALL_BUT_ONE, DEEP, each_kind, shallow

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

SIDE = 128  # halves down to the coarsest level of any pyramid
NUM_CLASSES = 3
FINE_TUNE_TYPES = ("classification", "detection", "all_but_classes", "full")
"""Each covers more than the one before."""

IMAGES = np.random.default_rng(0).uniform(0, 255, [2, SIDE, SIDE, 3]).astype(np.float32)
# Two objects in the first image, none in the second.
GROUND_TRUTH = {
    "boxes": np.float32([[[0.1, 0.1, 0.6, 0.7], [0.3, 0.5, 0.9, 0.9]], np.zeros([2, 4])]),
    "classes": np.int32([[1, 2], [0, 0]]),
    "weights": np.float32([[1, 1], [0, 0]]),
    "valid": np.array([[True, True], [False, False]]),
}


def inputs(groundtruth=GROUND_TRUTH, *, images=IMAGES, sizes=None):
    """Return Inputs; their sizes are those of the images, if not given."""
    whole = np.full([len(images), 2], SIDE, np.int32)
    return {
        "images": images,
        "sizes": whole if sizes is None else np.int32(sizes),
        "groundtruth": groundtruth,
    }


def without_objects():
    return GROUND_TRUTH | {"valid": np.zeros([2, 2], bool)}


def pipeline(recipe):
    """Return a stock recipe for small images and three classes."""
    stock = config.recipe(recipe)
    family = config.family_of(stock.model)
    family.set_num_classes(stock.model, NUM_CLASSES)
    resizer = family.image_resizer(stock.model).fixed_shape_resizer
    resizer.height = resizer.width = SIDE
    return shallow(stock)


def is_deep(recipe):
    """Say whether rounding in one layer is multiplied by fifty and more behind it."""
    return bool(DEEP.search(recipe))


def build(recipe, *, seed=0, **options):
    keras.utils.set_random_seed(seed)
    return models.build(pipeline(recipe).model, models.Options(**options))


@pytest.fixture(scope="module", params=each_kind(recipe_names(), later=ALL_BUT_ONE))
def recipe(request):
    return request.param


def call(detector, given=None, *, training=False):
    """Return the predictions for Inputs, `inputs()` by default; compiled for JAX, whose every operation would be."""
    predict = lambda given: detector(given, training=training)  # noqa: E731
    if keras.backend.backend() == "jax":
        predict = compiled(predict, detector.variables)
    return predict(inputs() if given is None else given)


def tensors(structure):
    return keras.tree.map_structure(ops.convert_to_tensor, structure)


def arrays(structure):
    return keras.tree.map_structure(ops.convert_to_numpy, structure)


def parts(predictions):
    """Return the arrays that a structure of predictions is made of."""
    return keras.tree.flatten(arrays(predictions))


def all_layers(detector):
    return list(detector._flatten_layers())


def settle(detector):
    """Take over the statistics of IMAGES: through those that a network starts with, nothing reaches its end."""
    normalizations = [layer for layer in all_layers(detector) if isinstance(layer, BatchNormalization)]
    momentums = [layer.momentum for layer in normalizations]
    for layer in normalizations:
        layer.momentum = 0.0
    call(detector, training=True)
    for layer, momentum in zip(normalizations, momentums, strict=True):
        layer.momentum = momentum
    return detector


@pytest.fixture(scope="module")
def detector(recipe):
    """A detector that no test changes."""
    return settle(build(recipe))


@pytest.fixture(scope="module")
def predictions(detector):
    """Of that detector for `inputs()`."""
    return keras.tree.map_structure(ops.stop_gradient, call(detector))


def values(detector):
    return {key: np.array(variable) for key, variable in detector.checkpoint_variables().items()}


def test_predictions_are_float32_of_each_image_or_of_all(predictions):
    assert any(len(part) == 2 for part in parts(predictions))
    for part in parts(predictions):
        assert len(part) in (1, 2)
        assert np.isfinite(part).all()
        assert part.dtype == np.float32 or not np.issubdtype(part.dtype, np.floating)


def test_images_of_a_batch_do_not_mix(recipe, detector, predictions):
    last = {name: part[1:] for name, part in GROUND_TRUTH.items()}
    alone = call(detector, inputs(last, images=IMAGES[1:]))
    for part, whole in zip(parts(alone), parts(predictions), strict=True):
        assert part.std() > 1e-3
        # Another size of a batch may be computed in another order, of which fifty layers make more.
        np.testing.assert_allclose(whole[-1:], part, atol=(1e-2 if is_deep(recipe) else 1e-3) * part.std())


def test_ground_truth_is_seen_only_in_training(detector, predictions):
    seen = {name: part for name, part in inputs().items() if name != "groundtruth"}
    for part, with_truth in zip(parts(call(detector, seen)), parts(predictions), strict=True):
        np.testing.assert_array_equal(part, with_truth)


@pytest.mark.parametrize("valid", [True, False], ids=["with objects", "without any object"])
def test_losses_are_finite(detector, predictions, valid):
    given = tensors(inputs(GROUND_TRUTH if valid else without_objects()))
    terms = arrays(detector.loss_terms(given, predictions))
    assert set(terms) == set(detector.loss_names)
    for name, value in terms.items():
        assert value.shape == ()
        assert np.isfinite(value), name
        assert value >= 0, name
        if "localization" in name:
            assert (value > 0) == valid, name
    zero = [name for name, value in terms.items() if value == 0]
    assert not zero if valid else 0 < len(zero) < len(terms)
    assert np.isfinite(arrays(detector.regularization_loss()))
    assert detector.regularization_loss() > 0


def test_rows_of_padding_change_no_loss(detector, predictions):
    rng = np.random.default_rng(1)
    junk = {
        "boxes": rng.uniform(0, 1, [2, 3, 4]).astype(np.float32),
        "classes": np.full([2, 3], 1, np.int32),
        "weights": np.ones([2, 3], np.float32),
        "valid": np.zeros([2, 3], bool),
    }
    padded = {name: np.concatenate([part, junk[name]], axis=1) for name, part in GROUND_TRUTH.items()}
    terms, with_padding = (
        arrays(detector.loss_terms(tensors(inputs(given)), predictions)) for given in (GROUND_TRUTH, padded)
    )
    for name, value in terms.items():
        assert with_padding[name] == pytest.approx(value, rel=1e-6), name


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


def test_gradients_reach_every_variable(recipe):
    detector = build(recipe)
    found = models.anchors(pipeline(recipe).model)
    truth = one_object_of_each_size(found[0]) if found else GROUND_TRUTH
    given = tensors(inputs(truth))

    def loss():
        return sum(detector.loss_terms(given, detector(given, training=True)).values()), ()

    trained = detector.trained_variables()
    _, gradients = differentiated(loss, list(trained.values()))
    without_heads = {
        prefix + key for prefix, part in detector.restore_map("detection").items() for key in part
    }
    assert trained.keys() - without_heads
    layers = all_layers(detector)
    unused = {id(weight) for layer in layers if isinstance(layer, Unused) for weight in layer.weights}
    # The normalization after it takes a bias out again: it has no gradient, but for rounding.
    hidden = {id(layer.convolution.bias) for layer in layers
              if is_deep(recipe) and isinstance(layer, Normalized) and layer.convolution.use_bias}  # fmt: skip
    for (key, weight), gradient in zip(trained.items(), gradients, strict=True):
        assert np.isfinite(gradient).all(), key
        if id(weight) not in hidden:
            assert np.any(gradient) == (id(weight) not in unused), key


SIZES = [None, [[SIDE // 2, SIDE], [SIDE, SIDE * 3 // 4]]]


@pytest.mark.parametrize("sizes", SIZES, ids=["whole", "padded"])
def test_detections(detector, predictions, sizes):
    found = detector.detect(tensors(inputs(sizes=sizes)), predictions)
    boxes, scores, classes, count = map(arrays, (found.boxes, found.scores, found.classes, found.count))
    assert boxes.ndim == 3
    k = boxes.shape[1]
    assert [part.shape for part in (boxes, scores, classes, count)] == [(2, k, 4), (2, k), (2, k), (2,)]
    assert (boxes.dtype, scores.dtype, classes.dtype, count.dtype) == (
        np.float32,
        np.float32,
        np.int32,
        np.int32,
    )
    assert np.all((boxes >= 0) & (boxes <= 1))
    assert np.all(boxes[..., :2] <= boxes[..., 2:])
    assert np.all((classes >= 0) & (classes < NUM_CLASSES))
    assert count.min() > 0
    for i in range(2):
        assert np.all(np.diff(scores[i]) <= 0)
        assert np.all(scores[i, : count[i]] > 0)
        for part in (boxes, scores, classes, *map(arrays, found.extras.values())):
            assert part.shape[:2] == (2, k)
            assert not part[i, count[i] :].any()
    for name in ("masks", "keypoints"):
        assert (getattr(found, name) is not None) == (name in detector.finds)


def test_candidates(detector, predictions):
    boxes, scores = arrays(detector.candidates(tensors(inputs()), predictions))
    assert boxes.shape == (2, boxes.shape[1], 4)
    assert scores.shape == (*boxes.shape[:2], NUM_CLASSES)
    assert np.all((scores >= 0) & (scores <= 1))


@pytest.mark.parametrize("sizes", SIZES, ids=["whole", "padded"])
def test_each_detection_is_a_candidate_in_the_frame_of_the_image(detector, predictions, sizes):
    given = inputs(sizes=sizes)
    found = detector.detect(tensors(given), predictions)
    candidates, scores = arrays(detector.candidates(tensors(given), predictions))
    # Of the input's frame, [0, 1] is the input; in that of the image, the part of it that is image.
    extents = np.tile(given["sizes"] / np.float32(SIDE), 2)[:, None]
    candidates = np.clip(candidates / extents, 0, 1)
    for i, count in enumerate(arrays(found.count)):
        for box, score, label in zip(*(arrays(part)[i, :count] for part in (
            found.boxes, found.scores, found.classes)), strict=True):  # fmt: skip
            near = np.abs(candidates[i] - box).max(axis=-1) <= 1e-5
            assert np.abs(scores[i, near, label] - score).min(initial=1) <= 1e-6


def test_raw_outputs_are_of_each_image(detector, predictions):
    given = tensors(inputs())
    raw = detector.raw_outputs(given, predictions, detector.detect(given, predictions))
    for name, part in arrays(raw).items():
        assert part.shape[0] == 2, name
        assert part.dtype == np.float32, name


def test_a_checkpoint_keeps_everything(detector, predictions, recipe, tmp_path):
    prefix = checkpoints.tree(detector.checkpoint_variables()).write(str(tmp_path / "ckpt-1"))
    other = build(recipe, seed=1)
    random_values = zip(parts(call(other)), parts(predictions), strict=True)
    assert any(not np.array_equal(part, expected) for part, expected in random_values)
    checkpoints.load(other.checkpoint_variables(), prefix)
    for part, expected in zip(parts(call(other)), parts(predictions), strict=True):
        np.testing.assert_array_equal(part, expected)


def test_every_variable_has_one_key(detector):
    kept = detector.checkpoint_variables()
    assert all(key.startswith("model/") for key in kept)
    assert len(kept) == len(detector.weights)
    assert {id(variable) for variable in kept.values()} == {id(weight) for weight in detector.weights}


def test_keys_are_the_same_when_built_again(detector, recipe):
    again = build(recipe).checkpoint_variables()
    assert {key: one.shape for key, one in again.items()} == {
        key: one.shape for key, one in detector.checkpoint_variables().items()
    }


@pytest.mark.parametrize("fine_tune_type", FINE_TUNE_TYPES)
def test_restore_map_has_variables_of_the_detector_once(detector, fine_tune_type):
    own = {id(variable) for variable in detector.checkpoint_variables().values()}
    mapped = detector.restore_map(fine_tune_type)
    covered = [id(variable) for part in mapped.values() for variable in part.values()]
    assert covered
    assert len(covered) == len(set(covered))
    assert set(covered) <= own
    assert (set(covered) == own) == (fine_tune_type == "full")
    # Keys under two prefixes of which one begins with the other would be asked for twice.
    for prefix in mapped:
        assert not [other for other in mapped if other != prefix and other.startswith(prefix)]


def test_each_fine_tune_type_covers_more(detector):
    covered = [
        {id(variable) for part in detector.restore_map(one).values() for variable in part.values()}
        for one in FINE_TUNE_TYPES
    ]
    assert covered[0] < covered[1] < covered[2] < covered[3]


def test_whatever_the_classes_all_but_their_layers_has_the_same_shapes(detector, recipe):
    more = pipeline(recipe)
    config.family_of(more.model).set_num_classes(more.model, NUM_CLASSES + 4)
    shapes = [
        {
            prefix + key: tuple(variable.shape)
            for prefix, part in each.items()
            for key, variable in part.items()
        }
        for each in (one.restore_map("all_but_classes") for one in (detector, models.build(more.model)))
    ]
    assert shapes[0] == shapes[1]


def test_an_unknown_fine_tune_type(detector):
    with pytest.raises(ConfigError, match=r'"detections" is not one of .*Did you mean "detection"\?'):
        detector.restore_map("detections")


def test_training_steps(recipe):
    detector = build(recipe)
    before = values(detector)
    detector.compile(keras.optimizers.SGD(0.01), jit_compile=keras.backend.backend() == "jax")
    logs = detector.train_on_batch(inputs(), return_dict=True)
    terms = {*detector.loss_names, "regularization_loss"}
    assert {"loss", *terms} <= set(logs)
    assert logs["loss"] == pytest.approx(sum(logs[name] for name in terms), rel=1e-5)
    after = values(detector)
    assert any(not np.array_equal(after[key], before[key]) for key in detector.trained_variables())
    # What is shown is the last batch's, not a mean since the run began as Keras' metrics are.
    empty = detector.train_on_batch(inputs(without_objects()), return_dict=True)
    of_objects = {name for name in detector.loss_names if empty[name] == 0}
    assert of_objects
    assert of_objects >= {name for name in detector.loss_names if "localization" in name}
    assert all(logs[name] > 0 for name in of_objects)


def test_a_network_may_compute_in_bfloat16(recipe, detector, predictions):
    coarse = build(recipe, use_bfloat16=True)
    rounded_later = coarse.checkpoint_variables()
    for key, variable in detector.checkpoint_variables().items():
        rounded_later[key].assign(variable)
    inside = {layer.compute_dtype for layer in all_layers(coarse) if isinstance(layer, keras.layers.Conv2D)}
    assert inside == {"bfloat16"}
    assert {variable.dtype for variable in coarse.weights} == {"float32"}
    compared = 0
    for rounded, exact in zip(parts(call(coarse)), parts(predictions), strict=True):
        assert rounded.dtype == exact.dtype
        if len(exact) == 2:
            # Eight binary digits, and random weights, which make more of each layer's rounding in the next. Of what a
            # bias hides, no digits are left.
            last_digit = np.abs(exact).max() / 2**8
            assert (
                0
                < np.abs(rounded - exact).mean()
                < max((0.7 if is_deep(recipe) else 0.6) * exact.std(), last_digit)
            )
            compared += exact.std() > last_digit
    assert compared
    # One step takes TensorFlow longer to trace than to do.
    on_jax, on_tensorflow = (keras.backend.backend() == name for name in ("jax", "tensorflow"))
    coarse.compile(keras.optimizers.SGD(0.01), jit_compile=on_jax, run_eagerly=on_tensorflow)
    assert np.isfinite(coarse.train_on_batch(inputs(), return_dict=True)["loss"])
    assert keras.config.dtype_policy().name == "float32"  # of whatever else is made


def test_regularization_can_be_left_out(recipe):
    detector = build(recipe, add_regularization_loss=False)
    predictions = keras.tree.map_structure(ops.stop_gradient, call(detector))
    total = detector.compute_loss(x=inputs(), y_pred=predictions)
    terms = arrays(detector.loss_terms(tensors(inputs()), predictions))
    assert float(total) == pytest.approx(sum(terms.values()), rel=1e-6)


ABSTRACT = ("call", "loss_terms", "detect", "candidates", "restore_map")


def detector_with(methods):
    """Return a class of detectors that has these of the abstract methods."""
    made = {name: lambda self, *arguments, **options: None for name in methods}
    return type("Made", (Detector,), {"loss_names": ("loss",), **made})


@pytest.mark.parametrize("missing", ABSTRACT)
def test_an_incomplete_detector_cannot_be_made(missing):
    incomplete = detector_with([name for name in ABSTRACT if name != missing])
    with pytest.raises(TypeError, match=f"abstract .*{missing}"):
        incomplete(num_classes=1)


def test_a_complete_detector_can_be_made():
    assert detector_with(ABSTRACT)(num_classes=7).num_classes == 7
