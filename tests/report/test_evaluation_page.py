import base64
import gzip
import json
import re
from copy import deepcopy
from dataclasses import asdict

import numpy as np
import pytest
from plotly.offline import get_plotlyjs

from boxtune.errors import DataError
from boxtune.metrics.analysis import analyse, to_json
from boxtune.metrics.comparison import compare
from boxtune.metrics.results import ImageResult
from boxtune.report.evaluation_page import write_page
from evaluation_results import (
    MAP,
    A,
    B,
    at_random,
    evaluation,
    found,
    hand_drawn,
    hand_drawn_before,
    image,
    truth,
)

HOSTILE = '</script><img src=x onerror="alert(1)">&amp;\u2028'


def written(folder, *runs):
    """Return the text of a page."""
    path = folder / "page.html"
    write_page(runs[0], path, *runs[1:])
    assert [file for file in folder.iterdir() if file.suffix == ".partial"] == []
    return path.read_text(encoding="utf-8")


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])


def previews_of(page):
    blocks = re.findall(r'<script type="text/plain" id="previews-\d+">(.*?)</script>', page, re.DOTALL)
    return [line for block in blocks for line in block.split("\n")]


def integers(column):
    return np.frombuffer(base64.b64decode(column), "<u4").tolist()


def floats(column):
    return np.frombuffer(base64.b64decode(column), "<f4").tolist()


def test_pictures_objects_and_detections_as_columns(tmp_path):
    made = hand_drawn()
    made["images"][1]["preview"] = None
    page = written(tmp_path, made)
    data = data_of(page)
    assert data["classes"] == ["owl", "cat", "dog"]
    assert data["pictures"]["name"] == [f"photos/{letter}.png" for letter in "abcde"]
    assert integers(data["pictures"]["width"]) == [200] * 5
    assert integers(data["pictures"]["preview"]) == [1, 0, 2, 3, 4]
    assert previews_of(page) == [
        item["preview"].removeprefix("data:image/jpeg;base64,") for item in made["images"] if item["preview"]
    ]
    assert integers(data["truth"]["start"]) == [0, 1, 2, 4, 4, 6]
    assert integers(data["truth"]["class"]) == [0, 1, 0, 2, 2, 0]
    assert integers(data["truth"]["flags"]) == [0, 0, 0, 0, 1, 0]
    assert floats(data["truth"]["box"])[:4] == [10, 10, 60, 60]
    (run,) = data["runs"]
    assert integers(run["start"]) == [0, 1, 2, 5, 6, 7]
    assert integers(run["class"]) == [0, 2, 0, 0, 2, 1, 2]
    assert floats(run["score"]) == pytest.approx([0.9, 0.8, 0.95, 0.6, 0.45, 0.7, 0.65])
    # Objects count from 1 within their picture; 0 is none.
    assert integers(run["match"]) == [1, 0, 1, 0, 0, 0, 1]
    assert integers(run["confusion"]) == [1, 1, 1, 0, 0, 0, 1]
    assert [data["kinds"][kind] for kind in integers(run["kind"])] == [
        *("correct", "class", "correct", "duplicate", "localisation", "background", "ignored")
    ]
    assert np.isnan(floats(run["AP50"])).tolist() == [False, False, False, True, False]
    assert run["metrics"] == made["metrics"]


def test_the_pictures_of_the_other_run_are_put_in_order(tmp_path):
    comparison = {"differences": [{"name": MAP, "difference": 0.02, "interval": None, "p_value": None}]}
    now, before = hand_drawn(comparison=comparison | {"fixed": [], "broken": []}), hand_drawn_before()
    now["images"][0]["preview"] = None  # the other run has one
    page = written(tmp_path, now, before)
    data = data_of(page)
    assert [run["title"] for run in data["runs"]] == ["Owls, now", "Owls, before"]
    assert "<title>Owls, now against Owls, before</title>" in page
    # Of a, b, c, d, e; the file has e, d, c, b, a.
    assert integers(data["runs"][1]["start"]) == [0, 0, 1, 4, 4, 4]
    assert data["comparison"] == comparison
    assert integers(data["pictures"]["preview"]) == [1, 2, 3, 4, 5]


def test_the_charts_travel_in_the_page(tmp_path):
    packed = re.search(
        r'<script type="text/plain" id="charts">(.*?)</script>', written(tmp_path, hand_drawn())
    )[1]
    assert gzip.decompress(base64.b64decode(packed)).decode() == get_plotlyjs()


def test_hostile_names_reach_the_page_as_text(tmp_path):
    made = evaluation(
        [image(HOSTILE, truth(((0, 0, 1, 1), 0)), found())], [HOSTILE], title=HOSTILE, metrics={HOSTILE: 0.5}
    )
    made["groups"] = {HOSTILE: [{"name": HOSTILE, "num_objects": 1, "recall": None, "AP50": None}]}
    page, benign = written(tmp_path, made), written(tmp_path, hand_drawn())
    assert "<img" not in page
    # One more each of blocks of previews, of which the hostile page has none.
    assert page.count("</script>") == benign.count("</script>") - 1
    assert data_of(page)["classes"] == [HOSTILE.replace("\u2028", "\\u2028")]
    assert list(data_of(page)["runs"][0]["groups"]) == [HOSTILE]


