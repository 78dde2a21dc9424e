"""Exported models cut before suppression: from images to the boxes and scores of all anchors."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from boxtune.errors import CheckpointError, ConfigError
from boxtune.runtimes.model_file import ModelFile
from boxtune.runtimes.onnx import OnnxModel, session_of
from boxtune.runtimes.saved_model import SavedModel

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
