"""The base of tests that compute with tensors: the same function runs as a graph, on a CPU or a TPU."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from boxtune.errors import BoxtuneError
from object_detection.utils import tf_version

flags = tf.app.flags
FLAGS = flags.FLAGS


class TensorFlow1Error(BoxtuneError, ValueError):
    """Something that only TensorFlow 1 has."""


class TestCase(tf.test.TestCase):
    """A test whose `execute` runs a function of tensors and returns arrays."""

    def maybe_extract_single_output(self, outputs: Any) -> Any:
        """Return tensors, or a list of them, as arrays; a list of one as that one."""
        if tf.is_tensor(outputs):
            return outputs.numpy()
        if not isinstance(outputs, list | tuple):
            return outputs
        if outputs and tf.is_tensor(outputs[0]):
            outputs = [output.numpy() for output in outputs]
        return outputs[0] if len(outputs) == 1 else outputs

    def has_tpu(self) -> bool:
        """Return whether there is a TPU."""
        return bool(tf.config.list_logical_devices("TPU"))

    def is_tf2(self) -> bool:
        """Return whether TensorFlow behaves as version 2."""
        return tf_version.is_tf2()

    def execute_tpu_tf1(
        self, compute_fn: Callable[..., Any], inputs: Sequence[Any], graph: Any = None
    ) -> Any:
        """Refuse: raise TensorFlow1Error."""
        raise TensorFlow1Error("Sessions of TensorFlow 1 are not supported; call execute.")

    def execute_cpu_tf1(
        self, compute_fn: Callable[..., Any], inputs: Sequence[Any], graph: Any = None
    ) -> Any:
        """Refuse: raise TensorFlow1Error."""
        raise TensorFlow1Error("Sessions of TensorFlow 1 are not supported; call execute.")

    def execute_tpu_tf2(self, compute_fn: Callable[..., Any], inputs: Sequence[Any]) -> Any:
        """Return what a function gives for arrays, computed by a TPU."""
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver("")
        strategy = tf.distribute.TPUStrategy(resolver)
        function = tf.function(compute_fn)
        outputs = strategy.run(function, args=[tf.constant(value) for value in inputs])
        return self.maybe_extract_single_output(outputs)

    def execute_cpu_tf2(self, compute_fn: Callable[..., Any], inputs: Sequence[Any]) -> Any:
        """Return what a function gives for arrays, computed by the CPU."""
        with tf.device("CPU"):
            outputs = tf.function(compute_fn)(*(tf.constant(value) for value in inputs))
        return self.maybe_extract_single_output(outputs)

    def execute_cpu(self, compute_fn: Callable[..., Any], inputs: Sequence[Any], graph: Any = None) -> Any:
        """Return the same as `execute_cpu_tf2`."""
        return self.execute_cpu_tf2(compute_fn, inputs)

    def execute_tpu(self, compute_fn: Callable[..., Any], inputs: Sequence[Any], graph: Any = None) -> Any:
        """Return the same as `execute_tpu_tf2`, for which there has to be a TPU."""
        if not self.has_tpu():
            raise RuntimeError("No TPU was found.")
        return self.execute_tpu_tf2(compute_fn, inputs)

    def execute_tf2(self, compute_fn: Callable[..., Any], inputs: Sequence[Any]) -> Any:
        """Return what a function gives for arrays, computed by a TPU if there is one, else by the CPU."""
        run = self.execute_tpu_tf2 if self.has_tpu() else self.execute_cpu_tf2
        return run(compute_fn, inputs)

    def execute_tf1(self, compute_fn: Callable[..., Any], inputs: Sequence[Any], graph: Any = None) -> Any:
        """Refuse: raise TensorFlow1Error."""
        return self.execute_cpu_tf1(compute_fn, inputs, graph)

    def execute(self, compute_fn: Callable[..., Any], inputs: Sequence[Any], graph: Any = None) -> Any:
        """Return the same as `execute_tf2`."""
        return self.execute_tf2(compute_fn, inputs)
