"""The verb `check` with a model: whose labels are compared with what it finds, and what is said of it."""

import json

import numpy as np
import pytest

from boxtune import cli, doubts
from boxtune.convert import convert
from boxtune.data.label_map import Label, LabelMap, write_label_map
from boxtune.data.preparation import Options, prepare
from boxtune.doubts import find_doubts
from boxtune.errors import DataError
from boxtune.evaluation.found import Found
from boxtune.finder import Finder
from boxtune.metrics.label_doubts import Kind
from voc_folder import annotated, element

CAT, DOG = element("cat"), element("dog", 22, 2, 38, 18)  # of 40 x 20 pixels
CAT_BOX, DOG_BOX = (0.1, 0.1, 0.6, 0.5), (0.1, 0.55, 0.9, 0.95)
NUM_IMAGES = 10


@pytest.fixture
def photos(tmp_path):
    """Ten images with a cat and a dog; on the fifth the dog is not labelled."""
    folder = tmp_path / "photos"
    for number in range(NUM_IMAGES):
        annotated(folder, f"{number}", *([CAT] if number == 4 else [CAT, DOG]))
    return folder


@pytest.fixture
def models(monkeypatch, tmp_path):
    """Models by name: each a function from an image's name to what is found there, its classes, its records."""
    known = {}

    def load(path):
        find, label_map, records = known[path.name]
        write_label_map(label_map, tmp_path / f"{path.name}.pbtxt")
        return Finder(tmp_path / f"{path.name}.pbtxt", lambda sources: map(find, sources), records, path)

    monkeypatch.setattr(doubts, "load_finder", load)
    return known


def finds(*objects):
    """Return a function that finds the same everywhere: boxes, 0-based classes and scores."""
    boxes, classes, scores = zip(*objects, strict=True)
    found = np.float32(boxes), np.array(classes), np.float32(scores)
    return lambda source: Found(source, (20, 40), *found)


BOTH = finds((CAT_BOX, 0, 0.8), (DOG_BOX, 1, 0.9))


def test_the_text_and_the_report_tell_what_is_doubted(photos, models, tmp_path, capsys):
    models["mine"] = BOTH, LabelMap.from_names(["cat", "dog"]), None
    report = tmp_path / "report.json"
    arguments = ["--model", "mine", "--report", str(report), "--page", str(tmp_path / "page.html")]
    assert cli.main(["check", str(photos), *arguments]) == 0
    text = capsys.readouterr().out
    assert "mine: 1 doubt about 19 labels in 10 images." in text
    assert "missing: 4.jpg: no label; the model sees dog (0.90) at 22 2 38 18\n" in text
    content = json.loads(report.read_text())["doubts"]
    (row,) = content.pop("labels")
    assert content == {
        "models": ["mine"],
        "compared_images": 10,
        "compared_labels": 19,
        "images_trained_on": 0,
        "unknown_classes": {},
    }
    assert (row["kind"], row["image"], row["file"], row["class"], row["box"]) == (
        "missing",
        "4.jpg",
        "4.xml",
        None,
        None,
    )
    assert row["seen"] == {
        "class": "dog",
        "score": 0.9,
        "box": {"ymin": 2, "xmin": 22, "ymax": 18, "xmax": 38},
    }
    assert '"doubts":{' in (tmp_path / "page.html").read_text()


def test_classes_are_matched_by_name_and_unknown_ones_left_out(photos, models, capsys):
    # The model's numbers are not those of the data set; it finds a bird, which that has not.
    seen = finds((CAT_BOX, 1, 0.8), (DOG_BOX, 0, 0.9))
    models["mine"] = seen, LabelMap((Label(1, "bird"), Label(2, "n02121808", "cat"))), None
    found = find_doubts(prepare(photos, Options()), [photos / "mine"])
    assert (found.class_names, found.unknown, found.num_labels) == (["cat"], {"dog": 9}, 10)
    assert found.doubts == []
    assert cli.main(["check", str(photos), "--model", "mine"]) == 0
    assert "classes that the model does not know are left out: dog (9)." in capsys.readouterr().out


def test_what_lies_on_an_object_of_an_unknown_class_is_not_missing(photos, models):
    models["mine"] = finds((CAT_BOX, 0, 0.8), (DOG_BOX, 0, 0.8)), LabelMap.from_names(["cat"]), None
    found = find_doubts(prepare(photos, Options()), [photos / "mine"])
    assert [(one.kind, one.image) for one in found.doubts] == [(Kind.MISSING, images(photos).index("4.jpg"))]


def images(photos):
    return [image.name for image in prepare(photos, Options()).images]


def test_display_names_are_names_too(photos, models, tmp_path):
    path = tmp_path / "labels.pbtxt"
    path.write_text(
        "item { id: 1 name: 'n1' display_name: 'cat' } item { id: 2 name: 'n2' display_name: 'dog' }"
    )
    models["mine"] = BOTH, LabelMap.from_names(["cat", "dog"]), None
    found = find_doubts(prepare(photos, Options(label_map=path)), [photos / "mine"])
    assert (found.class_names, found.unknown) == (["n1", "n2"], {})
    assert [one.kind for one in found.doubts] == [Kind.MISSING]


def test_of_several_models_one_looks_that_has_not_seen_the_image(photos, models, tmp_path):
    asked = {}
    for fold in (1, 2):
        name = f"fold{fold}"
        convert(photos, tmp_path / name, Options(folds=2, fold=fold))
        asked[name] = []
        find = lambda image, names=asked[name]: names.append(image.name) or BOTH(image)  # noqa: E731
        models[name] = find, LabelMap.from_names(["cat", "dog"]), tmp_path / name
    found = find_doubts(prepare(photos, Options()), [tmp_path / name for name in asked])
    assert found.num_trained_on == 0
    assert [(one.kind, one.image) for one in found.doubts] == [(Kind.MISSING, images(photos).index("4.jpg"))]
    for name, names in asked.items():
        lines = (tmp_path / name / "validation.list").read_text().split()
        assert sorted(names) == sorted(lines)
    alone = find_doubts(prepare(photos, Options()), [tmp_path / "fold1"])
    assert alone.num_trained_on == 5


def test_a_model_of_other_classes_is_refused(photos, models):
    models["mine"] = BOTH, LabelMap.from_names(["raccoon", "owl"]), None
    with pytest.raises(DataError, match=r"The data have cat, dog; known are owl, raccoon\. Give a model of"):
        find_doubts(prepare(photos, Options()), [photos / "mine"])
