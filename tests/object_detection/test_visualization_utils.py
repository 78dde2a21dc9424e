"""Drawing as scripts do it; what the API paints is in tests/golden/test_drawings.py."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from boxtune.errors import BoxtuneError
from object_detection.core.standard_fields import DetectionResultFields, InputDataFields
from object_detection.utils import visualization_utils

CATEGORIES = {1: {"id": 1, "name": "cat"}, 2: {"id": 2, "name": "dog"}}
BOX = [0.25, 0.25, 0.75, 0.75]
AQUA, CHARTREUSE = (0, 255, 255), (127, 255, 0)
BLACK = (0, 0, 0)


def black(height=40, width=40):
    return np.zeros((height, width, 3), np.uint8)


def draw(image=None, boxes=(BOX,), classes=(1,), scores=(0.9,), **options):
    image = black() if image is None else image
    options = {"use_normalized_coordinates": True, "skip_labels": True, "skip_scores": True} | options
    return visualization_utils.visualize_boxes_and_labels_on_image_array(
        image, np.array(boxes), np.array(classes), None if scores is None else np.array(scores), CATEGORIES, **options
    )  # fmt: skip


def labels(monkeypatch, **options):
    """Return the strings that are drawn for each box."""
    drawn = []

    def record(*box, display_str_list, **_):
        drawn.append(display_str_list)

    monkeypatch.setattr(visualization_utils, "draw_bounding_box_on_image_array", record)
    draw(**{"skip_labels": False, "skip_scores": False} | options)
    return drawn


def test_a_box_is_drawn_in_place_in_the_color_of_its_class():
    image = black()
    assert draw(image) is image
    assert tuple(image[10, 20]) == tuple(image[20, 30]) == CHARTREUSE
    assert tuple(image[20, 20]) == BLACK
    assert tuple(draw(classes=[2])[10, 20]) == AQUA


def test_only_scores_above_the_threshold_count_and_only_so_many_boxes():
    assert not draw(scores=[0.5]).any()
    assert draw(scores=[0.5], min_score_thresh=0.49).any()
    assert not draw(max_boxes_to_draw=0).any()


def test_the_last_object_of_a_box_colors_it():
    image = draw(boxes=[BOX, BOX], classes=[1, 2], scores=[0.9, 0.8])
    assert tuple(image[10, 20]) == AQUA


def test_what_labels_say(monkeypatch):
    assert labels(monkeypatch) == [["cat: 90%"]]
    assert labels(monkeypatch, skip_scores=True) == [["cat"]]
    assert labels(monkeypatch, agnostic_mode=True) == [["90%"]]
    assert labels(monkeypatch, classes=[9]) == [["N/A: 90%"]]
    assert labels(monkeypatch, track_ids=[7]) == [["cat: 90%: ID 7"]]
    assert labels(monkeypatch, track_ids=[7], skip_track_ids=True) == [["cat: 90%"]]
    assert labels(monkeypatch, scores=None) == [[]]


def test_tracks_use_all_colors_that_there_are(monkeypatch):
    colors = ["Red", "Lime", "Blue", "Yellow", "Aqua"]
    monkeypatch.setattr(visualization_utils, "STANDARD_COLORS", colors)
    drawn = {tuple(draw(track_ids=[number])[10, 20]) for number in range(5)}
    assert len(drawn) == 5


def test_labels_are_painted_above_the_box_or_below_it():
    box = {"display_str_list": ["x"], "thickness": 0}
    for ymin, ymax, expected in ((0.5, 0.9, "above"), (0, 0.5, "below")):
        image = black(100, 100)
        visualization_utils.draw_bounding_box_on_image_array(image, ymin, 0.1, ymax, 0.9, **box)
        rows = np.flatnonzero(image.any(axis=(1, 2)))
        assert len(rows)
        assert rows.max() <= 50 if expected == "above" else rows.min() > 45


def test_boxes_are_in_fractions_or_pixels():
    by_fraction, by_pixel = black(), black()
    visualization_utils.draw_bounding_box_on_image_array(by_fraction, *BOX)
    visualization_utils.draw_bounding_box_on_image_array(
        by_pixel, 10, 10, 30, 30, use_normalized_coordinates=False
    )
    assert by_fraction.any()
    np.testing.assert_array_equal(by_fraction, by_pixel)


def test_boxes_of_another_shape_are_refused():
    for boxes in (np.zeros(4), np.zeros((1, 5))):
        with pytest.raises(ValueError, match=r"\[n, 4\]"):
            visualization_utils.draw_bounding_boxes_on_image_array(black(), boxes)


def test_masks_are_blended_where_they_are_one():
    mask = np.zeros((40, 40), np.uint8)
    mask[:20] = 1
    image = np.full((40, 40, 3), 100, np.uint8)
    visualization_utils.draw_mask_on_image_array(image, mask, color="red", alpha=0.4)
    # alpha is 102 of 255: 255 * 0.4 + 100 * 0.6
    assert (tuple(image[0, 0]), tuple(image[39, 0])) == ((162, 60, 60), (100, 100, 100))


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), "image is of float32"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32), "mask is of float32"),
        (np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 2, np.uint8), "0 and 1"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.uint8), "have to agree"),
    ],
)
def test_masks_that_cannot_be_drawn(image, mask, message):
    with pytest.raises(ValueError, match=message) as error:
        visualization_utils.draw_mask_on_image_array(image, mask)
    assert isinstance(error.value, BoxtuneError)


def test_parts_have_colors_of_their_own():
    image, mask = black(), np.zeros((40, 40), np.uint8)
    mask[0], mask[1] = 1, 2
    visualization_utils.draw_part_mask_on_image_array(image, mask, alpha=1.0)
    assert (tuple(image[0, 0]), tuple(image[1, 0]), tuple(image[2, 0])) == (
        (240, 248, 255),  # AliceBlue
        CHARTREUSE,
        BLACK,
    )


def test_color_maps_are_those_of_matplotlib():
    matplotlib = pytest.importorskip("matplotlib")
    image, mask = black(), np.zeros((40, 40), np.uint8)
    mask[:20] = 1
    channel = np.full((40, 40), 0.5, np.float32)
    visualization_utils.draw_float_channel_on_image_array(image, channel, mask, alpha=1.0)
    expected = np.array(matplotlib.colormaps["YlGn"](0.5)[:3]) * 255
    np.testing.assert_allclose(image[0, 0], expected, atol=1)
    assert not image[20:].any()


def test_without_matplotlib_its_color_maps_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BoxtuneError, match="pip install matplotlib"):
        visualization_utils.draw_float_channel_on_image_array(
            black(), np.zeros((40, 40), np.float32), np.zeros((40, 40), np.uint8)
        )


def test_keypoints_without_numbers_are_left_out_and_so_are_their_edges():
    image = black()
    points = np.array([[0.25, 0.25], [0.75, 0.75], [np.nan, np.nan]])
    visualization_utils.draw_keypoints_on_image_array(image, points, keypoint_edges=[(0, 2), (0, 9)])
    assert tuple(image[10, 10]) == tuple(image[30, 30]) == (255, 0, 0)
    assert tuple(image[20, 20]) == BLACK
    visualization_utils.draw_keypoints_on_image_array(image, points, keypoint_edges=[(0, 1)])
    assert tuple(image[20, 20]) == (0, 128, 0)


def test_keypoints_of_low_scores_are_left_out():
    image = black()
    visualization_utils.draw_keypoints_on_image_array(
        image, np.array([[0.25, 0.25], [0.75, 0.75]]), keypoint_scores=[0.4, 0.6]
    )
    assert not image[10, 10].any()
    assert image[30, 30].any()


def test_heatmaps_are_drawn_on_a_copy():
    image, heatmaps = black(), np.zeros((40, 40, 2), np.float32)
    heatmaps[0, 0, 1] = 1
    drawn = visualization_utils.draw_heatmaps_on_image_array(image, heatmaps)
    assert tuple(drawn[0, 0]) == CHARTREUSE
    assert not image.any()
    assert not drawn[1:].any()
    half = visualization_utils.draw_heatmaps_on_image_tensors(
        image[None], np.full((1, 2, 2, 1), -100, np.float32), apply_sigmoid=True
    )
    assert not half.numpy().any()


def test_png_files(tmp_path):
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    visualization_utils.save_image_array_as_png(image, str(tmp_path / "a.png"))
    with Image.open(tmp_path / "a.png") as written:
        np.testing.assert_array_equal(written, image)
    assert visualization_utils.encode_image_array_as_png_str(image) == (tmp_path / "a.png").read_bytes()


def batch(*values, dtype=np.float32):
    return tf.constant(np.array([values], dtype))


def test_gray_images_and_images_of_many_channels_are_drawn_in_a_graph():
    draw = tf.function(visualization_utils.draw_bounding_boxes_on_image_tensors, autograph=False)
    detections = batch(BOX), batch(1, dtype=np.int64), batch(0.9)
    for channels in (1, 3, 5):
        drawn = draw(tf.zeros((1, 40, 40, channels), tf.uint8), *detections, CATEGORIES)
        assert drawn.shape == (1, 40, 40, 3)
        assert drawn.numpy().any()


def evaluation(**more):
    return {
        InputDataFields.original_image: tf.zeros((1, 40, 40, 3), tf.uint8),
        InputDataFields.original_image_spatial_shape: batch(40, 40, dtype=np.int32),
        InputDataFields.true_image_shape: batch(40, 40, 3, dtype=np.int32),
        DetectionResultFields.detection_boxes: batch(BOX, BOX),
        DetectionResultFields.detection_classes: batch(1, 2, dtype=np.int64),
        DetectionResultFields.detection_scores: batch(0.1, 0.1),
        InputDataFields.groundtruth_boxes: batch(BOX, [0, 0, 1, 1]),
        InputDataFields.groundtruth_classes: batch(2, 1, dtype=np.int64),
        InputDataFields.num_groundtruth_boxes: tf.constant([1]),
        **more,
    }


def test_detections_beside_ground_truth():
    [shown] = visualization_utils.draw_side_by_side_evaluation_image(evaluation(), CATEGORIES)
    assert shown.shape == (1, 40, 80, 3)
    assert not shown[:, :, :40].numpy().any()  # of too low a score
    assert tuple(shown[0, 20, 40 + 30].numpy()) == AQUA
    assert tuple(shown[0, 1, 40 + 1].numpy()) == BLACK  # the second box is padding


def test_masks_keypoints_and_more_channels_beside_ground_truth():
    mask = np.zeros((1, 2, 40, 40), np.float32)
    mask[:, 0, 20] = 1
    more = {
        DetectionResultFields.detection_scores: batch(0.9, 0.1),
        DetectionResultFields.detection_masks: tf.constant(mask),
        DetectionResultFields.detection_keypoints: batch([[0.1, 0.1]], [[0.1, 0.1]]),
        InputDataFields.groundtruth_keypoints: batch([[0.5, 0.05]], [[0.5, 0.05]]),
        InputDataFields.groundtruth_keypoint_visibilities: tf.constant([[[False], [True]]]),
        InputDataFields.image_additional_channels: tf.zeros((1, 40, 40, 3), tf.uint8),
    }
    [shown] = visualization_utils.draw_side_by_side_evaluation_image(evaluation(**more), CATEGORIES)
    shown = shown.numpy()[0]
    assert shown.shape == (40, 120, 3)
    assert shown[20, 20].any()  # the mask
    assert shown[4, 4].any()
    assert not shown[20, 40 + 2].any()  # not visible
    np.testing.assert_array_equal(shown[:, 80:], shown[:, 40:80])


def test_one_image_needs_no_batch():
    single = {
        name: value if name == InputDataFields.original_image else value[0]
        for name, value in evaluation().items()
    }
    [shown] = visualization_utils.draw_side_by_side_evaluation_image(single, CATEGORIES)
    [expected] = visualization_utils.draw_side_by_side_evaluation_image(evaluation(), CATEGORIES)
    np.testing.assert_array_equal(shown, expected)


def test_parts_of_bodies_beside_their_coordinates():
    pytest.importorskip("matplotlib")
    masks = np.zeros((1, 2, 40, 40), np.uint8)
    masks[0, 0, 0], masks[0, 1, 1] = 2, 2
    more = {
        DetectionResultFields.detection_scores: batch(0.9, 0.1),
        DetectionResultFields.detection_masks: tf.constant(masks),
        DetectionResultFields.detection_surface_coords: tf.ones((1, 2, 40, 40, 2)),
    }
    [shown] = visualization_utils.draw_densepose_visualizations(evaluation(**more))
    assert shown.shape == (1, 40, 80, 3)
    assert shown[0, 0, 0].numpy().any()
    assert shown[0, 0, 40].numpy().any()
    assert not shown[0, 1:].numpy().any()
    with pytest.raises(ValueError, match="detection_masks"):
        visualization_utils.draw_densepose_visualizations(evaluation())


def test_images_of_an_estimators_evaluation():
    metrics = visualization_utils.VisualizeSingleFrameDetections(CATEGORIES, max_examples_to_draw=2)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        operations = metrics.get_estimator_eval_metric_ops(evaluation())
        assert sorted(operations) == [f"Detections_Left_Groundtruth_Right/{number}" for number in range(2)]
        for _, update in operations.values():
            session.run(update)
        first, second = (session.run(value) for value, _ in operations.values())
        summary = tf.compat.v1.summary.Summary.FromString(first)
        assert (summary.value[0].image.height, summary.value[0].image.width) == (40, 80)
        assert second == b""


def test_plots_of_values():
    pytest.importorskip("matplotlib")
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        visualization_utils.add_cdf_image_summary(tf.constant([1.0, 3.0, 2.0]), "values")
        visualization_utils.add_hist_image_summary(tf.constant([1.0, 3.0]), [0, 2, 4], "values")
        merged = session.run(tf.compat.v1.summary.merge_all())
    tags = [value.tag for value in tf.compat.v1.summary.Summary.FromString(merged).value]
    assert tags == ["CDF/values/image/0", "HIST/values/image/0"]
    visualization_utils.add_cdf_image_summary([1.0, 3.0, 2.0], "values")  # without a writer: nothing


def test_drawing_on_arrays_needs_no_tensorflow():
    code = (
        "import sys; import object_detection.utils.visualization_utils; sys.exit('tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
