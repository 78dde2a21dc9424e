import numpy as np
import pytest
import tensorflow as tf

from boxtune.detection import losses


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
    measured = losses.smooth_l1(np.float32([[error]]), np.float32([[0]]), delta)
    np.testing.assert_allclose(measured, [loss], rtol=1e-6)


def test_smooth_l1_sums_over_the_code():
    measured = losses.smooth_l1(np.float32([[1, 2, 0, 1]]), np.zeros([1, 4], np.float32))
    np.testing.assert_allclose(measured, [0.5 + 1.5 + 0 + 0.5])


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_cross_entropy_of_even_odds_is_a_bit(target):
    np.testing.assert_allclose(
        losses.sigmoid_cross_entropy(np.float32([0]), np.float32([target])), [np.log(2)], rtol=1e-6
    )


def test_sigmoid_cross_entropy():
    # sigmoid(log 3) = 3/4.
    measured = losses.sigmoid_cross_entropy(np.float32([np.log(3)] * 2), np.float32([1, 0]))
    np.testing.assert_allclose(measured, [-np.log(3 / 4), -np.log(1 / 4)], rtol=1e-6)


@pytest.mark.parametrize(("gamma", "share"), [(0.0, 1), (1.0, 1 / 4), (2.0, 1 / 16), (3.0, 1 / 64)])
def test_focal_fades_with_the_power_of_what_is_missed(gamma, share):
    # A probability of 3/4 for the right answer misses 1/4.
    logits, targets = np.float32([np.log(3), -np.log(3)]), np.float32([1, 0])
    cross_entropy = losses.sigmoid_cross_entropy(logits, targets)
    np.testing.assert_allclose(
        losses.sigmoid_focal(logits, targets, gamma), share * np.asarray(cross_entropy), rtol=1e-5
    )


def test_focal_alpha_weighs_positives_against_negatives():
    logits, targets = np.float32([0, 0]), np.float32([1, 0])
    plain = np.asarray(losses.sigmoid_focal(logits, targets))
    weighted = losses.sigmoid_focal(logits, targets, alpha=0.25)
    np.testing.assert_allclose(weighted, plain * [0.25, 0.75], rtol=1e-6)
    np.testing.assert_allclose(plain, [np.log(2) / 4] * 2, rtol=1e-6)


@pytest.mark.parametrize("loss", [losses.sigmoid_cross_entropy, losses.sigmoid_focal])
def test_gradients_of_extreme_logits_are_finite(loss):
    logits = tf.constant([-1000.0, -100.0, 0.0, 100.0, 1000.0])
    for target in (0.0, 1.0):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            total = tf.reduce_sum(loss(logits, tf.fill([5], target)))
        assert np.isfinite(total)
        assert np.isfinite(tape.gradient(total, logits)).all()


def test_softmax_cross_entropy():
    # Probabilities 3/4 and 1/4 of two exclusive classes: one number for both.
    logits = np.float32([[np.log(3), 0], [np.log(3), 0], [1000, -1000]])
    measured = losses.softmax_cross_entropy(logits, np.float32([[1, 0], [0, 1], [1, 0]]))
    np.testing.assert_allclose(measured, [-np.log(3 / 4), -np.log(1 / 4), 0], atol=1e-6)


def test_softmax_logit_scale_divides():
    measured = losses.softmax_cross_entropy(np.float32([[np.log(9), 0]]), np.float32([[1, 0]]), 2.0)
    np.testing.assert_allclose(measured, [-np.log(3 / 4)], rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_gradients_are_those_of_the_definition(gamma, alpha):
    logits = tf.constant(np.linspace(-8, 8, 33).repeat(5).astype(np.float32))
    targets = tf.constant(np.tile([0, 0.1, 0.5, 0.9, 1], 33).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = losses.sigmoid_focal(logits, targets, gamma, alpha)
    measured = tape.gradient(loss, logits)
    x, t = tf.cast(logits, tf.float64), tf.cast(targets, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(x)
        p = tf.sigmoid(x)
        entropy = -t * tf.math.log(p) - (1 - t) * tf.math.log(1 - p)
        weight = 1.0 if alpha is None else t * alpha + (1 - t) * (1 - alpha)
        wanted = weight * (t * (1 - p) + (1 - t) * p) ** gamma * entropy
    np.testing.assert_allclose(loss, wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(measured, tape.gradient(wanted, x), rtol=1e-4, atol=1e-6)


def test_cross_entropy_has_the_slope_of_what_is_missed():
    logits = tf.constant([np.log(3.0), np.log(3.0), 0.0, 50.0], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = losses.sigmoid_cross_entropy(logits, tf.constant([1.0, 0.0, 0.5, 0.0]))
    np.testing.assert_allclose(tape.gradient(loss, logits), [-1 / 4, 3 / 4, 0, 1], rtol=1e-6, atol=1e-7)


def test_smoothing():
    # Of a certainty of 1 a fifth is taken: of independent classes half of it is doubt...
    targets = np.float32([[0, 1, 0, 0]])
    np.testing.assert_allclose(losses.smooth_independent(targets, 0.2), [[0.1, 0.9, 0.1, 0.1]], rtol=1e-6)
    # ... of exclusive ones all four share it.
    np.testing.assert_allclose(losses.smooth_exclusive(targets, 0.2), [[0.05, 0.85, 0.05, 0.05]], rtol=1e-6)
