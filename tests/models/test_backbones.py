"""The classification networks and the pyramids over them: sizes, depths, keys."""

import keras
import numpy as np
import pytest

from boxtune import config
from boxtune.models.backbones import mobilenet_v1, resnet_v1
from boxtune.models.backbones.common import MINUS_MEANS, TO_ONE
from boxtune.models.keys import variables_by_key
from boxtune.models.layers import conv_style
from boxtune.models.ssd_features import FEATURE_EXTRACTORS

KEY = "_feature_extractor/classification_backbone"
RESNET50 = "ssd_resnet50_v1_fpn_keras"


def shapes(features):
    return {name: tuple(feature.shape[1:]) for name, feature in features.items()}


def section(extractor, **fields):
    """Return the stock section of a feature extractor, with fields changed."""
    stock = config.recipe(extractor).model.ssd.feature_extractor
    for name, value in fields.items():
        setattr(stock, name, value)
    return stock


def extracted(extractor, side=128, **fields):
    """Return the network from images to the maps of a feature extractor."""
    images = keras.Input((side, side, 3))
    stock = section(extractor, **fields)
    return keras.Model(images, FEATURE_EXTRACTORS[extractor].build(images, stock, frozen=False))


def kernels(model):
    """Return the shape of each layer's kernel in the backbone, by the layer's number."""
    found = {}
    for key, variable in variables_by_key(model).items():
        if key.startswith(f"model/{KEY}/") and key.endswith("kernel"):
            found[int(key.split("/")[-2].rpartition("-")[2])] = tuple(variable.shape)
    return found


@pytest.mark.parametrize(
    ("normalization", "pixel", "normalized"),
    [
        (TO_ONE, [0, 127.5, 255], [-1, 0, 1]),
        (MINUS_MEANS, [123.68, 0, 255], [0, -116.779, 151.061]),
    ],
)
def test_pixels_are_normalized_and_back(normalization, pixel, normalized):
    np.testing.assert_allclose(normalization(np.float32([[pixel]])), [[normalized]], atol=1e-5)
    np.testing.assert_allclose(normalization.undo(np.float32([[normalized]])), [[pixel]], atol=1e-4)


class TestMobileNetV1:
    @pytest.mark.parametrize("explicit_padding", [False, True])
    @pytest.mark.parametrize(("side", "sides"), [(128, (64, 32, 16, 8, 4)), (97, (49, 25, 13, 7, 4))])
    def test_maps(self, side, sides, explicit_padding):
        features = mobilenet_v1.build(
            keras.Input((side, side, 3)), KEY, mobilenet_v1.STYLE, explicit_padding=explicit_padding
        )
        blocks = ((1, 0, 64), (3, 1, 128), (5, 2, 256), (11, 3, 512), (13, 4, 1024))
        found = shapes(features)
        assert len(found) == 13
        for block, place, depth in blocks:
            assert found[f"block_{block}"] == (sides[place], sides[place], depth)

    @pytest.mark.parametrize(
        ("depth_multiplier", "min_depth", "filters"),
        [
            (1.0, 16, (32, 64, 128)),
            (0.5, 8, (8, 16, 32)),
            (
                0.35,
                4,
                (4, 7, 15),
            ),  # int(int(32 * 0.35) * 0.35) = int(11 * 0.35) = 3, at least 4; 22 * 0.35; 44 * 0.35
            (0.25, 16, (16, 16, 16)),
        ],
    )
    def test_the_depth_multiplier_counts_twice_as_in_the_api(self, depth_multiplier, min_depth, filters):
        found = kernels(
            extracted("ssd_mobilenet_v1_keras", depth_multiplier=depth_multiplier, min_depth=min_depth)
        )
        assert tuple(found[number][-1] for number in (0, 4, 8)) == filters

    @pytest.mark.parametrize(("use_depthwise", "filters"), [(False, (1024, 1024)), (True, (512, 256))])
    def test_the_last_blocks_of_a_depthwise_pyramid_are_narrower(self, use_depthwise, filters):
        found = kernels(extracted("ssd_mobilenet_v1_fpn_keras", use_depthwise=use_depthwise))
        assert (found[48][-1], found[52][-1]) == filters


class TestResNet:
    @pytest.mark.parametrize(
        ("side", "sides"), [(128, (32, 16, 8, 4)), (97, (25, 13, 7, 4)), (None, (None,) * 4)]
    )
    def test_maps(self, side, sides):
        features = resnet_v1.build(
            keras.Input((side, side, 3)), resnet_v1.RESNET50, KEY, resnet_v1.STYLE, min_depth=8
        )
        assert shapes(features) == {
            f"stage_{stage}": (of_stage, of_stage, depth)
            for stage, of_stage, depth in zip((2, 3, 4, 5), sides, (256, 512, 1024, 2048), strict=True)
        }

    @pytest.mark.parametrize(
        ("blocks", "layers"),
        [(resnet_v1.RESNET50, 50), (resnet_v1.RESNET101, 101), (resnet_v1.RESNET152, 152)],
    )
    def test_the_number_of_layers(self, blocks, layers):
        # The names count the first convolution, three of each block, and the layer of the classes.
        assert 1 + 3 * sum(blocks) + 1 == layers

    def test_widths(self):
        found = kernels(extracted(RESNET50, depth_multiplier=0.125, min_depth=10))
        assert found[0] == (7, 7, 3, 10)
        assert found[2] == (1, 1, 10, 10)
        assert found[6] == found[7] == (1, 1, 10, 32)

    def test_hyperparameters_of_its_own_unless_overridden(self):
        stock = section(RESNET50)
        assert conv_style(stock.conv_hyperparams).activation == "relu6"
        activations = {}
        for overridden in (False, True):
            model = extracted(
                RESNET50, depth_multiplier=0.125, override_base_feature_extractor_hyperparams=overridden
            )
            layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Activation)]
            activations[overridden] = {layer.activation.__name__ for layer in layers}
        assert activations == {False: {"relu", "relu6"}, True: {"relu6"}}

    def test_the_levels_and_the_depth_of_the_pyramid_are_those_of_the_configuration(self):
        images = keras.Input((128, 128, 3))
        stock = section(RESNET50, depth_multiplier=0.125)
        stock.fpn.min_level, stock.fpn.max_level, stock.fpn.additional_layer_depth = 2, 6, 160
        maps = FEATURE_EXTRACTORS[RESNET50].build(images, stock, frozen=False)
        assert [tuple(one.shape[1:]) for one in maps] == [(side, side, 20) for side in (32, 16, 8, 4, 2)]
