"""What records say of whole pictures: which classes are in them, which are not, and of which not all are marked.

Source of keys: the API's data_decoders.tf_example_decoder.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from boxtune.data.example_pb2 import Feature
from boxtune.data.input import Records
from boxtune.errors import DataError
from boxtune.metrics.results import Classes, ImageResult

_NOTHING = Feature()


@dataclass(frozen=True)
class PictureLabels:
    """Reads the labels of whole pictures as classes, 0-based; those of other classes than the detector's say nothing.

    `all_known` is whether a picture without any labels is one in which every class was looked for
    (`image_classes_field_map_empty_to_ones`).
    """

    records: Records
    all_known: bool = True

    def add(self, features: Mapping[str, Feature], truth: ImageResult) -> ImageResult:
        """Return the truth of a record with the labels that its features hold.

        Raises:
            DataError: if its confidences are not as many as its labels.
        """
        present, absent = self._verified(features)
        absent |= self._in_range(_numbers(features, "image/neg_category_ids"))
        if self.records.expand_hierarchy:
            ancestors, descendants = self._hierarchy
            present, absent = _with(present, ancestors), _with(absent, descendants)
        known = bool(present or absent) or not self.all_known
        return replace(
            truth,
            present_classes=_array(present) if known else None,
            absent_classes=_array(absent) if known else None,
            not_exhaustive_classes=_array(
                self._in_range(_numbers(features, "image/not_exhaustive_category_ids"))
            ),
        )

    @cached_property
    def _hierarchy(self) -> tuple[list[list[int]], list[list[int]]]:
        label_map, count = self.records.label_map, self.records.num_classes
        return label_map.ancestors(count), label_map.descendants(count)

    def _verified(self, features: Mapping[str, Feature]) -> tuple[set[int], set[int]]:
        """Return the classes that people saw in the picture, and those that they looked for and did not see."""
        texts = features.get("image/class/text", _NOTHING).bytes_list.value
        numbers = _numbers(features, "image/class/label")
        confidences = _numbers(features, "image/class/confidence")
        by_name = self.records.label_map.by_any_name
        labels = [by_name.get(text.decode("utf-8", "replace")) for text in texts]
        ids = [label.id if label else 0 for label in labels] if texts else numbers
        if len(confidences) not in (0, len(ids)):
            raise DataError(f"image/class/confidence has {len(confidences)} values for {len(ids)} labels.")
        pairs = list(zip(ids, confidences or [1.0] * len(ids), strict=True))
        return (
            self._in_range(number for number, confidence in pairs if confidence > 0),
            self._in_range(number for number, confidence in pairs if confidence <= 0),
        )

    def _in_range(self, numbers: Iterable[float]) -> set[int]:
        return {int(number) - 1 for number in numbers if 1 <= number <= self.records.num_classes}


def _with(classes: set[int], related: list[list[int]]) -> set[int]:
    return {other for cls in classes for other in related[cls]}


def _array(classes: set[int]) -> Classes:
    return np.array(sorted(classes), np.int64)


def _numbers(features: Mapping[str, Feature], key: str) -> list[float]:
    feature = features.get(key, _NOTHING)
    return [*feature.int64_list.value, *feature.float_list.value]
