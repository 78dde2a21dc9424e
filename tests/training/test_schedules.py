import keras
import numpy as np
import pytest
from google.protobuf import text_format

from boxtune.config import pipeline_pb2
from boxtune.errors import ConfigError
from boxtune.training.learning_rates import LearningRate, schedule


def rates(text, steps):
    rate = LearningRate(schedule(text_format.Parse(text, pipeline_pb2.LearningRate())))
    return [float(rate(step)) for step in steps]


def test_constant():
    assert rates("constant_learning_rate { learning_rate: 0.5 }", [0, 1, 10**6]) == [0.5] * 3


def test_cosine():
    text = (
        "cosine_decay_learning_rate { learning_rate_base: 0.8 total_steps: 100 warmup_learning_rate: 0.2 "
        "warmup_steps: 20 hold_base_rate_steps: 40 }"
    )
    # Climbs over 20 steps, holds for 40, and falls over 40: half way at 80, at its end at 100, then nothing.
    measured = rates(text, [0, 10, 20, 60, 80, 100, 101, 1000])
    np.testing.assert_allclose(measured, [0.2, 0.5, 0.8, 0.8, 0.4, 0, 0, 0], atol=1e-6)


def test_cosine_never_rises_after_warming_up():
    text = "cosine_decay_learning_rate { learning_rate_base: 1.0 total_steps: 50 warmup_steps: 0 }"
    measured = rates(text, range(60))
    assert measured[0] == 1
    assert np.all(np.diff(measured) <= 0)
    assert min(measured) == 0


@pytest.mark.parametrize(("total", "warmup", "hold"), [(100, 100, 0), (100, 50, 50), (100, 2000, 0)])
def test_cosine_without_steps_to_fall(total, warmup, hold):
    text = (
        f"cosine_decay_learning_rate {{ learning_rate_base: 1.0 total_steps: {total} warmup_steps: {warmup} "
        f"hold_base_rate_steps: {hold} }}"
    )
    with pytest.raises(ConfigError, match=rf"total_steps {total} is not above warmup_steps {warmup} \+ "):
        rates(text, [0])


def test_exponential():
    text = (
        "exponential_decay_learning_rate { initial_learning_rate: 0.8 decay_steps: 10 decay_factor: 0.5 "
        "staircase: %s min_learning_rate: 0.1 }"
    )
    np.testing.assert_allclose(rates(text % "true", [0, 9, 10, 25, 1000]), [0.8, 0.8, 0.4, 0.2, 0.1])
    np.testing.assert_allclose(rates(text % "false", [0, 5, 10]), [0.8, 0.8 * 0.5**0.5, 0.4], rtol=1e-6)


def test_exponential_after_burning_in():
    text = (
        "exponential_decay_learning_rate { initial_learning_rate: 0.8 decay_steps: 10 decay_factor: 0.5 "
        "burnin_steps: 30 burnin_learning_rate: 0.01 }"
    )
    # Decay counts from the end of the burn-in.
    np.testing.assert_allclose(rates(text, [0, 29, 30, 40]), [0.01, 0.01, 0.8, 0.4], rtol=1e-6)


def test_manual_steps():
    text = (
        "manual_step_learning_rate { initial_learning_rate: 0.1 schedule { step: 10 learning_rate: 0.5 } "
        "schedule { step: 20 learning_rate: 0.2 } %s }"
    )
    np.testing.assert_allclose(rates(text % "", [0, 9, 10, 19, 20, 99]), [0.1, 0.1, 0.5, 0.5, 0.2, 0.2])
    np.testing.assert_allclose(rates(text % "warmup: true", [0, 5, 10, 20]), [0.1, 0.3, 0.5, 0.2])


def test_manual_steps_without_steps():
    text = "manual_step_learning_rate { initial_learning_rate: 0.1 warmup: true }"
    np.testing.assert_allclose(rates(text, [0, 100]), [0.1, 0.1])


def test_nothing_set():
    with pytest.raises(ConfigError, match="LearningRate is empty; choose one of: constant_learning_rate"):
        schedule(pipeline_pb2.LearningRate())


def test_an_optimizer_asks_for_the_rate_of_each_step():
    # Steps count from 0: the first update is made with the rate of step 0.
    text = "manual_step_learning_rate { initial_learning_rate: 1 schedule { step: 1 learning_rate: 0.25 } }"
    rate = LearningRate(schedule(text_format.Parse(text, pipeline_pb2.LearningRate())))
    optimizer = keras.optimizers.SGD(rate)
    variable = keras.Variable(np.zeros(1))
    moved = []
    for _ in range(3):
        optimizer.apply([np.ones(1, np.float32)], [variable])
        moved.append(float(variable.numpy()[0]))
    assert moved == [-1, -1.25, -1.5]
