import numpy as np
import pytest

from boxtune.config import pipeline_pb2
from boxtune.training.learning_rates import highest_rate, schedule
from boxtune.training.range_test import MIN_STEPS, RangeTest, set_growing_rate

RATES = np.geomspace(1e-5, 10, 61).tolist()  # ten a decade: 0.1 is number 40, 1 is number 50


def valley(at):
    """A loss that falls evenly down to the rate `at`, and rises from there."""
    distance = np.log10(np.array(RATES) / at)
    return np.where(distance < 0, 2 - 0.3 * (6 + distance), 0.2 + 10 ** (2 * distance) - 1).tolist()


def test_the_mean_is_over_the_rates_around():
    losses = [1.0, *[0.0] * 60]
    # A quarter of a decade on both sides, as far as there is one: two rates.
    assert RangeTest(RATES, losses).means[:5] == pytest.approx([1 / 3, 1 / 4, 1 / 5, 0, 0])


@pytest.mark.parametrize("num_steps", [31, 61, 301])
def test_the_lowest_point_does_not_depend_on_the_number_of_steps(num_steps):
    rates = np.geomspace(1e-5, 10, num_steps)
    test = RangeTest(rates.tolist(), np.interp(np.log(rates), np.log(RATES), valley(0.1)).tolist())
    # Behind the valley the loss rises so steeply that the mean is lowest a little before it.
    assert 0.05 < test.lowest <= 0.1
    assert test.suggested == test.lowest / 3


def test_it_ends_when_the_loss_has_diverged():
    losses = valley(0.1)
    ends = [RangeTest(RATES[:count], losses[:count]).diverged for count in range(len(losses) + 1)]
    first = ends.index(True)
    assert 0.1 < RATES[first] < 3
    assert not any(ends[:41])  # not on the way down


def test_losses_that_jump_at_first_say_nothing():
    assert not RangeTest(RATES[:MIN_STEPS], [0.1, *[9.0] * (MIN_STEPS - 1)]).diverged


@pytest.mark.parametrize("losses", [[], [1.0] * 5, [1.0] * 61, np.linspace(1, 2, 61).tolist()])
def test_without_a_decrease_nothing_is_suggested(losses):
    test = RangeTest(RATES[: len(losses)], losses)
    assert test.lowest is None
    assert test.suggested is None


@pytest.mark.parametrize("optimizer", ["momentum_optimizer", "adam_optimizer", "rms_prop_optimizer"])
def test_the_rate_grows_by_the_same_factor(optimizer):
    section = pipeline_pb2.Optimizer()
    getattr(section, optimizer).learning_rate.cosine_decay_learning_rate.learning_rate_base = 0.08
    set_growing_rate(section, 1e-4, 1e2, 7)
    rate = schedule(getattr(section, optimizer).learning_rate)
    np.testing.assert_allclose(
        [float(rate(np.float32(step))) for step in range(7)], np.geomspace(1e-4, 1e2, 7), rtol=1e-5
    )
    assert highest_rate(pipeline_pb2.TrainConfig(optimizer=section)).name == "initial_learning_rate"
