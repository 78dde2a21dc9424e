"""Exported models cut before suppression: from images to the boxes and scores of all anchors."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from boxtune.errors import CheckpointError, ConfigError
from boxtune.runtimes.model_file import ModelFile
from boxtune.runtimes.onnx import OnnxModel, session_of
from boxtune.runtimes.openvino import OpenVINOModel, openvino_core, options_of, quiet_openvino
from boxtune.runtimes.saved_model import SavedModel
from boxtune.runtimes.tflite import TFLiteModel
from boxtune.runtimes.tflite_schema import IDENTIFIER, POST_PROCESS

_RAW = ("raw_detection_boxes", "raw_detection_scores")  # outputs of SavedModels
_CHOSEN_AMONG = ("boxes", "scores")  # what `boxtune.exporting.onnx_nodes` appends suppression to


def network_of(model: ModelFile, threads: int | None) -> Callable[[Any], dict[str, Any]]:
    """Return the function from images uint8 [b, h, w, 3] to boxes and scores of all anchors.

    It resizes, as the whole model does.

    Raises:
        BoxtuneError: saying why a model cannot be cut.
    """
    if isinstance(model, SavedModel):
        return _of_saved_model(model)
    if isinstance(model, OnnxModel):
        return _of_onnx(model.path, threads)
    if isinstance(model, TFLiteModel):
        return _of_tflite(model, threads)
    if isinstance(model, OpenVINOModel):
        return _of_openvino(model, threads)
    raise ConfigError(f"files {model.path.suffix} are not cut before suppression")


def _of_saved_model(model: SavedModel) -> Callable[[Any], dict[str, Any]]:
    """Return a function that asks for outputs without suppression, so that TensorFlow leaves that out."""
    import tensorflow as tf

    if missing := [name for name in _RAW if name not in model.signature.structured_outputs]:
        raise CheckpointError(f"the SavedModel returns no {', '.join(missing)}")
    (spec,) = model.signature.structured_input_signature[1].values()

    @tf.function(input_signature=[spec], autograph=False)
    def run(images: Any) -> dict[str, Any]:
        outputs = model.signature(images)
        return {name: outputs[name] for name in _RAW}

    return lambda images: run(tf.constant(images))


def _of_onnx(path: Path, threads: int | None) -> Callable[[Any], dict[str, Any]]:
    try:
        import onnx
    except ImportError as error:
        raise ConfigError("to cut an ONNX file takes the package onnx: pip install onnx") from error
    proto = onnx.load_model_from_string(path.read_bytes())
    computed = {name for node in proto.graph.node for name in node.output}
    if not computed.issuperset(_CHOSEN_AMONG):
        raise CheckpointError("in the ONNX file there is nothing to suppress, or it is not boxtune's")
    _cut(proto.graph, _CHOSEN_AMONG)
    session = session_of(proto.SerializeToString(), threads)
    (images_input,) = session.get_inputs()
    return lambda images: dict(
        zip(_CHOSEN_AMONG, session.run(_CHOSEN_AMONG, {images_input.name: images}), strict=True)
    )


def _of_tflite(model: TFLiteModel, threads: int | None) -> Callable[[Any], dict[str, Any]]:
    """Return a function of the file without its last operator, which suppresses."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter

    file = schema.ModelT.InitFromPackedBuf(model.path.read_bytes())
    (graph,) = file.subgraphs
    last = graph.operators.pop()
    if file.operatorCodes[last.opcodeIndex].customCode != POST_PROCESS.encode():
        raise CheckpointError("in the file there is nothing to suppress, or it is not boxtune's")
    graph.outputs = last.inputs[:2]
    file.signatureDefs = []  # they name the outputs that are gone
    builder = flatbuffers.Builder()
    builder.Finish(file.Pack(builder), IDENTIFIER)
    interpreter = Interpreter(model_content=bytes(builder.Output()), num_threads=threads)
    interpreter.allocate_tensors()
    (image_input,), outputs = interpreter.get_input_details(), interpreter.get_output_details()

    def run(images: Any) -> dict[str, Any]:
        for image in images:
            interpreter.set_tensor(image_input["index"], model.input_of(image))
            interpreter.invoke()
        found = (interpreter.get_tensor(output["index"]) for output in outputs)
        return dict(zip(_CHOSEN_AMONG, found, strict=True))

    return run


def _of_openvino(model: OpenVINOModel, threads: int | None) -> Callable[[Any], dict[str, Any]]:
    core = openvino_core()
    whole = core.read_model(str(model.path))
    by_name = {
        name: output
        for operation in whole.get_ops()
        for output in operation.outputs()
        for name in output.get_names()
    }
    if not by_name.keys() >= set(_CHOSEN_AMONG):
        raise CheckpointError("in the IR there is nothing to suppress, or it is not boxtune's")
    cut = quiet_openvino().Model([by_name[name] for name in _CHOSEN_AMONG], whole.get_parameters())
    compiled = core.compile_model(cut, "CPU", options_of(threads))

    def run(images: Any) -> dict[str, Any]:
        found = compiled(images)
        return {name: found[number] for number, name in enumerate(_CHOSEN_AMONG)}

    return run


def _cut(graph: Any, outputs: Sequence[str]) -> None:
    """Make tensors the outputs of an ONNX graph, and remove the nodes behind them, which onnxruntime would run."""
    needed, kept = set(outputs), []
    for node in reversed(graph.node):  # each comes behind what it takes
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(_inputs(node))
    nodes = list(reversed(kept))
    del graph.node[:], graph.output[:]
    graph.node.extend(nodes)
    for name in outputs:
        graph.output.add(name=name)


def _inputs(node: Any) -> Iterator[str]:
    """Yield what a node takes, and what the graphs in it, of loops and branches, take from around them."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _inputs(inner)
