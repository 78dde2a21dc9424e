"""A detector as one ONNX file: resizing, network and suppression, with the names of its classes inside."""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boxtune
from boxtune import config, models
from boxtune.config import pipeline_pb2
from boxtune.data.resize import resizer
from boxtune.errors import ConfigError, printable
from boxtune.exporting import traced
from boxtune.exporting.about import About
from boxtune.models import Detector
from boxtune.runtimes.model_file import INPUT_IMAGES

OPSET = 17
"""Of the operators in the files."""

_MODULES = ("onnx", "onnxruntime", "tf2onnx")
_MOST_BYTES = 1 << 31  # of a file of Protocol Buffers


def require_onnx(format_name: str = "onnx") -> None:
    """Raise ConfigError, with the extra to install, unless all that writes and checks ONNX files is there."""
    for name in _MODULES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(
                f'the format {format_name} needs {name}, which cannot be imported: pip install "boxtune[{format_name}]"'
            ) from error


def write(path: Path, detector: Detector, model: pipeline_pb2.DetectionModel, about: About) -> None:
    """Write a detector as an ONNX file from images uint8 [batch, height, width, 3] to detections by the API's names.

    Raises:
        ConfigError: for what ONNX cannot express: Soft-NMS, a method of resizing, an operation of the network.
    """
    from boxtune.exporting.onnx_nodes import append_suppression

    refuse(detector, model)
    section = models.image_resizer(model)
    suppress = detector.suppress
    if suppress is None:
        graph = traced.detections(detector, resizer(section))
    else:
        graph = traced.candidates(detector, resizer(section))
    proto = converted(graph)
    if suppress is not None:
        _, num_classes, num_anchors = graph.shapes["scores"]
        del proto.graph.output[:]
        append_suppression(proto.graph, suppress, num_anchors, int(num_classes or 1))
    _finish(proto, about, {"dtype": "uint8", "size": config.fixed_size(section)})
    _save(proto, path)


def write_raw(path: Path, detector: Detector, model: pipeline_pb2.DetectionModel, about: About) -> None:
    """Write a detector without suppression, for TensorRT: from images float32 [batch, h, w, 3] of the model's size.

    Their values are from 0 to 255. The outputs are `raw_detection_boxes` [batch, a, 4] as fractions of the image and
    `raw_detection_scores` [batch, a, c].

    Raises:
        ConfigError: if images have no fixed size, or ONNX cannot express an operation of the network.
    """
    section = models.image_resizer(model)
    size = config.fixed_size(section)
    if size is None:
        raise ConfigError(
            f"--without_nms needs an input of fixed size, and {section.WhichOneof('image_resizer_oneof')} gives none: "
            "train with fixed_shape_resizer, or leave --without_nms out"
        )
    proto = converted(traced.raw(detector, size))
    _finish(proto, about, {"dtype": "float32", "size": size, "range": [0, 255]})
    _save(proto, path)


def append_plugin(path: Path, detector: Detector) -> None:
    """Append TensorRT's plugin EfficientNMS_TRT, which nothing else has, to what `write_raw` has written.

    Raises:
        ConfigError: if the plugin cannot do what the detector's suppression does.
    """
    import onnx

    from boxtune.exporting.onnx_nodes import append_efficient_nms

    if detector.suppress is None:
        raise ConfigError("--nms efficient_nms: this model has nothing to suppress; use --without_nms")
    refuse_suppression(detector)
    proto = onnx.load(str(path))
    del proto.graph.output[:]
    append_efficient_nms(proto, detector.suppress)
    path.write_bytes(proto.SerializeToString())


def refuse(detector: Detector, model: pipeline_pb2.DetectionModel) -> None:
    """Raise ConfigError for a suppression or a method of resizing that ONNX's operators do not have."""
    refuse_suppression(detector)
    refuse_resizer(models.image_resizer(model))


