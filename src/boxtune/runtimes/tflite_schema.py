"""What a program has to know of a TensorFlow Lite file besides running it: names, metadata, and what its end is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import flatbuffers
from flatbuffers import number_types as types
from flatbuffers.table import Table

POST_PROCESS = "TFLite_Detection_PostProcess"
"""The operator that decodes boxes and suppresses those that overlap better ones."""

STANDARD_METADATA = "TFLITE_METADATA"
"""The name, in a file, of the metadata that all programs read."""

IDENTIFIER = b"TFL3"

_CUSTOM = 32  # of BuiltinOperator


@dataclass(frozen=True)
class Schema:
    """The parts of a file that LiteRT has accepted, so that all offsets in it are valid."""

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

    @cached_property
    def post_process_outputs(self) -> list[int] | None:
        """The tensors of boxes, classes, scores and count; None of a file without that operator."""
        if self._model.SubgraphsLength() < 1:
            return None
        graph = self._model.Subgraphs(0)
        for index in range(graph.OperatorsLength()):
            operator = graph.Operators(index)
            code = self._model.OperatorCodes(operator.OpcodeIndex())
            if code.BuiltinCode() == _CUSTOM and code.CustomCode() == POST_PROCESS.encode():
                return [int(one) for one in operator.OutputsAsNumpy()]
        return None


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
    except (IndexError, ValueError, TypeError, flatbuffers.packer.struct.error) as error:
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
