"""A detector as a TensorFlow Lite file: network and suppression, and what a program has to know to use it."""

import importlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boxtune import config, models
from boxtune.config import pipeline_pb2
from boxtune.data.label_map import class_names
from boxtune.errors import ConfigError, did_you_mean
from boxtune.evaluation.min_scores import MIN_SCORE
from boxtune.exporting.about import About
from boxtune.exporting.tflite_file import finished
from boxtune.exporting.tflite_graph import (
    FLOAT32,
    INT8,
    PRECISIONS,
    Module,
    PostProcess,
    convert,
)
from boxtune.exporting.tflite_metadata import Described
from boxtune.models import Detector
from boxtune.runtimes.model_file import INPUT_IMAGES, SCORE_FLOOR
from boxtune.runtimes.preparing import FIXED_SHAPE, KEEP_ASPECT_RATIO, MAX_SIDE, Preparation, Triple
from boxtune.runtimes.tflite_schema import POST_PROCESS

FLOOR = 0.05
"""The score that detections have to exceed: exact suppression takes time with the number of boxes above it."""

_EXTRA = 'pip install "boxtune[tflite]"'
_MODULES = ("ai_edge_litert", "flatbuffers")


def require_tflite() -> None:
    """Raise ConfigError, with what to install, unless all that writes and checks TensorFlow Lite files is there."""
    for name in _MODULES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(
                f"the format tflite needs {name}, which cannot be imported: {_EXTRA}"
            ) from error


def write(
    path: Path,
    detector: Detector,
    model: pipeline_pb2.DetectionModel,
    about: About,
    precision: str = FLOAT32,
    calibration: Iterable[npt.NDArray[np.uint8]] | None = None,
    floor: float = FLOOR,
) -> None:
    """Write a detector as a TensorFlow Lite file from one image to detections.

    The input is [1, height, width, 3] of the model's size: float32 and normalized as the network wants it, or with
    "int8" uint8 pixels as they are. The outputs are scores [1, k], boxes [1, k, 4] as fractions of the input, their
    count [1] and classes from 0 on [1, k], all float32, with the API's names and in its order.

    Args:
        path: of the file.
        detector: with the weights of a checkpoint.
        model: its section of the configuration.
        about: what the file says of it.
        precision: of PRECISIONS: of the weights, and with "int8" of all numbers in the network.
        calibration: images [h, w, 3] of any size, by which "int8" chooses the ranges of numbers; a hundred will do.
        floor: the score that detections have to exceed, unless the configuration has a higher one.

    Raises:
        ConfigError: for what the format cannot express: sizes that vary, Soft-NMS, an operation of the network.
    """
    if precision not in PRECISIONS:
        hint = did_you_mean(precision, PRECISIONS)
        raise ConfigError(f'--precision "{precision}" is not one of {", ".join(PRECISIONS)}.{hint}')
    section = models.image_resizer(model)
    refuse(detector, model)
    how, prepare = preparation(detector, section, precision)
    post = None if detector.suppress is None else _post_process(detector, floor)
    images = None
    if precision == INT8:
        images = _calibration(prepare, how == "padded", calibration)
    with tempfile.TemporaryDirectory() as folder:
        Module(detector, prepare.size, post, how).save(Path(folder))
        content = convert(Path(folder), precision, images)
    images_are = prepare.as_json() | {"dtype": _dtype(precision), "precision": precision}
    own_floor = score_floor(detector, floor)
    said = about.metadata() | {INPUT_IMAGES: json.dumps(images_are), SCORE_FLOOR: repr(own_floor)}
    described = _described(detector, model, about, prepare)
    path.write_bytes(finished(content, detector, said, described))


def refuse(detector: Detector, model: pipeline_pb2.DetectionModel) -> None:
    """Raise ConfigError for what a file cannot express, or what runs it does not do."""
    section = models.image_resizer(model)
    refuse_graph(detector, section)
    kind = section.WhichOneof("image_resizer_oneof")
    method = getattr(section, kind).resize_method
    if method != pipeline_pb2.BILINEAR:
        raise ConfigError(
            f"--format tflite: {kind}.resize_method is {pipeline_pb2.ResizeType.Name(method)}, which boxtune has for "
            "SavedModels alone: train with BILINEAR"
        )


