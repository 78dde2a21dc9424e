"""Measuring a detector on records: every image once, or an error."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from boxtune import config, models
from boxtune.backends import compiled, row_multiple
from boxtune.config import pipeline_pb2
from boxtune.data.batching import evaluation_batches
from boxtune.data.input import Records, naming_faults
from boxtune.data.label_map import LabelMap, class_names
from boxtune.errors import CheckpointError
from boxtune.evaluation.extras import (
    ExtrasReader,
    KeypointIndices,
    Needs,
    check_detector_finds,
    keypoint_classes,
    needs_of,
)
from boxtune.evaluation.groundtruth import (
    Arrays,
    Names,
    groundtruth_of,
    sample_of,
    with_detections,
)
from boxtune.metrics import metric_sets
from boxtune.metrics.results import Evaluation, Example, ImageResult
from boxtune.models import Detector
from boxtune.models.detector import REGULARIZATION, Predictions
from boxtune.structures import Inputs

OnImage = Callable[[Example], object]


class Evaluator:
    """Evaluates one detector on one set of records, as often as needed, in compiled batches."""

    def __init__(
        self,
        detector: Detector,
        records: Records,
        section: pipeline_pb2.EvalConfig,
        *,
        image_resizer: pipeline_pb2.ImageResizer,
        batch_size: int,
        row_multiple: int = 1,
        how: str = "",
    ):
        """Prepare to compute what `section`, an `eval_config`, asks for; `how` says what the detections lack."""
        self.detector, self.records, self.section = detector, records, section
        self.how = how
        self.class_names = class_names(records.label_map, detector.num_classes)
        self._needs = needs_of(section, records)
        self._metric_options = metric_options(
            section, records.label_map, detector.num_classes, self._needs.keypoints
        )
        self.batches = evaluation_batches(
            records, batch_size=batch_size, image_resizer=image_resizer, row_multiple=row_multiple
        )
        self._detect = compiled(self._predict_and_measure, detector.variables)

    @classmethod
    def from_config(
        cls, detector: Detector, records: Records, pipeline: pipeline_pb2.TrainEvalPipelineConfig
    ) -> "Evaluator":
        """Read `eval_config` and the resizer. Batches are of 8 images at least: the result does not depend on it.

        Raises:
            ConfigError: if metrics are of what the detector does not find.
        """
        check_detector_finds(pipeline.eval_config, detector.finds)
        return cls(
            detector,
            records,
            pipeline.eval_config,
            image_resizer=models.image_resizer(pipeline.model),
            batch_size=max(pipeline.eval_config.batch_size, 8),
            row_multiple=row_multiple(next(iter(pipeline.eval_input_reader), pipeline_pb2.InputReader())),
            how=config.words_of_floor(config.score_floor(pipeline.model)),
        )

    @property
    def metric_names(self) -> list[str]:
        """The names of the numbers that an evaluation gives."""
        terms = (*self.detector.loss_names, REGULARIZATION, "total_loss")
        tags = metric_sets.tags(self.section.metrics_set, self.class_names, self._metric_options)
        return [*tags, *(f"Loss/{name}" for name in terms)]

    def evaluate(self, step: int) -> Evaluation:
        """Return the evaluation of the detector as it is now, after `step` steps.

        Raises:
            DataError: naming the record that cannot be read.
            CheckpointError: naming the image whose predictions are not finite.
        """
        started = time.perf_counter()
        results: list[ImageResult] = []
        examples: list[Example] = []
        losses: list[dict[str, float]] = []
        names, reader = Names(), ExtrasReader(self.records, self._needs)
        with naming_faults(self.records):
            for inputs, samples in self.batches:
                detections, terms = self._detect(inputs)
                found = keras.tree.map_structure(ops.convert_to_numpy, detections)
                groundtruth = {name: part.numpy() for name, part in samples.items()}
                # An incomplete last batch counts by its size.
                losses.append(
                    {name: float(value) * len(groundtruth["count"]) for name, value in terms.items()}
                )
                batch = [
                    reader.add(len(results) + i, _result(groundtruth, found, i, names))
                    for i in range(len(groundtruth["count"]))
                ]
                require_finite(found["finite"], [result.name for result in batch])
                results += batch
                examples += _examples(inputs, batch[: self.section.num_visualizations - len(examples)])
        means = {f"Loss/{name}": sum(batch[name] for batch in losses) / len(results) for name in losses[0]}
        regularization = ops.convert_to_numpy(self.detector.regularization_loss())
        means[f"Loss/{REGULARIZATION}"] = float(regularization)
        return Evaluation(
            results=results,
            class_names=self.class_names,
            step=step,
            metrics=metric_sets.measure(
                self.section.metrics_set, results, self.class_names, self._metric_options
            ),
            losses=means | {"Loss/total_loss": sum(means.values())},
            seconds=time.perf_counter() - started,
            how=self.how,
            examples=examples,
        )

    def _predict_and_measure(self, inputs: Inputs) -> tuple[dict, dict]:
        """Return the parts of the detections [b, ...], which images have finite predictions, and the losses."""
        seen = Inputs(images=inputs["images"], sizes=inputs["sizes"])  # no detector is shown the groundtruth
        predictions = self.detector(seen, training=False)
        return parts_found(self.detector, seen, predictions), self.detector.loss_terms(inputs, predictions)


def parts_found(detector: Detector, inputs: Inputs, predictions: Predictions) -> dict[str, Any]:
    """Return the parts of the detections [b, ...], and as `finite` (bool [b]) which images have finite predictions."""
    found = vars(detector.detect(inputs, predictions)) | {"finite": _finite(predictions)}
    return {name: part for name, part in found.items() if part is not None and name != "extras"}


def evaluate_found(
    find: Callable[[Records, OnImage, Needs], list[ImageResult]],
    records: Records,
    section: pipeline_pb2.EvalConfig,
    *,
    step: int = 0,
    how: str = "",
) -> Evaluation:
    """Return the evaluation by `eval_config` of what `find` returns of all records, without losses.

    `step` is that of the checkpoint, and `how` says how images were looked at; both are kept as they are.
    """
    started = time.perf_counter()
    needs = needs_of(section, records)
    options = metric_options(section, records.label_map, records.num_classes, needs.keypoints)
    images: list[npt.NDArray[np.uint8]] = []

    def keep_first(example: Example) -> None:
        if len(images) < section.num_visualizations:
            images.append(example.image)

    results, names = find(records, keep_first, needs), class_names(records.label_map, records.num_classes)
    return Evaluation(
        results=results,
        class_names=names,
        step=step,
        metrics=metric_sets.measure(section.metrics_set, results, names, options),
        seconds=time.perf_counter() - started,
        how=how,
        examples=[Example(result, image) for result, image in zip(results, images, strict=False)],
    )


def metric_options(
    section: pipeline_pb2.EvalConfig,
    label_map: LabelMap,
    num_classes: int,
    keypoints: KeypointIndices | None = None,
) -> metric_sets.Options:
    """Read what `eval_config` says about metrics, their names apart, and the label map about frequencies.

    `keypoints` are those that are measured.
    """
    frequency = {label.id: label.frequency for label in label_map.labels}
    frequencies = [frequency.get(number, "") for number in range(1, num_classes + 1)]
    return metric_sets.Options(
        per_category=section.include_metrics_per_category,
        all_per_category=section.all_metrics_per_category,
        super_categories={
            name: members.split(",") for name, members in sorted(section.super_categories.items())
        },
        recall_bounds=(section.recall_lower_bound, section.recall_upper_bound),
        skip_unlabeled=section.skip_predictions_for_unlabeled_class,
        frequencies=frequencies if any(frequencies) else (),
        keypoints=keypoint_classes(section, label_map, keypoints or {}),
    )


def _result(groundtruth: Arrays, found: Arrays, i: int, names: Names) -> ImageResult:
    """Return what was found in image `i` of a batch."""
    sample, count = sample_of(groundtruth, i), found["count"][i]
    parts = ("boxes", "classes", "scores", "masks", "keypoints")
    own = {name: found[name][i, :count] for name in parts if name in found}
    return with_detections(groundtruth_of(sample, names.of(sample)), **own)


def _examples(inputs: Inputs, results: Sequence[ImageResult]) -> list[Example]:
    """Return the first images of a batch, without the padding of its inputs."""
    count = len(results)
    pixels = np.clip(inputs["images"][:count].numpy(), 0, 255).astype(np.uint8)
    sizes = inputs["sizes"][:count].numpy()
    return [
        Example(result, image[:height, :width])
        for result, image, (height, width) in zip(results, pixels, sizes, strict=True)
    ]


def _finite(predictions: Any) -> Any:
    """Return bool [b]: whether all that is predicted of an image is finite, parts [b or 1, ...] of any structure."""
    # A sum is finite only if all that it is of is: less work than to ask each.
    parts = [ops.reshape(part, [ops.shape(part)[0], -1]) for part in keras.tree.flatten(predictions)]
    return ops.isfinite(sum(ops.sum(part, axis=1) for part in parts))


def require_finite(finite: npt.NDArray[np.bool_], names: Sequence[str]) -> None:
    """Raise CheckpointError unless the predictions of every image of a batch, of these names, are numbers."""
    if not finite.all():
        raise CheckpointError(
            f"{names[int(np.argmin(finite))]}: what the model predicts is infinite or not a number, so it finds "
            "nothing: its weights are broken. Evaluate an earlier checkpoint, or train again at a lower learning rate"
        )
