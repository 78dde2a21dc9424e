import keras
import numpy as np
import pytest
from google.protobuf import text_format

from boxtune.config import pipeline_pb2
from boxtune.errors import ConfigError
from boxtune.training.optimizer import batch_counter, optimizer, optimizer_variables

RATE = "learning_rate { constant_learning_rate { learning_rate: %g } }"


def read(text, **options):
    return optimizer(text_format.Parse(text, pipeline_pb2.Optimizer()), **options)


def apply(made, *steps):
    """Apply gradients of one variable that starts at 0; return its value after each."""
    variable = keras.Variable(np.zeros(len(steps[0]), np.float32))
    seen = []
    for gradient in steps:
        made.apply([np.float32(gradient)], [variable])
        seen.append(variable.numpy())
    return np.array(seen)


def test_momentum():
    made = read(f"momentum_optimizer {{ {RATE % 0.1} momentum_optimizer_value: 0.5 }}")
    # Velocities -0.1, then -0.05 - 0.1, then -0.075 without a gradient.
    np.testing.assert_allclose(apply(made, [1], [1], [0])[:, 0], [-0.1, -0.25, -0.325], rtol=1e-6)


def test_momentum_is_that_of_keras_to_the_last_bit():
    gradients = np.random.default_rng(0).normal(size=[5, 1000]).astype(np.float32)
    made = read(f"momentum_optimizer {{ {RATE % 0.013} momentum_optimizer_value: 0.9 }}")
    plain = keras.optimizers.SGD(0.013, momentum=float(np.float32(0.9)))
    np.testing.assert_array_equal(apply(made, *gradients), apply(plain, *gradients))


def test_the_default_momentum():
    made = read(f"momentum_optimizer {{ {RATE % 0.1} }}")
    assert made.momentum == pytest.approx(0.9)
    assert not made.nesterov


def test_adam():
    made = read(f"adam_optimizer {{ {RATE % 0.1} epsilon: 1e-8 }}")
    # Its first steps have the size of the rate, whatever the gradient's.
    np.testing.assert_allclose(apply(made, [1e-3, -5])[0], [-0.1, 0.1], rtol=1e-3)


def test_rms_prop_slows_down_by_its_decay():
    # One over the root of 0.1: the square's average, which keeps 0.9 of what it was, 0.
    text = f"rms_prop_optimizer {{ {RATE % 0.1} momentum_optimizer_value: 0.0 decay: 0.5 epsilon: 1e-10 }}"
    made = read(text)
    assert float(made.learning_rate) == pytest.approx(0.1)
    np.testing.assert_allclose(apply(made, [1.0])[0], [-0.1 / np.sqrt(0.1)], rtol=1e-4)
    assert float(made.learning_rate) == pytest.approx(0.1 / 1.5)


def test_gradients_are_cut_over_all_variables_together():
    # A norm of 5, cut to 1; less is left alone.
    made = read(
        f"momentum_optimizer {{ {RATE % 1} momentum_optimizer_value: 0 }}", gradient_clipping_by_norm=1.0
    )
    first, second = (keras.Variable(np.zeros(1, np.float32)) for _ in range(2))
    made.apply([np.float32([3]), np.float32([4])], [first, second])
    np.testing.assert_allclose([first.numpy()[0], second.numpy()[0]], [-0.6, -0.8], rtol=1e-6)
    made.apply([np.float32([0.3]), np.float32([0.4])], [first, second])
    np.testing.assert_allclose([first.numpy()[0], second.numpy()[0]], [-0.9, -1.2], rtol=1e-6)


def test_gradients_are_not_cut_by_default():
    made = read(f"momentum_optimizer {{ {RATE % 1} momentum_optimizer_value: 0 }}")
    np.testing.assert_allclose(apply(made, [1000.0])[0], [-1000])


