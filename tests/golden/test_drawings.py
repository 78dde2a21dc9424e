"""Drawings against those of the API, to the pixel: text too, unless a font of this machine takes part."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import ImageFont

from golden.recordings import FOLDER
from object_detection.utils import visualization_utils

pytestmark = pytest.mark.shared

FILE = FOLDER / "units" / "drawings.json"
CONTENT = json.loads(FILE.read_text()) if FILE.exists() else {"calls": [], "label_map": {}}
CATEGORIES = {int(number): {"id": int(number), "name": name} for number, name in CONTENT["label_map"].items()}
CALLS = [pytest.param(call, id=call["case"]) for call in CONTENT["calls"] if "arguments" in call]
PIXELS = np.array([120, 160, 120, 160], np.float32)  # of the recorded image


@pytest.fixture(scope="module")
def recorded():
    if not CALLS:
        pytest.skip(f"needs the recordings of {FOLDER} (or set BOXTUNE_GOLDEN)")
    with np.load(FILE.with_suffix(".npz")) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(autouse=True)
def font(monkeypatch):
    """The recordings were made where there is no arial.ttf."""
    monkeypatch.setattr(visualization_utils, "_font", ImageFont.load_default)


def assert_drawn(image, expected):
    np.testing.assert_array_equal(np.asarray(image), expected)


@pytest.mark.parametrize("call", CALLS)
def test_detections(call, recorded, monkeypatch):
    draw, boxes = visualization_utils.draw_bounding_box_on_image_array, []

    def record(image, *box, **options):
        boxes.append({"box": list(box), **options})
        draw(image, *box, **options)

    monkeypatch.setattr(visualization_utils, "draw_bounding_box_on_image_array", record)
    arguments = {"scores": recorded["scores"]} | call["arguments"]
    for name, value in arguments.items():
        if isinstance(value, str) and value.startswith("<"):
            arguments[name] = recorded[value.strip("<>")]
    in_pixels = "use_normalized_coordinates" not in arguments
    image = recorded["image"].copy()
    result = visualization_utils.visualize_boxes_and_labels_on_image_array(
        image,
        recorded["boxes"] * PIXELS if in_pixels else recorded["boxes"],
        recorded["classes"],
        category_index=CATEGORIES,
        **arguments,
    )
    assert (result is image) == call["in_place"]
    assert boxes == call["boxes"]
    assert_drawn(image, recorded[f"drawn_{call['case']}"])


def test_boxes_points_and_masks(recorded):
    image = recorded["image"].copy()
    visualization_utils.draw_bounding_box_on_image_array(
        image, 24, 16, 84, 96, "Chartreuse", 3, use_normalized_coordinates=False
    )
    assert_drawn(image, recorded["drawn_fn_box"])

    image = recorded["image"].copy()
    visualization_utils.draw_bounding_boxes_on_image_array(image, recorded["boxes"], "Aqua", 2)
    assert_drawn(image, recorded["drawn_fn_boxes"])

    image = recorded["image"].copy()
    visualization_utils.draw_keypoints_on_image_array(
        image, recorded["keypoints"][1], color="yellow", radius=3
    )
    assert_drawn(image, recorded["drawn_fn_keypoint_points"])

    image = recorded["image"].copy()
    visualization_utils.draw_mask_on_image_array(image, recorded["masks"][1], "blue")
    assert_drawn(image, recorded["drawn_fn_mask"])

    image = recorded["image"].copy()
    visualization_utils.draw_heatmaps_on_image_array(image, recorded["heatmaps"])
    assert_drawn(image, recorded["drawn_fn_heatmaps"])  # which is the image: the drawing is what is returned


def test_batches(recorded):
    parts = [np.stack([recorded[name]] * 2) for name in ("image", "boxes", "classes", "scores")]
    drawn = visualization_utils.draw_bounding_boxes_on_image_tensors(
        *parts,
        CATEGORIES,
        original_image_spatial_shape=[[120, 160]] * 2,
        true_image_shape=[[120, 160, 3], [90, 120, 3]],
        min_score_thresh=0.5,
    )
    assert_drawn(drawn, recorded["drawn_tensors"])


def test_side_by_side(recorded):
    evaluation = {
        "original_image": recorded["image"],
        "original_image_spatial_shape": [120, 160],
        "true_image_shape": [120, 160, 3],
        "detection_boxes": recorded["boxes"],
        "detection_scores": recorded["scores"],
        "detection_classes": recorded["classes"],
        "groundtruth_boxes": recorded["boxes"][:1],
        "groundtruth_classes": recorded["classes"][:1],
        "num_groundtruth_boxes": 1,
    }
    batch = {name: tf.constant([value]) for name, value in evaluation.items()}
    [drawn] = visualization_utils.draw_side_by_side_evaluation_image(batch, CATEGORIES, min_score_thresh=0.5)
    assert_drawn(drawn, recorded["drawn_side_by_side"])
