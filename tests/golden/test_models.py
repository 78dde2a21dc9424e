"""Whole models against the API: variables, anchors, predictions, targets, losses, gradients, detections.

The weights are made by a formula from each variable's key, written to a checkpoint file under those keys, and
loaded from there. The tolerances are the same under every backend.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from boxtune import config, models
from boxtune.backends import compiled
from boxtune.data import resize
from boxtune.detection.matching import assign_targets
from boxtune.models.ssd import fill_padding
from boxtune.models.ssd_features import FEATURE_EXTRACTORS
from boxtune.structures import Detections, Inputs
from boxtune.training import checkpoints, warm_start
from differentiation import differentiated
from golden.recordings import (
    FOLDER,
    GIVEN,
    element_index,
    model_folders,
    recorded_batch,
    recorded_weights,
    row_index,
)

pytestmark = pytest.mark.shared

MODELS = (
    "ssd_mobilenet_v1_300x300",
    "ssd_mobilenet_v2_320x320_coco17_tpu-8",
    "ssd_mobilenet_v2_fpnlite_320x320_coco17_tpu-8",
    "ssd_mobilenet_v2_fpnlite_640x640_coco17_tpu-8",
)
"""The recorded models that boxtune builds: each must be there and run."""

MORE = (
    "ssd_mobilenet_v1_fpn_640x640_coco17_tpu-8",
    "ssd_resnet50_v1_fpn_640x640_coco17_tpu-8",
    "ssd_efficientdet_d0_512x512_coco17_tpu-8",
)
"""Likewise; run by `make test-thorough`."""

LARGER = (
    "ssd_resnet50_v1_fpn_1024x1024_coco17_tpu-8",
    "ssd_resnet101_v1_fpn_1024x1024_coco17_tpu-8",
    "ssd_resnet152_v1_fpn_640x640_coco17_tpu-8",
    "ssd_resnet152_v1_fpn_1024x1024_coco17_tpu-8",
    "ssd_efficientdet_d1_640x640_coco17_tpu-8",
    "ssd_efficientdet_d3_896x896_coco17_tpu-32",
    "ssd_efficientdet_d4_1024x1024_coco17_tpu-32",
    "ssd_efficientdet_d6_1408x1408_coco17_tpu-32",
    "ssd_efficientdet_d7_1536x1536_coco17_tpu-32",
)
"""Likewise; run by `make test-golden`."""

# Rounding grows with the number of layers: folding the normalizations alone changes the losses of D3 by 1e-5. A kernel
# that is wrong by 1 % changes those of D0 by 3e-3.
ROUNDING = {
    "ssd_efficientdet_d3_896x896_coco17_tpu-32": 10,
    "ssd_efficientdet_d4_1024x1024_coco17_tpu-32": 10,
    "ssd_efficientdet_d6_1408x1408_coco17_tpu-32": 10,
    "ssd_efficientdet_d7_1536x1536_coco17_tpu-32": 10,
}
"""By how much the tolerances of losses, and of the gradient of all variables, are larger."""

ILL_CONDITIONED = "ssd_mobilenet_v1_300x300"
"""A recording whose gradients depend on how kernels round.

