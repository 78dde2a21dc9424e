import numpy as np
import pytest
import tensorflow as tf

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
