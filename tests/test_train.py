"""The verb `train` around a detector of two layers: what is kept, what ends it, what is reported."""

import json
import os
import shutil
import signal
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from boxtune import cli, config, models
from boxtune.configure import configure
from boxtune.convert import convert
from boxtune.draw import draw
from boxtune.errors import BoxtuneError, CheckpointError, ConfigError
from boxtune.evaluation.thresholds import read_thresholds
from boxtune.lr_range import lr_range
from boxtune.training import checkpoints
from boxtune.training.callbacks import StepCallbacks
from boxtune.training.checkpoints import Reader, find, step_of
from flags import train_by_flags
from tiny_run import SIDE, TinyDetector

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

STEPS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records of a few images, and a configuration."""
    folder = tmp_path_factory.mktemp("train")
    draw(folder / "photos", num_images=10)
    convert(folder / "photos", folder / "records")
    pipeline = configure(folder / "records", batch_size=2, num_steps=STEPS, learning_rate=0.01)
    for override in (
        f"model.ssd.image_resizer.fixed_shape_resizer={{height: {SIDE} width: {SIDE}}}",
        "train_config.data_augmentation_options=[{random_horizontal_flip {}}]",
    ):
        config.apply_override(pipeline, override)
    config.write(pipeline, folder / "pipeline.config")
    return folder


@pytest.fixture
def run(folder, tmp_path, monkeypatch):
    """Train in a folder of its own; the same again goes on."""
    monkeypatch.setattr(models, "build", lambda section, options=None: TinyDetector())

    def run(**options):
        return train_by_flags(folder / "pipeline.config", tmp_path, **options)

    return run


@pytest.fixture(scope="module")
def begun(folder, tmp_path_factory):
    """The model directory of a training of one step."""
    model_dir = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "build", lambda section, options=None: TinyDetector())
        train_by_flags(folder / "pipeline.config", model_dir, num_train_steps=1)
    return model_dir


@pytest.fixture
def after_a_step(begun, tmp_path):
    """A training of one step is in `tmp_path`, to be gone on with."""
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)


def evaluated(model_dir):
    lines = map(json.loads, (model_dir / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["evaluation"] for line in lines if "evaluation" in line}


def test_the_files_of_a_run(run, tmp_path):
    result = run(
        checkpoint_every_n=4, checkpoint_max_to_keep=1, checkpoint_keep_every_n=6, evaluate_every_n=5
    )
    assert result.step == STEPS
    assert {path.name for path in tmp_path.iterdir() if path.suffix not in (".index", ".data-00000-of-00001")} == {
        "best", "checkpoint", "complete_pipeline.config", "eval", "evaluation.json", "metrics.jsonl",
        "model_label_map.pbtxt", "run.json",
        "train",
    }  # fmt: skip
    # Written after 4, 6, 8 and 12; the sixth is for good, the twelfth the newest.
    assert sorted(step_of(str(path.with_suffix(""))) for path in tmp_path.glob("*.index")) == [6, 12]
    assert evaluated(tmp_path).keys() == {5, 10, 12}


def test_the_best_is_the_best_of_its_metric(run, tmp_path):
    result = run(evaluate_every_n=3, best_metric="loss")
    losses = {step: values["Loss/total_loss"] for step, values in evaluated(tmp_path).items()}
    assert losses.keys() == {3, 6, 9, 12}
    assert result.best.step == min(losses, key=losses.get)
    assert result.best.value == min(losses.values())
    assert result.best.metric == "Loss/total_loss"
    assert step_of(find(tmp_path / "best")) == result.best.step
    assert find(tmp_path / "best").endswith(result.best.checkpoint)
    assert (
        json.loads((tmp_path / "best" / "best.json").read_text())["values"]
        == evaluated(tmp_path)[result.best.step]
    )


def test_the_best_has_its_thresholds_beside_it(run, tmp_path):
    result = run(evaluate_every_n=6)
    found = read_thresholds(tmp_path / "best" / "thresholds.json")
    assert (found.step, found.num_images, found.min_precision) == (result.best.step, 2, 0)


@pytest.mark.thorough
def test_recalibrated_statistics_are_evaluated_and_kept_and_training_goes_on_without(run, folder, tmp_path):
    """Two trainings, which differ in nothing but the best checkpoint, and what it was evaluated with."""
    options = {"evaluate_every_n": 4, "best_metric": "loss"}
    run(recalibrate=True, num_train_steps=6, **options)  # and stopped, and gone on with
    run(recalibrate=True, **options)
    train_by_flags(folder / "pipeline.config", tmp_path / "without", checkpoint_every_n=4, **options)
    assert read_weights(tmp_path) == read_weights(tmp_path / "without")
    assert losses(tmp_path) == losses(tmp_path / "without")
    best, step = read_weights(tmp_path / "best"), step_of(find(tmp_path / "best"))
    before = read_weights(tmp_path / "without" / f"ckpt-{step // 4}")
    different = {key for key, value in best.items() if value != before[key]}
    assert different == {"model/norm/moving_mean", "model/norm/moving_variance"}
    train_by_flags(folder / "pipeline.config", tmp_path / "whole", recalibrate=True, **options)
    assert read_weights(tmp_path / "whole" / "best") == best


def test_recalibrating_where_nothing_is_evaluated(run):
    with pytest.raises(ConfigError, match="--recalibrate is for what is evaluated"):
        run(recalibrate=True, overrides=["eval_input_reader=[]"])


def test_no_statistics_to_recalibrate(run, monkeypatch, caplog):
    def frozen(section, options=None):
        detector = TinyDetector()
        detector.network.get_layer("model--norm").frozen = True
        return detector

    monkeypatch.setattr(models, "build", frozen)
    run(recalibrate=True, num_train_steps=1)
    assert "--recalibrate changes nothing: no batch normalization has statistics" in caplog.text


def read_weights(model_dir):
    reader = Reader(find(model_dir))
    return {key: reader[key].tolist() for key in reader.shapes if key.startswith("model/")}


def losses(model_dir):
    lines = map(json.loads, (model_dir / "metrics.jsonl").read_text().splitlines())
    return [line["Loss/total_loss"] for line in lines if "learning_rate" in line]


def test_a_run_without_improvement_stops_and_stays_stopped(run, tmp_path, capsys):
    # A learning rate of 0: every evaluation is as the first but for batch normalization, and never better by 9.
    still = [
        "train_config.optimizer.momentum_optimizer.learning_rate={constant_learning_rate {learning_rate: 0}}"
    ]
    options = {
        "evaluate_every_n": 2,
        "patience": 2,
        "min_delta": 9.0,
        "best_metric": "loss",
        "overrides": still,
    }
    assert run(**options).step == 6
    assert (
        "2 evaluations in a row no better than the best: the run ends after step 6" in capsys.readouterr().out
    )
    assert step_of(find(tmp_path)) == 6
    before = (tmp_path / "metrics.jsonl").read_bytes()
    assert run(**options).step == 6
    assert "the run ends after step 6. Raise --patience" in capsys.readouterr().out
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    assert run(**options | {"patience": 4}).step == 10


def test_patience_without_evaluations(run):
    with pytest.raises(ConfigError, match="patience counts evaluations"):
        run(patience=2, evaluate_every_n=0)


def test_an_unknown_metric(run, tmp_path):
    with pytest.raises(ConfigError, match='no metric "mAP90"'):
        run(best_metric="mAP90")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("after_a_step")
def test_resuming_after_the_last_step_trains_nothing(run, tmp_path, capsys):
    before = (tmp_path / "metrics.jsonl").read_bytes()
    assert run(num_train_steps=1).step == 1
    assert "1 of 1 steps have been made already" in capsys.readouterr().out
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


@pytest.mark.usefixtures("after_a_step")
def test_images_of_both_training_and_evaluation_are_reported(run, folder, caplog):
    run(num_train_steps=1)
    assert "are for training, too" not in caplog.text
    same = f"eval_input_reader[0].tf_record_input_reader.input_path=['{folder / 'records' / 'train-*'}']"
    run(num_train_steps=2, overrides=[same])
    assert "8 of 8 images of eval_input_reader are for training, too: the result" in caplog.text


@pytest.mark.usefixtures("after_a_step")
def test_changes_are_reported_when_a_run_is_resumed(run, tmp_path, caplog):
    run(num_train_steps=1)
    assert "is resumed with changes" not in caplog.text
    run(num_train_steps=2, seed=3, overrides=["train_config.batch_size=3"])
    assert (
        "This run is resumed with changes: seed: 0 → 3; train_config.batch_size: 2 → 3; train_config.num_steps: 1 → 2"
        in caplog.text
    )
    assert [entry["step"] for entry in json.loads((tmp_path / "run.json").read_text())] == [0, 1, 1]


def test_learning_rates_are_scaled(run, tmp_path, capsys):
    run(scale_lr=16, num_train_steps=1)
    assert "Learning rates times 0.125: batches of 2, not 16." in capsys.readouterr().out
    trained = config.load(tmp_path / "complete_pipeline.config").train_config.optimizer.momentum_optimizer
    assert trained.learning_rate.cosine_decay_learning_rate.learning_rate_base == pytest.approx(0.00125)


def test_an_evaluation_that_a_kill_prevented_is_made_before_the_next_step(run, tmp_path):
    run(num_train_steps=4, checkpoint_every_n=4, evaluate_every_n=4)
    journal = tmp_path / "metrics.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    assert "evaluation" in lines[-1]
    journal.write_text("".join(lines[:-1]))
    run(num_train_steps=5, evaluate_every_n=4)
    steps = [
        (line["step"], "evaluation" in line) for line in map(json.loads, journal.read_text().splitlines())
    ]
    assert steps[3:] == [(4, False), (4, True), (5, False), (5, True)]


@pytest.fixture
def signalled(monkeypatch):
    """Sends this process a signal in the third step of a training."""
    begin = StepCallbacks.on_train_batch_begin

    def signalled(number):
        def send(self, batch, logs=None):
            begin(self, batch, logs)
            if batch == 2:
                os.kill(os.getpid(), number)

        monkeypatch.setattr(StepCallbacks, "on_train_batch_begin", send)

    return signalled


def test_a_signal_ends_the_run_after_its_step(run, tmp_path, signalled, capsys):
    before = signal.getsignal(signal.SIGINT)
    signalled(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert signal.getsignal(signal.SIGINT) is before
    assert "Stopped after step 3" in capsys.readouterr().out
    assert step_of(find(tmp_path)) == 3
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3


class Exploding(TinyDetector):
    """Whose third step has a loss that is a number, and gradients of a layer that are none."""

    def loss_terms(self, inputs, predictions):
        terms = super().loss_terms(inputs, predictions)
        total = keras.ops.sum(self.network.layers[-1].kernel)
        # The root of 0 has no slope.
        root = keras.ops.sqrt(keras.ops.where(self.optimizer.iterations == 2, 0 * total, 1.0))
        return terms | {"localization_loss": terms["localization_loss"] + root}


def test_broken_weights_end_the_run_and_reach_no_checkpoint(run, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "build", lambda section, options=None: Exploding())
    with pytest.raises(BoxtuneError) as caught:
        run(checkpoint_every_n=1, evaluate_every_n=1)
    message = str(caught.value)
    assert message.startswith("Step 3: the loss was finite")
    assert "1 of 6 variables (such as model/dense/kernel)" in message
    assert "The images of this step: practice-" in message
    assert f"The last checkpoint is kept: {tmp_path / 'ckpt-2'}" in message
    for prefix in (find(tmp_path), find(tmp_path / "best")):
        reader = Reader(prefix)
        assert all(np.isfinite(reader[key]).all() for key in reader.shapes)
    assert step_of(find(tmp_path)) == 2


@pytest.mark.usefixtures("after_a_step")
def test_nothing_is_trained_from_weights_that_are_not_finite(run, tmp_path):
    reader = Reader(find(tmp_path))
    stored = {key: keras.Variable(reader[key]) for key in reader.shapes if key != "save_counter"}
    stored["model/norm/moving_mean"].assign(np.full(8, np.nan))
    checkpoints.tree(stored).write(find(tmp_path))
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match=r"ckpt-1.*model/norm/moving_mean is infinite or NaN"):
        run()
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_a_step_may_be_of_several_batches(run, tmp_path):
    """Two batches of two make the step of one of four, but for batch normalization and rounding."""
    steady = [
        "train_config.optimizer.momentum_optimizer.learning_rate={constant_learning_rate {learning_rate: 0.01}}"
    ]
    overrides = [*steady, "boxtune.accumulate_batches=2"]
    assert run(num_train_steps=3, overrides=overrides).step == 3
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "evaluation" not in line] == [1, 2, 3]
    assert step_of(find(tmp_path)) == 3
    assert run(num_train_steps=5, overrides=overrides).step == 5


def test_averages_are_evaluated_where_the_configuration_says_so(run, tmp_path):
    overrides = [
        "train_config.optimizer.use_moving_average=true",
        "train_config.optimizer.moving_average_decay=0.9",
    ]
    run(num_train_steps=3, overrides=overrides)
    weights = evaluated(tmp_path)[3]
    for path in tmp_path.glob("*.jsonl"):
        path.unlink()
    run(num_train_steps=3, overrides=[*overrides, "eval_config.use_moving_averages=true"])
    assert evaluated(tmp_path)[3]["Loss/localization_loss"] != weights["Loss/localization_loss"]


@pytest.mark.usefixtures("after_a_step")
def test_frozen_variables_stay_as_they_are(run, begun, tmp_path):
    before = Reader(find(begun))
    run(num_train_steps=4, overrides=["train_config.freeze_variables=[conv]"])
    after = Reader(find(tmp_path))
    for key in ("model/conv/kernel", "model/conv/bias", "model/dense/kernel"):
        assert (before[key].tobytes() == after[key].tobytes()) == ("conv" in key)


def test_training_images_are_shown(begun):
    events = EventAccumulator(str(begun / "train")).Reload()
    assert "train_input_images" in events.Tags()["tensors"]


def test_a_range_test_finds_a_rate_and_draws_it(run, folder, tmp_path):
    result = lr_range(folder / "pipeline.config", tmp_path / "range", num_steps=60)
    assert result.field.endswith("cosine_decay_learning_rate.learning_rate_base")
    assert result.configured == pytest.approx(0.01)
    assert 1e-5 < result.test.suggested < 1
    assert f"={result.test.suggested:.2g}" in str(result)
    assert (tmp_path / "range" / "learning_rate_range.png").stat().st_size > 5000
    numbers = json.loads((tmp_path / "range" / "learning_rate_range.json").read_text())
    np.testing.assert_allclose(
        [one["learning_rate"] for one in numbers], np.geomspace(1e-5, 10, 60)[: len(numbers)], rtol=1e-3
    )
    tags = EventAccumulator(str(tmp_path / "range" / "learning_rate_range")).Reload().Tags()["tensors"]
    assert {"learning_rate_range", "learning_rate_range/loss"} <= set(tags)
    assert not list((tmp_path / "range").glob("ckpt*"))


@pytest.mark.parametrize("options", [{"lowest": 0.0}, {"lowest": 1.0, "highest": 1.0}, {"num_steps": 10}])
def test_an_invalid_range(run, folder, tmp_path, options):
    with pytest.raises(ConfigError, match="has to grow"):
        lr_range(folder / "pipeline.config", tmp_path / "range", **options)


def script_record(path: Path, photos: Path):
    """Write what a user's own generate_tfrecord.py writes: the fewest keys, and jpg for everything."""

    def feature(kind, values):
        lists = {"bytes": tf.train.BytesList, "float": tf.train.FloatList, "int64": tf.train.Int64List}
        return tf.train.Feature(**{f"{kind}_list": lists[kind](value=values)})

    with tf.io.TFRecordWriter(str(path)) as writer:
        for image in sorted((photos / "images").glob("*.jpg"))[:4]:
            features = {
                "image/height": feature("int64", [240]),
                "image/width": feature("int64", [320]),
                "image/encoded": feature("bytes", [image.read_bytes()]),
                "image/format": feature("bytes", [b"jpg"]),
                "image/object/bbox/xmin": feature("float", [0.1, 0.5]),
                "image/object/bbox/xmax": feature("float", [0.4, 0.9]),
                "image/object/bbox/ymin": feature("float", [0.1, 0.5]),
                "image/object/bbox/ymax": feature("float", [0.4, 0.9]),
                "image/object/class/label": feature("int64", [1, 4]),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())


def test_a_record_of_a_users_own_script_trains_as_it_is(run, folder, tmp_path, capsys):
    script_record(tmp_path / "own.record", folder / "photos")
    readers = ("train_input_reader", "eval_input_reader[0]")
    paths = [f"{reader}.tf_record_input_reader.input_path=[{tmp_path / 'own.record'}]" for reader in readers]
    run(num_train_steps=1, overrides=paths)
    assert "on 4 images with 8 objects" in capsys.readouterr().out


@pytest.mark.usefixtures("run")
def test_sigterm_saves_a_checkpoint(folder, tmp_path, signalled, capsys):
    signalled(signal.SIGTERM)
    status = cli.main(
        ["train", "--pipeline_config_path", str(folder / "pipeline.config"), "--model_dir", str(tmp_path)]
    )
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler  # as the command line sets it
    output = capsys.readouterr()
    assert status == 130
    assert "run the same command again to continue" in output.err
    assert step_of(find(tmp_path)) == 3
    assert "Stopped after step 3" in output.out
