"""The formats of `export` besides the SavedModel: which there are, how each is written, and that it is right."""

import filecmp
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from boxtune import models
from boxtune.config import pipeline_pb2
from boxtune.data.input import open_records
from boxtune.data.label_map import LabelMap
from boxtune.data.resize import resizer
from boxtune.errors import BoxtuneError, ConfigError, did_you_mean
from boxtune.evaluation.detecting import compiled_detector, found_by_detector
from boxtune.evaluation.exported import (
    CHECKPOINT,
    LABEL_MAP,
    ONNX,
    PIPELINE_CONFIG,
    SAVED_MODEL,
    found_by_exported,
    load_exported,
)
from boxtune.evaluation.found import Found, Source, pixels_of
from boxtune.evaluation.groundtruth import read_groundtruth
from boxtune.exporting import onnx, parity
from boxtune.exporting.parity import PARITY, Parity
from boxtune.models import Detector
from boxtune.runtimes.onnx import run_raw
from boxtune.structures import Inputs

FORMATS = (SAVED_MODEL, "onnx")

NATIVE, NONE, EFFICIENT = "native", "none", "efficient_nms"

ONNX_FILES = {NATIVE: ONNX, NONE: "model_without_nms.onnx", EFFICIENT: "model_efficient_nms.onnx"}
"""The names of ONNX files by what they end with: ONNX's suppression, none, or TensorRT's plugin."""

_WEIGHTS = f"{CHECKPOINT}/ckpt-0.data-00000-of-00001"

_log = logging.getLogger("boxtune")


def check(formats: Sequence[str], nms: str) -> None:
    """Raise ConfigError for formats or suppressions that there are not, or that need what is not installed."""
    if not formats:
        raise ConfigError(f"no format is given; there are {', '.join(FORMATS)}")
    for flag, value, known in (
        *(("format", one, FORMATS) for one in formats),
        ("nms", nms, tuple(ONNX_FILES)),
    ):
        if value not in known:
            hint = did_you_mean(value, known)
            raise ConfigError(f'--{flag} "{value}" is not one of {", ".join(known)}.{hint}')
    if "onnx" in formats:
        onnx.require_onnx()
    elif nms != NATIVE:
        raise ConfigError("--nms and --without_nms are about ONNX files: add --format onnx")


def write_onnx(
    folder: Path,
    detector: Detector,
    pipeline: pipeline_pb2.TrainEvalPipelineConfig,
    about: onnx.About,
    nms: str = NATIVE,
) -> None:
    """Write a detector as an ONNX file, compare that with the detector, print a table and write it as JSON.

    Args:
        folder: takes the file and `parity.json`.
        detector: with the weights of a checkpoint.
        pipeline: its configuration, whose records the images are taken from that are compared.
        about: what the file says of the model.
        nms: a key of ONNX_FILES.

    Raises:
        ConfigError: if ONNX cannot express the detector.
        CheckpointError: if the file does not find what the detector finds.
    """
    sources, of = _images(pipeline, about.label_map)
    path = compared_file = folder / ONNX_FILES[nms]
    section = models.image_resizer(pipeline.model)
    if nms == NATIVE:
        onnx.write(path, detector, pipeline.model, about)
        expected = found_by_detector(compiled_detector(detector), section, sources, batch_size=1)
        found: Iterable[Found] = list(found_by_exported(load_exported(path), sources))
    else:
        compared_file = folder / ONNX_FILES[NONE]
        onnx.write_raw(compared_file, detector, pipeline.model, about)
        expected, found = (
            _found_in_raw(detector, section, run, sources)
            for run in (_run_of(detector), run_raw(compared_file))
        )
    size = compared_file.stat().st_size
    compared = parity.compare(expected, found, file=path.name, size=size, of=of)
    if nms == NATIVE and compared.differs and detector.suppress is not None:
        compared = replace(compared, by_ties=_is_right(detector, section, path, found))
    if nms == EFFICIENT:
        onnx.append_plugin(compared_file, path, detector)
        compared_file.unlink()
    _show(compared, nms)
    parity.require(compared)
    text = json.dumps(parity.as_json([compared]), indent=2, allow_nan=False)
    (folder / PARITY).write_text(f"{text}\n", encoding="utf-8")


def _show(compared: Parity, nms: str) -> None:
    print(f"Compared with the checkpoint:\n{compared}", flush=True)
    if nms == EFFICIENT:
        print(
            "  What is before EfficientNMS_TRT was compared; that plugin runs in TensorRT alone, and was not run.",
            flush=True,
        )


def remove_others(folder: Path, new: Path) -> None:
    """Remove what an earlier export wrote to a folder in formats that a new one does not have.

    What is of the same weights, configuration and classes stays: formats may be written one after the other.
    """
    own = (_WEIGHTS, PIPELINE_CONFIG, LABEL_MAP)
    if all(_same(folder / name, new / name) for name in own):
        return
    for name in (SAVED_MODEL, *ONNX_FILES.values(), PARITY):
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


