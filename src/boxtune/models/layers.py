"""The layers that every network is made of, named by their key in the checkpoint (see `models.keys`)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import keras
from keras import ops

from boxtune import config
from boxtune.config import pipeline_pb2
from boxtune.detection import kernels, shares
from boxtune.detection.gradients import copies
from boxtune.errors import ConfigError, did_you_mean
from boxtune.models.keys import at

Hyperparams = pipeline_pb2.Hyperparams


@contextmanager
def computing_in_bfloat16(enabled: bool = True) -> Iterator[None]:
    """Layers created within compute in bfloat16, with weights in float32, if `enabled`."""
    policy = keras.config.dtype_policy()
    try:
        if enabled:
            keras.config.set_dtype_policy("mixed_bfloat16")
        yield
    finally:
        keras.config.set_dtype_policy(policy)


class HalfSquares(keras.regularizers.Regularizer):
    """A penalty of `weight` times half the sum of squares, as the API defines its l2_regularizer."""

    def __init__(self, weight: float):
        self.weight = weight

    def __call__(self, x):
        """Return the penalty of `x`, a scalar."""
        return self.weight * kernels.half_sum_of_squares(x)

    def get_config(self):
        """Return the arguments for Keras."""
        return {"weight": self.weight}


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
            # In float32 even where the maps are not: the kernel needs it, and small changes are not lost.
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
        """Return `x` [..., d] normalized; in training, by the batch's statistics, which also update the moving ones."""
        gamma, beta = self._scale_and_shift()
        if not training or self.frozen:
            mean, variance = (
                ops.convert_to_tensor(moving) for moving in (self.moving_mean, self.moving_variance)
            )
            return kernels.normalize_with(x, gamma, beta, mean, variance, self.epsilon)
        normalize = shares.batch_normalization if shares.count() > 1 else kernels.batch_normalization
        return self._update_statistics(*normalize(x, gamma, beta, self.epsilon))

    def compute_output_spec(self, x, training=False):
        """Return what `call` returns for a symbolic `x`, without the tracing that Keras does by default."""
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)

    def of_pointwise(self, x, kernel):
        """Return the convolution of `x` [b, h, w, d] by `kernel` [1, 1, d, f] normalized by the batch's statistics."""
        gamma, beta = self._scale_and_shift()
        return self._update_statistics(*kernels.normalized_mix(x, kernel, gamma, beta, self.epsilon))

    def folded(self):
        """Return the scale [d] and the shift [d] that normalize with the moving statistics."""
        gamma, beta = self._scale_and_shift()
        scale = gamma * ops.rsqrt(self.moving_variance + self.epsilon)
        return scale, beta - self.moving_mean * scale

    def _scale_and_shift(self):
        gamma = ops.ones_like(self.moving_mean) if self.gamma is None else ops.convert_to_tensor(self.gamma)
        beta = ops.zeros_like(self.moving_mean) if self.beta is None else ops.convert_to_tensor(self.beta)
        return gamma, beta

    def _update_statistics(self, normalized, mean, variance):
        """Return `normalized`, after updating the moving statistics."""
        self.moving_mean.assign_sub((self.moving_mean - mean) * (1 - self.momentum))
        self.moving_variance.assign_sub((self.moving_variance - variance) * (1 - self.momentum))
        return normalized


class Conv2D(keras.layers.Conv2D):
    """Keras' convolution; a pointwise one is computed as a matrix product in training.

    That is faster on CPUs, above all in its gradients. Outside training it is a convolution, unless a normalization
    follows it (see `Normalized`).
    """

    @property
    def is_pointwise(self) -> bool:
        """Whether each pixel of the result depends on one pixel."""
        return {*self.kernel_size, *self.strides} == {1}

    def call(self, x, training=False):
        """Return the convolution of `x` [b, h, w, d]."""
        if not training or not self.is_pointwise:
            return super().call(x)
        return kernels.mix_channels(x, self.kernel, self.bias if self.use_bias else None)

    def scaled(self, x, scale, shift):
        """Return the convolution of `x` [b, h, w, d] without its bias, times `scale` [f], plus `shift` [f]."""
        kernel = self.kernel * scale
        if self.is_pointwise:
            return kernels.mix_channels(x, kernel, shift)
        convolved = ops.conv(x, kernel, self.strides, self.padding, dilation_rate=self.dilation_rate)
        return kernels.add_bias(convolved, shift)


