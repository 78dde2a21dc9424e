"""EfficientDet's feature extractors: blocks, levels, fields, and checkpoints of their backbone alone."""

import keras
import numpy as np
import pytest
from google.protobuf import text_format

from boxtune import config, models
from boxtune.errors import ConfigError
from boxtune.models.backbones import efficientnet
from boxtune.models.backbones.common import BY_IMAGENET
from boxtune.models.keys import variables_by_key
from boxtune.models.ssd_features import BIFPN_OF_SIZE, efficientnet_bifpn
from boxtune.training import checkpoints
from boxtune.training.warm_start import warm_start
from kinds import shallow

B0 = "ssd_efficientnet-b0_bifpn_keras"
USED = "model/_feature_extractor/_efficientnet/"
UNUSED = "model/_feature_extractor/classification_backbone/"


def section(text="", *, feature_extractor=B0, side=128):
    """Return the stock `model` section for small images and two classes, with fields of the extractor changed."""
    stock = shallow(config.recipe(feature_extractor)).model
    stock.ssd.num_classes = 2
    resizer = stock.ssd.image_resizer.fixed_shape_resizer
    resizer.height = resizer.width = side
    text_format.Merge(text, stock.ssd.feature_extractor)
    return stock


@pytest.fixture(scope="module")
def detector():
    """A detector that no test changes."""
    return models.build(section())


class TestBlocks:
    @pytest.mark.parametrize(
        ("size", "number", "filters"), [("b0", 16, 320), ("b1", 23, 320), ("b4", 32, 448), ("b7", 55, 640)]
    )
    def test_sizes(self, size, number, filters):
        found = efficientnet.blocks(size)
        assert len(found) == number
        assert found[-1].filters == filters

    @pytest.mark.parametrize(("size", "last"), [("b0", 0.2 * 15 / 16), ("b7", 0.2 * 54 / 16)])
    def test_later_blocks_are_dropped_more_often(self, size, last):
        rates = [block.drop_rate for block in efficientnet.blocks(size)]
        assert rates[0] == 0
        assert rates[-1] == pytest.approx(last)
        assert np.diff(rates) == pytest.approx(0.2 / 16)

    @pytest.mark.parametrize("size", efficientnet.SIZES)
    def test_a_level_is_half_the_size_of_the_one_before(self, size):
        stride, strides = 2, {}
        for block in efficientnet.blocks(size):
            stride *= block.strides
            if block.level:
                strides[block.level] = stride
        assert strides == {1: 2, 2: 4, 3: 8, 4: 16, 5: 32}


def network(levels, **options):
    images = keras.Input((64, 64, 3))
    maps = efficientnet.build(images, "used", "unused", "b0", levels=levels, **options)
    return keras.Model(images, list(maps.values()))


@pytest.mark.parametrize(
    ("levels", "shapes"),
    [((1,), [(32, 16)]), ((2, 3), [(16, 24), (8, 40)]), ((3, 4, 5), [(8, 40), (4, 112), (2, 320)])],
)
def test_layers_after_the_last_level_have_another_key(levels, shapes):
    model = network(levels)
    assert [(x.shape[1], x.shape[-1]) for x in model.outputs] == shapes
    numbers = {"used": set(), "unused": set()}
    for key in variables_by_key(model):
        _, part, layer, _ = key.split("/")
        numbers[part].add(int(layer.removeprefix("layer_with_weights-")))
    assert sorted(numbers["used"] | numbers["unused"]) == list(range(131))
    assert max(numbers["used"]) < min(numbers["unused"])


def test_a_frozen_one_keeps_its_statistics():
    model = network((3, 4), frozen=True)
    before = {key: np.array(variable) for key, variable in variables_by_key(model).items()}
    model(np.ones((2, 64, 64, 3), np.float32), training=True)
    for key, variable in variables_by_key(model).items():
        np.testing.assert_array_equal(np.array(variable), before[key], err_msg=key)


def test_pixels_are_normalized_by_channel():
    pixels = np.float32([[0, 0, 0], [255, 255, 255], [123.675, 116.28, 103.53]])
    normalized = np.asarray(BY_IMAGENET(pixels))
    expected = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(normalized, expected, atol=1e-5)
    np.testing.assert_allclose(BY_IMAGENET.undo(normalized), pixels, atol=1e-3)


