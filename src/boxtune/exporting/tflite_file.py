"""What is done to a TensorFlow Lite file after its conversion: outputs, options and metadata; and what is in it."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from flatbuffers import flexbuffers

from boxtune.errors import ConfigError, some
from boxtune.exporting.tflite_metadata import Described, standard_metadata, with_labels
from boxtune.models import Detector
from boxtune.runtimes.tflite_schema import IDENTIFIER, POST_PROCESS, STANDARD_METADATA

EDGE_TPU = frozenset(
    """
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED L2_NORMALIZATION LOGISTIC
    LSTM MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL PACK PAD PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1
    RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SQUEEZE STRIDED_SLICE SUB
    SUM SQUARED_DIFFERENCE TANH TRANSPOSE TRANSPOSE_CONV
    """.split()  # noqa: SIM905 - as long as a page otherwise
)
"""The operators that the Edge TPU compiler's documentation lists, by their names in the schema."""

_AFTER_NETWORK = frozenset({"DEQUANTIZE", POST_PROCESS})  # which run on the CPU wherever the network runs
_MOST_BYTES = (1 << 31) - 1  # of a file of flatbuffers
_PER_CLASS = 100  # detections, where a file does not say it
_ORDER = (1, 3, 0, 2)
"""Of count, scores, classes and boxes in a file: as in the API's, by which programs know them."""

_log = logging.getLogger("boxtune")


def finished(content: bytes, detector: Detector, said: Mapping[str, str], described: Described) -> bytes:
    """Return what the converter wrote with shapes, names and order of outputs, and metadata.

    Raises:
        ConfigError: if it has operators that no runtime has, or is too large.
    """
    from ai_edge_litert.schema_py_generated import ModelT

    model = ModelT.InitFromPackedBuf(content, 0)
    unknown = sorted(_custom_operators(model) - {POST_PROCESS})
    if unknown:
        raise ConfigError(
            f"--format tflite: the model cannot be converted: TensorFlow Lite has no {', '.join(unknown)}"
        )
    _shape_outputs(model, detector)
    _limit_each_class(model, detector)
    for name, text in said.items():
        _add_metadata(model, name, text.encode())
    _add_metadata(model, STANDARD_METADATA, standard_metadata(described))
    builder = flatbuffers.Builder(len(content) + (1 << 16))
    builder.Finish(model.Pack(builder), IDENTIFIER)
    written = with_labels(bytes(builder.Output()), described.class_names)
    if len(written) > _MOST_BYTES:
        raise ConfigError(f"--format tflite: the model has {len(written):,} bytes, and a file at most 2 GiB")
    return written


def _shape_outputs(model: Any, detector: Detector) -> None:
    """Name and order the outputs, and write their shapes: without them, a runtime takes them for scalars."""
    (graph,) = model.subgraphs
    (signature,) = model.signatureDefs
    tensors = {one.name.decode(): one.tensorIndex for one in signature.outputs}
    numbered = [tensors[f"output_{number}"] for number in range(len(_ORDER))]
    most = (
        detector.suppress.max_total_detections if detector.suppress else graph.tensors[numbered[1]].shape[-1]
    )
    shapes = ([1], [1, most], [1, most], [1, most, 4])
    for number, (index, shape) in enumerate(zip(numbered, shapes, strict=True)):
        graph.tensors[index].name = f"StatefulPartitionedCall:{number}".encode()
        graph.tensors[index].shape = np.array(shape, np.int32)
        graph.tensors[index].shapeSignature = None
    graph.outputs = np.array([numbered[number] for number in _ORDER], np.int32)


def _limit_each_class(model: Any, detector: Detector) -> None:
    """Write the most detections of each class, which the converter does not pass on, where they are not the default."""
    suppress = detector.suppress
    if suppress is None or suppress.class_agnostic or suppress.max_detections_per_class == _PER_CLASS:
        return
    for operator in model.subgraphs[0].operators:
        if name_of(model.operatorCodes[operator.opcodeIndex]) == POST_PROCESS:
            options = flexbuffers.Loads(bytes(operator.customOptions))
            options["detections_per_class"] = suppress.max_detections_per_class
            operator.customOptions = np.frombuffer(_flexible(options), np.uint8)


def _flexible(options: Mapping[str, int | float]) -> bytes:
    """Return options as the operator reads them, floats in 32 bits."""
    builder = flexbuffers.Builder()
    with builder.Map():
        for key, value in sorted(options.items()):
            builder.Key(key)
            if isinstance(value, float):
                builder.Float(value, 4)
            else:
                builder.Int(value)
    return bytes(builder.Finish())


def _add_metadata(model: Any, name: str, value: bytes) -> None:
    from ai_edge_litert.schema_py_generated import BufferT, MetadataT

    buffer, entry = BufferT(), MetadataT()
    buffer.data = np.frombuffer(value, np.uint8)
    entry.name, entry.buffer = name.encode(), len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or ()), entry]


def operators(content: bytes) -> set[str]:
    """Return the operators of a file, by the schema's names or, if custom, by their own."""
    from ai_edge_litert.schema_py_generated import ModelT

    model = ModelT.InitFromPackedBuf(content, 0)
    return {
        name_of(model.operatorCodes[operator.opcodeIndex])
        for graph in model.subgraphs
        for operator in graph.operators
    }


def _custom_operators(model: Any) -> set[str]:
    return {name_of(code) for code in model.operatorCodes if code.customCode}


def name_of(code: Any) -> str:
    """Return the name of an operator, given its code in a ModelT."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    if code.customCode:
        return str(code.customCode.decode(errors="replace"))
    names = {value: name for name, value in vars(BuiltinOperator).items() if isinstance(value, int)}
    # Files of older schemas have the number in a byte of its own.
    return names[max(code.builtinCode, code.deprecatedBuiltinCode)]


def not_on_edge_tpu(content: bytes) -> list[str]:
    """Return those operators of a file that the Edge TPU compiler does not list, besides what follows the network."""
    return sorted(operators(content) - EDGE_TPU - _AFTER_NETWORK)


def warn_of_edge_tpu(path: Path) -> None:
    """Warn, by name, of operators that would end what the Edge TPU compiler maps."""
    missing = not_on_edge_tpu(path.read_bytes())
    if missing:
        _log.warning(
            "%s: for an Edge TPU there is no %s by its compiler's documentation: what follows such an operator runs on "
            "the CPU.",
            path, some(missing, 8),
        )  # fmt: skip
