"""A detector of three layers with the keys of a large one, and a batch for it."""

import keras
import numpy as np
from keras import ops

from boxtune.models import Detector
from boxtune.models.keys import at
from boxtune.models.layers import BatchNormalization
from boxtune.structures import Detections

BACKBONE = "_feature_extractor/classification_backbone/layer_with_weights"
HEAD = "_box_predictor/_prediction_heads/box_encodings/0"
SIDE = 16
INPUTS = {
    "images": np.random.default_rng(0).uniform(0, 255, [4, SIDE, SIDE, 3]).astype(np.float32),
    "sizes": np.full([4, 2], SIDE, np.int32),
    "groundtruth": {"boxes": np.random.default_rng(1).uniform(0, 1, [4, 1, 4]).astype(np.float32)},
}


class SmallDetector(Detector):
    """Predicts one box of every image; there is nothing to suppress."""

    loss_names = ("localization_loss",)

    def __init__(self, *, width=8, dropout=0.0, freeze_batchnorm=False):
        super().__init__(num_classes=1)
        images = keras.Input((SIDE, SIDE, 3))
        penalty = keras.regularizers.L2(1e-3)
        convolution = keras.layers.Conv2D(
            width, 5, strides=4, kernel_regularizer=penalty, name=at(f"{BACKBONE}-0")
        )
        normalization = BatchNormalization(
            momentum=0.9, epsilon=1e-3, frozen=freeze_batchnorm, name=at(f"{BACKBONE}-1")
        )
        features = ops.relu(normalization(convolution(images / 255.0)))
        features = keras.layers.Dropout(dropout)(keras.layers.Flatten()(features))
        self.network = keras.Model(images, keras.layers.Dense(4, name=at(HEAD))(features))

    def call(self, inputs, training=None):
        return self.network(inputs["images"], training=training)

    def loss_terms(self, inputs, predictions):
        expected = inputs["groundtruth"]["boxes"][:, 0]
        return {"localization_loss": ops.mean(ops.square(predictions - expected))}

    def candidates(self, inputs, predictions):
        return predictions[:, None], ops.ones_like(predictions[:, None, :1])

    def detect(self, inputs, predictions):
        boxes, scores = self.candidates(inputs, predictions)
        count = ops.ones_like(boxes[:, 0, 0], dtype="int32")
        return Detections(boxes, scores[..., 0], classes=ops.zeros_like(count)[:, None], count=count)

    def restore_map(self, fine_tune_type):
        return self.parts({"full": ["model/"]}, fine_tune_type)


def small_detector(optimizer=None, *, seed=0, **options):
    """Return a compiled detector, the same for the same seed."""
    keras.utils.set_random_seed(seed)
    detector = SmallDetector(**options)
    detector.compile(optimizer or keras.optimizers.SGD(0.01, momentum=0.9), jit_compile=False)
    return detector


def batch(first, last):
    """Return a part of the images and their ground truth."""
    return keras.tree.map_structure(lambda part: part[first:last], INPUTS)


def values(variables):
    return {key: variable.numpy() for key, variable in variables.items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        np.testing.assert_array_equal(value, other[key], err_msg=key)
