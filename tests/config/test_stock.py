"""Stock recipes, and completing a configuration from them."""

import pytest

from boxtune import config
from boxtune.config.loading import _clear_deprecated
from boxtune.errors import ConfigError

FPNLITE = "ssd_mobilenet_v2_fpn_keras"
RECIPES = {
    FPNLITE: "ssd_mobilenet_v2_fpnlite_320x320_coco17_tpu-8",
    "ssd_mobilenet_v2_keras": "ssd_mobilenet_v2_320x320_coco17_tpu-8",
    "ssd_mobilenet_v1_fpn_keras": "ssd_mobilenet_v1_fpn_640x640_coco17_tpu-8",
    "ssd_resnet50_v1_fpn_keras": "ssd_resnet50_v1_fpn_640x640_coco17_tpu-8",
    "ssd_resnet101_v1_fpn_keras": "ssd_resnet101_v1_fpn_640x640_coco17_tpu-8",
    "ssd_resnet152_v1_fpn_keras": "ssd_resnet152_v1_fpn_640x640_coco17_tpu-8",
    "ssd_efficientnet-b0_bifpn_keras": "ssd_efficientdet_d0_512x512_coco17_tpu-8",
    "ssd_efficientnet-b1_bifpn_keras": "ssd_efficientdet_d1_640x640_coco17_tpu-8",
    "ssd_efficientnet-b2_bifpn_keras": "ssd_efficientdet_d2_768x768_coco17_tpu-8",
    "ssd_efficientnet-b3_bifpn_keras": "ssd_efficientdet_d3_896x896_coco17_tpu-32",
    "ssd_efficientnet-b4_bifpn_keras": "ssd_efficientdet_d4_1024x1024_coco17_tpu-32",
    "ssd_efficientnet-b5_bifpn_keras": "ssd_efficientdet_d5_1280x1280_coco17_tpu-32",
    "ssd_efficientnet-b6_bifpn_keras": "ssd_efficientdet_d6_1408x1408_coco17_tpu-32",
    "ssd_efficientnet-b7_bifpn_keras": "ssd_efficientdet_d7_1536x1536_coco17_tpu-32",
}


def _minimal(extra=""):
    return config.parse(
        f'model {{ ssd {{ feature_extractor {{ type: "{FPNLITE}" }} {extra} }} }}', "a.config"
    )


@pytest.mark.shared
@pytest.mark.parametrize("kind", RECIPES)
def test_recipe_is_the_stock_configuration_without_data_checkpoint_and_relics(kind, shared):
    path = shared / "stock_configs" / f"{RECIPES[kind]}.config"
    stock = config.parse(path.read_text(encoding="utf-8"), str(path))
    assert not stock.model.ssd.freeze_batchnorm  # the default, which a recipe leaves out
    for field in ("num_classes", "freeze_batchnorm"):
        stock.model.ssd.ClearField(field)
    for field in ("fine_tune_checkpoint", "fine_tune_checkpoint_type", "fine_tune_checkpoint_version"):
        stock.train_config.ClearField(field)
    stock.train_config.ClearField("use_bfloat16")  # the API heeds it on TPUs only
    stock.model.ssd.feature_extractor.type = kind  # the API's D7 has the network of D6
    for field in ("train_input_reader", "eval_input_reader"):
        stock.ClearField(field)
    _clear_deprecated(stock)
    assert config.recipe(kind) == stock


def test_mobilenet_v1_is_trained_as_mobilenet_v2():
    expected = config.recipe("ssd_mobilenet_v2_keras")
    expected.model.ssd.feature_extractor.type = "ssd_mobilenet_v1_keras"
    assert config.recipe("ssd_mobilenet_v1_keras") == expected


def test_recipe_is_a_copy():
    config.recipe(FPNLITE).train_config.batch_size = 1
    assert config.recipe(FPNLITE).train_config.batch_size == 128


