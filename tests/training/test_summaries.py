import contextlib
import time

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

from boxtune.errors import DataError
from boxtune.training.callbacks import Step
from boxtune.training.loggers import Summaries

LOSSES = {"localization_loss": 0.5, "classification_loss": 1.25, "regularization_loss": 0.25}


def values(folder):
    """Return the tensors that were written, by tag and step."""
    (path,) = (folder / "train").iterdir()
    found = {}
    for record in tf.data.TFRecordDataset(str(path)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = tf.make_ndarray(value.tensor)
    return found


def test_scalars_are_written_under_the_tags_of_the_api(tmp_path):
    with Summaries(tmp_path, 0, interval=2) as summaries:
        for number in range(1, 6):
            summaries.add_step(Step(number, LOSSES, 0.08, 7.0, 8, 0.4))
    written = values(tmp_path)
    assert written["Loss/total_loss"] == {2: 2.0, 4: 2.0}
    assert written["Loss/classification_loss"] == {2: 1.25, 4: 1.25}
    assert written["learning_rate"] == pytest.approx({2: 0.08, 4: 0.08})
    assert written["steps_per_sec"][2] > 0
    assert written.keys() == {
        "Loss/localization_loss",
        "Loss/classification_loss",
        "Loss/regularization_loss",
        "Loss/total_loss",
        "learning_rate",
        "steps_per_sec",
    }


def test_training_images_are_written_as_they_are(tmp_path):
    images = [np.full([4, 6, 3], value, np.uint8) for value in (10, 200)]
    with Summaries(tmp_path, 0) as summaries:
        summaries.add_images(7, images)
    width, height, *pngs = values(tmp_path)["train_input_images"][7]
    assert (int(width), int(height)) == (6, 4)
    for png, image in zip(pngs, images, strict=True):
        np.testing.assert_array_equal(tf.image.decode_png(png), image)


def shown(folder):
    """Return what TensorBoard shows of Loss/total_loss in a folder: pairs of step and value."""
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    events = (
        accumulator.Tensors("Loss/total_loss") if "Loss/total_loss" in accumulator.Tags()["tensors"] else []
    )
    return [(event.step, float(tf.make_ndarray(event.tensor_proto))) for event in events]


def wait_for_the_next_second():
    """TensorBoard reads files in the order of their names: the second, then how many writers there were, as text."""
    time.sleep(1.01 - time.time() % 1)


def test_tensorboard_shows_each_step_once_when_a_run_is_resumed(tmp_path):
    for start, loss in ((0, 0.5), (3, 0.25)):
        wait_for_the_next_second()
        with Summaries(tmp_path, start, interval=1) as summaries:
            for number in range(start + 1, start + 6):
                summaries.add_step(Step(number, {"loss": loss}, 0.08, 7.0, 8, 0.4))
    assert shown(tmp_path / "train") == [(step, 0.5 if step <= 3 else 0.25) for step in range(1, 9)]


def test_evaluations_after_the_step_from_which_a_run_is_resumed_are_forgotten(tmp_path):
    (tmp_path / "eval" / "night").mkdir(parents=True)
    for step in (100, 200):
        write_total_loss(tmp_path / "eval" / "night", step)
    wait_for_the_next_second()
    with Summaries(tmp_path, 150):
        pass
    wait_for_the_next_second()
    write_total_loss(tmp_path / "eval" / "night", 160)
    assert shown(tmp_path / "eval" / "night") == [(100, 1.0), (160, 1.0)]


def write_total_loss(folder, step):
    with contextlib.closing(tf.summary.create_file_writer(str(folder))) as writer, writer.as_default(step):
        tf.summary.scalar("Loss/total_loss", 1.0)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "train").write_text("in the way")
    with pytest.raises(DataError, match="train cannot be written: "):
        Summaries(tmp_path, 0)
