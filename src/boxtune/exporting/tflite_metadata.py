"""The standard metadata of a TensorFlow Lite file, by which MediaPipe and Android's libraries read detectors.

Source: metadata_schema.fbs of TensorFlow Lite's metadata: the numbers of the fields of each table, and of the values
of its enumerations.
"""

import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers

from boxtune.runtimes.preparing import Triple

_IDENTIFIER = b"M001"
_LABELS = "labels.txt"
_MIN_PARSER_VERSION = "1.2.0"
_NORMALIZATION, _SCORE_THRESHOLD = 1, 3  # of ProcessUnitOptions
_FEATURES, _IMAGE, _BOXES = 1, 2, 3  # of ContentProperties
_RGB = 1  # of ColorSpaceType
_BOUNDARIES, _RATIO = 1, 0  # of BoundingBoxType and CoordinateType
_VALUE_LABELS = 3  # of AssociatedFileType
_LEFT_TOP_RIGHT_BOTTOM = (1, 0, 3, 2)
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # so that the same model gives the same file

Write = Callable[["_Tables"], int]


@dataclass(frozen=True)
class Described:
    """What the standard metadata say of a detector."""

    name: str
    mean: Triple
    """Of the pixels, from 0 to 255: the float input is (pixel - mean) / deviation, channel by channel."""
    deviation: Triple
    class_names: Sequence[str]
    """None for a model whose classes have no names."""
    score_threshold: float
    """From which on detections count, for programs that are not told another."""


class _Tables:
    """Writes tables of flatbuffers, given the numbers of their fields."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(1024)

    def table(self, fields: dict[int, Any]) -> int:
        """Write a table of texts, tables by their offsets in lists or as `_At`, bytes, floats and counts."""
        written = {number: self._before(value) for number, value in fields.items()}
        self.builder.StartObject(max(fields, default=-1) + 1)
        for number, value in written.items():
            if isinstance(value, _At):
                self.builder.PrependUOffsetTRelativeSlot(number, value.offset, 0)
            elif isinstance(value, float):
                self.builder.PrependFloat32Slot(number, value, 0.0)
            else:
                self.builder.PrependUint8Slot(number, value, 0)
        return self.builder.EndObject()

    def _before(self, value: Any) -> Any:
        """Write what a table refers to."""
        if isinstance(value, str):
            return _At(self.builder.CreateString(value))
        if isinstance(value, list):
            return _At(self._vector(value))
        return value

    def _vector(self, values: list[Any]) -> int:
        prepend = {
            _At: lambda one: self.builder.PrependUOffsetTRelative(one.offset),
            float: self.builder.PrependFloat32,
            int: self.builder.PrependUint32,
        }[type(values[0])]
        self.builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            prepend(value)
        return self.builder.EndVector()


@dataclass(frozen=True)
class _At:
    """The offset of something that is written."""

    offset: int


def standard_metadata(described: Described) -> bytes:
    """Return the value of the metadata TFLITE_METADATA; the outputs are scores, boxes, count and classes."""
    write = _Tables()
    table = lambda fields: _At(write.table(fields))  # noqa: E731 - shorter than what it is part of
    features = table({0: _FEATURES, 1: table({})})
    boxes = {0: list(_LEFT_TOP_RIGHT_BOTTOM), 1: _BOUNDARIES, 2: _RATIO}
    normalization = table({0: list(described.mean), 1: list(described.deviation)})
    threshold = table({0: described.score_threshold})
    labels = (
        {
            6: [
                table(
                    {
                        0: _LABELS,
                        1: "The names of the classes, in the order of their numbers.",
                        2: _VALUE_LABELS,
                    }
                )
            ]
        }
        if described.class_names
        else {}
    )
    image = {
        0: "image",
        1: "The image, RGB, resized to the size of the input.",
        3: table({0: _IMAGE, 1: table({0: _RGB})}),
        4: [table({0: _NORMALIZATION, 1: normalization})],
    }
    score = {
        0: "score",
        1: "The scores of the detections, the best first.",
        3: features,
        4: [table({0: _SCORE_THRESHOLD, 1: threshold})],
    }
    outputs: tuple[dict[int, Any], ...] = (
        score,
        {0: "location", 1: "The boxes: top, left, bottom, right.", 3: table({0: _BOXES, 1: table(boxes)})},
        {0: "number of detections", 1: "How many there are.", 3: features},
        {0: "category", 1: "The classes, from 0 on.", 3: features, **labels},
    )
    graph = table({2: [table(image)], 3: [table(one) for one in outputs]})
    root = write.table({0: described.name, 1: "Finds objects in images.", 3: [graph], 7: _MIN_PARSER_VERSION})
    write.builder.Finish(root, _IDENTIFIER)
    return bytes(write.builder.Output())


def with_labels(content: bytes, class_names: Sequence[str]) -> bytes:
    """Return a file with the names of its classes appended as a ZIP archive, where the standard looks for them."""
    if not class_names:
        return content
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        text = "".join(f"{' '.join(name.split())}\n" for name in class_names)
        archive.writestr(zipfile.ZipInfo(_LABELS, _LONG_AGO), text.encode())
    return stream.getvalue()
