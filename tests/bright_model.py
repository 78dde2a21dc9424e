"""An ONNX file that finds one box in every image, scored by how bright it is; made by hand, which takes no time."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_OUTPUTS = {
    "num_detections": ["batch"],
    "detection_boxes": ["batch", 1, 4],
    "detection_scores": ["batch", 1],
    "detection_classes": ["batch", 1],
}


def write(path: Path, *, boxes: str = "boxes", multiple: int = 1) -> Path:
    """Write the file, in which boxes before suppression are called `boxes`; it fails for images of other widths than
    a multiple of `multiple`.
    """
    images = helper.make_tensor_value_info("input_tensor", TensorProto.UINT8, ["batch", "height", "width", 3])
    constants = {
        "zero": np.float32([0]),
        "one": np.float32([1]),
        "most": np.float32([255]),
        "as_scores": np.int64([-1, 1, 1]),
        "as_rows": np.int64([-1, 1]),
        "as_count": np.int64([-1]),
        "as_multiple": np.int64([0, 0, -1, 3 * multiple]),
    }
    nodes = [
        helper.make_node("Reshape", ["input_tensor", "as_multiple"], ["columns"]),
        helper.make_node("Cast", ["columns"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["means"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Div", ["means", "most"], ["fractions"]),
        helper.make_node("Reshape", ["fractions", "as_scores"], ["scores"]),
        helper.make_node("Mul", ["scores", "zero"], ["low"]),
        helper.make_node("Add", ["low", "one"], ["high"]),
        helper.make_node("Concat", ["low", "low", "high", "high"], [boxes], axis=2),
        helper.make_node("Identity", [boxes], ["detection_boxes"]),
        helper.make_node("Reshape", ["scores", "as_rows"], ["detection_scores"]),
        helper.make_node("Reshape", ["high", "as_rows"], ["detection_classes"]),
        helper.make_node("Reshape", ["high", "as_count"], ["num_detections"]),
    ]
    graph = helper.make_graph(
        nodes,
        "bright",
        [images],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in _OUTPUTS.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
