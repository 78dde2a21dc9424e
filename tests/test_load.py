"""`boxtune.load`: what may be given to a model, what comes back, and that `evaluate` and `predict` score alike."""

import contextlib
import io
import json
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import boxtune
from boxtune import config, models
from boxtune.configure import configure
from boxtune.convert import convert
from boxtune.data.label_map import LabelMap, write_label_map
from boxtune.data.preparation import Options
from boxtune.errors import CheckpointError, ConfigError, DataError
from boxtune.evaluate import evaluate
from boxtune.evaluation.thresholds import ClassThreshold, Thresholds, write_thresholds
from boxtune.export import export
from boxtune.load import Detection, load
from boxtune.predict import predict
from boxtune.training import checkpoints
from tiny_run import SIDE, TinyDetector
from voc_folder import annotated, element, image_file

pytestmark = pytest.mark.usefixtures("graphs_as_traced")


def red(value):
    return np.full((20, 40, 3), np.uint8([value, 0, 0]))


class _Finder(tf.Module):
    """Finds a dog in the upper left quarter, scored by the mean of red, and a cat to the right, half as sure."""

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8)])
    def find(self, images):
        red = tf.reduce_mean(tf.cast(images[..., 0], tf.float32)) / 255
        return {
            "num_detections": tf.constant([2.0]),
            "detection_boxes": tf.constant([[[0.0, 0.5, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5]]]),
            "detection_classes": tf.constant([[1.0, 2.0]]),
            "detection_scores": tf.reshape(red, [1, 1]) * tf.constant([[0.5, 1.0]]),
        }


class _Drawer(_Finder):
    """Finds besides that all of the cat's box is cat, of the dog's the upper half, and two keypoints of each."""

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8)])
    def find(self, images):
        return {
            **super().find(images),
            "detection_masks": tf.constant([[[[1.0, 1], [1, 1]], [[1.0, 1], [0, 0]]]]),
            "detection_keypoints": tf.constant([[[[0.5, 0.5], [1, 1]], [[0.0, 0.25], [0.5, 0]]]]),
        }


def saved(finder, folder):
    tf.saved_model.save(finder, str(folder / "saved_model"), {"serving_default": finder.find})
    write_label_map(LabelMap.from_names(["cat", "dog"]), folder / "label_map.pbtxt")
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return saved(_Finder(), tmp_path_factory.mktemp("exported"))


@pytest.fixture(scope="module")
def drawer(tmp_path_factory):
    return load(saved(_Drawer(), tmp_path_factory.mktemp("drawer")))


@pytest.fixture(scope="module")
def model(exported):
    return load(exported)


@pytest.fixture
def own(exported, tmp_path):
    """A copy of the model, to put thresholds beside."""
    return Path(shutil.copytree(exported, tmp_path / "own"))


@pytest.fixture(scope="module")
def found(model):
    return model(red(204), min_score=0)


def random_weights(prefix):
    rng = np.random.default_rng(0)
    variables = TinyDetector().checkpoint_variables()
    for key, variable in variables.items():
        if key.endswith("kernel"):
            variable.assign(rng.normal(0, 0.05, variable.shape))
    variables["model/dense/bias"].assign([0.2, 0.2, 0.7, 0.7, 0])
    prefix.parent.mkdir()
    checkpoints.tree({**variables, "step": tf.Variable(1)}).write(str(prefix))
    (prefix.parent / "checkpoint").write_text(f'model_checkpoint_path: "{prefix.name}"\n')


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    for number in range(11):
        annotated(folder / "photos", f"{number:02}", element("ball"))
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(models, "build", lambda section, options=None: TinyDetector())
        convert(folder / "photos", folder / "records", Options(validation_fraction=0.9))
        pipeline = configure(folder / "records", batch_size=2, num_steps=20)
        fixed = f"model.ssd.image_resizer.fixed_shape_resizer={{height: {SIDE} width: {SIDE}}}"
        config.apply_override(pipeline, fixed)
        config.write(pipeline, folder / "complete_pipeline.config")
        shutil.copyfile(folder / "records" / "label_map.pbtxt", folder / "model_label_map.pbtxt")
        random_weights(folder / "best" / "ckpt-1")
        export(folder / "complete_pipeline.config", folder / "best" / "ckpt-1", folder / "exported")
        yield folder


