"""The plain forms, which the other backends run, against TensorFlow's kernels."""

from functools import partial

import keras
import numpy as np
import pytest
from keras import ops

from boxtune.detection import kernels


def random_boxes(rng, images, count):
    corners = rng.uniform(0, 0.7, [images, count, 2])
    sizes = rng.uniform(0.05, 0.4, [images, count, 2])
    return np.concatenate([corners, corners + sizes], axis=-1).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("soft_sigma", [0.0, 0.3])
@pytest.mark.parametrize("levels", [None, 5], ids=["distinct scores", "many ties"])
def test_suppression(seed, soft_sigma, levels):
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, 2, 30)
    scores = rng.uniform(size=[2, 3, 30]).astype(np.float32)
    if levels:
        scores = np.round(scores * levels).astype(np.float32) / levels
    arguments = (boxes, scores, 12, 0.3, 0.25, soft_sigma)
    fused = kernels._greedy_suppression_tensorflow(*arguments)
    plain = kernels._greedy_suppression_plain(*arguments)
    indices, kept, valid = (np.asarray(part) for part in fused)
    assert valid.any()
    np.testing.assert_array_equal(plain[2], valid)
    np.testing.assert_array_equal(np.asarray(plain[0])[valid], indices[valid])
    np.testing.assert_allclose(np.asarray(plain[1])[valid], kept[valid], rtol=1e-5)


def test_past_the_last_kept_box_indices_and_scores_are_0():
    boxes = np.float32([[[0, 0, 1, 1], [0, 0, 1, 0.9]]])
    arguments = (boxes, np.float32([[[0.3, 0.6]]]), 2, 0.5, 0.1, 0.0)
    for suppress in (kernels._greedy_suppression_tensorflow, kernels._greedy_suppression_plain):
        indices, scores, valid = (np.asarray(part) for part in suppress(*arguments))
        np.testing.assert_array_equal(valid, [[[True, False]]])
        np.testing.assert_array_equal(indices, [[[1, 0]]])
        np.testing.assert_allclose(scores, [[[0.6, 0]]])


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="others keep all of them")
def test_boxes_that_score_less_than_enough_others_may_be_missing():
    apart = np.linspace(0, 0.9, 40)
    boxes = np.float32([np.stack([apart, 0 * apart, apart + 0.02, 0 * apart + 1], axis=-1)])
    scores = np.float32([np.linspace(0.1, 0.9, 80).reshape(2, 40).T])
    options = {"limit": 40, "iou_threshold": 0.5, "score_threshold": 0.0}
    keep = partial(kernels.enough_of_greedy_suppression, boxes, scores, **options)
    assert keep(enough=80)[2].numpy().all()
    indices, _, valid = (part.numpy() for part in keep(enough=2))
    assert 2 <= valid[0, 1].sum() < 40
    np.testing.assert_array_equal(indices[0, 1, :2], [39, 38])
    assert not valid[0, 0].any()
    assert not indices[~valid].any()
    # Without those that do not count it has to go on.
    counts = np.arange(40)[None] < 2
    assert keep(enough=4, counts=counts)[2].numpy().sum() == 80


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="others keep all of them")
def test_where_each_class_has_boxes_of_its_own_each_counts_by_itself():
    apart = np.linspace(0, 0.9, 40)
    boxes = np.float32([[np.stack([apart, 0 * apart, apart + 0.02, 0 * apart + 1], axis=-1)] * 2])
    counts = np.ones([1, 2, 40], bool) & [[True], [False]]  # of the better class none
    scores = np.float32([np.linspace(0.1, 0.9, 80).reshape(2, 40).T])
    _, _, valid = kernels.enough_of_greedy_suppression(
        boxes, scores, limit=40, iou_threshold=0.5, score_threshold=0.0, enough=2, counts=counts
    )
    assert valid.numpy().all()


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    x = rng.normal(2, 3, [4, 5, 6, 7])
    gamma, beta, mean = rng.normal(size=[3, 7])
    variance = rng.uniform(0.5, 2, 7)
    return {
        name: value.astype(np.float32)
        for name, value in {"x": x, "gamma": gamma, "beta": beta, "mean": mean, "variance": variance}.items()
    }


@pytest.fixture
def fused(monkeypatch):
    """Calls a function of `kernels` as TensorFlow does, which runs its own kernel, under any backend."""

    def call(function, *arguments):
        with monkeypatch.context() as patch:
            patch.setattr(kernels.keras.backend, "backend", lambda: "tensorflow")
            return keras.tree.map_structure(np.asarray, function(*arguments))

    return call


@pytest.fixture
def plain(monkeypatch):
    """Calls a function of `kernels` as another backend than TensorFlow does."""

    def call(function, *arguments):
        with monkeypatch.context() as patch:
            patch.setattr(kernels.keras.backend, "backend", lambda: "another")
            return keras.tree.map_structure(
                ops.convert_to_numpy, function(*map(ops.convert_to_tensor, arguments))
            )

    return call