@pytest.mark.parametrize("names", [[], ["owl"]])
def test_an_evaluation_of_nothing(tmp_path, names):
    made = evaluation([], names, calibration={"error": None, "bins": []})
    assert data_of(written(tmp_path, made))["pictures"]["name"] == []


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
        (("version",), 2, "version 1, which pages are made from: its version is 2"),
        (("version",), None, "its version is None"),
        (("title",), 3, "title is 3, not a text"),
        (("classes",), "owl", "classes is 'owl', not a list"),
        (("metrics",), [], r"metrics is \[\], not an object"),
        (("metrics", MAP), float("nan"), "mAP is nan, not a finite number"),
        (("intervals", MAP), [0.1], r"mAP is \[0.1\], not two finite numbers"),
        (("per_class", 1, "AP"), "high", r"per_class\[1\].AP is 'high', not a finite number"),
        (("per_class",), [], "3 classes, but 0 in per_class"),
        (("comparison",), {}, "lacks comparison.differences"),
        (("images", 0, "width"), 0, r"images\[0\].width is 0, not a number of pixels"),
        (("images", 0, "preview"), "data:image/jpeg;base64,</script>", "a.png.* is no JPEG in base64"),
        (("images", 0, "preview"), "data:text/html;base64,QUJD", "a.png.* is no JPEG in base64"),
        (("images", 2, "found", "class"), [0, 0, 3], "found.class of picture .*c.png.* has the value 3"),
        (("images", 2, "found", "class"), [0], "found.box of picture .*c.png.* has 3 values, not 1"),
        (("images", 2, "found", "class"), [0, 0, 0.5], "found.class of picture .*c.png.* has the value 0.5"),
        (("images", 2, "found", "match"), [2, -1, -1], "found.match of picture .*c.png.* the value 2"),
        (
            ("images", 2, "found", "confusion"),
            [-2, -1, -1],
            "found.confusion of picture .*c.png.* the value -2",
        ),
        (("images", 2, "found", "kind"), [0, 0, 7], "found.kind of picture .*c.png.* the value 7"),
        (("images", 2, "found", "score"), [0.6, 0.95, 0.45], "not in the order of falling scores"),
        (("images", 2, "found", "score"), [0.6, None, 0.4], "the value nan"),
        (("images", 2, "found", "score"), [1e300, 0.5, 0.4], "the value 1e.300"),
        (("images", 2, "found", "score"), [0.6, "a", 0.4], "something else than numbers in found.score"),
        (
            ("images", 2, "truth", "box"),
            [[1, 2, 3], [1, 2, 3, 4]],
            "something else than numbers in truth.box",
        ),
        (
            ("images", 2, "truth", "box"),
            [[1, 2, 3, float("inf")], [1, 2, 3, 4]],
            "truth.box of picture .*c.png",
        ),
    ],
)
def test_what_is_no_evaluation_is_refused_by_name(tmp_path, place, value, message):
    with pytest.raises(DataError, match=message):
        written(tmp_path, changed(place, value))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["title", "classes", "metrics", "curves", "images", "kinds"])
def test_what_an_evaluation_lacks_is_named(tmp_path, key):
    made = hand_drawn()
    del made[key]
    with pytest.raises(DataError, match=f"lacks {key}"):
        written(tmp_path, made)


@pytest.mark.parametrize("value", [None, [], "text"])
def test_what_is_no_object_is_refused(tmp_path, value):
    with pytest.raises(DataError, match="no evaluation of version 1"):
        written(tmp_path, value)


def test_runs_that_cannot_be_held_against_each_other(tmp_path):
    other = hand_drawn_before()
    with pytest.raises(DataError, match="not of the same classes"):
        written(tmp_path, hand_drawn(), other | {"classes": ["cat", "owl", "dog"]})
    renamed = deepcopy(other)
    renamed["images"][0]["name"] = "photos/z.png"
    with pytest.raises(DataError, match=r"photos/e.png.* is only in one of them"):
        written(tmp_path, hand_drawn(), renamed)
    moved = deepcopy(other)
    moved["images"][0]["truth"]["box"][0] = [0, 0, 5, 5]
    with pytest.raises(DataError, match="The objects of the pictures are not the same"):
        written(tmp_path, hand_drawn(), moved)


def test_a_page_that_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match=r"no/page\.html cannot be written"):
        write_page(at_random(2, ["owl"]), tmp_path / "no" / "page.html")


def result(name, boxes, scores):
    """Return a picture with one owl at A, and what was found in it."""
    return ImageResult(
        name=name,
        height=100,
        width=200,
        true_boxes=np.array([A], float),
        true_classes=np.array([0]),
        is_crowd=np.array([False]),
        boxes=np.array(boxes, float).reshape(-1, 4),
        classes=np.zeros(len(boxes), int),
        scores=np.array(scores, float),
    )


def test_what_analyses_say_is_what_the_page_reads(tmp_path):
    names = ("owl", "cat")
    before = [result("a.png", [A], [0.9]), result("b.png", [], [])]
    now = [result("a.png", [A, B], [0.9, 0.4]), result("b.png", [A], [0.8])]
    made = to_json(analyse(now, names, title="now", metrics={MAP: 1.0}))
    made["comparison"] = asdict(compare(before, now, names))
    data = data_of(written(tmp_path, made, to_json(analyse(before, names, title="before"))))
    assert [integers(run["start"]) for run in data["runs"]] == [[0, 2, 3], [0, 1, 1]]
    assert [data["kinds"][kind] for kind in integers(data["runs"][0]["kind"])] == [
        "correct",
        "background",
        "correct",
    ]
    assert data["comparison"]["differences"][0]["name"] == MAP
