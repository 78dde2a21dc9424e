"""Running a SavedModel, of boxtune or of the API, by TensorFlow."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boxtune.data.files import require_files
from boxtune.errors import CheckpointError
from boxtune.runtimes.model_file import ModelFile, first_line

GRAPH = "saved_model.pb"
"""In the folder of every SavedModel."""


class SavedModel(ModelFile):
    """A SavedModel that is loaded: the outputs of its signature are returned as they are.

    Attributes:
        signature: TensorFlow's function of it.
    """

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        """Load a folder.

        With `threads` TensorFlow computes in so many of them, in all of this process; that cannot be changed once it
        has computed anything. By default it takes as many as it likes.

        Raises:
            BoxtuneError: if it is damaged, or takes anything but images uint8 [b, h, w, 3] of any size.
        """
        self.path = folder
        require_files(path for path in folder.rglob("*") if not path.is_dir())
        import tensorflow as tf

        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        try:
            self._loaded = tf.saved_model.load(str(folder))  # it holds the variables
        except Exception as error:  # TensorFlow raises errors of any kind for a damaged model
            raise CheckpointError(f"{folder}: cannot be loaded: {error}") from error
        signature: Any = getattr(self._loaded, "signatures", {}).get("serving_default")
        if signature is None:
            raise CheckpointError(
                f"{folder}: has no signature serving_default: it is not one of the API's exporters"
            )
        self.signature = signature
        self.largest_batch = _largest_batch(folder, list(signature.structured_input_signature[1].values()))

    def __call__(self, images: npt.NDArray[np.uint8]) -> dict[str, Any]:
        """Return the outputs by their names. Raises CheckpointError if the model fails."""
        import tensorflow as tf

        try:
            return dict(self.signature(tf.constant(images)))
        except tf.errors.OpError as error:
            raise CheckpointError(f"the model fails: {first_line(error)}") from error


def _largest_batch(folder: Path, specs: list[Any]) -> int | None:
    """Return 1 for a model that takes one image at a time, else None.

    Raises CheckpointError unless it takes images uint8 of any size.
    """
    dtypes = [spec.dtype.name for spec in specs]
    if dtypes != ["uint8"]:
        raise CheckpointError(
            f"{folder}: takes {', '.join(dtypes)}; export it with --input_type image_tensor"
        )
    shape = specs[0].shape
    if not all(shape.is_compatible_with([1, side, side + 1, 3]) for side in (1, 2)):
        raise CheckpointError(
            f"{folder}: takes images of {shape} only, not [1, height, width, 3] of any size"
        )
    return None if shape.is_compatible_with([2, 1, 2, 3]) else 1
