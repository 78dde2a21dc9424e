"""A detector as a graph of constants, from images to what is chosen among: the start of every format."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from boxtune.data.resize import Resizer
from boxtune.detection.kernels import staying_convolutions
from boxtune.models import Detector
from boxtune.models.detector import windows
from boxtune.structures import Detections, Inputs

INPUT = "input_tensor"
"""The API's name of the images."""


@dataclass(frozen=True)
class Graph:
    """A function without variables, and the names of its tensors."""

    graph_def: Any
    inputs: list[str]
    outputs: dict[str, str]
    """The names of the tensors, by those of the outputs."""
    shapes: dict[str, tuple[int | None, ...]]
    """Those of the outputs."""


def candidates(detector: Detector, resizer: Resizer) -> Graph:
    """Return the graph from images to the boxes and scores that `detector.suppress` chooses among.

    Its input is uint8 [b, h, w, 3], of any size and in the range of pixels. Its outputs are `boxes` float32 [b, a, 4]
    in the input's frame, `scores` float32 [b, c, a] and `windows` float32 [b, 4]; where boxes suppress each other
    whatever their class, `scores` are those of the best class of each, [b, 1, a], and `classes` int64 [b, a] says
    which.
    """

    def find(images: Any) -> dict[str, Any]:
        inputs = _resized(images, resizer)
        boxes, scores = detector.candidates(inputs, detector(inputs, training=False))
        found = {"boxes": boxes, "windows": windows(inputs)}
        if detector.suppress is not None and detector.suppress.class_agnostic:
            found["classes"] = tf.argmax(scores, axis=-1)
            scores = tf.reduce_max(scores, axis=-1, keepdims=True)
        return found | {"scores": tf.transpose(scores, [0, 2, 1])}

    return graph_of(find, tf.TensorSpec([None, None, None, 3], tf.uint8, INPUT))


def raw(detector: Detector, size: tuple[int, int]) -> Graph:
    """Return the graph from images of one size to the boxes and scores of all anchors.

    Its input is float32 [b, h, w, 3] with values from 0 to 255 and no padding. Its outputs are `raw_detection_boxes`
    float32 [b, a, 4] as fractions of the image, and `raw_detection_scores` float32 [b, a, c].
    """

    def find(images: Any) -> dict[str, Any]:
        inputs = Inputs(images=images, sizes=_repeated(tf.constant(size, tf.int32), images))
        boxes, scores = detector.candidates(inputs, detector(inputs, training=False))
        return {"raw_detection_boxes": boxes, "raw_detection_scores": scores}

    return graph_of(find, tf.TensorSpec([None, *size, 3], tf.float32, INPUT))


def detections(detector: Detector, resizer: Resizer) -> Graph:
    """Return the graph from images uint8 [b, h, w, 3] of any size to detections by the API's names, all float32.

    Masks and keypoints are among them, if the detector finds some.
    """

    def find(images: Any) -> dict[str, Any]:
        inputs = _resized(images, resizer)
        return by_name(detector.detect(inputs, detector(inputs, training=False)))

    return graph_of(find, tf.TensorSpec([None, None, None, 3], tf.uint8, INPUT))


def by_name(found: Detections) -> dict[str, Any]:
    """Return detections by the API's names, all float32, with classes from 1 on.

    Source: the API's exporter_lib_v2 and core.standard_fields.
    """
    shapes = {
        "detection_masks": found.masks,
        "detection_keypoints": found.keypoints,
        "detection_keypoint_scores": found.keypoint_scores,
    }
    return {
        "num_detections": tf.cast(found.count, tf.float32),
        "detection_boxes": found.boxes,
        "detection_scores": found.scores,
        "detection_classes": tf.cast(found.classes, tf.float32) + 1.0,
        **{name: part for name, part in shapes.items() if part is not None},
    }


def _resized(images: Any, resizer: Resizer) -> Inputs:
    """Return images uint8 [b, h, w, 3] as a detector takes them."""
    resized = resizer(tf.cast(images, tf.float32))  # of uint8, other runtimes would round what they resize
    return Inputs(images=resized.image, sizes=_repeated(resized.size, images))


def _repeated(size: Any, images: Any) -> Any:
    """Return the size int32 [2] for each of some images [b, ...], as [b, 2]."""
    return tf.tile(size[None], tf.stack([tf.shape(images)[0], 1]))


def graph_of(find: Any, spec: tf.TensorSpec) -> Graph:
    """Trace a function of one argument that returns tensors by their names; make its variables constants."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    with staying_convolutions():
        function = tf.function(find, input_signature=[spec], autograph=False).get_concrete_function()
    names = sorted(function.structured_outputs)  # the order in which TensorFlow flattens them
    with quiet("tensorflow"):
        frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    outputs = dict(zip(names, frozen.outputs, strict=True))
    return Graph(
        frozen.graph.as_graph_def(),
        [tensor.name for tensor in frozen.inputs],
        {name: tensor.name for name, tensor in outputs.items()},
        {name: tuple(tensor.shape.as_list()) for name, tensor in outputs.items()},
    )


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """Leave out within the block what a library logs about the steps of its work."""
    logger = logging.getLogger(name)
    logger.disabled, before = True, logger.disabled  # not by its level, which they set themselves
    try:
        yield
    finally:
        logger.disabled = before
