"""The verb `retrain`: what it prints and exports belongs to the data and the settings that the command names."""

import contextlib
import dataclasses
import importlib
import io
import json
import re
import shutil
from pathlib import Path

import pytest

from boxtune import cli, config, models
from boxtune.data.cutting import Cutting
from boxtune.data.label_map import read_label_map
from boxtune.data.preparation import Options
from boxtune.data.tiling import Tiling
from boxtune.draw import draw
from boxtune.errors import CheckpointError, ConfigError, DataError
from boxtune.evaluate import evaluate
from boxtune.evaluation.thresholds import read_thresholds, write_thresholds
from boxtune.report.evaluation import read_evaluation
from boxtune.retrain import retrain
from boxtune.training import changes
from boxtune.training.checkpoints import Reader, find, step_of
from boxtune.training.early_stopping import EvaluationOptions
from boxtune.training.project import best_run, runs_of, start_of
from tiny_run import SIDE, TinyDetector

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

SIZE = f"model.ssd.image_resizer.fixed_shape_resizer={{height: {SIDE} width: {SIDE}}}"
STEPS = 2


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(models, "build", lambda section, options=None: TinyDetector())


def start(photos, model_dir, *overrides, **options):
    settings = {"num_steps": STEPS, "batch_size": 2} | options
    evaluation = EvaluationOptions(every_n=0, metric="loss")
    return retrain(photos, model_dir, overrides=[SIZE, *overrides], evaluation_options=evaluation, **settings)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Images and the model directory of a finished run."""
    folder = tmp_path_factory.mktemp("retrain")
    draw(folder / "photos", num_images=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "build", lambda section, options=None: TinyDetector())
        start(folder / "photos", folder / "mine")
    return folder


@pytest.fixture
def folder(finished, tmp_path, monkeypatch):
    """A copy, and the working directory: paths are short and relative."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(error, *arguments, **options):
    """Return what the command says that is refused, and leaves everything as it is."""
    before = content(arguments[1])
    with pytest.raises(error) as caught:
        start(*arguments, **options)
    assert content(arguments[1]) == before
    return str(caught.value)


def rename(photos, old, new):
    for path in photos.rglob("*.xml"):
        path.write_text(path.read_text().replace(f"<name>{old}</name>", f"<name>{new}</name>"))


def weights(model_dir):
    reader = Reader(find(model_dir))
    return {key: reader[key].tolist() for key in reader.shapes if key.startswith("model/")}


def test_the_same_again_makes_nothing_again(folder, capsys):
    before = content(folder / "mine")
    result = start(folder / "photos", folder / "mine")
    assert f"{STEPS} of {STEPS} steps have been made already" in capsys.readouterr().out
    assert result.best.step == STEPS
    after = content(folder / "mine")
    same = {path for path in before if path.parts[0] in ("records", "best", "metrics.jsonl")}
    assert {path: after[path] for path in same} == {path: before[path] for path in same}
    assert after[Path("ckpt-1.data-00000-of-00001")] == before[Path("ckpt-1.data-00000-of-00001")]


def test_what_is_exported_has_the_thresholds_of_its_checkpoint(folder, caplog):
    from boxtune.export import export

    best, exported = folder / "mine/best", folder / "mine/exported"
    kept = read_thresholds(best / "thresholds.json")
    assert read_thresholds(exported / "thresholds.json") == kept
    write_thresholds(dataclasses.replace(kept, step=1), best)
    export(folder / "mine/pipeline.config", best, exported)
    assert (
        f"thresholds.json is of step 1, ckpt-1 of step {STEPS}: exported without thresholds." in caplog.text
    )
    assert not (exported / "thresholds.json").exists()


def test_the_folder_may_have_another_name_by_now(folder, capsys):
    """And hidden rests of a kill, which are removed."""
    (folder / "mine").rename(folder / "yours")
    (folder / "yours/.partial-abc/records").mkdir(parents=True)
    (folder / "yours/exported/.partial-xyz/saved_model").mkdir(parents=True)
    start(folder / "photos", folder / "yours")
    assert not list((folder / "yours").rglob(".*"))
    assert f"{STEPS} of {STEPS} steps have been made already" in capsys.readouterr().out


