"""ONNX graphs that are written by hand: operations, constants, and the suppression in ONNX's own operator."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from boxtune.detection.nms import NonMaxSuppression

BATCH = "batch"
"""The name of the dimension of the images."""
_TENSORRT = "TRT"


class Nodes:
    """Operations at the end of an ONNX graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self._count = 0

    def __call__(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Append an operation on tensors of these names; return the name of its output, or those of several."""
        names = [f"boxtune/{operator}_{self._next()}" for _ in range(outputs)]
        self.graph.node.append(helper.make_node(operator, inputs, names, name=names[0], **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        """Add a constant; return its name."""
        name = f"boxtune/constant_{self._next()}"
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def _next(self) -> int:
        self._count += 1
        return self._count

    def output(self, tensor: str, name: str, shape: list[str | int], dtype: int = TensorProto.FLOAT) -> None:
        """Make a tensor an output of the graph, under a name of its own."""
        self.graph.node.append(helper.make_node("Identity", [tensor], [name], name=name))
        self.graph.output.append(helper.make_tensor_value_info(name, dtype, shape))


def append_suppression(
    graph: onnx.GraphProto, suppress: NonMaxSuppression, num_anchors: int | None, num_classes: int
) -> None:
    """Append the suppression of `boxtune.detection.nms`, with the same result, and make that the graph's outputs.

    ONNX's operator chooses class by class. What it chooses is a list over all images of a batch, in the order image,
    class, rank. It is clipped to the window of its image, the best of each image are taken, and these are scattered
    into rows of fixed length.

    Args:
        graph: with the tensors `boxes` float32 [b, a, 4], `scores` float32 [b, c, a], `windows` float32 [b, 4] and, if
            boxes suppress each other whatever their class, `classes` int64 [b, a].
        suppress: without Soft-NMS.
        num_anchors: a; None where it depends on the image.
        num_classes: c, or 1 if boxes suppress each other whatever their class.
    """
    add = Nodes(graph)
    limit = suppress.max_total_detections if suppress.class_agnostic else suppress.max_detections_per_class
    limit = limit if num_anchors is None else min(limit, num_anchors)
    total = min(suppress.max_total_detections, num_classes * limit)
    chosen = add(
        "NonMaxSuppression",
        "boxes",
        "scores",
        add.constant([limit]),
        add.constant([suppress.iou_threshold], np.float32),
        add.constant([suppress.score_threshold], np.float32),
    )  # [n, 3]: image, class, anchor
    image, number = (add("Gather", chosen, add.constant(part), axis=1) for part in (0, 1))
    image_and_anchor = add("Gather", chosen, add.constant([0, 2]), axis=1)
    scores = add("GatherND", "scores", chosen)
    if suppress.class_agnostic:
        number = add("GatherND", "classes", image_and_anchor)
    boxes, area = _in_window(add, add("GatherND", "boxes", image_and_anchor), image, suppress)
    rows = _best_first(add, scores, area)
    image, number, scores = (add("Gather", part, rows) for part in (image, number, scores))
    boxes = add("Gather", boxes, rows)
    rank, counts = _ranks(add, image)
    fits = add("Squeeze", add("NonZero", add("Less", rank, add.constant(total))), add.constant([0]))
    where = add(
        "Concat", *(add("Unsqueeze", part, add.constant([1])) for part in (image, rank)), axis=1
    )  # of each detection: its image and its row there
    where, boxes, scores, number = (add("Gather", part, fits) for part in (where, boxes, scores, number))
    numbers = add("Add", add("Cast", number, to=TensorProto.FLOAT), add.constant(1, np.float32))
    batch = add("Shape", "boxes", start=0, end=1)
    for name, values, shape in (
        ("detection_boxes", boxes, [total, 4]),
        ("detection_scores", scores, [total]),
        ("detection_classes", numbers, [total]),
    ):
        size = add("Concat", batch, add.constant(shape), axis=0)
        empty = add("ConstantOfShape", size, value=helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]))
        add.output(add("ScatterND", empty, where, values), name, [BATCH, *shape])
    most = add("Min", counts, add.constant(total))
    add.output(add("Cast", most, to=TensorProto.FLOAT), "num_detections", [BATCH])


def _in_window(add: Nodes, boxes: str, image: str, suppress: NonMaxSuppression) -> tuple[str, str]:
    """Clip boxes [n, 4] to the windows of their images int64 [n]; return them and their areas [n]."""
    window = add("Gather", "windows", image)  # [n, 4]
    low, high = (add("Gather", window, add.constant(part), axis=1) for part in ([0, 1, 0, 1], [2, 3, 2, 3]))
    boxes = add("Min", add("Max", boxes, low), high)
    start, end = (add("Gather", boxes, add.constant(part), axis=1) for part in ([0, 1], [2, 3]))
    area = add("ReduceProd", add("Sub", end, start), axes=[1], keepdims=0)
    if suppress.change_coordinate_frame:
        boxes = add("Div", add("Sub", boxes, low), add("Sub", high, low))
    return boxes, area


def _best_first(add: Nodes, scores: str, area: str) -> str:
    """Return int64 [m]: which of n boxes have an area and no negative score, by descending score [n].

    Of equal scores the earlier comes first, as everywhere in boxtune: that of the lower class.
    """
    zero = add.constant(0, np.float32)
    exists = add("And", add("Greater", area, zero), add("GreaterOrEqual", scores, zero))
    kept = add("Squeeze", add("NonZero", exists), add.constant([0]))
    _, order = add("TopK", add("Gather", scores, kept), add("Shape", kept), axis=0, outputs=2)
    return add("Gather", kept, order)


def _ranks(add: Nodes, image: str) -> tuple[str, str]:
    """Return how many earlier ones of n detections are in the same image, int64 [n], and the count of each, [b]."""
    batch = add("Squeeze", add("Shape", "boxes", start=0, end=1), add.constant([0]))
    every = add("Range", add.constant(0), batch, add.constant(1))  # [b]
    is_in = add(
        "Equal", add("Unsqueeze", image, add.constant([1])), add("Unsqueeze", every, add.constant([0]))
    )
    is_in = add("Cast", is_in, to=TensorProto.INT32)  # [n, b]
    before = add("CumSum", is_in, add.constant(0), exclusive=1)
    rank = add("ReduceSum", add("Mul", before, is_in), add.constant([1]), keepdims=0)
    counts = add("ReduceSum", is_in, add.constant([0]), keepdims=0)
    return add("Cast", rank, to=TensorProto.INT64), add("Cast", counts, to=TensorProto.INT64)


def floor_division(graph: Any, node: Any, name: str, args: Any) -> None:
    """Convert TensorFlow's FloorDiv in one of tf2onnx's graphs: its own way rounds integers towards 0.

    ONNX's Div does that, but its Mod has the sign of the divisor.
    """
    dividend, divisor = node.input
    dtype = graph.get_dtype(dividend)
    node.type = "Div"
    if dtype in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE):
        floor = graph.insert_new_node_on_output("Floor", node.output[0], name=f"{name}_floor")
        graph.copy_dtype(node.output[0], floor.output[0])
        graph.copy_shape(node.output[0], floor.output[0])
        return
    remainder = graph.make_node("Mod", [dividend, divisor], dtypes=[dtype]).output[0]
    multiple = graph.make_node("Sub", [dividend, remainder], dtypes=[dtype]).output[0]
    graph.replace_inputs(node, [multiple, divisor])


def append_efficient_nms(model: onnx.ModelProto, suppress: NonMaxSuppression) -> None:
    """Append TensorRT's plugin EfficientNMS_TRT to a model with raw boxes and scores; make its outputs the model's.

    They are `num_detections` int32 [b, 1], `detection_boxes` [b, k, 4], `detection_scores` [b, k] and
    `detection_classes` int32 [b, k], numbered from 0 on. The plugin has no limit for each class, and keeps boxes as
    they are: it does not clip them to the image.

    Source: the plugin's README in NVIDIA's TensorRT repository, version 1 of the plugin.
    """
    names = ["num_detections", "detection_boxes", "detection_scores", "detection_classes"]
    total = suppress.max_total_detections
    model.graph.node.append(
        helper.make_node(
            "EfficientNMS_TRT",
            ["raw_detection_boxes", "raw_detection_scores"],
            names,
            name="boxtune/EfficientNMS_TRT",
            domain=_TENSORRT,
            plugin_version="1",
            background_class=-1,  # there is none among the scores
            box_coding=0,  # corners
            class_agnostic=int(suppress.class_agnostic),
            iou_threshold=suppress.iou_threshold,
            max_output_boxes=total,
            score_activation=0,  # scores are probabilities already
            score_threshold=suppress.score_threshold,
        )
    )
    model.opset_import.append(helper.make_opsetid(_TENSORRT, 1))
    types = [TensorProto.INT32, TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT32]
    shapes = [[BATCH, 1], [BATCH, total, 4], [BATCH, total], [BATCH, total]]
    for name, dtype, shape in zip(names, types, shapes, strict=True):
        model.graph.output.append(helper.make_tensor_value_info(name, dtype, shape))
