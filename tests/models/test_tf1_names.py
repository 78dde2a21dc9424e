import csv
from functools import cache

import pytest

from boxtune import config, models
from boxtune.models.tf1_names import keys_by_name
from tf1_checkpoint import (
    NAMES,
    SHARED,
    V1,
    V1_FPN,
    V2,
    V2_FPN,
    convolution,
    mobilenet_v2,
    shared_heads,
    smaller_maps,
)

BACKBONE = "model/_feature_extractor/classification_backbone/layer_with_weights-"
FEATURES, HEADS = "model/_feature_extractor", "model/_box_predictor"
SCORES = "class_predictions_with_background"


@cache
def shapes(feature_extractor, *overrides):
    """Return the shape of each variable of a detector, by key."""
    pipeline = config.recipe(feature_extractor)
    for override in overrides:
        config.apply_override(pipeline, override)
    pipeline.model.ssd.num_classes = 2
    resizer = pipeline.model.ssd.image_resizer.fixed_shape_resizer
    resizer.height = resizer.width = 128
    return {key: tuple(one.shape) for key, one in models.build(pipeline.model).checkpoint_variables().items()}


@pytest.mark.parametrize("feature_extractor", NAMES)
@pytest.mark.parametrize(
    "override",
    [
        "model.ssd.num_classes=2",
        "model.ssd.feature_extractor.use_explicit_padding=true",
        "model.ssd.box_predictor.{}convolutional_box_predictor.use_dropout=true",
    ],
    ids=["stock", "padding", "dropout"],
)
def test_every_variable_has_one_name(feature_extractor, override):
    own = shapes(feature_extractor, override.format("weight_shared_" if "fpn" in feature_extractor else ""))
    found = keys_by_name(NAMES[feature_extractor], own)
    assert found.keys() == set(NAMES[feature_extractor])
    assert sorted(found.values()) == sorted(own)


EXAMPLES = [
    (V1, "FeatureExtractor/MobilenetV1/Conv2d_0/weights", f"{BACKBONE}0/kernel"),
    (V1, "FeatureExtractor/MobilenetV1/Conv2d_1_depthwise/depthwise_weights", f"{BACKBONE}2/depthwise_kernel"),
    (V1, "FeatureExtractor/MobilenetV1/Conv2d_10_depthwise/BatchNorm/gamma", f"{BACKBONE}39/gamma"),
    (V1, "FeatureExtractor/MobilenetV1/Conv2d_13_pointwise/BatchNorm/beta", f"{BACKBONE}53/beta"),
    (V1, "FeatureExtractor/MobilenetV1/Conv2d_13_pointwise_2_Conv2d_3_3x3_s2_256/weights",
     f"{FEATURES}/_feature_map_generator/convolutions/3/3/kernel"),
    (V2, "FeatureExtractor/MobilenetV2/Conv/BatchNorm/moving_mean", f"{BACKBONE}1/moving_mean"),
    (V2, "FeatureExtractor/MobilenetV2/expanded_conv/depthwise/depthwise_weights", f"{BACKBONE}2/depthwise_kernel"),
    (V2, "FeatureExtractor/MobilenetV2/expanded_conv/project/weights", f"{BACKBONE}4/kernel"),
    (V2, "FeatureExtractor/MobilenetV2/expanded_conv_3/expand/weights", f"{BACKBONE}18/kernel"),
    (V2, "FeatureExtractor/MobilenetV2/expanded_conv_16/project/BatchNorm/gamma", f"{BACKBONE}101/gamma"),
    (V2, "FeatureExtractor/MobilenetV2/Conv_1/weights", f"{BACKBONE}102/kernel"),
    (V2, "FeatureExtractor/MobilenetV2/layer_19_1_Conv2d_2_1x1_256/BatchNorm/gamma",
     f"{FEATURES}/feature_map_generator/convolutions/2/1/gamma"),
    (V2, "FeatureExtractor/MobilenetV2/layer_19_2_Conv2d_5_3x3_s2_128/BatchNorm/gamma",
     f"{FEATURES}/feature_map_generator/convolutions/5/4/gamma"),
    (V2, "BoxPredictor_3/BoxEncodingPredictor/biases",
     f"{HEADS}/_prediction_heads/box_encodings/3/_box_encoder_layers/0/bias"),
    (V2, "BoxPredictor_0/ClassPredictor/weights",
     f"{HEADS}/_prediction_heads/{SCORES}/0/_class_predictor_layers/0/kernel"),
    (V1_FPN, "FeatureExtractor/MobilenetV1/fpn/projection_3/weights",
     f"{FEATURES}/_fpn_features_generator/top_layers/0/kernel"),
    (V1_FPN, "FeatureExtractor/MobilenetV1/fpn/projection_2/biases",
     f"{FEATURES}/_fpn_features_generator/residual_blocks/0/0/bias"),
    (V1_FPN, "FeatureExtractor/MobilenetV1/fpn/smoothing_1/BatchNorm/beta",
     f"{FEATURES}/_fpn_features_generator/conv_layers/1/1/beta"),
    (V1_FPN, "FeatureExtractor/MobilenetV1/fpn/bottom_up_Conv2d_15/weights",
     f"{FEATURES}/_coarse_feature_layers/1/0/kernel"),
    (V1_FPN, f"{SHARED}/ClassPredictionTower/conv2d_2/BatchNorm/feature_4/gamma",
     f"{HEADS}/_base_tower_layers_for_heads/{SCORES}/4/7/gamma"),
    (V1_FPN, f"{SHARED}/BoxPredictionTower/conv2d_3/weights",
     f"{HEADS}/_head_scope_conv_layers/BoxPredictionTower/3/kernel"),
    (V1_FPN, f"{SHARED}/ClassPredictor/biases", f"{HEADS}/_prediction_heads/{SCORES}/_class_predictor_layers/0/bias"),
    (V2_FPN, "FeatureExtractor/MobilenetV2/fpn/smoothing_2/pointwise_weights",
     f"{FEATURES}/_fpn_features_generator/conv_layers/0/0/pointwise_kernel"),
    (V2_FPN, f"{SHARED}/PredictionTower/conv2d_1/BatchNorm/feature_0/moving_variance",
     f"{HEADS}/_base_tower_layers_for_heads/box_encodings/0/4/moving_variance"),
    (V2_FPN, f"{SHARED}/BoxPredictor/depthwise_weights",
     f"{HEADS}/_box_prediction_head/_box_encoder_layers/0/depthwise_kernel"),
]  # fmt: skip


