"""The differences between Keras' backends, and what needs TensorFlow.

Under every backend, TensorFlow reads data and writes checkpoints and TensorBoard; the backend computes the network.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from boxtune.config import pipeline_pb2
from boxtune.errors import ConfigError
from boxtune.silence_stderr import silenced_stderr

BACKENDS = ("tensorflow", "jax", "torch")
"""Those that can train and evaluate, by their names in the environment variable KERAS_BACKEND."""

_NVIDIA_DEVICES = ("/dev/nvidiactl", "/dev/dxg")
"""One of these is there where the driver of a GPU is: on Linux, and on Linux within Windows."""


def prepare_backend() -> None:
    """Leave the devices to the backend: a backend other than TensorFlow shares none with it. Call this before any work.

    Raises:
        ConfigError: if Keras runs on a backend that cannot train.
    """
    backend = keras.backend.backend()
    if backend not in BACKENDS:
        raise ConfigError(
            f"KERAS_BACKEND={backend} cannot train or evaluate a detector; set it to one of {', '.join(BACKENDS)}"
        )
    if backend != "tensorflow":
        tf.config.set_visible_devices([], "GPU")
    elif not _gpus():
        # It finds the layout of images that a GPU prefers; on a CPU it only takes seconds at the start.
        tf.config.optimizer.set_experimental_options({"layout_optimizer": False})


def _gpus() -> list[Any]:
    """Return TensorFlow's GPUs. The first search complains of their driver, which is of interest only where one is."""
    with nullcontext() if has_nvidia_driver() else silenced_stderr():
        return tf.config.list_physical_devices("GPU")


def has_nvidia_driver() -> bool:
    """Say whether the driver of a GPU of NVIDIA is there, on Linux."""
    return any(map(os.path.exists, _NVIDIA_DEVICES))


def gpus() -> list[str]:
    """Return the GPUs that the backend sees, by their names."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        details = map(tf.config.experimental.get_device_details, _gpus())
        return [one.get("device_name", "GPU") for one in details]
    if backend == "jax":
        import jax

        return [one.device_kind for one in jax.devices() if one.platform == "gpu"]
    import torch

    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


def require_tensorflow(what: str) -> None:
    """Refuse `what`, which needs TensorFlow, under another backend.

    Raises:
        ConfigError: with the way out.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ConfigError(
            f"{what} needs TensorFlow, but Keras runs on {backend}: run this command with "
            "KERAS_BACKEND=tensorflow. Checkpoints are the same files under every backend"
        )


def has_gpu() -> bool:
    """Say whether the backend computes on a GPU."""
    return bool(gpus())


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error of any backend means that memory ran out."""
    if isinstance(error, MemoryError | tf.errors.ResourceExhaustedError):
        return True
    # Those of JAX and PyTorch, which need not be installed.
    return type(error).__name__ == "OutOfMemoryError" or "RESOURCE_EXHAUSTED" in str(error)


def row_multiple(reader: pipeline_pb2.InputReader) -> int:
    """Return the multiple to which the number of objects in a batch is rounded up.

    For JAX, which compiles each shape anew, it is `max_number_of_boxes`: then most batches have one shape, and one with
    more objects costs a compilation, but loses no object.
    """
    return max(reader.max_number_of_boxes, 1) if keras.backend.backend() == "jax" else 1


def compiled(function: Callable[..., Any], variables: Sequence[keras.Variable] = ()) -> Callable[..., Any]:
    """Return `function` compiled by the backend, without gradients.

    It may read and assign `variables`, and no others. It takes tensors of any library, or structures of them, and
    returns a structure of the backend's tensors.
    """
    if keras.backend.backend() == "tensorflow":
        return tf.function(function, reduce_retracing=True, jit_compile=False, autograph=False)
    return _jitted(function, variables) if keras.backend.backend() == "jax" else _without_gradients(function)


def _jitted(function: Callable[..., Any], variables: Sequence[keras.Variable]) -> Callable[..., Any]:
    import jax

    @jax.jit
    def pure(values: list[Any], arguments: tuple[Any, ...]) -> tuple[Any, dict[int, Any]]:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))) as scope:
            result = function(*arguments)
        after = [scope.get_current_value(variable) for variable in variables]
        assigned = {i: new for i, (new, old) in enumerate(zip(after, values, strict=True)) if new is not old}
        return result, assigned

    def run(*arguments: Any) -> Any:
        values = [variable.value for variable in variables]
        result, assigned = pure(values, keras.tree.map_structure(np.asarray, arguments))
        for i, value in assigned.items():
            variables[i].assign(value)
        return result

    return run


def _without_gradients(function: Callable[..., Any]) -> Callable[..., Any]:
    import torch

    def run(*arguments: Any) -> Any:
        with torch.no_grad():
            return function(*keras.tree.map_structure(keras.ops.convert_to_tensor, arguments))

    return run
