"""The verb `evaluate` around a detector of two layers: what can be measured, on what, and what is refused."""

import contextlib
import dataclasses
import io
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import boxtune
from boxtune import cli, config, models
from boxtune.configure import configure
from boxtune.convert import convert
from boxtune.data.label_map import LabelMap, write_label_map
from boxtune.data.preparation import Options
from boxtune.data.tiling import Tiling
from boxtune.errors import BoxtuneError, CheckpointError, ConfigError, DataError
from boxtune.evaluate import evaluate, evaluate_checkpoints
from boxtune.evaluation.thresholds import read_thresholds, write_thresholds
from boxtune.metrics.analysis import Analysis
from boxtune.report.evaluation import read_evaluation
from boxtune.report.evaluation_json import from_json, to_json
from boxtune.training import checkpoint_watcher, checkpoints
from image_records import read_records, record_of_image, write_records
from tiny_run import SIDE, TinyDetector
from voc_folder import annotated, element

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

MAP, AP50 = "DetectionBoxes_Precision/mAP", "DetectionBoxes_Precision/mAP@.50IOU"
PHOTOS = 10


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "build", lambda section, options=None: TinyDetector())
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Photographs, records of nine of them for evaluation, a configuration, and checkpoints of two steps."""
    folder = tmp_path_factory.mktemp("base")
    with contextlib.redirect_stdout(io.StringIO()):
        images(folder / "photos")
        convert(folder / "photos", folder / "records", Options(validation_fraction=0.9))
    pipeline = configure(folder / "records", batch_size=2, num_steps=20)
    fixed = f"model.ssd.image_resizer.fixed_shape_resizer={{height: {SIDE} width: {SIDE}}}"
    for override in (fixed, "eval_input_reader[0].name=validation"):
        config.apply_override(pipeline, override)
    config.write(pipeline, folder / "pipeline.config")
    for number, step in ((1, 10), (2, 20)):
        checkpoint(folder / "model", number, step)
    checkpoint(folder / "model" / "best", 1, 10)
    shutil.copyfile(folder / "pipeline.config", folder / "model" / "complete_pipeline.config")
    return folder


def images(folder):
    """Draw a ball where the tiny detector finds something, or one of three other things where it does not."""
    for number in range(PHOTOS):
        ball = element("ball", 8, 4, 28, 14 + number % 3)  # of 40 x 20
        other = element(["leaf", "mug", "star"][number % 3], 30, 2, 39, 9)
        annotated(
            folder, f"shot-{number}", *([ball] if number % 2 else [ball, other] if number % 4 else [other])
        )


def checkpoint(folder, number, step, change=None):
    """Write weights drawn from `step`; `change` may spoil them."""
    rng = np.random.default_rng(step)
    detector = TinyDetector()
    variables = detector.checkpoint_variables()
    for key, variable in variables.items():
        if key.endswith("kernel"):
            variable.assign(rng.normal(0, 0.05, variable.shape))
    variables["model/dense/bias"].assign([0.2, 0.2, 0.7, 0.7, 0])
    if change:
        change(variables)
    return checkpoints.tree({**variables, "step": tf.Variable(step)}).write(str(folder / f"ckpt-{number}"))


def of_checkpoint(base, **options):
    return evaluate(base / "pipeline.config", base / "model" / "ckpt-1", **options)


@pytest.fixture(scope="module")
def measured(base):
    """The newest checkpoint's evaluation, and the folder that it was written to."""
    return of_checkpoint(base, output_dir=base / "measured"), base / "measured"


def same_numbers(one, other):
    assert one.metrics == other.metrics
    assert one.losses == pytest.approx(other.losses, rel=1e-5)
    assert [row.AP for row in one.per_class] == [row.AP for row in other.per_class]
    assert [image.name for image in one.images] == [image.name for image in other.images]
    np.testing.assert_allclose(one.detections.score, other.detections.score, atol=2e-6)


