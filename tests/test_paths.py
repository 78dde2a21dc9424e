"""Every verb takes its paths as text, too."""

import contextlib
import importlib
import inspect
import io
import re
import shutil
from pathlib import Path

import pytest

import boxtune
import bright_model
from boxtune import config, models
from boxtune.data.preparation import Options
from boxtune.retrain import RetrainResult
from boxtune.serving.server import Server
from boxtune.training.early_stopping import EvaluationOptions
from boxtune.training.validation import read_best
from tiny_run import SIDE, TinyDetector
from voc_folder import image_file

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

SIZE = f"model.ssd.image_resizer.fixed_shape_resizer={{height: {SIDE} width: {SIDE}}}"
TRAINING = {
    "overrides": [SIZE],
    "num_steps": 1,
    "batch_size": 2,
    "evaluation_options": EvaluationOptions(every_n=0),
}


def parameters_of_paths(verb):
    """Return the parameters of a verb that may be paths, with their annotations."""
    parameters = inspect.signature(getattr(boxtune, verb)).parameters.values()
    return {one.name: str(one.annotation) for one in parameters if "Path" in str(one.annotation)}


@pytest.mark.parametrize("verb", boxtune.VERBS)
def test_whatever_may_be_a_path_may_be_text(verb):
    for name, annotation in parameters_of_paths(verb).items():
        assert re.search(r"\bstr\b", annotation), f"{verb}({name}: {annotation})"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A data set, a finished run of two layers, and what other verbs make."""
    folder = tmp_path_factory.mktemp("finished")
    boxtune.draw(str(folder / "photos"), num_images=10)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(models, "build", lambda section, options=None: TinyDetector())
        boxtune.retrain(str(folder / "photos"), str(folder / "mine"), **TRAINING)
        shutil.copyfile(folder / "mine" / "evaluation.json", folder / "earlier.json")
        (folder / "found.json").write_text("[]")
        image_file(folder / "unlabelled" / "a.jpg")
        bright_model.write(folder / "bright.onnx")
        config.write(boxtune.configure(str(folder / "mine" / "records")), folder / "stock.config")
        yield folder


RUN, CONFIG, EXPORTED = "mine", "mine/pipeline.config", "mine/exported"
LABELS = "mine/records/label_map.pbtxt"
CALLS = {
    "benchmark": [{"models": "bright.onnx", "images": "unlabelled", "rounds": 1, "json": "new/a.json"}],
    "check": [
        {"photos": "photos", "page": "new/a.html", "report": "new/a.json", "pipeline_config_path": "stock.config"},
        {"photos": "photos", "models": RUN},
        {"photos": ["photos"], "models": [RUN, EXPORTED]},
        {"photos": "photos", "options": Options(annotations="photos", label_map=LABELS, kept_split="mine/records")},
    ],
    "configure": [{"records": "mine/records", "checkpoint": "mine/best"}],
    "convert": [{"photos": "photos", "output_dir": "new"}, {"photos": ["photos"], "output_dir": "new", "to": "voc"}],
    "cross_validate": [{"photos": "photos", "model_dir": "new", "options": Options(folds=2)}],
    "doctor": [{}],
    "draw": [{"output_dir": "new", "num_images": 1}],
    "evaluate": [
        {"model_dir": RUN, "output_dir": "new", "compare_with": "earlier.json"},
        {"pipeline_config_path": CONFIG, "checkpoint": "mine/best", "data": "mine/records", "label_map": LABELS},
        {"saved_model": EXPORTED, "data": "photos"},
        {"detections": "found.json", "data": "photos"},
    ],
    "export": [{"pipeline_config_path": CONFIG, "checkpoint": "mine/best", "output_dir": "new"}],
    "label": [
        {"model": RUN, "images": "unlabelled", "output_dir": "new", "label_map": LABELS, "labelled": "photos"}
    ],
    "list_models": [{}],
    "load": [{"model": RUN, "label_map": LABELS}],
    "lr_range": [{"pipeline_config_path": CONFIG, "output_dir": "new", "num_steps": 25}],
    "predict": [{"model": EXPORTED, "images": "photos", "output_dir": "new", "label_map": LABELS}],
    "retrain": [{"photos": "photos", "model_dir": "new", "checkpoint": EXPORTED, **TRAINING}],
    "runs": [{"project": RUN, "page": "new/runs.html"}],
    "serve": [{"model": RUN, "port": 0}],
    "train": [{"pipeline_config_path": CONFIG, "model_dir": "new"}],
}  # fmt: skip


def test_every_path_of_every_verb_is_tried():
    for verb in boxtune.VERBS:
        tried = {name for call in CALLS[verb] for name in call}
        assert parameters_of_paths(verb).keys() <= tried, verb


def retrained(photos, model_dir, **rest):
    Path(model_dir).mkdir(parents=True)
    return RetrainResult(model_dir, read_best(Path(RUN)))


@pytest.mark.parametrize(("verb", "call"), [(verb, call) for verb in boxtune.VERBS for call in CALLS[verb]])
def test_paths_may_be_text(finished, tmp_path, monkeypatch, verb, call):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module("boxtune.cross_validate")  # whose trainings are those of retrain
    monkeypatch.setattr(module, "retrain", retrained)
    monkeypatch.setattr(Server, "run", lambda *_: None)  # it is interrupted at once
    getattr(boxtune, verb)(**call)
    assert any("new" in str(path) for path in call.values() if isinstance(path, str)) == Path("new").exists()
