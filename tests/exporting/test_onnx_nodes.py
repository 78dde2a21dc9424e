"""What is written into ONNX files by hand, and the resizing before it, against what boxtune does itself."""

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from boxtune.config import pipeline_pb2
from boxtune.data.resize import resizer
from boxtune.detection.nms import NonMaxSuppression
from boxtune.errors import ConfigError
from boxtune.exporting.onnx import OPSET, converted, refuse_resizer
from boxtune.exporting.onnx_nodes import append_efficient_nms, append_suppression
from boxtune.exporting.traced import graph_of

A, C = 12, 3
WHOLE = [0, 0, 1, 1]


def model_of(**inputs):
    """Return an ONNX model of inputs only, float32 or as they say, by their shapes."""
    infos = [
        helper.make_tensor_value_info(
            name, TensorProto.INT64 if name == "classes" else TensorProto.FLOAT, shape
        )
        for name, shape in inputs.items()
    ]
    graph = helper.make_graph([], "test", infos, [])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def suppression(suppress):
    """Return the function from boxes [b, a, 4], scores [b, a, c] and windows [b, 4] to what ONNX finds."""
    c = 1 if suppress.class_agnostic else C
    shapes = {"boxes": ["b", A, 4], "scores": ["b", c, A], "windows": ["b", 4]}
    model = model_of(**shapes, **({"classes": ["b", A]} if suppress.class_agnostic else {}))
    append_suppression(model.graph, suppress, A, c)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())

    def run(boxes, scores, windows):
        given = {"boxes": boxes, "windows": windows}
        if suppress.class_agnostic:
            given |= {"classes": scores.argmax(-1), "scores": scores.max(-1)[:, None]}
        else:
            given["scores"] = scores.transpose(0, 2, 1).copy()
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, given), strict=True))

    return run


CASES = {
    "plain": NonMaxSuppression(score_threshold=0.25, iou_threshold=0.5),
    "few": NonMaxSuppression(0.0, 0.3, max_detections_per_class=2, max_total_detections=4),
    "more_than_there_are": NonMaxSuppression(1e-8, 0.6, max_detections_per_class=50, max_total_detections=90),
    "in_the_input": NonMaxSuppression(0.0, 0.6, change_coordinate_frame=False),
    "class_agnostic": NonMaxSuppression(0.1, 0.5, 1, 5, class_agnostic=True),
    "negative_threshold": NonMaxSuppression(score_threshold=-2.0),
}


@pytest.mark.parametrize("name", CASES)
def test_suppression_is_that_of_boxtune_ties_and_all(name):
    suppress = CASES[name]
    run = suppression(suppress)
    rng = np.random.default_rng(0)
    for _ in range(20):
        b = rng.integers(1, 4)
        corners = (
            rng.integers(-1, 6, [b, A, 2, 2]).astype(np.float32) / 4
        )  # coarse: many boxes and scores are equal
        boxes = np.concatenate([corners.min(2), corners.max(2)], -1)
        scores = rng.integers(-1, 5, [b, A, C]).astype(np.float32) / 4
        windows = np.float32([WHOLE, [0, 0, 0.5, 1], [0, 0, 0.75, 0.75]])[rng.integers(0, 3, b)]
        expected = suppress(tf.constant(boxes), tf.constant(scores), tf.constant(windows))
        found = run(boxes, scores, windows)
        np.testing.assert_array_equal(found["num_detections"], expected.count)
        np.testing.assert_array_equal(found["detection_scores"], expected.scores)
        is_found = np.arange(expected.scores.shape[1]) < found["num_detections"][:, None]
        classes = (np.asarray(expected.classes) + 1) * is_found
        np.testing.assert_array_equal(found["detection_classes"], classes)
        np.testing.assert_allclose(found["detection_boxes"], expected.boxes, atol=1e-7)


@pytest.mark.parametrize("name", CASES)
def test_a_batch_finds_what_single_images_find(name):
    run = suppression(CASES[name])
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 1, [4, A, 2, 2]).astype(np.float32)
    boxes = np.concatenate([corners.min(2), corners.max(2)], -1)
    scores = rng.uniform(0, 1, [4, A, C]).astype(np.float32)
    scores[2] = -1  # nothing is found in one of them
    windows = np.float32([WHOLE] * 4)
    together = run(boxes, scores, windows)
    for i in range(4):
        alone = run(boxes[i : i + 1], scores[i : i + 1], windows[i : i + 1])
        for part, values in alone.items():
            np.testing.assert_array_equal(values[0], together[part][i])
    assert together["num_detections"][2] == 0


def test_boxes_that_are_no_numbers_are_not_found():
    run = suppression(CASES["few"])
    boxes, scores = np.full([1, A, 4], np.nan, np.float32), np.full([1, A, C], 0.5, np.float32)
    assert run(boxes, scores, np.float32([WHOLE]))["num_detections"] == [0]