class TestACheckpoint:
    def test_is_measured_on_the_records_of_its_configuration(self, measured):
        analysis, _ = measured
        assert (analysis.step, len(analysis.images)) == (10, 9)
        assert analysis.title == "model"
        assert len(analysis.detections.score) == 9  # the tiny detector finds one thing in every image
        assert 0 < analysis.metrics[AP50] <= 1
        assert analysis.losses["Loss/total_loss"] == pytest.approx(
            sum(value for name, value in analysis.losses.items() if name != "Loss/total_loss")
        )
        assert [row.name for row in analysis.per_class] == list(analysis.class_names)

    def test_leaves_json_page_and_summaries(self, measured):
        analysis, folder = measured
        assert {path.name for path in folder.iterdir()} == {"evaluation.json", "evaluation.html", "eval"}
        same_numbers(read_evaluation(folder / "evaluation.json"), rounded(analysis))
        assert all(image.preview.startswith("data:image/jpeg;base64,") for image in analysis.images)
        events = EventAccumulator(str(folder / "eval" / "validation")).Reload()
        assert {MAP, "Loss/total_loss", "confusion_matrix", "eval_side_by_side_0_0"} <= set(
            events.Tags()["tensors"]
        )
        assert [event.step for event in events.Tensors(MAP)] == [10]

    def test_keeps_thresholds_of_a_precision_beside_it(self, base, tmp_path, capsys):
        """And where a training has exported it: what is there of another step stays."""
        shutil.copytree(base / "model", tmp_path / "model")
        best, exported = tmp_path / "model" / "best", tmp_path / "model" / "exported"
        exported.mkdir()
        analysis = evaluate(model_dir=tmp_path / "model", min_precision=0)
        ball = next(row for row in analysis.per_class if row.best_threshold)
        kept = read_thresholds(best / "thresholds.json")
        assert (kept.step, kept.num_images, [one.name for one in kept.classes]) == (10, 9, [ball.name])
        assert 0 <= ball.best_threshold - kept.classes[0].min_score < 1e-4
        assert f"  kept in {best / 'thresholds.json'}, for `predict`\n" in capsys.readouterr().out
        write_thresholds(dataclasses.replace(kept, num_images=1), exported)
        evaluate(model_dir=tmp_path / "model", min_precision=0)
        assert read_thresholds(exported / "thresholds.json") == kept
        write_thresholds(dataclasses.replace(kept, step=20), exported)
        evaluate(model_dir=tmp_path / "model", min_precision=0)
        assert read_thresholds(exported / "thresholds.json").step == 20

    def test_says_for_which_classes_no_threshold_has_that_precision(self, base, tmp_path, capsys):
        shutil.copytree(base / "model", tmp_path / "model")
        evaluate(base / "pipeline.config", tmp_path / "model" / "ckpt-1", min_precision=1)
        out = capsys.readouterr().out
        assert "Thresholds of the highest F1 with a precision of 1 or more on 9 images: ball 0.5" in out
        assert "; for leaf, mug, star none\n" in out

    @pytest.mark.parametrize("wanted", [1.1, -0.1, float("nan")])
    def test_refuses_what_is_no_precision(self, base, wanted):
        with pytest.raises(ConfigError, match=f"min_precision is {wanted:g}; it must be from 0 to 1"):
            of_checkpoint(base, min_precision=wanted)

    def test_leaves_nothing_unless_asked_for(self, base):
        before = set(base.rglob("*"))
        assert all(image.preview is None for image in of_checkpoint(base).images)
        assert set(base.rglob("*")) == before

    def test_may_have_averages_of_its_weights(self, base, tmp_path):
        def shift(variables):
            for key in [key for key in variables if key.startswith("model/")]:
                average = variables[key].numpy()
                variables[key.replace("model/", "moving_averages/")] = tf.Variable(average)
            variables["model/dense/bias"].assign([0.5, 0.5, 0.1, 0.1, 3])

        prefix = checkpoint(tmp_path, 1, 10, shift)
        averaged = evaluate(
            base / "pipeline.config", prefix, overrides=["eval_config.use_moving_averages=true"]
        )
        own = evaluate(base / "pipeline.config", prefix)
        expected = of_checkpoint(base)
        np.testing.assert_array_equal(averaged.detections.score, expected.detections.score)
        assert not np.array_equal(own.detections.score, expected.detections.score)

    def test_of_which_the_weights_are_no_numbers(self, base, tmp_path):
        prefix = checkpoint(tmp_path, 1, 10, lambda all: all["model/dense/bias"].assign([0, 0, 0, 0, np.nan]))
        with pytest.raises(
            CheckpointError, match=r"shot-\d\.jpg: what the model predicts is infinite or not"
        ):
            evaluate(base / "pipeline.config", prefix, output_dir=tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_the_result_of_the_python_function_is_rows_of_plain_values(base):
    result = boxtune.evaluate(base / "pipeline.config", base / "model" / "ckpt-1")
    assert isinstance(result, Analysis)
    for row in map(dataclasses.asdict, result.per_class):
        assert all(isinstance(value, str | int | float | tuple | None) for value in row.values())
    (ball, *_) = result.per_class
    assert (ball.name, ball.num_objects, ball.num_detections) == ("ball", 7, 9)
    assert pytest.approx(4 * result.metrics[MAP]) == ball.AP  # the other three classes are never found


class TestAModelDirectory:
    """By the Python function as by the command line."""

    @pytest.fixture
    def model_dir(self, base, tmp_path):
        return shutil.copytree(base / "model", tmp_path / "model")

    def test_gives_configuration_checkpoint_and_the_place_of_the_files(self, base, model_dir, tmp_path):
        analysis = boxtune.evaluate(model_dir=model_dir)
        assert (analysis.step, analysis.title) == (10, "model")  # of the best
        written = json.loads((model_dir / "evaluation.json").read_text())
        runs("evaluate", "--model_dir", base / "model", "--output_dir", tmp_path / "out")
        assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == written
        assert (model_dir / "evaluation.html").exists()

    def test_may_be_measured_at_another_checkpoint(self, model_dir, tmp_path):
        best = boxtune.evaluate(
            model_dir=model_dir, checkpoint=model_dir / "best", output_dir=tmp_path / "out"
        )
        assert best.step == 10
        assert not (model_dir / "evaluation.json").exists()

    def test_may_be_measured_at_all_checkpoints(self, model_dir):
        assert [one.step for one in evaluate_checkpoints(model_dir=model_dir)] == [10, 20]
        assert json.loads((model_dir / "evaluation.json").read_text())["step"] == 20


def rounded(analysis):
    """Return an analysis as its JSON has it."""
    return from_json(to_json(analysis))


def records_of(base):
    return sorted((base / "records").glob("validation-*"))


class TestNumbersDoNotDependOn:
    def test_the_batch_size(self, base, measured):
        for size in (9, 32):
            same_numbers(measured[0], of_checkpoint(base, overrides=[f"eval_config.batch_size={size}"]))

    def test_the_order_of_the_images(self, base, measured, tmp_path):
        (path,) = records_of(base)
        examples = read_records(path)
        turned = of_checkpoint(base, data=write_records(tmp_path / "turned.record", examples[::-1]))
        same_numbers(measured[0], turned)


class TestData:
    def test_is_a_file_a_pattern_or_a_folder_of_records(self, base, measured):
        (path,) = records_of(base)
        for data in (path, base / "records" / "validation-*", base / "records"):
            same_numbers(measured[0], of_checkpoint(base, data=data))

    def test_is_a_folder_of_annotated_images_in_any_format(self, base, tmp_path, capsys):
        voc = of_checkpoint(base, data=base / "photos")
        assert len(voc.images) == PHOTOS
        assert voc.num_objects == records_objects(base)
        convert(base / "photos", tmp_path / "coco", Options(validation_fraction=0.0), to="coco")
        coco = of_checkpoint(base, data=tmp_path / "coco")
        assert coco.metrics == voc.metrics
        assert coco.num_objects == voc.num_objects

    def test_may_lie_in_a_folder_whose_name_is_a_pattern(self, base, measured, tmp_path):
        folder = tmp_path / "shots [1]"
        shutil.copytree(base / "records", folder)
        same_numbers(measured[0], of_checkpoint(base, data=folder))

    def test_that_is_not_there(self, base, tmp_path):
        with pytest.raises(DataError, match="nowhere: no such records, nor a folder of annotated images"):
            of_checkpoint(base, data=tmp_path / "nowhere")
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match="empty"):
            of_checkpoint(base, data=tmp_path / "empty")

    def test_that_is_no_record(self, base, tmp_path):
        (tmp_path / "found.json").write_text('{"images": [], "annotations": []}')
        with pytest.raises(DataError, match=r"found\.json"):
            of_checkpoint(base, data=tmp_path / "found.json")

    def test_whose_label_map_disagrees_with_the_model(self, base, tmp_path):
        write_label_map(LabelMap.from_names(list("abcde")), tmp_path / "five.pbtxt")
        with pytest.raises(ConfigError, match=r"num_classes is 4, but .*five\.pbtxt has the id 5"):
            of_checkpoint(base, label_map=tmp_path / "five.pbtxt")
        with pytest.raises(ConfigError, match=r"five\.pbtxt has a class of id 5, the model has 4 classes"):
            of_checkpoint(base, label_map=tmp_path / "five.pbtxt", data=base / "records")

    def test_with_a_class_that_the_model_lacks(self, base, tmp_path):
        write_label_map(LabelMap.from_names(["nothing like it"]), tmp_path / "one.pbtxt")
        with pytest.raises(DataError, match="label map has no class"):
            of_checkpoint(base, label_map=tmp_path / "one.pbtxt", data=base / "photos")

    def test_with_a_damaged_record_gives_no_numbers_of_the_others(self, base, tmp_path):
        (path,) = records_of(base)
        examples = list(map(tf.train.Example.FromString, read_records(path)))
        examples[5].features.feature["image/encoded"].bytes_list.value[0] = b"no image"
        write_records(tmp_path / "damaged.record", [example.SerializeToString() for example in examples])
        name = examples[5].features.feature["image/filename"].bytes_list.value[0].decode()
        with pytest.raises(DataError, match=rf"damaged\.record: record 5 .*{name}.*cannot be decoded"):
            of_checkpoint(base, data=tmp_path / "damaged.record", output_dir=tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_without_objects_is_explained(self, base, tmp_path, capsys):
        write_records(tmp_path / "empty.record", [record_of_image(), record_of_image()])
        analysis = of_checkpoint(base, data=tmp_path / "empty.record", output_dir=tmp_path / "out")
        assert set(analysis.metrics.values()) == {-1}
        assert "there are no objects in these images that count" in capsys.readouterr().out
        assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["num_objects"] == 0

    def test_whose_images_share_a_name_or_have_none(self, base, tmp_path):
        names = [("", ""), ("a.jpg", ""), ("a.jpg", ""), ("", "7")]
        write_records(tmp_path / "names.record", [record_of_image(*pair) for pair in names])
        analysis = of_checkpoint(base, data=tmp_path / "names.record")
        assert [one.name for one in analysis.images] == ["7", "a.jpg", "a.jpg (record 2)", "record 0"]


def records_objects(base):
    """Return how many objects there are in the images, without help from what is tested."""
    return sum(path.read_text().count("<object>") for path in (base / "photos").rglob("*.xml"))


class TestMetricsSet:
    def test_by_flags_in_place_of_the_configuration(self, base, tmp_path):
        pascal, open_images = "pascal_voc_detection_metrics", "oid_V2_detection_metrics"
        runs(
            "evaluate", "--model_dir", base / "model", "--output_dir", tmp_path, "--metrics_set", pascal,
            "--metrics_set", open_images, "--set", "eval_config.metrics_set=[coco_detection_metrics]",
        )  # fmt: skip
        metrics = json.loads((tmp_path / "evaluation.json").read_text())["metrics"]
        assert {"PascalBoxes_Precision/mAP@0.5IOU", "OpenImagesV2_Precision/mAP@0.5IOU"} <= metrics.keys()
        assert MAP not in metrics

    def test_that_is_unknown(self, base):
        with pytest.raises(ConfigError, match='no metrics "coco_metrics"'):
            of_checkpoint(base, overrides=["eval_config.metrics_set=[coco_metrics]"])


class TestDetections:
    """Found by another program, on annotated images."""

    def test_are_measured_under_the_ids_of_the_coco_data(self, tmp_path):
        data = coco_folder(tmp_path / "data")
        found = detections(tmp_path, [(30, 70, [2, 1, 8, 4], 0.9), (10, 90, [0, 0, 10, 5], 0.8)])
        analysis = evaluate(detections=found, data=data, output_dir=tmp_path / "out")
        assert (analysis.title, analysis.step) == ("found.json", None)
        assert analysis.metrics[MAP] == pytest.approx(1)  # each object is found exactly
        assert {row.name: row.num_objects for row in analysis.per_class} == {"cat": 1, "dog": 1}
        assert {path.name for path in (tmp_path / "out").iterdir()} == {
            "evaluation.json",
            "evaluation.html",
            "eval",
        }
        assert images_in_tensorboard(tmp_path / "out") == 2

    def test_of_images_of_one_name_in_two_folders(self, tmp_path):
        data = coco_folder(tmp_path / "data", names=("a/1.jpg", "b/1.jpg"))
        found = detections(tmp_path, [(30, 70, [2, 1, 8, 4], 0.9), (10, 90, [0, 0, 10, 5], 0.8)])
        assert evaluate(detections=found, data=data).metrics[MAP] == pytest.approx(1)

    def test_by_changes_of_a_configuration_that_is_not_there(self, tmp_path):
        data = coco_folder(tmp_path / "data")
        expected = ['eval_config.metrics_set="pascal_voc_detection_metrics"']
        analysis = evaluate(detections=detections(tmp_path, []), data=data, overrides=expected)
        assert "PascalBoxes_Precision/mAP@0.5IOU" in analysis.metrics
        with pytest.raises(ConfigError, match="metric_set"):
            evaluate(detections=detections(tmp_path, []), data=data, overrides=["eval_config.metric_set=x"])

    def test_go_by_names_and_label_ids_on_records(self, base, tmp_path):
        names = [example_name(base, number) for number in range(2)]
        found = detections(tmp_path, [(names[0], 1, [2, 1, 8, 4], 0.9), (names[1], 4, [0, 0, 10, 5], 0.8)])
        analysis = evaluate(detections=found, data=base / "records")
        assert analysis.detections.cls.tolist() == [0, 3]
        assert [
            analysis.images[number].name.rpartition("/")[2] for number in analysis.detections.image
        ] == sorted(names)

    @pytest.mark.parametrize(
        ("items", "said"),
        [
            ([(99, 70, [0, 0, 1, 1], 0.5)], "1 detection of images that are not evaluated.*image_id 99"),
            (
                [(30, 71, [0, 0, 1, 1], 0.5)],
                "1 detection of classes that the label map lacks.*category_id 71",
            ),
            ([(30, 70, [0, 0, 1, float("nan")], 0.5)], "cannot be used.*bbox"),
            ([(30, 70, [0, 0, 1, 1], float("inf"))], "cannot be used.*score"),
        ],
    )
    def test_that_cannot_be_used(self, tmp_path, items, said):
        data = coco_folder(tmp_path / "data")
        with pytest.raises(DataError, match=said):
            evaluate(detections=detections(tmp_path, items), data=data, output_dir=tmp_path / "out")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("way", "said"),
        [
            (
                lambda x, y, w, h: [x, y, x + w, y + h],
                "its boxes seem to be pixels,corners in place of pixels,sides",
            ),
            (
                lambda x, y, w, h: [x / 120, y / 100, w / 120, h / 100],
                "seem to be normalized,sides in place of",
            ),
            (lambda x, y, w, h: [x + w / 2, y + h / 2, w, h], "seem to be pixels,centres in place of"),
            (lambda x, y, w, h: [x + 1, y, w, h + 2], ""),
            (lambda x, y, w, h: [100, 80, 15, 19], ""),  # poor
        ],
    )
    def test_that_are_written_in_another_way(self, tmp_path, way, said):
        data = coco_folder(tmp_path / "data", (120, 100), boxes=[[50, 40, 30, 40], [30, 45, 50, 30]])
        items = [(30, 70, way(50, 40, 30, 40), 0.9), (10, 90, way(30, 45, 50, 30), 0.8)] * 2
        if said:
            with pytest.raises(DataError, match=said):
                evaluate(detections=detections(tmp_path, items), data=data)
        else:
            evaluate(detections=detections(tmp_path, items), data=data)

    def test_on_images_whose_boxes_are_in_another_convention(self, tmp_path, capsys):
        fractions = [[0.1, 0.1, 0.4, 0.4], [0.0, 0.0, 0.5, 0.5]]
        data = coco_folder(tmp_path / "data", boxes=fractions)
        (tmp_path / "elsewhere").mkdir()
        annotations = (data / "annotations.json").rename(tmp_path / "elsewhere" / "boxes.json")
        found = detections(tmp_path, [(30, 70, [2, 1, 8, 4], 0.9), (10, 90, [0, 0, 10, 5], 0.8)])
        arguments = [
            "evaluate",
            "--detections",
            str(found),
            "--data",
            str(data),
            "--annotations",
            str(annotations),
        ]
        arguments += ["--output_dir", str(tmp_path / "out")]
        assert cli.main(arguments) == 2
        assert "--boxes normalized" in capsys.readouterr().err
        assert cli.main([*arguments, "--boxes", "normalized", "--rename", "cat=lion"]) == 0
        assert read_evaluation(tmp_path / "out" / "evaluation.json").metrics[MAP] == pytest.approx(1)
        renamed = {row.name for row in read_evaluation(tmp_path / "out" / "evaluation.json").per_class}
        assert renamed == {"lion", "dog"}

    def test_on_records_is_nothing_to_read(self, tmp_path):
        write_records(tmp_path / "one.record", [record_of_image("a.jpg")])
        with pytest.raises(ConfigError, match=r"--boxes, do not go with records \(.*one\.record\)"):
            evaluate(
                detections=detections(tmp_path, []),
                data=tmp_path / "one.record",
                reading=Options(boxes="normalized"),
            )

    def test_under_names_that_are_printed_bytes(self, tmp_path):
        data = coco_folder(tmp_path / "data")
        mask = {"size": [10, 20], "counts": "b'<84240000000o2'"}
        items = [("b'b.jpg'", 70, [2, 1, 8, 4], 0.9), ('b"a.jpg"', 90, [0, 0, 10, 5], 0.8)]
        plain = detections(tmp_path, items)
        assert evaluate(detections=plain, data=data).metrics[MAP] == pytest.approx(1)
        with pytest.raises(DataError, match="run lengths do not fill its size of 10 x 20"):
            evaluate(detections=detections(tmp_path, items, segmentation=mask), data=data)

    def test_that_have_an_id_twice(self, tmp_path):
        data = coco_folder(tmp_path / "data")
        found = detections(tmp_path, [(30, 70, [0, 0, 1, 1], 0.5)] * 2, id=4)
        with pytest.raises(DataError, match='1 detection with an "id" that another one has'):
            evaluate(detections=found, data=data)

    def test_of_images_that_share_a_name(self, tmp_path):
        write_records(tmp_path / "names.record", [record_of_image("a.jpg"), record_of_image("a.jpg")])
        write_label_map(LabelMap.from_names(["cat"]), tmp_path / "label_map.pbtxt")
        with pytest.raises(DataError, match=r'"a\.jpg" is the name of several images'):
            evaluate(detections=detections(tmp_path, []), data=tmp_path / "names.record")

    def test_without_data(self, tmp_path):
        with pytest.raises(ConfigError, match="give --data"):
            evaluate(detections=detections(tmp_path, []))

    def test_of_classes_beyond_counting(self, tmp_path):
        write_records(tmp_path / "one.record", [record_of_image("a.jpg")])
        (tmp_path / "label_map.pbtxt").write_text("item { id: 2147483647 name: 'cat' }")
        with pytest.raises(DataError, match="has the id 2147483647; at most 10000"):
            evaluate(detections=detections(tmp_path, []), data=tmp_path / "one.record")

    def test_that_are_not_there(self, tmp_path):
        with pytest.raises(DataError, match=r"none\.json"):
            evaluate(detections=tmp_path / "none.json", data=coco_folder(tmp_path / "data"))


