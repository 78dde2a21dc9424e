"""Measuring a detector on records: every picture once, or an error."""

import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from boxtune import models
from boxtune.config import pipeline_pb2
from boxtune.data.input import Records, evaluation_batches, naming_faults
from boxtune.metrics.coco import NAMES, coco_metrics
from boxtune.metrics.evaluation import Evaluation, Example
from boxtune.metrics.results import ImageResult
from boxtune.models import Detector
from boxtune.models.detector import REGULARIZATION
from boxtune.training.backends import compiled
from boxtune.training.batches import row_multiple


class Evaluator:
    """Evaluates one detector on one set of records, as often as wanted, in compiled batches."""

    def __init__(
        self,
        detector: Detector,
        records: Records,
        *,
        image_resizer: pipeline_pb2.ImageResizer,
        batch_size: int,
        num_examples: int = 10,
        row_multiple: int = 1,
    ):
        self.detector, self.records, self.num_examples = detector, records, num_examples
        self._row_multiple = row_multiple
        self.batches = evaluation_batches(records, batch_size=batch_size, image_resizer=image_resizer)
        self._detect = compiled(self._predict_and_measure, detector.variables)

    @classmethod
    def from_config(
        cls, detector: Detector, records: Records, pipeline: pipeline_pb2.TrainEvalPipelineConfig
    ) -> "Evaluator":
        """Read `eval_config` and the resizer. Batches are of 8 pictures at least: the result does not depend on it."""
        return cls(
            detector,
            records,
            image_resizer=models.image_resizer(pipeline.model),
            batch_size=max(pipeline.eval_config.batch_size, 8),
            num_examples=pipeline.eval_config.num_visualizations,
            row_multiple=row_multiple(pipeline.eval_input_reader[0]),
        )

    @property
    def metric_names(self) -> list[str]:
        """The names of the numbers that an evaluation gives."""
        terms = (*self.detector.loss_names, REGULARIZATION, "total_loss")
        return [*NAMES, *(f"Loss/{name}" for name in terms)]

    def evaluate(self, step: int) -> Evaluation:
        """Return the evaluation of the detector as it is now.

        Raises:
            DataError: naming the record that cannot be read.
        """
        started = time.perf_counter()
        results: list[ImageResult] = []
        examples: list[Example] = []
        losses: list[dict[str, float]] = []
        with naming_faults(self.records):
            for images, extents, samples in self.batches:
                detections, terms = self._detect(images, extents, _groundtruth(samples, self._row_multiple))
                found = keras.tree.map_structure(ops.convert_to_numpy, detections)
                truth = {name: part.numpy() for name, part in samples.items()}
                # An incomplete last batch counts by its size.
                losses.append({name: float(value) * len(truth["count"]) for name, value in terms.items()})
                for i in range(len(truth["count"])):
                    results.append(_result(truth, found, i))
                    if len(examples) < self.num_examples:
                        examples.append(_example(images[i].numpy(), extents[i].numpy(), truth, found, i))
        return Evaluation(
            step=step,
            metrics=coco_metrics(results, self.detector.num_classes),
            losses=_mean_losses(losses, len(results)),
            num_images=len(results),
            num_objects=sum(len(result.true_classes) for result in results),
            seconds=time.perf_counter() - started,
            examples=examples,
        )

    def _predict_and_measure(self, images: Any, extents: Any, groundtruth: Any) -> tuple[dict, dict]:
        predictions = self.detector(images, training=False)
        window = ops.concatenate([ops.zeros_like(extents), extents], axis=-1)
        detections = self.detector.detect(predictions, window)
        # The ground truth counts boxes in the picture's frame; the anchors lie in the input's.
        groundtruth = groundtruth | {"boxes": groundtruth["boxes"] * ops.tile(extents, [1, 2])[:, None]}
        terms = self.detector.loss_terms(predictions, groundtruth)
        return vars(detections), terms | {"regularization_loss": self.detector.regularization_loss()}


def _groundtruth(samples: dict[str, Any], row_multiple: int) -> dict[str, Any]:
    """Return the batch's objects with a row of padding or more, so that their number is a multiple, but not 0."""
    count = tf.shape(samples["boxes"])[1]
    more = row_multiple - count % row_multiple
    return {
        "boxes": tf.pad(samples["boxes"], [[0, 0], [0, more], [0, 0]]),
        "classes": tf.pad(samples["classes"], [[0, 0], [0, more]]),
        "weights": tf.pad(samples["weights"], [[0, 0], [0, more]]),
        "valid": tf.range(count + more)[None] < samples["count"][:, None],
    }


def _result(truth: dict[str, np.ndarray], found: dict[str, np.ndarray], i: int) -> ImageResult:
    height, width = (int(side) for side in truth["size"][i])
    to_pixels = np.array([height, width, height, width], np.float32)
    n, k = truth["count"][i], found["count"][i]
    return ImageResult(
        name=truth["filename"][i].decode("utf-8", "replace"),
        height=height,
        width=width,
        true_boxes=truth["boxes"][i, :n] * to_pixels,
        true_classes=truth["classes"][i, :n],
        is_crowd=truth["is_crowd"][i, :n],
        difficult=truth["difficult"][i, :n],
        boxes=found["boxes"][i, :k] * to_pixels,
        classes=found["classes"][i, :k],
        scores=found["scores"][i, :k],
    )


def _example(image: np.ndarray, extent: np.ndarray, truth: dict, found: dict, i: int) -> Example:
    n, k = truth["count"][i], found["count"][i]
    height, width = np.round(extent * image.shape[:2]).astype(int)
    return Example(
        name=truth["filename"][i].decode("utf-8", "replace"),
        picture=np.clip(image[:height, :width], 0, 255).astype(np.uint8),
        true_boxes=truth["boxes"][i, :n],
        true_classes=truth["classes"][i, :n],
        boxes=found["boxes"][i, :k],
        classes=found["classes"][i, :k],
        scores=found["scores"][i, :k],
    )


def _mean_losses(batches: list[dict[str, float]], count: int) -> dict[str, float]:
    means = {f"Loss/{name}": sum(batch[name] for batch in batches) / count for name in batches[0]}
    return means | {"Loss/total_loss": sum(means.values())}
