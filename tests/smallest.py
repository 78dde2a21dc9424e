"""The networks that stand for others which differ from them in size only, so that tests take less time."""

import re
from collections.abc import Iterable

from boxtune.config.pipeline_pb2 import TrainEvalPipelineConfig

_LARGER = re.compile(r"efficientnet-b[1-7]")


def smallest(types: Iterable[str]) -> list[str]:
    """Return `types`, sorted, without the larger sizes of a network."""
    return [name for name in sorted(types) if not _LARGER.search(name)]


def shallow(stock: TrainEvalPipelineConfig) -> TrainEvalPipelineConfig:
    """Return `stock`, changed: of what a bidirectional pyramid and the heads on it repeat, once is left."""
    if stock.model.ssd.feature_extractor.HasField("bifpn"):
        stock.model.ssd.feature_extractor.bifpn.num_iterations = 1
        stock.model.ssd.box_predictor.weight_shared_convolutional_box_predictor.num_layers_before_predictor = 1
    return stock