def coco_folder(folder, size=(20, 10), names=("b.jpg", "a.jpg"), boxes=([2, 1, 8, 4], [0, 0, 10, 5])):
    """Write two images with a dog (category 70) on image 30 and a cat (90) on image 10."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise(size, 50 + number).convert("RGB").save(folder / name)
    document = {
        "images": [
            {"id": key, "file_name": name, "width": size[0], "height": size[1]}
            for key, name in zip((30, 10), names, strict=True)
        ],
        "categories": [{"id": 70, "name": "dog"}, {"id": 90, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 30, "category_id": 70, "bbox": boxes[0], "area": 32, "iscrowd": 0},
            {"id": 2, "image_id": 10, "category_id": 90, "bbox": boxes[1], "area": 50, "iscrowd": 0},
        ],
    }  # fmt: skip
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


def detections(folder, items, **more):
    """Write detections (image_id, category_id, bbox, score) as COCO's results JSON."""
    keys = ("image_id", "category_id", "bbox", "score")
    path = folder / "found.json"
    path.write_text(json.dumps([dict(zip(keys, item, strict=True)) | more for item in items]))
    return path


def example_name(base, number):
    (path,) = records_of(base)
    data = read_records(path)[number]
    return tf.train.Example.FromString(data).features.feature["image/filename"].bytes_list.value[0].decode()


