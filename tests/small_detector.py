"""A detector of three layers with the keys of a large one, and a batch for it."""

import keras
import numpy as np
from keras import ops

from boxtune.models import Detector
from boxtune.models.layers import BatchNormalization, at

BACKBONE = "_feature_extractor/classification_backbone/layer_with_weights"
HEAD = "_box_predictor/_prediction_heads/box_encodings/0"
SIDE = 16
IMAGES = np.random.default_rng(0).uniform(0, 255, [4, SIDE, SIDE, 3]).astype(np.float32)
GROUND_TRUTH = {"boxes": np.random.default_rng(1).uniform(0, 1, [4, 1, 4]).astype(np.float32)}


class SmallDetector(Detector):
    """Predicts one box of every picture; there is nothing to suppress."""

    loss_names = ("localization_loss",)
    fine_tune_prefixes = {"full": "model/"}  # noqa: RUF012 - a constant of the class

    def __init__(self, *, dropout=0.0, freeze_batchnorm=False):
        images = keras.Input((SIDE, SIDE, 3))
        penalty = keras.regularizers.L2(1e-3)
        convolution = keras.layers.Conv2D(
            8, 5, strides=4, kernel_regularizer=penalty, name=at(f"{BACKBONE}-0")
        )
        normalization = BatchNormalization(
            momentum=0.9, epsilon=1e-3, frozen=freeze_batchnorm, name=at(f"{BACKBONE}-1")
        )
        features = ops.relu(normalization(convolution(images / 255.0)))
        features = keras.layers.Dropout(dropout)(keras.layers.Flatten()(features))
        boxes = keras.layers.Dense(4, name=at(HEAD))(features)
        super().__init__(keras.Model(images, boxes), num_classes=1)

    def loss_terms(self, predictions, groundtruth):
        return {"localization_loss": ops.mean(ops.square(predictions - groundtruth["boxes"][:, 0]))}

    def raw_detections(self, predictions):
        return predictions[:, None], ops.ones_like(predictions[:, None, :2])


def small_detector(optimizer=None, *, seed=0, **options):
    """Return a compiled detector, the same for the same seed."""
    keras.utils.set_random_seed(seed)
    detector = SmallDetector(**options)
    detector.compile(optimizer or keras.optimizers.SGD(0.01, momentum=0.9), jit_compile=False)
    return detector


def batch(first, last):
    """Return a part of the images and their ground truth."""
    return IMAGES[first:last], {name: part[first:last] for name, part in GROUND_TRUTH.items()}


def values(variables):
    return {key: variable.numpy() for key, variable in variables.items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        np.testing.assert_array_equal(value, other[key], err_msg=key)
