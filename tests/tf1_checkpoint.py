"""The names of variables in checkpoints of TensorFlow 1, by feature extractor, and a function that writes such ones."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

V1, V2 = "ssd_mobilenet_v1_keras", "ssd_mobilenet_v2_keras"
V1_FPN, V2_FPN = "ssd_mobilenet_v1_fpn_keras", "ssd_mobilenet_v2_fpn_keras"
SHARED = "WeightSharedConvolutionalBoxPredictor"


def write_tf1(values: Mapping[str, np.ndarray], prefix: Path, *, in_one_file: bool = False) -> str:
    """Write `values` by the names of their variables to the checkpoint `prefix`, and return it."""
    names, tensors = list(values), list(map(tf.constant, values.values()))
    # What the Saver of TensorFlow 1 does, without its graph.
    if in_one_file:
        tf.raw_ops.Save(filename=str(prefix), tensor_names=names, data=tensors)
    else:
        whole = [""] * len(names)
        tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names, shape_and_slices=whole, tensors=tensors)
    return str(prefix)


def convolution(scope, *, kernels=("weights",), bias=False, norms=("BatchNorm",)):
    """Return the names of a convolution's variables in TensorFlow 1."""
    of_norm = ("beta", "gamma", "moving_mean", "moving_variance")
    return [
        *(f"{scope}/{kernel}" for kernel in kernels),
        *([f"{scope}/biases"] if bias else []),
        *(f"{scope}/{norm}/{name}" for norm in norms for name in of_norm),
    ]


def depthwise(scope):
    return convolution(scope, kernels=("depthwise_weights",))


def separable(scope, **options):
    return convolution(scope, kernels=("depthwise_weights", "pointwise_weights"), **options)


def mobilenet_v1():
    root = "FeatureExtractor/MobilenetV1"
    names = convolution(f"{root}/Conv2d_0")
    for block in range(1, 14):
        names += depthwise(f"{root}/Conv2d_{block}_depthwise") + convolution(
            f"{root}/Conv2d_{block}_pointwise"
        )
    return names


def mobilenet_v2():
    root = "FeatureExtractor/MobilenetV2"
    names = convolution(f"{root}/Conv") + convolution(f"{root}/Conv_1")
    for block in range(17):
        scope = f"{root}/expanded_conv_{block}" if block else f"{root}/expanded_conv"
        names += convolution(f"{scope}/expand") if block else []
        names += depthwise(f"{scope}/depthwise") + convolution(f"{scope}/project")
    return names


def smaller_maps(scope):
    names = []
    for level, depth in ((2, 512), (3, 256), (4, 256), (5, 128)):
        names += convolution(f"FeatureExtractor/{scope}_1_Conv2d_{level}_1x1_{depth // 2}")
        names += convolution(f"FeatureExtractor/{scope}_2_Conv2d_{level}_3x3_s2_{depth}")
    return names


def pyramid(backbone, first_coarse, make):
    scope = f"FeatureExtractor/{backbone}/fpn"
    return [
        name
        for number in (1, 2, 3)
        for name in convolution(f"{scope}/projection_{number}", bias=True, norms=())
    ] + [
        name
        for layer in ("smoothing_1", "smoothing_2", *(f"bottom_up_Conv2d_{first_coarse + i}" for i in (0, 1)))
        for name in make(f"{scope}/{layer}")
    ]


def own_heads():
    return [
        name
        for level in range(6)
        for what in ("BoxEncodingPredictor", "ClassPredictor")
        for name in convolution(f"BoxPredictor_{level}/{what}", bias=True, norms=())
    ]


def shared_heads(towers, make, num_maps=5):
    norms = [f"BatchNorm/feature_{level}" for level in range(num_maps)]
    names = [
        name
        for tower in towers
        for index in range(4)
        for name in make(f"{SHARED}/{tower}/conv2d_{index}", norms=norms)
    ]
    return (
        names
        + make(f"{SHARED}/BoxPredictor", bias=True, norms=())
        + make(f"{SHARED}/ClassPredictor", bias=True, norms=())
    )


NAMES = {
    V1: mobilenet_v1() + smaller_maps("MobilenetV1/Conv2d_13_pointwise") + own_heads(),
    V2: mobilenet_v2() + smaller_maps("MobilenetV2/layer_19") + own_heads(),
    V1_FPN: mobilenet_v1()
    + pyramid("MobilenetV1", 14, convolution)
    + shared_heads(("BoxPredictionTower", "ClassPredictionTower"), convolution),
    V2_FPN: mobilenet_v2()
    + pyramid("MobilenetV2", 20, separable)
    + shared_heads(("PredictionTower",), separable),
}
