import base64
import gzip
import json
import re

import numpy as np
import pytest
from plotly.offline import get_plotlyjs

from boxtune.errors import DataError
from boxtune.metrics.analysis import analyse
from boxtune.metrics.comparison import Comparison, Difference, compare
from boxtune.metrics.results import ImageResult
from boxtune.report.evaluation_json import from_json, to_json
from boxtune.report.evaluation_page import write_page
from evaluation_results import (
    MAP,
    A,
    B,
    at_random,
    detections,
    evaluation,
    groundtruth,
    hand_drawn,
    hand_drawn_before,
    image,
)

HOSTILE = '</script><img src=x onerror="alert(1)">&amp;\u2028'


def written(folder, *runs, comparison=None):
    """Return the text of a page."""
    path = folder / "page.html"
    write_page(path, *map(from_json, runs), comparison=comparison)
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


def test_images_objects_and_detections_as_columns(tmp_path):
    made = hand_drawn()
    made["images"][1]["preview"] = None
    page = written(tmp_path, made)
    data = data_of(page)
    assert data["classes"] == ["owl", "cat", "dog"]
    assert data["images"]["name"] == [f"photos/{letter}.png" for letter in "abcde"]
    assert integers(data["images"]["width"]) == [200] * 5
    assert integers(data["images"]["preview"]) == [1, 0, 2, 3, 4]
    assert previews_of(page) == [
        item["preview"].removeprefix("data:image/jpeg;base64,") for item in made["images"] if item["preview"]
    ]
    assert integers(data["groundtruth"]["start"]) == [0, 1, 2, 4, 4, 6]
    assert integers(data["groundtruth"]["class"]) == [0, 1, 0, 2, 2, 0]
    assert integers(data["groundtruth"]["flags"]) == [0, 0, 0, 0, 1, 0]
    assert floats(data["groundtruth"]["box"])[:4] == [10, 10, 60, 60]
    (run,) = data["runs"]
    assert integers(run["start"]) == [0, 1, 2, 5, 6, 7]
    assert integers(run["class"]) == [0, 2, 0, 0, 2, 1, 2]
    assert floats(run["score"]) == pytest.approx([0.9, 0.8, 0.95, 0.6, 0.45, 0.7, 0.65])
    # Objects count from 1 within their image; 0 is none.
    assert integers(run["match"]) == [1, 0, 1, 0, 0, 0, 1]
    assert integers(run["confusion"]) == [1, 1, 1, 0, 0, 0, 1]
    assert [data["kinds"][kind] for kind in integers(run["kind"])] == [
        *("correct", "class", "correct", "duplicate", "localization", "background", "ignored")
    ]
    assert np.isnan(floats(run["AP50"])).tolist() == [False, False, False, True, False]
    assert run["metrics"] == made["metrics"]


def test_an_earlier_run_beside_it(tmp_path):
    difference = {"name": MAP, "difference": 0.02, "interval": None, "p_value": None}
    comparison = Comparison(
        0.5, [], [], [Difference(**difference, first=0.6, second=0.62, significant=False)], 0
    )
    now = hand_drawn()
    now["images"][0]["preview"] = None  # the other run has one
    page = written(tmp_path, now, hand_drawn_before(), comparison=comparison)
    data = data_of(page)
    assert [run["title"] for run in data["runs"]] == ["Owls, now", "Owls, before"]
    assert "<title>Owls, now against Owls, before</title>" in page
    assert integers(data["runs"][1]["start"]) == [0, 0, 1, 4, 4, 4]
    assert data["comparison"] == {"differences": [difference]}
    assert integers(data["images"]["preview"]) == [1, 2, 3, 4, 5]


def test_the_charts_travel_in_the_page(tmp_path):
    packed = re.search(
        r'<script type="text/plain" id="charts">(.*?)</script>', written(tmp_path, hand_drawn())
    )[1]
    assert gzip.decompress(base64.b64decode(packed)).decode() == get_plotlyjs()


def test_hostile_names_reach_the_page_as_text(tmp_path):
    made = evaluation(
        [image(HOSTILE, groundtruth(((0, 0, 1, 1), 0)), detections())],
        [HOSTILE],
        title=HOSTILE,
        metrics={HOSTILE: 0.5},
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
    assert data_of(written(tmp_path, made))["images"]["name"] == []


@pytest.mark.parametrize("preview", ["data:image/jpeg;base64,</script>", "data:text/html;base64,QUJD"])
def test_a_preview_that_is_not_a_jpeg_is_refused_by_name(tmp_path, preview):
    made = hand_drawn()
    made["images"][0]["preview"] = preview
    with pytest.raises(DataError, match=r"a\.png.* is not a JPEG in base64"):
        written(tmp_path, made)
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match=r"no/page\.html cannot be written"):
        write_page(tmp_path / "no" / "page.html", from_json(at_random(2, ["owl"])))


def result(name, boxes, scores):
    """Return an image with one owl at A, and what was found in it."""
    return ImageResult(
        name=name,
        height=100,
        width=200,
        groundtruth_boxes=np.array([A], float),
        groundtruth_classes=np.array([0]),
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
    earlier = to_json(analyse(before, names, title="before"))
    data = data_of(written(tmp_path, made, earlier, comparison=compare(before, now, names)))
    assert [integers(run["start"]) for run in data["runs"]] == [[0, 2, 3], [0, 1, 1]]
    assert [data["kinds"][kind] for kind in integers(data["runs"][0]["kind"])] == [
        "correct",
        "background",
        "correct",
    ]
    assert data["comparison"]["differences"][0]["name"] == MAP
