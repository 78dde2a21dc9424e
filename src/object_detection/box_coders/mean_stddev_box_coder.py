"""The encoding of MultiBox: differences of the corners, divided by a standard deviation."""

from typing import Any

from boxtune.detection import box_coders
from object_detection.core import box_coder
from object_detection.core.box_list import BoxList


class MeanStddevBoxCoder(box_coder.BoxCoder):
    """The coder of boxtune of this name."""

    def __init__(self, stddev: float = 0.01):
        self._stddev = stddev
        self._coder = box_coders.MeanStddevBoxCoder(stddev)

    @property
    def code_size(self) -> int:
        """The length of the encoding of a box."""
        return self._coder.code_size

    def _encode(self, boxes: BoxList, anchors: BoxList) -> Any:
        return self._coder.encode(boxes.get(), anchors.get())

    def _decode(self, rel_codes: Any, anchors: BoxList) -> BoxList:
        return BoxList(self._coder.decode(rel_codes, anchors.get()))
