"""The examples of docs/python.md run as they are written, one after the other; only the detector is a small one."""

import re
from pathlib import Path

import pytest

import boxtune
from boxtune import models
from boxtune.training.early_stopping import EvaluationOptions
from tiny_run import SIDE, TinyDetector

pytestmark = [
    pytest.mark.usefixtures("graphs_as_traced"),
    pytest.mark.filterwarnings("ignore:OpenCV:UserWarning"),  # supervision's, where it is not installed
]

PAGE = Path(__file__).parent.parent / "docs" / "python.md"
SIZE = f"model.ssd.image_resizer.fixed_shape_resizer={{height: {SIDE} width: {SIDE}}}"


def test_the_examples_run(tmp_path, monkeypatch, capsys):
    def quickly(*arguments, num_steps, **options):
        options |= {"overrides": [SIZE], "batch_size": 8, "evaluation_options": EvaluationOptions(every_n=0)}
        return retrain(*arguments, num_steps=num_steps // 200, **options)

    retrain = boxtune.retrain
    monkeypatch.setattr(boxtune, "retrain", quickly)
    monkeypatch.setattr(models, "build", lambda section, options=None: TinyDetector())
    monkeypatch.chdir(tmp_path)
    names = {}
    examples = re.findall(r"```python\n(.+?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for number, code in enumerate(examples, start=1):
        exec(compile(code, f"example {number} of {PAGE.name}", "exec"), names)
    assert len(examples) == 11
    printed = capsys.readouterr().out
    assert len(re.findall(r"<\d detections? in photos/images/practice-\d{4}\.jpg", printed)) == 40
    assert len(names["several"]) == 3
    assert len(names["everything"]) == 1
    for path in (
        "check.html",
        "doubts.html",
        "drawn.png",
        "drawn/detections.json",
        "on_unseen/evaluation.html",
    ):
        assert (tmp_path / path).is_file(), path
