"""Boxes as an array, and fields of one value for each box."""

import numpy as np

from boxtune.errors import DataError


class BoxListError(DataError, ValueError):
    """Boxes, fields or arguments that do not fit; a ValueError too, which is what the API raises."""


class BoxList:
    """A list of n boxes `[ymin, xmin, ymax, xmax]`, with fields [n, ...] by name.

    Attributes:
        data: the arrays by name, boxes float32 or float64 [n, 4] under "boxes".
    """

    def __init__(self, data: np.ndarray) -> None:
        if not isinstance(data, np.ndarray):
            raise BoxListError(f"boxes have to be a NumPy array, not {type(data).__name__}.")
        if data.ndim != 2 or data.shape[1] != 4:
            raise BoxListError(f"boxes are of shape {data.shape}, not [n, 4].")
        if data.dtype not in (np.float32, np.float64):
            raise BoxListError(f"boxes have to be float32 or float64, not {data.dtype}.")
        if (data[:, :2] > data[:, 2:]).any():
            wrong = data[(data[:, :2] > data[:, 2:]).any(axis=1)][0]
            raise BoxListError(f"a box has its minimum above its maximum: {wrong.tolist()}.")
        self.data = {"boxes": data}

    def num_boxes(self) -> int:
        """Return n."""
        return len(self.data["boxes"])

    def get_extra_fields(self) -> list[str]:
        """Return the names of all fields but the boxes."""
        return [name for name in self.data if name != "boxes"]

    def has_field(self, field: str) -> bool:
        """Say whether there is a field of that name; "boxes" is one."""
        return field in self.data

    def add_field(self, field: str, field_data: np.ndarray) -> None:
        """Add a field [n, ...]. Raises BoxListError if it is there already, or not of n rows."""
        if self.has_field(field):
            raise BoxListError(f'there is a field "{field}" already.')
        if field_data.ndim < 1 or len(field_data) != self.num_boxes():
            raise BoxListError(
                f'the field "{field}" is of shape {field_data.shape} for {self.num_boxes()} boxes.'
            )
        self.data[field] = field_data

    def get(self) -> np.ndarray:
        """Return the boxes [n, 4]."""
        return self.get_field("boxes")

    def get_field(self, field: str) -> np.ndarray:
        """Return a field. Raises BoxListError if there is none of that name."""
        if not self.has_field(field):
            raise BoxListError(f'there is no field "{field}", but {", ".join(self.data)}.')
        return self.data[field]

    def get_coordinates(self) -> list[np.ndarray]:
        """Return ymin, xmin, ymax and xmax, each [n]."""
        return list(self.get().T)