class TestImages:
    def test_every_form_of_an_image_gives_the_same(self, model, tmp_path):
        path = image_file(tmp_path / "a.png")
        pixels = np.asarray(Image.open(path))
        forms = [
            str(path),
            path,
            pixels,
            Image.open(path),
            pixels.copy()[:, ::-1][:, ::-1],
            tf.constant(pixels),
        ]
        found = model(forms, min_score=0)
        assert isinstance(found, list)
        for one in (*found, model(path, min_score=0), model(pixels, min_score=0)):
            assert one.scores.tolist() == found[0].scores.tolist()
            assert one.boxes.tolist() == [[0, 0, 10, 20], [0, 20, 20, 40]]
            assert np.array_equal(np.asarray(one.image), pixels)

    def test_several_are_answered_in_their_order(self, model):
        values = [*range(0, 250, 10)]
        for given in (map(red, values), tuple(map(red, values)), list(map(red, values))):
            assert [round(255 * one.scores[0]) for one in model(given, min_score=0)] == values
        assert model([]) == []

    def test_a_stream_needs_only_some_at_once(self, model):
        drawn = []

        def frames():
            for value in range(0, 250):
                drawn.append(value)
                yield red(value)

        found = model.stream(frames(), min_score=0)
        assert round(255 * next(found).scores[0]) == 0
        assert len(drawn) < 200
        assert len(list(found)) == 249

    def test_large_ones_are_looked_through_in_tiles_where_that_is_wanted(self, model):
        wide = np.zeros((40, 100, 3), np.uint8)
        wide[:, 60:] = 255  # the last tile of three is white, so are four tenths of the whole
        for found in (model(wide, min_score=0, tile=40), *model.stream([wide], min_score=0, tile=40)):
            assert found.scores[0] == 1
            assert found.boxes[0].tolist() == pytest.approx([0, 60, 20, 80])  # the dog of the last tile
            assert len(found) > 2
            assert (found.height, found.width) == (40, 100)
        small, plain = model(wide, min_score=0, tile=100, overlap=0.5), model(wide, min_score=0)
        assert small.boxes.tolist() == plain.boxes.tolist()
        assert small.scores.tolist() == plain.scores.tolist()
        with pytest.raises(ConfigError, match="--tile is 7"):
            model(wide, tile=7)
        with pytest.raises(ConfigError, match="goes with --tile"):
            model.stream([wide], overlap=0.5)

    def test_grey_is_all_three_colors(self, model):
        grey = np.full((20, 40), 102, np.uint8)
        for image in (grey, Image.fromarray(grey)):
            found = model(image, min_score=0)
            assert found.scores.tolist() == pytest.approx([0.4, 0.2])
            assert found.image.getpixel((0, 0)) == (102, 102, 102)

    @pytest.mark.parametrize("mode", ["RGBA", "L", "P", "CMYK", "LA", "1", "I;16"])
    def test_an_image_of_pillow_is_read_as_its_file(self, model, tmp_path, mode):
        path = image_file(tmp_path / "a.tif", mode="L" if mode == "I;16" else mode)
        with Image.open(path) as image:
            in_memory = image.convert("I;16") if mode == "I;16" else image.copy()
        in_memory.save(tmp_path / "b.tif")
        one, other = model([in_memory, tmp_path / "b.tif"], min_score=0)
        assert one.scores.tolist() == other.scores.tolist()

    @pytest.mark.parametrize("name", ["a.jpg", "b.png", "c.tif", "d.webp"])
    def test_exif_is_applied_to_files_and_to_images_of_pillow(self, model, tmp_path, name):
        exif = Image.Exif()
        exif[0x0112] = 6
        path = image_file(tmp_path / name, exif=exif)
        with Image.open(path) as image:
            for one in model([path, image], min_score=0):
                assert (one.height, one.width, one.image.size) == (40, 20, (20, 40))
                assert one.boxes[0].tolist() == [0, 0, 20, 10]

    @pytest.mark.parametrize(
        ("image", "message"),
        [
            (np.zeros((20, 40, 3)), r"the image is float64; .* uint8 from 0 to 255: if its values are from 0 to 1,"),
            (np.zeros((20, 40), np.int64), "the image is int64; an image has values uint8 from 0 to 255$"),
            (np.zeros((20, 40, 4), np.uint8), r"\[20, 40, 4\]; .*without transparency it is image\[\.\.\., :3\]"),
            (np.zeros((20, 40, 1), np.uint8), r"as grey it is image\[\.\.\., 0\]"),
            (np.zeros((3, 20, 40), np.uint8), r"with channels last it is image\.transpose\(1, 2, 0\)"),
            (np.zeros((5, 20, 40, 3), np.uint8), r"give several images as a list, list\(images\)"),
            (np.zeros((0, 40, 3), np.uint8), r"\[0, 40, 3\]; .*and no side is 0"),
            (np.zeros(5, np.uint8), r"has the shape \[5\]; an image has \[h, w, 3\] or, if grey, \[h, w\]$"),
            (Image.new("F", (40, 20)), r"the image: its pixels are F \(32 bit\)"),
            (b"bytes", "the image is of the type bytes: give a path"),
            (7, "the image is of the type int"),
            ("lost.jpg", "^lost.jpg: no such image"),
            (Path(), r"^\. is a folder: give the images in it"),
            ("https://example.org/a.jpg", "https://example.org/a.jpg is not on this machine"),
            ([red(1), 7], r"images\[1\] is of the type int"),
        ],
    )  # fmt: skip
    def test_what_is_no_image_is_an_error_that_says_what_would_be(self, model, image, message):
        with pytest.raises(DataError, match=message):
            model(image)

    def test_a_file_that_cannot_be_decoded_is_named(self, model, tmp_path):
        image_file(tmp_path / "a.png")
        (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        with pytest.raises(DataError, match=r"b\.png: it cannot be decoded"):
            model([tmp_path / "a.png", tmp_path / "b.png"])
        whole = image_file(tmp_path / "c.jpg", width=400, height=300).read_bytes()
        with (
            Image.open(io.BytesIO(whole[:2000])) as cut_short,
            pytest.raises(DataError, match="the image: it cannot be decoded"),
        ):
            model(cut_short)

    def test_a_stream_of_one_image_is_refused(self, model):
        with pytest.raises(DataError, match="stream takes several images"):
            model.stream(red(1))


class TestThresholds:
    def test_without_any_a_half_counts(self, model):
        assert model.thresholds == {"cat": 0.5, "dog": 0.5}
        assert model(red(200)).names == ["dog"]
        assert model(red(100)).names == []

    def test_those_beside_the_model_count_unless_a_score_is_given(self, own):
        write_thresholds(Thresholds(7, 40, 0.0, (ClassThreshold(1, "cat", 0.3, 0.9, 0.8),)), own)
        for path in (own, str(own / "saved_model")):
            model = load(path)
            assert model.thresholds == {"cat": 0.3, "dog": 0.5}
            assert model(red(200)).names == ["dog", "cat"]
            assert model(red(200), min_score=0.6).names == ["dog"]
            assert [one.names for one in model([red(100)], min_score=0.39)] == [["dog"]]

    def test_those_of_other_classes_are_refused(self, own):
        write_thresholds(Thresholds(7, 40, 0.0, (ClassThreshold(1, "owl", 0.3, 0.9, 0.8),)), own)
        with pytest.raises(DataError, match=r'thresholds\.json: has class 1 "owl"'):
            load(own)(red(200))

    @pytest.mark.parametrize("value", [float("nan"), "0.5", True])
    def test_a_score_that_is_no_number_is_refused(self, model, value):
        with pytest.raises(ConfigError, match=rf"min_score is {value!r}; give a number"):
            model(red(1), min_score=value)


@pytest.mark.filterwarnings("ignore:OpenCV:UserWarning")  # supervision's, where it is not installed
class TestWhatIsFound:
    def test_arrays(self, found):
        assert found.boxes.tolist() == [[0, 0, 10, 20], [0, 20, 20, 40]]
        assert found.xyxy.tolist() == [[0, 0, 20, 10], [20, 0, 40, 20]]
        assert found.scores.tolist() == pytest.approx([0.8, 0.4])
        assert (found.classes.tolist(), found.names) == ([1, 0], ["dog", "cat"])
        dtypes = [part.dtype.name for part in (found.boxes, found.xyxy, found.scores, found.classes)]
        assert dtypes == ["float32", "float32", "float32", "int64"]

    def test_nothing_found_has_the_same_shapes(self, model):
        found = model(red(0), min_score=0.1)
        assert (found.boxes.shape, found.xyxy.shape, found.scores.shape) == ((0, 4), (0, 4), (0,))
        assert (len(found), list(found), bool(found)) == (0, [], False)
        assert repr(found) == "<0 detections in the image>"
        assert np.array_equal(np.asarray(found.draw()), red(0))
        assert "<table>" not in found._repr_html_()

    def test_it_is_a_collection_of_detections(self, found):
        dog, cat = found
        assert dog == Detection("dog", pytest.approx(0.8), 0, 0, 10, 20)
        assert (len(found), cat.name, cat.xmin) == (2, "cat", 20)

    def test_shown_as_text(self, model, found, exported):
        assert repr(found) == "<2 detections in the image: 1 dog, 1 cat>"
        assert repr(model) == f"<model {exported} of cat, dog>"

    def test_drawn(self, found):
        drawn = np.asarray(found.draw())
        assert drawn.shape == (20, 40, 3)
        assert (drawn != red(204)).any()
        assert np.array_equal(np.asarray(found.image), red(204))

    def test_in_a_notebook(self, model, tmp_path):
        path = image_file(tmp_path / "<b>.png", width=1600, height=1200)
        page = model(path, min_score=0)._repr_html_()
        assert "&lt;b&gt;.png: 1 dog, 1 cat" in page
        assert "<b>" not in page
        assert re.search(r"<td>dog</td><td>0\.\d{3}</td><td>0, 0, 800, 600</td>", page)
        assert '<img alt="" src="data:image/jpeg;base64,' in page
        assert len(page) < 600_000

    def test_a_file_that_is_gone_is_named_instead_of_drawn(self, model, tmp_path):
        path = image_file(tmp_path / "a.png")
        found = model(path, min_score=0)
        path.unlink()
        with pytest.raises(DataError, match=r"a\.png: it cannot be read"):
            found.draw()
        assert "a.png: it cannot be read" in found._repr_html_()
        assert "<td>dog</td>" in found._repr_html_()

    def test_for_supervision(self, model, found):
        supervision = pytest.importorskip("supervision")
        detections = found.to_supervision()
        assert isinstance(detections, supervision.Detections)
        assert detections.xyxy.tolist() == found.xyxy.tolist()
        assert detections.confidence.tolist() == found.scores.tolist()
        assert (detections.class_id.tolist(), detections["class_name"].tolist()) == ([1, 0], ["dog", "cat"])
        assert len(detections[detections.confidence > 0.5]) == 1
        assert len(model(red(0), min_score=0.1).to_supervision()) == 0

    def test_without_masks_and_keypoints(self, found):
        assert (found.masks, found.keypoints, found.to_supervision().mask) == (None, None, None)

    def test_masks(self, drawer):
        found = drawer(red(255), min_score=0)  # 20 x 40 pixels; the dog first
        dog, cat = found.masks
        assert (cat == (np.arange(40) >= 20)).all()
        # Of the rows 0 to 9 within its box the upper 5: between the two rows of its grid 0.5 is no more than a half.
        assert np.argwhere(dog).min(axis=0).tolist() == [0, 0]
        assert np.argwhere(dog).max(axis=0).tolist() == [4, 19]
        assert dog.sum() == 5 * 20
        assert found.to_supervision().mask.tolist() == found.masks.tolist()
        assert found.select(np.array([1])).masks.tolist() == [cat.tolist()]

    def test_keypoints(self, drawer):
        found = drawer(red(255), min_score=0.6)  # the dog alone
        assert found.keypoints.tolist() == [[[0, 10], [10, 0]]]
        assert found.keypoints.dtype == np.float32

    def test_of_tiles(self, drawer):
        image = np.full(
            (32, 64, 3), np.uint8([255, 0, 0])
        )  # two tiles, each with a dog in its upper left quarter
        found = drawer(image, min_score=0.6, tile=32, overlap=0)
        points = {
            tuple(map(int, box)): one.tolist() for box, one in zip(found.boxes, found.keypoints, strict=True)
        }
        assert points[0, 32, 16, 48] == [[0, 40], [16, 32]]
        assert found.masks.shape == (len(found), 32, 64)

    def test_without_supervision_the_extra_is_named(self, found, monkeypatch):
        monkeypatch.setitem(sys.modules, "supervision", None)
        with pytest.raises(ConfigError, match=r'pip install "boxtune\[supervision\]"'):
            found.to_supervision()


class TestTheSameScores:
    """A detector of random weights, as a training, a checkpoint and an export of it."""

    def test_everywhere(self, run, tmp_path, capsys):
        paths = sorted((run / "photos").glob("*.jpg"))
        expected = [[one.score for one in load(run)(path, min_score=0)] for path in paths]
        assert len({score for (score,) in expected}) == len(paths)
        for given in (run, run / "best" / "ckpt-1", run / "exported"):
            model = load(given)
            for images in (paths, list(map(Image.open, paths))):
                assert [one.scores.tolist() for one in model(images, min_score=0)] == [
                    pytest.approx(scores, abs=1e-6) for scores in expected
                ]
        for number, model in enumerate((run / "exported", run / "best" / "ckpt-1")):
            predict(model, run / "photos", tmp_path / f"{number}", min_score=0)
            predicted = json.loads((tmp_path / f"{number}" / "detections.json").read_text())
            assert [one["image"] for one in predicted] == list(map(str, paths))
            assert [[one["score"] for one in image["detections"]] for image in predicted] == [
                pytest.approx(scores, abs=2e-6) for scores in expected
            ]
        scores = {path.name: scores for path, scores in zip(paths, expected, strict=True)}
        for measured in (
            evaluate(model_dir=run, output_dir=tmp_path / "trained"),
            evaluate(saved_model=run / "exported", output_dir=tmp_path / "exported"),
        ):
            assert len(measured.images) == 10
            for number, score in zip(measured.detections.image, measured.detections.score, strict=True):
                assert scores[measured.images[number].name] == [pytest.approx(score, abs=1e-6)]

    def test_a_model_is_compiled_once(self, run, monkeypatch):
        traced, call = [], TinyDetector.call
        monkeypatch.setattr(
            TinyDetector, "call", lambda *args, **options: traced.append(1) or call(*args, **options)
        )
        model = load(run)
        image = sorted((run / "photos").glob("*.jpg"))[0]
        for _ in range(5):
            model(image)
        assert len(traced) <= 2

    def test_thresholds_of_another_checkpoint_are_left_out_with_a_word(self, run, caplog):
        one = (ClassThreshold(1, "ball", 0.2, 0.9, 0.8),)
        for step, expected in ((1, 0.2), (2, 0.5)):
            path = write_thresholds(Thresholds(step, 40, 0.0, one), run / "best")
            assert load(run).thresholds == {"ball": expected}
        path.unlink()
        assert "thresholds.json is of step 2, the model of step 1: its thresholds are not used" in caplog.text


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such model"):
        boxtune.load(str(tmp_path / "lost"))
    assert isinstance(sys.modules["boxtune.load"], ModuleType)
