"""Running an exported model, whoever exported it. TensorFlow is loaded for a SavedModel only."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boxtune import config
from boxtune.data.files import require_files
from boxtune.data.workers import map_in_threads
from boxtune.errors import CheckpointError, ConfigError
from boxtune.evaluation.extras import Needs
from boxtune.evaluation.found import Found, Source, pixels_of
from boxtune.runtimes.onnx import SUFFIX, OnnxModel

SAVED_MODEL, CHECKPOINT, PIPELINE_CONFIG, LABEL_MAP = (
    "saved_model",
    "checkpoint",
    "pipeline.config",
    "label_map.pbtxt",
)
"""What lies in the folder of an exported model."""

ONNX = f"model{SUFFIX}"
"""There, too, if it was exported so."""

_GRAPH = "saved_model.pb"
_PARTS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
_MASKS, _KEYPOINTS = "detection_masks", "detection_keypoints"
_RAW = "raw_detection_scores"
"""Of every anchor: those of a broken model are not finite, though its detections do not show it."""


def load_exported(path: Path, threads: int | None = None) -> Any:
    """Return the function of an exported model: uint8 [1, h, w, 3] in, detections by the API's names out.

    Of an ONNX file, and of a folder that has one but no SavedModel, it is an OnnxModel. It runs in so many `threads`,
    by default as many as its runtime takes by itself; TensorFlow's can only be set before it has computed anything.

    Raises:
        BoxtuneError: if there is no such model, it is damaged, or it takes something else.
    """
    if file := onnx_file(path):
        return OnnxModel(file, threads)
    folder = path / SAVED_MODEL if (path / SAVED_MODEL).is_dir() else path
    if not (folder / _GRAPH).is_file():
        raise CheckpointError(f"{path}: no saved model here; give a folder that `boxtune export` wrote")
    require_files(path for path in folder.rglob("*") if not path.is_dir())
    import tensorflow as tf

    set_tensorflow_threads(threads)
    try:
        loaded = tf.saved_model.load(str(folder))
    except Exception as error:  # TensorFlow raises errors of any kind for a damaged model
        raise CheckpointError(f"{folder}: cannot be loaded: {error}") from error
    signature = getattr(loaded, "signatures", {}).get("serving_default")
    if signature is None:
        raise CheckpointError(
            f"{folder}: has no signature serving_default: it is not one of the API's exporters"
        )
    _check_input(folder, list(signature.structured_input_signature[1].values()))

    def detect(images: Any) -> dict[str, Any]:
        return dict(loaded.signatures["serving_default"](tf.constant(images)))  # it holds the variables, too

    return detect


def set_tensorflow_threads(threads: int | None) -> None:
    """Have TensorFlow compute in so many threads, before it has computed anything; None leaves it to itself."""
    import tensorflow as tf

    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)


def is_exported(path: Path) -> bool:
    """Return whether this is the folder of an exported model, the `saved_model` in it, or an ONNX file."""
    return _is_saved_model(path) or onnx_file(path) is not None


def _is_saved_model(path: Path) -> bool:
    """Return whether there is a SavedModel, damaged or not."""
    return os.path.lexists(path / _GRAPH) or (path / SAVED_MODEL).is_dir()


def onnx_file(path: Path) -> Path | None:
    """Return the ONNX file that a path names: itself, or the one in a folder without a SavedModel; else None."""
    if path.suffix.lower() == SUFFIX and not path.is_dir():
        return path
    return path / ONNX if (path / ONNX).is_file() and not _is_saved_model(path) else None


def _check_input(folder: Path, specs: list[Any]) -> None:
    """Raise CheckpointError unless a model takes one image uint8 [1, h, w, 3] of any size."""
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


def folder_of_exported(path: Path) -> Path:
    """Return the folder of an exported model, given that folder, its `saved_model` or an ONNX file."""
    return path.parent if (path / _GRAPH).is_file() or path.suffix.lower() == SUFFIX else path


def beside_model(path: Path, name: str) -> Path | None:
    """Return the file of that name in the folder of an exported model, as `folder_of_exported` has it."""
    found = folder_of_exported(path) / name
    return found if os.path.lexists(found) else None


def floor_of_exported(path: Path) -> float:
    """Return that of an exported model by the configuration beside it; 0 where that is missing or cannot be read."""
    if beside := beside_model(path, PIPELINE_CONFIG):
        with suppress(ConfigError):
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
    found = _detected(detect, image, name, needs or Needs())
    count = int(found.pop("num_detections"))
    order = np.argsort(-found["detection_scores"][:count], kind="stable")
    kept = {name.removeprefix("detection_"): part[order] for name, part in found.items()}
    kept["classes"] = kept["classes"].astype(np.int64) - 1
    return kept


def found_by_exported(detect: Callable[[Any], dict[str, Any]], sources: Iterable[Source]) -> Iterator[Found]:
    """Yield what an exported model, as `load_exported` returns it, finds in each image.

    Raises:
        DataError: naming the image that cannot be read.
        CheckpointError: as `detect_exported` does.
    """
    for source, image in map_in_threads(_read, sources):
        found = detect_in_image(detect, image, source.name)
        yield Found(source, image.shape[:2], found["boxes"], found["classes"], found["scores"])


def _read(source: Source) -> tuple[Source, npt.NDArray[np.uint8]]:
    return source, pixels_of(source)


def _detected(
    detect: Callable[[Any], dict[str, Any]], image: npt.NDArray[np.uint8], name: str, needs: Needs
) -> dict[str, np.ndarray]:
    """Return the parts of what a model finds in the image of that name, checked."""
    try:
        found = detect(image[None])
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error}") from error
    except Exception as error:
        tensorflow = sys.modules.get("tensorflow")  # loaded, if the model is its
        if tensorflow and isinstance(error, tensorflow.errors.OpError):
            reason = error.message.partition("\n")[0]
            raise CheckpointError(f"{name}: the model fails: {reason}") from error
        raise
    missing = [part for part in _PARTS if part not in found]
    if missing:
        raise CheckpointError(
            f"the model returns no {', '.join(missing)}: it is not one of boxtune's or the API's exporters"
        )
    shapes = [part for part, needed in ((_MASKS, needs.masks), (_KEYPOINTS, needs.keypoints)) if needed]
    for part in shapes:
        if part not in found:
            raise CheckpointError(f"the model returns no {part}: leave out the metrics that are about them")
    parts = {part: np.asarray(found[part]) for part in (*_PARTS, *shapes, _RAW) if part in found}
    broken = next((part for part, values in parts.items() if not np.isfinite(values).all()), None)
    if broken:
        raise CheckpointError(
            f"{name}: {broken} of the model are not finite: its weights are broken. Export an earlier "
            "checkpoint, or train again at a lower learning rate"
        )
    _check_shapes(parts, needs)
    return {part: parts[part][0] for part in (*_PARTS, *shapes)}


def _check_shapes(parts: dict[str, np.ndarray], needs: Needs) -> None:
    k = parts["detection_scores"].size
    shapes = dict(zip(_PARTS, ((1, k, 4), (1, k), (1, k), (1,)), strict=True))
    shapes |= {_KEYPOINTS: (1, k, needs.num_points, 2)} if _KEYPOINTS in parts else {}
    if _MASKS in parts:
        height, width = (max(side, 1) for side in (*parts[_MASKS].shape[2:], 1, 1)[:2])
        shapes[_MASKS] = (1, k, height, width)
    for name, shape in shapes.items():
        if parts[name].shape != shape:
            raise CheckpointError(f"the model returns {name} of the shape {parts[name].shape}, not {shape}")
    if not 0 <= (count := parts["num_detections"][0]) <= k:
        raise CheckpointError(f"the model returns num_detections {count} of {k}")
