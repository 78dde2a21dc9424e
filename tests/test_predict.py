"""The verb `predict` on a model that finds the same anywhere: what is drawn, what is passed over."""

import json
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from boxtune import cli
from boxtune.data.files import whole_file
from boxtune.data.image_writer import unique_stems
from boxtune.data.label_map import Label, LabelMap, write_label_map
from boxtune.errors import CheckpointError, DataError
from boxtune.evaluation.exported import load_exported
from boxtune.evaluation.thresholds import ClassThreshold, Thresholds, write_thresholds
from boxtune.predict import predict
from voc_folder import image_file


class _Finder(tf.Module):
    """Finds one object, in the upper left quarter of every image."""

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8)])
    def find(self, images):
        return {
            "num_detections": tf.constant([1.0]),
            "detection_boxes": tf.constant([[[0.0, 0.0, 0.5, 0.5]]]),
            "detection_classes": tf.constant([[1.0]]),
            "detection_scores": tf.reduce_max(tf.cast(images > 0, tf.float32)) * tf.constant([[0.9]]),
        }


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    finder = _Finder()
    tf.saved_model.save(finder, str(folder), {"serving_default": finder.find})
    return folder


@pytest.fixture
def run(model, tmp_path):
    """Run the command line on `photos`; return its status, its output and what is in detections.json."""

    def run(capsys):
        status = cli.main(
            ["predict", str(model), str(tmp_path / "photos"), "--output_dir", str(tmp_path / "o")]
        )
        printed = capsys.readouterr()
        return status, printed.out, json.loads((tmp_path / "o" / "detections.json").read_text())

    return run


def test_images_are_drawn_under_names_of_their_own(run, tmp_path, capsys):
    for name in ("a.jpg", "a.png", "b/c-d.jpg", "b-c/d.jpg"):
        image_file(tmp_path / "photos" / name)
    status, out, found = run(capsys)
    shown = "Shown from a score of 0.5 on: there is no thresholds.json beside the model.\n"
    assert (status, out) == (0, f"{shown}4 objects in 4 images, drawn in {tmp_path / 'o'}\n")
    assert [len(one["detections"]) for one in found] == [1] * 4
    drawn = sorted(path.name for path in (tmp_path / "o").glob("*.png"))
    assert drawn == ["a.jpg.png", "a.png.png", "b-c-d.jpg-2.png", "b-c-d.jpg.png"]


class TestALabelMap:
    def predicted(self, model, tmp_path, given, own=("cat", "dog")):
        """Return the names of what is found; `given` and `own` are names in the order of their numbers."""
        folder = tmp_path / "exported"
        shutil.copytree(model, folder / "saved_model")
        for path, names in ((tmp_path / "given.pbtxt", given), (folder / "label_map.pbtxt", own)):
            if names:
                labels = (Label(number, name) for number, name in enumerate(names, start=1))
                write_label_map(LabelMap(tuple(labels)), path)
        image_file(tmp_path / "a.jpg")
        (found,) = predict(folder, tmp_path / "a.jpg", tmp_path / "o", label_map=tmp_path / "given.pbtxt")
        return [one.name for one in found.detections]

    def test_with_the_names_of_the_model_in_another_order_is_refused(self, model, tmp_path):
        message = r'other numbers than in the model\'s own .*"dog" is 1 there and 2 here; "cat" is 2 there and 1 here\.'
        with pytest.raises(DataError, match=message):
            self.predicted(model, tmp_path, ("dog", "cat"))
        assert not (tmp_path / "o").exists()

    @pytest.mark.parametrize("own", [("cat", "dog"), ()])
    @pytest.mark.parametrize("given", [("cat", "dog"), ("Katze", "Hund")])
    def test_with_the_same_order_or_other_names_is_taken(self, model, tmp_path, given, own):
        assert self.predicted(model, tmp_path, given, own) == [given[0]]


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"\xff\xd8\xff\xe0 half of a JPEG"])
def test_one_that_cannot_be_read_is_named_and_passed_over(run, tmp_path, capsys, caplog, content):
    for name in ("a.jpg", "c.jpg"):
        image_file(tmp_path / "photos" / name)
    broken = tmp_path / "photos" / "b.jpg"
    broken.write_bytes(content)
    status, out, found = run(capsys)
    assert status == 1
    assert out.endswith(f"\n2 objects in 2 images, drawn in {tmp_path / 'o'}; 1 could not be read\n")
    assert "b.jpg: it cannot be decoded" in caplog.text
    assert [(len(one["detections"]), "error" in one) for one in found] == [(1, False), (0, True), (1, False)]
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == [
        "a.jpg.png",
        "c.jpg.png",
        "detections.json",
    ]