def test_tensorrts_plugin_is_at_the_end():
    shapes = {"raw_detection_boxes": ["batch", A, 4], "raw_detection_scores": ["batch", A, C]}
    model = model_of(**shapes)
    append_efficient_nms(model, NonMaxSuppression(0.25, 0.5, max_total_detections=7))
    (node,) = model.graph.node
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    assert (node.op_type, node.domain, list(node.input)) == ("EfficientNMS_TRT", "TRT", [*shapes])
    assert attributes == {
        "plugin_version": b"1",
        "background_class": -1,
        "box_coding": 0,
        "class_agnostic": 0,
        "iou_threshold": 0.5,
        "max_output_boxes": 7,
        "score_activation": 0,
        "score_threshold": 0.25,
    }
    shapes = {
        output.name: [one.dim_param or one.dim_value for one in output.type.tensor_type.shape.dim]
        for output in model.graph.output
    }
    assert shapes == {
        "num_detections": ["batch", 1],
        "detection_boxes": ["batch", 7, 4],
        "detection_scores": ["batch", 7],
        "detection_classes": ["batch", 7],
    }


# -------------------------------------------------------------------------------------- resizing


RESIZERS = {
    "fixed": {"fixed_shape_resizer": {"height": 24, "width": 32}},
    "padded": {
        "keep_aspect_ratio_resizer": {
            "min_dimension": 20,
            "max_dimension": 32,
            "pad_to_max_dimension": True,
            "per_channel_pad_value": [1, 20, 255],
        }
    },
    "aspect": {"keep_aspect_ratio_resizer": {"min_dimension": 20, "max_dimension": 32}},
    "identity": {"identity_resizer": {}},
    "conditional": {"conditional_shape_resizer": {"condition": "SMALLER", "size_threshold": 20}},
    "multiple": {"pad_to_multiple_resizer": {"multiple": 16}},
}


def onnx_resizer(section):
    """Return the function from images uint8 [b, h, w, 3] to resized ones and their size, by way of ONNX."""

    def find(images):
        resized = resizer(section)(tf.cast(images, tf.float32))
        return {"image": resized.image, "size": tf.identity(resized.size)}

    model = converted(graph_of(find, tf.TensorSpec([None, None, None, 3], tf.uint8, "images")))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return lambda images: session.run(["image", "size"], {"images": images})


@pytest.mark.parametrize("name", RESIZERS)
def test_resizing_is_that_of_training(name):
    section = pipeline_pb2.ImageResizer(**RESIZERS[name])
    run, resize = onnx_resizer(section), resizer(section)

    @settings(max_examples=12)
    @given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 2))
    def check(height, width, count):
        images = np.random.default_rng(height).integers(0, 256, [count, height, width, 3], np.uint8)
        found, size = run(images)
        for image, one in zip(images, found, strict=True):
            expected = resize(tf.cast(image, tf.float32))
            np.testing.assert_array_equal(size, expected.size)
            np.testing.assert_allclose(one, expected.image, atol=2e-3)

    check()


@pytest.mark.parametrize("method", ["NEAREST_NEIGHBOR", "BICUBIC", "AREA"])
def test_other_methods_of_resizing_are_refused(method):
    section = pipeline_pb2.ImageResizer(
        fixed_shape_resizer={"height": 24, "width": 32, "resize_method": method}
    )
    with pytest.raises(ConfigError, match=f"^fixed_shape_resizer.resize_method is {method}, for which"):
        refuse_resizer(section)


def test_an_operation_that_onnx_does_not_have_is_named():
    def find(images):
        return {"gammas": tf.math.lgamma(tf.cast(images, tf.float32))}

    graph = graph_of(find, tf.TensorSpec([None, None, None, 3], tf.uint8, "images"))
    with pytest.raises(
        ConfigError, match=r"^--format onnx: the model cannot be converted: ONNX has no Lgamma"
    ):
        converted(graph)


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64, tf.float32])
def test_division_rounds_down_as_tensorflow_does(dtype):
    values = np.array([[-17, -16, -15, -1], [0, 1, 15, 17]], dtype.as_numpy_dtype)
    graph = graph_of(lambda x: {"by_8": x // 8, "by_minus_8": x // -8}, tf.TensorSpec([None, 4], dtype, "x"))
    session = onnxruntime.InferenceSession(converted(graph).SerializeToString())
    by_8, by_minus_8 = session.run(["by_8", "by_minus_8"], {"x": values})
    np.testing.assert_array_equal(by_8, [[-3, -2, -2, -1], [0, 0, 1, 2]])
    np.testing.assert_array_equal(by_minus_8, [[2, 2, 1, 0], [0, -1, -2, -3]])