With frozen statistics, one activation of its last block lies within 1e-5 of the corner of the ReLU. With those of the
batch, changing each weight by a hundred-thousandth changes the norm of all gradients by up to a sixth.
"""

ROUGH = ("ssd_mobilenet_v1_300x300", "ssd_resnet101_", "ssd_resnet152_")
"""Recordings of which rounding makes more in training: ILL_CONDITIONED, and those of a hundred layers and more."""

HEADS = ("box_encodings", "class_predictions_with_background")


@dataclass
class Recording:
    """A model loaded with the recorded weights, and everything that was recorded of it."""

    folder: Path
    arrays: dict[str, np.ndarray]
    about: dict
    variables: dict[str, list[int]]
    detector: models.Detector
    frozen: models.Detector
    inputs: Inputs

    @cached_property
    def seen(self):
        """The inputs without their ground truth."""
        return Inputs(images=self.inputs["images"], sizes=self.inputs["sizes"])

    @cached_property
    def predictions(self):
        """Of the images, with the kept statistics."""
        detector = self.detector
        predict = compiled(lambda inputs: detector(inputs, training=False), detector.variables)
        return predict(self.seen)

    @property
    def normalization(self):
        """Of pixel values, the first that the network does."""
        section = config.load(self.folder / "pipeline.config").model.ssd.feature_extractor
        return FEATURE_EXTRACTORS[section.type].normalization

    @property
    def slack(self):
        """By how much tolerances of training are multiplied."""
        return 5 if self.folder.name.startswith(ROUGH) else 1

    def gradients(self, name):
        return json.loads((self.folder / f"{name}.json").read_text())

    def difference(self, name, tensor):
        """Return the largest difference from the recorded samples, in standard deviations of the tensor."""
        tensor = keras.ops.convert_to_numpy(tensor)
        assert tuple(self.arrays[f"{name}.shape"]) == tensor.shape
        if f"{name}.rows" in self.arrays:
            recorded = self.arrays[f"{name}.rows"]
            rows = tensor.reshape(*([tensor.shape[0]] if recorded.ndim == 3 else []), -1, tensor.shape[-1])
            sampled = np.take(rows, row_index(rows.shape[-2]), axis=-2)
        else:
            recorded = self.arrays[f"{name}.elems"]
            flat = tensor.reshape(-1)
            count = next(
                count
                for count in (1024, 512, 256, 96)
                if len(element_index(flat.size, count)) == len(recorded)
            )
            sampled = flat[element_index(flat.size, count)]
        return np.abs(sampled - recorded).max() / tensor.std()


def without_dropout(detector):
    """Switch dropout off, as it was for the recordings."""
    for layer in detector._flatten_layers():
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0
    return detector


def parameter(folder):
    marks = (
        {} if GIVEN else dict.fromkeys(MORE, pytest.mark.thorough) | dict.fromkeys(LARGER, pytest.mark.large)
    )
    return pytest.param(folder, id=folder.name, marks=marks.get(folder.name, ()))


@pytest.fixture(scope="module", params=map(parameter, model_folders((*MODELS, *MORE, *LARGER))))
def recording(request, tmp_path_factory):
    folder = request.param
    if not GIVEN and not FOLDER.is_dir():
        pytest.skip(f"needs the recordings of {FOLDER} (or set BOXTUNE_SHARED or BOXTUNE_GOLDEN)")
    pipeline = config.load(folder / "pipeline.config")
    with np.load(folder / "golden.npz") as file:
        arrays = dict(file)
    weights = recorded_weights(folder)
    prefix = str(tmp_path_factory.mktemp(folder.name) / "ckpt-0")
    checkpoints.tree({key: keras.Variable(value) for key, value in weights.items()}).write(prefix)

    detector = without_dropout(models.build(pipeline.model))
    assert warm_start.warm_start(detector, prefix, "full").kept == []
    config.family_of(pipeline.model).section(pipeline.model).freeze_batchnorm = True
    frozen = without_dropout(models.build(pipeline.model))
    warm_start.warm_start(frozen, prefix, "full")

    about = json.loads((folder / "golden.json").read_text())
    shapes = {key: list(value.shape) for key, value in weights.items()}
    inputs = recorded_batch(folder, resize.resizer(models.image_resizer(pipeline.model)))
    return Recording(folder, arrays, about, shapes, detector, frozen, inputs)


def test_the_folder_is_there():
    assert not GIVEN or FOLDER.is_dir(), f"BOXTUNE_GOLDEN is {GIVEN}"


def test_variables(recording):
    built = {key: list(variable.shape) for key, variable in recording.detector.checkpoint_variables().items()}
    assert built == recording.variables


def test_preprocessed_images(recording):
    np.testing.assert_array_equal(recording.inputs["sizes"], recording.arrays["pre/true_image_shapes"][:, :2])
    # What stands behind the normalization, which the network does itself.
    images, padding = recording.inputs["images"], recording.detector.padding
    if padding is not None:
        images = fill_padding(images, recording.inputs["sizes"], padding)
    normalized = np.asarray(recording.normalization(images))
    sampled = normalized.reshape(2, -1, 3)[:, row_index(normalized.shape[1] * normalized.shape[2])]
    np.testing.assert_allclose(sampled, recording.arrays["pre/images.rows"], atol=1e-4)


def test_anchors(recording):
    (anchors,) = keras.ops.convert_to_numpy(recording.predictions["anchors"])
    assert len(anchors) == recording.about["anchors"]
    np.testing.assert_allclose(anchors[row_index(len(anchors))], recording.arrays["anchors.rows"], atol=1e-5)


def test_inference(recording):
    assert set(recording.predictions) == {*HEADS, "anchors"}
    for name in HEADS:
        assert recording.difference(f"inference/{name}", recording.predictions[name]) <= 2e-4, name


def test_detections(recording):
    detector = recording.detector

    @compiled
    def detect(inputs, predictions):
        found = detector.detect(inputs, predictions)
        return vars(found), detector.raw_outputs(inputs, predictions, found)

    found, raw = detect(recording.seen, recording.predictions)
    found = Detections(**found)
    for name in ("raw_detection_boxes", "raw_detection_scores"):
        assert recording.difference(f"detections/{name}", raw[name]) <= 2e-4, name
    np.testing.assert_array_equal(found.count, recording.arrays["detections/num_detections"])
    recorded = recording.arrays["detections/detection_scores"]
    np.testing.assert_allclose(np.asarray(found.scores)[:, :50], recorded, atol=1e-4)
    # Boxes and classes only where the score is clear of its neighbours', since near ties may change places.
    gaps = np.abs(np.diff(recorded, axis=1)) > 1e-4
    clear = np.pad(gaps, ((0, 0), (1, 0)), constant_values=True) & np.pad(gaps, ((0, 0), (0, 1)))
    assert clear.any()
    classes = np.asarray(found.classes)[:, :50]
    np.testing.assert_array_equal(classes[clear], recording.arrays["detections/detection_classes"][clear])
    anchors = np.asarray(raw["detection_anchor_indices"])[:, :50]
    np.testing.assert_array_equal(
        anchors[clear], recording.arrays["detections/detection_anchor_indices"][clear]
    )
    measured = np.asarray(found.boxes)[:, :50][clear]
    np.testing.assert_allclose(measured, recording.arrays["detections/detection_boxes"][clear], atol=1e-4)


def test_targets(recording):
    loss, (anchors,) = recording.detector.loss, recording.predictions["anchors"]
    groundtruth = keras.tree.map_structure(ops.convert_to_tensor, recording.inputs["groundtruth"])
    targets = assign_targets(groundtruth, anchors, loss.matcher, loss.box_coder, loss.num_classes)
    for image in range(2):
        recorded = {
            name.split("/", 2)[2]: value
            for name, value in recording.arrays.items()
            if name.startswith(f"targets/{image}/")
        }
        weights = np.asarray(targets.box_weights)[image]
        np.testing.assert_array_equal(np.flatnonzero(weights > 0), recorded["positive_index"])
        codes = np.asarray(targets.encodings)[image][recorded["positive_index"]]
        np.testing.assert_allclose(codes, recorded["reg_targets"], atol=1e-5, rtol=1e-5)
        at = recorded["sampled_index"]
        np.testing.assert_array_equal(np.asarray(targets.matches)[image][at], recorded["match"])
        classes = np.asarray(targets.classes)[image][at]
        background = int(loss.add_background_class)  # which is the first class, if it is one
        np.testing.assert_array_equal(classes.argmax(axis=-1) + background, recorded["cls_target_argmax"])
        np.testing.assert_allclose(classes.max(axis=-1), recorded["cls_target_max"])


def losses_and_gradients(recording, detector):
    """Run one training pass; return losses by the API's names and the norm of each variable's gradient."""
    inputs = keras.tree.map_structure(ops.convert_to_tensor, recording.inputs)

    def loss():
        predictions = detector(inputs, training=True)
        terms = detector.loss_terms(inputs, predictions)
        terms["regularization_loss"] = detector.regularization_loss()
        return sum(terms.values()), (terms, predictions)

    trained = detector.trained_variables()
    (total, (terms, predictions)), gradients = differentiated(
        loss, list(trained.values()), detector.non_trainable_variables
    )
    terms["total_loss"] = total
    return (
        {f"Loss/{name}": float(value) for name, value in terms.items()},
        {key: float(np.linalg.norm(gradient)) for key, gradient in zip(trained, gradients, strict=True)},
        predictions,
    )


def compare_gradients(norms, recorded):
    """Return relative differences: of the global norm, and of each variable whose norm is not negligible."""
    expected = {key.split("/.ATTRIBUTES")[0]: norm for key, norm in recorded["norms"].items()}
    assert norms.keys() == expected.keys()
    overall = np.sqrt(sum(norm**2 for norm in norms.values()))
    relative = [
        abs(norms[key] - norm) / norm
        for key, norm in expected.items()
        if norm is not None and norm > 1e-4 * recorded["global_norm"]
    ]
    return abs(overall / recorded["global_norm"] - 1), np.array(relative)


def test_training_with_frozen_batch_norm(recording):
    losses, norms, predictions = losses_and_gradients(recording, recording.frozen)
    rounding = ROUNDING.get(recording.folder.name, 1)
    for name in HEADS:
        assert recording.difference(f"frozen/{name}", predictions[name]) <= 2e-4, name
    for name, value in recording.about["losses_frozen_bn"].items():
        assert losses[name] == pytest.approx(value, rel=1e-5 * rounding), name
    overall, each = compare_gradients(norms, recording.gradients("gradients_frozen_bn"))
    assert overall <= recording.slack * 1e-4 * rounding
    assert np.median(each) <= recording.slack * 3e-4
    assert each.max() <= 1e-2


def test_training_with_batch_statistics(recording):
    before = {key: variable.numpy() for key, variable in recording.detector.checkpoint_variables().items()}
    losses, norms, predictions = losses_and_gradients(recording, recording.detector)
    after = {key: variable.numpy() for key, variable in recording.detector.checkpoint_variables().items()}
    for key, variable in recording.detector.checkpoint_variables().items():
        variable.assign(before[key])
    for name in HEADS:
        assert recording.difference(f"train/{name}", predictions[name]) <= recording.slack * 0.2, name
    for name, value in recording.about["losses"].items():
        assert losses[name] == pytest.approx(value, rel=recording.slack * 2e-3), name
    overall, each = compare_gradients(norms, recording.gradients("gradients"))
    assert np.isfinite(each).all()
    if recording.folder.name != ILL_CONDITIONED:
        assert overall <= 5e-2
        assert np.median(each) <= 3e-2
    moved = [name.removeprefix("bn_after/") for name in recording.arrays if name.startswith("bn_after/")]
    assert moved
    for key in moved:
        recorded = recording.arrays[f"bn_after/{key}"]
        tolerance = 1e-3 if "layer_with_weights-1/" in key else recording.slack * 0.1
        assert np.abs(after[key] - recorded).max() <= tolerance * recorded.std() + 1e-6, key
        # The API keeps normalizations that nothing goes through, such as the last of EfficientNet.
        assert np.array_equal(after[key], before[key]) == np.array_equal(recorded, before[key]), key
