"""What a program has to know of a TensorFlow Lite file besides running it: names, metadata, and what its end is."""

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import flatbuffers
from flatbuffers import flexbuffers
from flatbuffers import number_types as types
from flatbuffers.table import Table

POST_PROCESS = "TFLite_Detection_PostProcess"
"""The operator that decodes boxes and suppresses those that overlap better ones."""

STANDARD_METADATA = "TFLITE_METADATA"
"""The name, in a file, of the metadata that all programs read."""

IDENTIFIER = b"TFL3"

_SIZES = {"num_classes": 0, "max_detections": 0, "max_classes_per_detection": 0, "detections_per_class": 100}
"""Options of POST_PROCESS by what they are where a file does not have them; 0 where it has to."""
_NUMBERS = ("nms_score_threshold", "nms_iou_threshold", "y_scale", "x_scale", "h_scale", "w_scale")
_MOST = 1 << 20  # detections; operators and tensors
_LARGEST_SCALE = 1e15
_CUSTOM = 32  # of BuiltinOperator


@dataclass(frozen=True)
class Schema:
    """The parts of a file. Of a damaged one, only `check` may be called: it raises an error for it, or LiteRT does."""

    content: bytes

    @cached_property
    def _model(self) -> Any:
        from ai_edge_litert.schema_py_generated import Model

        return Model.GetRootAs(self.content)

    @cached_property
    def metadata(self) -> dict[str, bytes]:
        """The values by their names."""
        values = {}
        for index in range(self._model.MetadataLength()):
            entry = self._model.Metadata(index)
            if 0 <= entry.Buffer() < self._model.BuffersLength():
                data = self._model.Buffers(entry.Buffer()).DataAsNumpy()
                values[(entry.Name() or b"").decode(errors="replace")] = bytes(data) if len_of(data) else b""
        return values

    def check(self) -> None:
        """Raise ValueError for what LiteRT does not look at, and would crash by, even before the offsets in the file.

        It looks at those itself, when it opens the file. Reading beyond the end is an error in Python.
        """
        try:
            self._check_graphs()
        except (struct.error, IndexError, TypeError, KeyError, OverflowError) as error:
            raise ValueError("its parts lie outside of it") from error

    def _check_graphs(self) -> None:
        left = _MOST
        codes = self._model.OperatorCodesLength()
        for number in range(self._model.SubgraphsLength()):
            graph = self._model.Subgraphs(number)
            count = graph.TensorsLength()
            left -= graph.OperatorsLength() + count + 1
            _require(left > 0, "it has more parts than any network")
            ends = [*_indices(graph.InputsAsNumpy()), *_indices(graph.OutputsAsNumpy())]
            _require(all(0 <= one < count for one in ends), "an input or output of a graph is no tensor")
            _require(
                all(map(_is_quantized_well, map(graph.Tensors, range(count)))), "it has scales that are none"
            )
            for index in range(graph.OperatorsLength()):
                operator = graph.Operators(index)
                inputs, outputs = _indices(operator.InputsAsNumpy()), _indices(operator.OutputsAsNumpy())
                _require(operator.OpcodeIndex() < codes, "an operator has no code")
                fits = all(0 <= one < count for one in (*inputs[:2], *outputs))  # later inputs may be missing
                _require(
                    fits and all(-1 <= one < count for one in inputs[2:]), "an operator is of no tensors"
                )
                if self._is_post_process(operator):
                    _check_post_process(graph, operator, inputs)

    def _is_post_process(self, operator: Any) -> bool:
        code = self._model.OperatorCodes(operator.OpcodeIndex())
        return code.BuiltinCode() == _CUSTOM and code.CustomCode() == POST_PROCESS.encode()

    @cached_property
    def post_process_outputs(self) -> list[int] | None:
        """The tensors of boxes, classes, scores and count; None of a file without that operator."""
        if self._model.SubgraphsLength() < 1:
            return None
        graph = self._model.Subgraphs(0)
        for index in range(graph.OperatorsLength()):
            operator = graph.Operators(index)
            if self._is_post_process(operator):
                return _indices(operator.OutputsAsNumpy())
        return None