def test_batch_normalization(batch, fused, plain):
    arguments = (batch["x"], batch["gamma"], batch["beta"], 1e-3)
    others = plain(kernels.batch_normalization, *arguments)
    for one, other in zip(fused(kernels.batch_normalization, *arguments), others, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=1e-5)


def normalized_mix_and_gradients(normalized, arguments, slopes):
    """Return the normalized map, mean, variance and the gradients by x, kernel, gamma and beta; in arguments' type."""
    import tensorflow as tf

    arguments = [tf.convert_to_tensor(argument) for argument in arguments]
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        results = normalized(*arguments)
    # What is behind goes through an activation with a slope of 0 or 1.
    return [np.asarray(part) for part in (*results, *tape.gradient(results[0], arguments, slopes))]


def mix_and_normalize(x, kernel, gamma, beta):
    import tensorflow as tf

    z = tf.einsum("bhwd,df->bhwf", x, kernel[0, 0])
    mean, variance = tf.nn.moments(z, [0, 1, 2])
    count = np.prod(z.shape[:3])
    return (z - mean) * tf.math.rsqrt(variance + 1e-3) * gamma + beta, mean, variance * count / (count - 1)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="it is TensorFlow's")
class TestNormalizedMix:
    def arguments(self, offset=0.0, rank=7):
        """Return a map [4, 5, 6, 7] of a rank, a kernel [1, 1, 7, 20], gamma, beta, and slopes of the result."""
        rng = np.random.default_rng(1)
        x = rng.normal(size=[4, 5, 6, rank]) @ rng.normal(size=[rank, 7]) + offset
        kernel, (gamma, beta) = rng.normal(size=[1, 1, 7, 20]), rng.normal(size=[2, 20])
        kernel[..., 3] = 0  # a dead filter: its variance is 0
        return [x, kernel, gamma, beta], rng.normal(size=[4, 5, 6, 20])

    @pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
    @pytest.mark.parametrize(
        ("offset", "rank", "tolerance"),
        [(0.0, 7, 1e-6), (100.0, 7, 1e-4), (0.0, 2, 1e-6)],
        ids=["", "offset", "flat"],
    )
    def test_it_is_the_normalization_of_the_mix(self, offset, rank, tolerance, compiled):
        import tensorflow as tf

        arguments, slopes = self.arguments(offset, rank)
        exact = normalized_mix_and_gradients(mix_and_normalize, arguments, slopes)
        function = lambda *arguments: kernels.normalized_mix(*arguments, 1e-3)  # noqa: E731
        single = [np.float32(argument) for argument in arguments]
        made = normalized_mix_and_gradients(
            tf.function(function) if compiled else function, single, np.float32(slopes)
        )
        for one, other in zip(made, exact, strict=True):
            np.testing.assert_allclose(one, other, atol=tolerance * np.abs(other).max(), rtol=0)

    def test_a_single_pixel_is_its_shift(self):
        (x, kernel, gamma, beta), _ = self.arguments()
        single = [np.float32(part) for part in (x[:1, :1, :1], kernel, gamma, beta)]
        normalized, _, variance = kernels.normalized_mix(*single, 1e-3)
        np.testing.assert_array_equal(normalized[0, 0, 0], single[3])
        np.testing.assert_array_equal(variance, np.zeros(20))


def test_batch_statistics_are_mean_and_unbiased_variance(batch, fused):
    _, mean, variance = fused(kernels.batch_normalization, batch["x"], batch["gamma"], batch["beta"], 1e-3)
    np.testing.assert_allclose(mean, batch["x"].mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(variance, batch["x"].var((0, 1, 2), ddof=1), rtol=1e-5)


def test_normalization_with_given_statistics(batch, fused, plain):
    arguments = (*batch.values(), 1e-3)
    by_hand = (batch["x"] - batch["mean"]) / np.sqrt(batch["variance"] + 1e-3) * batch["gamma"] + batch[
        "beta"
    ]
    for call in (fused, plain):
        np.testing.assert_allclose(call(kernels.normalize_with, *arguments), by_hand, atol=1e-5, rtol=1e-5)


def test_a_single_value_has_no_variance(plain):
    # N - 1 is 0 there; the variance must still be a number.
    one = np.ones([1, 1, 1, 3], np.float32)
    _, _, variance = plain(kernels.batch_normalization, one, one[0, 0, 0], one[0, 0, 0], 1e-3)
    np.testing.assert_array_equal(variance, [0, 0, 0])


def test_half_the_sum_of_squares(fused, plain):
    for call in (fused, plain):  # (1 + 4 + 4 + 16) / 2
        assert call(lambda x: [kernels.half_sum_of_squares(x)], np.float32([[1, -2], [2, 4]]))[0] == 12.5


def test_of_equal_scores_the_first_is_the_highest():
    scores = ops.convert_to_tensor(np.float32([[1, 3, 3, 2, 3] * 20]))
    values, indices = kernels.highest(scores, 5)
    np.testing.assert_array_equal(values, [[3] * 5])
    np.testing.assert_array_equal(indices, [[1, 2, 4, 6, 7]])
