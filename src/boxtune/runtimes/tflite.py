"""Running a TensorFlow Lite file by LiteRT alone: one that `boxtune export` wrote, or another program's."""

import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boxtune.data.files import require_files
from boxtune.errors import CheckpointError, ConfigError, DataError, printable
from boxtune.runtimes.model_file import BOXES, COUNT, INPUT_IMAGES, NUMBERS, SCORES, ModelFile, first_line
from boxtune.runtimes.preparing import MAX_SIDE, Preparation, Triple, preparation_of
from boxtune.runtimes.tflite_schema import IDENTIFIER, Schema, normalization
from boxtune.silence_stderr import silenced_stderr

TO_ONE: tuple[Triple, Triple] = ((2 / 255,) * 3, (1.0,) * 3)
"""Scale and shift of pixels to [-1, 1], which a file of floats takes unless it says something else."""

_MOST_BYTES = (1 << 31) - 1  # of a file of flatbuffers
_MOST_ELEMENTS = 1 << 28  # of an output
_IDENTIFIER_AT = 4
_BY_NAME = {1: SCORES, 3: BOXES, 0: COUNT, 2: NUMBERS}
"""What the outputs StatefulPartitionedCall:N of the API's exporter are."""


class TFLiteModel(ModelFile):
    """A TensorFlow Lite file that is loaded. It looks at one image at a time."""

    largest_batch = 1

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Load a file, to be run in so many threads, by default as many as LiteRT takes by itself.

        Raises:
            BoxtuneError: if it cannot be read, is damaged, or is no model that takes an image and returns detections.
            ConfigError: if LiteRT is not installed.
        """
        self.path = path
        content = _content(path)
        schema = Schema(content)
        self._interpreter = _interpreter(path, schema, threads)
        self._lock = threading.Lock()
        self.metadata = {
            name: value.decode(errors="replace")
            for name, value in schema.metadata.items()
            if name.startswith("boxtune.")
        }
        try:
            inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        except ValueError as error:
            raise CheckpointError(f"{path}: is damaged: {first_line(error)}") from error
        self._image = _image_input(path, inputs)
        self._prepare = self._preparation(schema)
        self._outputs = _outputs(path, outputs, schema)
        self._drops_empty = schema.post_process_outputs is not None
        with silenced_stderr():
            self._allocate()

    def __call__(self, images: npt.NDArray[np.uint8]) -> dict[str, Any]:
        """Return the outputs by their names. Raises CheckpointError if the model fails."""
        found = [self._find(image) for image in images]
        return {name: np.stack([one[name] for one in found]) for name in found[0]}

    def _allocate(self) -> None:
        try:
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError, MemoryError) as error:
            raise CheckpointError(f"{self.path}: cannot be run: {first_line(error)}") from error

    def _preparation(self, schema: Schema) -> Preparation:
        """Return how images are prepared: as boxtune's metadata say, or the standard ones, or to [-1, 1]."""
        height, width = (int(side) for side in self._image["shape"][1:3])
        own = self.metadata.get(INPUT_IMAGES)
        try:
            if own is not None:
                prepare = preparation_of(own)
                if prepare.size != (height, width):
                    raise ValueError(f"the input is {height} x {width}, not {prepare.size}")
                return prepare
            scale, shift = _scale_and_shift(normalization(schema.metadata))
        except ValueError as error:
            fault = f"its metadata {INPUT_IMAGES if own else 'of the input'} are damaged"
            raise CheckpointError(f"{self.path}: {fault}: {printable(str(error))}") from error
        return Preparation((height, width), scale=scale, shift=shift)

    def input_of(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Return the input [1, h, w, 3] that an image [h, w, 3] of any size becomes."""
        return self._as_input(self._prepare(image)[0])[None]

    def _find(self, image: npt.NDArray[np.uint8]) -> dict[str, Any]:
        pixels, extent = self._prepare(image)
        values = self._as_input(pixels)
        with self._lock:
            try:
                self._interpreter.set_tensor(self._image["index"], values[None])
                self._interpreter.invoke()
                found = {
                    name: _as_floats(self._interpreter.get_tensor(one["index"]), one)
                    for name, one in self._outputs.items()
                }
            except (RuntimeError, ValueError) as error:
                raise CheckpointError(f"the model fails: {first_line(error)}") from error
        return self._in_image(found, extent)

    def _as_input(self, pixels: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Return pixels [h, w, 3] as the input's numbers.

        Bytes are pixels, rounded: that is what programs feed such files with.
        """
        dtype = self._image["dtype"]
        if dtype == np.float32:
            return self._prepare.normalized(pixels)
        signed = 128 if dtype == np.int8 else 0
        return (np.rint(pixels) - signed).astype(dtype)

    def _in_image(self, found: dict[str, Any], extent: npt.NDArray[np.float32]) -> dict[str, Any]:
        """Return the outputs for an image that is the part `extent` of the input, as a SavedModel has them."""
        number = found[COUNT].reshape(-1)[0]
        scores = found[SCORES].reshape(-1)
        if not (math.isfinite(number) and 0 <= number <= len(scores)):
            raise CheckpointError(f"the model returns {COUNT} {number} of {len(scores)}")
        count = int(number)
        boxes = np.clip(found[BOXES].reshape(-1, 4)[:count], 0, np.tile(extent, 2)) / np.tile(extent, 2)
        numbers, scores = found[NUMBERS].reshape(-1)[:count], scores[:count]
        if self._drops_empty:
            kept = ~(
                (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) <= 0
            )  # what is no number stays, and is noticed
            boxes, numbers, scores = boxes[kept], numbers[kept], scores[kept]
        most = found[SCORES].size
        return {
            COUNT: np.float32(len(scores)),
            BOXES: _filled(boxes, most),
            SCORES: _filled(scores, most),
            NUMBERS: _filled(numbers + 1, most),
        }


def _filled(rows: npt.NDArray[Any], count: int) -> npt.NDArray[np.float32]:
    """Return rows float32 [count, ...], the last of which are 0."""
    filled = np.zeros([count, *rows.shape[1:]], np.float32)
    filled[: len(rows)] = rows
    return filled


def _content(path: Path) -> bytes:
    """Return the bytes of a file that may be one of TensorFlow Lite."""
    require_files([path])
    if path.stat().st_size > _MOST_BYTES:
        raise CheckpointError(
            f"{path}: has {path.stat().st_size:,} bytes, and no TensorFlow Lite file 2 GiB or more"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if content[_IDENTIFIER_AT : _IDENTIFIER_AT + len(IDENTIFIER)] != IDENTIFIER:
        raise CheckpointError(
            f"{path}: is no TensorFlow Lite file, or a damaged one: it does not begin as one"
        )
    return content


def _interpreter(path: Path, schema: Schema, threads: int | None) -> Any:
    """Return LiteRT's interpreter of a file, which verifies all offsets in it."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ConfigError(
            f'{path}: a TensorFlow Lite file needs LiteRT, which cannot be imported: pip install "boxtune[tflite]", or '
            "ai-edge-litert alone"
        ) from error
    try:
        schema.check()
    except ValueError as error:
        raise CheckpointError(f"{path}: is damaged: {error}") from error
    try:
        with silenced_stderr():
            # Of its bytes: those are verified, and a file that changes meanwhile does no harm.
            return Interpreter(model_content=schema.content, num_threads=threads)
    except (RuntimeError, ValueError, MemoryError) as error:
        raise CheckpointError(
            f"{path}: is damaged, or no TensorFlow Lite file that can be run: {first_line(error)}"
        ) from error


def _image_input(path: Path, inputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the interpreter says of the image; raise CheckpointError unless one of fixed size is the input."""
    shown = ", ".join(f"{one['dtype'].__name__} {one['shape_signature'].tolist()}" for one in inputs)
    fits = len(inputs) == 1 and inputs[0]["dtype"] in (np.float32, np.uint8, np.int8)
    if fits:
        shape = inputs[0]["shape_signature"].tolist()
        fits = (
            len(shape) == 4 and (shape[0], shape[3]) == (1, 3) and all(0 < n <= MAX_SIDE for n in shape[1:3])
        )
    if not fits:
        raise CheckpointError(f"{path}: takes {shown}, not one image of fixed size, [1, height, width, 3]")
    return inputs[0]


def _outputs(path: Path, details: Sequence[dict[str, Any]], schema: Schema) -> dict[str, dict[str, Any]]:
    """Return what the interpreter says of the four outputs, by their names in the API.

    The operator at the end of a file says which is which; without it, their names do.
    """
    found: dict[str, dict[str, Any]] = {}
    if (tensors := schema.post_process_outputs) and len(tensors) == 4:
        names = dict(zip(tensors, (BOXES, NUMBERS, SCORES, COUNT), strict=True))
        found = {names[one["index"]]: one for one in details if one["index"] in names}
    else:
        for one in details:
            call, _, number = one["name"].partition(":")
            if call == "StatefulPartitionedCall" and number.isdecimal() and int(number) in _BY_NAME:
                found[_BY_NAME[int(number)]] = one
    if len(found) != 4 or len(details) != 4:
        raise CheckpointError(
            f"{path}: has {len(details)} outputs, not boxes, classes, scores and count as detectors have that boxtune "
            "or the Object Detection API exported"
        )
    if any(math.prod(map(int, one["shape"])) > _MOST_ELEMENTS for one in details):
        raise CheckpointError(f"{path}: is damaged: its outputs are larger than any detector's")
    return found


def _scale_and_shift(normalization: tuple[Sequence[float], Sequence[float]] | None) -> tuple[Triple, Triple]:
    """Return the scale and shift of pixels for each channel, given the mean and deviation of the standard metadata."""
    if normalization is None:
        return TO_ONE
    means, deviations = (list(values) * (3 // max(len(values), 1)) for values in normalization)
    if not len(means) == len(deviations) == 3 or not all(deviations) or not all(map(math.isfinite, means)):
        raise ValueError("mean and deviation are no numbers of one or three channels")
    pairs = list(zip(means, deviations, strict=True))
    (a, b, c), (d, e, f) = (
        [1 / deviation for _, deviation in pairs],
        [mean / deviation for mean, deviation in pairs],
    )
    return (a, b, c), (d, e, f)


def _as_floats(values: npt.NDArray[Any], details: dict[str, Any]) -> npt.NDArray[np.float32]:
    """Return an output's numbers, which may be quantized."""
    if values.dtype == np.float32:
        return values
    scale, zero = details["quantization"]
    return ((values.astype(np.float32) - zero) * scale).astype(np.float32)
