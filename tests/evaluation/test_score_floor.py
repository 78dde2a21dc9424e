"""The score that detections of a model exceed, whatever they are measured or shown for."""

import math

import pytest
from google.protobuf import text_format

from boxtune.config import pipeline_pb2, score_floor, set_score_floor, words_of_floor
from boxtune.errors import ConfigError
from boxtune.evaluation.exported import floor_of_exported
from boxtune.evaluation.min_scores import MinScores, same_for_all

NMS = "batch_non_max_suppression { score_threshold: 0.25 }"


def model(text):
    return text_format.Parse(text, pipeline_pb2.DetectionModel())


@pytest.mark.parametrize(
    ("text", "floor"),
    [
        (f"ssd {{ post_processing {{ {NMS} }} }}", 0.25),
        (f"faster_rcnn {{ second_stage_post_processing {{ {NMS} }} }}", 0.25),
        ("ssd {}", 0),
        ('experimental_model { name: "some" }', 0),
        ("", 0),
    ],
)
def test_it_is_that_of_the_suppression(text, floor):
    assert score_floor(model(text)) == floor


@pytest.mark.parametrize("family", ["ssd", "faster_rcnn", "center_net"])
def test_it_is_written_where_it_is_read(family):
    section = model(f"{family} {{}}")
    set_score_floor(section, 0.5)
    assert score_floor(section) == 0.5


@pytest.mark.parametrize("floor", [-0.1, 1.0, math.nan, math.inf])
def test_what_it_cannot_be(floor):
    with pytest.raises(ConfigError, match=r"score_threshold is .*; it must be at least 0 and below 1"):
        set_score_floor(model("ssd {}"), floor)


def test_of_a_model_that_has_none():
    with pytest.raises(ConfigError, match="which this model does not have; leave it out"):
        set_score_floor(model('experimental_model { name: "some" }'), 0.5)


def test_of_an_exported_model_it_is_in_the_configuration_beside_it(tmp_path):
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model" / "saved_model.pb").touch()
    assert floor_of_exported(tmp_path) == 0
    path = tmp_path / "pipeline.config"
    kind = 'num_classes: 3 feature_extractor { type: "ssd_mobilenet_v2_keras" }'
    path.write_text(f"model {{ ssd {{ {kind} post_processing {{ {NMS} }} }} }}")
    for given in (tmp_path, tmp_path / "saved_model"):
        assert floor_of_exported(given) == 0.25
    path.write_text("of another program")
    assert floor_of_exported(tmp_path) == 0


def test_it_is_said_where_it_leaves_something_out():
    assert words_of_floor(0.05) == "only detections above a score of 0.05"
    assert words_of_floor(1e-8) == words_of_floor(0) == ""


def test_lowest_scores_do_not_promise_what_the_model_leaves_out():
    asked = same_for_all(0.1, "--min_score")
    assert asked.above(0.1) == asked.above(1e-8) == asked
    told = "Shown from a score of 0.1 on, as --min_score says. The model itself leaves out what scores 0.3 or less."
    assert asked.above(0.3).source == told
    by_class = MinScores({0: 0.2}, 0.5, "By class.")
    assert by_class.above(0.2) == by_class
    assert by_class.above(0.3).source.startswith("By class. The model itself")
    assert by_class.above(0.3).of(0) == 0.2
    assert same_for_all(0, "--min_score").above(1e-8).source.endswith("says.")