def test_images_that_were_added_are_named(folder):
    draw(folder / "more", num_images=11, seed=5)
    for path in (folder / "more").rglob("practice-0011.*"):
        shutil.copy(path, folder / "photos" / path.relative_to(folder / "more"))
    said = refused(ConfigError, folder / "photos", folder / "mine")
    assert "images added: 1 (images/practice-0011.jpg)" in said
    assert "--overwrite" in said


def test_other_images_of_as_many_classes(folder):
    draw(folder / "others", num_images=10, seed=1)
    said = refused(ConfigError, folder / "others", folder / "mine")
    assert "images changed in itself or its objects: " in said


def test_images_that_are_missing(folder):
    for path in list((folder / "photos").rglob("practice-0003.*")):
        path.unlink()
    assert "images missing: 1 (images/practice-0003.jpg)" in refused(
        ConfigError, folder / "photos", folder / "mine"
    )


def test_another_name_of_a_class(folder):
    rename(folder / "photos", "ball", "zball")
    said = refused(ConfigError, folder / "photos", folder / "mine")
    assert "class 1: ball → leaf" in said
    assert "class 4: star → zball" in said


def test_another_split(folder):
    said = refused(ConfigError, folder / "photos", folder / "mine", options=Options(validation_fraction=0.4))
    assert "images between training and evaluation: 2" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_steps": 3}, "train_config.num_steps: 2 → 3"),
        ({"batch_size": 1}, "train_config.batch_size: 2 → 1"),
        ({"options": Options(seed=1)}, "seed: 0 → 1"),
    ],
)
def test_other_settings(folder, options, said):
    assert said in refused(ConfigError, folder / "photos", folder / "mine", **options)


def test_a_change_of_the_configuration(folder):
    said = refused(ConfigError, folder / "photos", folder / "mine", "boxtune.label_smoothing=0.1")
    assert "boxtune.label_smoothing: absent → 0.1" in said


def test_what_cannot_be_read_leaves_the_run_as_it_is(folder):
    (folder / "empty").mkdir()
    refused(DataError, folder / "empty", folder / "mine")
    refused(ConfigError, folder / "photos", folder / "mine", "train_config.batch_sise=3")
    refused(ConfigError, folder / "photos", folder / "mine", "train_config.batch_size=0", overwrite=True)


def test_checkpoints_of_which_nothing_says_where_they_are_from(folder):
    (folder / "mine/run.json").unlink()
    assert "nothing that says how they were trained" in refused(
        ConfigError, folder / "photos", folder / "mine"
    )


def test_begun_anew_it_is_of_the_new_data(folder):
    mine = folder / "mine"
    draw(folder / "others", num_images=9, seed=1)
    rename(folder / "others", "ball", "zball")
    before = weights(mine)
    people = [mine / "notes.txt", mine / "records/mine.txt", mine / "exported/app.py", mine / "best/why.txt"]
    for path in people:
        path.write_text("mine")
    start(folder / "others", mine, overwrite=True)
    assert [path.read_text() for path in people] == ["mine"] * len(people)
    assert read_label_map(mine / "exported/label_map.pbtxt").names == ["leaf", "mug", "star", "zball"]
    assert [entry["step"] for entry in json.loads((mine / "run.json").read_text())] == [0]
    journal = (mine / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in journal] == [1, 2, 2]
    assert weights(mine) != before
    assert step_of(find(mine / "best")) == STEPS
    assert len(list((mine / "train").iterdir())) == 1  # the events of one run
    assert not list(mine.glob(".*"))


