"""The verb `predict` on a model that finds the same anywhere: what is drawn, what is passed over."""

import json
import os
import shutil
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import bright_model
from boxtune import cli, finder
from boxtune.data import video
from boxtune.data.files import whole_file
from boxtune.data.image_writer import unique_stems
from boxtune.data.label_map import Label, LabelMap, write_label_map
from boxtune.data.reading import read
from boxtune.data.video import opened_video, written_video
from boxtune.detection_writers import JsonWriter
from boxtune.errors import CheckpointError, ConfigError, DataError
from boxtune.evaluate import evaluate
from boxtune.evaluation.thresholds import ClassThreshold, Thresholds, write_thresholds
from boxtune.predict import predict
from boxtune.runtimes.saved_model import SavedModel
from voc_folder import annotated, element, image_file


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
    assert (status, out) == (0, f"{shown}4 objects in 4 images, written to {tmp_path / 'o'}\n")
    assert [len(one["detections"]) for one in found] == [1] * 4
    drawn = ["a.jpg", "a-2.png", "b/c-d.jpg", "b-c/d.jpg"]
    assert [one["drawn"] for one in found] == drawn
    assert sorted(files_in(tmp_path / "o")) == sorted([*drawn, "detections.json"])


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def predicted(*arguments, **options):
    """Return what `predict` writes to detections.json."""
    predict(*arguments, **options)
    return json.loads((Path(arguments[2]) / "detections.json").read_text())


