"""The encoding of Faster R-CNN: offsets of the centre and log sizes."""

from collections.abc import Sequence
from typing import Any

from boxtune.detection import box_coders
from object_detection.core import box_coder
from object_detection.core.box_list import BoxList

EPSILON = 1e-8


class FasterRcnnBoxCoder(box_coder.BoxCoder):
    """The coder of boxtune of this name; `scale_factors` of y, x, height and width are 1 where none are given."""

    def __init__(self, scale_factors: Sequence[float] | None = None):
        self._scale_factors = box_coder.checked_scale_factors(scale_factors, 4)
        self._coder = box_coders.FasterRcnnBoxCoder(*(scale_factors or [1.0] * 4))

    @property
    def code_size(self) -> int:
        """The length of the encoding of a box."""
        return self._coder.code_size

    def _encode(self, boxes: BoxList, anchors: BoxList) -> Any:
        return self._coder.encode(boxes.get(), anchors.get())

    def _decode(self, rel_codes: Any, anchors: BoxList) -> BoxList:
        return BoxList(self._coder.decode(rel_codes, anchors.get()))
