"""What the classification networks share: how pixels are normalized, numbered layers, padding, and widths."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

import keras
import numpy as np
from keras import ops

from boxtune.models.layers import ConvStyle


@dataclass(frozen=True)
class Normalization:
    """The normalization of pixel values in [0, 255] before a backbone: `images * scale - shift`.

    Each is one number, or one for each channel.
    """

    scale: float | tuple[float, float, float]
    shift: float | tuple[float, float, float]

    def __call__(self, images):
        """Return `images` [..., 3] normalized."""
        return ops.subtract(ops.multiply(images, _of_channels(self.scale)), _of_channels(self.shift))

    @property
    def is_uniform(self) -> bool:
        """Whether it is the same for all channels."""
        return not isinstance(self.scale, tuple) and not isinstance(self.shift, tuple)

    def undo(self, values):
        """Return the pixel values [..., 3] whose normalized values are `values`."""
        return (values + _of_channels(self.shift)) / _of_channels(self.scale)


def _of_channels(value):
    return np.asarray(value, np.float32) if isinstance(value, tuple) else value


TO_ONE = Normalization(scale=2.0 / 255.0, shift=1.0)
"""To [-1, 1], for MobileNets."""

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the pixels of ImageNet in [0, 1]
BY_IMAGENET = Normalization(
    scale=(1 / (255 * _DEVIATION[0]), 1 / (255 * _DEVIATION[1]), 1 / (255 * _DEVIATION[2])),
    shift=(_MEAN[0] / _DEVIATION[0], _MEAN[1] / _DEVIATION[1], _MEAN[2] / _DEVIATION[2]),
)
"""To mean 0 and standard deviation 1 over ImageNet, for EfficientNets."""

MINUS_MEANS = Normalization(scale=1.0, shift=(123.68, 116.779, 103.939))
"""Less the means of red, green and blue over ImageNet, for ResNets."""


_Prepared = Literal["padded", "normalized"]
_prepared: ContextVar[_Prepared | None] = ContextVar("_prepared", default=None)


@contextmanager
def prepared_images(how: _Prepared) -> Iterator[None]:
    """Have detectors within take images whose padding is filled, and if `how` is "normalized" also normalized.

    For graphs that are given images by other programs.
    """
    token = _prepared.set(how)
    try:
        yield
    finally:
        _prepared.reset(token)


def are_padded() -> bool:
    """Return whether the padding of images is filled already."""
    return _prepared.get() is not None


class Normalize(keras.layers.Layer):
    """Normalizes pixel values, unless they are."""

    def __init__(self, normalization: Normalization):
        super().__init__(autocast=False)
        self.normalization = normalization

    def call(self, images):
        """Return `images` [b, h, w, 3] normalized."""
        return images if _prepared.get() == "normalized" else self.normalization(images)

    def compute_output_spec(self, images):
        """Return what `call` returns for symbolic `images`."""
        return keras.KerasTensor(images.shape, dtype=images.dtype)


def pad(x, kernel_size: int, explicit: bool):
    """Return `x` [b, h, w, d], padded if `explicit`, and the padding argument of a convolution over it."""
    if not explicit:
        return x, "same"
    before = (kernel_size - 1) // 2
    after = kernel_size - 1 - before
    if kernel_size > 1:
        x = keras.layers.ZeroPadding2D(((before, after), (before, after)))(x)
    return x, "valid"


def divisible(filters: float, divisor: int = 8) -> int:
    """Round to a multiple of `divisor`, never down by more than a tenth."""
    rounded = max(divisor, int(filters + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * filters else rounded


@dataclass
class NumberedLayers:
    """Layers of one style, whose keys are numbered in the order in which they are made."""

    key: str
    style: ConvStyle
    frozen: bool
    explicit_padding: bool = False
    numbers: count = field(default_factory=count)

    def next_key(self) -> str:
        """Return the key of the next layer."""
        return f"{self.key}/layer_with_weights-{next(self.numbers)}"

    def conv(self, x, filters: int, kernel_size=1, strides=1, activate=True):
        """Return `x` [b, h, w, d] convolved, normalized, and activated."""
        return self._applied(self.style.conv, x, kernel_size, strides, activate, filters)

    def depthwise(self, x, kernel_size=3, strides=1):
        """Return `x` [b, h, w, d] convolved channel by channel, normalized and activated."""
        return self._applied(self.style.depthwise_conv, x, kernel_size, strides, True)

    def _applied(self, make, x, kernel_size, strides, activate, *filters):
        x, padding = pad(x, kernel_size, self.explicit_padding)
        options = {"strides": strides, "padding": padding, "use_bias": False}
        return self.normalized(make(*filters, kernel_size, self.next_key(), **options), x, activate)

    def normalized(self, layer, x, activate=True):
        """Return what `layer` makes of `x`, normalized and activated."""
        x = self.style.normalized(layer, self.next_key(), frozen=self.frozen)(x)
        return self.style.activate(x) if activate else x
