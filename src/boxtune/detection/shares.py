"""A batch that is shared out over several devices, each of which computes on its share.

What is about the whole batch (how many anchors are matched, the statistics of a normalization, the losses that are
told) is added up over the devices. Within `shared_out` it is; elsewhere, a share is the whole batch.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from keras import ops


def _itself(value):
    return value


@dataclass(frozen=True)
class Shares:
    """How a batch is shared out: into `count` equal shares, of which this device has number `rank`."""

    rank: int = 0
    count: int = 1
    add: Callable[[Any], Any] = _itself
    """Returns the sum of a float tensor over all devices; its gradient is the sum of their gradients."""


WHOLE = Shares()
"""One device has it all."""

_shares: ContextVar[Shares] = ContextVar("shares", default=WHOLE)


@contextmanager
def shared_out(shares: Shares) -> Iterator[None]:
    """Let what is computed meanwhile be about the whole batch of which this device has a share."""
    before = _shares.set(shares)
    try:
        yield
    finally:
        _shares.reset(before)


def count() -> int:
    """Return into how many shares the batch is shared out."""
    return _shares.get().count


def total(value):
    """Return the sum of a float tensor over the shares of the batch."""
    return _shares.get().add(value)


def gather(value):
    """Return a float tensor [...] of every share, as [count, ...]."""
    shares = _shares.get()
    row = ops.cast(ops.equal(ops.arange(shares.count), shares.rank), value.dtype)
    return shares.add(ops.reshape(row, (-1, *[1] * len(value.shape))) * value[None])


def batch_normalization(x, gamma, beta, epsilon):
    """Normalize `x` [..., d] as `kernels.batch_normalization` does, by the statistics of the whole batch.

    Mean and variance of equal shares are combined so that no large squares cancel: the variance of all is the mean
    of the variances, plus the variance of the means. Source: Chan, Golub, LeVeque 1979 (Updating formulae and a
    pairwise algorithm for computing sample variances), equation 2.1.
    """
    exact = ops.cast(x, gamma.dtype)
    axes = tuple(range(len(x.shape) - 1))
    own_mean = ops.mean(exact, axis=axes)
    of_shares = gather(ops.stack([own_mean, ops.mean(ops.square(exact - own_mean), axis=axes)]))
    means, variances = of_shares[:, 0], of_shares[:, 1]
    mean = ops.mean(means, axis=0)
    variance = ops.mean(variances + ops.square(means - mean), axis=0)
    scale = gamma * ops.rsqrt(variance + epsilon)
    normalized = ops.cast((exact - mean) * scale + beta, x.dtype)
    size = ops.cast(ops.prod(ops.shape(x)[:-1]) * count(), gamma.dtype)
    return normalized, mean, variance * size / ops.maximum(size - 1, 1)
