import keras
import numpy as np
import pytest
from google.protobuf import text_format

from boxtune.config import pipeline_pb2
from boxtune.errors import ConfigError
from boxtune.models import heads
from boxtune.models.keys import variables_by_key

HYPERPARAMS = (
    "conv_hyperparams { regularizer { l2_regularizer {} } initializer { random_normal_initializer {} } }"
)
PREDICTORS = {
    "weight shared": (
        heads.weight_shared_convolutional,
        pipeline_pb2.WeightSharedConvolutionalBoxPredictor,
        "depth: 8 num_layers_before_predictor: 1 class_prediction_bias_init: -2",
    ),
    "own": (
        heads.convolutional,
        pipeline_pb2.ConvolutionalBoxPredictor,
        "use_dropout: false class_prediction_bias_init: -2",
    ),
}


def predictor(name, text="", per_location=(2, 2), **options):
    """Return a network of heads alone, over maps of 4 x 4 and 2 x 2, for three classes."""
    predict, message, stock = PREDICTORS[name]
    section = text_format.Parse(f"{HYPERPARAMS} {stock} {text}", message())
    maps = [keras.Input((side, side, 8)) for side in (4, 2)]
    return keras.Model(maps, predict(maps, per_location, 3, section, **options))


@pytest.mark.parametrize("name", PREDICTORS)
@pytest.mark.parametrize(("code_size", "text"), [(4, ""), (3, "box_code_size: 3"), (10, "box_code_size: 10")])
@pytest.mark.parametrize("add_background_class", [True, False])
def test_sizes_of_predictions(name, code_size, text, add_background_class):
    network = predictor(name, text, add_background_class=add_background_class)
    encodings, logits = network.outputs
    # Two anchors on each of 16 + 4 cells.
    assert encodings.shape == (None, 40, code_size)
    assert logits.shape == (None, 40, 4 if add_background_class else 3)
    depths = {
        variable.shape[-1] for key, variable in variables_by_key(network).items() if key.endswith("bias")
    }
    assert {2 * code_size, 2 * logits.shape[-1]} <= depths


@pytest.mark.parametrize("name", PREDICTORS)
def test_without_background_all_classes_start_unlikely(name):
    network = predictor(name, add_background_class=False)
    maps = [np.zeros((1, side, side, 8), np.float32) for side in (4, 2)]
    np.testing.assert_allclose(network(maps)[1], np.full((1, 40, 3), -2.0))


@pytest.mark.parametrize("name", PREDICTORS)
def test_encodings_may_be_clipped(name):
    network = predictor(name, "box_encodings_clip_range { min: -0.5 max: 0.25 }")
    maps = [
        100 * np.random.default_rng(0).normal(size=(1, side, side, 8)).astype(np.float32) for side in (4, 2)
    ]
    encodings = np.asarray(network(maps)[0])
    assert encodings.min() == -0.5
    assert encodings.max() == 0.25


def test_each_map_may_have_its_own_number_of_anchors():
    assert predictor("own", per_location=(3, 6)).outputs[0].shape == (None, 3 * 16 + 6 * 4, 4)
    with pytest.raises(ConfigError, match="has 3, 6 anchors on a cell of its feature maps"):
        predictor("weight shared", per_location=(3, 6))


@pytest.mark.parametrize("name", PREDICTORS)
def test_maps_of_any_size(name):
    predict, message, stock = PREDICTORS[name]
    section = text_format.Parse(f"{HYPERPARAMS} {stock}", message())
    maps = [keras.Input((None, None, 8)) for _ in range(2)]
    network = keras.Model(maps, predict(maps, (2, 2), 3, section))
    encodings, logits = network([np.zeros((1, height, 3, 8), np.float32) for height in (5, 2)])
    assert encodings.shape == (1, 2 * (15 + 6), 4)
    assert logits.shape == (1, 2 * (15 + 6), 4)