def _indices(values: Any) -> list[int]:
    return [int(one) for one in values] if len_of(values) else []


def _require(fits: bool, fault: str) -> None:
    if not fits:
        raise ValueError(fault)


def _is_quantized_well(tensor: Any) -> bool:
    quantization = tensor.Quantization()
    scales: Any = quantization.ScaleAsNumpy() if quantization else 0
    return not len_of(scales) or all(0 < scale < _LARGEST_SCALE for scale in scales.tolist())


def _check_post_process(graph: Any, operator: Any, inputs: list[int]) -> None:
    """Raise ValueError unless the options of the operator fit its tensors."""
    data = operator.CustomOptionsAsNumpy()
    try:
        options: Any = flexbuffers.Loads(bytes(data)) if len_of(data) else None
        sizes = {name: int(options.get(name, default)) for name, default in _SIZES.items()}
        numbers = [float(options[name]) for name in _NUMBERS]
    except Exception as error:  # of any kind, for bytes that are no options
        raise ValueError(f"the options of {POST_PROCESS} are damaged") from error
    shapes = [_indices(graph.Tensors(one).ShapeAsNumpy()) for one in inputs]
    _require([len(shape) for shape in shapes] == [3, 3, 2], f"{POST_PROCESS} has other inputs than it needs")
    (_, anchors, width), (_, scored, scores), (count, sides) = shapes
    _require(
        anchors == scored == count > 0 and width >= sides == 4, f"the inputs of {POST_PROCESS} do not fit"
    )
    classes, most = sizes["num_classes"], sizes["max_detections"]
    fits = (
        0 < classes <= scores <= classes + 1
        and 0 < most <= _MOST
        and 0 < sizes["detections_per_class"] <= _MOST
    )
    fits = fits and sizes["max_classes_per_detection"] == 1 and all(map(math.isfinite, numbers))
    _require(fits and all(numbers[2:]), f"the options of {POST_PROCESS} do not fit its inputs")


def len_of(data: Any) -> int:
    """Return the length of a vector as flatbuffers returns it, which is 0 for none."""
    return 0 if isinstance(data, int) else len(data)


def normalization(metadata: Mapping[str, bytes]) -> tuple[list[float], list[float]] | None:
    """Return mean and deviation of the pixels of an image by the standard metadata, one number or one for each channel.

    None where there are none. Source: metadata_schema.fbs of TensorFlow Lite's metadata.

    Raises:
        ValueError: if the metadata are damaged.
    """
    content = metadata.get(STANDARD_METADATA)
    if not content:
        return None
    try:
        root = Table(content, flatbuffers.encode.Get(flatbuffers.packer.uoffset, content, 0))
        for graph in _tables(root, 3):
            for tensor in _tables(graph, 2):
                for unit in _tables(tensor, 4):
                    if _byte(unit, 0) == 1:  # NormalizationOptions
                        options = Table(content, 0)
                        unit.Union(options, unit.Offset(6))
                        return _floats(options, 0), _floats(options, 1)
    except (IndexError, ValueError, TypeError, struct.error) as error:
        raise ValueError(f"{STANDARD_METADATA}: {error}") from error
    return None


def _tables(table: Table, field: int) -> Iterator[Table]:
    """Yield the tables of a vector, at most a few: the first decide."""
    offset = table.Offset(4 + 2 * field)
    if offset:
        start = table.Vector(offset)
        for index in range(min(table.VectorLen(offset), 16)):
            yield Table(table.Bytes, table.Indirect(start + 4 * index))


def _byte(table: Table, field: int) -> int:
    offset = table.Offset(4 + 2 * field)
    return table.Get(types.Uint8Flags, offset + table.Pos) if offset else 0


def _floats(table: Table, field: int) -> list[float]:
    offset = table.Offset(4 + 2 * field)
    if not offset:
        return []
    start, count = table.Vector(offset), min(table.VectorLen(offset), 3)
    return [float(table.Get(types.Float32Flags, start + 4 * index)) for index in range(count)]
