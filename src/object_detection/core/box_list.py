"""Boxes, and what belongs to each of them: scores, classes, masks."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from boxtune.detection.boxes import to_centers
from object_detection.utils.ops import TensorError
from object_detection.utils.shape_utils import get_dim_as_int


class BoxList:
    """Boxes float32 [n, 4], `[ymin, xmin, ymax, xmax]`, and fields [n, ...] by their names."""

    def __init__(self, boxes: Any):
        boxes = _checked(boxes)
        if boxes.dtype != tf.float32:
            raise TensorError("Invalid tensor type: should be tf.float32")
        self.data: dict[str, Any] = {"boxes": boxes}

    def num_boxes(self) -> Any:
        """Return n, a tensor."""
        return tf.shape(self.data["boxes"])[0]

    def num_boxes_static(self) -> int | None:
        """Return n if it is known before the graph runs, else None."""
        return get_dim_as_int(self.data["boxes"].shape[0])

    def get_all_fields(self) -> Any:
        """Return the names of all fields, the boxes included."""
        return self.data.keys()

    def get_extra_fields(self) -> list[str]:
        """Return the names of all fields but the boxes."""
        return [name for name in self.data if name != "boxes"]

    def add_field(self, field: str, field_data: Any) -> None:
        """Set a field, new or old."""
        self.data[field] = field_data

    def has_field(self, field: str) -> bool:
        """Return whether there is a field of this name."""
        return field in self.data

    def get(self) -> Any:
        """Return the boxes."""
        return self.get_field("boxes")

    def set(self, boxes: Any) -> None:
        """Replace the boxes; raise TensorError unless they are [n, 4]."""
        self.data["boxes"] = _checked(boxes)

    def get_field(self, field: str) -> Any:
        """Return a field; raise TensorError if there is none of this name."""
        if not self.has_field(field):
            raise TensorError(f"field {field} does not exist")
        return self.data[field]

    def set_field(self, field: str, value: Any) -> None:
        """Replace a field; raise TensorError if there is none of this name."""
        if not self.has_field(field):
            raise TensorError(f"field {field} does not exist")
        self.data[field] = value

    def get_center_coordinates_and_sizes(self, scope: str | None = None) -> list[Any]:
        """Return centre y, centre x, height and width, each [n]."""
        return list(to_centers(self.get()))

    def transpose_coordinates(self, scope: str | None = None) -> None:
        """Swap y and x of the boxes, in place."""
        self.set(tf.gather(self.get(), [1, 0, 3, 2], axis=1))

    def as_tensor_dict(self, fields: Sequence[str] | None = None) -> dict[str, Any]:
        """Return fields by their names, all if none are named; raise TensorError for one that is not there."""
        names = self.get_all_fields() if fields is None else fields
        if not all(map(self.has_field, names)):
            raise TensorError("boxlist must contain all specified fields")
        return {name: self.get_field(name) for name in names}


def _checked(boxes: Any) -> Any:
    boxes = boxes if isinstance(boxes, tf.Variable) else tf.convert_to_tensor(boxes)
    if boxes.shape.rank != 2 or boxes.shape[-1] != 4:
        raise TensorError(f"Invalid dimensions for box data: {boxes.shape}")
    return boxes
