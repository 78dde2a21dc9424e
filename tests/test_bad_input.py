"""What users get wrong: one line that names the file and the way out, exit status 2, nothing lost."""

import contextlib
import io
import re
import shutil

import pytest
import tensorflow as tf

from boxtune import cli, models
from tiny_run import SIDE, TinyDetector

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

SMALL = [
    "--model", "ssd_mobilenet_v2_keras",
    "--set", "train_config.data_augmentation_options=[]",
    "--set", "model.ssd.image_resizer.fixed_shape_resizer={height: 96 width: 96}",
    "--set", "model.ssd.feature_extractor.depth_multiplier=0.35",
]  # fmt: skip


def fails(*arguments):
    """Run the command line, which must fail as for a user, and return its one line."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        status = cli.main(list(map(str, arguments)))
    lines = [line for line in errors.getvalue().splitlines() if line.startswith("boxtune: ")]
    assert status == 2
    assert len(lines) == 1, errors.getvalue()
    assert "Traceback" not in errors.getvalue()
    return lines[0]


def runs(*arguments):
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli.main(list(map(str, arguments))) == 0


TINY = ["--set", f"model.ssd.image_resizer.fixed_shape_resizer={{height: {SIDE} width: {SIDE}}}"]


def build_tiny(section, options=None):
    return TinyDetector()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Photographs, records, a configuration, and a model directory with one step of training of a tiny detector."""
    folder = tmp_path_factory.mktemp("base")
    runs("draw", folder / "photos", "--num_images", 10)
    runs("convert", folder / "photos", "--output_dir", folder / "records")
    runs("config", folder / "records", "--output", folder / "pipeline.config", "--num_steps", 1, "--batch_size", 2,
         *SMALL)  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "build", build_tiny)
        runs(*train(folder, folder / "model", *TINY))
    return folder


@pytest.fixture
def records(base, tmp_path):
    """A copy of the records to be damaged."""
    return shutil.copytree(base / "records", tmp_path / "records")


@pytest.fixture
def tiny(monkeypatch):
    """Overrides that go with a detector of two layers, which takes the place of the configured one."""
    monkeypatch.setattr(models, "build", build_tiny)
    return TINY


def train(base, model_dir, *more):
    return ["train", "--pipeline_config_path", base / "pipeline.config", "--model_dir", model_dir, *more]


def reading(records, part="train_input_reader"):
    return [
        "--set", f"{part}.tf_record_input_reader.input_path=[{records}/train-?????-of-?????.tfrecord]",
        "--set", f"{part}.label_map_path={records}/label_map.pbtxt",
    ]  # fmt: skip


def test_missing_folder(tmp_path):
    line = fails("convert", tmp_path / "nowhere", "--output_dir", tmp_path / "records")
    assert "nowhere" in line
    assert not (tmp_path / "records").exists()


def test_empty_folder(tmp_path):
    (tmp_path / "photos").mkdir()
    assert "photos" in fails("retrain", tmp_path / "photos", "--model_dir", tmp_path / "model")


def test_unparsable_annotations(base, tmp_path):
    photos = shutil.copytree(base / "photos", tmp_path / "photos")
    for xml in sorted((photos / "annotations").glob("*.xml")):
        xml.write_text("<annotation><object>")
    line = fails("convert", photos, "--output_dir", tmp_path / "records")
    assert "practice-0001.xml" in line


def test_undecodable_images(base, tmp_path):
    photos = shutil.copytree(base / "photos", tmp_path / "photos")
    for image in sorted((photos / "images").glob("*.jpg")):
        image.write_bytes(b"not an image")
    line = fails("convert", photos, "--output_dir", tmp_path / "records")
    assert "practice-0001" in line


def test_no_validation_images(base, tmp_path):
    photos = shutil.copytree(base / "photos", tmp_path / "photos")
    for number in range(2, 11):
        (photos / "annotations" / f"practice-{number:04}.xml").unlink()
    assert "validation" in fails("convert", photos, "--output_dir", tmp_path / "records")


