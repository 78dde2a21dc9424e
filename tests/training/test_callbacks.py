"""Each step is measured once and passed to every callback."""

import pytest
import tensorflow as tf

from boxtune.training.callbacks import Step, StepCallbacks, every, is_due


def step(number):
    return Step(number, {"localization_loss": 0.5}, 0.08, 7.0, 8, 0.1)


def run(callbacks, start, steps):
    """Make steps as `fit` does; the learning rate is a tenth of the steps made before."""
    callback = StepCallbacks(start, 8, callbacks)
    for batch in range(steps):
        callback.on_train_batch_begin(batch)
        callback.on_train_batch_end(batch, logs(batch / 10, 0.5))


def logs(learning_rate, loss):
    return {name: tf.constant(value) for name, value in {
        "localization_loss": loss, "classification_loss": 1.25, "loss": 99.0, "weights": 7.0,
        "learning_rate": learning_rate,
    }.items()}  # fmt: skip


def test_a_step_is_counted_from_where_the_run_stood():
    seen = []
    run([seen.append], start=6, steps=2)
    assert [one.number for one in seen] == [7, 8]
    assert all(one.num_images == 8 and one.seconds > 0 for one in seen)


def test_a_step_has_its_terms_and_not_the_mean_of_keras():
    seen = []
    run([seen.append], start=0, steps=1)
    assert seen[0].losses == {"localization_loss": 0.5, "classification_loss": 1.25}
    assert seen[0].total_loss == 1.75
    assert seen[0].weights == 7.0


def test_the_learning_rate_is_the_one_that_the_step_was_made_with():
    seen = []
    run([seen.append], start=0, steps=3)
    assert [one.learning_rate for one in seen] == pytest.approx([0.0, 0.1, 0.2])


def test_a_step_of_several_batches_has_their_means():
    seen, losses = [], iter([0.5, 1.5, 2.0, 4.0, 9.0])
    callback = StepCallbacks(3, 16, [seen.append], batches_per_step=2)
    for batch, loss in enumerate(losses):
        callback.on_train_batch_begin(batch)
        callback.on_train_batch_end(batch, logs(0.1, loss))
    assert [(one.number, one.losses["localization_loss"], one.num_images) for one in seen] == [
        (4, 1.0, 16),
        (5, 3.0, 16),
    ]


def test_callbacks_are_called_in_order_up_to_one_that_raises():
    seen = []

    def stop(step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([lambda step: seen.append("a"), stop, lambda step: seen.append("b")], start=0, steps=1)
    assert seen == ["a"]


@pytest.mark.parametrize(
    ("start", "interval", "expected"),
    [
        (0, 4, [4, 8]),
        (6, 4, [8]),  # going on: at the steps of an uninterrupted run
        (0, 0, []),  # never
    ],
)
def test_every_so_many_steps(start, interval, expected):
    seen = []
    act = every(interval, seen.append)
    for number in range(start + 1, 11):
        act(step(number))
    assert seen == expected


def test_nothing_is_due_before_the_first_step():
    assert not is_due(0, 4)
