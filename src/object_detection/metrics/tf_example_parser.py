"""Readers of tf.train.Example that hold detections beside the ground truth."""

from typing import Any

import numpy as np

from object_detection.core.data_parser import DataToNumpyParser
from object_detection.core.standard_fields import DetectionResultFields, InputDataFields, TfExampleFields

Array = np.ndarray


class FloatParser(DataToNumpyParser):
    """Numbers float32 [n]."""

    def __init__(self, field_name: str):
        self.field_name = field_name

    def parse(self, tf_example: Any) -> Array | None:
        """Return the numbers; None if the record has none of this type."""
        values = _values(tf_example, self.field_name, "float_list")
        return None if values is None else np.array(values, np.float32)


class StringParser(DataToNumpyParser):
    """Bytes, of several pieces as one."""

    def __init__(self, field_name: str):
        self.field_name = field_name

    def parse(self, tf_example: Any) -> bytes | None:
        """Return the bytes; None if the record has none."""
        values = _values(tf_example, self.field_name, "bytes_list")
        return None if values is None else b"".join(values)


class Int64Parser(DataToNumpyParser):
    """Whole numbers int64 [n]."""

    def __init__(self, field_name: str):
        self.field_name = field_name

    def parse(self, tf_example: Any) -> Array | None:
        """Return the numbers; None if the record has none of this type."""
        values = _values(tf_example, self.field_name, "int64_list")
        return None if values is None else np.array(values, np.int64)


class BoundingBoxParser(DataToNumpyParser):
    """Boxes float32 [n, 4] as `[ymin, xmin, ymax, xmax]`."""

    def __init__(
        self, xmin_field_name: str, ymin_field_name: str, xmax_field_name: str, ymax_field_name: str
    ):
        self.field_names = [ymin_field_name, xmin_field_name, ymax_field_name, xmax_field_name]

    def parse(self, tf_example: Any) -> Array | None:
        """Return the boxes; None if the record lacks any of their sides."""
        sides = [_values(tf_example, name, "float_list") for name in self.field_names]
        if any(side is None for side in sides):
            return None
        return np.vstack([np.array(side, np.float32) for side in sides]).T


class TfExampleDetectionAndGTParser(DataToNumpyParser):
    """Detections and ground truth, by the names of `standard_fields`."""

    def __init__(self) -> None:
        fields = TfExampleFields
        self.items_to_handlers: dict[str, DataToNumpyParser] = {
            DetectionResultFields.key: StringParser(fields.source_id),
            InputDataFields.groundtruth_boxes: BoundingBoxParser(
                fields.object_bbox_xmin, fields.object_bbox_ymin, fields.object_bbox_xmax, fields.object_bbox_ymax
            ),
            InputDataFields.groundtruth_classes: Int64Parser(fields.object_class_label),
            DetectionResultFields.detection_boxes: BoundingBoxParser(
                fields.detection_bbox_xmin, fields.detection_bbox_ymin,
                fields.detection_bbox_xmax, fields.detection_bbox_ymax,
            ),
            DetectionResultFields.detection_classes: Int64Parser(fields.detection_class_label),
            DetectionResultFields.detection_scores: FloatParser(fields.detection_score),
        }  # fmt: skip
        self.optional_items_to_handlers: dict[str, DataToNumpyParser] = {
            InputDataFields.groundtruth_difficult: Int64Parser(fields.object_difficult),
            InputDataFields.groundtruth_group_of: Int64Parser(fields.object_group_of),
            InputDataFields.groundtruth_image_classes: Int64Parser(fields.image_class_label),
        }

    def parse(self, tf_example: Any) -> dict[str, Any] | None:
        """Return everything, None for each optional part that is not there; None if any other part is not there."""
        needed = {name: parser.parse(tf_example) for name, parser in self.items_to_handlers.items()}
        if any(value is None for value in needed.values()):
            return None
        optional = {
            name: parser.parse(tf_example) for name, parser in self.optional_items_to_handlers.items()
        }
        return needed | optional


def _values(tf_example: Any, name: str, kind: str) -> Any:
    """Return the values of a feature; None if it is not there, or of another kind."""
    features = tf_example.features.feature
    if name not in features or not features[name].HasField(kind):
        return None
    return getattr(features[name], kind).value
