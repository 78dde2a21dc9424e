"""Masks, keypoints and labels of whole images: read where a metric needs them, and without TensorFlow.

Source of keys: the API's data_decoders.tf_example_decoder, and its dataset_tools that write them.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from boxtune.config import pipeline_pb2
from boxtune.data import masks as drawn_masks
from boxtune.data.example_pb2 import Feature
from boxtune.data.label_map import LabelMap
from boxtune.data.tfrecord import parse_example
from boxtune.errors import ConfigError, DataError, did_you_mean, many, some
from boxtune.metrics import masks, metric_sets
from boxtune.metrics.coco import KeypointClass
from boxtune.metrics.masks import Mask
from boxtune.metrics.results import Classes, ImageResult

if TYPE_CHECKING:  # it loads TensorFlow, without which exported models run
    from boxtune.data.input import Records

MAX_POINTS = 1000
"""Keypoints of an object."""

MAX_EDGES = 100_000_000
"""Beginnings and ends of runs of pixels in all masks together: 800 MB. Those of COCO's 5,000 images are 8 million."""

_DEFAULT_SIGMA = 0.05  # the API's, where a configuration gives none
_NOTHING = Feature()

T = TypeVar("T")
Features = Mapping[str, Feature]
KeypointIndices = Mapping[str, int]
"""By the name of a keypoint which of an object's points it is."""


@dataclass(frozen=True)
class Needs:
    """What the metrics need besides boxes: masks, labels of whole images, and the keypoints of these indices.

    `all_known`: in an image without any labels every class was looked for (`image_classes_field_map_empty_to_ones`).
    """

    masks: bool = False
    labels: bool = False
    all_known: bool = True
    keypoints: KeypointIndices = field(default_factory=dict)

    @property
    def num_points(self) -> int:
        """How many keypoints an object has."""
        return max(self.keypoints.values(), default=-1) + 1


def needs_of(section: pipeline_pb2.EvalConfig, records: "Records") -> Needs:
    """Return what the metrics of `eval_config` need of records.

    Keypoints are numbered by their ids in the label map; where it has none, as the records list them.

    Raises:
        ConfigError: for masks or keypoints of labels that are expanded.
        DataError: if the label map or the records disagree about the keypoints.
    """
    keypoints = metric_sets.KEYPOINTS in section.metrics_set or section.parameterized_metric
    indices = (_indices_of_labels(records.label_map) or _indices_of_records(records)) if keypoints else {}
    masks = not metric_sets.MASKS.isdisjoint(section.metrics_set)
    if records.expand_hierarchy and (masks or indices):
        raise ConfigError(
            "eval_input_reader.expand_labels_hierarchy: boxes are expanded, masks and keypoints are not: leave out "
            "the one, or the metrics of the others."
        )
    labels = section.skip_predictions_for_unlabeled_class or not metric_sets.IMAGE_LABELS.isdisjoint(
        section.metrics_set
    )
    return Needs(masks, labels, section.image_classes_field_map_empty_to_ones, indices)


def check_detector_finds(section: pipeline_pb2.EvalConfig, finds: Collection[str]) -> None:
    """Raise ConfigError if `eval_config` asks for "masks" or "keypoints", and a detector `finds` none."""
    asked = {name: "masks" for name in section.metrics_set if name in metric_sets.MASKS}
    asked |= {name: "keypoints" for name in section.metrics_set if name == metric_sets.KEYPOINTS}
    what = {f"metrics_set: {name}": kind for name, kind in asked.items()}
    if section.parameterized_metric:
        what["parameterized_metric: keypoints"] = "keypoints"
    missing = next((field for field, kind in what.items() if kind not in finds), None)
    if missing:
        also = f" and {' and '.join(sorted(finds))}" if finds else ""
        raise ConfigError(
            f"eval_config.{missing} cannot be measured: this model finds boxes{also}. Leave it out, or evaluate an "
            "exported model or a file of detections that has masks or keypoints."
        )


