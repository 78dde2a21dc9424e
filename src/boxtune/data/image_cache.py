"""Decoded pictures, kept as long as there is room: small sets are decoded once, large ones each time."""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

MAX_BYTES = 2**29  # of training, and as much of validation
_NOTHING = np.zeros((0, 0, 3), np.uint8)


class ImageCache:
    """Pictures by number, uint8 [h, w, 3], of `max_bytes` together; the first to come are kept, none is replaced.

    So a set that does not fit loses nothing but the room: in a random order, what was used last is used last again.
    """

    def __init__(self, max_bytes: int | None = None) -> None:
        """Keep up to `max_bytes`; if None, a quarter of the memory, but no more than MAX_BYTES."""
        self.bytes_left = min(MAX_BYTES, _memory() // 4) if max_bytes is None else max_bytes
        self._kept: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def image(self, number: Any, decode: Callable[[], Any]) -> Any:
        """Return picture `number` (a tensor): the kept one, else what `decode` returns, uint8 [h, w, 3]."""
        kept = tf.numpy_function(self._get, [number], tf.uint8, stateful=True)
        image = tf.cond(
            tf.size(kept) > 0,
            lambda: kept,
            lambda: tf.numpy_function(self._keep, [number, decode()], tf.uint8, stateful=True),
        )
        return tf.ensure_shape(image, [None, None, 3])

    def _get(self, number: int) -> np.ndarray:
        return self._kept.get(int(number), _NOTHING)

    def _keep(self, number: int, image: np.ndarray) -> np.ndarray:
        with self._lock:
            if int(number) not in self._kept and image.nbytes <= self.bytes_left:
                self.bytes_left -= image.nbytes
                self._kept[int(number)] = image.copy()  # what TensorFlow hands over is its own, for now
        return image


def _memory() -> int:
    """Return the bytes of memory that this process may use, or much where that cannot be told."""
    limits = [2**40]
    with suppress(AttributeError, ValueError, OSError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(ValueError, OSError):  # "max", or no such group
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits)