class TestALabelMap:
    def names(self, model, tmp_path, given, own=("cat", "dog")):
        """Return the names of what is found; `given` and `own` are names in the order of their numbers."""
        folder = tmp_path / "exported"
        shutil.copytree(model, folder / "saved_model")
        for path, names in ((tmp_path / "given.pbtxt", given), (folder / "label_map.pbtxt", own)):
            if names:
                labels = (Label(number, name) for number, name in enumerate(names, start=1))
                write_label_map(LabelMap(tuple(labels)), path)
        image_file(tmp_path / "a.jpg")
        (found,) = predicted(folder, tmp_path / "a.jpg", tmp_path / "o", label_map=tmp_path / "given.pbtxt")
        return [one["name"] for one in found["detections"]]

    def test_with_the_names_of_the_model_in_another_order_is_refused(self, model, tmp_path):
        message = r'other numbers than in the model\'s own .*"dog" is 1 there and 2 here; "cat" is 2 there and 1 here\.'
        with pytest.raises(DataError, match=message):
            self.names(model, tmp_path, ("dog", "cat"))
        assert not (tmp_path / "o").exists()

    @pytest.mark.parametrize("own", [("cat", "dog"), ()])
    @pytest.mark.parametrize("given", [("cat", "dog"), ("Katze", "Hund")])
    def test_with_the_same_order_or_other_names_is_taken(self, model, tmp_path, given, own):
        assert self.names(model, tmp_path, given, own) == [given[0]]


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"\xff\xd8\xff\xe0 half of a JPEG"])
def test_one_that_cannot_be_read_is_named_and_passed_over(run, tmp_path, capsys, caplog, content):
    for name in ("a.jpg", "c.jpg"):
        image_file(tmp_path / "photos" / name)
    broken = tmp_path / "photos" / "b.jpg"
    broken.write_bytes(content)
    status, out, found = run(capsys)
    assert status == 1
    assert out.endswith(f"\n2 objects in 2 images, written to {tmp_path / 'o'}; 1 could not be read\n")
    assert "b.jpg: it cannot be decoded" in caplog.text
    assert [(len(one["detections"]), "error" in one) for one in found] == [(1, False), (0, True), (1, False)]
    assert files_in(tmp_path / "o") == {"a.jpg", "c.jpg", "detections.json"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_a_pipe_is_no_image(model, tmp_path, caplog):
    os.mkfifo(tmp_path / "a.jpg")
    found = predict(model, [tmp_path / "a.jpg", image_file(tmp_path / "b.jpg")], tmp_path / "o")
    assert found.num_images == 1
    assert "a.jpg: it is no file." in caplog.text


@pytest.mark.parametrize("character", ["x", "ü", "猫", "😀"])
def test_long_names_are_cut(model, tmp_path, character):
    name = character * (244 // len(character.encode()))
    paths = [image_file(tmp_path / "photos" / f"{name}{end}.jpg") for end in ("1", "2")]
    found = predicted(model, tmp_path / "photos", tmp_path / "o")
    assert [one["image"] for one in found] == list(map(str, paths))
    drawn = {one["drawn"] for one in found}
    assert len(drawn) == 2
    assert all(len(each.encode()) < 255 - len(".partial") for each in drawn)
    assert files_in(tmp_path / "o") == {*drawn, "detections.json"}
    (alone,) = predicted(model, paths[0], tmp_path / "alone")
    assert (tmp_path / "alone" / alone["drawn"]).is_file()


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
        found = predict(exported / given, tmp_path / "photos", tmp_path / "o")
        assert (found.num_detections, found.num_images) == (count, 2)
        highest, image = found.highest
        assert (highest.name, round(highest.score, 6)) == ("cat", 0.9)
        assert image == str(tmp_path / "photos" / "a.jpg")
        out = capsys.readouterr().out
        assert out.startswith(
            f"Shown from the scores in {exported / 'thresholds.json'} on, of the highest F1 on 40 images: "
            f"cat {cat:g}; other classes 0.5.\n"
        )

    def test_a_class_without_one_is_shown_from_a_half_on(self, exported, tmp_path):
        self.thresholds(exported, 1.0, "dog", 2)
        assert predict(exported, tmp_path / "photos", tmp_path / "o").counts == {"cat": 1}

    def test_a_flag_goes_before_them(self, exported, tmp_path, capsys):
        (exported / "thresholds.json").write_text("damaged")
        found = predicted(exported, tmp_path / "photos", tmp_path / "o", min_score=0.8)
        assert [len(one["detections"]) for one in found] == [1, 0]
        assert capsys.readouterr().out == "Shown from a score of 0.8 on, as --min_score says.\n"

    def test_where_nothing_reaches_them_the_highest_score_is_named(self, exported, tmp_path, capsys):
        self.thresholds(exported, 0.95)
        predict(exported, tmp_path / "photos", tmp_path / "o")
        assert capsys.readouterr().out.endswith(
            f"No detection reaches these scores. The highest is 0.9: cat, in {tmp_path / 'photos' / 'a.jpg'}. "
            "--min_score 0.89 shows it.\n"
        )
        (one,) = predicted(exported, tmp_path / "photos" / "a.jpg", tmp_path / "o", min_score=0.89)
        assert len(one["detections"]) == 1

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
        found = predict(exported, tmp_path / "photos", tmp_path / "o", label_map=tmp_path / "german.pbtxt")
        assert found.counts == {"Hund": 1}

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
    for one in predicted(model, tmp_path / "photos", tmp_path / "o"):
        with Image.open(tmp_path / "o" / one["drawn"]) as drawn:
            assert np.asarray(drawn).shape == (40, 20, 3)
        assert (one["detections"][0]["xmax"], one["detections"][0]["ymax"]) == (10, 20)


def test_a_model_whose_scores_are_not_finite_is_refused(model, tmp_path, monkeypatch):
    path = image_file(tmp_path / "a.jpg")

    class Broken(SavedModel):
        def __call__(self, images):
            return super().__call__(images) | {"detection_scores": tf.constant([[np.nan]])}

    monkeypatch.setattr(finder, "load_exported", Broken)
    with pytest.raises(CheckpointError, match=r"a\.jpg: detection_scores of the model are not finite"):
        predict(model, path, tmp_path / "o")
    assert files_in(tmp_path / "o") == set()


class TestOutputs:
    """The model finds one object of class 1, of score 0.9, in the upper left quarter of images of 40 x 20 pixels."""

    @pytest.fixture
    def photos(self, tmp_path):
        for name in ("a.jpg", "sub/b.png"):
            image_file(tmp_path / "photos" / name)
        Image.new("RGB", (40, 20)).save(tmp_path / "photos" / "black.png")
        return tmp_path / "photos"

    @pytest.fixture
    def named(self, model, tmp_path):
        """The model with a label map of two classes."""
        folder = tmp_path / "named"
        shutil.copytree(model, folder / "saved_model")
        write_label_map(LabelMap.from_names(["cat", "dog"]), folder / "label_map.pbtxt")
        return folder

    @pytest.mark.parametrize("name", ["csv", "voc", "coco", "yolo"])
    def test_data_sets_are_read_again(self, named, photos, tmp_path, name):
        predict(named, photos, tmp_path / "o", to=[name])
        annotations = tmp_path / "o" / ("detections.csv" if name == "csv" else name)
        found = read(photos, annotations=annotations, format_name=name, num_workers=1)
        assert [one.name for one in found.images] == ["a.jpg", "black.png", "sub/b.png"]
        objects = [[(item.class_name, item.box) for item in image.objects] for image in found.images]
        box = pytest.approx((0, 0, 0.5, 0.5), abs=1e-5)
        assert objects == [[("cat", box)], [], [("cat", box)]]

    def test_coco_has_scores_and_the_ids_of_the_model(self, named, photos, tmp_path):
        predict(named, photos, tmp_path / "o", to=["coco", "coco"])
        coco = json.loads((tmp_path / "o" / "coco" / "annotations.json").read_text())
        assert [(one["id"], one["name"]) for one in coco["categories"]] == [(1, "cat"), (2, "dog")]
        assert [round(one["score"], 6) for one in coco["annotations"]] == [0.9, 0.9]

    def test_the_table_has_a_row_for_each(self, named, photos, tmp_path):
        predict(named, photos, tmp_path / "o", to=["csv"])
        assert (tmp_path / "o" / "detections.csv").read_text().splitlines() == [
            "filename,width,height,class,xmin,ymin,xmax,ymax,score,seconds",
            "a.jpg,40,20,cat,0.000,0.000,20.000,10.000,0.900000,",
            "black.png,40,20,,,,,,,",
            "sub/b.png,40,20,cat,0.000,0.000,20.000,10.000,0.900000,",
        ]

    def test_classes_without_names_keep_their_numbers(self, model, photos, tmp_path):
        predict(model, photos, tmp_path / "o", to=["coco"])
        coco = json.loads((tmp_path / "o" / "coco" / "annotations.json").read_text())
        assert [(one["id"], one["name"]) for one in coco["categories"]] == [(1, "class 1")]

    def test_crops_lie_by_class(self, named, photos, tmp_path):
        predict(named, photos, tmp_path / "o", crops=True, drawings=False)
        crops = {"crops/cat/a-1.jpg", "crops/cat/sub/b-1.jpg"}
        assert files_in(tmp_path / "o") == {*crops, "detections.json"}
        with Image.open(tmp_path / "o/crops/cat/sub/b-1.jpg") as crop:
            assert crop.size == (20, 10)

    def test_only_some_classes(self, named, photos, tmp_path):
        assert predict(named, photos, tmp_path / "o", classes=["dog"]).num_detections == 0
        assert predict(named, photos, tmp_path / "o", classes=["dog", "cat"]).counts == {"cat": 2}
        with pytest.raises(ConfigError, match=r'"cats": the model has no such class\. Did you mean "cat"\?'):
            predict(named, photos, tmp_path / "o", classes=["cats"])

    def test_a_format_that_cannot_be_written(self, named, photos, tmp_path):
        with pytest.raises(ConfigError, match=r'"cocoo" cannot be written\. Did you mean "coco"\?'):
            predict(named, photos, tmp_path / "o", to=["cocoo"])
        assert not (tmp_path / "o").exists()

    def test_images_are_not_drawn_over(self, named, photos, tmp_path):
        before = (photos / "a.jpg").read_bytes()
        for given in (photos, photos / "a.jpg"):
            with pytest.raises(DataError, match="Choose another folder"):
                predict(named, given, photos)
        assert (photos / "a.jpg").read_bytes() == before

    def test_two_that_differ_in_their_ending_only_are_both_annotated(self, named, tmp_path):
        for name in ("a.jpg", "a.png"):
            image_file(tmp_path / "photos" / name)
        predict(named, tmp_path / "photos", tmp_path / "o", to=["voc"])
        assert {path for path in files_in(tmp_path / "o") if "/" in path} >= {
            "voc/a.xml",
            "voc/a-2.xml",
            "images/a-2.png",
        }

    def test_what_is_written_is_measured(self, named, tmp_path, capsys):
        for name in ("a", "b"):
            annotated(tmp_path / "set" / "images", name, element("cat", 0, 0, 20, 10))
        predict(named, tmp_path / "set" / "images", tmp_path / "o")
        metrics = evaluate(detections=tmp_path / "o" / "detections.json", data=tmp_path / "set").metrics
        assert metrics["DetectionBoxes_Precision/mAP"] == pytest.approx(1.0)

    def test_an_interruption_keeps_what_is_there(self, named, tmp_path, monkeypatch, capsys):
        for number in range(20):
            image_file(tmp_path / "photos" / f"{number:02}.jpg")
        count = JsonWriter.add

        def interrupted(writer, one):
            count(writer, one)
            if one.name.endswith("02.jpg"):
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(JsonWriter, "add", interrupted)
        arguments = ["predict", str(named), str(tmp_path / "photos"), "--output_dir", str(tmp_path / "o")]
        assert cli.main([*arguments, "--to", "voc"]) == 130
        found = json.loads((tmp_path / "o" / "detections.json").read_text())
        assert 3 <= len(found) < 20
        assert {one["drawn"] for one in found} <= files_in(tmp_path / "o")
        assert len(list((tmp_path / "o" / "voc").glob("*.xml"))) == len(found)
        assert capsys.readouterr().out.endswith("; interrupted\n")


class TestVideos:
    @pytest.fixture
    def film(self, tmp_path):
        """Five frames, the third of which is black."""
        with written_video(tmp_path / "film.mp4", Fraction(10), (48, 64)) as writer:
            for number in range(5):
                writer.write(np.full((48, 64, 3), 0 if number == 2 else 200, np.uint8), number / 10)
        return tmp_path / "film.mp4"

    def test_frames_are_drawn_into_a_video(self, model, film, tmp_path):
        found = predicted(model, film, tmp_path / "o", to=["csv"])
        assert [(one["image"], one["seconds"], len(one["detections"]), one["drawn"]) for one in found] == [
            (str(film), second, count, "film.mp4")
            for second, count in ((0, 1), (0.1, 1), (0.2, 0), (0.3, 1), (0.4, 1))
        ]
        assert files_in(tmp_path / "o") == {"film.mp4", "detections.json", "detections.csv"}
        with opened_video("drawn", tmp_path / "o" / "film.mp4") as drawn:
            reds = [frame.pixels[..., 0].astype(int) - frame.pixels[..., 1] for frame in drawn.frames()]
        assert [int(red.max()) > 100 for red in reds] == [True, True, False, True, True]  # the box

    def test_frames_can_be_annotated(self, model, film, tmp_path):
        predict(model, film, tmp_path / "o", to=["voc"], frame_step=2, drawings=False)
        assert files_in(tmp_path / "o") == {
            "detections.json",
            "voc/predefined_classes.txt",
            *(f"images/film-{number:06}.jpg" for number in (0, 2, 4)),
            *(f"voc/film-{number:06}.xml" for number in (0, 2, 4)),
        }
        found = read(tmp_path / "o" / "images", annotations=tmp_path / "o" / "voc", num_workers=1)
        assert [len(image.objects) for image in found.images] == [1, 0, 1]

    def test_one_that_is_damaged_is_named_and_the_rest_goes_on(self, model, film, tmp_path, caplog):
        (tmp_path / "bad.mp4").write_bytes(b"nothing")
        found = predict(model, [tmp_path / "bad.mp4", film, image_file(tmp_path / "a.jpg")], tmp_path / "o")
        assert (found.num_images, list(found.unread)) == (6, [str(tmp_path / "bad.mp4")])
        assert "bad.mp4: cannot be opened as a video" in caplog.text

    def test_a_camera_ends_when_it_is_interrupted(self, model, tmp_path, monkeypatch):
        monkeypatch.setitem(video.CAMERAS, sys.platform, ("lavfi", "testsrc=size=64x48:rate=10"))  # endless
        count = JsonWriter.add

        def interrupted(writer, one):
            count(writer, one)
            if one.seconds == pytest.approx(0.3):
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(JsonWriter, "add", interrupted)
        found = predict(model, "camera:0", tmp_path / "o")
        assert found.stopped
        with opened_video("drawn", tmp_path / "o" / "camera-0.mp4") as drawn:
            assert sum(1 for _ in drawn.frames()) == found.num_images >= 4


WITHOUT_TENSORFLOW = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from boxtune import cli

sys.exit(cli.main(sys.argv[1:]))
"""


def without_tensorflow(*arguments):
    """Return the exit status of a command where TensorFlow is not installed, and what it prints."""
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("verb", "said"), [("predict", "1 object in 1 image"), ("label", "1 image with 1 object")]
)
def test_files_are_looked_through_where_tensorflow_is_not_installed(tmp_path, verb, said):
    model = bright_model.write(tmp_path / "model.onnx")
    Image.new("RGB", (40, 30), "white").save(tmp_path / "white.png")
    arguments = (verb, model, tmp_path / "white.png", "--output_dir", tmp_path / "o")
    status, out, err = without_tensorflow(*arguments)
    assert (status, said in out) == (0, True), err


def test_what_needs_tensorflow_says_so(tmp_path):
    (tmp_path / "ckpt-1.index").touch()
    image = image_file(tmp_path / "a.jpg")
    needed = "this needs keras, which is not installed: install boxtune with all that it depends on"
    status, out, err = without_tensorflow("predict", tmp_path, image, "--output_dir", tmp_path / "o")
    assert (status, out, err) == (2, "", f"boxtune: {needed}\n")
