"""Steps over several batches: one update of the weights by the mean of their gradients."""

import keras
import numpy as np
import tensorflow as tf
from google.protobuf import text_format

from boxtune.config import pipeline_pb2
from boxtune.training.averages import Averages
from boxtune.training.optimizer import optimizer
from boxtune.training.run_state import RunState
from small_detector import INPUTS, assert_same, batch, small_detector, values

MOMENTUM = """momentum_optimizer { learning_rate { manual_step_learning_rate {
    initial_learning_rate: 0.01 schedule { step: 2 learning_rate: 0.002 } } } }"""


def made(accumulate_batches):
    section = text_format.Parse(MOMENTUM, pipeline_pb2.Optimizer())
    return optimizer(section, accumulate_batches=accumulate_batches, gradient_clipping_by_norm=5.0)


def fit(detector, batches, steps, callbacks=()):
    """Train on batches of two images, which repeat."""
    data = tf.data.Dataset.from_tensor_slices(INPUTS).batch(2, drop_remainder=True)
    data = data.take(batches).repeat()
    steps *= detector.optimizer.gradient_accumulation_steps or 1
    detector.fit(data, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=list(callbacks))


def test_the_same_batch_twice_is_the_batch():
    once = small_detector(made(1), freeze_batchnorm=True)
    twice = small_detector(made(2), freeze_batchnorm=True)
    fit(once, batches=1, steps=3)
    fit(twice, batches=1, steps=3)
    assert_same(values(twice.checkpoint_variables()), values(once.checkpoint_variables()))


def test_two_batches_count_alike():
    # The first step's change, uncut and without momentum yet, is linear in the gradients.
    section = text_format.Parse(
        "momentum_optimizer { learning_rate { constant_learning_rate { learning_rate: 1e-3 } } }",
        pipeline_pb2.Optimizer(),
    )

    def change(accumulate_batches, *parts):
        detector = small_detector(
            optimizer(section, accumulate_batches=accumulate_batches), freeze_batchnorm=True
        )
        before = values(detector.trained_variables())
        for part in parts:
            detector.train_on_batch(part)
        after = values(detector.trained_variables())
        return np.concatenate([(after[key] - before[key]).ravel() for key in before])

    first, second = batch(0, 2), batch(2, 4)
    mean = (change(1, first) + change(1, second)) / 2
    np.testing.assert_allclose(change(2, first, second), mean, atol=1e-3 * np.abs(mean).max())


class Steps(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.rates = []

    def on_train_batch_end(self, batch, logs=None):
        self.rates.append(round(float(self.model.optimizer.learning_rate), 6))


def test_steps_are_updates(tmp_path):
    detector, steps = small_detector(made(2)), Steps()
    state = RunState(tmp_path, detector, 5)
    fit(detector, batches=2, steps=3, callbacks=[steps])
    assert state.step == 3
    # After each of six batches that of the next: the third step has the lower rate.
    assert steps.rates == [0.01, 0.01, 0.01, 0.002, 0.002, 0.002]


def test_a_run_resumes_to_the_last_bit(tmp_path):
    def begin(folder, seed):
        detector = small_detector(made(2), seed=seed, dropout=0.5)
        averages = Averages(detector.trained_variables(), 0.9999)
        return detector, RunState(tmp_path / folder, detector, 5, averages=averages)

    def train(detector, state, steps):
        for _ in range(steps):
            fit(detector, batches=2, steps=1)
            state.averages.update(state.step)

    whole, whole_state = begin("whole", seed=0)
    train(whole, whole_state, 3)
    first, first_state = begin("parts", seed=0)
    train(first, first_state, 1)
    first_state.save()
    second, second_state = begin("parts", seed=1)
    second_state.resume()
    assert second_state.step == 1
    train(second, second_state, 2)
    for part in ("model_variables", "optimizer_variables"):
        assert_same(values(getattr(second_state, part)), values(getattr(whole_state, part)))
    assert_same(values(second_state.averages.variables), values(whole_state.averages.variables))
    assert any("random" in key for key in whole_state.optimizer_variables)


def test_a_run_may_resume_with_other_steps(tmp_path):
    detector = small_detector(made(2))
    state = RunState(tmp_path, detector, 5)
    fit(detector, batches=2, steps=2)
    state.save()
    again = RunState(tmp_path, small_detector(made(1)), 5)
    again.resume()
    assert (again.step, int(again.iterations)) == (2, 2)