def images_in_tensorboard(folder):
    events = EventAccumulator(str(folder / "eval")).Reload()
    return sum(tag.startswith("eval_side_by_side") for tag in events.Tags()["tensors"])


def test_detections_have_no_model_to_keep_thresholds_beside(tmp_path):
    with pytest.raises(ConfigError, match="leave it out with --detections"):
        evaluate(detections=tmp_path / "found.json", data=tmp_path, min_precision=0.5)


class TestAnExportedModel:
    def test_is_measured_whoever_exported_it(self, base, exported):
        analysis = evaluate(saved_model=exported, data=base / "records")
        assert analysis.title == "exported"
        assert len(analysis.detections.score) == 9 * 2
        # The best is the whole image as class 1, the second, a quarter of it, class 3.
        assert analysis.detections.cls[:2].tolist() == [0, 2]
        np.testing.assert_allclose(analysis.detections.score[:2], [0.9, 0.4], rtol=1e-6)
        first = analysis.images[0]
        np.testing.assert_allclose(
            analysis.detections.box[:2],
            [[0, 0, first.height, first.width], [0, 0, first.height / 2, first.width / 2]],
        )
        same = evaluate(saved_model=exported / "saved_model", data=base / "records")
        assert same.metrics == analysis.metrics

    @pytest.mark.parametrize("given", [".", "saved_model"])
    def test_keeps_its_thresholds(self, base, exported, tmp_path, given):
        shutil.copytree(exported, tmp_path / "model")
        evaluate(saved_model=tmp_path / "model" / given, data=base / "records", min_precision=0)
        assert read_thresholds(tmp_path / "model" / "thresholds.json").num_images == 9

    def test_what_it_leaves_out_is_said(self, base, exported, tmp_path, capsys):
        model = shutil.copytree(exported, tmp_path / "model")
        nms = "post_processing { batch_non_max_suppression { score_threshold: 0.3 } }"
        kind = 'feature_extractor { type: "ssd_mobilenet_v2_keras" }'
        (model / "pipeline.config").write_text(f"model {{ ssd {{ num_classes: 4 {kind} {nms} }} }}")
        above = "only detections above a score of 0.3"
        analysis = evaluate(saved_model=model, data=base / "records", output_dir=tmp_path)
        assert analysis.how == read_evaluation(tmp_path / "evaluation.json").how == above
        assert f"objects, {above} (" in capsys.readouterr().out
        assert above in (tmp_path / "evaluation.html").read_text()
        tiled = evaluate(saved_model=model, data=base / "records", tiling=Tiling(32))
        assert tiled.how == f"in tiles of 32 pixels that overlap by 0.2, and the whole, {above}"

    def test_shows_as_many_images_as_it_is_told(self, exported, base, tmp_path):
        some = ["eval_config.num_visualizations=4"]
        evaluate(saved_model=exported, data=base / "records", output_dir=tmp_path, overrides=some)
        assert images_in_tensorboard(tmp_path) == 4

    def test_without_a_label_map(self, base, exported, tmp_path):
        alone = shutil.copytree(exported / "saved_model", tmp_path / "alone")
        with pytest.raises(ConfigError, match="alone: what are the model's classes\\? Give its --label_map"):
            evaluate(saved_model=alone, data=base / "records")

    def test_with_a_label_map_of_fewer_classes(self, base, exported, tmp_path):
        write_records(tmp_path / "one.record", [record_of_image("a.jpg")])
        write_label_map(LabelMap.from_names(["cat"]), tmp_path / "one.pbtxt")
        with pytest.raises(DataError, match=r"a\.jpg: a detection is of class 3, but the highest is 1"):
            evaluate(saved_model=exported, data=tmp_path / "one.record", label_map=tmp_path / "one.pbtxt")

    def test_that_is_none(self, base, tmp_path):
        with pytest.raises(CheckpointError, match="no exported model here"):
            evaluate(
                saved_model=tmp_path, data=base / "records", label_map=base / "records" / "label_map.pbtxt"
            )


