"""What a checkpoint finds, to which its exported files are compared, and the images for that."""

import logging
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from boxtune import models
from boxtune.config import pipeline_pb2
from boxtune.data.input import open_records
from boxtune.data.label_map import LabelMap
from boxtune.data.resize import resizer
from boxtune.errors import BoxtuneError
from boxtune.evaluation.detecting import compiled_detector, found_by_detector
from boxtune.evaluation.found import Found, Source, pixels_of
from boxtune.evaluation.groundtruth import read_groundtruth
from boxtune.exporting import parity
from boxtune.exporting.choice import checker
from boxtune.models import Detector
from boxtune.structures import Inputs

_log = logging.getLogger("boxtune")


class Reference:
    """A detector with the weights of a checkpoint, and some images.

    Attributes:
        of: what the images are: of which records, or noise.
        images: at most parity.IMAGES of the records of its configuration, or noise if they cannot be read.
    """

    def __init__(
        self,
        detector: Detector,
        pipeline: pipeline_pb2.TrainEvalPipelineConfig,
        label_map: LabelMap | None,
    ) -> None:
        self.detector = detector
        self._section = models.image_resizer(pipeline.model)
        self.images, self.of = _images(pipeline, label_map)

    @cached_property
    def found(self) -> list[Found]:
        """What the detector finds in the images."""
        detect = compiled_detector(self.detector)
        return list(found_by_detector(detect, self._section, self.images, batch_size=1))

    def found_without_window(self, candidates: Callable[[Any], tuple[Any, Any]] | None = None) -> list[Found]:
        """Return what boxtune's own suppression chooses in the images among the boxes and scores of all anchors.

        These are what `candidates` returns of images float32 [1, h, w, 3] that are resized, the detector by default.
        """
        run = candidates or _without_window(self.detector)
        return list(_chosen(self.detector, resizer(self._section), run, self.images))

    def by_ties(self, found: list[Found], compared: parity.Parity) -> bool:
        """Say whether what a file finds in the images differs from `found` by rounding of equal scores alone."""
        is_right = checker(
            self.detector, self._section, parity.BOUNDS[compared.precision], compared.min_score
        )
        return all(map(is_right, found))


def calibration_images(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig, label_map: LabelMap | None, count: int
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the first images [h, w, 3] of the records that a configuration trains on.

    Raises:
        DataError: if they cannot be read: without images there is no calibration.
    """
    reader = pipeline.train_input_reader
    records = open_records(reader, models.num_classes(pipeline.model), label_map=label_map)
    return (image for _, image in islice(read_groundtruth(records), count))


def _images(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig, label_map: LabelMap | None
) -> tuple[list[Source], str]:
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
    _log.warning("Files are compared on images of noise, since there are no records: %s", reasons[0])
    return parity.noise(), "noise"


def _without_window(detector: Detector) -> Callable[[Any], tuple[Any, Any]]:
    """Return the function from images [b, h, w, 3] without padding to the boxes and scores of all anchors."""

    @tf.function(autograph=False)
    def run(images: Any) -> tuple[Any, Any]:
        size = tf.tile(tf.shape(images)[1:3][None], [images.shape[0], 1])
        inputs = Inputs(images=images, sizes=size)
        return detector.candidates(inputs, detector(inputs, training=False))

    return run


def _chosen(
    detector: Detector,
    resize: Callable[[Any], Any],
    candidates: Callable[[Any], tuple[Any, Any]],
    sources: list[Source],
) -> Iterator[Found]:
    for source in sources:
        image = pixels_of(source)
        resized = resize(tf.constant(image)).image[None]
        boxes, scores = map(tf.convert_to_tensor, candidates(resized))
        if detector.suppress is None:
            best = scores.numpy()[0]
            yield Found(source, image.shape[:2], boxes.numpy()[0], best.argmax(-1), best.max(-1))
            continue
        found = detector.suppress(boxes, scores)
        count = int(found.count[0])
        parts = (np.asarray(part)[0, :count] for part in (found.boxes, found.classes, found.scores))
        yield Found(source, image.shape[:2], *parts)
