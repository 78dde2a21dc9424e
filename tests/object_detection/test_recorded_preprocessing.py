"""The preprocessor against results recorded from the API, with the same random numbers."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format

from golden.recordings import element_index, unit_cases
from object_detection.builders import preprocessor_builder
from object_detection.core import preprocessor
from object_detection.protos import preprocessor_pb2

pytestmark = pytest.mark.shared

CASES = unit_cases("preprocess")
NAMES = {
    "boxes": "groundtruth_boxes",
    "classes": "groundtruth_classes",
    "weights": "groundtruth_weights",
    "masks": "groundtruth_instance_masks",
    "keypoints": "groundtruth_keypoints",
}
FLIPS = ("random_horizontal_flip", "random_vertical_flip", "random_rotation90")


def tensors():
    given = {NAMES.get(name, name): tf.constant(value) for name, value in CASES[0].arrays.items()}
    return given | {"image": given["image"][None]}


def draw(fraction):
    """Return functions in place of those that draw: at a fraction of each range."""

    def uniform(low=0.0, high=1.0, shape=(), seed=None):
        return tf.fill(shape, tf.cast(low + fraction * (high - low), tf.float32))

    def integer(low, high, seed):
        low, high = float(low), float(high)
        return tf.constant(int(np.floor(low + fraction * (high - low))))

    return uniform, integer


@pytest.mark.parametrize("case", [pytest.param(case, id=str(case)) for case in CASES[1:]])
def test_steps(case, monkeypatch):
    uniform, integer = draw(case.about["fraction"])
    monkeypatch.setattr(preprocessor, "_uniform", uniform)
    monkeypatch.setattr(preprocessor, "_random_integer", integer)
    step = preprocessor_builder.build(
        text_format.Parse(case.about["proto"], preprocessor_pb2.PreprocessingStep())
    )
    given = tensors()
    arguments = preprocessor.get_default_func_arg_map(
        include_multiclass_scores="softmax" in case.about["proto"],
        # The API takes masks for an image whose height is their number, where it scales.
        include_instance_masks="random_image_scale" not in case.about["proto"],
        # The API leaves keypoints where they were if there is no permutation; here they move with the image.
        include_keypoints="permutation" in case.about["proto"] or not case.about["proto"].startswith(FLIPS),
    )
    changed = preprocessor.preprocess(dict(given), [step], arguments)
    recorded = case.arrays
    if "random_image_scale" in case.about["proto"]:
        recorded = {name: value for name, value in recorded.items() if "masks" not in name}
    names = {name.removesuffix(".elems") for name in recorded if not name.endswith((".shape", ".stats"))}
    for name in given:
        value = np.asarray(changed[name][0] if name == "image" else changed[name])
        if name not in names:
            before = given[name][0] if name == "image" else given[name]
            np.testing.assert_array_equal(value, before, err_msg=name)
            continue
        if name in recorded:
            np.testing.assert_allclose(value, recorded[name], atol=1e-5, err_msg=name)
            continue
        assert value.shape == tuple(recorded[f"{name}.shape"]), name
        elements = recorded[f"{name}.elems"]
        numbers = element_index(value.size, 600 if name == "image" else 300)
        np.testing.assert_allclose(value.ravel()[numbers], elements, atol=2e-3, rtol=1e-5, err_msg=name)