def keypoint_classes(
    section: pipeline_pb2.EvalConfig, label_map: LabelMap, indices: KeypointIndices
) -> list[KeypointClass]:
    """Read `eval_config.parameterized_metric`.

    Of a class with keypoints in the label map all of these are measured, as in the API; of another one those that the
    configuration names, or all.

    Raises:
        ConfigError: for a class or keypoint that is unknown, or a standard deviation that is missing or not above 0.
    """
    return [
        _keypoint_class(metric.coco_keypoint_metrics, label_map, indices)
        for metric in section.parameterized_metric
    ]


def _keypoint_class(
    metric: pipeline_pb2.CocoKeypointMetrics, label_map: LabelMap, indices: KeypointIndices
) -> KeypointClass:
    label = label_map.by_any_name.get(metric.class_label)
    if label is None:
        hint = did_you_mean(metric.class_label, label_map.by_any_name)
        raise _wrong(f'the label map has no class "{metric.class_label}".{hint}')
    given = dict(sorted(metric.keypoint_label_to_sigmas.items()))
    names = [name for _, name in sorted(label.keypoints)] or list(given) or list(indices)
    if not names:
        raise _wrong("neither the label map nor the records have keypoints.")
    sigmas = given or dict.fromkeys(names, _DEFAULT_SIGMA)
    for name in names:
        if name not in sigmas:
            raise _wrong(
                f'give a keypoint_label_to_sigmas {{ key: "{name}" value: ... }} of "{label.name}" too.'
            )
        if not sigmas[name] > 0:
            raise _wrong(f'the standard deviation of "{name}" is {sigmas[name]:g}, not above 0.')
        if name not in indices:
            raise _wrong(f'no object has a keypoint "{name}".{did_you_mean(name, indices)}')
    return KeypointClass(label.id - 1, [sigmas[name] for name in names], [indices[name] for name in names])


def _wrong(what: str) -> ConfigError:
    return ConfigError(f"eval_config.parameterized_metric.coco_keypoint_metrics: {what}")


# Which keypoint is where


def _indices_of_labels(label_map: LabelMap) -> dict[str, int]:
    """Return indices by the ids of a label map, which count from 0, or from 1 if none is 0; {} if it has none."""
    points = [(label, number, name) for label in label_map.labels for number, name in label.keypoints]
    first = 0 if any(number == 0 for _, number, _ in points) else 1
    indices: dict[str, int] = {}
    for label, number, name in points:
        if not 0 <= number - first < MAX_POINTS:
            raise DataError(
                f'the label map: keypoint "{name}" of "{label.name}" has the id {number}, not 0 to {MAX_POINTS - 1}.'
            )
        if indices.setdefault(name, number - first) != number - first:
            raise DataError(f'the label map: keypoint "{name}" has several ids; it needs one.')
    for label in label_map.labels:
        for (number, name), (next_number, next_name) in pairwise(sorted(label.keypoints)):
            if number == next_number:
                raise DataError(
                    f'the label map: keypoints "{name}" and "{next_name}" of "{label.name}" have the id {number}.'
                )
    return indices


def _indices_of_records(records: "Records") -> dict[str, int]:
    """Return indices in the order that all records have; {} if none has keypoints."""
    common: tuple[str, ...] = ()
    for number in range(len(records)):
        try:
            features = _features(records, number)
            each = _num_points(features)
            texts = _texts(features, _num_objects(features) * each)
            names = tuple(texts[:each] if texts else map(str, range(each)))
            if names and common and names != common:
                raise DataError(
                    f"its keypoints are {some(names, 5)}, those of other records {some(common, 5)}: which is which? "
                    "Number them in the label map, item { ... keypoints { id: 0 label: 'nose' } }."
                )
        except DataError as error:
            raise DataError(f"{records.name_of(number)}: {error}") from error
        common = common or names
    return {name: index for index, name in enumerate(common)}


# Of one record