@pytest.fixture(scope="module")
def exported(base):
    """A model with the signature of the API's exporters, beside its label map."""

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8, "input_tensor")])
        def serve(self, input_tensor):
            one = tf.ones([1, 1]) + 0 * tf.cast(tf.reduce_mean(tf.cast(input_tensor, tf.float32)), tf.float32)
            return {
                "detection_boxes": one[..., None]
                * tf.constant([[[0, 0, 0.5, 0.5], [0, 0, 1, 1], [0, 0, 0, 0.0]]]),
                "detection_scores": one * tf.constant([[0.4, 0.9, 0]]),
                "detection_classes": one * tf.constant([[3.0, 1.0, 1.0]]),
                "num_detections": one[0] * 2,
            }

    folder, model = base / "exported", Model()
    tf.saved_model.save(model, str(folder / "saved_model"), {"serving_default": model.serve})
    shutil.copyfile(base / "records" / "label_map.pbtxt", folder / "label_map.pbtxt")
    return folder


class TestInTiles:
    TILING = Tiling(32)  # images of 40 x 20 pixels have two tiles of 32 x 20

    def test_a_checkpoint_is_looked_through_in_tiles_and_the_whole(self, base, measured, tmp_path, capsys):
        analysis = of_checkpoint(base, tiling=self.TILING, output_dir=tmp_path)
        assert "9 images with 11 objects, in tiles of 32 pixels that overlap by 0.2, and the whole (" in (
            capsys.readouterr().out
        )
        assert (analysis.step, len(analysis.images), analysis.losses) == (10, 9, {})
        assert [image.name for image in analysis.images] == [image.name for image in measured[0].images]
        assert len(measured[0].detections.score) == 9
        assert 9 < len(analysis.detections.score) <= 27
        read = read_evaluation(tmp_path / "evaluation.json")
        assert read.how == analysis.how == "in tiles of 32 pixels that overlap by 0.2, and the whole"
        assert analysis.how in (tmp_path / "evaluation.html").read_text()
        assert measured[0].how == read_evaluation(measured[1] / "evaluation.json").how == ""

    def test_tiles_as_large_as_the_images_change_nothing(self, base, measured):
        analysis = of_checkpoint(base, tiling=Tiling(40))
        assert analysis.metrics == pytest.approx(measured[0].metrics)
        np.testing.assert_allclose(analysis.detections.score, measured[0].detections.score, atol=2e-6)

    def test_an_exported_model_finds_the_same(self, base, exported):
        one = evaluate(saved_model=exported, data=base / "records", tiling=Tiling(40))
        other = evaluate(saved_model=exported, data=base / "records")
        assert one.metrics == other.metrics
        tiled = evaluate(saved_model=exported, data=base / "records", tiling=self.TILING)
        # It finds all and a quarter of whatever it is shown: of a tile the first is cut by an inner edge, and part of
        # the whole's; the second overlaps that of the whole (16 of 20 pixels), or is cut.
        assert tiled.detections.box.tolist() == other.detections.box.tolist()

    def test_is_nothing_for_detections(self, tmp_path):
        with pytest.raises(ConfigError, match=r"--tile is about .*: leave it out with --detections"):
            evaluate(detections=tmp_path / "found.json", data=tmp_path, tiling=self.TILING)

    def test_masks_are_not_merged(self, base, exported):
        with pytest.raises(ConfigError, match="--tile merges boxes, neither masks"):
            evaluate(
                saved_model=exported,
                data=base / "records",
                tiling=self.TILING,
                overrides=["eval_config.metrics_set=[coco_mask_metrics]"],
            )

    def test_older_files_lack_how(self, measured):
        document = json.loads((measured[1] / "evaluation.json").read_text())
        assert document.pop("how") == ""
        assert from_json(document).how == ""


