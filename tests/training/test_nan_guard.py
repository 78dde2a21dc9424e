"""What broke first is named, with its step and images."""

import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops

from boxtune.config import pipeline_pb2
from boxtune.errors import BoxtuneError
from boxtune.training import checkpoints
from boxtune.training.callbacks import Step
from boxtune.training.nan_guard import NanGuard

LOSSES = {"localization_loss": 0.5, "classification_loss": 1.25, "regularization_loss": 0.25}


def step(weights=(), **losses):
    """A step after which the weights are as given; their sum is made as the compiled step makes it."""
    total = ops.sum(ops.stack([ops.sum(variable) for variable in dict(weights).values()] or [0.0]))
    return Step(12, LOSSES | losses, 0.08, float(total), 2, 0.1)


@pytest.fixture
def weights():
    return {key: keras.Variable(np.ones(3, np.float32)) for key in ("model/a", "model/b", "model/c")} | {
        "model/mean": keras.Variable(np.ones(3, np.float32), trainable=False)
    }


@pytest.fixture
def guard(weights, tmp_path):
    settings = pipeline_pb2.TrainConfig()
    settings.optimizer.momentum_optimizer.learning_rate.constant_learning_rate.learning_rate = 0.3
    state = SimpleNamespace(model_dir=tmp_path, model_variables=weights)
    return NanGuard(state, lambda number: f"the images of {number}", settings)


def test_finite_numbers_pass(guard, weights):
    guard(step(weights))
    weights["model/a"].assign([-1e30, 1e30, 0])
    guard(step(weights))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_not_finite(guard, value):
    with pytest.raises(BoxtuneError) as caught:
        guard(step(classification_loss=value))
    assert str(caught.value).startswith(
        "Step 12: classification_loss became infinite or NaN, while localization_loss 0.5, "
        "regularization_loss 0.25; the weights before this step were finite. "
        "The images of this step: the images of 12. There was no checkpoint yet. "
        "Try a lower learning rate (--set train_config.optimizer.momentum_optimizer.learning_rate."
        "constant_learning_rate.learning_rate=0.1)"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_gradients_that_broke_the_weights(guard, weights, value):
    weights["model/b"].assign([1, value, 1])
    with pytest.raises(BoxtuneError) as caught:
        guard(step(weights))
    assert str(caught.value).startswith(
        "Step 12: the loss was finite (2), but its gradients made 1 of 3 variables (such as model/b) infinite or "
        "NaN. The images of this step: the images of 12."
    )


def test_weights_whose_sum_overflows(guard, weights):
    weights["model/b"].assign([3e38, 3e38, 3e38])
    with pytest.raises(BoxtuneError, match="its gradients made the weights infinite"):
        guard(step(weights))


def test_opposite_infinities_do_not_cancel(guard, weights):
    weights["model/a"].assign([np.inf, 0, 0])
    weights["model/b"].assign([-np.inf, 0, 0])
    with pytest.raises(BoxtuneError, match="made 2 of 3 variables"):
        guard(step(weights))


def test_the_last_checkpoint_is_named(guard, weights, tmp_path):
    prefix = checkpoints.tree(weights).write(str(tmp_path / "ckpt-4"))
    with pytest.raises(BoxtuneError, match=re.escape(f"The last checkpoint is kept: {prefix}.")):
        guard(step(localization_loss=float("nan")))