class ExtrasReader:
    """Reads what is needed of records besides boxes; counts what the masks take of memory."""

    def __init__(self, records: "Records", needs: Needs) -> None:
        self._records, self._needs = records, needs
        self._edges_left = MAX_EDGES

    def add(self, number: int, groundtruth: ImageResult) -> ImageResult:
        """Return the groundtruth of record `number` with its masks, keypoints and labels of the whole image.

        Raises:
            DataError: naming the record, if these are not as many as its objects, its masks of another size than its
                image, or altogether too large.
        """
        if not (self._needs.masks or self._needs.keypoints or self._needs.labels):
            return groundtruth
        try:
            features = _features(self._records, number)
            if self._needs.labels:
                groundtruth = self._with_labels(features, groundtruth)
            if self._needs.masks:
                groundtruth = replace(groundtruth, groundtruth_masks=self._masks(features, groundtruth))
            if self._needs.keypoints:
                points, visibility = _keypoints(features, len(groundtruth.groundtruth_classes), self._needs)
                pixels = points * np.array([groundtruth.height, groundtruth.width])
                groundtruth = replace(
                    groundtruth, groundtruth_keypoints=pixels, groundtruth_visibility=visibility
                )
        except DataError as error:
            raise DataError(f"{self._records.name_of(number)}: {error}") from error
        return groundtruth

    def _with_labels(self, features: Features, groundtruth: ImageResult) -> ImageResult:
        """Return the groundtruth of a record with the labels of the whole image, as 0-based classes.

        Those of other classes than the detector's say nothing.
        """
        present, absent = self._verified(features)
        absent |= self._in_range(_numbers(features, "image/neg_category_ids"))
        if self._records.expand_hierarchy:
            ancestors, descendants = self._hierarchy
            present, absent = _with(present, ancestors), _with(absent, descendants)
        known = bool(present or absent) or not self._needs.all_known
        return replace(
            groundtruth,
            present_classes=_array(present) if known else None,
            absent_classes=_array(absent) if known else None,
            not_exhaustive_classes=_array(
                self._in_range(_numbers(features, "image/not_exhaustive_category_ids"))
            ),
        )

    @cached_property
    def _hierarchy(self) -> tuple[list[list[int]], list[list[int]]]:
        label_map, count = self._records.label_map, self._records.num_classes
        return label_map.ancestors(count), label_map.descendants(count)

    def _verified(self, features: Features) -> tuple[set[int], set[int]]:
        """Return the classes that people saw in the image, and those that they looked for and did not find."""
        texts = features.get("image/class/text", _NOTHING).bytes_list.value
        numbers = _numbers(features, "image/class/label")
        confidences = _numbers(features, "image/class/confidence")
        by_name = self._records.label_map.by_any_name
        labels = [by_name.get(text.decode("utf-8", "replace")) for text in texts]
        ids = [label.id if label else 0 for label in labels] if texts else numbers
        if len(confidences) not in (0, len(ids)):
            raise DataError(
                f"image/class/confidence has {many(len(confidences), 'value')} for {many(len(ids), 'label')}."
            )
        pairs = list(zip(ids, confidences or [1.0] * len(ids), strict=True))
        return (
            self._in_range(number for number, confidence in pairs if confidence > 0),
            self._in_range(number for number, confidence in pairs if confidence <= 0),
        )

    def _in_range(self, numbers: Iterable[float]) -> set[int]:
        return {int(number) - 1 for number in numbers if 1 <= number <= self._records.num_classes}

    def _masks(self, features: Features, groundtruth: ImageResult) -> list[Mask]:
        """Return the mask of each object, one without pixels where it has none."""
        size, count = (groundtruth.height, groundtruth.width), len(groundtruth.groundtruth_classes)
        weights = _one_each(_numbers(features, "image/object/mask/weight"), "image/object/mask/weight", count)
        found = [Mask(*size, np.zeros(0, np.int64))] * count
        for row, draw in enumerate(_drawings(features, count, size)):
            if not weights or weights[row]:
                found[row] = masks.from_array(draw())
                self._edges_left -= len(found[row].edges)
            if self._edges_left < 0:
                raise DataError("the masks up to this record are too many to measure: they are not outlines.")
        return found


