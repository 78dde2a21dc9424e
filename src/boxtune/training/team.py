"""The processes that train together, each on one device with its share of every batch.

Each runs the whole program with the same weights. What makes them one training is that a few tensors are added up over
all of them: gradients, statistics of normalizations, how many anchors are matched (synchronous data parallelism; Goyal
et al. 2017, arXiv:1706.02677). Beside Keras, not within a scope of tf.distribute: docs/distributed.md says why.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from boxtune.detection.shares import WHOLE, Shares
from boxtune.errors import ConfigError, WorkerLostError

_WORK, _TALK = 1, 2
"""Groups of TensorFlow's collectives: among the devices, and among their hosts."""

_GONE = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)
_SAYING_SO = ("Collective ops is aborted", "heartbeat", "unhealthy", "RecvBuf")


class Team:
    """Process number `rank` of `count` that train together; number 0 is the chief, who alone tells and writes.

    What is asked of one is asked of all, in the same order: they wait for each other.
    """

    def __init__(self, rank: int = 0, count: int = 1):
        self.rank, self.count = rank, count
        self._keys = itertools.count()
        self._keys_of_talk: dict[tuple[int, ...], int] = {}
        if count > 1:
            with tf.device("CPU:0"):
                self._order_of_talk = tf.Variable(0.0)
            self._order_of_work = tf.Variable(0.0)

    @property
    def is_chief(self) -> bool:
        """Whether this one tells and writes."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there are no others."""
        return self.count == 1

    @property
    def shares(self) -> Shares:
        """How batches are shared out, for the arithmetic of losses and layers."""
        return WHOLE if self.is_alone else Shares(self.rank, self.count, self.total)

    def total(self, value: Any) -> Any:
        """Return the sum of a float tensor over all; its gradient is the sum of their gradients."""
        return value if self.is_alone else _differentiable(self._add)(value)

    def add_gradients(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Have an optimizer add up the gradients of all before it does anything else with them."""
        if self.is_alone:
            return
        apply = optimizer.apply

        def apply_sum(gradients: Sequence[Any], variables: Any = None) -> None:
            apply(self._sums(gradients), variables)

        optimizer.apply = apply_sum

    def take_from_chief(self, variables: Iterable[keras.Variable]) -> None:
        """Give the variables of all the values that they have at the chief."""
        if self.is_alone:
            return
        for variable in variables:
            value = variable.numpy()
            # Integers below 2**53 and floats of lower precision survive; adding 0 changes nothing.
            sent = value.astype(np.float64) if self.is_chief else np.zeros(value.shape, np.float64)
            variable.assign(self._talk(sent).astype(value.dtype))

    def draw_apart(self, random_states: Iterable[keras.Variable]) -> None:
        """Have each draw other random numbers; the states [2] are seeds and counts, uint32."""
        if self.is_chief:
            return
        for state in random_states:
            seed, count = state.numpy()
            state.assign(np.array([seed, (int(count) + (self.rank << 22)) % 2**32], np.uint32))

    def any(self, wanted: bool) -> bool:
        """Return whether any of them wants it."""
        return wanted if self.is_alone else bool(self._talk(np.float64(wanted)))

    def as_chief_says(self, wanted: bool) -> bool:
        """Return whether the chief wants it."""
        return self.any(wanted and self.is_chief)

    def require_same(self, facts: Mapping[str, str]) -> None:
        """Compare what must be the same for all.

        Raises:
            ConfigError: for all of them, naming what is not.
        """
        if self.is_alone:
            return
        own = np.array([_fingerprint(fact) for fact in facts.values()])
        same = self._talk(own) == own * self.count
        # A sum that is as many times the own is so by chance for one at most: it hears of the others' leaving.
        different = [name for name, agrees in zip(facts, same, strict=True) if not agrees]
        if different:
            raise ConfigError(
                f"Worker {self.rank} of {self.count}: {', '.join(different)} must be the same for all workers and is "
                "not. Give all of them the same command, configuration and records"
            )

    @contextmanager
    def telling_who_is_gone(self) -> Iterator[None]:
        """Turn TensorFlow's error about another process into one that says what to do.

        Raises:
            WorkerLostError: in place of it.
        """
        try:
            yield
        except _GONE as error:
            if self.is_alone or not any(sign in str(error) for sign in _SAYING_SO):
                raise
            raise WorkerLostError(
                f"Worker {self.rank} of {self.count}: another worker is gone; what it said last stands on its "
                "terminal. The checkpoints are kept"
            ) from error

    def _sums(self, gradients: Sequence[Any]) -> list[Any]:
        """Return the sums of all, by one collective; None, of variables that are not used, stays None."""
        there = [gradient for gradient in gradients if gradient is not None]
        sums = self._add(tf.concat([tf.reshape(gradient, [-1]) for gradient in there], axis=0))
        parts = iter(tf.split(sums, [tf.size(gradient) for gradient in there], num=len(there)))
        return [
            None if gradient is None else tf.reshape(next(parts), tf.shape(gradient))
            for gradient in gradients
        ]

    def _add(self, value: Any) -> Any:
        # One after the other, in the order of the program: the same for all.
        return self._collective(value, _WORK, next(self._keys), self._order_of_work)

    def _talk(self, value: Any) -> np.ndarray:
        """Return the sum of a small float64 array over all, by way of their hosts."""
        with tf.device("CPU:0"):
            sent = tf.constant(value, tf.float64)
            key = self._keys_of_talk.setdefault(tuple(sent.shape), len(self._keys_of_talk))
            result: np.ndarray = self._collective(sent, _TALK, key, self._order_of_talk).numpy()
        return result

    def _collective(self, value: Any, group: int, key: int, order: tf.Variable) -> Any:
        return tf.raw_ops.CollectiveReduceV2(
            input=value,
            group_size=self.count,
            group_key=group,
            instance_key=key,
            ordering_token=[order.handle],
            merge_op="Add",
            final_op="Id",
        )


ALONE = Team()
"""One device."""


def _differentiable(add: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a sum over all processes as a function of which TensorFlow knows the gradient.

    The loss is the sum of the losses of all: each is reached by the sum, so all of their gradients are.
    """

    @tf.custom_gradient
    def total(value: Any) -> tuple[Any, Callable[[Any], Any]]:
        return add(value), add

    return total


def share_of(batch_size: int, count: int) -> int:
    """Return how many images of each batch a device gets, where there are `count`.

    Raises:
        ConfigError: if they cannot be shared out evenly.
    """
    if batch_size % count:
        below = batch_size // count * count
        near = f"{below} and {below + count} can" if below else f"{count} can"
        raise ConfigError(
            f"train_config.batch_size is {batch_size}, of the whole batch: {count} devices cannot share it out "
            f"evenly; {near} be"
        )
    return batch_size // count


def _fingerprint(text: str) -> int:
    """Return 40 bits of a hash: as many times as there are processes, they fit into a float64."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:5])