def test_it_cannot_start_from_what_it_would_remove(folder):
    text = (folder / "mine/exported/pipeline.config").read_text()
    said = refused(
        CheckpointError,
        folder / "photos",
        folder / "mine",
        checkpoint=folder / "mine/exported",
        overwrite=True,
    )
    assert "give another --model_dir" in said
    assert (folder / "mine/exported/pipeline.config").read_text() == text


def interrupt(model_dir):
    """Make a finished run one that was killed before its first checkpoint, after an evaluation."""
    entries = json.loads((model_dir / "run.json").read_text())
    entries[-1]["has_checkpoint"] = False
    (model_dir / "run.json").write_text(json.dumps(entries))
    for path in [*model_dir.glob("ckpt-*"), model_dir / "checkpoint"]:
        path.unlink()


def test_a_run_that_had_no_checkpoint_yet_is_begun_with_any_data(folder):
    whole = weights(folder / "mine")
    interrupt(folder / "mine")
    start(folder / "photos", folder / "mine")
    assert weights(folder / "mine") == whole
    interrupt(folder / "mine")
    draw(folder / "others", num_images=10, seed=1)
    start(folder / "others", folder / "mine")
    assert weights(folder / "mine") != whole


@pytest.mark.parametrize("left", ["run.json", "metrics.jsonl", "best"])
def test_a_run_that_lost_its_checkpoints_is_not_begun_anew(folder, left):
    mine = folder / "mine"
    for path in [*mine.glob("ckpt-*"), mine / "checkpoint"]:
        path.unlink()
    for name in {"run.json", "metrics.jsonl"} - {left}:
        (mine / name).unlink()
    if left != "best":
        shutil.rmtree(mine / "best")
    said = refused(CheckpointError, folder / "photos", mine)
    assert re.search(rf"{left} of a run, but no checkpoint of it", said)
    if left == "best":  # as after any other loss
        start(folder / "photos", mine, overwrite=True)
        assert step_of(find(mine)) == STEPS


def test_the_exported_names_are_those_that_were_trained(folder):
    """Even where the label map that the configuration names has changed since."""
    from boxtune.evaluate import evaluate
    from boxtune.export import export

    mine = folder / "mine"
    kept = read_label_map(mine / "exported/label_map.pbtxt").names
    path = mine / "records/label_map.pbtxt"
    path.write_text(path.read_text().replace("'ball'", "'cube'"))
    for checkpoint in (mine, mine / "best"):
        export(mine / "pipeline.config", checkpoint, folder / "out")
        assert read_label_map(folder / "out/label_map.pbtxt").names == kept
    assert list(evaluate(model_dir=mine).class_names) == kept


def test_paths_of_one_file_are_the_same(folder):
    pipeline = config.load(folder / "mine/pipeline.config")
    records = Path(pipeline.train_input_reader.label_map_path).parent
    other = changes.reading_from(folder / "elsewhere", pipeline, records)
    assert other.train_input_reader.label_map_path == str(folder / "elsewhere/label_map.pbtxt")
    assert changes.reading_from(records, other, folder / "elsewhere") == pipeline


def add_images(folder, count=4, name="more"):
    """Add drawn images to the photographs."""
    draw(folder / name, num_images=10 + count, seed=5)
    for number in range(11, 11 + count):
        for path in (folder / name).rglob(f"practice-{number:04}.*"):
            shutil.copy(path, folder / "photos" / path.relative_to(folder / name))


def listed(records, part):
    return set((records / f"{part}.list").read_text().splitlines())


