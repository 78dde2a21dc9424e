"""What is told, written and stopped between the steps."""

import io
import re
from types import SimpleNamespace

import pytest
import tensorflow as tf

from boxtune.errors import BoxtuneError
from boxtune.training.callbacks import Every, Progress, StopOnNonFinite, Summaries

LOGS = {"localization_loss": 0.5, "classification_loss": 1.25, "regularization_loss": 0.25, "loss": 99.0}


def run(callback, steps, logs=LOGS):
    callback.set_model(SimpleNamespace(optimizer=SimpleNamespace(learning_rate=tf.constant(0.08))))
    for batch in range(steps):
        callback.on_train_batch_begin(batch)
        callback.on_train_batch_end(batch, logs)


@pytest.mark.parametrize(
    ("start", "last", "interval", "acted"),
    [
        (0, 10, 4, [4, 8, 10]),
        (0, 8, 4, [4, 8]),  # once at the end, not twice
        (6, 10, 4, [8, 10]),  # going on: at the steps of an uninterrupted run
        (0, 5, 0, [5]),  # 0: at the end only
    ],
)
def test_every_so_many_steps_and_at_the_end(start, last, interval, acted):
    steps = []
    run(Every(start, last, interval, steps.append), last - start)
    assert steps == acted


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_is_one_line_written_over():
    stream = Terminal()
    run(Progress(0, 3, batch_size=8, stream=stream), 3)
    assert stream.getvalue().count("\r") == 3
    assert stream.getvalue().count("\n") == 1


def test_progress_elsewhere_is_a_line_now_and_then():
    stream = io.StringIO()
    run(Progress(0, 25, batch_size=8, interval=10, stream=stream), 25)
    lines = stream.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["10/25", "20/25", "25/25"]
    # The losses add up to 2; Keras' own mean under "loss" is not shown.
    assert re.fullmatch(
        r"step 10/25  loss 2\.000 \(loc 0\.500  cla 1\.250  reg 0\.250\)  lr 0\.08000  "
        r"[\d.]+ images/s  0:00:\d\d left ?",
        lines[0],
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_named_with_its_step(value):
    with pytest.raises(BoxtuneError, match=r"Step 1: classification_loss became infinite or not a number"):
        run(StopOnNonFinite(0), 1, LOGS | {"classification_loss": value})


def test_scalars_are_written_under_the_tags_of_the_api(tmp_path):
    writer = tf.summary.create_file_writer(str(tmp_path))
    run(Summaries(0, writer, interval=2), 5)
    writer.close()
    (path,) = tmp_path.iterdir()
    written = {}
    for record in tf.data.TFRecordDataset(str(path)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            written.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    assert written["Loss/total_loss"] == {2: 2.0, 4: 2.0}
    assert written["learning_rate"] == pytest.approx({2: 0.08, 4: 0.08})
    assert written.keys() == {
        "Loss/localization_loss",
        "Loss/classification_loss",
        "Loss/regularization_loss",
        "Loss/total_loss",
        "learning_rate",
        "steps_per_sec",
    }