@pytest.mark.parametrize(("feature_extractor", "name", "key"), EXAMPLES)
def test_examples(feature_extractor, name, key):
    assert keys_by_name(NAMES[feature_extractor], shapes(feature_extractor))[name] == key


def test_padding_and_dropout_are_counted_in_keys():
    own = shapes(V2, "model.ssd.feature_extractor.use_explicit_padding=true")
    name = "FeatureExtractor/MobilenetV2/layer_19_2_Conv2d_2_3x3_s2_512/weights"
    assert keys_by_name(NAMES[V2], own)[name] == f"{FEATURES}/feature_map_generator/convolutions/2/4/kernel"
    own = shapes(V2, "model.ssd.box_predictor.convolutional_box_predictor.use_dropout=true")
    name = "BoxPredictor_0/ClassPredictor/weights"
    assert (
        keys_by_name(NAMES[V2], own)[name]
        == f"{HEADS}/_prediction_heads/{SCORES}/0/_class_predictor_layers/1/kernel"
    )


def test_layers_before_a_predictor():
    layers = "model.ssd.box_predictor.convolutional_box_predictor"
    own = shapes(
        V2, f"{layers}.num_layers_before_predictor=2", f"{layers}.min_depth=8", f"{layers}.max_depth=64"
    )
    before = [
        name
        for level in range(6)
        for index in range(2)
        for name in convolution(f"BoxPredictor_{level}/Conv2d_{index}_1x1_64")
    ]
    found = keys_by_name(NAMES[V2] + before, own)
    assert sorted(found.values()) == sorted(own)
    assert found["BoxPredictor_5/Conv2d_1_1x1_64/weights"] == f"{HEADS}/_shared_nets/5/3/kernel"


def test_a_shared_predictor_of_maps_of_several_depths():
    own = shapes(
        V2,
        "model.ssd.anchor_generator.ssd_anchor_generator.reduce_boxes_in_lowest_layer=false",
        "model.ssd.box_predictor={weight_shared_convolutional_box_predictor {"
        " depth: 8 num_layers_before_predictor: 4 conv_hyperparams { batch_norm { scale: true } } } }",
    )
    names = mobilenet_v2() + smaller_maps("MobilenetV2/layer_19")
    names += shared_heads(("BoxPredictionTower", "ClassPredictionTower"), convolution, num_maps=6)
    for level in range(6):
        names += convolution(f"{SHARED}/ProjectionLayer/conv2d_{level}")
    found = keys_by_name(names, own)
    assert sorted(found.values()) == sorted(own)
    key = f"{HEADS}/_additional_projection_layers/4/1/gamma"
    assert found[f"{SHARED}/ProjectionLayer/conv2d_4/BatchNorm/gamma"] == key


def test_a_classification_network_of_slim():
    names = [name.removeprefix("FeatureExtractor/") for name in mobilenet_v2()]
    found = keys_by_name([*names, "MobilenetV2/Logits/Conv2d_1c_1x1/biases"], shapes(V2))
    assert found.pop("MobilenetV2/Logits/Conv2d_1c_1x1/biases") is None
    assert sorted(found.values()) == sorted(key for key in shapes(V2) if key.startswith(BACKBONE))


