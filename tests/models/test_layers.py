import keras
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format

from boxtune.config import pipeline_pb2
from boxtune.errors import ConfigError
from boxtune.models.keys import variables_by_key
from boxtune.models.layers import (
    BatchNormalization,
    Branches,
    Conv2D,
    Normalized,
    SharedByMaps,
    Unused,
    conv_style,
)


def style(text):
    return conv_style(text_format.Parse(text, pipeline_pb2.Hyperparams()))


PLAIN = (
    "regularizer { l2_regularizer { weight: 0.5 } } "
    "initializer { truncated_normal_initializer { stddev: 0.03 } } "
)


class TestConvolutions:
    """In training, what only mixes channels is a matrix product: as a convolution, and so its gradients."""

    CASES = (
        ("conv", 1, 1, True), ("conv", 1, 1, False), ("conv", 1, 2, True), ("conv", 3, 1, True),
        ("separable_conv", 3, 1, True), ("separable_conv", 3, 2, False),
    )  # fmt: skip

    @pytest.mark.parametrize(("kind", "kernel_size", "strides", "use_bias"), CASES)
    def test_training_equals_a_convolution(self, kind, kernel_size, strides, use_bias):
        make = getattr(style(PLAIN), kind)
        layer = make(5, kernel_size, "a/b", strides=strides, use_bias=use_bias, bias=0.5)
        x = tf.constant(np.random.default_rng(0).normal(size=[2, 7, 6, 3]).astype(np.float32))
        layer.build(x.shape)

        def value_and_gradients(training):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=training)
                total = tf.reduce_sum(y**2)
            return [y, *tape.gradient(total, [x, *(weight.value for weight in layer.weights)])]

        for one, other in zip(value_and_gradients(True), value_and_gradients(False), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize(("training", "expected"), [(True, "MatMul"), (False, "Conv2D")])
    def test_the_operation(self, training, expected):
        layer = style(PLAIN).conv(5, 1, "a/b")
        x = tf.ones([1, 4, 4, 3])
        layer.build(x.shape)
        graph = tf.function(lambda x: layer(x, training=training)).get_concrete_function(x).graph
        assert {operation.type for operation in graph.get_operations()} & {"MatMul", "Conv2D"} == {expected}


KINDS = {
    "narrower": lambda style: style.conv(2, 1, "a/0", use_bias=False),
    "wider": lambda style: style.conv(8, 1, "a/0", use_bias=False),
    "wider, with a bias": lambda style: style.conv(8, 1, "a/0", use_bias=True, bias=0.5),
    "of pixels around": lambda style: style.conv(8, 3, "a/0", strides=2, use_bias=True, bias=0.5),
    "dilated": lambda style: Conv2D(
        8, 3, dilation_rate=2, padding="same", use_bias=False, name="model--a--0"
    ),
    "depthwise": lambda style: style.depthwise_conv(3, "a/0", strides=2, use_bias=True),
    "valid": lambda style: style.depthwise_conv(3, "a/0", padding="valid", use_bias=False),
    "separable": lambda style: style.separable_conv(8, 3, "a/0", use_bias=True, bias=0.5),
}


class TestNormalized:
    """A convolution and its normalization are the two layers, however they are computed."""

    X = tf.constant(np.random.default_rng(0).normal(1, 2, size=[2, 7, 6, 3]).astype(np.float32))

    def layer(self, kind="wider", frozen=False):
        normalization = BatchNormalization(momentum=0.9, epsilon=1e-3, frozen=frozen, name="model--a--1")
        layer = Normalized(KINDS[kind](style(PLAIN)), normalization)
        layer.build(self.X.shape)
        rng = np.random.default_rng(3)
        for variable in normalization.variables:
            variable.assign(rng.uniform(0.5, 2, variable.shape))
        return layer

    def test_each_has_its_key(self):
        holder = keras.Model()
        holder.layer = self.layer()
        names = ["0/kernel", "1/gamma", "1/beta", "1/moving_mean", "1/moving_variance"]
        assert list(variables_by_key(holder)) == [f"model/a/{name}" for name in names]

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("training", [False, True])
    @pytest.mark.parametrize("frozen", [False, True])
    def test_it_is_one_after_the_other(self, kind, training, frozen):
        together, apart = self.layer(kind, frozen), self.layer(kind, frozen)
        apart.set_weights(together.get_weights())
        mixed = apart.convolution(self.X, training=training)
        one, other = together(self.X, training=training), apart.normalization(mixed, training=training)
        np.testing.assert_allclose(one, other, atol=1e-5)
        for kept, expected in zip(together.get_weights(), apart.get_weights(), strict=True):
            np.testing.assert_allclose(kept, expected, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize(
        ("kind", "training", "normalizations"),
        [("narrower", True, 1), ("wider", True, 0), ("narrower", False, 0), ("depthwise", False, 0)],
    )
    def test_when_a_map_is_made_before_it_is_normalized(self, kind, training, normalizations):
        layer = self.layer(kind)
        graph = tf.function(lambda x: layer(x, training=training)).get_concrete_function(self.X).graph
        kinds = [operation.type for operation in graph.get_operations()]
        assert kinds.count("FusedBatchNormV3") + kinds.count("FusedBatchNorm") == normalizations


class TestSharedByMaps:
    MAPS = tuple(
        tf.constant(np.random.default_rng(side).normal(size=[2, side, side, 3]).astype(np.float32))
        for side in (8, 4, 2)
    )

    @pytest.fixture(params=["plain", "separable"])
    def pair(self, request):
        """Return a shared convolution, and a plain one with the same weights."""
        make = style(PLAIN).conv if request.param == "plain" else style(PLAIN).separable_conv
        shared, plain = SharedByMaps(make(5, 3, "a/b", use_bias=True)), make(5, 3, "a/b", use_bias=True)
        shared.build([x.shape for x in self.MAPS])
        plain.build(self.MAPS[0].shape)
        for one, other in zip(plain.weights, shared.weights, strict=True):
            assert one.name == other.name
            one.assign(other)
        return shared, plain

    @pytest.mark.parametrize("training", [False, True])
    def test_each_map_is_convolved(self, pair, training):
        shared, plain = pair
        for ours, x in zip(shared(self.MAPS, training=training), self.MAPS, strict=True):
            # The same product of channels: as a convolution, oneDNN's kernels round otherwise.
            np.testing.assert_array_equal(ours, plain(x, training=training))

    def test_gradients_of_all_maps_are_added(self, pair):
        shared, plain = pair
        with tf.GradientTape() as tape:
            total = sum(tf.reduce_sum(y**2) for y in shared(self.MAPS, training=True))
        ours = tape.gradient(total, [weight.value for weight in shared.weights])
        with tf.GradientTape() as tape:
            total = sum(tf.reduce_sum(plain(x) ** 2) for x in self.MAPS)
        for one, other in zip(ours, tape.gradient(total, [w.value for w in plain.weights]), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)

    def test_it_has_the_key_of_its_convolution(self):
        maps = [keras.Input((8, 8, 3)), keras.Input((4, 4, 3))]
        network = keras.Model(
            maps, SharedByMaps(style(PLAIN).separable_conv(5, 3, "a/b", use_bias=True))(maps)
        )
        assert set(variables_by_key(network)) == {
            "model/a/b/depthwise_kernel", "model/a/b/pointwise_kernel", "model/a/b/bias",
        }  # fmt: skip


@pytest.mark.parametrize("training", [False, True])
def test_branches(training):
    x = tf.constant([1.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        first, second, third = Branches(3)(x, training=training)
        total = tf.reduce_sum(first + 10 * second + 100 * third)
    np.testing.assert_array_equal([first, second, third], [[1, 2]] * 3)
    np.testing.assert_array_equal(tape.gradient(total, x), [111, 111])


@pytest.mark.parametrize("training", [False, True])
def test_a_network_that_is_unused_is_kept(training):
    inputs = keras.Input((3,))
    layer = Unused(keras.Model(inputs, keras.layers.Dense(2, name="model--a--b")(inputs)))
    x = tf.constant([[1.0, 2.0]])
    with tf.GradientTape() as tape:
        y = layer(x, training=training)
    np.testing.assert_array_equal(y, x)
    kernel, bias = layer.trainable_weights
    gradients = tape.gradient(y, [kernel.value, bias.value])
    if training:
        for gradient, shape in zip(gradients, [(3, 2), (2,)], strict=True):
            np.testing.assert_array_equal(gradient, np.zeros(shape))
    else:
        assert gradients == [None, None]
    maps = keras.Input((4, 4, 2))
    assert set(variables_by_key(keras.Model(maps, layer(maps)))) == {"model/a/b/kernel", "model/a/b/bias"}


class TestBatchNormalization:
    """Over x [b, h, w, d] of means and variances far from 0 and 1."""

    X = np.random.default_rng(0).normal(3, 2, [4, 5, 6, 7]).astype(np.float32)

    def filled(self, **options):
        """Return a layer with random values, and Keras' own with the same."""
        ours = BatchNormalization(momentum=0.9, epsilon=1e-3, **options)
        options.pop("frozen", None)
        keras_own = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3, **options)
        rng = np.random.default_rng(1)
        for layer in (ours, keras_own):
            layer.build(self.X.shape)
        for variable in ours.variables:
            values = rng.uniform(0.5, 2, variable.shape)
            variable.assign(values)
            next(one for one in keras_own.variables if one.name == variable.name).assign(values)
        return ours, keras_own

    @pytest.mark.parametrize("center", [True, False])
    @pytest.mark.parametrize("scale", [True, False])
    def test_inference_is_that_of_keras(self, center, scale):
        ours, keras_own = self.filled(center=center, scale=scale)
        assert {one.name for one in ours.variables} == {one.name for one in keras_own.variables}
        np.testing.assert_allclose(
            ours(self.X, training=False), keras_own(self.X, training=False), atol=1e-5, rtol=1e-5
        )

    def test_training_is_that_of_keras(self):
        ours, keras_own = self.filled()
        np.testing.assert_allclose(
            ours(self.X, training=True), keras_own(self.X, training=True), atol=1e-5, rtol=1e-5
        )

    def test_training_normalizes(self):
        layer = BatchNormalization(momentum=0.9, epsilon=1e-3)
        normalized = np.asarray(layer(self.X, training=True))
        np.testing.assert_allclose(normalized.mean((0, 1, 2)), np.zeros(7), atol=1e-5)
        np.testing.assert_allclose(normalized.var((0, 1, 2)), np.ones(7), atol=1e-3)

    def test_moving_statistics_move_by_one_minus_momentum(self):
        layer = BatchNormalization(momentum=0.9, epsilon=1e-3)
        layer(self.X, training=True)
        mean, variance = self.X.mean((0, 1, 2)), self.X.var((0, 1, 2), ddof=1)
        # They start at 0 and 1.
        np.testing.assert_allclose(layer.moving_mean, 0.1 * mean, rtol=1e-4)
        np.testing.assert_allclose(layer.moving_variance, 0.9 + 0.1 * variance, rtol=1e-4)

    def test_inference_moves_nothing(self):
        layer = BatchNormalization(momentum=0.9, epsilon=1e-3)
        layer(self.X, training=False)
        np.testing.assert_array_equal(layer.moving_mean, np.zeros(7))
        np.testing.assert_array_equal(layer.moving_variance, np.ones(7))

    def test_frozen_trains_by_the_kept_statistics(self):
        frozen, keras_own = self.filled(frozen=True)
        before = [variable.numpy() for variable in frozen.variables]
        np.testing.assert_allclose(
            frozen(self.X, training=True), keras_own(self.X, training=False), atol=1e-5, rtol=1e-5
        )
        for variable, value in zip(frozen.variables, before, strict=True):
            np.testing.assert_array_equal(variable, value)
        assert [variable.name for variable in frozen.trainable_variables] == ["gamma", "beta"]


class TestConvStyle:
    def test_batch_norm(self):
        made = style(PLAIN + "batch_norm { decay: 0.99 epsilon: 0.01 center: false scale: true }")
        assert made.batch_norm == {
            "momentum": pytest.approx(0.99),
            "epsilon": pytest.approx(0.01),
            "center": False,
            "scale": True,
        }

    @pytest.mark.parametrize("kind", ["batch_norm", "sync_batch_norm"])
    def test_statistics_may_be_kept(self, kind):
        x = keras.Input((4, 4, 3))
        for train, frozen in ((True, False), (False, True)):
            made = style(PLAIN + f"{kind} {{ train: {str(train).lower()} }}")
            assert made.batch_norm is not None
            network = keras.Model(x, made.normalization("a", frozen=False)(x))
            assert network.layers[-1].frozen is frozen
            network(np.random.default_rng(0).normal(size=[2, 4, 4, 3]), training=True)
            assert np.any(np.asarray(network.layers[-1].moving_mean)) != frozen

    def test_groups_are_not_normalized(self):
        with pytest.raises(
            ConfigError, match="Hyperparams: boxtune does not have group normalization yet; use"
        ):
            style(PLAIN + "group_norm {}")

    @pytest.mark.parametrize(
        ("text", "use_bias"),
        [
            ("", True),  # nothing else could move the output
            ("batch_norm { }", False),  # its beta does
            ("batch_norm { center: false }", True),
            ("batch_norm { } force_use_bias: true", True),
        ],
    )
    def test_bias(self, text, use_bias):
        assert style(PLAIN + text).use_bias == use_bias

    def test_without_batch_norm_nothing_is_normalized(self):
        made = style(PLAIN)
        convolution = made.conv(2, 1, "a")
        assert made.normalization("b", frozen=False) is None
        assert made.normalized(convolution, "b", frozen=False) is convolution

    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("NONE", [-1, 3, 9]),
            ("RELU", [0, 3, 9]),
            ("RELU_6", [0, 3, 6]),
            ("SWISH", [-1 / (1 + np.e), 3 / (1 + np.exp(-3)), 9 / (1 + np.exp(-9))]),
        ],
    )
    def test_activations(self, name, values):
        activated = style(PLAIN + f"activation: {name}").activate(np.float32([[-1, 3, 9]]))
        np.testing.assert_allclose(activated, [values], rtol=1e-5)

    def test_l2_counts_half_the_square(self):
        # As weight decay does: 0.5 * 0.5 * (1 + 4).
        assert float(style(PLAIN).regularizer(np.float32([1, 2]))) == pytest.approx(1.25)

    def test_l1_counts_the_size(self):
        text = PLAIN.replace("l2_", "l1_")
        assert float(style(text).regularizer(np.float32([1, -2]))) == pytest.approx(1.5)

    @pytest.mark.parametrize(
        ("text", "stddev"),
        [
            # A truncated normal loses its tails beyond two deviations: 0.88 of its deviation is left.
            ("truncated_normal_initializer { stddev: 0.5 }", 0.5 * 0.8796),
            ("random_normal_initializer { stddev: 0.5 }", 0.5),
            ("variance_scaling_initializer { factor: 2.0 mode: FAN_IN }", np.sqrt(2 / 400)),
            ("variance_scaling_initializer { factor: 2.0 uniform: true mode: FAN_OUT }", np.sqrt(2 / 300)),
            ("variance_scaling_initializer { factor: 1.0 uniform: true mode: FAN_AVG }", np.sqrt(1 / 350)),
        ],
    )
    def test_initializers(self, text, stddev):
        made = style(
            "regularizer { l2_regularizer { weight: 0.5 } } initializer { TEXT }".replace("TEXT", text)
        )
        keras.utils.set_random_seed(0)
        random_values = np.asarray(made.initializer()(shape=(1, 1, 400, 300)))
        assert random_values.std() == pytest.approx(stddev, rel=0.02)
        assert abs(random_values.mean()) < 0.02 * stddev

    @pytest.mark.parametrize(
        ("text", "stddev"),
        [
            ('initializer { keras_initializer_by_name: "he_normal" }', np.sqrt(2 / 400)),
            ('initializer { keras_initializer_by_name: "GlorotUniform" }', np.sqrt(2 / 700)),
            ("", np.sqrt(2 / 700)),  # as Keras starts a layer by default
        ],
    )
    def test_initializers_by_name(self, text, stddev):
        keras.utils.set_random_seed(0)
        random_values = np.asarray(style(text).initializer()(shape=(1, 1, 400, 300)))
        assert random_values.std() == pytest.approx(stddev, rel=0.02)

    @pytest.mark.parametrize("name", ["he_norml", "identity", "constant", "", "tf.raise"])
    def test_an_initializer_for_no_kernel_is_refused(self, name):
        with pytest.raises(
            ConfigError, match=f'keras_initializer_by_name "{name}" cannot fill the kernel'
        ) as error:
            style(f'initializer {{ keras_initializer_by_name: "{name}" }}')
        assert ('Did you mean "he_normal"?' in str(error.value)) == (name == "he_norml")

    def test_layers_do_not_start_alike(self):
        made = style(PLAIN)
        first, second = (made.conv(4, 3, key) for key in ("a", "b"))
        for layer in (first, second):
            layer.build((None, 8, 8, 3))
        assert not np.array_equal(first.kernel, second.kernel)

    def test_a_head_may_start_with_a_bias(self):
        layer = style(PLAIN).conv(4, 3, "a", use_bias=True, bias=-4.6)
        layer.build((None, 8, 8, 3))
        np.testing.assert_allclose(layer.bias, [-4.6] * 4, rtol=1e-6)
