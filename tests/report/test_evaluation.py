import json

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from boxtune.config import pipeline_pb2
from boxtune.data.label_map import Label, LabelMap
from boxtune.metrics.coco import NAMES
from boxtune.metrics.evaluation import Evaluation, Example
from boxtune.report import evaluation as report
from boxtune.report.pictures import Box, draw_boxes, side_by_side

BOX = [0.2, 0.2, 0.8, 0.8]


def example(*, scores=(0.9, 0.4)):
    return Example(
        name="a.jpg",
        picture=np.full([50, 80, 3], 90, np.uint8),
        true_boxes=np.float32([BOX]),
        true_classes=np.array([1]),
        boxes=np.float32([BOX, [0.1, 0.5, 0.4, 1]])[: len(scores)],
        classes=np.array([1, 0])[: len(scores)],
        scores=np.float32(scores),
    )


def evaluation(examples=()):
    metrics = {name: number / 20 for number, name in enumerate(NAMES)}
    return Evaluation(
        step=300,
        metrics=metrics | {"DetectionBoxes_Precision/mAP (small)": -1.0},
        losses={"Loss/total_loss": 1.5},
        num_images=40,
        num_objects=57,
        seconds=1.26,
        examples=list(examples),
    )


def test_table():
    lines = report.table(evaluation()).splitlines()
    assert lines[0] == "Evaluation of step 300 on 40 images with 57 objects (1.3 s)"
    assert len(lines) == 13
    assert lines[1].split() == ["AP", "IoU", "0.50:0.95", "0.000"]
    assert lines[2].split() == ["AP", "IoU", "0.50", "0.050"]
    assert lines[4].endswith("small   no such objects")
    assert lines[12].split() == ["AR", "100", "detections", "large", "0.550"]
    # The numbers stand in one column.
    assert len({len(line) for number, line in enumerate(lines[1:], 1) if number != 4}) == 1


def test_json():
    numbers = json.loads(evaluation().to_json())
    assert (numbers["step"], numbers["num_images"], numbers["num_objects"]) == (300, 40, 57)
    assert numbers["DetectionBoxes_Precision/mAP@.50IOU"] == 0.05
    assert numbers["Loss/total_loss"] == 1.5
    assert set(NAMES) <= set(numbers)


def pictures(one, *, min_score=0.0, max_boxes=10, names=None):
    found = report.side_by_side_pictures(
        evaluation([one]), {0: "cat", 1: "dog"} if names is None else names,
        min_score=min_score, max_boxes=max_boxes,
    )  # fmt: skip
    assert len(found) == 1
    return found[0]


def expected(*shown, truth="dog"):
    picture = Image.fromarray(example().picture)
    return np.asarray(side_by_side(draw_boxes(picture, shown), draw_boxes(picture, [Box(BOX, truth, 1)])))


DOG, CAT = Box(BOX, "dog 90%", 1), Box([0.1, 0.5, 0.4, 1], "cat 40%", 0)


def test_what_was_found_lies_left_and_the_truth_right():
    # The better one is drawn last.
    np.testing.assert_array_equal(pictures(example()), expected(CAT, DOG))


@pytest.mark.parametrize("limit", [{"min_score": 0.5}, {"max_boxes": 1}])
def test_only_the_best_are_shown(limit):
    np.testing.assert_array_equal(pictures(example(), **limit), expected(DOG))


def test_nothing_found():
    np.testing.assert_array_equal(pictures(example(scores=())), expected())


def test_a_class_that_has_no_name_shows_its_number():
    shown = pictures(example(scores=(0.9,)), names={})
    np.testing.assert_array_equal(shown, expected(Box(BOX, "1 90%", 1), truth="1"))


def test_published_under_the_tags_of_the_api(tmp_path, capsys):
    pipeline = pipeline_pb2.TrainEvalPipelineConfig()
    pipeline.eval_input_reader.add(name="held_out")
    pipeline.eval_config.min_score_threshold = 0.5
    label_map = LabelMap((Label(1, "cat"), Label(2, "dog")))
    report.publish(evaluation([example(), example()]), pipeline, label_map, tmp_path / "run")

    assert capsys.readouterr().out == report.table(evaluation()) + "\n"
    assert (tmp_path / "run" / "evaluation.json").read_text() == evaluation().to_json()
    events = EventAccumulator(str(tmp_path / "run" / "eval" / "held_out")).Reload()
    tags = events.Tags()
    # What TensorFlow 2 writes as scalars and images are tensors to TensorBoard.
    assert set(tags["tensors"]) == {
        *NAMES, "Loss/total_loss", "eval_side_by_side_0_0", "eval_side_by_side_1_0",
    }  # fmt: skip
    assert events.Tensors("Loss/total_loss")[0].step == 300
