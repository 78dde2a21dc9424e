"""A detector as OpenVINO's IR, made of its ONNX file: `model.xml`, and its weights in `model.bin`."""

import importlib
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boxtune.errors import ConfigError, printable
from boxtune.exporting import traced
from boxtune.exporting.onnx import require_onnx
from boxtune.runtimes.openvino import WEIGHTS, openvino_core, quiet_openvino

PRECISIONS: tuple[str, ...] = ("float32", "float16", "int8")

_EXTRA = 'pip install "boxtune[openvino]"'
_MODULES = ("openvino", "nncf")


def require_openvino() -> None:
    """Raise ConfigError, with what to install, unless all that writes and checks IR is there."""
    require_onnx("openvino")
    for name in _MODULES:
        try:
            quiet_openvino()
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(
                f"the format openvino needs {name}, which cannot be imported: {_EXTRA}"
            ) from error


def write(
    path: Path,
    onnx_file: Path,
    metadata: dict[str, str],
    precision: str,
    images: Iterable[npt.NDArray[np.uint8]] = (),
) -> None:
    """Write what an ONNX file of `onnx.write` holds as IR.

    Args:
        path: of the .xml; the weights lie beside it.
        onnx_file: which has images uint8 [batch, height, width, 3] in.
        metadata: what the file says of itself.
        precision: one of PRECISIONS. "float16" are the weights in the file; "int8" the convolutions, too.
        images: uint8 [h, w, 3], to calibrate int8 on.

    Raises:
        ConfigError: if OpenVINO cannot convert it, or there are no images to calibrate on.
    """
    openvino = quiet_openvino()
    try:
        model = openvino_core().read_model(str(onnx_file))
    except Exception as error:  # of any kind, for whatever it cannot convert
        reason = str(error).strip().rpartition("\n")[2]  # where it sums up what it cannot express
        raise ConfigError(f"--format openvino: the model cannot be converted: {printable(reason)}") from error
    if precision == "int8":
        model = _quantized(model, list(images))
    for name, value in metadata.items():
        model.set_rt_info(value, name)
    openvino.save_model(model, str(path), compress_to_fp16=precision == "float16")


def _quantized(model: Any, images: list[npt.NDArray[np.uint8]]) -> Any:
    """Return a model whose network computes in int8; what suppresses stays as it is."""
    import nncf

    if not images:
        raise ConfigError(
            "--precision int8 needs images to calibrate on, and the records for training have none"
        )
    dataset = nncf.Dataset([image[None] for image in images])
    with traced.quiet("nncf"), redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # bars of progress
        # Symmetric, as it is by default: OpenVINO 2026.4 crashes on processors with AMX where activations are not.
        return nncf.quantize(model, dataset, subset_size=len(images))


def size(path: Path) -> int:
    """Return the bytes of an IR, whose .xml this is."""
    return sum(file.stat().st_size for file in (path, path.with_suffix(WEIGHTS)))
