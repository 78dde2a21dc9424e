"""The layers that every network is made of, named by their place in the checkpoint (see `models.keys`)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import keras
from keras import ops

from boxtune.config import pipeline_pb2
from boxtune.detection import kernels, shares
from boxtune.models.keys import at

Hyperparams = pipeline_pb2.Hyperparams


@contextmanager
def computing_in_bfloat16(enabled: bool = True) -> Iterator[None]:
    """Have the layers that are made here compute in bfloat16, with weights in float32, if `enabled`."""
    policy = keras.config.dtype_policy()
    try:
        if enabled:
            keras.config.set_dtype_policy("mixed_bfloat16")
        yield
    finally:
        keras.config.set_dtype_policy(policy)


class BatchNormalization(keras.layers.Layer):
    """Batch normalization over the last axis by TensorFlow's fused kernel, five times as fast as Keras' own there.

    With `frozen`, the moving statistics are used in training too; gamma and beta are still trained.
    """

    def __init__(self, *, momentum, epsilon, center=True, scale=True, frozen=False, **kwargs):
        super().__init__(**kwargs)
        self.momentum, self.epsilon, self.frozen = momentum, epsilon, frozen
        self.center, self.scale = center, scale

    def build(self, input_shape):
        """Create gamma, beta and the moving statistics, each [d]."""

        def vector(name, initializer, trainable):
            # In float32 even where the maps are not: the kernel wants it so, and small changes are not lost.
            return self.add_weight(
                name=name,
                shape=(input_shape[-1],),
                initializer=initializer,
                trainable=trainable,
                autocast=False,
            )

        self.gamma = vector("gamma", "ones", trainable=True) if self.scale else None
        self.beta = vector("beta", "zeros", trainable=True) if self.center else None
        self.moving_mean = vector("moving_mean", "zeros", trainable=False)
        self.moving_variance = vector("moving_variance", "ones", trainable=False)

    def call(self, x, training=False):
        """Return `x` [..., d] normalized; in training, by the batch's statistics, which also move the kept ones."""
        gamma = ops.ones_like(self.moving_mean) if self.gamma is None else ops.convert_to_tensor(self.gamma)
        beta = ops.zeros_like(self.moving_mean) if self.beta is None else ops.convert_to_tensor(self.beta)
        if not training or self.frozen:
            mean, variance = (
                ops.convert_to_tensor(kept) for kept in (self.moving_mean, self.moving_variance)
            )
            return kernels.normalize_with(x, gamma, beta, mean, variance, self.epsilon)
        normalize = shares.batch_normalization if shares.count() > 1 else kernels.batch_normalization
        normalized, mean, variance = normalize(x, gamma, beta, self.epsilon)
        self.moving_mean.assign_sub((self.moving_mean - mean) * (1 - self.momentum))
        self.moving_variance.assign_sub((self.moving_variance - variance) * (1 - self.momentum))
        return normalized


class Conv2D(keras.layers.Conv2D):
    """Keras' convolution; where it only mixes the channels of each pixel, training takes it as a matrix product.

    That is faster on CPUs, above all in its gradients. Outside training it stays a convolution, which TensorFlow makes
    one with the normalization and activation behind it, and TensorFlow Lite knows.
    """

    def call(self, x, training=False):
        """Return the convolution of `x` [b, h, w, d]."""
        if not training or {*self.kernel_size, *self.strides} != {1}:
            return super().call(x)
        return kernels.mix_channels(x, self.kernel, self.bias if self.use_bias else None)


class SeparableConv2D(keras.layers.SeparableConv2D):
    """Keras' depthwise and pointwise convolution; training takes the second as a matrix product, as in Conv2D."""

    def call(self, x, training=False):
        """Return the convolution of `x` [b, h, w, d]."""
        if not training:
            return super().call(x)
        x = ops.depthwise_conv(x, self.depthwise_kernel, strides=self.strides, padding=self.padding)
        return kernels.mix_channels(x, self.pointwise_kernel, self.bias if self.use_bias else None)


class PadToMultiple(keras.layers.Layer):
    """Pads maps with zeros below and to the right, until their sides are multiples."""

    def __init__(self, multiple: int, **kwargs):
        super().__init__(**kwargs)
        self.multiple = multiple

    def call(self, x):
        """Return `x` [b, h, w, d] with sides that are multiples."""
        if self.multiple == 1:
            return x
        missing = [-side % self.multiple for side in ops.shape(x)[1:3]]
        return ops.pad(x, [[0, 0], [0, missing[0]], [0, missing[1]], [0, 0]])


class CropTo(keras.layers.Layer):
    """Cuts maps below and to the right, to the size of others."""

    def call(self, x, like):
        """Return `x` [b, h, w, d] as high and wide as `like`."""
        height, width = ops.shape(like)[1:3]
        return x[:, :height, :width]


