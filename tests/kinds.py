"""Which of the networks of one kind, alike but for their size, stands for all in tests that take long."""

import re
from collections.abc import Iterable

import pytest

from boxtune.config.pipeline_pb2 import TrainEvalPipelineConfig

DEEP = re.compile("resnet|efficientnet")
ALL_BUT_ONE = re.compile("^(?!ssd_mobilenet_v2_fpn_keras$)")
REPEATED = re.compile(r"_(mobilenet_v1|resnet101|resnet152|efficientnet-b[1-7])_")


def smallest_of_each_kind(names: Iterable[str]) -> list[str]:
    """Return `names` of feature extractors, sorted, without those made of the same blocks as another."""
    return sorted(name for name in names if not REPEATED.search(name))


def each_kind(names: Iterable[str], later: re.Pattern[str] = DEEP) -> list:
    """Return `smallest_of_each_kind` for parametrize; networks `later` are left to `make test-thorough`."""
    return [
        pytest.param(name, marks=pytest.mark.thorough if later.search(name) else ())
        for name in smallest_of_each_kind(names)
    ]


def shallow(stock: TrainEvalPipelineConfig) -> TrainEvalPipelineConfig:
    """Return `stock`, changed: of what a bidirectional pyramid and heads on all feature maps repeat, once is left."""
    if stock.model.ssd.feature_extractor.HasField("bifpn"):
        stock.model.ssd.feature_extractor.bifpn.num_iterations = 1
    heads = stock.model.ssd.box_predictor
    if heads.HasField("weight_shared_convolutional_box_predictor"):
        heads.weight_shared_convolutional_box_predictor.num_layers_before_predictor = 1
    return stock