@pytest.mark.parametrize("character", ["x", "ü", "猫", "😀"])
def test_long_names_are_cut(model, tmp_path, character):
    name = character * (244 // len(character.encode()))
    paths = [image_file(tmp_path / "photos" / f"{name}{end}.jpg") for end in ("1", "2")]
    predictions = predict(model, tmp_path / "photos", tmp_path / "o")
    assert [one.image for one in predictions] == paths
    drawn = [one.drawn.name for one in predictions]
    assert len(set(drawn)) == 2
    assert all(len(each.encode()) < 255 - len(".partial") for each in drawn)
    assert all(one.drawn.is_file() for one in predictions)
    (alone,) = predict(model, paths[0], tmp_path / "alone")
    assert alone.drawn.is_file()


class TestThresholds:
    """The model finds one object of class 1, of score 0.9, in an image that is not black."""

    @pytest.fixture
    def exported(self, model, tmp_path):
        folder = tmp_path / "exported"
        shutil.copytree(model, folder / "saved_model")
        write_label_map(LabelMap.from_names(["cat", "dog"]), folder / "label_map.pbtxt")
        image_file(tmp_path / "photos" / "a.jpg")
        Image.new("RGB", (40, 20)).save(tmp_path / "photos" / "black.png")
        return folder

    def thresholds(self, folder, cat, name="cat", number=1):
        one = ClassThreshold(number, name, cat, 0.9, 0.8)
        write_thresholds(Thresholds(600, 40, 0.0, (one,)), folder)

    @pytest.mark.parametrize(("cat", "count"), [(0.3, 1), (0.9, 1), (0.9001, 0)])
    @pytest.mark.parametrize("given", [".", "saved_model"])
    def test_those_beside_the_model_count(self, exported, tmp_path, capsys, cat, count, given):
        self.thresholds(exported, cat)
        shown, black = predict(exported / given, tmp_path / "photos", tmp_path / "o")
        assert [len(one.detections) for one in (shown, black)] == [count, 0]
        assert (shown.highest.name, shown.highest.score, black.highest) == ("cat", 0.9, None)
        out = capsys.readouterr().out
        assert out.startswith(
            f"Shown from the scores in {exported / 'thresholds.json'} on, of the highest F1 on 40 images: "
            f"cat {cat:g}; other classes 0.5.\n"
        )

    def test_a_class_without_one_is_shown_from_a_half_on(self, exported, tmp_path):
        self.thresholds(exported, 1.0, "dog", 2)
        assert predict(exported, tmp_path / "photos", tmp_path / "o")[0].detections

    def test_a_flag_goes_before_them(self, exported, tmp_path, capsys):
        (exported / "thresholds.json").write_text("damaged")
        predictions = predict(exported, tmp_path / "photos", tmp_path / "o", min_score=0.8)
        assert [len(one.detections) for one in predictions] == [1, 0]
        assert capsys.readouterr().out == "Shown from a score of 0.8 on, as --min_score says.\n"

    def test_where_nothing_reaches_them_the_highest_score_is_named(self, exported, tmp_path, capsys):
        self.thresholds(exported, 0.95)
        predict(exported, tmp_path / "photos", tmp_path / "o")
        assert capsys.readouterr().out.endswith(
            f"No detection reaches these scores. The highest is 0.9: cat, in {tmp_path / 'photos' / 'a.jpg'}. "
            "--min_score 0.89 shows it.\n"
        )
        (one,) = predict(exported, tmp_path / "photos" / "a.jpg", tmp_path / "o", min_score=0.89)
        assert len(one.detections) == 1

    def test_where_nothing_is_found_at_all(self, exported, tmp_path, capsys):
        predict(exported, tmp_path / "photos" / "black.png", tmp_path / "o")
        assert capsys.readouterr().out.endswith("No image has any detection, whatever its score.\n")

    @pytest.mark.parametrize(
        ("number", "name", "fault"),
        [
            (1, "owl", 'class 1 "owl", and .* calls it "cat"'),
            (3, "owl", 'class 3 "owl", and .* has no such class'),
        ],
    )
    def test_those_of_other_classes_are_refused(self, exported, tmp_path, number, name, fault):
        self.thresholds(exported, 0.5, name, number)
        with pytest.raises(DataError, match=rf"thresholds\.json: has {fault}.*--min_score"):
            predict(exported, tmp_path / "photos", tmp_path / "o")

    def test_names_in_another_language_change_nothing(self, exported, tmp_path):
        self.thresholds(exported, 0.6)
        write_label_map(LabelMap.from_names(["Hund", "Katze"]), tmp_path / "german.pbtxt")
        first, _ = predict(exported, tmp_path / "photos", tmp_path / "o", label_map=tmp_path / "german.pbtxt")
        assert [one.name for one in first.detections] == ["Hund"]

    def test_damaged_ones_are_an_error_of_one_line(self, exported, tmp_path, capsys):
        (exported / "thresholds.json").write_text("{}")
        status = cli.main(
            ["predict", str(exported), str(tmp_path / "photos"), "--output_dir", str(tmp_path / "o")]
        )
        assert status == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert f"{exported}/thresholds.json: these are no thresholds: " in error


def test_names_are_cut_between_characters():
    (stem,) = unique_stems(["猫" * 90 + ".jpg"])
    assert stem == "猫" * 66


def test_a_name_that_is_too_long_to_write_is_an_error(tmp_path):
    with (
        pytest.raises(DataError, match="cannot be written: File name too long"),
        whole_file(tmp_path / ("x" * 256)) as one,
    ):
        one.write_bytes(b"")


def test_every_kind_of_image_is_turned_upright(model, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a.jpg", "b.png", "c.tif", "d.webp"):
        image_file(tmp_path / "photos" / name, exif=exif)
    for one in predict(model, tmp_path / "photos", tmp_path / "o"):
        with Image.open(one.drawn) as drawn:
            assert np.asarray(drawn).shape == (40, 20, 3)
        assert (one.detections[0].xmax, one.detections[0].ymax) == (10, 20)


def test_a_model_whose_scores_are_not_finite_is_refused(model, tmp_path, monkeypatch):
    path = image_file(tmp_path / "a.jpg")
    detect = load_exported(model)
    broken = {"detection_scores": tf.constant([[np.nan]])}
    module = sys.modules["boxtune.predict"]
    monkeypatch.setattr(module, "load_exported", lambda folder: lambda image: detect(image) | broken)
    with pytest.raises(CheckpointError, match=r"a\.jpg: detection_scores of the model are not finite"):
        predict(model, path, tmp_path / "o")