class TestNextRun:
    def test_what_has_changed_is_listed_with_the_ways_on(self, folder):
        add_images(folder)
        said = refused(ConfigError, folder / "photos", folder / "mine", num_steps=3)
        first, *lines = said.splitlines()
        assert "To train on from its best weights, as the next run, add --next_run. Give another" in first
        assert lines[0].startswith("  images added: 4 (images/practice-0011.jpg")
        assert "  train_config.num_steps: 2 → 3" in lines

    def test_the_command_line_lists_them_in_lines(self, folder, capfd):
        add_images(folder)
        flags = ["--num_steps", "2", "--batch_size", "2", "--evaluate_every_n", "0", "--best_metric", "loss"]
        assert cli.main(["retrain", "photos", "--model_dir", "mine", "--set", SIZE, *flags]) == 2
        assert "\n  images added: 4 (" in capfd.readouterr().err

    def test_it_begins_from_the_best_weights_and_the_first_stays_as_it_is(self, folder, capsys):
        before = content(folder / "mine")
        add_images(folder)
        result = start(folder / "photos", Path("mine"), next_run=True, num_steps=3)
        out = capsys.readouterr().out
        assert result.model_dir == Path("mine/runs/2")
        after = content(folder / "mine")
        assert {path: after[path] for path in before} == before
        assert "from mine/best/ckpt-1" in out
        assert "The best run before, mine, on the same images:" in out
        figures = json.loads((folder / "mine/runs/2/results.json").read_text())
        assert figures["step"] == 3
        assert figures["mAP_of_best_before"] == result.comparison.before
        assert result.comparison.is_of_all
        assert step_of(find(folder / "mine/runs/2")) == 3

    @pytest.mark.thorough
    def test_no_image_changes_sides(self, folder):
        parts = {part: listed(folder / "mine" / "records", part) for part in ("train", "validation")}
        add_images(folder)
        start(folder / "photos", folder / "mine", next_run=True)
        records = folder / "mine" / "runs" / "2" / "records"
        for part, names in parts.items():
            assert names <= listed(records, part)
        assert len(listed(records, "train") | listed(records, "validation")) == 14

    @pytest.mark.thorough
    def test_again_it_is_resumed_and_changed_again_there_is_a_third(self, folder, capsys):
        add_images(folder)
        start(folder / "photos", folder / "mine", next_run=True)
        capsys.readouterr()
        for next_run in (False, True):
            start(folder / "photos", folder / "mine", next_run=next_run)
            assert "2 of 2 steps have been made already" in capsys.readouterr().out
        add_images(folder, 5, "most")
        result = start(folder / "photos", folder / "mine", next_run=True)
        assert result.model_dir == folder / "mine" / "runs" / "3"
        assert cli.main(["runs", "mine", "--page", "new/runs.html"]) == 0
        table = capsys.readouterr().out
        assert "Run 3 began from" in table
        assert "The page: new/runs.html" in table
        page = (folder / "new" / "runs.html").read_text()
        told = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])["runs"]
        assert [run["number"] for run in told] == [1, 2, 3]
        assert [run["history"]["steps"] for run in told] == [[1, 2]] * 3
        # Of the first there is nothing before.
        assert [run["difference"] is None for run in told] == [True, False, False]
        assert "images added: 1 (images/practice-0015.jpg)" in table

    def test_killed_before_its_first_step_it_is_begun_again(self, folder, monkeypatch):
        add_images(folder)
        with monkeypatch.context() as patch:
            patch.setattr(importlib.import_module("boxtune.retrain"), "move", interrupted)
            with pytest.raises(KeyboardInterrupt):
                start(folder / "photos", folder / "mine", next_run=True)
        assert [path.name for path in (folder / "mine" / "runs" / "2").iterdir()] == ["start.json"]
        result = start(folder / "photos", folder / "mine")
        assert result.model_dir == folder / "mine" / "runs" / "2"

    def test_with_other_classes_those_that_both_know_are_compared(self, folder, capsys):
        """The mugs become cups: the run before is measured without them, and the new one is the best."""
        rename(folder / "photos", "mug", "cup")
        result = start(folder / "photos", Path("mine"), next_run=True)
        names = [name for name in read_label_map(Path("mine/records/label_map.pbtxt")).names if name != "mug"]
        assert result.comparison.classes == names
        assert not result.comparison.is_of_all
        said = capsys.readouterr().out
        assert f"(of the classes that it knows: {', '.join(names)})" in said
        assert "of the classes that the best run before knows, too" in str(result)
        figures = json.loads(Path("mine/runs/2/results.json").read_text())
        assert figures["mAP_of_best_before"] is None
        assert figures["known_classes"]["before"] == result.comparison.before >= 0
        measured = read_evaluation(Path("mine/runs/2/best_before/evaluation.json"))
        objects = {row.name: row.num_objects for row in measured.per_class}
        assert objects["mug"] == 0 < min(objects[name] for name in names)
        assert best_run(runs_of(Path("mine"))) == Path("mine/runs/2")
        # All runs on the images of the newest.
        assert cli.main(["runs", "mine", "--same_images", "--page", "runs.html"]) == 0
        table = capsys.readouterr().out
        first, second = (line.split() for line in table.splitlines() if line.startswith(("1 ", "2 ")))
        assert first[-1] == f"{result.comparison.before:.3f}"
        assert second[-1] == f"{result.mean_average_precision:.3f}"
        assert "SAME IMAGES: the mAP on the validation images of run 2" in table
        assert "same_images" in Path("runs.html").read_text()

    @pytest.mark.thorough
    def test_without_a_class_in_common_nothing_is_compared(self, folder, capsys):
        for number, name in enumerate(read_label_map(Path("mine/records/label_map.pbtxt")).names):
            rename(folder / "photos", name, f"new {number}")
        result = start(folder / "photos", Path("mine"), next_run=True)
        assert "It knows none of these classes: it is not compared." in capsys.readouterr().out
        assert result.comparison is None

    def test_another_kind_of_model_is_no_next_run(self, folder):
        add_images(folder)
        said = refused(
            ConfigError, folder / "photos", folder / "mine", next_run=True, model="efficientdet_d0"
        )
        assert "a ssd_mobilenet_v2_fpn_keras, and this asks for a ssd_efficientnet-b0_bifpn_keras" in said

    @pytest.mark.thorough
    def test_overwrite_removes_all_runs(self, folder):
        add_images(folder)
        start(folder / "photos", folder / "mine", next_run=True)
        own = folder / "mine" / "runs" / "3" / "mine.txt"
        own.parent.mkdir()
        own.touch()
        start(folder / "photos", folder / "mine", overwrite=True)
        assert [path for path in (folder / "mine" / "runs").rglob("*") if path.is_file()] == [own]
        assert step_of(find(folder / "mine")) == STEPS

    @pytest.mark.parametrize(("before", "best"), [(0.1, 2), (0.3, 1), (None, 2)])
    def test_the_best_run_is_what_is_evaluated_exported_and_used(self, folder, before, best):
        """Run 2 has mAP 0.2, the one before `before` on the same images; None if it knows other classes."""
        shutil.copytree(folder / "mine", folder / "second")
        shutil.move(folder / "second", folder / "mine" / "runs" / "2")
        (folder / "mine" / "runs" / "2" / "start.json").write_text(
            '{"checkpoint": "mine/best", "changes": []}'
        )
        results = {"mAP": 0.2, "mAP_of_best_before": before, "step": 2}
        (folder / "mine" / "runs" / "2" / "results.json").write_text(json.dumps(results))
        run = folder / "mine" if best == 1 else folder / "mine" / "runs" / "2"
        assert best_run(runs_of(folder / "mine")) == run
        (run / "evaluation.json").unlink()
        assert cli.main(["evaluate", "--model_dir", "mine"]) == 0
        assert (run / "evaluation.json").exists()
        # A checkpoint that is named is measured by the configuration beside it, whichever run is the best.
        (folder / "mine" / "evaluation.json").unlink()
        assert cli.main(["evaluate", "--model_dir", "mine", "--checkpoint", "mine/ckpt-1"]) == 0
        assert (folder / "mine" / "evaluation.json").exists()

    @pytest.mark.parametrize("damage", ["{", "[]", '{"mAP": "high", "step": 2}', '{"step": 2}'])
    def test_damaged_figures_are_named(self, folder, damage):
        run = folder / "mine" / "runs" / "2"
        run.mkdir(parents=True)
        (run / "start.json").write_text('{"checkpoint": "mine/best", "changes": []}')
        (run / "results.json").write_text(damage)
        with pytest.raises(DataError, match=r"results.json is damaged"):
            best_run(runs_of(folder / "mine"))
        (run / "start.json").write_text(damage)
        with pytest.raises(DataError, match=r"start.json is damaged"):
            start_of(run)