def test_misspelled_validation_list(base, tmp_path):
    (tmp_path / "list.txt").write_text("practice-001.jpg\n")
    line = fails("convert", base / "photos", "--output_dir", tmp_path / "records",
                 "--validation_files", tmp_path / "list.txt")  # fmt: skip
    assert re.search(r"practice-001.*Did you mean", line)


def test_wrong_path_in_the_configuration(base, tmp_path):
    line = fails(
        *train(base, tmp_path / "model", "--set", "train_input_reader.label_map_path=/nowhere/map.pbtxt")
    )
    assert "/nowhere/map.pbtxt" in line


def test_missing_configuration(tmp_path):
    assert "no.config" in fails(
        "train", "--pipeline_config_path", tmp_path / "no.config", "--model_dir", tmp_path
    )


def test_typing_error_in_the_configuration(base, tmp_path):
    (tmp_path / "pipeline.config").write_text("train_config {\n  batch_siez: 8\n}\n")
    line = fails(*train(tmp_path, tmp_path / "model"))
    assert re.search(r'pipeline.config:2:3: .*"batch_siez".*Did you mean "batch_size"\?', line)


def test_truncated_records(base, records, tmp_path):
    shard = next(records.glob("train-*.tfrecord"))
    shard.write_bytes(shard.read_bytes()[:-100])
    line = fails(*train(base, tmp_path / "model", *reading(records)))
    assert shard.name in line
    assert "cut short" in line


def damaged_image(records):
    """Replace the second record's image by something else, leaving the record itself whole."""
    shard = next(records.glob("train-*.tfrecord"))
    examples = [tf.train.Example.FromString(data.numpy()) for data in tf.data.TFRecordDataset(str(shard))]
    examples[1].features.feature["image/encoded"].bytes_list.value[0] = b"not an image"
    name = examples[1].features.feature["image/filename"].bytes_list.value[0].decode()
    with tf.io.TFRecordWriter(str(shard)) as writer:
        for example in examples:
            writer.write(example.SerializeToString())
    return name


def test_undecodable_image_in_the_records(base, records, tiny, tmp_path):
    name = damaged_image(records)
    line = fails(*train(base, tmp_path / "model", "--num_train_steps", 8, *tiny, *reading(records)))
    assert name in line
    assert "cannot be decoded" in line


@pytest.mark.usefixtures("tiny")
def test_undecodable_image_in_evaluation_never_shortens_it(base, records, tmp_path):
    name = damaged_image(records)
    line = fails("evaluate", "--model_dir", base / "model", "--output_dir", tmp_path / "measured",
                 *reading(records, "eval_input_reader[0]"))  # fmt: skip
    assert name in line
    assert not (tmp_path / "measured").exists()


def test_label_above_num_classes(base, records, tiny, tmp_path):
    # The label map has one class only, and the records have four.
    (records / "label_map.pbtxt").write_text("item { id: 1 name: 'nothing like it' }")
    line = fails(*train(base, tmp_path / "model", "--set", "model.ssd.num_classes=1", *tiny, *reading(records),
                        *reading(records, "eval_input_reader[0]")))  # fmt: skip
    assert "num_classes" in line
    assert "practice-" in line


def test_checkpoint_of_another_architecture(base, tmp_path):
    line = fails(*train(
        base, tmp_path / "model",
        "--set", f"train_config.fine_tune_checkpoint={base / 'model'}",
        "--set", "train_config.fine_tune_checkpoint_type=detection",
    ))  # fmt: skip
    assert "does not fit" in line
    assert "model/_feature_extractor/" in line
    assert not list((tmp_path / "model").glob("ckpt*"))


@pytest.mark.parametrize(
    ("name", "said"), [("metrics.jsonl", r"metrics\.jsonl:1 is not a line"), ("run.json", r"run\.json is not what"),
                       ("best/best.json", r"best\.json is not what")]
)  # fmt: skip
def test_damaged_notes_of_a_run(base, tiny, tmp_path, name, said):
    model_dir = shutil.copytree(base / "model", tmp_path / "model")
    (model_dir / name).write_text("junk\n")
    assert re.search(said, fails(*train(base, model_dir, "--num_train_steps", 2, *tiny)))
    assert (model_dir / name).read_text() == "junk\n"