class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """Keras' depthwise convolution."""

    def scaled(self, x, scale, shift):
        """Return the convolution of `x` [b, h, w, d] without its bias, times `scale` [d], plus `shift` [d]."""
        kernel, shift = ops.cast(self.kernel * scale[:, None], x.dtype), ops.cast(shift, x.dtype)
        convolved = ops.depthwise_conv(
            x, kernel, self.strides, self.padding, dilation_rate=self.dilation_rate
        )
        return kernels.add_bias(convolved, shift)


class SeparableConv2D(keras.layers.SeparableConv2D):
    """Keras' depthwise and pointwise convolution; in training the second is a matrix product, as in Conv2D."""

    def call(self, x, training=False):
        """Return the convolution of `x` [b, h, w, d]."""
        if not training:
            return super().call(x)
        return kernels.mix_channels(
            self._depthwise(x), self.pointwise_kernel, self.bias if self.use_bias else None
        )

    def scaled(self, x, scale, shift):
        """Return the convolution of `x` [b, h, w, d] without its bias, times `scale` [f], plus `shift` [f]."""
        return kernels.mix_channels(self._depthwise(x), self.pointwise_kernel * scale, shift)

    def _depthwise(self, x):
        return ops.depthwise_conv(x, self.depthwise_kernel, strides=self.strides, padding=self.padding)


class Normalized(keras.layers.Layer):
    """A convolution and the normalization after it, computed together where that is faster on CPUs.

    Outside training the normalization is folded into the convolution's weights, so that TensorFlow fuses both and the
    activation into one kernel. In training, the statistics of a wide map are computed from the narrow one before it.
    """

    def __init__(self, convolution: keras.layers.Layer, normalization: BatchNormalization):
        super().__init__(name=convolution.name, autocast=False)
        self.convolution, self.normalization = convolution, normalization

    def build(self, input_shape):
        """Create the weights of both."""
        self.convolution.build(input_shape)
        self.normalization.build(self.convolution.compute_output_shape(input_shape))

    def call(self, x, training=False):
        """Return `x` [b, h, w, d] convolved and normalized."""
        if not training:
            return convolve_and_normalize(self.convolution, self.normalization, x)
        by_batch = not self.normalization.frozen and shares.count() == 1
        if by_batch and self._widens():
            return self.normalization.of_pointwise(x, self.convolution.kernel)
        return self.normalization(self.convolution(x))

    def compute_output_spec(self, x, training=False):
        """Return what `call` returns for a symbolic `x`."""
        shape = self.convolution.compute_output_shape(x.shape)
        return keras.KerasTensor(shape, dtype=self.convolution.compute_dtype)

    def _widens(self):
        layer = self.convolution
        return (
            isinstance(layer, Conv2D)
            and layer.is_pointwise
            and not layer.use_bias
            and layer.compute_dtype == "float32"
            and kernels.widens(layer.kernel.shape)
        )


def convolve_and_normalize(convolution, normalization, x):
    """Return `x` [b, h, w, d] convolved by weights that include the normalization, with its moving statistics."""
    if convolution.compute_dtype != "float32":
        return normalization(convolution(x))  # a scale and a shift in bfloat16 would be less exact
    scale, shift = normalization.folded()
    if convolution.use_bias:
        shift = shift + convolution.bias * scale
    return convolution.scaled(x, scale, shift)


class PadToMultiple(keras.layers.Layer):
    """Pads maps with zeros at the bottom and the right, until their sides are multiples."""

    def __init__(self, multiple: int, **kwargs):
        super().__init__(**kwargs)
        self.multiple = multiple

    def call(self, x):
        """Return `x` [b, h, w, d] with sides that are multiples."""
        if self.multiple == 1:
            return x
        missing = [-side % self.multiple for side in ops.shape(x)[1:3]]
        return ops.pad(x, [[0, 0], [0, missing[0]], [0, missing[1]], [0, 0]])


class UpSampling2D(keras.layers.UpSampling2D):
    """Makes maps twice as large by repeating their values.

    For TensorFlow Lite that is a resizing: compilers for accelerators may stop at what repeats and reshapes.
    """

    def __init__(self):
        super().__init__(2, interpolation="nearest")

    def call(self, x):
        """Return `x` [b, h, w, d] as [b, 2 h, 2 w, d]."""
        return kernels.resize_nearest(x, 2) if kernels.for_tensorflow_lite() else super().call(x)


class GlobalAveragePooling2D(keras.layers.GlobalAveragePooling2D):
    """Keras' mean of all pixels, as a map of one pixel.

    For TensorFlow Lite it is the mean of the rows' means: its runtimes add up one number after the other, and of a map
    of 256 x 256 only four digits are left.
    """

    def __init__(self):
        super().__init__(keepdims=True)

    def call(self, x):
        """Return the means [b, 1, 1, d] of `x` [b, h, w, d]."""
        if not kernels.for_tensorflow_lite():
            return super().call(x)
        return ops.mean(ops.mean(x, axis=2, keepdims=True), axis=1, keepdims=True)


