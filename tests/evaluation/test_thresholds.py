"""The thresholds that an evaluation found best: chosen, written, and read with every value checked."""

import json

import pytest

from boxtune.errors import DataError
from boxtune.evaluation.thresholds import (
    ClassThreshold,
    Thresholds,
    read_thresholds,
    thresholds_of,
    write_thresholds,
)
from boxtune.metrics.results import Evaluation
from hand_drawn import FAR, A, B, image


def evaluation():
    """Of cats: right, wrong, right, of two objects; a dog is not found; there are no owls."""
    first = image([(A, 0), (B, 1)], [(A, 0, 0.90006), (FAR, 0, 0.6)], name="a.jpg")
    second = image([(A, 0)], [(A, 0, 0.3), (FAR, 2, 0.8)], name="b.jpg")
    return Evaluation(
        step=600, metrics={}, results=[first, second], class_names=["cat", "dog", "owl"], seconds=1.0
    )


@pytest.mark.parametrize(
    ("wanted", "threshold"),
    [(0.0, (0.3, 0.6667, 1.0)), (0.7, (0.9, 1.0, 0.5))],  # F1 0.8 and 0.667
)
def test_of_each_class_the_best_with_a_precision(wanted, threshold):
    found = thresholds_of(evaluation(), wanted)
    assert found == Thresholds(600, 2, wanted, (ClassThreshold(1, "cat", *threshold),))


def test_as_text():
    assert str(thresholds_of(evaluation())) == "of the highest F1 on 2 images: cat 0.3"
    with_precision = "of the highest F1 with a precision of 0.7 or more on 2 images: cat 0.9"
    assert str(thresholds_of(evaluation(), 0.7)) == with_precision
    assert str(Thresholds(0, 5, 0.0, ())) == "of the highest F1 on 5 images: none"


def test_written_and_read(tmp_path):
    found = thresholds_of(evaluation(), 0.7)
    assert read_thresholds(write_thresholds(found, tmp_path)) == found


def content(**changes):
    row = {"id": 1, "name": "cat", "min_score": 0.3, "precision": 0.5, "recall": 0.5}
    whole = {"step": 1, "num_images": 2, "min_precision": 0.0, "classes": [row]}
    return {name: changes.get(name, value) for name, value in whole.items()} | {
        "classes": changes.get("classes", [{name: changes.get(name, value) for name, value in row.items()}])
    }


def test_what_can_be_read(tmp_path):
    (tmp_path / "thresholds.json").write_text(json.dumps(content()))
    assert read_thresholds(tmp_path / "thresholds.json").classes[0].min_score == 0.3


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "Expecting value"),
        ("[" * 100_000, "recursion"),
        ("[]", r"\[\] is not an object of classes, min_precision, num_images, step"),
        ('{"step": 1}', "is not an object of"),
        *(
            (json.dumps(content(**{name: value})), f"{name} is ")
            for name, values in {
                "step": [-1, 0.5, "1", None, True, 10**400],
                "num_images": [-3, [], "x"],
                "min_precision": [-0.1, 1.1, "0.9", None, True],
                "id": [0, -1, 1.0, "1", True],
                "name": [3, None, ["cat"]],
                "min_score": ["0.3", None, [], True, 10**400],
                "precision": [2, "1"],
                "recall": [-1, {}],
            }.items()
            for value in values
            if value != 10**400 or name == "step"
        ),
        (json.dumps(content()).replace("0.3", "NaN"), "min_score is nan"),
        (json.dumps(content()).replace("0.3", "1e999"), "min_score is inf"),
        (json.dumps(content()).replace("0.3", "1" + "0" * 400), "int too large"),
        (json.dumps(content(classes=content()["classes"] * 2)), "a class is there twice"),
        (json.dumps(content(classes=None)), "not iterable"),
        (json.dumps(content(classes=["cat"])), "'cat' is not an object of id, min_score"),
    ],
)
def test_what_cannot_is_one_line_that_names_the_file(tmp_path, text, fault):
    path = tmp_path / "thresholds.json"
    path.write_text(text)
    with pytest.raises(DataError, match=fault) as caught:
        read_thresholds(path)
    assert str(caught.value).startswith(f"{path}: these are no thresholds: ")
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(DataError, match=r"thresholds\.json cannot be read: No such file"):
        read_thresholds(tmp_path / "thresholds.json")
