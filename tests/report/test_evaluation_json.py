import json
from copy import deepcopy

import numpy as np
import pytest

from boxtune.errors import DataError
from boxtune.metrics.analysis import analyse, results_of
from boxtune.report.evaluation_json import from_json, to_json
from evaluation_results import MAP, hand_drawn
from hand_drawn import FAR, A, B, image, random_images
from image_results import coco_metrics

NAMES = ["a", "b", "c", "d", "e"]
IMAGES = [
    image([(A, 0)], name="a.jpg"),
    image([(A, 0), (B, 1)], [(A, 0, 0.9), (A, 0, 0.8), (B, 0, 0.7), (FAR, 1, 0.6)], name="b.jpg"),
]


def text_of(analysis):
    return json.dumps(to_json(analysis), allow_nan=False)


@pytest.mark.parametrize("seed", range(3))
def test_json_and_back(seed):
    analysis = analyse(random_images(seed, difficult=0.2), NAMES, title="t", losses={"Loss": 1.25})
    written = text_of(analysis)
    read = from_json(json.loads(written))
    assert text_of(read) == written
    np.testing.assert_array_equal(read.confusion_matrix(0.35), analysis.confusion_matrix(0.35))


def test_scores_as_near_as_floats_can_be_are_kept_apart():
    # Of a detector that has learned little: the right box is the better one by a single step of float32.
    low = np.float32(0.0100001)
    found = [(B, 0, low), (A, 0, np.nextafter(low, np.float32(1)))]
    images = [image([(A, 0)], found)]
    again = results_of(from_json(json.loads(json.dumps(to_json(analyse(images, ["cat"]))))))
    assert coco_metrics(again, 1) == coco_metrics(images, 1)
    assert coco_metrics(again, 1)["DetectionBoxes_Precision/mAP"] == pytest.approx(1)


def test_what_is_not_finite_becomes_null():
    assert to_json(analyse(IMAGES, ["cat", "dog"], losses={"Loss": float("nan")}))["losses"] == {"Loss": None}


@pytest.mark.parametrize(
    "damage",
    [
        lambda document: document.pop("per_class"),
        lambda document: document["images"][0].pop("detections"),
        lambda document: document["images"][0]["groundtruth"].update(box=[[1, 2, 3]]),
        lambda document: document["groups"].update(size=[{"name": "small"}]),
        lambda document: document.update(curves=None),
        lambda document: document.update(metrics=5),
        lambda document: document["images"][1]["detections"].update(score=["high"]),
        lambda document: document["images"][1]["detections"].update(score=[0.5]),
        lambda document: document["images"][1]["detections"].update(match=[0, -1, 2, -1]),
        lambda document: document["images"][1]["detections"].update(confusion=[0, -1, -2, -1]),
        lambda document: document["images"][1]["detections"].update(kind=[7, 0, 0, 0]),
        lambda document: document["images"][1]["groundtruth"].update({"class": [0, 2]}),
        lambda document: document["images"][1]["groundtruth"].update({"class": [0, 10**30]}),
        lambda document: document.pop("version"),
    ],
)
def test_damaged_json_is_refused(damage):
    document = to_json(analyse(IMAGES, ["cat", "dog"]))
    damage(document)
    with pytest.raises(DataError, match=r"evaluation|images|per_class|image"):
        from_json(document)


def changed(place, value):
    """Return the hand-drawn evaluation with another value at a place, such as ("images", 0, "name")."""
    made = deepcopy(hand_drawn())
    inner = made
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return made


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("version",), 1, "version 2, which can be read: its version is 1"),
        (("version",), None, "its version is None"),
        (("title",), 3, "title is 3, not a text"),
        (("classes",), "owl", "classes is 'owl', not a list"),
        (("metrics",), [], r"metrics is \[\], not an object"),
        (("metrics", MAP), float("nan"), "mAP is nan, not a finite number"),
        (("intervals", MAP), [0.1], r"mAP is \[0.1\], not two finite numbers"),
        (("per_class", 1, "AP"), "high", r"per_class\[1\].AP is 'high', not a finite number"),
        (("per_class",), [], "3 classes, but 0 in per_class"),
        (("images", 0, "width"), 0, r"images\[0\] is of 100 x 0 pixels"),
        (
            ("images", 2, "detections", "class"),
            [0, 0, 3],
            "detections.class of image .*c.png.* has the value 3",
        ),
        (("images", 2, "detections", "class"), [0], "detections.box of image .*c.png.* has 3 values, not 1"),
        (
            ("images", 2, "detections", "class"),
            [0, 0, 0.5],
            "detections.class of image .*c.png.* has the value 0.5",
        ),
        (
            ("images", 2, "detections", "match"),
            [2, -1, -1],
            "detections.match of image .*c.png.* the value 2",
        ),
        (
            ("images", 2, "detections", "confusion"),
            [-2, -1, -1],
            "detections.confusion of image .*c.png.* the value -2",
        ),
        (("images", 2, "detections", "kind"), [0, 0, 7], "detections.kind of image .*c.png.* the value 7"),
        (
            ("images", 2, "detections", "score"),
            [0.6, 0.95, 0.45],
            "score of image .*c.png.* has values that are not in descending order",
        ),
        (("images", 2, "detections", "score"), [0.6, None, 0.4], "the value nan"),
        (("images", 2, "detections", "score"), [1e300, 0.5, 0.4], "the value 1e.300"),
        (
            ("images", 2, "detections", "score"),
            [0.6, "a", 0.4],
            "something else than numbers is in detections.score",
        ),
        (
            ("images", 2, "groundtruth", "box"),
            [[1, 2, 3], [1, 2, 3, 4]],
            "something else than numbers is in groundtruth.box",
        ),
        (
            ("images", 2, "groundtruth", "box"),
            [[1, 2, 3, float("inf")], [1, 2, 3, 4]],
            "groundtruth.box of image .*c.png",
        ),
    ],
)
def test_what_is_no_evaluation_is_refused_by_name(place, value, message):
    with pytest.raises(DataError, match=message):
        from_json(changed(place, value))


@pytest.mark.parametrize("key", ["title", "classes", "metrics", "curves", "images", "kinds"])
def test_what_an_evaluation_lacks_is_named(key):
    made = hand_drawn()
    del made[key]
    with pytest.raises(DataError, match=f"lacks {key}"):
        from_json(made)


@pytest.mark.parametrize("value", [None, [], "text"])
def test_what_is_no_object_is_refused(value):
    with pytest.raises(DataError, match="not an evaluation of version 2"):
        from_json(value)