class TestComparison:
    def test_with_a_run_on_the_same_images(self, base, measured, tmp_path):
        evaluate(
            base / "pipeline.config", base / "model" / "ckpt-2", output_dir=tmp_path,
            compare_with=measured[1] / "evaluation.json",
        )  # fmt: skip
        page = (tmp_path / "evaluation.html").read_text()
        assert '"differences"' in page
        assert '"differences"' not in (measured[1] / "evaluation.html").read_text()

    def test_with_a_run_on_other_images(self, base, measured, tmp_path):
        with pytest.raises(DataError, match="Runs cannot be compared"):
            of_checkpoint(base, data=base / "photos", compare_with=measured[1] / "evaluation.json")

    def test_with_a_run_of_other_classes(self, measured, tmp_path):
        data, found = coco_folder(tmp_path / "data"), detections(tmp_path, [])
        with pytest.raises(DataError, match=r"evaluation\.json: is of other classes: "):
            evaluate(detections=found, data=data, compare_with=measured[1] / "evaluation.json")

    def test_with_what_is_none(self, base, tmp_path):
        (tmp_path / "evaluation.json").write_text("{}")
        for path in (tmp_path / "evaluation.json", tmp_path / "nowhere.json"):
            with pytest.raises(DataError, match=path.name):
                of_checkpoint(base, compare_with=path)


