"""From the tables of the Open Images Challenge to what its evaluators take.

Tables are data frames of pandas, which boxtune does not need itself, or dicts of columns.
"""

import base64
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from boxtune.data import masks
from boxtune.errors import DataError
from object_detection.core.standard_fields import DetectionResultFields, InputDataFields
from object_detection.metrics import columns

_BOX = ("YMin", "XMin", "YMax", "XMax")
_BYTES_OF_RUN = 7


def build_groundtruth_dictionary(data: Any, class_label_map: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Return boxes, classes and groups of one image, the classes that were looked for in it, and masks if there are.

    Args:
        data: rows of objects, with LabelName, XMin, XMax, YMin, YMax, IsGroupOf, and maybe Mask, ImageWidth,
            ImageHeight; and rows of classes that were looked for, with LabelName and ConfidenceImageLabel.
        class_label_map: ids by LabelName.

    Raises:
        UnknownLabelError: for a class that the label map lacks.
        DataError: for a mask that cannot be read.
    """
    looked_for, objects = columns.known(data, "ConfidenceImageLabel"), columns.known(data, "XMin")
    arrays = {
        InputDataFields.groundtruth_boxes: columns.numbers(data, _BOX, objects),
        InputDataFields.groundtruth_classes: columns.labels(data, "LabelName", class_label_map, objects),
        InputDataFields.groundtruth_group_of: columns.numbers(data, ("IsGroupOf",), objects)[:, 0].astype(
            int
        ),
        InputDataFields.groundtruth_image_classes: columns.labels(
            data, "LabelName", class_label_map, looked_for
        ),
    }
    if "Mask" in data:
        arrays[InputDataFields.groundtruth_instance_masks], _ = _masks_and_boxes(data, objects)
    return arrays


def build_predictions_dictionary(data: Any, class_label_map: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Return boxes, classes and scores found in one image; where there are masks, these and the boxes around them.

    Args:
        data: rows with LabelName, Score, and XMin, XMax, YMin, YMax or Mask, ImageWidth, ImageHeight.
        class_label_map: ids by LabelName.

    Raises:
        UnknownLabelError: for a class that the label map lacks.
        DataError: for a mask that cannot be read.
    """
    arrays = {
        DetectionResultFields.detection_classes: columns.labels(data, "LabelName", class_label_map),
        DetectionResultFields.detection_scores: columns.column(data, "Score").astype(np.float64),
    }
    if "Mask" in data:
        drawn, boxes = _masks_and_boxes(data, slice(None))
        arrays |= {DetectionResultFields.detection_masks: drawn, DetectionResultFields.detection_boxes: boxes}
    else:
        arrays[DetectionResultFields.detection_boxes] = columns.numbers(data, _BOX)
    return arrays


def merge_boxes_and_masks(box_data: Any, mask_data: Any) -> Any:
    """Return two data frames of pandas as one: rows of the same image, class and box become one, others stay."""
    same = ["LabelName", "ImageID", "XMin", "XMax", "YMin", "YMax", "IsGroupOf"]
    return box_data.merge(mask_data, how="outer", on=same)


def _masks_and_boxes(data: Any, rows: Any) -> tuple[np.ndarray, np.ndarray]:
    of_rows = (columns.column(data, name, rows) for name in ("Mask", "ImageWidth", "ImageHeight"))
    return _decode_raw_data_into_masks_and_boxes(*of_rows)


def _decode_raw_data_into_masks_and_boxes(
    segments: Iterable[Any], image_widths: Iterable[Any], image_heights: Iterable[Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Return masks uint8 [n, h, w], and the boxes [n, 4] around them as fractions, of run lengths as texts.

    A row without a text has a mask without pixels. Raises DataError for a text that is no mask.
    """
    rows = list(zip(segments, image_heights, image_widths, strict=True))
    drawn = {
        number: _decoded(text, int(height), int(width))
        for number, (text, height, width) in enumerate(rows)
        if isinstance(text, str | bytes)
    }
    shape = next((mask.shape for mask in drawn.values()), (1, 1))
    if any(mask.shape != shape for mask in drawn.values()):
        raise DataError("masks of one image are of different sizes.")
    nothing = np.zeros(shape, np.uint8)
    array = np.array([drawn.get(number, nothing) for number in range(len(rows))], np.uint8)
    array = array.reshape(len(rows), *shape)
    return array, np.array([_to_normalized_box(mask) for mask in array]).reshape(-1, 4)


def _decoded(text: str | bytes, height: int, width: int) -> np.ndarray:
    """Return the mask uint8 [h, w] of COCO's run lengths that were compressed by zlib and written in base 64."""
    if not 0 < height * width <= masks.MAX_PIXELS:
        raise DataError(f"a mask is of {height} x {width} pixels.")
    try:
        # No mask has more runs than pixels, whatever the text unpacks to.
        longest = _BYTES_OF_RUN * (height * width + 1)
        unpacked = zlib.decompressobj().decompress(base64.b64decode(text), longest)
        return masks.to_array(masks.Mask(counts=unpacked, size=(height, width)), height, width)
    except (ValueError, zlib.error, DataError) as error:
        raise DataError(f"a mask cannot be decoded: {error}") from error


def _to_normalized_box(mask_np: np.ndarray) -> np.ndarray:
    """Return the box [4] around the pixels of a mask [h, w], as fractions; zeros if it has none."""
    rows, columns_ = np.nonzero(mask_np)
    if not len(rows):
        return np.zeros(4)
    height, width = mask_np.shape[:2]
    return np.array(
        [rows.min() / height, columns_.min() / width, (rows.max() + 1) / height, (columns_.max() + 1) / width]
    )
