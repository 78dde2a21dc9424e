"""The encoding of Faster R-CNN, followed by that of keypoints."""

from collections.abc import Sequence
from typing import Any

from boxtune.detection import box_coders
from object_detection.core import box_coder
from object_detection.core.box_list import BoxList
from object_detection.core.standard_fields import BoxListFields

EPSILON = 1e-8


class KeypointBoxCoder(box_coder.BoxCoder):
    """The coder of boxtune of this name; `scale_factors` of y, x, height and width are 1 where none are given."""

    def __init__(self, num_keypoints: int, scale_factors: Sequence[float] | None = None):
        self._num_keypoints = num_keypoints
        self._scale_factors = box_coder.checked_scale_factors(scale_factors, 4)
        self._coder = box_coders.KeypointBoxCoder(num_keypoints, *(scale_factors or [1.0] * 4))

    @property
    def code_size(self) -> int:
        """The length of the encoding of a box."""
        return self._coder.code_size

    def _encode(self, boxes: BoxList, anchors: BoxList) -> Any:
        return self._coder.encode(boxes.get(), anchors.get(), boxes.get_field(BoxListFields.keypoints))

    def _decode(self, rel_codes: Any, anchors: BoxList) -> BoxList:
        decoded = BoxList(self._coder.decode(rel_codes, anchors.get()))
        decoded.add_field(BoxListFields.keypoints, self._coder.decode_keypoints(rel_codes, anchors.get()))
        return decoded