def refuse_suppression(detector: Detector) -> None:
    """Raise ConfigError for a detector of which ONNX's operators cannot choose the detections."""
    if detector.finds and detector.suppress is not None:
        raise ConfigError(
            f"--format onnx: suppression keeps boxes only, and this model finds {' and '.join(detector.finds)}, too: "
            "export it with --format saved_model"
        )
    if detector.suppress is not None and detector.suppress.soft_nms_sigma > 0:
        raise ConfigError(
            f"batch_non_max_suppression.soft_nms_sigma is {detector.suppress.soft_nms_sigma:g}, and ONNX's "
            "NonMaxSuppression drops boxes without lowering scores: set it to 0, or export with --without_nms"
        )


def refuse_resizer(section: pipeline_pb2.ImageResizer) -> None:
    """Raise ConfigError for a method of resizing of which ONNX's operator gives other pixels."""
    kind = section.WhichOneof("image_resizer_oneof")
    method = getattr(getattr(section, kind), "resize_method", pipeline_pb2.BILINEAR) if kind else None
    if method not in (None, pipeline_pb2.BILINEAR):
        name = pipeline_pb2.ResizeType.Name(method)
        raise ConfigError(
            f"{kind}.resize_method is {name}, for which ONNX's Resize gives other pixels than TensorFlow: export with "
            "--without_nms, and resize images as in training, or train with BILINEAR"
        )


def converted(graph: traced.Graph) -> Any:
    """Return a graph as ONNX, with tensors under the names of its outputs.

    Raises:
        ConfigError: naming the operation that ONNX cannot express.
    """
    import onnx
    import tf2onnx

    from boxtune.exporting.onnx_nodes import floor_division

    with traced.quiet("tf2onnx"), traced.quiet("tensorflow"):
        try:
            proto, _ = tf2onnx.convert.from_graph_def(
                graph.graph_def,
                name="boxtune",
                input_names=graph.inputs,
                output_names=list(graph.outputs.values()),
                opset=OPSET,
                custom_op_handlers={"FloorDiv": (floor_division, [])},
                tensors_to_rename={
                    **{name: name.partition(":")[0] for name in graph.inputs},
                    **{tensor: name for name, tensor in graph.outputs.items()},
                },
            )
        except Exception as error:  # of any kind, for whatever it cannot convert
            reason = printable(str(error).strip().partition("\n")[0])
            raise ConfigError(f"--format onnx: the model cannot be converted: {reason}") from error
    unknown = sorted(
        {node.op_type for node in proto.graph.node if not onnx.defs.has(node.op_type, node.domain)}
    )
    if unknown:
        raise ConfigError(f"--format onnx: the model cannot be converted: ONNX has no {', '.join(unknown)}")
    return proto


def _finish(proto: Any, about: About, images: Mapping[str, Any]) -> None:
    """Name the dimensions of a model, say who made it, and add what a program has to know to use it."""
    _name_dimensions(proto.graph)
    proto.producer_name, proto.producer_version = "boxtune", boxtune.__version__
    proto.doc_string = ""
    values = about.metadata() | {INPUT_IMAGES: json.dumps(dict(images))}
    for key, value in values.items():
        proto.metadata_props.add(key=key, value=value)


def _name_dimensions(graph: Any) -> None:
    """Name the dimensions of inputs and outputs that vary: runtimes see by the name which of them are the same."""
    del graph.value_info[:]
    for tensor in (*graph.input, *graph.output):
        names = ("batch", "height", "width") if tensor in graph.input else ("batch", "anchors")
        for name, dimension in zip(names, tensor.type.tensor_type.shape.dim, strict=False):
            if not dimension.HasField("dim_value"):
                dimension.dim_param = name


def _save(proto: Any, path: Path) -> None:
    """Write a model, checked by ONNX's own rules."""
    import onnx

    if proto.ByteSize() >= _MOST_BYTES:
        raise ConfigError(
            f"--format onnx: the model has {proto.ByteSize():,} bytes, and a file at most 2 GiB"
        )
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString())
