"""The groundtruth of records, image by image, and the detections beside it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from boxtune.data.decoder import PER_OBJECT
from boxtune.data.input import Records, naming_faults
from boxtune.errors import DataError
from boxtune.evaluation.extras import ExtrasReader, Needs
from boxtune.metrics.masks import from_box
from boxtune.metrics.results import ImageResult

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]


class Names:
    """Gives every image of an evaluation a name of its own: that in its record, where it can.

    That is its `source_id` where this is a path to its `filename`, as boxtune writes them, else its `filename`, else
    its `source_id`. One that is taken gets the number of the record behind it, unless names must be `distinct`.
    """

    def __init__(self, *, distinct: bool = False) -> None:
        self._distinct = distinct
        self._taken: set[str] = set()

    def of(self, sample: Arrays) -> str:
        """Return the name of the next image.

        Raises:
            DataError: if it is taken, and names must be distinct.
        """
        number = len(self._taken)
        filename, source = _text(sample["filename"]), _text(sample["source_id"])
        path = source if filename and source.endswith(f"/{filename}") else ""
        name = path or filename or source or f"record {number}"
        if name in self._taken:
            if self._distinct:
                raise DataError(
                    f'"{name}" is the name of several images, which a file of detections cannot tell apart: '
                    "give each record an image/filename or image/source_id of its own"
                )
            name = f"{name} (record {number})"
        self._taken.add(name)
        return name


def _text(value: Any) -> str:
    return bytes(value.item() if isinstance(value, np.ndarray) else value).decode("utf-8", "replace")


def groundtruth_of(sample: Arrays, name: str) -> ImageResult:
    """Return the objects of a Sample, as arrays, with nothing found."""
    height, width = (int(side) for side in sample["size"])
    return ImageResult(
        name=name,
        height=height,
        width=width,
        groundtruth_boxes=sample["boxes"] * np.array([height, width] * 2, np.float32),
        groundtruth_classes=sample["classes"],
        is_crowd=sample["is_crowd"],
        difficult=sample["difficult"],
        group_of=sample["group_of"],
        groundtruth_areas=sample["areas"],
    )


def sample_of(samples: Arrays, i: int) -> dict[str, Any]:
    """Return image `i` of a batch of Samples, with its own objects only."""
    count = samples["count"][i]
    return {name: part[i, :count] if name in PER_OBJECT else part[i] for name, part in samples.items()}


def read_groundtruth(
    records: Records, *, distinct: bool = False, needs: Needs | None = None
) -> Iterator[tuple[ImageResult, npt.NDArray[np.uint8]]]:
    """Yield the groundtruth of every record, in order, and its image uint8 [h, w, 3]; and of the rest what is `needs`.

    Raises:
        DataError: naming the record that cannot be read, or, if names must be `distinct`, a name that is there twice.
    """
    names, reader = Names(distinct=distinct), ExtrasReader(records, needs or Needs())
    samples = tf.data.Dataset.range(len(records)).map(
        records.sample, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    with naming_faults(records):
        for number, sample in enumerate(samples.prefetch(2).as_numpy_iterator()):
            yield reader.add(number, groundtruth_of(sample, names.of(sample))), sample["image"]


def with_detections(
    groundtruth: ImageResult,
    boxes: Array,
    classes: Array,
    scores: Array,
    masks: Array | None = None,
    keypoints: Array | None = None,
) -> ImageResult:
    """Return `groundtruth` with detections of the image's frame, which become pixels.

    Args:
        boxes: float [k, 4], fractions of the image.
        classes: int [k], 0-based.
        scores: float [k].
        masks: float [k, gh, gw] in [0, 1], each over its own box.
        keypoints: float [k, p, 2], (y, x) in fractions of the image.
    """
    height, width = groundtruth.height, groundtruth.width
    draw = partial(from_box, height=height, width=width)
    return replace(
        groundtruth,
        boxes=boxes * np.array([height, width] * 2, np.float32),
        classes=classes,
        scores=scores,
        masks=None if masks is None else list(map(draw, masks, boxes)),
        keypoints=None if keypoints is None else keypoints * np.array([height, width], np.float32),
    )
