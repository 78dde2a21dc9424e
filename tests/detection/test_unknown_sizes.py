"""Detection inside a graph of TensorFlow that does not know the sizes of images, or how many anchors there are."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from boxtune.detection.anchors import (
    AnchorGrid,
    FlexibleGridAnchors,
    MultiscaleAnchors,
    SsdAnchors,
    grid_anchors,
)
from boxtune.detection.box_coders import FasterRcnnBoxCoder
from boxtune.detection.matching import IGNORED, UNMATCHED, ArgMaxMatcher, assign_targets
from boxtune.detection.nms import NonMaxSuppression

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="only graphs of TensorFlow have unknown sizes"
)

FLEXIBLE = (
    AnchorGrid(base_sizes=(8, 16), aspect_ratios=(1.0, 4.0), stride=(10, 20), offset=(5, 10)),
    AnchorGrid(base_sizes=(32,), aspect_ratios=(1.0,), stride=(40, 40)),
)
GENERATORS = {
    "ssd": SsdAnchors(num_layers=2),
    "ssd with strides": SsdAnchors(num_layers=2, strides=((16, 32), (32, 64)), offsets=((8, 16), (16, 32))),
    "multiscale": MultiscaleAnchors(min_level=4, max_level=5),
    "flexible": FlexibleGridAnchors(maps=FLEXIBLE),
}


class TestSizesThatAreTensors:
    """Anchors of images whose size a graph does not know are those that numpy computes for it."""

    SIZES = ((64, 96), (65, 97), (511, 333), (640, 1280))

    def grids(self, height, width):
        return [(-(-height // stride), -(-width // stride)) for stride in (16, 32)]

    @pytest.mark.parametrize("generator", GENERATORS.values(), ids=GENERATORS)
    def test_in_a_graph(self, generator):
        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])])
        def anchors(images):
            height, width = ops.shape(images)[1:3]
            assert not isinstance(height, int)
            return generator.generate(self.grids(height, width), (height, width))

        for size in self.SIZES:
            measured = anchors(tf.zeros([1, *size, 3]))
            assert measured.dtype == tf.float32
            expected = generator.generate(self.grids(*size), size)
            assert isinstance(expected, np.ndarray)
            np.testing.assert_allclose(measured, expected, atol=1e-6)

    @pytest.mark.parametrize("generator", GENERATORS.values(), ids=GENERATORS)
    def test_one_side_may_be_known(self, generator):
        grids, size = self.grids(64, 96), (64, 96)
        measured = generator.generate(grids, (64, tf.constant(96)))
        assert tf.is_tensor(measured)
        np.testing.assert_allclose(measured, generator.generate(grids, size), atol=1e-6)

    def test_pixels(self):
        generator = grid_anchors((0.5, 1.0, 2.0), (0.5, 1.0, 2.0), (256, 256), stride=(16, 16))
        measured = generator.generate([(tf.constant(5), tf.constant(7))], (80, 112))
        np.testing.assert_allclose(measured, generator.generate([(5, 7)], (80, 112)), rtol=1e-6, atol=1e-4)


def test_targets_of_unknown_anchors():
    boxes = np.float32([[0, 0, 0.5, 0.5], [0, 0.5, 0.5, 1]])
    groundtruth = {
        "boxes": boxes[None],
        "classes": np.int32([[2, 0]]),
        "weights": np.float32([[0.5, 1]]),
        "valid": np.array([[True, True]]),
    }
    matcher = ArgMaxMatcher(matched_threshold=0.7, unmatched_threshold=0.5, force_match=True)

    @tf.function(input_signature=[tf.TensorSpec([None, 4])])
    def in_graph(anchors):
        targets = assign_targets(groundtruth, anchors, matcher, FasterRcnnBoxCoder(), 3)
        return targets.matches, targets.encodings

    # The boxes themselves, one elsewhere, and one that overlaps box 0 by 0.6.
    anchors = np.float32([*boxes, [0.5, 0.5, 1, 1], [0, 0, 0.5, 0.3]])
    matches, encodings = in_graph(anchors)
    np.testing.assert_array_equal(matches, [[0, 1, UNMATCHED, IGNORED]])
    np.testing.assert_allclose(encodings, np.zeros([1, 4, 4]), atol=1e-6)
    np.testing.assert_array_equal(in_graph(anchors[:2])[0], [[0, 1]])


def test_suppression_of_unknown_boxes():
    # B overlaps A by a half, C overlaps neither.
    a, b, c = [0, 0, 0.3, 1], [0.1, 0, 0.4, 1], [0.6, 0, 0.9, 1]
    suppression = NonMaxSuppression(max_detections_per_class=3, iou_threshold=0.45)

    @tf.function(input_signature=[tf.TensorSpec([None, None, 4]), tf.TensorSpec([None, None, 2])])
    def in_graph(boxes, scores):
        found = suppression(boxes, scores)
        return found.boxes, found.count

    boxes, scores = np.float32([[a, b, c]]), np.float32([[[0.9, 0], [0.8, 0], [0.7, 0.6]]])
    found, count = in_graph(boxes, scores)
    assert count == 3
    np.testing.assert_allclose(found[0, :3], [a, c, c])
    assert in_graph(boxes[:, :1], scores[:, :1])[1] == 1
