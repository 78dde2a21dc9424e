"""Each step is measured once and handed to every action."""

from types import SimpleNamespace

import pytest
import tensorflow as tf

from boxtune.training.steps import BetweenSteps, Step, every, is_due

LOGS = {
    "localization_loss": tf.constant(0.5),
    "classification_loss": tf.constant(1.25),
    "loss": tf.constant(99.0),
}


def step(number):
    return Step(number, {"localization_loss": 0.5}, 0.08, 8, 0.1)


def run(actions, start, steps):
    """Make steps as `fit` does; the learning rate is a tenth of the steps made before."""
    iterations = tf.Variable(start, dtype=tf.int64)

    class Optimizer:
        @property
        def learning_rate(self):
            return tf.cast(iterations, tf.float32) / 10

    between = BetweenSteps(start, 8, actions)
    between.set_model(SimpleNamespace(optimizer=Optimizer()))
    for batch in range(steps):
        between.on_train_batch_begin(batch)
        iterations.assign_add(1)
        between.on_train_batch_end(batch, LOGS)


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


def test_the_learning_rate_is_the_one_that_the_step_was_made_with():
    seen = []
    run([seen.append], start=0, steps=3)
    assert [one.learning_rate for one in seen] == pytest.approx([0.0, 0.1, 0.2])


def test_a_step_of_several_batches_has_their_means():
    seen, losses = [], iter([0.5, 1.5, 2.0, 4.0, 9.0])
    between = BetweenSteps(3, 16, [seen.append], batches_per_step=2)
    between.set_model(SimpleNamespace(optimizer=SimpleNamespace(learning_rate=tf.constant(0.5))))
    for batch, loss in enumerate(losses):
        between.on_train_batch_begin(batch)
        between.on_train_batch_end(batch, {"localization_loss": tf.constant(loss)})
    assert [(one.number, one.losses, one.num_images) for one in seen] == [
        (4, {"localization_loss": 1.0}, 16),
        (5, {"localization_loss": 3.0}, 16),
    ]


def test_actions_come_in_order_and_the_first_that_raises_is_the_last():
    seen = []

    def stop(step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([lambda step: seen.append("a"), stop, lambda step: seen.append("b")], start=0, steps=1)
    assert seen == ["a"]


@pytest.mark.parametrize(
    ("start", "interval", "acted"),
    [
        (0, 4, [4, 8]),
        (6, 4, [8]),  # going on: at the steps of an uninterrupted run
        (0, 0, []),  # never
    ],
)
def test_every_so_many_steps(start, interval, acted):
    seen = []
    act = every(interval, seen.append)
    for number in range(start + 1, 11):
        act(step(number))
    assert seen == acted


def test_nothing_is_due_before_the_first_step():
    assert not is_due(0, 4)
