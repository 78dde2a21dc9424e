"""Running an ONNX file that `boxtune export` wrote, by onnxruntime alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boxtune.data.files import require_files
from boxtune.errors import CheckpointError, ConfigError, DataError, printable
from boxtune.runtimes.model_file import OUTPUTS, ModelFile, first_line

_MOST_BYTES = (1 << 31) - 1  # of a file of Protocol Buffers
_IMAGES = ("tensor(uint8)", 4)
_ERRORS_ONLY = 3


class OnnxModel(ModelFile):
    """An ONNX file that is loaded."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Load a file, to run in so many threads (by default as many as onnxruntime takes by itself).

        Raises:
            BoxtuneError: if it cannot be read, is damaged, or is no model that takes images and returns detections.
            ConfigError: if onnxruntime is not installed.
        """
        self.path = path
        self._session = _session(path, threads)
        self._input = _image_input(path, self._session)
        self._names = [output.name for output in self._session.get_outputs()]
        self.largest_batch = _largest_batch(self._session)
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)

    def __call__(self, images: npt.NDArray[np.uint8]) -> dict[str, Any]:
        """Return the outputs by their names. Raises CheckpointError if the model fails."""
        try:
            values = self._session.run(self._names, {self._input: images})
        except Exception as error:  # onnxruntime's own kinds of errors have no common class
            raise CheckpointError(f"the model fails: {first_line(error)}") from error
        return dict(zip(self._names, values, strict=True))


def run_raw(path: Path) -> Callable[[Any], tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Return the function of a file without suppression: from images float32 [b, h, w, 3] to boxes and scores."""
    session = _session(path)
    names = ["raw_detection_boxes", "raw_detection_scores"]
    (images,) = session.get_inputs()
    return lambda values: tuple(session.run(names, {images.name: np.asarray(values)}))


def _session(path: Path, threads: int | None = None) -> Any:
    """Return onnxruntime's session of a file."""
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f'{path}: an ONNX file needs onnxruntime, which cannot be imported: pip install "boxtune[onnx]", or '
            "onnxruntime alone"
        ) from error
    require_files([path])
    if path.stat().st_size > _MOST_BYTES:
        raise CheckpointError(f"{path}: has {path.stat().st_size:,} bytes, and no ONNX file 2 GiB or more")
    try:
        # Of its bytes, so that a file of unknown origin cannot name others that are read with it.
        return session_of(path.read_bytes(), threads)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    except Exception as error:
        raise CheckpointError(
            f"{path}: is damaged, or no ONNX file that can be run: {first_line(error)}"
        ) from error


def session_of(content: bytes, threads: int | None = None) -> Any:
    """Return onnxruntime's session of the bytes of a file, on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads or 0  # 0: as many as there are cores
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _image_input(path: Path, session: Any) -> str:
    """Return the name of the input of images; raise CheckpointError unless a model finds objects in images."""
    inputs = session.get_inputs()
    takes = [(one.type, len(one.shape)) for one in inputs]
    if takes != [_IMAGES] or inputs[0].shape[3] != 3:
        shown = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
        raise CheckpointError(
            f"{path}: takes {printable(shown)}, not images uint8 [batch, height, width, 3]: export with `boxtune "
            "export --format onnx`, without --without_nms"
        )
    missing = sorted({*OUTPUTS} - {output.name for output in session.get_outputs()})
    if missing:
        raise CheckpointError(
            f"{path}: returns no {', '.join(missing)}: export with `boxtune export --format onnx`, without "
            "--without_nms"
        )
    return str(inputs[0].name)


def _largest_batch(session: Any) -> int | None:
    """Return how many images a model takes at a time, None for any number."""
    size = session.get_inputs()[0].shape[0]
    return size if isinstance(size, int) else None
