"""Running OpenVINO's IR that `boxtune export` wrote, by OpenVINO alone."""

import importlib
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boxtune.data.files import require_files
from boxtune.errors import CheckpointError, ConfigError, DataError, printable
from boxtune.runtimes.model_file import OUTPUTS, ModelFile, first_line

WEIGHTS = ".bin"

_PREFIX = "boxtune."
_EXACT = {
    "INFERENCE_PRECISION_HINT": "f32"
}  # else bfloat16 where the processor has it: scores differ by 0.03
_MOST_XML = 1 << 28
_UINT8 = "u8"


class OpenVINOModel(ModelFile):
    """An IR that is loaded, of an .xml and the .bin beside it."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Load an .xml; `threads` are those that it may use, all by default.

        Raises:
            BoxtuneError: if it cannot be read, is damaged, or is no model that takes images and returns detections.
            ConfigError: if openvino is not installed.
        """
        self.path = path
        try:
            core = openvino_core()
        except ImportError as error:
            raise ConfigError(
                f'{path}: OpenVINO\'s IR needs openvino, which cannot be imported: pip install "boxtune[openvino]", '
                "or openvino alone"
            ) from error
        weights = path.with_suffix(WEIGHTS)
        require_files([path])
        if not weights.exists():
            raise CheckpointError(f"{path}: its weights, {weights.name}, are not beside it: copy both files")
        require_files([weights])
        if path.stat().st_size > _MOST_XML:
            raise CheckpointError(f"{path}: has {path.stat().st_size:,} bytes, too many for a description")
        try:
            self._bytes = [file.read_bytes() for file in (path, weights)]  # OpenVINO goes on reading them
        except OSError as error:
            raise DataError(f"{error.filename} cannot be read: {error.strerror}.") from error
        try:
            model = core.read_model(
                *self._bytes
            )  # of bytes, so that a file of unknown origin can name no others
            _check(path, model)
            self.metadata = {
                name: str(model.get_rt_info(name).value) for name in model.rt_info if name.startswith(_PREFIX)
            }
            self._run = core.compile_model(model, "CPU", options_of(threads))
        except RuntimeError as error:
            raise CheckpointError(
                f"{path}: is damaged, or no IR of OpenVINO that can be run: {first_line(error)}"
            ) from error

    def __call__(self, images: npt.NDArray[np.uint8]) -> dict[str, Any]:
        """Return the outputs by their names. Raises CheckpointError if the model fails."""
        try:
            found = self._run(images)
        except RuntimeError as error:
            raise CheckpointError(f"the model fails: {first_line(error)}") from error
        return {name: found[output] for output in self._run.outputs for name in output.get_names()}


@cache
def openvino_core() -> Any:
    """Return OpenVINO's Core, one for all models of a process.

    Each has the process handle signals on a stack of its own, for AMX. Where two of them end in the order in which
    they began, that stack is gone, and the next Ctrl-C crashes the process (OpenVINO 2026.4).
    """
    core = quiet_openvino().Core()
    core.get_property("CPU", "FULL_DEVICE_NAME")  # loads what computes on CPUs, and that stack
    return core


def options_of(threads: int | None) -> dict[str, Any]:
    """Return how models are compiled: to compute exactly, in so many threads, or in all."""
    return _EXACT | ({"INFERENCE_NUM_THREADS": threads} if threads else {})


def quiet_openvino() -> Any:
    """Return the module of OpenVINO, which sends nothing about its use over the network, as it would by default.

    That is done by forking, which processes in which TensorFlow runs do not survive.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it cannot be imported then
    os.environ.setdefault("NNCF_CI", "1")  # the same for nncf
    return importlib.import_module("openvino")


def _check(path: Path, model: Any) -> None:
    """Raise CheckpointError unless a model finds objects in images."""
    takes = [(one.get_element_type().get_type_name(), len(one.get_partial_shape())) for one in model.inputs]
    if takes != [(_UINT8, 4)]:
        shown = printable(", ".join(f"{dtype} of {rank} dimensions" for dtype, rank in takes) or "nothing")
        raise CheckpointError(
            f"{path}: takes {shown}, not images uint8 [batch, height, width, 3]: export with `boxtune "
            "export --format openvino`"
        )
    names = {name for one in model.outputs for name in one.get_names()}
    missing = sorted({*OUTPUTS} - names)
    if missing:
        raise CheckpointError(
            f"{path}: returns no {', '.join(missing)}: export with `boxtune export --format openvino`"
        )