class TestAllCheckpoints:
    def test_are_a_table_over_the_steps(self, base, tmp_path, capsys):
        evaluations = evaluate_checkpoints(base / "pipeline.config", base / "model", output_dir=tmp_path)
        assert [one.step for one in evaluations] == [10, 20]
        table = capsys.readouterr().out.splitlines()
        assert table[0].startswith("On 9 images with ")
        assert [line.split()[0] for line in table[1:]] == ["step", "10", "20"]
        assert f"{evaluations[1].values[AP50]:.3f}" in table[3]
        assert json.loads((tmp_path / "evaluation.json").read_text())["step"] == 20
        events = EventAccumulator(str(tmp_path / "eval" / "validation")).Reload()
        assert [event.step for event in events.Tensors(MAP)] == [10, 20]

    def test_on_other_data_by_other_metrics(self, base, tmp_path):
        first, _ = evaluate_checkpoints(
            base / "pipeline.config", base / "model", output_dir=tmp_path,
            data=base / "photos", overrides=["eval_config.metrics_set=[pascal_voc_detection_metrics]"],
        )  # fmt: skip
        assert first.num_images == PHOTOS
        assert MAP not in first.metrics

    def test_one_that_comes_later_is_waited_for(self, base, tmp_path, monkeypatch):
        model_dir = tmp_path / "model"
        checkpoint(model_dir, 1, 10)
        monkeypatch.setattr(checkpoint_watcher.time, "sleep", lambda _: checkpoint(model_dir, 2, 20))
        evaluations = evaluate_checkpoints(
            base / "pipeline.config", model_dir, output_dir=tmp_path, wait=True
        )
        assert [one.step for one in evaluations] == [10, 20]  # the last step of the configuration ends it

    def test_a_broken_one_ends_it(self, base, tmp_path):
        checkpoint(tmp_path, 1, 10)
        (tmp_path / "ckpt-2.index").write_bytes(b"junk")
        with pytest.raises(CheckpointError, match="ckpt-2"):
            evaluate_checkpoints(base / "pipeline.config", tmp_path, output_dir=tmp_path)

    def test_of_a_folder_without_any(self, base, tmp_path):
        with pytest.raises(CheckpointError, match="no checkpoint ckpt-N here"):
            evaluate_checkpoints(base / "pipeline.config", tmp_path, output_dir=tmp_path)