def test_an_unknown_metric(base, tiny, tmp_path):
    line = fails(*train(base, tmp_path / "model", "--best_metric", "AP500", *tiny))
    assert re.search('no metric "AP500".*Did you mean "AP50"', line)


def test_model_directory_of_another_model(base, tmp_path):
    model_dir = shutil.copytree(base / "model", tmp_path / "model")
    before = {path: path.read_bytes() for path in sorted(model_dir.rglob("*")) if path.is_file()}
    line = fails(*train(base, model_dir, "--num_train_steps", 2))
    assert "holds another model" in line
    assert {path: path.read_bytes() for path in sorted(model_dir.rglob("*")) if path.is_file()} == before


def test_damaged_checkpoint(base, tiny, tmp_path):
    model_dir = shutil.copytree(base / "model", tmp_path / "model")
    (model_dir / "ckpt-1.index").write_bytes(b"junk")
    assert "ckpt-1" in fails(*train(base, model_dir, "--num_train_steps", 2, *tiny))


@pytest.mark.parametrize("verb", ["predict", "export", "evaluate"])
def test_a_folder_without_a_model(verb, base, tmp_path):
    arguments = {
        "predict": ["predict", tmp_path, base / "photos", "--output_dir", tmp_path / "drawn"],
        "export": ["export", "--model_dir", tmp_path, "--output_dir", tmp_path / "exported"],
        "evaluate": ["evaluate", "--model_dir", tmp_path],
    }[verb]
    assert str(tmp_path) in fails(*arguments)


def refused(capsys, *arguments):
    """Run a command line that cannot be parsed and return what is said."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(list(map(str, arguments)))
    assert exit_.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_a_mistyped_flag_is_answered_with_the_nearest(capsys):
    line = refused(capsys, "train", "--pipeline_config_path=x", "--model_dir=y", "--num_train_stesp=3")
    assert line.endswith('unrecognized arguments: --num_train_stesp=3. Did you mean "--num_train_steps"?')


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--batch_size", 0), ("--num_steps", -1), ("--num_steps", "ten"), ("--seed", -1), ("--seed", 2**40)],
)
def test_numbers_out_of_range(flag, value, capsys):
    line = refused(capsys, "retrain", "photos", "--model_dir", "model", flag, value)
    assert f"argument {flag}: " in line
    assert str(value) in line


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--patience", 0), ("--min_delta", -1), ("--min_delta", "inf"), ("--scale_lr", 0),
     ("--checkpoint_keep_every_n", -1)],
)  # fmt: skip
def test_numbers_of_a_training_out_of_range(flag, value, capsys):
    line = refused(capsys, "train", "--pipeline_config_path=x", "--model_dir=y", flag, value)
    assert f"argument {flag}" in line
    assert str(value) in line


def test_patience_without_evaluations(base, tmp_path):
    line = fails(*train(base, tmp_path / "model", "--patience", 2, "--evaluate_every_n", 0))
    assert "patience counts evaluations" in line


def test_a_range_of_learning_rates_that_is_none(base, tmp_path):
    line = fails("lr-range", "--pipeline_config_path", base / "pipeline.config", "--output_dir", tmp_path / "range",
                 "--lowest", 1, "--highest", 0.1)  # fmt: skip
    assert "lowest 1, highest 0.1" in line


def test_a_loss_that_is_no_number_ends_the_run(base, tiny, tmp_path):
    rate = "train_config.optimizer.momentum_optimizer.learning_rate={constant_learning_rate {learning_rate: 1e30}}"
    line = fails(*train(base, tmp_path / "model", "--num_train_steps", 6, *tiny, "--set", rate))
    assert re.search(r"Step [2-6]: \w+_loss.* became infinite or NaN", line)
    assert re.search(r"The images of this step: practice-\d+.jpg, practice-\d+.jpg\.", line)
    assert "Try a lower learning rate (--set train_config.optimizer.momentum_optimizer.learning_rate" in line
    assert not list((tmp_path / "model").glob("ckpt*"))