def _images(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig, label_map: LabelMap | None
) -> tuple[list[Source], str]:
    """Return images to compare by, and what they are: of the records of a configuration, or else noise."""
    readers = [
        *((reader, "validation") for reader in pipeline.eval_input_reader),
        (pipeline.train_input_reader, "training"),
    ]
    reasons = []
    for reader, part in readers:
        try:
            records = open_records(reader, models.num_classes(pipeline.model), label_map=label_map)
            read = islice(read_groundtruth(records), parity.IMAGES)
            return [Source(one.name, image, None) for one, image in read], f"the records for {part}"
        except BoxtuneError as error:
            reasons.append(str(error))
    _log.warning("The file is compared on images of noise, since there are no records: %s", reasons[0])
    return parity.noise(), "noise"


def _is_right(
    detector: Detector, section: pipeline_pb2.ImageResizer, path: Path, found: Iterable[Found]
) -> bool:
    """Say whether a file's boxes and scores are those of the detector, and it chooses among them as boxtune does.

    That it finds other detections is rounding then, which decides between scores that are equal without it.
    """
    of_file, of_detector = onnx.candidates_of(path), _candidates_of(detector, section)
    chosen = []
    for one in found:
        image = pixels_of(one.source)[None]
        candidates = of_file(image)
        boxes, scores = candidates["boxes"], _by_anchor(candidates, detector.num_classes)
        if not _alike((boxes, scores), of_detector(image)):
            return False
        kept = detector.suppress(*map(tf.convert_to_tensor, (boxes, scores, candidates["windows"])))
        count = int(kept.count[0])
        parts = (np.asarray(part)[0, :count] for part in (kept.boxes, kept.classes, kept.scores))
        chosen.append(Found(one.source, one.size, *parts))
    return not parity.compare(chosen, found, file=path.name, size=0, of="").differs


def _alike(one: tuple[Any, Any], other: tuple[Any, Any]) -> bool:
    """Say whether boxes [1, a, 4] and scores [1, a, c], below 0 where unknown, are the same but for rounding.

    The boxes of anchors that no class is likely for do not matter.
    """
    (boxes, scores), (others, other_scores) = one, other
    apart = np.where(scores < 0, 0, np.abs(scores - other_scores))
    best = other_scores.max(-1)
    boxes_apart = np.abs(boxes - others)[best > best.max() / 2]
    return bool(
        apart.max() <= parity.SCORE_BOUNDS["float32"] and boxes_apart.max(initial=0) <= parity.BOX_BOUND
    )


def _by_anchor(candidates: dict[str, Any], num_classes: int) -> Any:
    """Return as scores [b, a, c] those of `traced.candidates`; where it has the best class alone, the others are -1."""
    scores = candidates["scores"].transpose(0, 2, 1)
    if "classes" not in candidates:
        return scores
    is_best = np.arange(num_classes) == candidates["classes"][..., None]
    return np.where(is_best, scores, np.float32(-1))


def _candidates_of(
    detector: Detector, section: pipeline_pb2.ImageResizer
) -> Callable[[Any], tuple[Any, Any]]:
    """Return the function from images uint8 [b, h, w, 3] to the boxes and scores that a detector chooses among."""
    resize = resizer(section)

    @tf.function(autograph=False, reduce_retracing=True)
    def run(images: Any) -> tuple[Any, Any]:
        resized = resize(tf.cast(images, tf.float32))
        inputs = Inputs(images=resized.image, sizes=tf.tile(resized.size[None], [tf.shape(images)[0], 1]))
        return detector.candidates(inputs, detector(inputs, training=False))

    return lambda images: tuple(part.numpy() for part in run(tf.constant(images)))


def _run_of(detector: Detector) -> Callable[[Any], tuple[Any, Any]]:
    """Return the function from images [b, h, w, 3] without padding to the boxes and scores of all anchors."""

    @tf.function(autograph=False)
    def run(images: Any) -> tuple[Any, Any]:
        size = tf.tile(tf.shape(images)[1:3][None], [images.shape[0], 1])
        inputs = Inputs(images=images, sizes=size)
        return detector.candidates(inputs, detector(inputs, training=False))

    return run


def _found_in_raw(
    detector: Detector,
    section: pipeline_pb2.ImageResizer,
    run: Callable[[Any], tuple[Any, Any]],
    sources: Sequence[Source],
) -> Iterator[Found]:
    """Yield what boxtune's own suppression chooses among the boxes and scores that `run` returns for each image."""
    resize = resizer(section)
    for source in sources:
        image = pixels_of(source)
        boxes, scores = map(tf.convert_to_tensor, run(resize(tf.cast(image, tf.float32)).image[None]))
        if detector.suppress is None:
            best = scores.numpy()[0]
            yield Found(source, image.shape[:2], boxes.numpy()[0], best.argmax(-1), best.max(-1))
            continue
        found = detector.suppress(boxes, scores)
        count = int(found.count[0])
        parts = (np.asarray(part)[0, :count] for part in (found.boxes, found.classes, found.scores))
        yield Found(source, image.shape[:2], *parts)