def test_type_alone_brings_the_whole_recipe():
    completed = config.complete(_minimal("num_classes: 3"))
    expected = config.recipe(FPNLITE)
    expected.model.ssd.num_classes = 3
    assert completed == expected


def test_completing_leaves_the_given_configuration_alone():
    given = _minimal()
    config.complete(given)
    assert given == _minimal()


def test_classes_readers_and_checkpoint_are_not_completed():
    completed = config.complete(_minimal())
    assert not completed.model.ssd.HasField("num_classes")
    assert not completed.HasField("train_input_reader")
    assert not completed.eval_input_reader
    assert not completed.train_config.HasField("fine_tune_checkpoint")
    assert not completed.train_config.HasField("fine_tune_checkpoint_type")


def test_a_given_section_is_kept_as_it_is():
    completed = config.complete(_minimal("matcher { argmax_matcher { matched_threshold: 0.7 } }"))
    assert (
        completed.model.ssd.matcher
        == _minimal("matcher { argmax_matcher { matched_threshold: 0.7 } }").model.ssd.matcher
    )
    assert completed.model.ssd.box_coder == config.recipe(FPNLITE).model.ssd.box_coder


def test_a_feature_extractor_with_more_than_its_type_is_kept_as_it_is():
    text = f'model {{ ssd {{ feature_extractor {{ type: "{FPNLITE}" use_depthwise: false }} }} }}'
    completed = config.complete(config.parse(text, "a.config"))
    assert completed.model.ssd.feature_extractor == config.parse(text, "a.config").model.ssd.feature_extractor


def test_flags_of_the_loss_come_with_the_loss():
    completed = config.complete(_minimal("normalize_loc_loss_by_codesize: false"))
    assert completed.model.ssd.encode_background_as_zeros
    assert not completed.model.ssd.normalize_loc_loss_by_codesize

    own_loss = config.complete(_minimal("loss { classification_loss { weighted_softmax {} } }"))
    assert not own_loss.model.ssd.HasField("encode_background_as_zeros")


def test_a_given_train_config_gets_an_optimizer_and_nothing_else():
    given = _minimal()
    given.train_config.num_steps = 100
    completed = config.complete(given)
    assert completed.train_config.optimizer == config.recipe(FPNLITE).train_config.optimizer
    assert completed.train_config.num_steps == 100
    assert completed.train_config.batch_size == 32  # the default of the API, not the 128 of the recipe
    assert not completed.train_config.data_augmentation_options


def test_a_given_optimizer_and_eval_config_stay():
    given = _minimal()
    given.train_config.optimizer.adam_optimizer.epsilon = 0.5
    given.eval_config.batch_size = 4
    completed = config.complete(given)
    assert completed.train_config == given.train_config
    assert completed.eval_config == given.eval_config


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (
            "ssd_mobilnet_v2_keras",
            'there is no feature extractor "ssd_mobilnet_v2_keras"; .* Did you mean "ssd_mobilenet_v2_keras"',
        ),
        (
            "ssd_mobilenet_v2",
            'there is no feature extractor "ssd_mobilenet_v2"; .* Did you mean "ssd_mobilenet_v2_keras"',
        ),
        (
            "../text",
            'there is no feature extractor "../text"; boxtune has ssd_.*ssd_mobilenet_v2_fpn_keras, ',
        ),
        ("", 'there is no feature extractor ""; boxtune has ssd_.*ssd_mobilenet_v2_fpn_keras, '),
    ],
)
def test_unknown_feature_extractors_are_refused(kind, reason):
    with pytest.raises(ConfigError, match=reason):
        config.recipe(kind)


def test_an_empty_configuration_cannot_be_completed():
    with pytest.raises(ConfigError, match=r'model is empty; choose .*type: "ssd_mobilenet_v2_fpn_keras"'):
        config.complete(config.parse("", "a.config"))
    with pytest.raises(
        ConfigError, match=r"model\.ssd\.feature_extractor\.type is not set; it is one of ssd_"
    ):
        config.complete(config.parse("model { ssd {} }", "a.config"))
