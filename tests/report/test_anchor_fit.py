from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from boxtune import config, models
from boxtune.config import pipeline_pb2
from boxtune.data import resize
from boxtune.data.image_record import Box, ImageRecord, ImageSource, ObjectRecord
from boxtune.detection.anchors import MultiscaleAnchors, SsdAnchors, tile
from boxtune.models.ssd_features import FEATURE_EXTRACTORS
from boxtune.report.anchor_fit import AnchorFit, best_ious, fit_anchors
from kinds import shallow, smallest_of_each_kind


def image(*boxes, width=200, height=100):
    objects = tuple(ObjectRecord("owl", Box(*box)) for box in boxes)
    return ImageRecord("a.jpg", ImageSource(Path("a.jpg")), "a.xml", width, height, objects)


def resizer(text):
    return text_format.Parse(text, pipeline_pb2.ImageResizer())


FIXED = resizer("fixed_shape_resizer { height: 320 width: 320 }")
PADDED = resizer(
    "keep_aspect_ratio_resizer { min_dimension: 320 max_dimension: 320 pad_to_max_dimension: true }"
)


def every_iou(boxes, anchors):
    """Return the highest IoU of each box by comparing every pair."""
    boxes, anchors = np.float64(boxes)[:, None], np.float64(anchors)[None]
    sides = np.minimum(boxes[..., 2:], anchors[..., 2:]) - np.maximum(boxes[..., :2], anchors[..., :2])
    shared = np.maximum(sides, 0).prod(axis=-1)
    area1, area2 = ((part[..., 2:] - part[..., :2]).prod(axis=-1) for part in (boxes, anchors))
    return (shared / (area1 + area2 - shared)).max(axis=1)


def drawn_boxes(number, seed=0):
    corners = np.sort(np.random.default_rng(seed).random((number, 2, 2)), axis=1)
    return corners.reshape(-1, 4).astype(np.float32)


@pytest.mark.parametrize(
    ("box", "iou"),
    [
        pytest.param([0, 0, 0.5, 0.5], 1, id="an anchor itself"),
        pytest.param([0, 0, 0.5, 0.25], 1 / 2, id="half of one"),
        pytest.param([0, 0, 1, 1], 1 / 4, id="over all four"),
        pytest.param([0.25, 0.25, 0.75, 0.75], 1 / 7, id="a quarter of each: 1 / (4 + 4 - 1)"),
        pytest.param([0.5, 0.6, 1, 1], 0.4 / 0.5, id="in the last row and column"),
    ],
)
def test_by_hand(box, iou):
    # 2 x 2 anchors, half as high and wide as the image, side by side.
    anchors = tile((2, 2), [(0.5, 0.5)], (0.5, 0.5), (0.25, 0.25))
    assert best_ious(np.array([box]), anchors) == pytest.approx([iou])


def test_the_best_of_several_shapes_counts():
    anchors = tile((1, 1), [(0.2, 0.8), (0.8, 0.2)], (1, 1), (0.5, 0.5))
    assert best_ious(np.array([[0.1, 0.4, 0.9, 0.5]]), anchors) == pytest.approx([0.5])


def test_an_object_beside_all_anchors():
    assert best_ious(np.array([[0.8, 0.8, 0.9, 0.9]]), np.array([[0, 0, 0.5, 0.5]])) == [0]


def test_boxes_without_area():
    assert best_ious(np.array([[0.5, 0.5, 0.5, 0.5]]), np.array([[0.5, 0.5, 0.5, 0.5]])) == [0]


def test_without_anchors_or_without_boxes():
    assert best_ious(drawn_boxes(2), np.zeros((0, 4))).tolist() == [0, 0]
    assert best_ious(np.zeros((0, 4)), drawn_boxes(2)).shape == (0,)


@pytest.mark.parametrize(
    "anchors",
    [
        pytest.param(
            MultiscaleAnchors(min_level=3, max_level=5).generate([(8, 8), (4, 4), (2, 2)], (64, 64)),
            id="RetinaNet",
        ),
        pytest.param(
            MultiscaleAnchors(min_level=4, max_level=5).generate([(5, 7), (3, 4)], (70, 100)),
            id="sides that no stride divides",
        ),
        pytest.param(SsdAnchors(num_layers=3).generate([(10, 12), (5, 6), (1, 1)], (300, 360)), id="SSD"),
        pytest.param(SsdAnchors(num_layers=2, scales=(0.3, 0.3)).generate([(4, 4), (3, 3)], (9, 9)), id="mixed"),
        pytest.param(np.repeat(tile((2, 2), [(0.4, 0.4)], (0.5, 0.5), (0.25, 0.25))[[0, 3]], 2, axis=0), id="gaps"),
        pytest.param(drawn_boxes(40, seed=1), id="no grid at all"),
    ],
)  # fmt: skip
def test_the_same_as_comparing_every_pair(anchors):
    boxes = drawn_boxes(200)
    np.testing.assert_allclose(best_ious(boxes, anchors), every_iou(boxes, anchors), atol=2e-6)
    shuffled = np.random.default_rng(2).permutation(anchors)
    np.testing.assert_allclose(best_ious(boxes, shuffled), every_iou(boxes, anchors), atol=2e-6)