class CropTo(keras.layers.Layer):
    """Crops maps at the bottom and the right, to the size of others."""

    def call(self, x, like):
        """Return `x` [b, h, w, d] cropped to the size of `like`."""
        height, width = ops.shape(like)[1:3]
        return x[:, :height, :width]


class Branches(keras.layers.Layer):
    """Returns its input several times; the gradients of the branches are added in a fixed order."""

    def __init__(self, count: int, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.count = count

    def call(self, x, training=False):
        """Return `x` `count` times."""
        return copies(x, self.count) if training else [x] * self.count


class Unused(keras.layers.Layer):
    """Returns its input, and holds a network that nothing is computed by, so that checkpoints have its variables.

    In training the gradients of its weights are 0 rather than none, of which optimizers warn.
    """

    def __init__(self, network: keras.Model):
        super().__init__(autocast=False)
        self.network = network

    def call(self, x, training=False):
        """Return `x`."""
        weights = self.network.trainable_weights
        if not training or not weights:
            return x
        total = ops.sum(ops.stack([ops.sum(weight) for weight in weights]))
        return x + ops.cast(0 * total, x.dtype)


class SharedByMaps(keras.layers.Layer):
    """One convolution for several maps, each with its own normalization, if any.

    The convolution's gradients from the maps are added in a fixed order, as in Branches.
    """

    def __init__(self, convolution: keras.layers.Layer, normalizations: Sequence[BatchNormalization] = ()):
        super().__init__(name=convolution.name, autocast=False)
        self.convolution, self.normalizations = convolution, list(normalizations)

    def build(self, shapes):
        """Create the weights; all maps have the depth of the first."""
        self.convolution.build(shapes[0])
        for normalization, shape in zip(self.normalizations, shapes, strict=False):
            normalization.build(self.convolution.compute_output_shape(shape))

    def call(self, maps, training=False):
        """Return each of `maps` [b, h, w, d] convolved, and normalized."""
        convolution, normalizations = self.convolution, self.normalizations
        if training:
            return self._train(maps)
        if not normalizations:
            return [convolution(x) for x in maps]
        pairs = zip(normalizations, maps, strict=True)
        return [convolve_and_normalize(convolution, normalization, x) for normalization, x in pairs]

    def _train(self, maps):
        weights = self.convolution.weights
        of_maps = zip(*(copies(weight.value, len(maps)) for weight in weights), strict=True)
        convolved = []
        for x, values in zip(maps, of_maps, strict=True):
            with keras.StatelessScope(state_mapping=list(zip(weights, values, strict=True))):
                convolved.append(self.convolution(x))
        if not self.normalizations:
            return convolved
        return [normalize(x) for normalize, x in zip(self.normalizations, convolved, strict=True)]

    def compute_output_spec(self, maps, training=False):
        """Return what `call` returns for symbolic `maps`."""
        shapes = [self.convolution.compute_output_shape(x.shape) for x in maps]
        return [keras.KerasTensor(shape, dtype=self.convolution.compute_dtype) for shape in shapes]


@dataclass(frozen=True)
class ConvStyle:
    """How the convolutions of one part of a network are initialized, regularized, normalized and activated."""

    initializer: Callable[[], keras.Initializer]
    regularizer: keras.Regularizer | None
    activation: str | None
    batch_norm: dict[str, float | bool] | None
    force_use_bias: bool = False
    frozen: bool = False
    """Whether the normalizations keep their statistics in training."""

    @property
    def use_bias(self) -> bool:
        """Whether a convolution before this style's normalization has a bias of its own."""
        return self.force_use_bias or not (self.batch_norm and self.batch_norm["center"])

    def conv(self, filters, kernel_size, key, *, bias=0.0, **options):
        """Return a plain convolution whose bias starts at `bias`; `options` are those of `_options`."""
        return Conv2D(
            filters,
            kernel_size,
            bias_initializer=keras.initializers.Constant(bias),
            **self._weights("kernel"),
            **self._options(key, **options),
        )

    def depthwise_conv(self, kernel_size, key, *, styled=True, **options):
        """Return a depthwise convolution; `styled` false: initialized by Keras' default and not regularized."""
        return DepthwiseConv2D(
            kernel_size, **self._weights("depthwise", styled), **self._options(key, **options)
        )

    def separable_conv(
        self, filters, kernel_size, key, *, bias=0.0, style_depthwise=True, style_pointwise=False, **options
    ):
        """Return a depthwise and a pointwise convolution in one layer.

        By default, as in the API, the style applies to the depthwise half only: the other half is initialized by Keras'
        default and not regularized.
        """
        return SeparableConv2D(
            filters,
            kernel_size,
            bias_initializer=keras.initializers.Constant(bias),
            **self._weights("depthwise", style_depthwise),
            **self._weights("pointwise", style_pointwise),
            **self._options(key, **options),
        )

    def _weights(self, name, styled=True):
        return {
            f"{name}_initializer": self.initializer() if styled else "glorot_uniform",
            f"{name}_regularizer": self.regularizer if styled else None,
        }

    def _options(self, key, *, strides=1, padding="same", use_bias=None):
        return {
            "strides": strides,
            "padding": padding,
            "use_bias": self.use_bias if use_bias is None else use_bias,
            "name": at(key),
        }

    def normalized(self, convolution, key, *, frozen):
        """Return `convolution` followed by this style's batch normalization, if it has one."""
        if self.batch_norm is None:
            return convolution
        return Normalized(convolution, self.normalization(key, frozen=frozen))

    def normalization(self, key, *, frozen):
        """Return this style's batch normalization, frozen if `frozen` or the style says so; None if it has none."""
        if self.batch_norm is None:
            return None
        return BatchNormalization(**self.batch_norm, frozen=frozen or self.frozen, name=at(key))

    def activate(self, x):
        """Apply this style's activation to `x`, if it has one."""
        return keras.layers.Activation(self.activation)(x) if self.activation else x


def conv_style(section: Hyperparams) -> ConvStyle:
    """Read a `conv_hyperparams` section. Source: the API's builders.hyperparams_builder, KerasLayerHyperparams.

    `batch_norm.train: false` freezes the statistics, as it did under TensorFlow 1. Either kind of batch norm
    covers all devices.

    Raises:
        ConfigError: for `group_norm`, and for an unknown initializer.
    """
    batch_norm, frozen = None, False
    if section.WhichOneof("normalizer_oneof"):
        norm = config.oneof(section, {"batch_norm": lambda one: one, "sync_batch_norm": lambda one: one})
        batch_norm = {"momentum": norm.decay, "epsilon": norm.epsilon}
        batch_norm |= {"center": norm.center, "scale": norm.scale}
        frozen = not norm.train
    activations = {Hyperparams.RELU: "relu", Hyperparams.RELU_6: "relu6", Hyperparams.SWISH: "silu"}
    return ConvStyle(
        initializer=_initializer(section.initializer),
        regularizer=_regularizer(section.regularizer),
        activation=activations.get(section.activation),
        batch_norm=batch_norm,
        force_use_bias=section.force_use_bias,
        frozen=frozen,
    )


def _initializer(section) -> Callable[[], keras.Initializer]:
    """Read an initializer; each layer needs its own, since a Keras initializer always returns the same values."""
    kind = section.WhichOneof("initializer_oneof")
    if kind is None:
        return keras.initializers.GlorotUniform
    one = getattr(section, kind)
    if kind == "random_normal_initializer":
        return lambda: keras.initializers.RandomNormal(one.mean, one.stddev)
    if kind == "truncated_normal_initializer":
        return lambda: keras.initializers.TruncatedNormal(one.mean, one.stddev)
    if kind == "keras_initializer_by_name":
        return _named_initializer(one)
    return lambda: keras.initializers.VarianceScaling(
        scale=one.factor,
        mode=pipeline_pb2.VarianceScalingInitializer.Mode.Name(one.mode).lower(),
        distribution="uniform" if one.uniform else "truncated_normal",
    )


def _named_initializer(name: str) -> Callable[[], keras.Initializer]:
    """Return a function that makes Keras' initializer of a name, which must suit the kernel of a convolution."""
    make = partial(keras.initializers.get, name)
    try:
        make()((1, 1, 2, 2))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f'pipeline.config: keras_initializer_by_name "{name}" cannot fill the kernel of a convolution; choose one '
            f"such as {', '.join(_INITIALIZERS)}.{did_you_mean(name, _INITIALIZERS)}"
        ) from error
    return make


_INITIALIZERS = (
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_uniform",
    "lecun_normal",
)


def _regularizer(section) -> keras.Regularizer | None:
    kind = section.WhichOneof("regularizer_oneof")
    if kind == "l1_regularizer":
        return keras.regularizers.L1(section.l1_regularizer.weight)
    if kind == "l2_regularizer":
        return HalfSquares(section.l2_regularizer.weight)
    return None