def test_another_backbone_lacks_all_of_them():
    resnet = {f"{BACKBONE}{number}/kernel": (1, 1, 64, 64) for number in (0, 2, 4)}
    found = keys_by_name(["FeatureExtractor/MobilenetV2/expanded_conv/depthwise/depthwise_weights"], resnet)
    assert found
    assert not set(found.values()) & resnet.keys()


@pytest.mark.parametrize(
    "name",
    [
        "global_step",
        "beta1_power",
        "FeatureExtractor/MobilenetV2/Conv/weights/Momentum",
        "FeatureExtractor/MobilenetV2/Conv/weights/RMSProp",
        "FeatureExtractor/MobilenetV2/Conv/weights/RMSProp_1",
        "BoxPredictor_0/ClassPredictor/biases/Adam_1",
        "FeatureExtractor/MobilenetV2/Conv/BatchNorm/gamma/ExponentialMovingAverage",
        "FeatureExtractor/MobilenetV2/Conv/weights_quant/min",
        "FeatureExtractor/MobilenetV2/Conv/act_quant/FeatureExtractor/MobilenetV2/Conv/act_quant/max/biased",
    ],
)
def test_without_use(name):
    assert keys_by_name([name], shapes(V2)) == {name: None}


@pytest.mark.parametrize(
    "name",
    [
        "FeatureExtractor/MobilenetV3/Conv/weights",
        "FeatureExtractor/MobilenetV2/Conv/weights/x",
        "FeatureExtractor/MobilenetV2/Conv/BatchNorm/weights/BatchNorm",
        f"FeatureExtractor/MobilenetV1/Conv2d_{'9' * 5000}_pointwise/weights",
        "FeatureExtractor/MobilenetV2/Conv",
        "weights",
        "",
        "/",
    ],
)
def test_what_no_ssd_has_is_left_out(name):
    assert keys_by_name([name], shapes(V2)) == {}


def test_what_this_ssd_lacks_keeps_its_name():
    name = "FeatureExtractor/MobilenetV2/layer_19_2_Conv2d_5_3x3_s2_128_depthwise/depthwise_weights"
    found = keys_by_name([*NAMES[V2], name], shapes(V2))
    last = "FeatureExtractor/MobilenetV2/layer_19_2_Conv2d_5_3x3_s2_128/BatchNorm/gamma"
    assert set(found.values()) - shapes(V2).keys()
    assert found[last] == f"{FEATURES}/feature_map_generator/convolutions/{last}"


# What the published checkpoints of TensorFlow 1 have that boxtune does not: named, so that nothing else is lost.
OTHER_NETWORKS = {
    "ssdlite_mobilenet_v2_coco_2018_05_09": (),
    "ssd_mobilenet_v3_large_coco_2019_08_14": ("FeatureExtractor/MobilenetV3/",),
    "faster_rcnn_inception_v2_coco_2018_01_28": ("Conv/", "FirstStage", "SecondStage"),
}


def table(shared, folder):
    """Return the shape of each variable of a published checkpoint, by name."""
    with open(shared / "zoo" / folder / "model.ckpt.index.tsv", encoding="utf-8", newline="") as file:
        return {
            name: () if shape == "scalar" else tuple(map(int, shape.split("x")))
            for name, _, shape, *_ in csv.reader(file, delimiter="\t")
        }


@pytest.mark.shared
def test_the_published_checkpoints_are_these(shared):
    tables = {path.parent.name for path in (shared / "zoo").glob("*/model.ckpt.index.tsv")}
    assert tables == OTHER_NETWORKS.keys()


@pytest.mark.shared
@pytest.mark.parametrize("folder", OTHER_NETWORKS)
def test_every_name_is_known_or_of_another_network(folder, shared):
    stored = table(shared, folder)
    found = keys_by_name(stored, shapes(V2))
    unknown = sorted(stored.keys() - found.keys())
    assert all(name.startswith(OTHER_NETWORKS[folder]) for name in unknown), unknown[:5]
    assert bool(unknown) == bool(OTHER_NETWORKS[folder])
    of_network = [
        name for name in found if found[name] is None and "/" in name and not name.startswith("beta")
    ]
    assert all(name.endswith(("/Momentum", "/RMSProp", "/RMSProp_1")) for name in of_network), of_network[:5]


@pytest.mark.shared
def test_a_published_checkpoint_has_every_variable_in_its_shape(shared):
    folder = "ssdlite_mobilenet_v2_coco_2018_05_09"
    detector = models.build(config.load(shared / "zoo" / folder / "pipeline.config").model)
    own = {key: tuple(one.shape) for key, one in detector.checkpoint_variables().items()}
    stored = table(shared, folder)
    found = keys_by_name(stored, own)
    assert {key: stored[name] for name, key in found.items() if key} == own
    assert [name for name, key in found.items() if key is None] == ["global_step"]
