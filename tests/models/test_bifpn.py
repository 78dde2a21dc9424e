import json

import keras
import numpy as np
import pytest
from google.protobuf import text_format
from keras import ops

from boxtune.config import pipeline_pb2
from boxtune.errors import ConfigError
from boxtune.models import bifpn
from boxtune.models.bifpn import WeightedSum
from boxtune.models.keys import variables_by_key
from boxtune.models.layers import conv_style
from differentiation import gradients

KEY = "_feature_extractor/_bifpn_stage"
STYLE = conv_style(
    text_format.Parse(
        "force_use_bias: true activation: SWISH regularizer { l2_regularizer { weight: 0.5 } } "
        "initializer { truncated_normal_initializer { stddev: 0.5 } } batch_norm { scale: true decay: 0.99 }",
        pipeline_pb2.Hyperparams(),
    )
)


def pyramid(depths, side, **options):
    """Return a network of a bidirectional pyramid alone, from level 3 on, whose finest map has `side` cells."""
    maps = [keras.Input((side // 2**index, side // 2**index, depth)) for index, depth in enumerate(depths)]
    options = {"min_level": 3, "max_level": 7, "num_iterations": 1, "num_filters": 8} | options
    return keras.Model(maps, bifpn.bidirectional_feature_pyramid(maps, KEY, STYLE, **options))


def recorded_keys(shared, name):
    recorded = json.loads((shared / "golden" / name / "variables.json").read_text())["variables"]
    return {
        key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"): tuple(shape)
        for key, shape in recorded.items()
        if key.startswith(f"model/{KEY}/")
    }


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "depths", "iterations", "filters", "method"),
    [
        ("ssd_efficientdet_d0_512x512_coco17_tpu-8", (40, 112, 320), 3, 64, "fast_attention"),
        ("ssd_efficientdet_d1_640x640_coco17_tpu-8", (40, 112, 320), 4, 88, "fast_attention"),
        ("ssd_efficientdet_d6_1408x1408_coco17_tpu-32", (72, 200, 576), 8, 384, "sum"),
    ],
)
def test_bifpn_has_the_keys_of_the_api(shared, name, depths, iterations, filters, method):
    network = pyramid(depths, 16, num_iterations=iterations, num_filters=filters, combine_method=method)
    keys = {key: tuple(variable.shape) for key, variable in variables_by_key(network).items()}
    expected = recorded_keys(shared, name)
    assert expected
    assert keys == expected


class TestBidirectionalFeaturePyramid:
    @pytest.mark.parametrize("method", WeightedSum.METHODS)
    def test_every_level_has_a_map(self, method):
        network = pyramid((4, 6, 8), 32, combine_method=method)
        assert [x.shape[1:] for x in network.outputs] == [(side, side, 8) for side in (32, 16, 8, 4, 2)]

    def test_every_map_sees_every_other(self):
        # A change anywhere reaches all outputs within one pass down and up.
        network = pyramid((4, 6, 8), 16)
        rng = np.random.default_rng(0)
        maps = [rng.normal(size=(1, *x.shape[1:])).astype(np.float32) for x in network.inputs]
        before = network(maps)
        for changed in range(3):
            other = [x + 0.5 * (index == changed) for index, x in enumerate(maps)]
            for old, new in zip(before, network(other), strict=True):
                assert not np.allclose(ops.convert_to_numpy(old), ops.convert_to_numpy(new), atol=1e-6)

    def test_sizes_may_be_unknown(self):
        maps = [keras.Input((None, None, depth)) for depth in (4, 6, 8)]
        network = keras.Model(
            maps,
            bifpn.bidirectional_feature_pyramid(
                maps, KEY, STYLE, min_level=3, max_level=6, num_iterations=2, num_filters=8
            ),
        )
        outputs = network([np.ones((1, 16 // 2**index, 24 // 2**index, depth), np.float32)
                           for index, depth in enumerate((4, 6, 8))])  # fmt: skip
        assert [tuple(x.shape) for x in outputs] == [
            (1, 16, 24, 8),
            (1, 8, 12, 8),
            (1, 4, 6, 8),
            (1, 2, 3, 8),
        ]

    def test_a_frozen_one_keeps_its_statistics(self):
        network = pyramid((4, 6, 8), 16, frozen=True)
        before = {key: ops.convert_to_numpy(one) for key, one in variables_by_key(network).items()}
        network([np.ones((2, *x.shape[1:]), np.float32) for x in network.inputs], training=True)
        for key, variable in variables_by_key(network).items():
            np.testing.assert_array_equal(ops.convert_to_numpy(variable), before[key], err_msg=key)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"combine_method": "fast_atention"},
                'fast_atention"; choose one of: .* Did you mean "fast_attention"',
            ),
            ({"num_iterations": 0}, "bifpn.num_iterations is 0; it must be at least 1"),
            ({"num_filters": 0}, "bifpn.num_filters is 0; it must be at least 1"),
            ({"min_level": 3, "max_level": 3}, "from min_level 3 to max_level 3"),
        ],
    )
    def test_what_is_no_pyramid_is_refused(self, options, message):
        with pytest.raises(ConfigError, match=message):
            pyramid((4, 6, 8), 16, **options)

    def test_maps_that_do_not_halve_evenly_are_refused(self):
        # 8, 4, 2 become 1 and 1: level 7 repeated has 2 cells, level 6 has 1.
        with pytest.raises(ConfigError, match=r"1 x 1 and 2 x 2 at level 6; .* multiples of 128"):
            pyramid((4, 6, 8), 8)


class TestWeightedSum:
    """Of maps of 1 and 10, by weights of 3 and -1, or of 3 and 1."""

    @pytest.mark.parametrize(
        ("method", "weights", "total"),
        [
            ("fast_attention", (3, 1), (3 + 10) / 4.0001),
            ("fast_attention", (3, -1), 3 / 3.0001),
            ("weighted_sum", (3, -1), 3 - 10),
            ("attention", (3, -1), 1 + 10),
        ],
    )
    def test_weights(self, method, weights, total):
        layer = WeightedSum(method)
        maps = [np.full((1, 2, 2, 1), value, np.float32) for value in (1, 10)]
        layer.build([x.shape for x in maps])
        layer.map_weights.assign(np.float32(weights)[:, None])
        np.testing.assert_allclose(ops.convert_to_numpy(layer(maps)), np.full((1, 2, 2, 1), total), rtol=1e-6)

    def test_a_sum_has_no_weights(self):
        layer = WeightedSum("sum")
        maps = [np.full((1, 2, 2, 1), value, np.float32) for value in (1, 10, 100)]
        np.testing.assert_array_equal(ops.convert_to_numpy(layer(maps)), np.full((1, 2, 2, 1), 111))
        assert layer.weights == []

    def test_fast_attention_learns(self):
        layer = WeightedSum()
        layer.build([(1, 2, 2, 1)] * 2)

        def total(first, second):
            return ops.sum(layer([first, second]))

        ones = np.ones((1, 2, 2, 1), np.float32)
        # Both weights are 1: each map has half of the sum.
        for slope in gradients(total, ones, 10 * ones):
            np.testing.assert_allclose(slope, 0.5 * ones, rtol=1e-3)
