import numpy as np
import pytest
from keras import ops

from boxtune.detection import losses
from differentiation import gradients


def tensor(values):
    return ops.convert_to_tensor(values, dtype="float32")


@pytest.mark.parametrize(
    ("error", "delta", "loss"),
    [
        (0.0, 1.0, 0.0),
        (0.5, 1.0, 0.125),  # below delta: half the square
        (1.0, 1.0, 0.5),  # at delta both branches agree
        (3.0, 1.0, 2.5),  # above: 0.5 + (3 - 1)
        (-3.0, 1.0, 2.5),
        (3.0, 2.0, 4.0),  # 0.5 * 2 * 2 + 2 * (3 - 2)
        (0.1, 0.1, 0.005),
    ],
)
def test_smooth_l1(error, delta, loss):
    measured = losses.smooth_l1(tensor([[error]]), tensor([[0]]), delta)
    np.testing.assert_allclose(measured, [loss], rtol=1e-6)


def test_smooth_l1_sums_over_the_encoding():
    measured = losses.smooth_l1(tensor([[1, 2, 0, 1]]), tensor([[0] * 4]))
    np.testing.assert_allclose(measured, [0.5 + 1.5 + 0 + 0.5])


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_cross_entropy_of_even_odds_is_a_bit(target):
    np.testing.assert_allclose(
        losses.sigmoid_cross_entropy(tensor([0]), tensor([target])), [np.log(2)], rtol=1e-6
    )


def test_sigmoid_cross_entropy():
    # sigmoid(log 3) = 3/4.
    measured = losses.sigmoid_cross_entropy(tensor([np.log(3)] * 2), tensor([1, 0]))
    np.testing.assert_allclose(measured, [-np.log(3 / 4), -np.log(1 / 4)], rtol=1e-6)


@pytest.mark.parametrize(("gamma", "fraction"), [(0.0, 1), (1.0, 1 / 4), (2.0, 1 / 16), (3.0, 1 / 64)])
def test_focal_fades_with_the_power_of_what_is_missed(gamma, fraction):
    # A probability of 3/4 for the right answer misses 1/4.
    logits, targets = tensor([np.log(3), -np.log(3)]), tensor([1, 0])
    cross_entropy = losses.sigmoid_cross_entropy(logits, targets)
    np.testing.assert_allclose(
        losses.sigmoid_focal(logits, targets, gamma), fraction * np.asarray(cross_entropy), rtol=1e-5
    )


def test_focal_alpha_weighs_positives_against_negatives():
    logits, targets = tensor([0, 0]), tensor([1, 0])
    plain = np.asarray(losses.sigmoid_focal(logits, targets))
    weighted = losses.sigmoid_focal(logits, targets, alpha=0.25)
    np.testing.assert_allclose(weighted, plain * [0.25, 0.75], rtol=1e-6)
    np.testing.assert_allclose(plain, [np.log(2) / 4] * 2, rtol=1e-6)


@pytest.mark.parametrize("loss", [losses.sigmoid_cross_entropy, losses.sigmoid_focal])
def test_gradients_of_extreme_logits_are_finite(loss):
    logits = np.float32([-1000, -100, 0, 100, 1000])
    for targets in (tensor([0] * 5), tensor([1] * 5)):
        assert np.isfinite(np.asarray(loss(tensor(logits), targets))).all()
        (measured,) = gradients(lambda x, t=targets: ops.sum(loss(x, t)), logits)
        assert np.isfinite(measured).all()


def test_softmax_cross_entropy():
    # Probabilities 3/4 and 1/4 of two exclusive classes: one number for both.
    logits = tensor([[np.log(3), 0], [np.log(3), 0], [1000, -1000]])
    measured = losses.softmax_cross_entropy(logits, tensor([[1, 0], [0, 1], [1, 0]]))
    np.testing.assert_allclose(measured, [-np.log(3 / 4), -np.log(1 / 4), 0], atol=1e-6)


