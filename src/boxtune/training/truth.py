"""The truth that detections are held against: the objects of records, picture by picture."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from boxtune.data.examples import PER_OBJECT
from boxtune.data.input import Records, naming_faults
from boxtune.data.label_map import LabelMap
from boxtune.metrics.results import ImageResult

Arrays = Mapping[str, npt.NDArray[Any]]


def class_names(label_map: LabelMap, num_classes: int) -> list[str]:
    """Return the names to show of `num_classes` classes, 0-based; each is there once."""
    names = [label_map.shown_names.get(number, f"class {number + 1}") for number in range(num_classes)]
    return [
        name if names.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(names, start=1)
    ]


class Names:
    """Gives every picture of an evaluation a name of its own: that in its record, where it can."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, sample: Arrays) -> str:
        """Return the name of the next picture."""
        number = len(self._taken)
        given = (_text(sample[key]) for key in ("filename", "source_id"))
        name = next(filter(None, given), f"record {number}")
        if name in self._taken:
            name = f"{name} (record {number})"
        self._taken.add(name)
        return name


def _text(value: Any) -> str:
    return bytes(value.item() if isinstance(value, np.ndarray) else value).decode("utf-8", "replace")


def truth_of(sample: Arrays, name: str) -> ImageResult:
    """Return the objects of a Sample, as arrays, with nothing found."""
    height, width = (int(side) for side in sample["size"])
    return ImageResult(
        name=name,
        height=height,
        width=width,
        true_boxes=sample["boxes"] * np.array([height, width] * 2, np.float32),
        true_classes=sample["classes"],
        is_crowd=sample["is_crowd"],
        difficult=sample["difficult"],
        group_of=sample["group_of"],
        true_areas=sample["areas"],
        **nothing_found(),
    )


def nothing_found() -> dict[str, Any]:
    """Return the fields of an ImageResult without detections."""
    return {
        "boxes": np.zeros((0, 4), np.float32),
        "classes": np.zeros(0, np.int32),
        "scores": np.zeros(0, np.float32),
    }


def picture_of(samples: Arrays, i: int) -> dict[str, Any]:
    """Return picture `i` of a batch of Samples, with its own objects only."""
    count = samples["count"][i]
    return {name: part[i, :count] if name in PER_OBJECT else part[i] for name, part in samples.items()}


def truths(records: Records) -> Iterator[tuple[ImageResult, npt.NDArray[np.uint8]]]:
    """Yield the truth of every record, in order, and its picture uint8 [h, w, 3].

    Raises:
        DataError: naming the record that cannot be read.
    """
    names = Names()
    samples = tf.data.Dataset.range(len(records)).map(
        records.sample, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    with naming_faults(records):
        for sample in samples.prefetch(2).as_numpy_iterator():
            yield truth_of(sample, names.of(sample)), sample["image"]