def _drawings(features: Features, count: int, size: tuple[int, int]) -> Sequence[Callable[[], npt.NDArray]]:
    """Return for each object what draws its mask [h, w]; nothing if a record has no masks.

    They are images, or numbers, which was the API's default.
    """
    if numbers := _numbers(features, "image/object/mask"):
        height, width = size
        if len(numbers) != count * height * width:
            raise DataError(
                f"image/object/mask has {len(numbers)} numbers for {count} boxes and {height} x {width} pixels."
            )
        return [partial(np.asarray, grid) for grid in np.array(numbers, np.float32).reshape(count, *size)]
    encoded = features.get("image/object/mask", _NOTHING).bytes_list.value
    pngs = _one_each(encoded, "image/object/mask", count)
    return [partial(drawn_masks.from_png, png, *size) for png in pngs]


def _features(records: "Records", number: int) -> Features:
    return parse_example(records.read(number)).features.feature


def _keypoints(
    features: Features, count: int, needs: Needs
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return the keypoints [n, p, 2] in fractions of the image and COCO's visibility [n, p] of `count` objects."""
    points = np.zeros((count, needs.num_points, 2))
    visibility = np.zeros((count, needs.num_points), np.int64)
    each = _num_points(features)
    if not each:
        return points, visibility
    yx = np.stack(
        [np.array(_numbers(features, f"image/object/keypoint/{axis}"), np.float64) for axis in "yx"], axis=-1
    )
    seen = np.array(_one_each(_numbers(features, _SEEN), _SEEN, len(yx)) or [2] * len(yx))
    indices = _indices(features, each, len(yx), needs)
    rows = np.arange(len(yx)) // each
    known = (indices >= 0) & np.isfinite(yx).all(axis=1)
    points[rows[known], indices[known]] = yx[known]
    visibility[rows[known], indices[known]] = np.clip(seen[known], 0, 2)
    return points, visibility


_SEEN = "image/object/keypoint/visibility"


def _indices(features: Features, each: int, total: int, needs: Needs) -> npt.NDArray[np.int64]:
    """Return the index of every point of a record, -1 for those that no metric needs."""
    if texts := _texts(features, total):
        indices = np.array([needs.keypoints.get(text, -1) for text in texts])
        if indices.max() < 0:
            raise DataError(
                f"its keypoints are {some(texts, 5)}, the label map's {some(list(needs.keypoints), 5)}."
            )
        return indices
    if each > needs.num_points:
        raise DataError(f"its objects have {each} keypoints, not {needs.num_points}, and no names of them.")
    return np.arange(total) % each


def _num_points(features: Features) -> int:
    """Return how many keypoints each object of a record has."""
    ys, xs = (len(_numbers(features, f"image/object/keypoint/{axis}")) for axis in "yx")
    count = _num_objects(features)
    if ys != xs or (xs and (not count or xs % count)):
        raise DataError(f"its keypoints have {xs} values of x and {ys} of y for {count} boxes.")
    each = xs // count if count else 0
    if each > MAX_POINTS:
        raise DataError(f"its objects have {each} keypoints each, over the limit of {MAX_POINTS}.")
    return each


def _num_objects(features: Features) -> int:
    return len(_numbers(features, "image/object/bbox/ymin"))


def _texts(features: Features, total: int) -> list[str]:
    values = features.get("image/object/keypoint/text", _NOTHING).bytes_list.value
    return [
        value.decode("utf-8", "replace") for value in _one_each(values, "image/object/keypoint/text", total)
    ]


def _numbers(features: Features, key: str) -> Sequence[float]:
    feature = features.get(key, _NOTHING)
    return feature.float_list.value or feature.int64_list.value


def _one_each(values: Sequence[T], key: str, count: int) -> Sequence[T]:
    """Return the values of a list; raise DataError unless they are none or as many as expected."""
    if len(values) not in (0, count):
        raise DataError(f"{key} has {many(len(values), 'value')}, not {count}.")
    return values


def _with(classes: set[int], related: list[list[int]]) -> set[int]:
    return {other for cls in classes for other in related[cls]}


def _array(classes: set[int]) -> Classes:
    return np.array(sorted(classes), np.int64)
