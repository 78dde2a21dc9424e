"""Boxes and masks as arrays, and fields of one value for each."""

import numpy as np

from object_detection.utils.np_box_list import BoxList, BoxListError


class BoxMaskList(BoxList):
    """A `BoxList` with masks uint8 [n, h, w] as its field "masks"."""

    def __init__(self, box_data: np.ndarray, mask_data: np.ndarray) -> None:
        super().__init__(box_data)
        if not isinstance(mask_data, np.ndarray):
            raise BoxListError(f"masks have to be a NumPy array, not {type(mask_data).__name__}.")
        if mask_data.ndim != 3 or len(mask_data) != len(box_data):
            raise BoxListError(
                f"masks of {len(box_data)} boxes are of shape {mask_data.shape}, not [n, h, w]."
            )
        if mask_data.dtype != np.uint8:
            raise BoxListError(f"masks have to be of type uint8, not {mask_data.dtype}.")
        self.data["masks"] = mask_data

    def get_masks(self) -> np.ndarray:
        """Return the masks uint8 [n, h, w]."""
        return self.get_field("masks")