class TestWhatIsMeasured:
    def test_is_one_thing(self, base):
        for given in ({}, {"checkpoint": "a", "saved_model": "b"}, {"saved_model": "b", "detections": "c"}):
            with pytest.raises(
                ConfigError, match="give --model_dir or --checkpoint, or else one of --saved_model"
            ):
                evaluate(base / "pipeline.config", **given)

    def test_needs_the_configuration_of_a_checkpoint(self, base):
        with pytest.raises(CheckpointError, match="give --model_dir, or both --pipeline_config_path and"):
            evaluate(checkpoint=base / "model")

    @pytest.mark.parametrize("option", ["pipeline_config_path", "checkpoint", "label_map"])
    def test_may_not_be_there(self, base, tmp_path, option):
        given = {"pipeline_config_path": base / "pipeline.config", "checkpoint": base / "model"}
        with pytest.raises(BoxtuneError, match="nowhere"):
            evaluate(**given | {option: tmp_path / "nowhere"})

    def test_without_records_in_the_configuration(self, base, tmp_path, measured):
        pipeline = config.load(base / "pipeline.config")
        del pipeline.eval_input_reader[:]
        config.write(pipeline, tmp_path / "pipeline.config")
        with pytest.raises(ConfigError, match="give --data"):
            evaluate(tmp_path / "pipeline.config", base / "model")
        same_numbers(
            measured[0],
            evaluate(tmp_path / "pipeline.config", base / "model" / "ckpt-1", data=base / "records"),
        )


def runs(*arguments):
    """Run the command line and return what it printed."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert cli.main(list(map(str, arguments))) == 0
    return output.getvalue()


class TestCommandLine:
    def test_the_newest_and_the_best(self, base, tmp_path):
        told = runs(
            "evaluate",
            "--model_dir",
            base / "model",
            "--which",
            "newest",
            "--output_dir",
            tmp_path / "newest",
        )
        assert "Evaluation of step 20 on 9 images" in told
        assert f"The page: {tmp_path / 'newest' / 'evaluation.html'}" in told
        told = runs("evaluate", "--model_dir", base / "model", "--output_dir", tmp_path / "best")
        assert "Evaluation of step 10 on 9 images" in told
        same = (
            "--checkpoint",
            base / "model",
            "--pipeline_config_path",
            base / "model" / "complete_pipeline.config",
        )
        assert "Evaluation of step 10" in runs(
            "evaluate", *same, "--which", "best", "--output_dir", tmp_path / "same"
        )
        assert json.loads((tmp_path / "best" / "evaluation.json").read_text())["title"] == "model"

    def test_all(self, base, tmp_path):
        told = runs(
            "evaluate", "--model_dir", base / "model", "--which", "all", "--wait", "--timeout", 0,
            "--output_dir", tmp_path, "--metrics_set", "pascal_voc_detection_metrics",
        )  # fmt: skip
        assert [line.split()[0] for line in told.splitlines()[1:4]] == ["step", "10", "20"]

    @pytest.mark.parametrize(
        ("flags", "said"),
        [
            (["--wait"], "--wait goes with --which all"),
            (["--which", "all", "--timeout", "3"], "--timeout goes with --wait"),
            (["--which", "all", "--compare_with", "a.json"], "--compare_with goes with one evaluation"),
            (["--which", "all", "--min_precision", "0"], "--min_precision goes with one evaluation"),
            (["--which", "all", "--tile", "640"], "--tile goes with one evaluation"),
            (["--overlap", "0.5"], "--overlap 0.5 goes with --tile"),
            (["--tile", "3"], "--tile is 3: give the side of a tile"),
            (["--saved_model", "a"], "--saved_model and --detections go without --model_dir"),
            (["--detections", "a", "--which", "best"], "go without --model_dir, --which best"),
        ],
    )
    def test_flags_that_do_not_go_together(self, flags, said, capsys):
        assert cli.main(["evaluate", "--model_dir", "mine", *flags]) == 2
        assert said in capsys.readouterr().err

    def test_nothing_given(self, capsys):
        assert cli.main(["evaluate"]) == 2
        assert "give --model_dir" in capsys.readouterr().err

    def test_errors_are_lines(self, base, tmp_path, capsys):
        arguments = ["evaluate", "--detections", tmp_path / "none.json", "--data", base / "records"]
        assert cli.main(list(map(str, arguments))) == 2
        told = capsys.readouterr().err
        assert told.startswith("boxtune: ")
        assert told.count("\n") == 1
        assert "none.json" in told
