"""A journal has every number to the bit, and what a resumed run makes again is cut off before."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxtune.errors import DataError
from boxtune.metrics.results import Evaluation
from boxtune.training.callbacks import Step
from boxtune.training.loggers import Journal
from image_results import image_result


def step(number, loss=0.5):
    return Step(number, {"localization_loss": loss, "classification_loss": 1.25}, 0.08, 7.0, 8, 0.4)


def evaluation(number, value=0.5):
    return Evaluation(
        step=number, metrics={"DetectionBoxes_Precision/mAP": value}, losses={"Loss/total_loss": 2.0},
        results=[image_result()] * 40, class_names=(), seconds=1.234,
    )  # fmt: skip


def written(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


@pytest.fixture
def ten(path):
    """A journal of ten steps with evaluations after the fifth and the tenth."""
    with Journal(path, 0) as journal:
        for number in range(1, 11):
            journal.add_step(step(number))
            if number % 5 == 0:
                journal.add_evaluation(evaluation(number, number / 100))
    return path


def test_a_line_for_a_step(path):
    with Journal(path, 0) as journal:
        journal.add_step(step(7))
    (line,) = written(path)
    assert line.pop("time") > 1.7e9
    assert line == {
        "step": 7,
        "Loss/localization_loss": 0.5,
        "Loss/classification_loss": 1.25,
        "Loss/total_loss": 1.75,
        "learning_rate": 0.08,
        "images_per_sec": 20.0,
    }


def test_a_line_for_an_evaluation(path):
    with Journal(path, 0) as journal:
        journal.add_evaluation(evaluation(1000))
    (line,) = written(path)
    del line["time"]
    assert line == {
        "step": 1000,
        "evaluation": {"DetectionBoxes_Precision/mAP": 0.5, "Loss/total_loss": 2.0},
        "num_images": 40,
        "seconds": 1.23,
    }


@settings(max_examples=50)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_numbers_are_read_again_to_the_bit(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("journal") / "metrics.jsonl"
    with Journal(path, 0) as journal:
        journal.add_step(step(1, loss=float(np.float32(value))))
    read = written(path)[0]["Loss/localization_loss"]
    assert np.float32(read).tobytes() == np.float32(value).tobytes()


def test_a_line_is_there_at_once(path):
    with Journal(path, 0) as journal:
        journal.add_step(step(1))
        assert len(written(path)) == 1


@pytest.mark.parametrize(
    ("start", "lines"),
    [(10, 12), (9, 10), (5, 6), (4, 4), (0, 0), (99, 12)],
)
def test_later_steps_are_cut_off(ten, start, lines):
    before = ten.read_bytes().splitlines(keepends=True)
    with Journal(ten, start) as journal:
        assert ten.read_bytes() == b"".join(before[:lines])
        assert [number for number, _ in journal.evaluations] == [n for n in (5, 10) if n <= start]
        journal.add_step(step(start + 1))
    assert [line["step"] for line in written(ten)][lines:] == [start + 1]


def test_evaluations_are_read_again(ten):
    with Journal(ten, 10) as journal:
        assert journal.evaluations == [
            (5, {"DetectionBoxes_Precision/mAP": 0.05, "Loss/total_loss": 2.0}),
            (10, {"DetectionBoxes_Precision/mAP": 0.1, "Loss/total_loss": 2.0}),
        ]
        assert journal.has_evaluation(5)
        assert not journal.has_evaluation(6)


def test_a_metric_that_is_nan_is_null_and_read_again(path):
    with Journal(path, 0) as journal:
        journal.add_evaluation(evaluation(3, math.nan))
    assert written(path)[0]["evaluation"]["DetectionBoxes_Precision/mAP"] is None
    with Journal(path, 3) as journal:
        assert math.isnan(journal.evaluations[0][1]["DetectionBoxes_Precision/mAP"])


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_last_line_that_is_not_whole_is_cut_off(ten, cut):
    whole = ten.read_bytes().splitlines(keepends=True)
    ten.write_bytes(b"".join(whole)[:-cut])  # in the evaluation after step 10
    with Journal(ten, 10) as journal:
        assert not journal.has_evaluation(10)
    assert ten.read_bytes() == b"".join(whole[:-1])


@pytest.mark.parametrize(
    "line", [b"junk", b"[]", b"{}", b'{"step": "3"}', b'{"step": 3, "evaluation": 4}', b"\xff", b"[" * 100_000],
    ids=lambda line: line[:12].decode("latin1"),
)  # fmt: skip
def test_a_file_that_is_not_a_journal_is_left_alone(ten, line):
    damaged = line + b"\n" + ten.read_bytes()
    ten.write_bytes(damaged)
    with pytest.raises(DataError, match=r"metrics\.jsonl:1 is not a line of a training's journal"):
        Journal(ten, 10)
    assert ten.read_bytes() == damaged


def test_a_line_without_end_is_not_read_whole(path):
    path.write_bytes(b"x" * (1 << 21))
    with pytest.raises(DataError, match=r"metrics\.jsonl:1 is not a line"):
        Journal(path, 0)


def test_a_folder_in_its_place(path):
    path.mkdir()
    with pytest.raises(DataError, match="is a folder, not a file"):
        Journal(path, 0)
