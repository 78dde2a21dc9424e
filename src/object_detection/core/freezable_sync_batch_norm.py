"""Batch normalization over all devices that may be frozen when it is made."""

from typing import Any

from object_detection.core.freezable_batch_norm import FreezableBatchNorm


class FreezableSyncBatchNorm(FreezableBatchNorm):
    """The same with statistics over all devices of a `tf.distribute` strategy."""

    def __init__(self, training: bool | None = None, **kwargs: Any):
        super().__init__(training, synchronized=True, **kwargs)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Normalize `inputs`; the layer's own `training`, where it was given as false, comes first."""
        return super().call(inputs, training)