class Branches(keras.layers.Layer):
    """Hands out its input several times; the gradients of the branches are added in their order.

    TensorFlow's tape adds three gradients or more from the one whose memory is free to hold the sum. Which one that is
    depends on timing, so the last bits would change from run to run; two always add up to the same.
    """

    def __init__(self, count: int, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.count = count

    def call(self, x, training=False):
        """Return `x` `count` times."""
        return _copies(x, self.count) if training else [x] * self.count


class SharedByMaps(keras.layers.Layer):
    """One convolution over several maps; its gradients from the maps are added in their order, as in Branches."""

    def __init__(self, convolution: keras.layers.Layer):
        super().__init__(name=convolution.name, autocast=False)
        self.convolution = convolution

    def build(self, shapes):
        """Create the weights for maps that are all of the depth of the first."""
        self.convolution.build(shapes[0])

    def call(self, maps, training=False):
        """Return the convolution of each of `maps` [b, h, w, d]."""
        if not training:
            return [self.convolution(x) for x in maps]
        weights = self.convolution.weights
        copies = zip(*(_copies(weight.value, len(maps)) for weight in weights), strict=True)
        return [self._convolve(x, own) for x, own in zip(maps, copies, strict=True)]

    def _convolve(self, x, values):
        with keras.StatelessScope(state_mapping=list(zip(self.convolution.weights, values, strict=True))):
            return self.convolution(x)


def _copies(x, count: int):
    """Return `x` `count` times, as tensors whose gradients one operation adds."""
    return ops.unstack(ops.repeat(x[None], count, axis=0), count)


@dataclass(frozen=True)
class ConvStyle:
    """How the convolutions of one part of a network start, are regularized, normalized and activated."""

    initializer: Callable[[], keras.Initializer]
    regularizer: keras.Regularizer | None
    activation: str | None
    batch_norm: dict[str, float | bool] | None
    force_use_bias: bool = False

    @property
    def use_bias(self) -> bool:
        """Whether a convolution followed by this style's normalization has a bias of its own."""
        return self.force_use_bias or not (self.batch_norm and self.batch_norm["center"])

    def conv(self, filters, kernel_size, key, *, strides=1, padding="same", use_bias=None, bias=0.0):
        """Return a plain convolution whose bias starts at `bias`."""
        return Conv2D(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            use_bias=self.use_bias if use_bias is None else use_bias,
            bias_initializer=keras.initializers.Constant(bias),
            kernel_initializer=self.initializer(),
            kernel_regularizer=self.regularizer,
            name=at(key),
        )

    def depthwise_conv(self, kernel_size, key, *, strides=1, padding="same", use_bias=None, styled=True):
        """Return a depthwise convolution; `styled` false: started by Keras' default and not regularized."""
        return keras.layers.DepthwiseConv2D(
            kernel_size,
            strides=strides,
            padding=padding,
            use_bias=self.use_bias if use_bias is None else use_bias,
            depthwise_initializer=self.initializer() if styled else "glorot_uniform",
            depthwise_regularizer=self.regularizer if styled else None,
            name=at(key),
        )

    def separable_conv(
        self, filters, kernel_size, key, *, strides=1, padding="same", use_bias=None, bias=0.0,
        style_depthwise=True, style_pointwise=False,
    ):  # fmt: skip
        """Return a depthwise and a pointwise convolution in one layer.

        The API applies a style to the depthwise half only, unless told otherwise: the rest starts by Keras' default
        and is not regularized.
        """
        return SeparableConv2D(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            use_bias=self.use_bias if use_bias is None else use_bias,
            bias_initializer=keras.initializers.Constant(bias),
            depthwise_initializer=self.initializer() if style_depthwise else "glorot_uniform",
            depthwise_regularizer=self.regularizer if style_depthwise else None,
            pointwise_initializer=self.initializer() if style_pointwise else "glorot_uniform",
            pointwise_regularizer=self.regularizer if style_pointwise else None,
            name=at(key),
        )

    def normalize(self, x, key, *, frozen):
        """Apply this style's batch normalization to `x`, if it has one."""
        if self.batch_norm is None:
            return x
        return BatchNormalization(**self.batch_norm, frozen=frozen, name=at(key))(x)

    def activate(self, x):
        """Apply this style's activation to `x`, if it has one."""
        return keras.layers.Activation(self.activation)(x) if self.activation else x


def conv_style(section: Hyperparams) -> ConvStyle:
    """Read a `conv_hyperparams` section. Source: the API's builders.hyperparams_builder."""
    normalizer = section.WhichOneof("normalizer_oneof")
    batch_norm = None
    if normalizer in ("batch_norm", "sync_batch_norm"):
        norm = getattr(section, normalizer)
        batch_norm = {
            "momentum": norm.decay,
            "epsilon": norm.epsilon,
            "center": norm.center,
            "scale": norm.scale,
        }
    activations = {Hyperparams.RELU: "relu", Hyperparams.RELU_6: "relu6", Hyperparams.SWISH: "silu"}
    return ConvStyle(
        initializer=_initializer(section.initializer),
        regularizer=_regularizer(section.regularizer),
        activation=activations.get(section.activation),
        batch_norm=batch_norm,
        force_use_bias=section.force_use_bias,
    )


def _initializer(section) -> Callable[[], keras.Initializer]:
    """Read an initializer; each layer needs one of its own, since a Keras initializer always draws the same."""
    kind = section.WhichOneof("initializer_oneof")
    if kind == "random_normal_initializer":
        normal = section.random_normal_initializer
        return lambda: keras.initializers.RandomNormal(normal.mean, normal.stddev)
    if kind == "variance_scaling_initializer":
        scaling = section.variance_scaling_initializer
        return lambda: keras.initializers.VarianceScaling(
            scale=scaling.factor,
            mode=pipeline_pb2.VarianceScalingInitializer.Mode.Name(scaling.mode).lower(),
            distribution="uniform" if scaling.uniform else "truncated_normal",
        )
    truncated = section.truncated_normal_initializer
    return lambda: keras.initializers.TruncatedNormal(truncated.mean, truncated.stddev)


def _regularizer(section) -> keras.Regularizer | None:
    kind = section.WhichOneof("regularizer_oneof")
    if kind == "l1_regularizer":
        return keras.regularizers.L1(section.l1_regularizer.weight)
    if kind == "l2_regularizer":
        # The API's weight counts half the square, as in weight decay; Keras' counts the square.
        return keras.regularizers.L2(section.l2_regularizer.weight / 2)
    return None
