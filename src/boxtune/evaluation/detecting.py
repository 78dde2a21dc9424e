"""What a model finds in images, on the disk or in memory, image after image, with few of them decoded at a time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from boxtune import config
from boxtune.backends import compiled
from boxtune.config import pipeline_pb2
from boxtune.data.resize import Resized, Resizer, resizer
from boxtune.data.workers import map_in_threads
from boxtune.evaluation.evaluator import parts_found, require_finite
from boxtune.evaluation.found import BATCH_SIZE, Found, Source, pixels_of
from boxtune.models import Detector
from boxtune.structures import Inputs


def compiled_detector(detector: Detector) -> Callable[[Inputs], dict[str, Any]]:
    """Return what `found_by_detector` calls: compiled once, however often images are looked at."""
    return compiled(partial(_detect, detector), detector.variables)


def found_by_detector(
    detect: Callable[[Inputs], dict[str, Any]],
    section: pipeline_pb2.ImageResizer,
    sources: Iterable[Source],
    *,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Found]:
    """Yield what a detector finds in each image.

    Args:
        detect: as `compiled_detector` returns it.
        section: its `image_resizer`.
        sources: the images.
        batch_size: images at a time, if the model gives them one size; else one at a time.

    Raises:
        DataError: naming the image that cannot be read.
        CheckpointError: naming the image whose predictions are not finite.
    """
    read = map_in_threads(partial(_read_resized, resizer(section)), sources)
    size = batch_size if config.fixed_size(section) else 1
    for batch in iter(lambda: list(islice(read, size)), []):
        inputs = _inputs([resized for _, _, resized in batch])
        parts = keras.tree.map_structure(ops.convert_to_numpy, detect(inputs))
        require_finite(parts["finite"], [source.name for source, _, _ in batch])
        for i, ((source, hw, _), count) in enumerate(zip(batch, parts["count"], strict=True)):
            yield Found(source, hw, *(parts[name][i, :count] for name in ("boxes", "classes", "scores")))


def _detect(detector: Detector, inputs: Inputs) -> dict[str, Any]:
    return parts_found(detector, inputs, detector(inputs, training=False))


def _inputs(batch: Sequence[Resized]) -> Inputs:
    return Inputs(
        images=tf.stack([one.image for one in batch]),
        sizes=tf.stack([one.size for one in batch]),
    )


def _read_resized(resize: Resizer, source: Source) -> tuple[Source, tuple[int, int], Resized]:
    image = pixels_of(source)
    return source, image.shape[:2], resize(tf.constant(image))
