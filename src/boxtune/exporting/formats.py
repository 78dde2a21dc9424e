"""The formats of `export`: which there are, how each is written, and that each file finds what the checkpoint finds."""

import filecmp
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from boxtune.config import pipeline_pb2
from boxtune.errors import BoxtuneError, ConfigError, did_you_mean
from boxtune.evaluation.exported import (
    CHECKPOINT,
    FLOAT32,
    LABEL_MAP,
    PIPELINE_CONFIG,
    RUNTIMES,
    SAVED_MODEL,
    file_name,
    found_by_exported,
    load_exported,
)
from boxtune.evaluation.found import Found
from boxtune.exporting import onnx, openvino, parity, saved_model, tflite
from boxtune.exporting.about import About
from boxtune.exporting.reference import Reference, calibration_images
from boxtune.exporting.tflite_file import warn_of_edge_tpu
from boxtune.exporting.tflite_graph import INT8, PRECISIONS
from boxtune.models import Detector
from boxtune.runtimes.onnx import run_raw
from boxtune.runtimes.openvino import WEIGHTS

NATIVE, NONE, EFFICIENT = "native", "none", "efficient_nms"

ONNX_FILES = {
    NATIVE: file_name(".onnx"),
    NONE: "model_without_nms.onnx",
    EFFICIENT: "model_efficient_nms.onnx",
}
"""The names of ONNX files by what they end with: ONNX's suppression, none, or TensorRT's plugin."""

CALIBRATION_IMAGES = 100

_WEIGHTS = f"{CHECKPOINT}/ckpt-0.data-00000-of-00001"

_log = logging.getLogger("boxtune")


@dataclass(frozen=True)
class Request:
    """What is to be written."""

    detector: Detector
    """With the weights of a checkpoint."""
    pipeline: pipeline_pb2.TrainEvalPipelineConfig
    about: About
    input_type: str
    """Of the SavedModel: one of its INPUT_TYPES."""
    nms: str = NATIVE
    """How an ONNX file ends: a key of ONNX_FILES."""
    calibration_images: int | None = None
    """Of the records for training, so many are looked at for int8; by default CALIBRATION_IMAGES."""


class Written(NamedTuple):
    """A file, or the folder of a SavedModel, that was written."""

    path: Path
    size: int
    """In bytes."""
    find: Callable[[Reference], list[Found]]
    """What it finds in the images of a reference."""
    expected: Callable[[Reference], list[Found]] = lambda reference: reference.found
    """What it should find in them."""
    note: str = ""
    """To be printed below the comparison."""
    floor: float | None = None
    """The score that its detections exceed, if that is not the configuration's."""


class Format(NamedTuple):
    """A format that models can be exported to."""

    precisions: tuple[str, ...]
    require: Callable[[], None]
    """Raises ConfigError if what writes and checks it is not installed."""
    refuse: Callable[[Detector, pipeline_pb2.DetectionModel], None]
    """Raises ConfigError if it cannot express a detector, whatever its weights."""
    write: Callable[[Path, Path, Request, str], Written]
    """From the folder, one for what is needed in between, what is to be written, and the precision."""


def check(
    formats: Sequence[str],
    precisions: Sequence[str] = (),
    nms: str = NATIVE,
    calibration_images: int | None = None,
    *,
    flag: str = "format",
) -> None:
    """Raise ConfigError for what there is not of these, or what is not installed for it; `flag` names formats."""
    if not formats:
        raise ConfigError(f"no format is given; there are {', '.join(FORMATS)}")
    known_precisions = tuple(parity.BOUNDS)
    for one_flag, value, known in (
        *((flag, one, tuple(FORMATS)) for one in formats),
        *(("precision", one, known_precisions) for one in precisions),
        ("nms", nms, tuple(ONNX_FILES)),
    ):
        if value not in known:
            hint = did_you_mean(value, known)
            raise ConfigError(f'--{one_flag} "{value}" is not one of {", ".join(known)}.{hint}')
    for precision in precisions:
        if not any(precision in FORMATS[name].precisions for name in formats):
            having = [name for name, one in FORMATS.items() if precision in one.precisions]
            raise ConfigError(
                f"--precision {precision}: none of {', '.join(formats)} has it, but {', '.join(having)}: add "
                f"--{flag} {having[0]}"
            )
    if nms != NATIVE and "onnx" not in formats:
        raise ConfigError("--nms and --without_nms are about ONNX files: add --format onnx")
    if calibration_images and INT8 not in precisions:
        raise ConfigError(f"--calibration_images are for {INT8} alone: add --precision {INT8}")
    for name in formats:
        FORMATS[name].require()


def refuse(detector: Detector, model: pipeline_pb2.DetectionModel, formats: Sequence[str]) -> None:
    """Raise ConfigError if one of the formats cannot express a detector: better before its training than after."""
    for name in formats:
        FORMATS[name].refuse(detector, model)


def write(folder: Path, request: Request, formats: Sequence[str], precisions: Sequence[str]) -> str:
    """Write a detector in some formats, each in those of the precisions that it has, or else as float32.

    Each is compared with the detector. Returns that comparison as a table to be printed, and writes it as JSON.

    Raises:
        ConfigError: if a format cannot express the detector.
        CheckpointError: if a file does not find what the detector finds.
    """
    reference = Reference(request.detector, request.pipeline, request.about.label_map)
    compared, notes = [], []
    chosen = _chosen(formats, precisions)
    if any(precision == INT8 for _, precision in chosen):
        _calibration(request)  # better now than after other files
    with tempfile.TemporaryDirectory() as scratch:
        for name, precision in chosen:
            written = FORMATS[name].write(folder, Path(scratch), request, precision)
            floor = request.about.score_floor if written.floor is None else written.floor
            compared.append(_compared(written, precision, reference, floor))
            notes.append(written.note)
    parity.require(compared)
    parity.write(compared, folder)
    return "\n".join([parity.table(compared), *filter(None, notes)])