def interrupted(*_):
    raise KeyboardInterrupt


CUTTING = Cutting(Tiling(160))


@pytest.fixture(scope="class")
def tiled(tmp_path_factory):
    """What a training on tiles of images of 320 x 240 pixels prints and returns, and its folder."""
    folder = tmp_path_factory.mktemp("tiled")
    draw(folder / "photos", num_images=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "build", lambda section, options=None: TinyDetector())
        with contextlib.redirect_stdout(io.StringIO()) as told:
            result = start(folder / "photos", folder / "mine", options=Options(cutting=CUTTING))
    return folder, result, told.getvalue()


@pytest.mark.thorough
class TestInTiles:
    def test_it_is_measured_on_whole_images_looked_at_in_tiles(self, tiled):
        folder, result, told = tiled
        report = json.loads((folder / "mine" / "records" / "report.json").read_text())
        assert report["parts"]["whole"]["images"] == 2
        assert report["parts"]["validation"]["images"] == 2 + 2 * 6
        analysis = read_evaluation(folder / "mine" / "evaluation.json")
        assert analysis.how == "in tiles of 160 pixels that overlap by 0.2, and the whole"
        assert [(image.width, image.height) for image in analysis.images] == [(320, 240)] * 2
        assert result.best.num_images == 2
        assert result.mean_average_precision == analysis.metrics["DetectionBoxes_Precision/mAP"]
        assert "On the validation images as they were before they were cut" in told
        assert "IMAGES --output_dir drawn --tile 160 --overlap 0.2" in str(result)

    def test_an_evaluation_without_tiles_says_that_it_is_of_tiles(self, tiled, tmp_path, capsys):
        analysis = evaluate(model_dir=tiled[0] / "mine", output_dir=tmp_path)
        assert len(analysis.images) == 2 + 2 * 6
        assert "On tiles of the validation images; with --tile it is" in capsys.readouterr().out

    def test_thresholds_are_of_whole_images_too(self, tiled):
        folder, _, _ = tiled
        for place in ("best", "exported"):
            assert read_thresholds(folder / "mine" / place / "thresholds.json").num_images == 2

    def test_the_same_again_goes_on_and_other_tiles_are_another_run(self, tiled):
        folder, result, _ = tiled
        again = start(folder / "photos", folder / "mine", options=Options(cutting=CUTTING))
        assert again.best.values == result.best.values
        with pytest.raises(ConfigError, match="holds a run that differs"):
            start(folder / "photos", folder / "mine", options=Options(cutting=Cutting(Tiling(128))))

    def test_the_next_run_is_compared_on_the_same_whole_images(self, tiled, tmp_path):
        folder = Path(shutil.copytree(tiled[0], tmp_path / "copy"))
        draw(folder / "photos", num_images=12)
        options = Options(cutting=CUTTING)
        result = start(folder / "photos", folder / "mine", options=options, next_run=True)
        assert result.comparison.is_of_all
        before = read_evaluation(result.model_dir / "best_before" / "evaluation.json")
        assert before.how.startswith("in tiles of 160 pixels")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--export", "onx"],
            '--export "onx" is not one of saved_model, onnx, tflite, openvino. Did you mean "onnx"?',
        ),
        (["--precision", "int8"], "none of saved_model has it, but tflite, openvino: add --export tflite"),
    ],
)
def test_flags_of_the_export_are_looked_at_before_anything_is_written(tmp_path, capsys, flags, message):
    assert cli.main(["retrain", str(tmp_path), "--model_dir", str(tmp_path / "mine"), *flags]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()
