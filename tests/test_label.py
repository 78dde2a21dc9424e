"""The verb `label` on a model that finds the same anywhere, as sure as an image is bright."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from boxtune import cli
from boxtune.data.files import DataError
from boxtune.data.label_map import LabelMap, write_label_map
from boxtune.data.reading import read
from boxtune.errors import ConfigError
from boxtune.evaluation.thresholds import ClassThreshold, Thresholds, write_thresholds
from boxtune.label import label, sureness
from voc_folder import annotation, element, image_file

BRIGHTNESS = {"a": 0.9, "b": 0.55, "c": 0.2, "d": 0.42, "e": 0.0}


class _Finder(tf.Module):
    """Finds a dog in the upper left quarter, scored by the mean of red."""

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8)])
    def find(self, images):
        red = tf.reduce_mean(tf.cast(images[..., 0], tf.float32)) / 255
        return {
            "num_detections": tf.constant([1.0]),
            "detection_boxes": tf.constant([[[0.0, 0.0, 0.5, 0.5]]]),
            "detection_classes": tf.constant([[2.0]]),
            "detection_scores": tf.reshape(red, [1, 1]),
        }


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    finder = _Finder()
    tf.saved_model.save(finder, str(folder / "saved_model"), {"serving_default": finder.find})
    write_label_map(LabelMap.from_names(["cat", "dog"]), folder / "label_map.pbtxt")
    return folder


@pytest.fixture
def photos(tmp_path):
    for name, brightness in BRIGHTNESS.items():
        pixels = np.full((20, 40, 3), round(255 * brightness), np.uint8)
        path = tmp_path / "photos" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / "photos"


def images_of(folder):
    return [one["image"] for one in json.loads((folder / "labelled.json").read_text())["images"]]


@pytest.mark.parametrize(
    ("scores", "min_scores", "expected"),
    [
        ([], [], 1.0),  # nothing was found
        ([0.5], [0.5], 0.0),  # just so
        ([1.0], [0.5], 1.0),
        ([0.0], [0.5], 1.0),
        ([0.75], [0.5], 0.5),
        ([0.9, 0.2], [0.5, 0.4], 0.5),  # 0.2 is half of the way from 0.4 to 0
        ([1.0], [1.0], 0.0),
        ([0.3], [0.0], 0.3),
    ],
)
def test_sureness(scores, min_scores, expected):
    assert sureness(np.float32(scores), np.float64(min_scores)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        # From 0.5 on: b is 0.1 of the way away, d 0.16, c 0.6, a 0.8, e 1.
        ("least_sure", ["1-b.png", "2-d.png", "3-c.png", "4-a.png", "5-e.png"]),
        ("surest", ["1-e.png", "2-a.png", "3-c.png", "4-d.png", "5-b.png"]),
    ],
)
def test_images_lie_in_their_order(model, photos, tmp_path, order, expected):
    result = label(model, photos, tmp_path / "o", order=order)
    assert images_of(tmp_path / "o") == expected
    assert (result.num_images, result.num_objects, result.num_empty) == (5, 2, 3)


class TestFormats:
    @pytest.mark.parametrize("to", ["voc", "yolo", "coco"])
    def test_are_read_again_and_nothing_found_is_no_background(self, model, photos, tmp_path, to):
        label(model, photos, tmp_path / "o", to=to)
        found = read(tmp_path / "o", num_workers=1)
        assert {
            one.name.rpartition("/")[2]: [item.class_name for item in one.objects] for one in found.images
        } == {
            "1-b.png": ["dog"],
            "4-a.png": ["dog"],
        }
        assert found.images[0].objects[0].box == pytest.approx((0, 0, 0.5, 0.5), abs=1e-4)

    def test_label_studio_gets_predictions(self, model, photos, tmp_path, capsys):
        label(model, photos, tmp_path / "o", to="label-studio")
        tasks = json.loads((tmp_path / "o" / "tasks.json").read_text())
        assert [one["data"]["image"] for one in tasks] == [
            f"/data/local-files/?d=o/images/{name}"
            for name in ("1-b.png", "4-a.png", "2-d.png", "3-c.png", "5-e.png")
        ]
        assert [len(one.get("predictions", ())) for one in tasks] == [1, 1, 0, 0, 0]
        (prediction,) = tasks[1]["predictions"]
        (result,) = prediction["result"]
        assert (result["from_name"], result["to_name"], result["type"]) == (
            "label",
            "image",
            "rectanglelabels",
        )
        assert result["value"] == {
            "x": 0,
            "y": 0,
            "width": 50,
            "height": 50,
            "rotation": 0,
            "rectanglelabels": ["dog"],
        }
        assert prediction["score"] == result["score"] == pytest.approx(0.9, abs=0.01)
        assert not any("annotations" in one for one in tasks)
        configuration = (tmp_path / "o" / "labeling_config.xml").read_text()
        assert [configuration.count(f'<Label value="{name}"/>') for name in ("cat", "dog")] == [1, 1]

    def test_what_is_corrected_in_label_studio_is_read_again(self, model, photos, tmp_path):
        label(model, photos, tmp_path / "o", to="label-studio")
        tasks = json.loads((tmp_path / "o" / "tasks.json").read_text())
        for task in tasks[:2]:  # as Label Studio exports what was submitted
            task["annotations"] = [{"result": task["predictions"][0]["result"]}]
        (tmp_path / "o" / "tasks.json").unlink()
        (tmp_path / "o" / "export.json").write_text(json.dumps(tasks))
        found = read(tmp_path / "o", num_workers=1)
        assert [one.name for one in found.images] == ["images/1-b.png", "images/4-a.png"]

    @pytest.mark.parametrize("to", ["voc", "label-studio"])
    def test_what_to_do_next_is_said(self, model, photos, tmp_path, to):
        result = label(model, photos, tmp_path / "o", to=to, num_images=1)
        text = str(result)
        assert text.startswith(
            f"{tmp_path / 'o'} now holds 1 image with 1 object to be corrected.\n4 images left for"
        )
        assert {"voc": "LabelImg", "label-studio": f"DOCUMENT_ROOT={tmp_path}"}[to] in text


class TestWhatIsLabelled:
    def test_is_left_out(self, model, photos, tmp_path):
        annotation(photos / "b.xml", element("cat"), filename="b.png")
        annotation(photos / "d.xml", filename="d.png")  # background
        before = (photos / "b.xml").read_text()
        result = label(model, photos, tmp_path / "o")
        assert images_of(tmp_path / "o") == ["1-c.png", "2-a.png", "3-e.png"]
        assert result.num_labelled_before == 2
        assert (photos / "b.xml").read_text() == before
        assert "2 images left out, since they are labelled." in str(result)

    def test_is_left_out_where_images_are_named_by_a_pattern(self, model, photos, tmp_path):
        annotation(photos / "b.xml", element("cat"), filename="b.png")
        label(model, f"{photos}/*.png", tmp_path / "o")
        assert len(images_of(tmp_path / "o")) == 4

    def test_elsewhere_is_left_out_by_its_content(self, model, photos, tmp_path):
        label(model, photos, tmp_path / "first", num_images=2)
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "x.png").write_bytes((photos / "a.png").read_bytes())
        annotation(tmp_path / "other" / "x.xml", filename="x.png")
        labelled = [tmp_path / "first", tmp_path / "other"]
        result = label(model, photos, tmp_path / "o", labelled=labelled)
        assert images_of(tmp_path / "o") == ["1-c.png", "2-e.png"]
        assert result.num_labelled_before == 3

    def test_leaves_nothing_to_do(self, model, photos, tmp_path):
        label(model, photos, tmp_path / "first")
        with pytest.raises(DataError, match="all of 5 images are labelled"):
            label(model, photos, tmp_path / "o", labelled=tmp_path / "first")
        assert not (tmp_path / "o").exists()

    def test_is_not_overwritten(self, model, photos, tmp_path):
        label(model, photos, tmp_path / "o")
        with pytest.raises(DataError, match="is not empty"):
            label(model, photos, tmp_path / "o")

    def test_a_damaged_list_is_named(self, model, photos, tmp_path):
        (tmp_path / "first").mkdir()
        (tmp_path / "first" / "labelled.json").write_text('{"images": [1]}')
        with pytest.raises(DataError, match=r"labelled\.json is damaged"):
            label(model, photos, tmp_path / "o", labelled=tmp_path / "first")


def test_thresholds_and_classes_count(model, photos, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "saved_model").symlink_to(model / "saved_model")
    write_label_map(LabelMap.from_names(["cat", "dog"]), folder / "label_map.pbtxt")
    write_thresholds(Thresholds(1, 40, 0.0, (ClassThreshold(2, "dog", 0.1, 0.9, 0.8),)), folder)
    assert label(folder, photos, tmp_path / "all").num_objects == 4
    assert label(folder, photos, tmp_path / "sure", min_score=0.5).num_objects == 2
    assert label(folder, photos, tmp_path / "cats", classes=["cat"]).num_objects == 0


def test_images_are_written_upright(model, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image_file(tmp_path / "photos" / "a.jpg", exif=exif)
    label(model, tmp_path / "photos", tmp_path / "o", min_score=0)
    with Image.open(tmp_path / "o" / "1-a.jpg") as image:
        assert (image.size, image.getexif().get(0x0112, 1)) == ((20, 40), 1)
    (found,) = read(tmp_path / "o", num_workers=1).images
    assert (found.width, found.height) == (20, 40)


def test_one_that_cannot_be_read_is_named(model, photos, tmp_path, capsys, caplog):
    (photos / "broken.jpg").write_bytes(b"nothing")
    arguments = [
        "label",
        str(model),
        str(photos),
        "--output_dir",
        str(tmp_path / "o"),
        "--to",
        "label-studio",
    ]
    assert cli.main(arguments) == 1
    assert "broken.jpg: it cannot be decoded" in caplog.text
    assert "1 image could not be read." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "vok"}, r'"vok" cannot be written\. Did you mean "voc"\?'),
        ({"order": "sure"}, r'"sure" is no order\. Did you mean'),
        ({"images": "film.mp4"}, r"film\.mp4: is a video"),
        ({"images": "http://127.0.0.1/a.jpg"}, "is no file: copy it"),
    ],
)
def test_what_cannot_be_is_refused(model, photos, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "film.mp4").write_bytes(b"")
    with pytest.raises((ConfigError, DataError), match=message):
        label(**{"model": model, "images": photos, "output_dir": tmp_path / "o"} | options)
    assert not (tmp_path / "o").exists()