def _chosen(formats: Sequence[str], precisions: Sequence[str]) -> list[tuple[str, str]]:
    asked = [*dict.fromkeys(precisions)]
    return [
        (name, precision)
        for name in dict.fromkeys(formats)
        for precision in [one for one in asked if one in FORMATS[name].precisions] or [FLOAT32]
    ]


def _compared(written: Written, precision: str, reference: Reference, floor: float) -> parity.Parity:
    found, expected = written.find(reference), written.expected(reference)
    name = written.path.name
    compared = parity.compare(
        *(expected, found),
        file=name,
        size=written.size,
        of=reference.of,
        precision=precision,
        score_floor=floor,
    )
    if compared.differs and compared.is_exact and expected is reference.found:
        return replace(compared, by_ties=reference.by_ties(found, compared))
    return compared


def _found_by(path: Path, reference: Reference) -> list[Found]:
    return list(found_by_exported(load_exported(path), reference.images, batch_size=1))


def _write_saved_model(folder: Path, scratch: Path, request: Request, precision: str) -> Written:
    path = folder / SAVED_MODEL
    saved_model.write(path, request.detector, request.pipeline.model, request.input_type)

    def find(reference: Reference) -> list[Found]:
        model = saved_model.ByImages(path, request.input_type)
        return list(found_by_exported(model, reference.images, batch_size=1))

    return Written(path, sum(file.stat().st_size for file in path.rglob("*")), find)


def _write_onnx(folder: Path, scratch: Path, request: Request, precision: str) -> Written:
    path = folder / ONNX_FILES[request.nms]
    detector, section = request.detector, request.pipeline.model
    if request.nms == NATIVE:
        onnx.write(path, detector, section, request.about)
        return Written(path, path.stat().st_size, partial(_found_by, path))
    onnx.write_raw(path, detector, section, request.about)
    run, note = run_raw(path), ""
    if request.nms == EFFICIENT:
        onnx.append_plugin(path, detector)
        note = "  What is before EfficientNMS_TRT was compared; that plugin runs in TensorRT alone, and was not run."
    return Written(
        path,
        path.stat().st_size,
        lambda reference: reference.found_without_window(run),
        lambda reference: reference.found_without_window(),
        note,
    )


def _write_openvino(folder: Path, scratch: Path, request: Request, precision: str) -> Written:
    path, onnx_file = folder / file_name(".xml", precision), scratch / ONNX_FILES[NATIVE]
    if not onnx_file.exists():
        onnx.write(onnx_file, request.detector, request.pipeline.model, request.about)
    images = _calibration(request) if precision == INT8 else ()
    openvino.write(path, onnx_file, request.about.metadata(), precision, images)
    return Written(path, openvino.size(path), partial(_found_by, path))


def _write_tflite(folder: Path, scratch: Path, request: Request, precision: str) -> Written:
    path = folder / file_name(".tflite", precision)
    images = _calibration(request) if precision == INT8 else None
    tflite.write(path, request.detector, request.pipeline.model, request.about, precision, images)
    if precision == INT8:
        warn_of_edge_tpu(path)
    floor = None if request.detector.suppress is None else tflite.score_floor(request.detector)
    return Written(path, path.stat().st_size, partial(_found_by, path), floor=floor)


def _calibration(request: Request) -> Iterator[npt.NDArray[np.uint8]]:
    try:
        count = request.calibration_images or CALIBRATION_IMAGES
        return calibration_images(request.pipeline, request.about.label_map, count)
    except BoxtuneError as error:
        raise ConfigError(f"--precision int8 is calibrated on the records for training: {error}") from error


FORMATS = {
    "saved_model": Format((FLOAT32,), lambda: None, lambda detector, model: None, _write_saved_model),
    "onnx": Format((FLOAT32,), onnx.require_onnx, onnx.refuse, _write_onnx),
    "tflite": Format(PRECISIONS, tflite.require_tflite, tflite.refuse, _write_tflite),
    "openvino": Format(openvino.PRECISIONS, openvino.require_openvino, onnx.refuse, _write_openvino),
}
"""By their names."""


def remove_others(folder: Path, new: Path) -> None:
    """Remove what an earlier export wrote to a folder in formats that a new one does not have.

    What is of the same weights, configuration and classes stays: formats may be written one after the other.
    """
    own = (_WEIGHTS, PIPELINE_CONFIG, LABEL_MAP)
    if all(_same(folder / name, new / name) for name in own):
        parity.keep(folder, new)
        return
    names = {file_name(suffix, one) for suffix, one in product((*RUNTIMES, WEIGHTS), parity.BOUNDS)}
    for name in sorted({SAVED_MODEL, *names, *ONNX_FILES.values(), parity.PARITY}):
        path = folder / name
        if path.exists() and not (new / name).exists():
            _log.warning("%s: removed, since it is of another checkpoint than what is exported now", path)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _same(one: Path, other: Path) -> bool:
    if one.is_file() and other.is_file():
        return filecmp.cmp(one, other, shallow=False)
    return not one.exists() and not other.exists()