side = st.integers(0, 15)
lattice_box = st.tuples(side, side, st.integers(1, 16), st.integers(1, 16)).map(
    lambda box: [box[0] / 16, box[1] / 16, (box[0] + box[2]) / 16, (box[1] + box[3]) / 16]
)


@given(st.lists(lattice_box, min_size=1, max_size=12), st.lists(lattice_box, min_size=1, max_size=12))
def test_the_same_as_comparing_every_pair_where_much_is_equal(boxes, anchors):
    np.testing.assert_allclose(
        best_ious(np.array(boxes), np.array(anchors)), every_iou(boxes, anchors), atol=1e-6
    )


def test_objects_follow_the_images_in_order():
    anchors = np.array([[0, 0, 0.5, 0.5]])
    fit = fit_anchors(
        anchors, 0.5, [image([0, 0, 0.5, 0.5], [0, 0, 0.5, 0.25]), image(), image([0, 0, 1, 1])], FIXED
    )
    np.testing.assert_allclose(fit.best_iou, [1, 0.5, 0.25])
    # What reaches the threshold is matched.
    assert fit.unmatched.tolist() == [False, False, True]
    assert fit.best_iou.dtype == fit.boxes.dtype == fit.anchors.dtype == np.float32


def test_a_padded_image_fills_a_part_of_the_input():
    # 200 x 100 becomes 320 x 160 of 320 x 320: shares of the height are halved.
    fit = fit_anchors(np.array([[0, 0, 0.5, 1]]), 0.5, [image([0, 0, 1, 1])], PADDED)
    np.testing.assert_allclose(fit.boxes, [[0, 0, 0.5, 1]])
    np.testing.assert_allclose(fit.best_iou, [1])


def test_a_data_set_without_objects():
    fit = fit_anchors(drawn_boxes(3), 0.5, [image()], PADDED)
    assert fit.best_iou.shape == (0,)
    assert fit.boxes.shape == (0, 4)
    assert fit_anchors(drawn_boxes(3), 0.5, [], PADDED).best_iou.shape == (0,)


@pytest.mark.parametrize("size", [(200, 100), (33, 700), (320, 320), (1, 999), (641, 427)])
@pytest.mark.parametrize(
    "section",
    [
        FIXED,
        PADDED,
        resizer(
            "keep_aspect_ratio_resizer { min_dimension: 60 max_dimension: 320 pad_to_max_dimension: true }"
        ),
        resizer("keep_aspect_ratio_resizer { min_dimension: 60 max_dimension: 320 }"),
    ],
)
def test_images_lie_in_the_input_as_training_puts_them(size, section):
    width, height = size
    resized = resize.resizer(section)(np.zeros((height, width, 3), np.float32))
    extent = resized.size.numpy() / resized.image.shape[:2]
    fit = fit_anchors(drawn_boxes(1), 0.5, [image([0, 0, 1, 1], width=width, height=height)], section)
    np.testing.assert_allclose(fit.boxes, [[0, 0, *extent]], atol=1e-7)


def test_shapes_of_anchors():
    anchors = tile((3, 5), [(0.5, 0.1), (0.2, 0.2)], (0.3, 0.2), (0.1, 0.1))
    fit = AnchorFit(anchors, 0.5, np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    np.testing.assert_allclose(fit.shapes, [[0.2, 0.2], [0.5, 0.1]], atol=1e-6)


@pytest.mark.parametrize("feature_extractor", smallest_of_each_kind(FEATURE_EXTRACTORS))
def test_the_anchors_of_a_configuration_are_those_of_its_detector(feature_extractor):
    section = shallow(config.recipe(feature_extractor)).model
    section.ssd.num_classes = 1
    section.ssd.image_resizer.CopyFrom(resizer("fixed_shape_resizer { height: 128 width: 256 }"))
    anchors, threshold = models.anchors(section)
    inputs = {"images": np.zeros([1, 128, 256, 3], np.float32), "sizes": np.int32([[128, 256]])}
    np.testing.assert_array_equal(anchors[None], models.build(section)(inputs, training=False)["anchors"])
    assert threshold == 0.5


@pytest.mark.parametrize("resizing", ["identity_resizer {}", "pad_to_multiple_resizer { multiple: 32 }"])
def test_images_of_several_sizes_have_no_anchors_in_common(resizing):
    section = config.recipe("ssd_mobilenet_v2_keras").model
    section.ssd.image_resizer.CopyFrom(resizer(resizing))
    assert models.anchors(section) is None


def test_a_matcher_without_thresholds_matches_everything():
    section = config.recipe("ssd_mobilenet_v2_keras").model
    section.ssd.matcher.argmax_matcher.ignore_thresholds = True
    anchors, threshold = models.anchors(section)
    assert threshold == 0
    assert not fit_anchors(anchors, threshold, [image([0, 0, 1e-4, 1])], FIXED).unmatched.any()
