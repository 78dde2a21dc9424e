"""Running an exported model, whoever exported it. TensorFlow is loaded for a SavedModel only."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boxtune import config
from boxtune.data.workers import map_in_threads
from boxtune.errors import CheckpointError, ConfigError, some
from boxtune.evaluation.extras import Needs
from boxtune.evaluation.found import BATCH_SIZE, Found, Source, pixels_of
from boxtune.runtimes.model_file import BOXES, COUNT, NUMBERS, SCORES, ModelFile
from boxtune.runtimes.onnx import OnnxModel
from boxtune.runtimes.openvino import OpenVINOModel
from boxtune.runtimes.saved_model import GRAPH, SavedModel
from boxtune.runtimes.tflite import TFLiteModel

SAVED_MODEL, CHECKPOINT, PIPELINE_CONFIG, LABEL_MAP = (
    "saved_model",
    "checkpoint",
    "pipeline.config",
    "label_map.pbtxt",
)
"""What lies in the folder of an exported model."""

RUNTIMES: dict[str, type[Any]] = {".onnx": OnnxModel, ".xml": OpenVINOModel, ".tflite": TFLiteModel}
"""By the suffixes of files other than SavedModels, what runs them."""

FLOAT32 = "float32"

_MODEL = "model"
_PARTS = (BOXES, NUMBERS, SCORES, COUNT)
_MASKS, _KEYPOINTS = "detection_masks", "detection_keypoints"
_MOST_PIXELS = 1 << 23
"""Of a batch of large images: 24 MiB, and four times that as numbers."""

_MOST_NAMED = 3
_RAW = "raw_detection_scores"
"""Of every anchor: those of a broken model are not finite, though its detections do not show it."""


def file_name(suffix: str, precision: str = FLOAT32) -> str:
    """Return the name of a file in the folder of an exported model: model.tflite, model_int8.tflite."""
    return f"{_MODEL}{suffix}" if precision == FLOAT32 else f"{_MODEL}_{precision}{suffix}"


def load_exported(path: Path, threads: int | None = None) -> ModelFile:
    """Load a folder that was exported, the `saved_model` in it, or a file of another format.

    Of a folder it is the SavedModel, or else the first of its files. It runs in so many `threads`, by default as many
    as its runtime takes by itself; TensorFlow's can only be set before it has computed anything.

    Raises:
        BoxtuneError: if there is no such model, it is damaged, or it takes anything but images.
        ConfigError: if what runs it is not installed.
    """
    if file := model_file(path):
        loaded: ModelFile = RUNTIMES[file.suffix.lower()](file, threads)
        return loaded
    folder = path / SAVED_MODEL if (path / SAVED_MODEL).is_dir() else path
    if not (folder / GRAPH).is_file():
        raise CheckpointError(f"{path}: no exported model here; give what `boxtune export` wrote")
    return SavedModel(folder, threads)


def is_exported(path: Path) -> bool:
    """Return whether this is the folder of an exported model, the `saved_model` in it, or a file of another format."""
    return _is_saved_model(path) or model_file(path) is not None


def model_file(path: Path) -> Path | None:
    """Return the file that a path names: itself, or the first in a folder without a SavedModel; else None."""
    if _is_file_of_model(path):
        return path
    if _is_saved_model(path) or not path.is_dir():
        return None
    plain = (path / file_name(suffix) for suffix in RUNTIMES)
    others = (one for suffix in RUNTIMES for one in sorted(path.glob(f"{_MODEL}_*{suffix}")))
    return next((one for one in (*plain, *others) if one.is_file()), None)


def _is_file_of_model(path: Path) -> bool:
    return path.suffix.lower() in RUNTIMES and not path.is_dir()


def _is_saved_model(path: Path) -> bool:
    """Return whether there is a SavedModel, damaged or not."""
    return os.path.lexists(path / GRAPH) or (path / SAVED_MODEL).is_dir()


def folder_of_exported(path: Path) -> Path:
    """Return the folder of an exported model, given that folder, its `saved_model` or a file in it."""
    return path.parent if (path / GRAPH).is_file() or _is_file_of_model(path) else path


def beside_model(path: Path, name: str) -> Path | None:
    """Return the file of that name in the folder of an exported model, as `folder_of_exported` has it."""
    found = folder_of_exported(path) / name
    return found if os.path.lexists(found) else None


def floor_of_exported(path: Path, model: ModelFile | None = None) -> float:
    """Return the score that detections of an exported model exceed: as its file says, or the configuration beside it.

    It is 0 where neither says so.
    """
    if model is not None and model.score_floor is not None:
        return model.score_floor
    if beside := beside_model(path, PIPELINE_CONFIG):
        with suppress(ConfigError):  # of another program's model, perhaps
            return config.score_floor(config.load(beside, needs_model=False).model)
    return 0.0


def detect_in_image(
    detect: Callable[[Any], dict[str, Any]],
    image: npt.NDArray[np.uint8],
    name: str,
    needs: Needs | None = None,
) -> dict[str, np.ndarray]:
    """Return what a model finds in an image uint8 [h, w, 3], best first, as `with_detections` takes it.

    Args:
        detect: as `detect_exported` takes it.
        image: of any size.
        name: of the image, for errors.
        needs: as `detect_exported` takes it.

    Raises:
        CheckpointError: as `detect_exported` does.
    """
    return _best_first(_detected(detect, image[None], [name], needs or Needs()), 0)


def found_by_exported(
    model: ModelFile, sources: Iterable[Source], *, batch_size: int = BATCH_SIZE
) -> Iterator[Found]:
    """Yield what an exported model finds in each image, in order.

    Those of one size that follow each other are looked at together, as many as the model takes.

    Raises:
        DataError: naming the image that cannot be read.
        CheckpointError: as `detect_exported` does.
    """
    largest = min(batch_size, model.largest_batch or batch_size)
    for batch in _of_one_size(map_in_threads(_read, sources), largest):
        names = [source.name for source, _ in batch]
        parts = _detected(model, np.stack([image for _, image in batch]), names)
        for row, (source, image) in enumerate(batch):
            yield Found(source, image.shape[:2], **_best_first(parts, row))


def _of_one_size(
    images: Iterable[tuple[Source, npt.NDArray[np.uint8]]], largest: int
) -> Iterator[list[tuple[Source, npt.NDArray[np.uint8]]]]:
    """Yield images in batches of neighbours of one size, at most `largest` and as many as have _MOST_PIXELS."""
    batch: list[tuple[Source, npt.NDArray[np.uint8]]] = []
    for source, image in images:
        if batch and (
            image.shape != batch[0][1].shape
            or len(batch) == largest
            or (len(batch) + 1) * image.size > 3 * _MOST_PIXELS
        ):
            yield batch
            batch = []
        batch.append((source, image))
    if batch:
        yield batch


def _read(source: Source) -> tuple[Source, npt.NDArray[np.uint8]]:
    return source, pixels_of(source)


def _best_first(parts: dict[str, np.ndarray], row: int) -> dict[str, np.ndarray]:
    """Return what was found in one image of a batch, best first, as `with_detections` takes it."""
    count = int(parts[COUNT][row])
    order = np.argsort(-parts[SCORES][row, :count], kind="stable")
    kept = {
        name.removeprefix("detection_"): part[row][order] for name, part in parts.items() if name != COUNT
    }
    kept["classes"] = kept["classes"].astype(np.int64) - 1
    return kept


def _detected(
    detect: Callable[[Any], dict[str, Any]],
    images: npt.NDArray[np.uint8],
    names: list[str],
    needs: Needs | None = None,
) -> dict[str, np.ndarray]:
    """Return the parts of what a model finds in the images [b, h, w, 3] of these names, checked.

    Masks and keypoints are among them if they are needed; without `needs`, if the model finds them.
    """
    name = some(names, _MOST_NAMED)
    try:
        found = detect(images)
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error}") from error
    missing = [part for part in _PARTS if part not in found]
    if missing:
        raise CheckpointError(
            f"the model returns no {', '.join(missing)}: it is not one of boxtune's or the API's exporters"
        )
    if needs is None:
        shapes = [part for part in (_MASKS, _KEYPOINTS) if part in found]
    else:
        shapes = [part for part, needed in ((_MASKS, needs.masks), (_KEYPOINTS, needs.keypoints)) if needed]
    for part in shapes:
        if part not in found:
            raise CheckpointError(f"the model returns no {part}: leave out the metrics that are about them")
    parts = {part: np.asarray(found[part]) for part in (*_PARTS, *shapes, _RAW) if part in found}
    for part, values in parts.items():
        is_broken = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if is_broken.any():
            raise CheckpointError(
                f"{names[min(int(is_broken.argmax()), len(names) - 1)]}: {part} of the model are not finite: its "
                "weights are broken. Export an earlier checkpoint, or train again at a lower learning rate"
            )
    _check_shapes(parts, len(images), needs.num_points if needs else None)
    return {part: parts[part] for part in (*_PARTS, *shapes)}


def _check_shapes(parts: dict[str, np.ndarray], b: int, num_points: int | None) -> None:
    """Raise CheckpointError for a part of another shape than the others have, or of other keypoints than so many."""
    k = parts[SCORES].size // b
    shapes = dict(zip(_PARTS, ((b, k, 4), (b, k), (b, k), (b,)), strict=True))
    if _KEYPOINTS in parts:
        own = (*parts[_KEYPOINTS].shape[2:], 1)[0]
        shapes[_KEYPOINTS] = (b, k, own if num_points is None else num_points, 2)
    if _MASKS in parts:
        height, width = (max(side, 1) for side in (*parts[_MASKS].shape[2:], 1, 1)[:2])
        shapes[_MASKS] = (b, k, height, width)
    for name, shape in shapes.items():
        if parts[name].shape != shape:
            raise CheckpointError(f"the model returns {name} of the shape {parts[name].shape}, not {shape}")
    for count in parts[COUNT]:
        if not 0 <= count <= k:
            raise CheckpointError(f"the model returns num_detections {count} of {k}")