def refuse_graph(detector: Detector, section: pipeline_pb2.ImageResizer) -> None:
    """Raise ConfigError for what a file cannot express."""
    kind = section.WhichOneof("image_resizer_oneof")
    size = config.fixed_size(section)
    if size is None:
        raise ConfigError(
            f"--format tflite: the input of such a file has a fixed size, and {kind} gives images of several: train "
            "with fixed_shape_resizer, or with keep_aspect_ratio_resizer and pad_to_max_dimension: true"
        )
    if max(size) > MAX_SIDE:
        raise ConfigError(
            f"--format tflite: {kind} gives {size[0]} x {size[1]} pixels; at most {MAX_SIDE} on a side"
        )
    if detector.finds:
        raise ConfigError(
            f"--format tflite writes boxes only, and this model finds {' and '.join(detector.finds)}, too: export it "
            "with --format saved_model"
        )
    suppress = detector.suppress
    if suppress is None:
        return
    if suppress.soft_nms_sigma > 0:
        raise ConfigError(
            f"batch_non_max_suppression.soft_nms_sigma is {suppress.soft_nms_sigma:g}, and {POST_PROCESS} drops boxes "
            "without lowering scores: set it to 0"
        )
    if kind == KEEP_ASPECT_RATIO and not suppress.change_coordinate_frame:
        raise ConfigError(
            "batch_non_max_suppression.change_coordinate_frame is false, so that boxes are fractions of an image with "
            "its padding, which what runs such files does not return: set it to true"
        )


def preparation(
    detector: Detector, section: pipeline_pb2.ImageResizer, precision: str
) -> tuple[str, Preparation]:
    """Return what `prepared_images` is told for a file, and how images are prepared for it.

    Bytes are fed as they are by all programs. So the normalization stays in the network where it is not that of a
    quantized input: one scale and shift of all channels.
    """
    kind = section.WhichOneof("image_resizer_oneof")
    one = getattr(section, kind)
    padding = detector.padding
    if padding is None:
        padding = list(getattr(one, "per_channel_pad_value", [])) or [0.0]
    size = config.fixed_size(section)
    assert size is not None
    prepare = Preparation(
        size,
        FIXED_SHAPE if kind == FIXED_SHAPE else KEEP_ASPECT_RATIO,
        getattr(one, "min_dimension", 0),
        _triple(padding),
    )
    normalization = detector.normalization
    if normalization is None or (precision == INT8 and not normalization.is_uniform):
        return "padded", prepare
    return "normalized", replace(
        prepare, scale=_triple(normalization.scale), shift=_triple(normalization.shift)
    )


def _triple(values: Any) -> Triple:
    red, green, blue = np.broadcast_to(np.asarray(values, np.float64), 3).tolist()
    return red, green, blue


def _post_process(detector: Detector, floor: float) -> PostProcess:
    """Return the operator that does what a detector's suppression does."""
    suppress = detector.suppress
    return PostProcess(
        max_detections=suppress.max_total_detections,
        use_regular_nms=not suppress.class_agnostic,
        # The operator keeps what scores as much, boxtune what scores more.
        nms_score_threshold=float(np.nextafter(np.float32(score_floor(detector, floor)), np.float32(2))),
        nms_iou_threshold=float(suppress.iou_threshold),
        num_classes=detector.num_classes,
    )


def score_floor(detector: Detector, floor: float = FLOOR) -> float:
    """Return the score that detections of a detector's file exceed, as `write` takes it; 0 without suppression."""
    return 0.0 if detector.suppress is None else max(float(detector.suppress.score_threshold), floor)


def _dtype(precision: str) -> str:
    return "uint8" if precision == INT8 else "float32"


def _calibration(
    prepare: Preparation, is_padded: bool, images: Iterable[npt.NDArray[np.uint8]] | None
) -> Callable[[], Iterator[Any]]:
    """Return the function that yields calibration images as the network takes them.

    Two pixels of each have the lowest and the highest value there is: the input then has all values of a byte, and
    bytes need no other scale.
    """
    chosen = list(images or ())
    if not chosen:
        raise ConfigError("--precision int8 needs images that show the ranges of numbers, and there are none")

    def prepared() -> Iterator[Any]:
        for image in chosen:
            pixels, _ = prepare(image)
            pixels[0, 0], pixels[0, 1] = 0, 255
            yield (pixels if is_padded else prepare.normalized(pixels))[None]

    return prepared


def _described(
    detector: Detector, model: pipeline_pb2.DetectionModel, about: About, prepare: Preparation
) -> Described:
    thresholds = [one.min_score for one in about.thresholds.classes] if about.thresholds else []
    deviation = [1 / scale for scale in prepare.scale]
    mean = [shift / scale for shift, scale in zip(prepare.shift, prepare.scale, strict=True)]
    names = class_names(about.label_map, models.num_classes(model)) if about.label_map else []
    return Described(
        config.family_of(model).name,
        _triple(mean),
        _triple(deviation),
        names,
        min(thresholds, default=MIN_SCORE),
    )
