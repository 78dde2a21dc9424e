"""MobileNetV1's widths, which are those of the API."""

import keras
import pytest

from boxtune.models.backbones import mobilenet_v1


@pytest.mark.parametrize(
    ("multiplier", "widths"),
    [
        (1.0, {"block_1": 64, "block_6": 512, "block_13": 1024}),
        # 64 * 0.5 * 0.5 = 16, 512 / 4 = 128, 1024 / 4 = 256
        (0.5, {"block_1": 16, "block_6": 128, "block_13": 256}),
        # int(int(64 * 0.35) * 0.35) = int(22 * 0.35) = 7, at least 16; int(int(512 * 0.35) * 0.35) = int(179 * 0.35) = 62
        (0.35, {"block_1": 16, "block_6": 62, "block_13": 125}),
    ],
)
def test_the_depth_multiplier_counts_twice(multiplier, widths):
    images = keras.Input((64, 64, 3))
    features = mobilenet_v1.build(images, "key", mobilenet_v1.STYLE, depth_multiplier=multiplier)
    assert {name: features[name].shape[-1] for name in widths} == widths