def test_the_rate_follows_the_steps():
    made = read(
        "momentum_optimizer { momentum_optimizer_value: 0 learning_rate { manual_step_learning_rate { "
        "initial_learning_rate: 1 schedule { step: 2 learning_rate: 0.5 } } } }"
    )
    np.testing.assert_allclose(apply(made, [1], [1], [1])[:, 0], [-1, -2, -2.5])


def test_clipping_by_nothing_or_less_is_none():
    for norm in (0.0, -1.0):
        made = read(
            f"momentum_optimizer {{ {RATE % 1} momentum_optimizer_value: 0 }}", gradient_clipping_by_norm=norm
        )
        np.testing.assert_allclose(apply(made, [1000.0])[0], [-1000])


@pytest.mark.parametrize("kind", ["momentum_optimizer", "rms_prop_optimizer", "adam_optimizer"])
def test_factors_multiply_the_learning_rate_of_each_variable(kind):
    variables = [keras.Variable(np.zeros(2, np.float32)) for _ in range(3)]
    gradients = [np.float32([1, -2]), np.float32([3, 4]), np.float32([3, 4])]
    made = read(f"{kind} {{ {RATE % 0.01} }}")
    made.factors = (1.0, 1.0, 4.0)
    alone = read(f"{kind} {{ {RATE % 0.01} }}")
    for _ in range(3):
        made.apply(gradients, variables)
    np.testing.assert_array_equal(variables[0], apply(alone, *[gradients[0]] * 3)[-1])
    np.testing.assert_allclose(variables[2], 4 * variables[1].numpy(), rtol=1e-6)


@pytest.mark.parametrize("kind", ["momentum_optimizer", "rms_prop_optimizer", "adam_optimizer"])
def test_a_step_of_several_batches_is_that_of_their_mean(kind):
    # The rate halves with the second step.
    text = (
        f"{kind} {{ learning_rate {{ manual_step_learning_rate {{ initial_learning_rate: 1 "
        "schedule { step: 1 learning_rate: 0.5 } } } }"
    )
    plain, accumulating = read(text), read(text, accumulate_batches=2)
    expected = apply(plain, [2.0], [-1.0])
    rates = []
    variable = keras.Variable(np.zeros(1, np.float32))
    seen = []
    for gradient in (1.0, 3.0, 1.5, -3.5):
        rates.append(float(accumulating.learning_rate))
        accumulating.apply([np.float32([gradient])], [variable])
        seen.append(variable.numpy())
    assert seen[0] == 0  # nothing happens before a step is whole
    np.testing.assert_allclose(seen[1::2], expected, rtol=1e-6)
    if kind != "rms_prop_optimizer":
        assert rates == [1, 1, 0.5, 0.5]
    assert int(batch_counter(accumulating)) == 4


def test_the_norm_that_is_cut_is_that_of_the_mean():
    made = read(
        f"momentum_optimizer {{ {RATE % 1} momentum_optimizer_value: 0 }}",
        gradient_clipping_by_norm=1.0, accumulate_batches=2,
    )  # fmt: skip
    # The mean of 100 and -99.5 is within the norm.
    np.testing.assert_allclose(apply(made, [100.0], [-99.5])[:, 0], [0, -0.25])


def test_keys_of_optimizers_differ():
    keys = set()
    for text in ("momentum_optimizer", "rms_prop_optimizer", "adam_optimizer"):
        made = read(f"{text} {{ {RATE % 1} }}", accumulate_batches=2)
        weight = keras.Variable(np.zeros(1, np.float32), name="w")
        made.build([weight])
        keys |= set(optimizer_variables(made, {"model/a/w": weight}))
    assert {key.rpartition("/")[0] for key in keys} == {
        "optimizer/sgd/model/a/w",
        "optimizer/rmsprop/model/a/w",
        "optimizer/adam/model/a/w",
    }
    # One for momentum, two for each of the others; what is gathered within a step is not kept.
    assert len(keys) == 5


def test_nothing_set():
    with pytest.raises(
        ConfigError, match="Optimizer is empty; choose one of: momentum_optimizer, rms_prop_optimizer"
    ):
        optimizer(pipeline_pb2.Optimizer())