@pytest.mark.parametrize("size", efficientnet.SIZES)
def test_the_pyramid_of_a_size_is_that_of_its_recipe(size):
    stock = config.recipe(f"ssd_efficientnet-{size}_bifpn_keras").model.ssd.feature_extractor.bifpn
    for field in ("min_level", "max_level", "num_iterations", "num_filters", "combine_method"):
        assert getattr(BIFPN_OF_SIZE[size], field) == getattr(stock, field), field


def pyramid(stock):
    """Return a network of a feature extractor alone."""
    images = keras.Input((128, 128, 3))
    return keras.Model(images, efficientnet_bifpn(images, stock.ssd.feature_extractor, False, size="b0"))


def test_a_pyramid_that_is_left_out():
    stock = section()
    stock.ssd.feature_extractor.ClearField("bifpn")
    sums = [key for key in variables_by_key(pyramid(stock)) if key.endswith("bifpn_combine_weights")]
    assert len(sums) == 3 * 8  # of three times down and up


def test_filters_are_never_fewer_than_min_depth():
    assert {x.shape[-1] for x in pyramid(section("min_depth: 72")).outputs} == {72}


def test_images_of_several_sizes_are_padded():
    stock = section("pad_to_multiple: 128")
    stock.ssd.image_resizer.keep_aspect_ratio_resizer.min_dimension = 100
    detector = models.build(stock)
    given = {"images": np.zeros([1, 100, 150, 3], np.float32), "sizes": np.int32([[100, 150]])}
    anchors_of_a_square = sum((128 // 2**level) ** 2 for level in range(3, 8)) * 9
    assert detector(given, training=False)["box_encodings"].shape == (1, 2 * anchors_of_a_square, 4)
    # What is 0 for the network is the mean of ImageNet.
    np.testing.assert_allclose(detector.padding, [123.675, 116.28, 103.53], rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fpn {}", "has a bidirectional pyramid; use bifpn, not fpn"),
        ("depth_multiplier: 0.5", "depth_multiplier has no effect on ssd_efficientnet-b0_bifpn_keras"),
        ("use_depthwise: true", "use_depthwise has no effect"),
        ("use_explicit_padding: true", "use_explicit_padding has no effect"),
        ("override_base_feature_extractor_hyperparams: true", "hyperparams has no effect"),
        ("bifpn { min_level: 6 }", "bifpn.min_level is 6; .* has maps of the levels 1 to 5"),
        ("bifpn { min_level: 0 }", "bifpn.min_level is 0"),
        ("bifpn { max_level: 2 }", "from min_level 3 to max_level 2"),
        ("bifpn { num_filters: 0 }", "bifpn.num_filters is 0; it must be at least 1"),
    ],
)
def test_what_has_no_effect_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        models.build(section(text))


def test_sides_that_do_not_halve_are_refused():
    with pytest.raises(ConfigError, match=r"gives 160 x 160.*multiples of 128, or .*pad_to_multiple: 128"):
        models.build(section(side=160))


@pytest.mark.parametrize("other", ["ssd_mobilenet_v2_fpn_keras", "ssd_mobilenet_v2_keras"])
def test_a_pyramid_that_a_type_does_not_have_is_refused(other):
    with pytest.raises(ConfigError, match=f"{other} has no bidirectional pyramid; remove bifpn"):
        models.build(section("bifpn {}", feature_extractor=other))


def test_a_checkpoint_of_a_classification_network(detector, tmp_path):
    # The API keeps all of it under one prefix.
    backbone = {
        key.replace(prefix, "feature_extractor/"): variable
        for key, variable in detector.checkpoint_variables().items()
        for prefix in (USED, UNUSED)
        if key.startswith(prefix)
    }
    path = checkpoints.tree(backbone).write(str(tmp_path / "ckpt-1"))
    other = models.build(section())
    before = {key: np.array(variable) for key, variable in other.checkpoint_variables().items()}
    warm = warm_start(other, path, "classification")
    assert len(warm.loaded) == len(backbone)
    assert set(warm.loaded) == {key for key in before if key.startswith((USED, UNUSED))}
    assert set(warm.kept) == before.keys() - set(warm.loaded)
    values = detector.checkpoint_variables()
    for key, variable in other.checkpoint_variables().items():
        expected = values[key] if key in warm.loaded else before[key]
        np.testing.assert_array_equal(np.array(variable), np.array(expected), err_msg=key)