def test_softmax_logit_scale_divides():
    measured = losses.softmax_cross_entropy(tensor([[np.log(9), 0]]), tensor([[1, 0]]), 2.0)
    np.testing.assert_allclose(measured, [-np.log(3 / 4)], rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_gradients_are_those_of_the_definition(gamma, alpha):
    logits = np.linspace(-8, 8, 33).repeat(5)
    targets = np.tile([0, 0.1, 0.5, 0.9, 1], 33)

    def definition(x):
        p = 1 / (1 + np.exp(-x))
        entropy = -targets * np.log(p) - (1 - targets) * np.log(1 - p)
        weight = 1.0 if alpha is None else targets * alpha + (1 - targets) * (1 - alpha)
        return weight * (targets * (1 - p) + (1 - targets) * p) ** gamma * entropy

    def loss(x):
        return losses.sigmoid_focal(x, tensor(targets), gamma, alpha)

    (measured,) = gradients(lambda x: ops.sum(loss(x)), np.float32(logits))
    slope = (definition(logits + 1e-5) - definition(logits - 1e-5)) / 2e-5
    np.testing.assert_allclose(loss(tensor(logits)), definition(logits), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(measured, slope, rtol=1e-4, atol=1e-6)


def test_cross_entropy_has_the_slope_of_what_is_missed():
    logits, targets = np.float32([np.log(3), np.log(3), 0, 50]), tensor([1, 0, 0.5, 0])
    (measured,) = gradients(lambda x: ops.sum(losses.sigmoid_cross_entropy(x, targets)), logits)
    np.testing.assert_allclose(measured, [-1 / 4, 3 / 4, 0, 1], rtol=1e-6, atol=1e-7)


def test_smoothing():
    # Of a certainty of 1 a fifth is taken: of independent classes half of it is doubt...
    targets = tensor([[0, 1, 0, 0]])
    np.testing.assert_allclose(losses.smooth_independent(targets, 0.2), [[0.1, 0.9, 0.1, 0.1]], rtol=1e-6)
    # ... of exclusive ones all four share it.
    np.testing.assert_allclose(losses.smooth_exclusive(targets, 0.2), [[0.05, 0.85, 0.05, 0.05]], rtol=1e-6)


def test_squared_error():
    measured = losses.squared_error(tensor([[1, 2, 0, -2]]), tensor([[0] * 4]))
    np.testing.assert_allclose(measured, [0.5 * (1 + 4 + 4)])


def test_absolute_error_is_one_of_each_number():
    np.testing.assert_array_equal(losses.absolute_error(tensor([[1, -2]]), tensor([[0, 1]])), [[1, 3]])


def test_losses_of_overlaps():
    # A quarter of 2 x 2 shared: an IoU of 1 / 7; around both lies 9, of which 2 are in neither.
    one, other = tensor([[0, 0, 2, 2]]), tensor([[1, 1, 3, 3]])
    np.testing.assert_allclose(losses.iou_loss(one, other), [6 / 7], rtol=1e-6)
    np.testing.assert_allclose(losses.giou_loss(one, other), [6 / 7 + 2 / 9], rtol=1e-6)


def test_softmax_against_logits():
    # Wanted 3/4 and 1/4, predicted 1/2 each: one bit, as log(2) is.
    measured = losses.softmax_cross_entropy_with_logits(tensor([[0, 0]]), tensor([[np.log(3), 0]]))
    np.testing.assert_allclose(measured, [np.log(2)], rtol=1e-6)
    # With both scales at 2, log 9 is as log 3.
    measured = losses.softmax_cross_entropy_with_logits(tensor([[np.log(9), 0]]), tensor([[np.log(9), 0]]), 2)
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    np.testing.assert_allclose(measured, [entropy], rtol=1e-5)


def test_bootstrapped_targets():
    # Predicted 3/4 where 0 is expected: of that, a half gives targets of 3/8, or of 1/2 where the class counts.
    logits, targets = tensor([np.log(3)]), tensor([0])
    for hard, target in ((False, 3 / 8), (True, 1 / 2)):
        measured = losses.bootstrapped_sigmoid(logits, targets, 0.5, hard=hard)
        np.testing.assert_allclose(
            measured, losses.sigmoid_cross_entropy(logits, tensor([target])), rtol=1e-6
        )


def test_penalty_reduced_focal():
    # Logits of probability 3/4: at a centre, near one (0.5), and far from any.
    logits = tensor([np.log(3)] * 3)
    measured = losses.penalty_reduced_focal(logits, tensor([1, 0.5, 0]), alpha=2.0, beta=4.0)
    far = -((3 / 4) ** 2) * np.log(1 / 4)
    np.testing.assert_allclose(measured, [-((1 / 4) ** 2) * np.log(3 / 4), 0.5**4 * far, far], rtol=1e-5)


def test_dice():
    # Half of each of two points, of which one is expected; then by squares, then one of the points counts twice.
    logits, targets = tensor([[[0], [0]]]), tensor([[[1], [0]]])
    ones = tensor([[[1], [1]]])
    np.testing.assert_allclose(losses.dice(logits, targets, ones), [[1 - 2 * 0.5 / 2]])
    np.testing.assert_allclose(losses.dice(logits, targets, ones, True), [[1 - 2 * 0.25 / 1.5]], rtol=1e-6)
    twice = tensor([[[2], [1]]])
    np.testing.assert_allclose(losses.dice(logits, targets, twice), [[1 - 2 * 2 / 3.5]], rtol=1e-6)
    np.testing.assert_allclose(losses.dice(targets, targets, ones, are_probabilities=True), [[0]], atol=1e-6)


def test_dice_of_nothing_is_finite():
    nothing = tensor([[[0], [0]]])
    (slope,) = gradients(lambda x: ops.sum(losses.dice(x, nothing, nothing)), np.zeros([1, 2, 1], np.float32))
    assert np.isfinite(slope).all()


DEFINITIONS = {
    "bootstrapped": (
        lambda x, t: losses.bootstrapped_sigmoid(x, t, 0.7),
        lambda p, t: entropy(p, 0.7 * t + 0.3 * p),
    ),
    "hard bootstrapped": (
        lambda x, t: losses.bootstrapped_sigmoid(x, t, 0.7, hard=True),
        lambda p, t: entropy(p, 0.7 * t + 0.3 * (p > 0.5)),
    ),
    "penalty reduced": (
        lambda x, t: losses.penalty_reduced_focal(x, t, 1.5, 3.0),
        lambda p, t: np.where(
            t == 1, -((1 - p) ** 1.5) * np.log(p), -((1 - t) ** 3) * p**1.5 * np.log(1 - p)
        ),
    ),
}


def entropy(p, t):
    return -t * np.log(p) - (1 - t) * np.log(1 - p)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_slopes_are_those_of_the_definition(name):
    loss, definition = DEFINITIONS[name]
    logits = np.linspace(-8, 8, 34).repeat(3)  # none at 0, where the predicted class changes
    targets = np.tile([0, 0.3, 1], 34)

    def by_logits(x):
        return definition(1 / (1 + np.exp(-x)), targets)

    (measured,) = gradients(lambda x: ops.sum(loss(x, tensor(targets))), np.float32(logits))
    slope = (by_logits(logits + 1e-5) - by_logits(logits - 1e-5)) / 2e-5
    np.testing.assert_allclose(loss(tensor(logits), tensor(targets)), by_logits(logits), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(measured, slope, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("loss", [losses.penalty_reduced_focal, DEFINITIONS["bootstrapped"][0]])
def test_slopes_of_certain_logits_are_finite(loss):
    for target in (0.0, 0.5, 1.0):
        (slope,) = gradients(
            lambda x, t=target: ops.sum(loss(x, tensor([t] * 4))), np.float32([-1000, -50, 50, 1000])
        )
        assert np.isfinite(slope).all()
