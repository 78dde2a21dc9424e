"""A detector that is built in seconds, and a batch for it."""

import keras
import numpy as np

from boxtune import config, models

SIDE = 64
IMAGES = np.random.default_rng(0).uniform(0, 255, [4, SIDE, SIDE, 3]).astype(np.float32)
GROUND_TRUTH = {
    "boxes": np.float32([[[0.1, 0.1, 0.6, 0.7]], [[0.2, 0.3, 0.9, 0.8]]] * 2),
    "classes": np.int32([[1], [0]] * 2),
    "weights": np.float32([[1]] * 4),
    "valid": np.array([[True]] * 4),
}


def small_detector(optimizer=None, *, seed=0, dropout=False, freeze_batchnorm=False, **options):
    """Return a compiled detector of two classes."""
    model = config.recipe("ssd_mobilenet_v2_keras").model
    model.ssd.num_classes = 2
    model.ssd.feature_extractor.depth_multiplier = 0.35
    model.ssd.freeze_batchnorm = freeze_batchnorm
    model.ssd.box_predictor.convolutional_box_predictor.use_dropout = dropout
    resizer = model.ssd.image_resizer.fixed_shape_resizer
    resizer.height = resizer.width = SIDE
    keras.utils.set_random_seed(seed)
    detector = models.build(model, **options)
    steps = (optimizer and optimizer.gradient_accumulation_steps) or 1
    optimizer = optimizer or keras.optimizers.SGD(0.01, momentum=0.9)
    detector.compile(optimizer, jit_compile=False, steps_per_execution=steps)
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
